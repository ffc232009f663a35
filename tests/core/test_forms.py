"""Field types: what a protocol may say, what an answer may be, and how it reads."""

from typing import Any

import pytest

from app.core.errors import InvalidInput
from app.core.forms import DEFAULT_PROTOCOL, Compare, PreferenceDraft, parse_answers, parse_protocol, sentence_of

GRADED = [{**DEFAULT_PROTOCOL[0], "strength": 4}]


def answer(protocol: list[dict[str, Any]], **given: object) -> PreferenceDraft:
    return parse_answers(parse_protocol(protocol), {"overall": given}, 2)[0]


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
    assert sentence_of(parse_protocol(DEFAULT_PROTOCOL), draft) == sentence


@pytest.mark.parametrize(
    ("grade", "sentence"), [(1, "slightly better"), (2, "better"), (3, "clearly better"), (4, "much better")]
)
def test_strength_is_kept_and_said(grade: int, sentence: str) -> None:
    draft = answer(GRADED, choice="b", strength=str(grade))
    assert draft.strength == grade
    assert sentence_of(parse_protocol(GRADED), draft) == f"B is {sentence}"


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
            parse_answers(fields, answers, 2)
    with pytest.raises(InvalidInput, match="needs two answers"):
        parse_answers(fields, {"overall": {"choice": "a"}}, 3)


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
