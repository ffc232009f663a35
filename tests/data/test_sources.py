"""Public data sets become project files: each text, each place and each verdict as it stands in them.

On rows we made up in the same formats; and on the real files, where a directory holds them.
"""

import csv
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.core.comparisons import check_comparisons
from app.core.errors import InvalidInput
from app.core.forms import parse_protocol, segments_of
from app.core.settings import ROOT
from app.data.commands import commands
from app.data.sources import READERS, write
from app.data.sources.files import Dataset
from app.simulation.recorded import read_recorded

REAL = Path(os.environ.get("PALATE_TEST_PUBLIC_DATA") or ROOT.parent / "shared" / "data")


def lines(*values: object) -> str:
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


def llmfao(where: Path, judgements: str | None = None) -> Path:
    def pair(number: int, x: int, said_x: str, y: int, said_y: str) -> dict[str, Any]:
        texts = {"model_x": x, "result_x": said_x, "model_y": y, "result_y": said_y}
        return {"id": number, "prompt": 1, "text": "Sum?", "type": "maths", "slug": "sum", "note": None} | texts

    (where / "models.jsonl").write_text(lines({"id": 5, "name": "Owl, 7B"}, {"id": 9, "name": "Fox"}))
    (where / "pairs-crowd.jsonl").write_text(
        lines(
            pair(0, 5, "4", 9, ""), pair(1, 9, "Four\u2028.", 5, "4"), pair(2, 5, "4", 9, ""), pair(3, 5, "4", 9, "5")
        )
    )
    (where / "crowd-instruction.md").write_text("# Which is better?\n")
    head = "id,prompt,model_x,model_y,worker,winner,left,right\n"
    (where / "crowd-comparisons.csv").write_text(
        head
        + (
            judgements
            or '0,1,5,9,58,tie,"Owl, 7B",Fox\n0,1,5,9,83,left,"Owl, 7B",Fox\n1,1,9,5,58,left,Fox,"Owl, 7B"\n'
            '1,1,9,5,0,left,"Owl, 7B",Fox\n2,1,5,9,83,right,"Owl, 7B",Fox\n'
        )
    )
    return where


def pandalm(where: Path, **change: object) -> Path:
    def item(number: int, **said: object) -> dict[str, Any]:
        texts = {"instruction": "Rewrite.", "input": "A text.", "response1": "One.", "response2": ""}
        votes = {"annotator1": 0, "annotator2": 1, "annotator3": 2}
        return {"idx": number, "motivation_app": "App", "cmp_key": "owl-7b_fox-6.9B"} | texts | votes | said

    items = [item(0), item(1, input="", response2=True), item(2, **change)]
    (where / "testset-v1.json").write_text(json.dumps(items))
    return where


def oasst(where: Path) -> Path:
    def message(name: str, role: str, *replies: object, **more: object) -> dict[str, Any]:
        return {"message_id": name, "role": role, "text": f"Text {name}", "replies": list(replies)} | more

    deep = message("p2", "prompter", *(message(f"d{n}", "assistant", rank=n) for n in (1, 0)))
    replies = [
        message("a", "assistant", rank=2),
        message("b", "assistant", deep, rank=0, synthetic=True, model_name="owl"),
        message("c", "assistant", rank=1),
        message("unranked", "assistant", rank=None),
    ]
    single = message("p3", "prompter", message("x", "assistant"))
    trees = [{"prompt": message("p1", "prompter", *replies), "message_tree_id": "p1"}, {"prompt": single}]
    (where / "en_tree.jsonl").write_text(lines(*trees))
    return where


def only(found: list[Dataset]) -> Dataset:
    (one,) = found
    return one


def test_llmfao_keeps_items_workers_ties_and_who_stood_where(tmp_path: Path) -> None:
    found = only(READERS["llmfao"](llmfao(tmp_path)))
    assert [(row["id"], row["answers_needed"]) for row in found.comparisons] == [("0", 2), ("1", 2), ("2", 1)]
    assert found.comparisons[1] == {
        "id": "1",
        "prompt": "Sum?",
        "completions": [{"text": "Four\u2028.", "source": "Fox"}, {"text": "4", "source": "Owl, 7B"}],
        "answers_needed": 2,
        "metadata": {"type": "maths", "slug": "sum"},
    }
    assert [(one["id"], one["worker"], one["outcome"], one["tiers"]) for one in found.answers] == [
        ("0", "58", "tie", [[0, 1]]),
        ("0", "83", "prefer", [[0], [1]]),
        ("1", "58", "prefer", [[0], [1]]),
        ("1", "0", "prefer", [[1], [0]]),
        ("2", "83", "prefer", [[1], [0]]),
    ]
    assert found.project["guidelines"] == "# Which is better?\n"


def test_pandalm_has_three_places_and_reads_true_as_the_word(tmp_path: Path) -> None:
    found = only(READERS["pandalm"](pandalm(tmp_path)))
    first, second, _ = found.comparisons
    assert first["prompt"] == "Rewrite.\n\nA text."
    assert first["completions"] == [{"text": "One.", "source": "owl-7b"}, {"text": "", "source": "fox-6.9B"}]
    assert (second["prompt"], second["completions"][1]["text"]) == ("Rewrite.", "True")
    assert {row["answers_needed"] for row in found.comparisons} == {3}
    assert [(one["worker"], one["outcome"], one["tiers"]) for one in found.answers[:3]] == [
        ("1", "tie", [[0, 1]]),
        ("2", "prefer", [[0], [1]]),
        ("3", "prefer", [[1], [0]]),
    ]


def test_oasst_makes_a_project_for_each_number_of_ranked_replies(tmp_path: Path) -> None:
    two, three = READERS["oasst"](oasst(tmp_path))
    assert (two.name, three.name) == ("oasst-2", "oasst-3")
    assert three.comparisons[0]["messages"] == [{"role": "user", "content": "Text p1"}]
    assert [one["text"] for one in three.comparisons[0]["completions"]] == ["Text a", "Text b", "Text c"]
    assert [one["source"] for one in three.comparisons[0]["completions"]] == ["a person", "owl", "a person"]
    assert three.answers[0]["tiers"] == [[1], [2], [0]]
    assert [message["role"] for message in two.comparisons[0]["messages"]] == ["user", "assistant", "user"]
    assert two.answers[0]["tiers"] == [[1], [0]]
    assert segments_of(parse_protocol(three.project["protocol"])) == 3


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("llmfao", lambda where: llmfao(where, "0,1,5,9,58,both,Fox,Owl\n"), "crowd-comparisons.csv, row 1, winner"),
        ("llmfao", lambda where: llmfao(where, "7,1,5,9,58,tie,Fox,Owl\n"), "No pair of these two models has this id."),
        ("pandalm", lambda where: pandalm(where, annotator2=3), "testset-v1.json, row 3, annotator2"),
        ("pandalm", lambda where: pandalm(where, cmp_key="owl"), "Must name two models."),
        ("llmfao", lambda where: where, "models.jsonl: Cannot be read: No such file"),
        ("oasst", lambda where: where, "There is no *_tree.jsonl"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, make: Any, words: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        READERS[name](make(tmp_path))
    assert words in str(refused.value)


def test_the_command_writes_what_import_and_replay_take(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = CliRunner().invoke(commands, ["convert", "oasst", str(oasst(tmp_path)), "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert f"{out / 'oasst-3'}: 1 comparisons, 1 answers" in done.stdout
    rows, recorded = read_recorded(out / "oasst-3", 3)
    assert (len(rows), recorded[0].worker) == (1, "consensus")
    unknown = CliRunner().invoke(commands, ["convert", "mnist", str(tmp_path), "-o", str(out)])
    assert unknown.exit_code != 0
    assert "llmfao, oasst, pandalm" in str(unknown.exception)


@pytest.mark.skipif(
    not REAL.is_dir(), reason="THE REAL DATA SETS WERE NOT READ: set PALATE_TEST_PUBLIC_DATA to the directory of them"
)
def test_the_real_files_are_read_whole(tmp_path: Path) -> None:
    found = {one.name: one for name, read in READERS.items() for one in read(REAL / name)}
    for one in found.values():
        segments = segments_of(parse_protocol(one.project["protocol"]))
        rows, recorded = read_recorded(write(one, tmp_path / one.name), segments)
        assert (len(rows), len(recorded)) == (len(one.comparisons), len(one.answers))
        people = Counter(answer.name for answer in recorded)
        assert all(people[row.external_id or ""] == row.answers_needed for row in rows)
    with (REAL / "llmfao" / "crowd-comparisons.csv").open(newline="") as file:
        winners = Counter(row["winner"] for row in csv.DictReader(file))
    crowd = Counter(answer["outcome"] for answer in found["llmfao"].answers)
    assert (crowd["tie"], crowd["prefer"]) == (winners["tie"], winners["left"] + winners["right"])
    items = json.loads((REAL / "pandalm" / "testset-v1.json").read_text())
    votes = Counter(item[f"annotator{n}"] for item in items for n in (1, 2, 3))
    assert Counter(answer["outcome"] for answer in found["pandalm"].answers)["tie"] == votes[0]
    assert len(found["pandalm"].answers) == 3 * len(items)
    assert sum(len(one.comparisons) for name, one in found.items() if name.startswith("oasst")) > 200


def test_rows_of_every_source_pass_the_check_of_an_import(tmp_path: Path) -> None:
    for name, make in (("llmfao", llmfao), ("pandalm", pandalm), ("oasst", oasst)):
        where = tmp_path / name
        where.mkdir()
        for one in READERS[name](make(where)):
            segments = segments_of(parse_protocol(one.project["protocol"]))
            report = check_comparisons((json.dumps(row).encode() for row in one.comparisons), segments)
            assert report.problems == []
