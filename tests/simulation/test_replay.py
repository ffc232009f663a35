"""Recorded answers through the pages of a real server, and the check that tells when one is not as it was."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from app.core.comparisons import CheckedComparison
from app.core.database import UnitOfWork
from app.core.imported import add_comparisons
from app.core.records import Assignment, Preference, Project, Task
from app.core.records.base import Json
from app.core.settings import Settings
from app.simulation.recorded import Recorded, read_recorded
from app.simulation.replay import Played, replay
from app.simulation.replay_command import commands
from app.simulation.stored import Compared, compare
from tests import factories
from tests.browser.conftest import Server

RANK = [{"type": "rank", "key": "order", "question": "Order?", "answers": 3, "all_bad": True, "ties": True}]
SIDES: dict[str, tuple[str, list[list[int]]]] = {
    "first": ("prefer", [[0], [1]]),
    "second": ("prefer", [[1], [0]]),
    "tie": ("tie", [[0, 1]]),
    "bad": ("all_bad", [[0, 1]]),
}


@pytest.fixture
def running(app: FastAPI, settings: Settings) -> Iterator[Settings]:
    """Settings whose port is that of a running server."""
    server = Server(app)
    yield settings.model_copy(update={"port": server.port})
    server.stop()


def row(name: str, prompt: str, *texts: str, people: int) -> Json:
    return {"id": name, "prompt": prompt, "completions": list(texts), "answers_needed": people}


def said(name: str, worker: str, what: str) -> Json:
    outcome, tiers = SIDES[what]
    return {"id": name, "worker": worker, "outcome": outcome, "tiers": tiers}


def written(where: Path, rows: list[Json], answers: list[Json]) -> Path:
    (where / "comparisons.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    (where / "answers.jsonl").write_text("".join(json.dumps(one) + "\n" for one in answers))
    return where


ROWS = [
    row("1", "What is **2 + 2**?", "4", "22 & more", people=3),
    row("2", "Say <nothing>.", "", "Nothing.", people=2),
    row("3", "Which is it?", "positive", "Positive", people=2),
    row("4", "Which is it?", "positive", "Positive", people=2),  # the same texts once more
    row("5", "And\n\n- a list?", "`yes`", "# no", people=1),
]
ANSWERS = [
    said("5", "cleo", "second"),
    said("1", "ann", "first"),
    said("1", "bob", "tie"),
    said("1", "cleo", "bad"),
    said("2", "bob", "second"),
    said("2", "ann", "tie"),
    said("3", "ann", "first"),
    said("3", "bob", "tie"),
    said("4", "ann", "second"),
    said("4", "cleo", "first"),
]


def imported(
    db: Session, project: Project, folder: Path, segments: int = 2
) -> tuple[list[CheckedComparison], list[Recorded]]:
    rows, recorded = read_recorded(folder, segments)
    add_comparisons(db, project, rows, "import:test")
    db.commit()
    return rows, recorded


def played(uow: UnitOfWork, settings: Settings, project: Project, *what: Any) -> tuple[Played, Compared]:
    rows, recorded = what
    done = replay(uow, settings, project.slug, rows, recorded, say=lambda _: None)
    with uow() as db:
        return done, compare(db, project.slug, recorded, done.emails)


def test_every_answer_is_stored_as_it_was_and_nobody_skips(
    running: Settings, uow: UnitOfWork, db: Session, tmp_path: Path
) -> None:
    project = factories.make_project(db)
    done, compared = played(uow, running, project, *imported(db, project, written(tmp_path, ROWS, ANSWERS)))
    assert compared.same, compared.table()
    assert compared.equal == {"prefer": 6, "tie": 3, "all_bad": 1}
    assert (done.handed_out, done.answered, done.skipped, done.not_offered) == (10, 10, 0, [])
    assert db.scalars(select(Task.state)).all() == ["done"] * 5
    assert len(done.emails) == 3
    orders = db.scalars(select(Assignment.display_order)).all()
    assert {tuple(order) for order in orders} <= {(0, 1), (1, 0)}
    assert ["all", "10", "10", "0", "0"] in [line.split() for line in compared.table().splitlines()]


def test_rankings_are_replayed_with_their_ties(running: Settings, uow: UnitOfWork, db: Session, tmp_path: Path) -> None:
    project = factories.make_project(db, fields=RANK)
    rows = [row(str(n), f"Prompt {n}", "one", "two", "three", people=2) for n in range(6)]
    tiers = [[[2], [0], [1]], [[0, 1], [2]], [[1], [0, 2]], [[0], [1], [2]], [[0, 1, 2]], [[2], [1], [0]]]
    answers = [
        {"id": str(n), "worker": worker, "outcome": "tie" if len(order) == 1 else "prefer", "tiers": order}
        for n in range(6)
        for worker, order in (("a", tiers[n]), ("b", tiers[5 - n]))
    ]
    done, compared = played(uow, running, project, *imported(db, project, written(tmp_path, rows, answers), 3))
    assert compared.same, compared.table()
    assert done.skipped == 0


def test_workers_skip_what_they_have_no_answer_for(
    running: Settings, uow: UnitOfWork, db: Session, tmp_path: Path
) -> None:
    project = factories.make_project(db)
    strange = factories.make_task(db, factories.make_prompt(db, project))
    done, compared = played(uow, running, project, *imported(db, project, written(tmp_path, ROWS, ANSWERS)))
    assert compared.same, compared.table()
    assert (done.answered, done.skipped, done.handed_out) == (10, 3, 13)
    db.refresh(strange)
    assert (strange.state, strange.answers) == ("open", 0)


def test_what_is_not_stored_as_it_was_is_told(running: Settings, uow: UnitOfWork, db: Session, tmp_path: Path) -> None:
    project = factories.make_project(db)
    rows, recorded = imported(db, project, written(tmp_path, ROWS, ANSWERS))
    done, _ = played(uow, running, project, rows, recorded)

    def again() -> Compared:
        db.commit()
        return compare(db, project.slug, recorded, done.emails)

    tie, other = db.scalars(select(Preference).where(Preference.outcome == "tie").limit(2)).all()
    db.execute(update(Preference).where(Preference.id == tie.id).values(outcome="all_bad"))
    assert (again().differing, again().equal.total()) == ({"tie": 1}, 9)
    turned = db.scalars(select(Preference).where(Preference.outcome == "prefer").limit(1)).one()
    db.execute(update(Preference).where(Preference.id == turned.id).values(tiers=turned.tiers[::-1]))
    assert again().differing == {"tie": 1, "prefer": 1}
    db.execute(delete(Preference).where(Preference.id == other.id))
    assert again().missing == {"tie": 1}
    factories.make_preference(db, factories.make_task(db, factories.make_prompt(db, project)), factories.make_user(db))
    told = again()
    assert (told.surplus, told.same) == (1, False)
    assert len(told.examples) == 3


def test_a_task_without_a_place_is_told_as_not_offered(
    running: Settings, uow: UnitOfWork, db: Session, tmp_path: Path
) -> None:
    project = factories.make_project(db)
    rows, recorded = imported(db, project, written(tmp_path, [ROWS[4]], [said("5", "a", "tie"), said("5", "b", "tie")]))
    done, compared = played(uow, running, project, rows, recorded)
    assert [one.worker for one in done.not_offered] == ["b"]
    assert (compared.missing, compared.same) == ({"tie": 1}, False)


def test_the_command_replays_and_fails_when_something_is_missing(
    running: Settings, db: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = factories.make_project(db, slug="crowd")
    folder = written(tmp_path, ROWS, ANSWERS)
    imported(db, project, folder)
    for name, value in (
        ("PALATE_HOME", str(running.home)),
        ("PALATE_DATABASE_URL", running.dsn),
        ("PALATE_PORT", str(running.port)),
    ):
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(commands, ["crowd", str(folder)])
    assert done.exit_code == 0, done.output
    assert "10 tasks handed out, 10 answered, 0 skipped, 0 not offered" in done.stdout
    again = CliRunner().invoke(commands, ["crowd", str(folder)])
    assert again.exit_code == 1
    assert "stored, but not in the file: 10" in again.stdout
