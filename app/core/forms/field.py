"""What every field type has, and the drafts of feedback that answers become."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict
from pydantic import Field as Limits

from app.core.errors import InvalidInput, Problem
from app.core.records.base import Json
from app.core.words import N_, gettext

MOST_NOTE = 4_000
"""Characters of a note."""
MOST_ANSWERS = 9
"""Answers that one task may show: each has a digit of its own."""
SHIPPED = (
    N_("Which answer is better overall?"),
    N_("Which answer is the best?"),
    N_("Put the answers in order, the best first."),
)
"""What a form asks that nobody gave a question of its own."""
Key = Annotated[str, Limits(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Label = Annotated[str, Limits(min_length=1, max_length=80)]


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


@dataclass(frozen=True)
class RatingDraft:
    """A value, a text or a marked passage: of the answer in `slot`, or of the whole task where that is None.

    `value` None means that the criterion does not apply, or that only the text counts. `span` is [start, end) in
    characters of the answer's source.
    """

    field: str
    criterion: str
    slot: int | None
    value: float | None = None
    text: str = ""
    span: tuple[int, int] | None = None


@dataclass(frozen=True)
class DemonstrationDraft:
    """A text that the person wrote; `slot` is the answer that it rewrites, if it does."""

    field: str
    text: str
    slot: int | None = None


Draft = PreferenceDraft | RatingDraft | DemonstrationDraft
"""One class for each kind of feedback."""
Answer = Mapping[str, object]
"""What was sent for one field."""


@dataclass(frozen=True)
class CriterionSpec:
    """What a field rates on: becomes a row of `criteria` when it is first answered."""

    key: str
    name: str
    scale: Json


class Field(BaseModel):
    """What every field has. `key` names it in answers, tables and exports."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    place: ClassVar[Literal["dock", "panel", "desk"]] = "dock"
    """Where the page shows it: at the foot, beside the answers, or as a sheet among them."""
    reads: ClassVar[bool] = False
    """Whether checking an answer needs the texts that were shown."""

    type: str
    key: Key
    question: Annotated[str, Limits(min_length=1, max_length=300)]

    @property
    @abstractmethod
    def segments(self) -> int | None:
        """How many answers a task shows for this field; None: as many as the other fields want."""

    @property
    def asked(self) -> str:
        """The question as it is shown: one of ours in the language of now, one that people wrote as it stands."""
        return gettext(self.question) if self.question in SHIPPED else self.question

    @property
    def names(self) -> str:
        """What the answers are called on the page, by slot: digits, as the keys that stand for them."""
        return "123456789"

    @property
    def nothing_good(self) -> tuple[str, str] | None:
        """Choice and words of the button that refuses every answer; None where the protocol has none."""
        return None

    @property
    def sends(self) -> bool:
        """Whether answering it sends the form, where it stands alone."""
        return False

    @property
    def optional(self) -> bool:
        """Whether it may be left empty."""
        return False

    def criteria(self) -> list[CriterionSpec]:
        """What ratings of this field are about."""
        return []

    @abstractmethod
    def inputs(self, segments: int) -> list[str]:
        """Names of everything that its fragment may send."""

    @abstractmethod
    def parse(self, answer: Answer, texts: Sequence[str]) -> list[Draft]:
        """Drafts of what was answered about these texts, by slot; raises InvalidInput.

        The texts are empty strings unless a field of the form `reads` them.
        """

    @abstractmethod
    def sentence(self, drafts: Sequence[Draft], names: str) -> str:
        """This field's drafts as a person would say them: "A is clearly better". `names` are the answers' by slot."""

    def filled(self, drafts: Sequence[Draft]) -> dict[str, str]:
        """What `inputs` would hold for these drafts of this field: shows an old answer in its form. Undoes `parse`."""
        return {}

    def refuse(self, message: str, found: object = "") -> InvalidInput:
        """The error that names this field."""
        return InvalidInput([Problem(self.key, message, found=str(found)[:200])])

    def note(self, answer: Answer) -> str:
        """The note of an answer, checked."""
        return self.text(answer, "note", MOST_NOTE)

    def text(self, answer: Answer, name: str, most: int) -> str:
        """A free text of at most `most` characters, without surrounding space and in Unix lines."""
        given = answer.get(name)
        if given is None:
            return ""
        if not isinstance(given, str) or len(given) > most:
            raise self.refuse(gettext("A text here has at most %(n)s characters.", n=f"{most:,}"))
        return given.replace("\r\n", "\n").replace("\0", "").strip()


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
        return ("all_bad", gettext("All bad")) if self.all_bad else None


def all_bad(field: Field, segments: int, note: str) -> PreferenceDraft:
    """No answer is acceptable: the same draft for every field that compares."""
    return PreferenceDraft(field.key, "all_bad", [list(range(segments))], None, note)


def preference_of(drafts: Sequence[Draft], field: str) -> PreferenceDraft | None:
    """The preference among some drafts that belongs to this field itself."""
    return next((one for one in drafts if isinstance(one, PreferenceDraft) and one.field == field), None)
