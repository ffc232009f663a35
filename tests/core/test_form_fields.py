"""Forms of several fields: what goes together, what each answer becomes, and what is refused."""

from typing import Any

import pytest

from app.core.errors import InvalidInput
from app.core.forms import (
    DEFAULT_PROTOCOL,
    DemonstrationDraft,
    Draft,
    PreferenceDraft,
    RatingDraft,
    is_alone,
    parse_answers,
    parse_protocol,
    segments_of,
    sentence_of,
)

COMPARE = DEFAULT_PROTOCOL[0]
RATE = {
    "type": "rate",
    "key": "clear",
    "question": "How clear?",
    "options": [{"value": n, "label": ""} for n in range(1, 6)],
}
THUMBS = {
    "type": "rate",
    "key": "keep",
    "question": "Keep it?",
    "of": "task",
    "not_applicable": True,
    "options": [{"value": 1, "label": "Good"}, {"value": -1, "label": "Bad"}],
}
FLAGS = {
    "type": "flags",
    "key": "flags",
    "question": "What is wrong?",
    "flags": [{"key": "rude", "label": "Rude"}, {"key": "wrong", "label": "Wrong"}],
}
NOTE = {"type": "note", "key": "why", "question": "Why?", "least": 5}
MARK = {"type": "annotate", "key": "marks", "question": "Mark.", "labels": [{"key": "odd", "label": "Odd"}]}
EDIT = {"type": "edit", "key": "better", "question": "Make it better."}
WRITE = {"type": "demonstrate", "key": "own", "question": "Write it."}


Sent = dict[str, Any]


def drafts(fields: list[dict[str, Any]], sent: Sent, *texts: str) -> list[Draft]:
    parsed = parse_protocol(fields)
    return parse_answers(parsed, sent, texts or [""] * segments_of(parsed))


def said(fields: list[dict[str, Any]], sent: Sent, *texts: str) -> str:
    return sentence_of(parse_protocol(fields), drafts(fields, sent, *texts))


@pytest.mark.parametrize(
    ("fields", "segments", "alone"),
    [
        ([COMPARE], 2, True),
        ([COMPARE, RATE], 2, False),
        ([COMPARE | {"aspects": [{"key": "tone", "label": "Tone"}]}], 2, False),
        ([RATE], 1, False),
        ([THUMBS], 0, False),
        ([EDIT, FLAGS], 1, False),
        ([WRITE, THUMBS, NOTE], 0, False),
        ([MARK, RATE], 1, False),
    ],
)
def test_a_form_knows_how_many_answers_it_shows(fields: list[dict[str, Any]], segments: int, alone: bool) -> None:
    parsed = parse_protocol(fields)
    assert (segments_of(parsed), is_alone(parsed)) == (segments, alone)


def test_what_compares_or_is_written_comes_first() -> None:
    assert [field.key for field in parse_protocol([NOTE, RATE, COMPARE])] == ["overall", "why", "clear"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ([COMPARE, COMPARE | {"key": "other"}], "One form compares"),
        ([COMPARE, EDIT], "One form compares"),
        ([EDIT, {"type": "rank", "key": "r", "question": "?", "answers": 3}], "One form compares"),
        ([COMPARE, MARK], "same number of answers"),
        ([WRITE, RATE], "the form shows none"),
        ([NOTE | {"least": 0}], "must be answered"),
        ([COMPARE, COMPARE], "Two fields have this key."),
        ([FLAGS | {"flags": [{"key": "a", "label": "A"}, {"key": "a", "label": "B"}]}], "are the same"),
        ([COMPARE | {"strength": 3, "anchors": ["a", "b"]}], "one anchor for each grade"),
        ([RATE | {"options": [{"value": 1, "label": ""}]}], "at least 2 items"),
    ],
)
def test_what_does_not_go_together_is_refused(fields: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_protocol(fields)
    assert words in " ".join(problem.message for problem in refused.value.problems)


def test_aspects_are_preferences_of_their_own() -> None:
    fields = [COMPARE | {"aspects": [{"key": "tone", "label": "Tone"}, {"key": "facts", "label": "Facts"}]}]
    sent = {"overall": {"choice": "a", "aspect_tone": "b", "aspect_facts": "same"}}
    assert drafts(fields, sent) == [
        PreferenceDraft("overall", "prefer", [[0], [1]]),
        PreferenceDraft("overall.tone", "prefer", [[1], [0]]),
        PreferenceDraft("overall.facts", "tie", [[0, 1]]),
    ]
    assert said(fields, sent) == "A is better (Tone: B, Facts: same)"
    with pytest.raises(InvalidInput, match="Facts: say A, B or the same"):
        drafts(fields, {"overall": {"choice": "a", "aspect_tone": "b"}})


def test_anchors_are_the_words_of_the_scale() -> None:
    fields = [COMPARE | {"strength": 2, "anchors": ["a bit", "by far"]}]
    assert said(fields, {"overall": {"graded": "b2"}}) == "B is better: by far"


def test_a_rating_is_kept_for_each_answer_or_for_the_task() -> None:
    sent = {"overall": {"choice": "same"}, "clear": {"value_1": "5", "value_2": "2"}, "keep": {"value": "none"}}
    assert drafts([COMPARE, RATE, THUMBS], sent)[1:] == [
        RatingDraft("clear", "clear", 0, 5.0),
        RatingDraft("clear", "clear", 1, 2.0),
        RatingDraft("keep", "keep", None, None),
    ]
    assert said([COMPARE, RATE, THUMBS], sent) == "Same. How clear? A 5, B 2. Keep it? does not apply"
    assert said([THUMBS], {"keep": {"value": "-1"}}) == "Keep it? Bad"


@pytest.mark.parametrize("value", ["0", "6", "none", "", "4.0", None, 4])
def test_a_value_off_the_scale_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput):
        drafts([RATE], {"clear": {"value_1": value}})


def test_flags_say_yes_and_no() -> None:
    sent: Sent = {"overall": {"choice": "a"}, "flags": {"rude_2": "on"}}
    assert [(d.criterion, d.slot, d.value) for d in drafts([COMPARE, FLAGS], sent) if isinstance(d, RatingDraft)] == [
        ("flags.rude", 0, 0.0),
        ("flags.wrong", 0, 0.0),
        ("flags.rude", 1, 1.0),
        ("flags.wrong", 1, 0.0),
    ]
    assert said([COMPARE, FLAGS], sent) == "A is better. Flags: B Rude"
    with pytest.raises(InvalidInput):
        drafts([COMPARE, FLAGS], sent | {"flags": {"rude_2": "yes"}})


def test_a_note_is_as_long_as_asked() -> None:
    sent: Sent = {"overall": {"choice": "a"}}
    for text in ("", "four", "  four  "):
        with pytest.raises(InvalidInput, match="at least 5"):
            drafts([COMPARE, NOTE], sent | {"why": {"text": text}})
    assert drafts([COMPARE, NOTE], sent | {"why": {"text": " five\r\n5 "}})[1].text == "five\n5"  # type: ignore[union-attr]
    assert drafts([COMPARE, NOTE | {"least": 0}], sent | {"why": {}})[1:] == []


def test_every_open_question_is_named_at_once() -> None:
    with pytest.raises(InvalidInput) as refused:
        drafts([COMPARE, RATE, NOTE], {"overall": {}, "clear": {"value_1": "2"}, "why": {}})
    assert [problem.field for problem in refused.value.problems] == ["overall", "clear", "why"]
    assert "for answer 2" in refused.value.problems[1].message


def test_marks_lie_inside_the_text_and_have_a_label() -> None:
    text = "It 🙂 is."
    marks = '[{"start": 5, "end": 8, "label": "odd"}, {"start": 0, "end": 4, "label": "odd", "comment": " hm "}]'
    assert drafts([MARK], {"marks": {"spans": marks}}, text) == [
        RatingDraft("marks", "marks", 0, 2.0),
        RatingDraft("marks", "marks.odd", 0, None, "hm", (0, 4)),
        RatingDraft("marks", "marks.odd", 0, None, "", (5, 8)),
    ]
    quoted = {"quote_1": "🙂 is", "label_1": "odd", "quote_2": " "}
    assert drafts([MARK], {"marks": quoted}, text)[1:] == [RatingDraft("marks", "marks.odd", 0, None, "", (3, 7))]
    assert said([MARK], {"marks": {}}, text) == "No passages marked"
    for wrong in (
        {"spans": "no"},
        {"spans": '[{"start": 0, "end": 99, "label": "odd"}]'},
        {"spans": '[{"start": 3, "end": 3, "label": "odd"}]'},
        {"spans": '[{"start": 0, "end": 1, "label": "even"}]'},
        {"spans": '{"start": 0}'},
        {"quote_1": "is not there", "label_1": "odd"},
        {"quote_1": "is", "label_1": ""},
    ):
        with pytest.raises(InvalidInput):
            drafts([MARK], {"marks": wrong}, text)


def test_what_is_written_remembers_where_it_is_from() -> None:
    assert drafts([EDIT], {"better": {"text": "New."}}, "Old.") == [DemonstrationDraft("better", "New.", 0)]
    assert drafts([WRITE], {"own": {"text": "Mine."}}) == [DemonstrationDraft("own", "Mine.", None)]
    assert said([WRITE], {"own": {"text": "All my own."}}) == "Wrote an answer of 3 words"
    assert drafts([EDIT], {"better": {"text": "Old."}}, "Old.")
    with pytest.raises(InvalidInput, match="change it, or skip"):
        drafts([EDIT | {"unchanged": False}], {"better": {"text": " Old. "}}, "Old.")
    for field, sent in ((EDIT, {}), (WRITE, {"text": " "}), (WRITE | {"least": 10}, {"text": "short"})):
        with pytest.raises(InvalidInput):
            drafts([field], {str(field["key"]): sent}, *(["Old."] if field is EDIT else []))
