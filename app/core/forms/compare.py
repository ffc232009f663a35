"""Two answers side by side."""

from typing import Annotated, Literal

from pydantic import Field as Limits

from app.core.forms.field import Answer, Draft, Field, PreferenceDraft, all_bad

GRADES = ("slightly", "", "clearly", "much")
"""How strongly, from the weakest; "" is plainly better. A protocol with fewer grades uses the first ones."""


class Compare(Field):
    """Two answers side by side: which is better, and if the protocol asks, how strongly.

    Answer: {"choice": "a" | "b" | "same" | "both_bad", "strength": 1…grades, "note": str}; from a cell of the scale
    {"graded": "a3" | "same" | …}, one button that says both.
    """

    type: Literal["compare"]
    tie: bool = True
    both_bad: bool = True
    strength: Annotated[int, Limits(ge=0, le=4)] = 0
    """Grades on each side; 0 asks only for the side. With a tie in the middle 4 grades are the nine-point scale."""

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
        return ("both_bad", "Both bad") if self.both_bad else None

    def parse(self, answer: Answer, segments: int) -> list[Draft]:
        """One draft. `strength` is 1 (slightly) … `self.strength` (much) for a side, 0 for a tie on a graded scale."""
        if segments != 2:
            raise self.refuse(f"A comparison needs two answers; this task has {segments}.")
        graded = str(answer.get("graded") or "")
        if graded and graded != "same":
            answer = {**answer, "choice": graded[:1], "strength": graded[1:]}
        choice = graded if graded == "same" else answer.get("choice")
        note = self.note(answer)
        if choice in ("a", "b"):
            tiers = [[0], [1]] if choice == "a" else [[1], [0]]
            return [PreferenceDraft(self.key, "prefer", tiers, self._strength(answer), note)]
        if choice == "same" and self.tie:
            return [PreferenceDraft(self.key, "tie", [[0, 1]], 0 if self.strength else None, note)]
        if choice == "both_bad" and self.both_bad:
            return [all_bad(self, segments, note)]
        raise self.refuse("This is not one of the answers of this task.", choice)

    def _strength(self, answer: Answer) -> int | None:
        given = answer.get("strength")
        if not self.strength:
            if given not in (None, ""):
                raise self.refuse("This task does not ask how strongly.", given)
            return None
        if isinstance(given, bool) or not str(given).isascii() or not str(given).isdigit():
            raise self.refuse(f"Say how strongly, from 1 to {self.strength}.", given)
        grade = int(str(given)[:9])
        if not 1 <= grade <= self.strength:
            raise self.refuse(f"Say how strongly, from 1 to {self.strength}.", given)
        return grade

    def sentence(self, draft: Draft) -> str:
        """ "A is clearly better", "Same", "Both bad"."""
        if draft.outcome == "tie":
            return "Same"
        if draft.outcome == "all_bad":
            return "Both bad"
        grade = GRADES[draft.strength - 1] if draft.strength and draft.strength <= len(GRADES) else ""
        return " ".join(filter(None, (self.names[draft.tiers[0][0]], "is", grade, "better")))
