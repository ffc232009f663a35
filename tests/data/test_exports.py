"""Exports: the right rows, the same bytes for the same labels, nobody's identity, every download written down."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import queue
from app.core.comparisons import check_comparisons
from app.core.errors import InvalidInput
from app.core.imported import add_comparisons
from app.core.records import AuditEvent, Export, Prompt, Task, User
from app.core.records.base import Json
from app.core.settings import Settings
from app.data.counts import waterfall
from app.data.exports import create_export, directory_of, preview
from app.data.forms import ExportOptions, options_of
from tests import factories
from tests.data.conftest import World

SignIn = Callable[[User], TestClient]


def write(db: Session, settings: Settings, world: World, **choices: str) -> tuple[Export, Path]:
    export = create_export(db, settings, world.project, options_of(choices), user_id=world.admin.id)
    return export, directory_of(settings, export)


def lines(directory: Path, split: str = "train") -> list[Json]:
    return [json.loads(line) for line in (directory / f"{split}.jsonl").read_bytes().splitlines()]


def test_conversational_rows_are_current_decided_answers_in_their_splits(
    db: Session, settings: Settings, world: World
) -> None:
    export, directory = write(db, settings, world, shape="trl", format="jsonl")
    rows = lines(directory)
    assert [row["prompt"][0]["content"] for row in rows] == ["First", "Second", "Late"]
    assert rows[1] == {
        "prompt": [{"role": "user", "content": "Second"}],
        "chosen": [{"role": "assistant", "content": "Second two é 🙂."}],
        "rejected": [{"role": "assistant", "content": "Second one."}],
    }
    assert [row["prompt"][0]["content"] for row in lines(directory, "validation")] == ["Held"]
    assert {file["name"] for file in export.files} == {"train.jsonl", "validation.jsonl", "export.json"}


def test_a_tie_becomes_both_orders_when_asked_and_both_bad_nothing(
    db: Session, settings: Settings, world: World
) -> None:
    _, directory = write(db, settings, world, shape="trl-plain", format="jsonl", ties="both", late="drop")
    rows = lines(directory)
    assert [row["prompt"] for row in rows] == [
        f"User: {text}\n\nAssistant:" for text in ("First", "Second", "Tie", "Tie")
    ]
    tie = [(row["chosen"], row["rejected"]) for row in rows[2:]]
    assert tie == [(" Tie one.", " Tie two é 🙂."), (" Tie two é 🙂.", " Tie one.")]


def test_an_imported_comparison_leaves_with_its_id_metadata_and_sources(
    db: Session, settings: Settings, world: World
) -> None:
    said = [{"text": "", "source": "owl-7b"}, "Red."]
    row = {"prompt": "Imported?", "completions": said, "id": "i-1", "metadata": {"topic": "ü"}}
    add_comparisons(db, world.project, check_comparisons([json.dumps(row).encode()], 2).good, "import:rows")
    task = db.scalars(select(Task).where(Task.external_id == "i-1")).one()
    factories.make_preference(db, task, world.kim, tiers=[[1], [0]])
    _, directory = write(db, settings, world, shape="native", format="jsonl")
    rows = lines(directory) + lines(directory, "validation")
    (found,) = [row for row in rows if row["comparison_id"] == "i-1"]
    assert (found["strategy"], found["comparison_metadata"]) == ("imported", '{"topic":"ü"}')
    assert [(c["author"], c["messages"][0]["content"]) for c in found["completions"]] == [
        ("owl-7b", ""),
        ("source", "Red."),
    ]
    assert {row["comparison_metadata"] for row in rows if row["comparison_id"] is None} == {None}


def test_native_keeps_everything_and_names_nobody(db: Session, settings: Settings, world: World) -> None:
    _, directory = write(db, settings, world, shape="native", format="jsonl")
    rows = lines(directory)
    by_text = {(row["prompt_messages"][0]["content"], row["withdrawn"]): row for row in rows}
    assert {text for text, _ in by_text} == {"First", "Second", "Tie", "Bad", "Late", "Back", "Gold", "Skipped"}
    assert by_text["Back", True]["revision_of"] == by_text["Back", False]["label_id"]
    assert by_text["Skipped", False]["outcome"] == "skipped"
    assert by_text["Bad", False]["outcome"] == "all_bad"
    assert by_text["Late", False]["late"] is True
    assert (by_text["First", False]["prompt_sensitive"], by_text["Tie", False]["prompt_sensitive"]) == (True, False)
    assert (by_text["First", False]["seen_to_end"], by_text["Tie", False]["seen_to_end"]) == ([1], None)
    assert json.loads(by_text["Gold", False]["gold"]) == {"tiers": [[0], [1]]}
    first = by_text["First", False]
    assert [c["messages"][0]["content"] for c in first["completions"]] == ["First one.", "First two é 🙂."]
    assert {c["policy_version"] for c in first["completions"]} == {"v0"}
    raw = b"".join(path.read_bytes() for path in directory.iterdir()).decode()
    for user in db.scalars(select(User)):
        assert user.email not in raw
        assert user.name not in raw
    assert first["annotator"].startswith("annotator-")
    assert len({row["annotator"] for row in rows}) == 2
    _, without = write(db, settings, world, shape="native", format="jsonl", annotators="drop")
    assert {row["annotator"] for row in lines(without)} == {None}


@pytest.mark.parametrize("shape", ["trl", "trl-plain", "native"])
@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
def test_same_choices_on_the_same_labels_are_the_same_bytes(
    db: Session, settings: Settings, world: World, shape: str, file_format: str
) -> None:
    choices = {"shape": shape, "format": file_format, "ties": "both"}
    first, one = write(db, settings, world, **choices)
    second, two = write(db, settings, world, **choices)
    assert one != two
    assert first.files == second.files
    for file in first.files:
        assert (one / file["name"]).read_bytes() == (two / file["name"]).read_bytes()
    prompt = db.scalars(select(Prompt).where(Prompt.messages[0]["content"].astext == "Skipped")).one()
    factories.make_preference(db, factories.make_task(db, prompt), world.kim)
    third, _ = write(db, settings, world, **choices)
    assert third.files != first.files


@pytest.mark.parametrize("shape", ["trl", "trl-plain", "native"])
def test_parquet_and_jsonl_hold_the_same_rows(db: Session, settings: Settings, world: World, shape: str) -> None:
    _, jsonl = write(db, settings, world, shape=shape, format="jsonl")
    _, parquet = write(db, settings, world, shape=shape, format="parquet")
    assert pq.read_table(parquet / "train.parquet").to_pylist() == lines(jsonl)


@pytest.mark.parametrize(
    "choices",
    [
        {"shape": "trl"},
        {"shape": "trl", "ties": "both"},
        {"shape": "trl-plain", "late": "drop"},
        {"shape": "native"},
        {"shape": "native", "late": "drop"},
    ],
)
def test_the_counts_before_are_the_rows_after(
    db: Session, settings: Settings, world: World, choices: dict[str, str]
) -> None:
    options = options_of(choices)
    falls = waterfall(db, world.project.id, options)
    export, _ = write(db, settings, world, **choices)
    written = {file["split"]: file["rows"] for file in export.files if file["split"]}
    assert falls.splits == written
    assert falls.labels + sum(falls.falls.values()) == falls.rows
    assert all(0 <= start <= 100 and start + width <= 100.001 for *_, start, width in falls.bars())


@pytest.mark.parametrize("ties", ["drop", "both"])
def test_several_answers_are_counted_as_the_pairs_they_make(
    db: Session, settings: Settings, world: World, ties: str
) -> None:
    said: list[tuple[str, list[list[int]]]] = [
        ("prefer", [[2], [0, 1], [3]]),
        ("best", [[1], [0, 2, 3]]),
        ("tie", [[0, 1, 2, 3]]),
        ("all_bad", [[0, 1, 2, 3]]),
    ]
    for outcome, tiers in said:
        prompt = factories.make_prompt(db, world.project)
        texts = [factories.make_completion(db, prompt, text) for text in "abcd"]
        factories.make_preference(db, factories.make_task(db, prompt, texts), world.admin, outcome=outcome, tiers=tiers)
    falls = waterfall(db, world.project.id, options_of({"ties": ties}))
    export, directory = write(db, settings, world, ties=ties, format="jsonl")
    assert falls.splits == {file["split"]: file["rows"] for file in export.files if file["split"]}
    assert falls.labels + sum(falls.falls.values()) == falls.rows
    assert falls.falls["Pairs of several answers"] == 5 + 1 + 3 - 3 + 6
    chosen = [tuple(row[side][0]["content"] for side in ("chosen", "rejected")) for row in lines(directory)]
    assert {("c", "a"), ("c", "b"), ("c", "d"), ("a", "d"), ("b", "d"), ("b", "a"), ("b", "c")} <= set(chosen)


def test_the_card_tells_the_choices_and_the_labels(db: Session, settings: Settings, world: World) -> None:
    export, directory = write(db, settings, world, shape="trl", format="jsonl", ties="both")
    card = json.loads((directory / "export.json").read_text())
    assert card["options"] == {
        "shape": "trl", "format": "jsonl", "ties": "both", "both_bad": "drop", "late": "keep",
    }  # fmt: skip
    assert card["files"] == [file for file in export.files if file["split"]]
    assert len(card["snapshot"]["hash"]) == 64
    assert card["snapshot"]["counts"]["ties"] == 1


def test_nothing_is_left_behind_when_no_row_comes_out(db: Session, settings: Settings, world: World) -> None:
    empty = factories.make_project(db)
    with pytest.raises(InvalidInput, match="no rows"):
        create_export(db, settings, empty, ExportOptions(), user_id=None)
    assert list((settings.home / "exports").iterdir()) == []


def test_a_preview_is_the_first_rows(db: Session, settings: Settings, world: World) -> None:
    shown = [json.loads(row) for row in preview(db, settings, world.project, ExportOptions())]
    assert [row["prompt"][0]["content"] for row in shown] == ["First", "Second"]


def test_an_admin_creates_and_downloads_and_it_is_written_down(world: World, sign_in: SignIn, db: Session) -> None:
    client = sign_in(world.admin)
    page = client.get("/projects/kitchen/exports")
    assert page.status_code == 200
    fragment = client.get("/projects/kitchen/exports/_preview", params={"shape": "trl", "ties": "both"})
    assert "<!doctype" not in fragment.text
    assert "Second" in fragment.text
    created = client.post("/projects/kitchen/exports", data={"shape": "trl", "format": "jsonl", "ties": "drop"})
    assert created.status_code == 303
    at = created.headers["location"]
    assert "load_dataset(" in client.get(at).text
    file = client.get(f"{at}/train.jsonl")
    assert file.headers["content-disposition"].startswith("attachment")
    assert json.loads(file.text.splitlines()[0])["prompt"][0]["content"] == "First"
    actions = db.scalars(select(AuditEvent.action).order_by(AuditEvent.id)).all()
    assert [action for action in actions if "export" in action] == ["created export", "downloaded export"]


@pytest.mark.parametrize("name", ["..%2F..%2Fsecrets%2Fpseudonym_key", "nothing.jsonl", "%00", "train.jsonl%00"])
def test_only_files_of_the_export_can_be_downloaded(world: World, sign_in: SignIn, name: str) -> None:
    client = sign_in(world.admin)
    at = client.post("/projects/kitchen/exports", data={"format": "jsonl"}).headers["location"]
    assert client.get(f"{at}/{name}").status_code == 404


def test_annotators_strangers_and_unknown_choices_get_nothing(
    world: World, sign_in: SignIn, client: TestClient, db: Session
) -> None:
    assert client.get("/projects/kitchen/exports").status_code == 303
    stranger = factories.make_user(db)
    db.commit()
    assert sign_in(stranger).get("/projects/kitchen/exports").status_code == 404
    annotator = sign_in(world.kim)
    assert annotator.get("/projects/kitchen/exports").status_code == 403
    assert annotator.post("/projects/kitchen/exports", data={"shape": "trl"}).status_code == 403
    assert sign_in(world.admin).get("/projects/kitchen/exports?shape=csv").status_code == 422


def test_native_holds_ratings_marks_and_demonstrations(db: Session, settings: Settings, world: World) -> None:
    five = [{"value": n, "label": ""} for n in range(1, 6)]
    fields: list[Json] = [
        {"type": "edit", "key": "better", "question": "Better?"},
        {"type": "rate", "key": "clear", "question": "Clear?", "options": five},
        {"type": "annotate", "key": "errors", "question": "Wrong?", "labels": [{"key": "wrong", "label": "Wrong"}]},
    ]
    project = factories.make_project(db, slug="bench", members={world.kim: "annotator"}, fields=fields)
    prompt = factories.make_prompt(db, project, "Judge me")
    answer = factories.make_completion(db, prompt, "A 🙂 text.")
    factories.make_task(db, prompt, [answer])
    db.commit()
    task = queue.next_task(db, project, world.kim)
    assert task is not None
    marks = '[{"start": 2, "end": 3, "label": "wrong", "comment": "no smile"}]'
    sent = {"better": {"text": "A text."}, "clear": {"value_1": "4"}, "errors": {"spans": marks}}
    queue.submit(db, world.kim, task.key, task.token, sent)
    queue.undo(db, project, world.kim)
    export = create_export(db, settings, project, options_of({"shape": "native", "format": "jsonl"}), user_id=None)
    rows = lines(directory_of(settings, export))
    said = [
        (r["outcome"], r["criterion"], r["position"], r["value"], r["span"], r["text"], r["withdrawn"]) for r in rows
    ]
    rated = [
        ("rated", "clear", 0, 4.0, None, ""),
        ("rated", "errors", 0, 1.0, None, ""),
        ("rated", "errors.wrong", 0, None, [2, 3], "no smile"),
    ]
    written = ("demonstrated", None, None, None, None, "A text.")
    expected = [
        *((*one, False) for one in rated),
        *((*one, True) for one in rated),
        (*written, False),
        (*written, True),
    ]
    assert said == expected
    assert {row["edited_from"] for row in rows if row["outcome"] == "demonstrated"} == {str(answer.id)}
    assert json.loads(rows[0]["scale"])["options"] == five
    assert [row["revision_of"] for row in rows[3:6]] == [row["label_id"] for row in rows[:3]]
    assert len({row["label_id"] for row in rows}) == len(rows)
    export = create_export(db, settings, project, options_of({"shape": "native"}), user_id=None)
    table = pq.read_table(directory_of(settings, export) / "train.parquet")
    assert table.column("span").to_pylist()[2] == [2, 3]
