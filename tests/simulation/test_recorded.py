"""Recorded answers are given as they stand in the file, in whatever order the page shows the texts."""

import json
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from app.core.comparisons import check_comparisons
from app.core.errors import InvalidInput
from app.core.forms import Choose, Compare, Field, PreferenceDraft, Rank
from app.simulation.page import LabelPage, ShownTask, plain_words
from app.simulation.recorded import Memory, Recorded, read_recorded
from app.web.markdown import to_html

TEXTS = ["alpha", "beta", "gamma"]
COMPARE = Compare(type="compare", key="k", question="q", strength=4)
CHOOSE = Choose(type="choose", key="k", question="q", answers=3)
RANK = Rank(type="rank", key="k", question="q", answers=3)


def recorded(texts: list[str], outcome: str, tiers: list[list[int]], **more: Any) -> Recorded:
    row = {"prompt": more.pop("prompt", "Which?"), "completions": texts, "id": more.pop("row", "r")}
    (good,) = check_comparisons([json.dumps(row).encode()], len(texts)).good
    return Recorded(good, "w", outcome, tiers, more.pop("strength", None))


@pytest.mark.parametrize(
    ("field", "outcome", "tiers", "strength"),
    [
        (COMPARE, "prefer", [[1], [0]], 2),
        (COMPARE, "tie", [[0, 1]], 0),
        (COMPARE, "all_bad", [[0, 1]], None),
        (CHOOSE, "best", [[2], [0, 1]], None),
        (CHOOSE, "all_bad", [[0, 1, 2]], None),
        (RANK, "prefer", [[2], [0], [1]], None),
        (RANK, "prefer", [[1, 2], [0]], None),
        (RANK, "tie", [[0, 1, 2]], None),
        (RANK, "all_bad", [[0, 1, 2]], None),
    ],
)
def test_what_is_sent_means_what_was_recorded_in_every_order(
    field: Field, outcome: str, tiers: list[list[int]], strength: int | None
) -> None:
    texts = TEXTS[: field.segments or 0]
    one = recorded(texts, outcome, tiers, strength=strength)
    for order in permutations(range(len(texts))):
        shown = [texts[position] for position in order]
        (draft,) = field.parse(one.form(ShownTask("k", field.type, "Which?", shown)), shown)
        assert isinstance(draft, PreferenceDraft)
        meant = [sorted(order[slot] for slot in tier) for tier in draft.tiers]
        assert (draft.outcome, meant, draft.strength) == (outcome, tiers, strength)


def test_equal_texts_of_one_row_each_have_their_place() -> None:
    one = recorded(["same", "same", "other"], "prefer", [[2], [0, 1]])
    shown = ShownTask("k", "rank", "Which?", ["same", "other", "same"])
    assert one.form(shown) == {"order": "2>1=3"}


def test_a_memory_knows_a_task_by_prompt_and_texts_and_gives_each_answer_once() -> None:
    memory = Memory([recorded(TEXTS, "tie", [[0, 1, 2]]), recorded(["x", "y"], "tie", [[0, 1]])])
    assert memory.take(ShownTask("k", "rank", "Another?", TEXTS)) is None
    assert memory.take(ShownTask("k", "rank", "Which?", ["alpha", "beta", "delta"])) is None
    assert memory.take(ShownTask("k", "rank", "Which?", TEXTS[::-1])) is not None
    assert memory.take(ShownTask("k", "rank", "Which?", TEXTS)) is None
    assert memory.given == {"r"}


def test_rows_that_look_the_same_are_told_apart_by_which_one_is_meant() -> None:
    rows = [recorded(["x", "y"], "prefer", [[n], [1 - n]], row=str(n)) for n in (0, 1)]
    memory = Memory(rows)
    memory.next = "1"
    found = memory.take(ShownTask("k", "compare", "Which?", ["x", "y"]))
    assert found is rows[1]


@pytest.mark.parametrize(
    "prompt", ["Plain & simple <b>", "# Head\n\n- a `x < y`\n- b\n\n```python\nprint(1)\n```", "a\n\nb"]
)
def test_a_prompt_is_recognised_as_it_is_shown(prompt: str) -> None:
    html = f"""<article class="task" data-key="k"><div class="asked material" dir="auto">{to_html(prompt)}</div>
    <div class="material source" hidden></div><div class="material source" hidden> a </div></article>"""
    (task,) = LabelPage(html).tasks
    assert task.prompt == plain_words(to_html(prompt)) != ""
    assert task.answers == ["", " a "]


GOOD_ROW = '{"id": "a", "prompt": "Which?", "completions": ["x", "y"]}\n'
GOOD_ANSWER = '{"id": "a", "worker": "7", "outcome": "tie", "tiers": [[0, 1]]}\n'


def folder(where: Path, rows: str, answers: str) -> Path:
    (where / "comparisons.jsonl").write_text(rows)
    (where / "answers.jsonl").write_text(answers)
    return where


def test_a_folder_is_read_in_the_order_of_its_rows(tmp_path: Path) -> None:
    second = GOOD_ROW.replace('"a"', '"b"')
    rows, said = read_recorded(folder(tmp_path, GOOD_ROW + second, GOOD_ANSWER.replace('"a"', '"b"') + GOOD_ANSWER), 2)
    assert [row.external_id for row in rows] == ["a", "b"]
    assert [(one.name, one.worker, one.outcome) for one in said] == [("b", "7", "tie"), ("a", "7", "tie")]


@pytest.mark.parametrize(
    ("rows", "answers", "words"),
    [
        ('{"prompt": "Which?"}\n', GOOD_ANSWER, "comparisons.jsonl, row 1, completions: Missing."),
        (GOOD_ROW.replace('"id": "a", ', ""), GOOD_ANSWER, "Every row needs an id"),
        (GOOD_ROW, GOOD_ANSWER.replace('"a"', '"z"'), "answers.jsonl, row 1, id: comparisons.jsonl has no such row. z"),
        (GOOD_ROW, GOOD_ANSWER.replace("[0, 1]", "[0]"), "answers.jsonl, row 1, tiers: Must name each position once."),
        (GOOD_ROW, GOOD_ANSWER.replace('"7"', "7"), "answers.jsonl, row 1, worker: Must be text. 7"),
        (GOOD_ROW, GOOD_ANSWER * 2, "One person answers a task once; this worker answers row a more often. 7"),
        (GOOD_ROW, "[]\n", "answers.jsonl, row 1, row: A row must be an object"),
    ],
)
def test_what_does_not_fit_is_named_with_its_file_and_line(tmp_path: Path, rows: str, answers: str, words: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_recorded(folder(tmp_path, rows, answers), 2)
    assert words in str(refused.value)


def test_a_folder_without_answers_is_said_to_have_none(tmp_path: Path) -> None:
    (tmp_path / "comparisons.jsonl").write_text(GOOD_ROW)
    with pytest.raises(InvalidInput, match=r"answers\.jsonl: Cannot be read: No such file"):
        read_recorded(tmp_path, 2)
