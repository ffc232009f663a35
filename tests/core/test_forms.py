"""Field types: what a protocol may say, what an answer may be, and how it reads."""

from typing import Any

import pytest

from app.core.errors import InvalidInput
from app.core.forms import (
    DEFAULT_PROTOCOL,
    Compare,
    PreferenceDraft,
    parse_answers,
    parse_protocol,
    segments_of,
    sentence_of,
)

CHOOSE = [{"type": "choose", "key": "overall", "question": "Which is the best?", "answers": 4, "all_bad": True}]
RANK = [{"type": "rank", "key": "overall", "question": "Best first.", "answers": 4, "ties": True, "all_bad": True}]
GRADED = [{**DEFAULT_PROTOCOL[0], "strength": 4}]


def answer(protocol: list[dict[str, Any]], **given: object) -> PreferenceDraft:
    fields = parse_protocol(protocol)
    draft = parse_answers(fields, {"overall": given}, [""] * segments_of(fields))[0]
    assert isinstance(draft, PreferenceDraft)
    return draft


@pytest.mark.parametrize(
    ("choice", "outcome", "tiers", "sentence"),
    [
        ("a", "prefer", [[0], [1]], "A is better"),
        ("b", "prefer", [[1], [0]], "B is better"),
        ("same", "tie", [[0, 1]], "Same"),
        ("both_bad", "all_bad", [[0, 1]], "Both bad"),
    ],
)
def test_a_choice_becomes_one_draft(choice: str, outcome: str, tiers: list[list[int]], sentence: str) -> None:
    draft = answer(DEFAULT_PROTOCOL, choice=choice, note=" why ")
    assert draft == PreferenceDraft("overall", outcome, tiers, None, "why")  # type: ignore[arg-type]
    assert sentence_of(parse_protocol(DEFAULT_PROTOCOL), [draft]) == sentence


@pytest.mark.parametrize(
    ("grade", "sentence"), [(1, "slightly better"), (2, "better"), (3, "clearly better"), (4, "much better")]
)
def test_strength_is_kept_and_said(grade: int, sentence: str) -> None:
    draft = answer(GRADED, choice="b", strength=str(grade))
    assert draft.strength == grade
    assert sentence_of(parse_protocol(GRADED), [draft]) == f"B is {sentence}"


@pytest.mark.parametrize(
    ("cell", "tiers", "grade"), [("a3", [[0], [1]], 3), ("b1", [[1], [0]], 1), ("same", [[0, 1]], 0)]
)
def test_a_cell_of_the_scale_says_side_and_strength(cell: str, tiers: list[list[int]], grade: int) -> None:
    draft = answer(GRADED, graded=cell)
    assert (draft.tiers, draft.strength) == (tiers, grade)


@pytest.mark.parametrize(
    ("given", "outcome", "tiers", "sentence"),
    [
        ({"choice": "3"}, "best", [[2], [0, 1, 3]], "3 is the best"),
        ({"choice": "1"}, "best", [[0], [1, 2, 3]], "1 is the best"),
        ({"choice": "all_bad"}, "all_bad", [[0, 1, 2, 3]], "All bad"),
    ],
)
def test_the_best_of_several(given: dict[str, object], outcome: str, tiers: list[list[int]], sentence: str) -> None:
    draft = answer(CHOOSE, **given)
    assert (draft.outcome, draft.tiers) == (outcome, tiers)
    assert sentence_of(parse_protocol(CHOOSE), [draft]) == sentence


@pytest.mark.parametrize(
    ("given", "outcome", "tiers", "sentence"),
    [
        ({"order": "3>1>4>2"}, "prefer", [[2], [0], [3], [1]], "3, then 1, then 4, then 2"),
        ({"order": "3>2=1>4"}, "prefer", [[2], [0, 1], [3]], "3, then 1 and 2, then 4"),
        ({"order": "4=3=2=1"}, "tie", [[0, 1, 2, 3]], "All the same"),
        (
            {"place_1": "2", "place_2": "4", "place_3": "1", "place_4": "2"},
            "prefer",
            [[2], [0, 3], [1]],
            "3, then 1 and 4, then 2",
        ),
        ({"choice": "all_bad", "place_1": ""}, "all_bad", [[0, 1, 2, 3]], "All bad"),
    ],
)
def test_an_order_with_ties(given: dict[str, object], outcome: str, tiers: list[list[int]], sentence: str) -> None:
    draft = answer(RANK, **given)
    assert (draft.outcome, draft.tiers) == (outcome, tiers)
    assert sentence_of(parse_protocol(RANK), [draft]) == sentence


@pytest.mark.parametrize(
    ("protocol", "given"),
    [
        (CHOOSE, {}),
        (CHOOSE, {"choice": "5"}),
        (CHOOSE, {"choice": "0"}),
        (CHOOSE, {"choice": "12"}),
        (CHOOSE, {"choice": ""}),
        (CHOOSE, {"choice": 3}),
        ([{**CHOOSE[0], "all_bad": False}], {"choice": "all_bad"}),
        (RANK, {}),
        (RANK, {"order": "3>1>4"}),
        (RANK, {"order": "3>1>4>4"}),
        (RANK, {"order": "3>1>4>5"}),
        (RANK, {"order": "3>1>4>2>"}),
        (RANK, {"order": ["3"]}),
        (RANK, {"choice": "1"}),
        (RANK, {"place_1": "1", "place_2": "2", "place_3": "3"}),
        (RANK, {"place_1": "1", "place_2": "2", "place_3": "3", "place_4": "5"}),
        (RANK, {"place_1": "1", "place_2": "2", "place_3": "3", "place_4": "²"}),
        ([{**RANK[0], "ties": False}], {"order": "3>1=4>2"}),
        ([{**RANK[0], "all_bad": False}], {"choice": "all_bad"}),
    ],
)
def test_what_is_no_choice_or_no_order_is_refused(protocol: list[dict[str, Any]], given: dict[str, object]) -> None:
    with pytest.raises(InvalidInput) as caught:
        answer(protocol, **given)
    assert caught.value.problems[0].field == "overall"


@pytest.mark.parametrize("strength", [None, "", "0", "5", "-1", "1.5", "²", "x", True, 10**30])
def test_a_graded_side_needs_a_grade_of_the_scale(strength: object) -> None:
    with pytest.raises(InvalidInput, match="how strongly"):
        answer(GRADED, choice="a", strength=strength)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"choice": "c"},
        {"choice": None},
        {"choice": ["a"]},
        {"choice": "a", "strength": "1"},
        {"choice": "a", "note": 3},
    ],
)
def test_an_answer_that_does_not_fit_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        answer(DEFAULT_PROTOCOL, **given)


def test_answers_that_the_protocol_leaves_out_are_refused() -> None:
    strict = [{**DEFAULT_PROTOCOL[0], "tie": False, "both_bad": False}]
    for choice in ("same", "both_bad"):
        with pytest.raises(InvalidInput):
            answer(strict, choice=choice)


def test_a_form_needs_every_field_and_no_other() -> None:
    fields = parse_protocol(DEFAULT_PROTOCOL)
    for answers in ({}, {"overall": "a"}, {"overall": {"choice": "a"}, "other": {}}):
        with pytest.raises(InvalidInput):
            parse_answers(fields, answers, ["", ""])
    with pytest.raises(InvalidInput, match="needs two answers"):
        parse_answers(fields, {"overall": {"choice": "a"}}, ["", "", ""])


@pytest.mark.parametrize(
    "broken",
    [
        [],
        {},
        "compare",
        [{"type": "teleport", "key": "x", "question": "?"}],
        [{**DEFAULT_PROTOCOL[0], "key": "Not a key"}],
        [{**DEFAULT_PROTOCOL[0], "question": ""}],
        [{**DEFAULT_PROTOCOL[0], "strength": 9}],
        [{**DEFAULT_PROTOCOL[0], "tie": "yes"}],
        [{**DEFAULT_PROTOCOL[0], "surprise": 1}],
        [DEFAULT_PROTOCOL[0], DEFAULT_PROTOCOL[0]],
        [{**CHOOSE[0], "answers": 10}],
        [{**RANK[0], "answers": 1}],
        [CHOOSE[0], {**RANK[0], "key": "order", "answers": 3}],
    ],
)
def test_a_broken_protocol_is_refused_with_a_sentence(broken: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_protocol(broken)
    assert all(problem.message for problem in caught.value.problems)


def test_fields_cannot_change() -> None:
    field = parse_protocol(DEFAULT_PROTOCOL)[0]
    assert isinstance(field, Compare)
    with pytest.raises(ValueError, match="frozen"):
        setattr(field, "question", "Which is worse?")  # noqa: B010  a type checker would see it
