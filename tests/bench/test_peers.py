"""The comparison with other tools: Palate's part in small, on a real Postgres. No other tool is installed here."""

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from app.bench.peers.drive import Driven, drive
from app.bench.peers.feedloop import Feedloop
from app.bench.peers.label_studio import LabelStudio
from app.bench.peers.ledger import Stored, balance
from app.bench.peers.palate import Palate
from app.bench.peers.potato import Potato
from app.bench.peers.report import report
from app.bench.peers.rounds import Plan, figures, run
from app.bench.peers.system import install
from app.bench.peers.tasks import pairs_from
from app.core.database import units_of_work
from app.core.errors import InvalidInput


def plan(**changes: Any) -> Plan:
    values: dict[str, Any] = {
        "systems": ("palate",),
        "people": (3,),
        "tasks": 24,
        "seconds": 30,
        "repetitions": 1,
        "pairs": None,
        "environments": Path("nowhere"),
    }
    return Plan(**(values | changes))


ANNA_ONE, BEN_TWO = Stored("one", "anna", "a1"), Stored("two", "ben", "b2")


def test_a_store_that_holds_what_was_acknowledged_is_exact() -> None:
    kept = balance(["a1", "b2"], [ANNA_ONE, BEN_TWO], wanted=1)
    assert (kept.acknowledged, kept.stored, kept.exact) == (2, 2, True)


def test_a_lost_answer_is_found() -> None:
    kept = balance(["a1", "b2"], [ANNA_ONE], wanted=1)
    assert (kept.lost, kept.untold, kept.exact) == (1, 0, False)


def test_an_answer_over_another_is_lost() -> None:
    """Two people were told that the same row is theirs: only one of them is in it."""
    kept = balance(["a1", "a1"], [ANNA_ONE], wanted=1)
    assert (kept.acknowledged, kept.lost, kept.surplus) == (2, 1, 0)


def test_a_doubled_answer_is_found() -> None:
    kept = balance(["a1"], [ANNA_ONE, Stored("one", "anna", "a2")], wanted=1)
    assert (kept.doubled, kept.surplus, kept.untold, kept.exact) == (1, 1, 1, False)
    assert balance(["a1", "a2"], [ANNA_ONE, Stored("one", "anna", "a2")], wanted=2).doubled == 1


def test_one_answer_more_than_asked_for_is_found() -> None:
    rows = [ANNA_ONE, Stored("one", "ben", "b1"), BEN_TWO]
    kept = balance(["a1", "b1", "b2"], rows, wanted=1)
    assert (kept.surplus, kept.doubled, kept.lost, kept.exact) == (1, 0, 0, False)
    assert balance(["a1", "b1", "b2"], rows, wanted=2).exact


COPY = """
insert into preferences (project_id, task_id, assignment_id, user_id, field, outcome, tiers)
select project_id, task_id, assignment_id,
  case when :person = 'the same' then user_id else (select max(id) from users where id != user_id) end,
  field, outcome, tiers
from preferences order by id limit 1
"""
"""The first answer once more."""


@pytest.fixture
def opened() -> Iterator[Palate]:
    """A Palate with 12 tasks, up to the end of the test."""
    home = Path(tempfile.mkdtemp(prefix="palate-peers-"))
    home.chmod(0o711)  # Postgres runs under an account of its own when this is root, and must pass through
    place = home / "round"
    place.mkdir()
    palate = Palate(home)
    try:
        palate.prepare(print)
        palate.open(pairs_from(None, 12), 3, place)
        yield palate
    finally:
        palate.clean()
        shutil.rmtree(home, ignore_errors=True)


def test_what_is_missing_or_too_much_in_the_database_is_seen(opened: Palate) -> None:
    driven = drive(opened, people=3, tasks=12, seconds=30)
    opened.stop()
    assert driven.refusals == []
    kept = balance(driven.receipts, opened.stored(), wanted=1)
    assert kept.exact
    assert kept.acknowledged == kept.stored == driven.in_time == 12
    found = figures(driven, kept)
    assert found["submit_ms"]["requests"] == 12
    assert found["kept_per_second"] == found["labels_per_second"] > 0
    assert found["memory_mib"] > 20
    assert found["server_ms_per_label"] > 0
    with units_of_work(opened.settings.dsn) as uow:
        with uow() as db:
            db.execute(text(COPY), {"person": "someone else"})
        other = balance(driven.receipts, opened.stored(), wanted=1)
        with uow() as db:
            db.execute(text(COPY), {"person": "the same"})
        twice = balance(driven.receipts, opened.stored(), wanted=1)
        with uow() as db:
            db.execute(text("delete from preferences where id = (select max(id) - 2 from preferences)"))
        less = balance(driven.receipts, opened.stored(), wanted=1)
    assert (other.surplus, other.doubled, other.lost) == (1, 0, 0)
    assert (twice.surplus, twice.doubled, twice.lost) == (2, 1, 0)
    assert (less.surplus, less.doubled, less.lost) == (2, 1, 1)


def test_all_of_it_in_small(tmp_path: Path) -> None:
    said: list[str] = []
    found = run(plan(), said.append)
    (only,) = found["rounds"]
    assert only["exact"]
    assert only["acknowledged"] == only["stored"] == 24
    assert (only["refusals"], only["given_up"]) == (0, 0)
    assert only["labels_per_second"] > 0
    assert said[-1].startswith("3 people at palate: ")
    assert "| 3 | palate | 24 | 24 | 0 | 0 | 0 | 0 | 0 | 0 |" in report(found)


def test_what_is_lost_does_not_count_as_kept() -> None:
    driven = Driven(receipts=["a1", "a1"], in_time=2, seconds=1, whole=1)
    found = figures(driven, balance(driven.receipts, [ANNA_ONE], wanted=1))
    assert (found["labels_per_second"], found["kept_per_second"]) == (2, 1)


def test_the_report_gives_medians_sums_and_ratios() -> None:
    def one(system: str, rate: float, wait: float, lost: int) -> dict[str, Any]:
        spread = {"p50": wait, "p95": 2 * wait, "max": 3 * wait, "requests": 9}
        counts = dict.fromkeys(("untold", "surplus", "doubled", "refusals", "given_up"), 0)
        costs = dict.fromkeys(("server_ms_per_label", "client_ms_per_request", "other_share", "memory_mib"), 1.0)
        kept = {"acknowledged": 1000, "stored": 1000 - lost, "lost": lost}
        speed = {"labels_per_second": rate, "kept_per_second": rate / 2, "next_ms": spread, "submit_ms": None}
        return {"people": 50, "system": system, **speed, **kept, **counts, **costs}

    rounds = [one("palate", 200, 5, 0), one("potato", 10, 50, 1), one("potato", 30, 70, 2), one("palate", 220, 7, 0)]
    shown = report({"rounds": rounds})
    assert "| 50 | potato | 20.0 (10.0, 30.0) | 10.0 | 60.0 / 120 | – |" in shown
    assert "| 50 | potato | 2,000 | 1,997 | 3 |" in shown
    assert "| 50 | potato | 10.5 × | 10.0 × |" in shown


def test_tasks_are_all_different_and_come_from_a_file_if_wished(tmp_path: Path) -> None:
    assert len({one.prompt for one in pairs_from(None, 2500)}) == 2500
    file = tmp_path / "pairs.json"
    rows = [
        {"instruction": "Say it", "input": "twice", "response1": "a", "response2": "b"},
        {"instruction": "Empty", "input": "", "response1": "", "response2": "b"},
    ]
    file.write_text(json.dumps(rows))
    assert [one.prompt for one in pairs_from(file, 2)] == ["Say it\n\ntwice", "Say it\n\ntwice\n\n(2)"]
    file.write_text('[{"instruction": "x"}]')
    with pytest.raises(InvalidInput, match="input") as refused:
        pairs_from(file, 1)
    assert refused.value.problems[0].field == "--pairs"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"systems": ("palate", "tomato")}, "--with"),
        ({"systems": ("palate", "palate")}, "--with"),
        ({"people": (0,)}, "--people"),
        ({"people": (), "tasks": 5}, "--people"),
        ({"people": (50,), "tasks": 49}, "--tasks"),
    ],
)
def test_a_plan_that_makes_no_sense_names_its_option(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        run(plan(**changes), print)
    assert refused.value.problems[0].field == field


def test_a_round_has_no_more_tasks_than_people_can_be_dealt() -> None:
    assert [plan(tasks=6000).tasks_for(people) for people in (1, 10, 50)] == [400, 4000, 6000]


def test_an_environment_is_kept_and_a_strange_directory_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    with pytest.raises(InvalidInput, match="without tool"):
        install("tool==1", tmp_path, "tool", print)
    (tmp_path / "bin/tool").touch()
    said: list[str] = []
    install("tool==1", tmp_path, "tool", said.append)
    assert said == []


def test_the_stores_of_others_are_read(tmp_path: Path) -> None:
    potato = Potato(tmp_path, tmp_path)
    potato.output = tmp_path / "out"
    for person, labels in (
        ("anna", {"task-1": [["better", "A"]], "task-2": []}),
        ("ben", {"task-1": [["better", "B"]]}),
    ):
        (potato.output / person).mkdir(parents=True)
        state = {"user_id": person, "instance_id_to_label_to_value": labels}
        (potato.output / person / "user_state.json").write_text(json.dumps(state))
    kept = balance(["task-1 anna", "task-2 anna", "task-1 ben"], potato.stored(), wanted=1)
    assert (kept.lost, kept.surplus, kept.doubled) == (1, 1, 0)

    feedloop = Feedloop(tmp_path, tmp_path)
    feedloop.store = tmp_path / "feedloop.db"
    with closing(sqlite3.connect(feedloop.store)) as store, store:
        store.execute("create table comparisons (id text, status text)")
        store.execute("insert into comparisons values ('x', 'completed'), ('y', 'pending')")
    kept = balance(["x", "x", "y"], feedloop.stored(), wanted=1)
    assert (kept.stored, kept.lost, kept.surplus) == (1, 2, 0)

    studio = LabelStudio(tmp_path, tmp_path)
    studio.data = tmp_path
    with closing(sqlite3.connect(tmp_path / "label_studio.sqlite3")) as store, store:
        store.execute("create table task_completion (id int, task_id int, completed_by_id int, was_cancelled int)")
        store.execute("insert into task_completion values (1, 7, 2, 0), (2, 7, 2, 0), (3, 7, 3, 0), (4, 8, 3, 1)")
    kept = balance(["1", "3"], studio.stored(), wanted=1)
    assert (kept.stored, kept.untold, kept.surplus, kept.doubled) == (3, 1, 2, 1)
