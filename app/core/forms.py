"""Field types: a protocol is a list of them, and each turns what a person sent into feedback.

A field is JSON with a `type`. One class per type says what its JSON may hold, how an answer becomes drafts of feedback
rows, and how a stored answer reads as a sentence. Fields speak of slots (0 = first shown), never of positions: only
app.core.queue knows which segment stood in which slot.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic import Field as Limits

from app.core.errors import InvalidInput, Problem
from app.core.records.base import Json

DEFAULT_PROTOCOL: list[Json] = [
    {
        "type": "compare",
        "key": "overall",
        "question": "Which answer is better overall?",
        "tie": True,
        "both_bad": True,
    }
]
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
MOST_NOTE = 4_000
"""Characters of a note."""
GRADES = ("slightly", "", "clearly", "much")
"""How strongly, from the weakest; "" is plainly better. A protocol with fewer grades uses the first ones."""


@dataclass(frozen=True)
class PreferenceDraft:
    """A preference before it is stored. `tiers` hold slots, best first."""

    field: str
    outcome: Literal["prefer", "tie", "all_bad"]
    tiers: list[list[int]]
    strength: int | None = None
    note: str = ""


Draft = PreferenceDraft
"""Grows by one class for each further kind of feedback."""
Answer = Mapping[str, object]
"""What was sent for one field."""


class Field(BaseModel):
    """What every field has. `key` names it in answers, tables and exports."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    type: str
    key: Annotated[str, Limits(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
    question: Annotated[str, Limits(min_length=1, max_length=300)]

    @abstractmethod
    def parse(self, answer: Answer, segments: int) -> list[Draft]:
        """Drafts of what was answered about `segments` segments; raises InvalidInput."""

    @abstractmethod
    def sentence(self, draft: Draft) -> str:
        """The answer as a person would say it: "A is clearly better"."""

    def _no(self, message: str, found: object = "") -> InvalidInput:
        return InvalidInput([Problem(self.key, message, found=str(found)[:200])])


class Compare(Field):
    """Two answers side by side: which is better, and if the protocol asks, how strongly.

    Answer: {"choice": "a" | "b" | "same" | "both_bad", "strength": 1…grades, "note": str}.
    """

    type: Literal["compare"]
    tie: bool = True
    both_bad: bool = True
    strength: Annotated[int, Limits(ge=0, le=4)] = 0
    """Grades on each side; 0 asks only for the side. 4 is the nine-point scale."""

    def parse(self, answer: Answer, segments: int) -> list[Draft]:
        """One draft. `strength` is 1 (slightly) … `self.strength` (much) for a side, 0 for a tie on a graded scale."""
        if segments != 2:
            raise self._no(f"A comparison needs two answers; this task has {segments}.")
        choice = answer.get("choice")
        note = _note(self.key, answer.get("note"))
        if choice in ("a", "b"):
            tiers = [[0], [1]] if choice == "a" else [[1], [0]]
            return [PreferenceDraft(self.key, "prefer", tiers, self._strength(answer), note)]
        if choice == "same" and self.tie:
            return [PreferenceDraft(self.key, "tie", [[0, 1]], 0 if self.strength else None, note)]
        if choice == "both_bad" and self.both_bad:
            return [PreferenceDraft(self.key, "all_bad", [[0, 1]], None, note)]
        raise self._no("This is not one of the answers of this task.", choice)

    def _strength(self, answer: Answer) -> int | None:
        given = answer.get("strength")
        if not self.strength:
            if given not in (None, ""):
                raise self._no("This task does not ask how strongly.", given)
            return None
        if isinstance(given, bool) or not str(given).isascii() or not str(given).isdigit():
            raise self._no(f"Say how strongly, from 1 to {self.strength}.", given)
        grade = int(str(given)[:9])
        if not 1 <= grade <= self.strength:
            raise self._no(f"Say how strongly, from 1 to {self.strength}.", given)
        return grade

    def sentence(self, draft: Draft) -> str:
        """ "A is clearly better", "Same", "Both bad"."""
        if draft.outcome == "tie":
            return "Same"
        if draft.outcome == "all_bad":
            return "Both bad"
        grade = GRADES[draft.strength - 1] if draft.strength and draft.strength <= len(GRADES) else ""
        return " ".join(filter(None, (LETTERS[draft.tiers[0][0]], "is", grade, "better")))


AnyField = Annotated[Compare, Limits(discriminator=None)]
"""All field types; a further one joins this union."""
_FIELDS: TypeAdapter[list[Compare]] = TypeAdapter(Annotated[list[AnyField], Limits(min_length=1, max_length=12)])


def parse_protocol(fields: object) -> list[Field]:
    """The fields of a protocol's JSON, checked; raises InvalidInput that names each field and what is wrong with it."""
    try:
        parsed = list[Field](_FIELDS.validate_python(fields))
    except ValidationError as error:
        raise InvalidInput([_problem(one["loc"], one["msg"]) for one in error.errors()]) from error
    keys = [field.key for field in parsed]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise InvalidInput([Problem(key, "Two fields have this key.") for key in twice])
    return parsed


def parse_answers(fields: Sequence[Field], answers: Mapping[str, Any], segments: int) -> list[Draft]:
    """Drafts for a whole form. `answers` maps each field's key to what was sent; nothing may be missing or extra."""
    unknown = sorted(set(answers) - {field.key for field in fields})
    if unknown:
        raise InvalidInput([Problem(key, "This task does not ask this.") for key in unknown])
    drafts: list[Draft] = []
    for field in fields:
        answer = answers.get(field.key)
        if not isinstance(answer, Mapping):
            raise InvalidInput([Problem(field.key, "This question has no answer yet.")])
        drafts += field.parse(answer, segments)
    return drafts


def sentence_of(fields: Sequence[Field], draft: Draft) -> str:
    """The stored or fresh answer in words; the bare outcome where its field is no longer known."""
    for field in fields:
        if field.key == draft.field:
            return field.sentence(draft)
    return draft.outcome.replace("_", " ")


def _note(key: str, note: object) -> str:
    if note is None:
        return ""
    if not isinstance(note, str) or len(note) > MOST_NOTE:
        raise InvalidInput([Problem(key, f"A note has at most {MOST_NOTE:,} characters.")])
    return note.strip().replace("\0", "")


def _problem(place: Sequence[int | str], message: str) -> Problem:
    row = next((part + 1 for part in place if isinstance(part, int)), None)
    return Problem(".".join(str(part) for part in place if isinstance(part, str)) or "protocol", message, row=row)
