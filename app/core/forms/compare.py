"""Two answers side by side."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict
from pydantic import Field as Limits

from app.core.forms.field import (
    Answer,
    Draft,
    Field,
    Key,
    Label,
    PreferenceDraft,
    all_bad,
    preference_of,
)
from app.core.words import N_, gettext

PLAINLY = N_("%(name)s is better")
GRADES = (
    N_("%(name)s is slightly better"),
    PLAINLY,
    N_("%(name)s is clearly better"),
    N_("%(name)s is much better"),
)
"""How strongly, from the weakest. A protocol with fewer grades uses the first ones."""
WORDS = (N_("Slightly"), N_("Better"), N_("Clearly"), N_("Much"))
"""The same as they stand in the cells of the scale."""


class Aspect(BaseModel):
    """One criterion on which the two answers are compared beside the overall question."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    key: Key
    label: Label


class Compare(Field):
    """Two answers side by side: which is better, and if the protocol asks, how strongly and in which respects.

    Answer: {"choice": "a" | "b" | "same" | "both_bad", "strength": 1…grades, "note": str, "aspect_KEY": "a" | "b" |
    "same"}; from a cell of the scale {"graded": "a3" | "same" | …}, one button that says both. The preference on an
    aspect is stored under the field "overall.KEY" and never mixed with the overall one.
    """

    type: Literal["compare"]
    tie: bool = True
    both_bad: bool = True
    strength: Annotated[int, Limits(ge=0, le=4)] = 0
    """Grades on each side; 0 asks only for the side. With a tie in the middle 4 grades are the nine-point scale."""
    anchors: list[Label] = Limits(default_factory=list, max_length=4)
    """Words of the grades, from the weakest; empty: the usual ones."""
    aspects: list[Aspect] = Limits(default_factory=list, max_length=8)

    @property
    def segments(self) -> int:
        """Two."""
        return 2

    @property
    def names(self) -> str:
        """Letters: digits stand for the strength."""
        return "AB"

    @property
    def nothing_good(self) -> tuple[str, str] | None:
        """Both bad, where the protocol has it."""
        return ("both_bad", gettext("Both bad")) if self.both_bad else None

    @property
    def sends(self) -> bool:
        """One cell, unless aspects are asked as well."""
        return not self.aspects

    @property
    def words(self) -> list[str]:
        """What the cells of one side say, from the weakest."""
        return self.anchors or [gettext(word) for word in WORDS[: self.strength]]

    def says(self, name: str, grade: int) -> str:
        """One cell of the scale in words: "A is clearly better"."""
        return self._said(PreferenceDraft(self.key, "prefer", [[0], [1]], grade), name)

    def inputs(self, segments: int) -> list[str]:
        """The choice in its two forms, a note, the aspects."""
        return ["choice", "strength", "graded", "note", *(f"aspect_{aspect.key}" for aspect in self.aspects)]

    def parse(self, answer: Answer, texts: Sequence[str]) -> list[Draft]:
        """The overall preference, then one for each aspect. `strength` is 1 (weakest) … grades, 0 for a graded tie."""
        if len(texts) != 2:
            raise self.refuse(gettext("A comparison needs two answers; this task has %(n)s.", n=len(texts)))
        return [self._overall(answer), *(self._aspect(aspect, answer) for aspect in self.aspects)]

    def _overall(self, answer: Answer) -> PreferenceDraft:
        graded = str(answer.get("graded") or "")
        if graded in ("same", "both_bad"):
            answer = {**answer, "choice": graded}
        elif graded:
            answer = {**answer, "choice": graded[:1], "strength": graded[1:]}
        choice, note = answer.get("choice"), self.note(answer)
        if choice in ("a", "b"):
            tiers = [[0], [1]] if choice == "a" else [[1], [0]]
            return PreferenceDraft(self.key, "prefer", tiers, self._strength(answer), note)
        if choice == "same" and self.tie:
            return PreferenceDraft(self.key, "tie", [[0, 1]], 0 if self.strength else None, note)
        if choice == "both_bad" and self.both_bad:
            return all_bad(self, 2, note)
        if choice is None:
            raise self.refuse(gettext("This question has no answer yet."))
        raise self.refuse(gettext("This is not one of the answers of this task."), choice)

    def _aspect(self, aspect: Aspect, answer: Answer) -> PreferenceDraft:
        choice = answer.get(f"aspect_{aspect.key}")
        field = f"{self.key}.{aspect.key}"
        if choice == "same":
            return PreferenceDraft(field, "tie", [[0, 1]])
        if choice in ("a", "b"):
            return PreferenceDraft(field, "prefer", [[0], [1]] if choice == "a" else [[1], [0]])
        raise self.refuse(gettext("%(aspect)s: say A, B or the same.", aspect=aspect.label), choice or "")

    def _strength(self, answer: Answer) -> int | None:
        given = answer.get("strength")
        if not self.strength:
            if given not in (None, ""):
                raise self.refuse(gettext("This task does not ask how strongly."), given)
            return None
        if isinstance(given, bool) or not str(given).isascii() or not str(given).isdigit():
            raise self.refuse(gettext("Say how strongly, from 1 to %(n)s.", n=self.strength), given)
        grade = int(str(given)[:9])
        if not 1 <= grade <= self.strength:
            raise self.refuse(gettext("Say how strongly, from 1 to %(n)s.", n=self.strength), given)
        return grade

    def sentence(self, drafts: Sequence[Draft], names: str) -> str:
        """ "A is clearly better", "Same", "Both bad"; with aspects "A is better (Clarity: B, Tone: same)"."""
        draft = preference_of(drafts, self.key)
        if draft is None:
            return ""
        said = self._said(draft, names)
        beside = []
        for aspect in self.aspects:
            one = preference_of(drafts, f"{self.key}.{aspect.key}")
            if one is not None:
                which = gettext("same") if one.outcome == "tie" else names[one.tiers[0][0]]
                beside.append(f"{aspect.label}: {which}")
        return f"{said} ({', '.join(beside)})" if beside else said

    def _said(self, draft: PreferenceDraft, names: str) -> str:
        if draft.outcome == "tie":
            return gettext("Same")
        if draft.outcome == "all_bad":
            return gettext("Both bad")
        better, grade = names[draft.tiers[0][0]], draft.strength or 0
        if self.anchors and 1 <= grade <= len(self.anchors):
            return gettext("%(name)s is better: %(anchor)s", name=better, anchor=self.anchors[grade - 1])
        return gettext(GRADES[grade - 1] if 1 <= grade <= 4 else PLAINLY, name=better)

    def filled(self, drafts: Sequence[Draft]) -> dict[str, str]:
        """The choice in both its forms, the note, the aspects."""
        draft = preference_of(drafts, self.key)
        if draft is None:
            return {}
        side = self._side(draft, "both_bad")
        grade = str(draft.strength) if draft.outcome == "prefer" and draft.strength else ""
        aspects = {one.key: preference_of(drafts, f"{self.key}.{one.key}") for one in self.aspects}
        return {
            "choice": side,
            "strength": grade,
            "graded": side + grade,
            "note": draft.note,
            **{f"aspect_{key}": self._side(one, "") for key, one in aspects.items() if one is not None},
        }

    def _side(self, draft: PreferenceDraft, bad: str) -> str:
        if draft.outcome == "prefer":
            return self.names[draft.tiers[0][0]].lower()
        return "same" if draft.outcome == "tie" else bad
