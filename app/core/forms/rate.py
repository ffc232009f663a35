"""Each answer by itself: a value on a scale, flags that are set or not."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict
from pydantic import Field as Limits

from app.core.forms.field import Answer, CriterionSpec, Draft, Field, Key, Label, RatingDraft
from app.core.words import gettext


class Option(BaseModel):
    """One step of a scale: the number that is stored and the words that anchor it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    value: Annotated[int, Limits(ge=-100, le=100)]
    label: Annotated[str, Limits(max_length=80)] = ""


class OnAnswers(Field):
    """A field that speaks of each answer by itself, or of the whole task."""

    place: ClassVar[Literal["dock", "panel", "desk"]] = "panel"
    of: Literal["each", "task"] = "each"

    @property
    def segments(self) -> None:
        """As many as there are; none are needed where the whole task is meant."""

    def places(self, segments: int) -> list[tuple[int | None, str]]:
        """Slot and ending of the input's name, for each place that wants a value."""
        slots = [None] if self.of == "task" else list(range(segments))
        return [(slot, ending_of(slot)) for slot in slots]


def said_of(slot: int | None, names: str, words: str) -> str:
    """ "A Good", or only "Good" where there is one answer or the whole task is meant."""
    return words if slot is None or len(names) == 1 else f"{names[slot]} {words}"


def ending_of(slot: int | None) -> str:
    """How the names of the inputs for a place end."""
    return "" if slot is None else f"_{slot + 1}"


class Rate(OnAnswers):
    """A criterion with an anchored scale. Answer: {"value_1": "4", "value_2": "none"}, or {"value": …} of the task."""

    type: Literal["rate"]
    options: Annotated[list[Option], Limits(min_length=2, max_length=9)]
    """In the order of their keys, 1 to 9."""
    not_applicable: bool = False
    """Whether "does not apply" is an answer; it is stored without a value."""

    def criteria(self) -> list[CriterionSpec]:
        """One, with its scale."""
        return [CriterionSpec(self.key, self.question, {"options": [one.model_dump() for one in self.options]})]

    def inputs(self, segments: int) -> list[str]:
        """A value for each place."""
        return [f"value{ending}" for _, ending in self.places(segments)]

    def parse(self, answer: Answer, texts: Sequence[str]) -> list[Draft]:
        """One rating for each place."""
        return [
            RatingDraft(self.key, self.key, slot, self._value(answer.get(f"value{ending}"), slot))
            for slot, ending in self.places(len(texts))
        ]

    def _value(self, given: object, slot: int | None) -> float | None:
        if given == "none" and self.not_applicable:
            return None
        for option in self.options:
            if given == str(option.value):
                return float(option.value)
        if given not in (None, ""):
            raise self.refuse(gettext("This is not a step of the scale."), given)
        if slot is None:
            raise self.refuse(gettext("This question has no answer yet."))
        raise self.refuse(gettext("This question has no answer yet for answer %(n)s.", n=slot + 1))

    def sentence(self, drafts: Sequence[Draft], names: str) -> str:
        """ "How clear is it? A 4, B 2"."""
        words = {
            float(one.value): one.label if len(self.options) < 4 and one.label else one.value for one in self.options
        }
        said = [
            said_of(
                one.slot,
                names,
                gettext("does not apply") if one.value is None else str(words.get(one.value, one.value)),
            )
            for one in drafts
            if isinstance(one, RatingDraft)
        ]
        return f"{self.question} {', '.join(said)}" if said else ""

    def filled(self, drafts: Sequence[Draft]) -> dict[str, str]:
        """A value for each place."""
        return {
            f"value{ending_of(one.slot)}": "none" if one.value is None else str(int(one.value))
            for one in drafts
            if isinstance(one, RatingDraft)
        }


class Flag(BaseModel):
    """One thing that an answer may have or not."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    key: Key
    label: Label


class Flags(OnAnswers):
    """What applies to an answer; nothing has to. Answer: {"personal_data_1": "on"}. Each flag is stored as 1 or 0."""

    type: Literal["flags"]
    flags: Annotated[list[Flag], Limits(min_length=1, max_length=9)]

    @property
    def optional(self) -> bool:
        """Nothing ticked is an answer."""
        return True

    def criteria(self) -> list[CriterionSpec]:
        """One for each flag."""
        return [CriterionSpec(f"{self.key}.{flag.key}", flag.label, {"flag": True}) for flag in self.flags]

    def inputs(self, segments: int) -> list[str]:
        """A box for each flag and place."""
        return [f"{flag.key}{ending}" for _, ending in self.places(segments) for flag in self.flags]

    def parse(self, answer: Answer, texts: Sequence[str]) -> list[Draft]:
        """One rating for each flag and place."""
        found: list[Draft] = []
        for slot, ending in self.places(len(texts)):
            for flag in self.flags:
                given = answer.get(f"{flag.key}{ending}")
                if given not in (None, "", "on"):
                    raise self.refuse(gettext("%(flag)s: set or not set.", flag=flag.label), given)
                found.append(RatingDraft(self.key, f"{self.key}.{flag.key}", slot, float(given == "on")))
        return found

    def sentence(self, drafts: Sequence[Draft], names: str) -> str:
        """ "Flags: A contains personal data"; nothing where none is set."""
        labels = {f"{self.key}.{flag.key}": flag.label for flag in self.flags}
        said = [
            said_of(one.slot, names, labels.get(one.criterion, one.criterion))
            for one in drafts
            if isinstance(one, RatingDraft) and one.value
        ]
        return gettext("Flags: %(flags)s", flags=", ".join(said)) if said else ""

    def filled(self, drafts: Sequence[Draft]) -> dict[str, str]:
        """The boxes that were ticked."""
        return {
            f"{one.criterion.removeprefix(f'{self.key}.')}{ending_of(one.slot)}": "on"
            for one in drafts
            if isinstance(one, RatingDraft) and one.value
        }
