"""What every field type has, and the drafts of feedback that answers become."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict
from pydantic import Field as Limits

from app.core.errors import InvalidInput, Problem

MOST_NOTE = 4_000
"""Characters of a note."""
MOST_ANSWERS = 9
"""Answers that one task may show: each has a digit of its own."""


@dataclass(frozen=True)
class PreferenceDraft:
    """A preference before it is stored. `tiers` hold slots, best first.

    `best` is a choice among several: the first tier holds the chosen one, the second the others, which are not compared
    with each other. In `prefer` and `tie` slots of one tier are equally good.
    """

    field: str
    outcome: Literal["prefer", "best", "tie", "all_bad"]
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

    @property
    @abstractmethod
    def segments(self) -> int:
        """How many answers a task shows for this field."""

    @property
    def names(self) -> str:
        """What the answers are called on the page, by slot: digits, as the keys that stand for them."""
        return "123456789"

    @property
    @abstractmethod
    def nothing_good(self) -> tuple[str, str] | None:
        """Choice and words of the button that refuses every answer; None where the protocol has none."""

    @abstractmethod
    def parse(self, answer: Answer, segments: int) -> list[Draft]:
        """Drafts of what was answered about `segments` segments; raises InvalidInput."""

    @abstractmethod
    def sentence(self, draft: Draft) -> str:
        """The answer as a person would say it: "A is clearly better"."""

    def refuse(self, message: str, found: object = "") -> InvalidInput:
        """The error that names this field."""
        return InvalidInput([Problem(self.key, message, found=str(found)[:200])])

    def note(self, answer: Answer) -> str:
        """The note of an answer, checked."""
        note = answer.get("note")
        if note is None:
            return ""
        if not isinstance(note, str) or len(note) > MOST_NOTE:
            raise self.refuse(f"A note has at most {MOST_NOTE:,} characters.")
        return note.strip().replace("\0", "")


class Several(Field):
    """A field about K answers of one task."""

    answers: Annotated[int, Limits(ge=2, le=MOST_ANSWERS)] = 4
    all_bad: bool = True

    @property
    def segments(self) -> int:
        """K."""
        return self.answers

    @property
    def nothing_good(self) -> tuple[str, str] | None:
        """All bad, where the protocol has it."""
        return ("all_bad", "All bad") if self.all_bad else None


def all_bad(field: Field, segments: int, note: str) -> PreferenceDraft:
    """No answer is acceptable: the same draft for every field that compares."""
    return PreferenceDraft(field.key, "all_bad", [list(range(segments))], None, note)
