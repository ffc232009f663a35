"""What people write themselves: a note, a better version of an answer, an answer of their own."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field as Limits

from app.core.forms.field import (
    MOST_NOTE,
    Answer,
    CriterionSpec,
    DemonstrationDraft,
    Draft,
    Field,
    PreferenceDraft,
    RatingDraft,
)
from app.core.words import gettext, ngettext

MOST_TEXT = 20_000
"""Characters of an answer that a person writes."""


class Note(Field):
    """A free text about the task. Answer: {"text": str}."""

    place: ClassVar[Literal["dock", "panel", "desk"]] = "panel"

    type: Literal["note"]
    least: Annotated[int, Limits(ge=0, le=MOST_NOTE)] = 0
    """Characters it must have; 0 leaves it to the person."""
    hides: Literal["", "prompt", "answers"] = ""
    """What stays covered until the note is long enough: a first impression comes before the source, or the answers."""

    @property
    def segments(self) -> None:
        """Any number."""

    @property
    def optional(self) -> bool:
        """Without a least length."""
        return self.least == 0

    def criteria(self) -> list[CriterionSpec]:
        """One, of texts."""
        return [CriterionSpec(self.key, self.question, {"text": True})]

    def inputs(self, segments: int) -> list[str]:
        """The text."""
        return ["text"]

    def parse(self, answer: Answer, texts: Sequence[str]) -> list[Draft]:
        """The text as a rating without a value; nothing where it was left empty."""
        text = self.text(answer, "text", MOST_NOTE)
        if len(text) < self.least:
            words = gettext("Write at least %(n)s characters; these are %(now)s.", n=self.least, now=len(text))
            raise self.refuse(words, text)
        return [RatingDraft(self.key, self.key, None, None, text)] if text else []

    def sentence(self, drafts: Sequence[Draft], names: str) -> str:
        """The note in quotes."""
        text = next((one.text for one in drafts if isinstance(one, RatingDraft)), "")
        return gettext("“%(text)s”", text=text if len(text) <= 80 else text[:79] + "…") if text else ""

    def filled(self, drafts: Sequence[Draft]) -> dict[str, str]:
        """The text."""
        return _text(drafts)


class Demonstrate(Field):
    """The person writes the answer, in Markdown; no other answer is shown. Answer: {"text": str}."""

    place: ClassVar[Literal["dock", "panel", "desk"]] = "desk"

    type: Literal["demonstrate"]
    least: Annotated[int, Limits(ge=1, le=MOST_TEXT)] = 1

    @property
    def segments(self) -> int:
        """None is shown."""
        return 0

    def inputs(self, segments: int) -> list[str]:
        """The text."""
        return ["text"]

    def parse(self, answer: Answer, texts: Sequence[str]) -> list[Draft]:
        """One demonstration."""
        text = self.text(answer, "text", MOST_TEXT)
        if len(text) < self.least:
            raise self.refuse(gettext("An answer here has at least %(n)s characters.", n=self.least), text)
        return [DemonstrationDraft(self.key, text)]

    def sentence(self, drafts: Sequence[Draft], names: str) -> str:
        """Its length: the text itself stands in the history."""
        text = next((one.text for one in drafts if isinstance(one, DemonstrationDraft)), "")
        count = len(text.split())
        return ngettext("Wrote an answer of %(n)s word", "Wrote an answer of %(n)s words", count, n=f"{count:,}")

    def filled(self, drafts: Sequence[Draft]) -> dict[str, str]:
        """The text."""
        return _text(drafts)


class Edit(Field):
    """The one answer that is shown, made better. Answer: {"text": str}; the demonstration remembers its origin."""

    place: ClassVar[Literal["dock", "panel", "desk"]] = "desk"
    reads: ClassVar[bool] = True

    type: Literal["edit"]
    unchanged: bool = True
    """Whether an answer may be sent as it is: it is good enough."""

    @property
    def segments(self) -> int:
        """One."""
        return 1

    def inputs(self, segments: int) -> list[str]:
        """The text."""
        return ["text"]

    def parse(self, answer: Answer, texts: Sequence[str]) -> list[Draft]:
        """One demonstration that was edited from slot 0."""
        text = self.text(answer, "text", MOST_TEXT)
        if not text:
            raise self.refuse(gettext("The rewritten answer is empty."))
        if not self.unchanged and text == texts[0].strip():
            raise self.refuse(gettext("This is the answer as it was; change it, or skip the task."))
        return [DemonstrationDraft(self.key, text, 0)]

    def sentence(self, drafts: Sequence[Draft], names: str) -> str:
        """Its length."""
        text = next((one.text for one in drafts if isinstance(one, DemonstrationDraft)), "")
        count = len(text.split())
        return ngettext("Rewrote the answer in %(n)s word", "Rewrote the answer in %(n)s words", count, n=f"{count:,}")

    def filled(self, drafts: Sequence[Draft]) -> dict[str, str]:
        """The text."""
        return _text(drafts)


def _text(drafts: Sequence[Draft]) -> dict[str, str]:
    return {"text": next((one.text for one in drafts if not isinstance(one, PreferenceDraft)), "")}
