"""The best of several answers."""

from collections.abc import Sequence
from typing import Literal

from app.core.forms.field import Answer, Draft, PreferenceDraft, Several, all_bad, preference_of
from app.core.words import gettext


class Choose(Several):
    """K answers: which one is the best. Nothing is said about the order of the others.

    Answer: {"choice": "1" … "9" | "all_bad", "note": str}.
    """

    type: Literal["choose"]

    @property
    def sends(self) -> bool:
        """One digit."""
        return True

    def inputs(self, segments: int) -> list[str]:
        """The choice and a note."""
        return ["choice", "note"]

    def parse(self, answer: Answer, texts: Sequence[str]) -> list[Draft]:
        """One draft: the chosen slot over all others."""
        segments = len(texts)
        choice, note = answer.get("choice"), self.note(answer)
        if choice == "all_bad" and self.all_bad:
            return [all_bad(self, segments, note)]
        if not isinstance(choice, str) or choice not in list(self.names[:segments]):
            raise self.refuse(gettext("This is not one of the answers of this task."), choice)
        best = self.names.index(choice)
        others = [slot for slot in range(segments) if slot != best]
        return [PreferenceDraft(self.key, "best", [[best], others], None, note)]

    def sentence(self, drafts: Sequence[Draft], names: str) -> str:
        """ "3 is the best", "All bad"."""
        draft = preference_of(drafts, self.key)
        if draft is None:
            return ""
        if draft.outcome == "all_bad":
            return gettext("All bad")
        return gettext("%(name)s is the best", name=names[draft.tiers[0][0]])

    def filled(self, drafts: Sequence[Draft]) -> dict[str, str]:
        """`choice` and the note."""
        draft = preference_of(drafts, self.key)
        if draft is None:
            return {}
        chosen = "all_bad" if draft.outcome == "all_bad" else self.names[draft.tiers[0][0]]
        return {"choice": chosen, "note": draft.note}
