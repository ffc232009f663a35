"""Several answers from best to worst."""

import re
from collections.abc import Sequence
from typing import Literal

from app.core.forms.field import Answer, Draft, PreferenceDraft, Several, all_bad, preference_of
from app.core.words import gettext

ORDER = re.compile(r"[1-9](?:[>=][1-9])*")
PLACE = re.compile("[1-9]")


class Rank(Several):
    """K answers from best to worst; two may be equally good where the protocol allows ties.

    Answer: {"order": "3>1=2>4", "note": str}, from a page without a script {"place_1": "2", …, "place_K": "1"} (equal
    places tie), or {"choice": "all_bad"}.
    """

    type: Literal["rank"]
    ties: bool = True

    @property
    def sends(self) -> bool:
        """The rail has its own button."""
        return True

    def inputs(self, segments: int) -> list[str]:
        """The order, or a place for each answer."""
        return ["order", "choice", "note", *(f"place_{name}" for name in self.names[:segments])]

    def parse(self, answer: Answer, texts: Sequence[str]) -> list[Draft]:
        """One draft with every slot in one tier. All in a single tier is a tie."""
        segments = len(texts)
        note = self.note(answer)
        if answer.get("choice") == "all_bad" and self.all_bad:
            return [all_bad(self, segments, note)]
        if answer.get("choice"):
            raise self.refuse(gettext("This is not one of the answers of this task."), answer["choice"])
        tiers = self._order(answer, segments) if answer.get("order") else self._places(answer, segments)
        if not self.ties and len(tiers) < segments:
            raise self.refuse(gettext("Two answers cannot share a place here."), answer.get("order", ""))
        outcome: Literal["prefer", "tie"] = "tie" if len(tiers) == 1 else "prefer"
        return [PreferenceDraft(self.key, outcome, tiers, None, note)]

    def _order(self, answer: Answer, segments: int) -> list[list[int]]:
        order = answer["order"]
        if not isinstance(order, str) or not ORDER.fullmatch(order):
            raise self.refuse(gettext("An order is written like 3>1=2."), order)
        tiers = [sorted(self.names.index(name) for name in tier.split("=")) for tier in order.split(">")]
        if sorted(slot for tier in tiers for slot in tier) != list(range(segments)):
            raise self.refuse(gettext("An order names each answer from 1 to %(n)s once.", n=segments), order)
        return tiers

    def _places(self, answer: Answer, segments: int) -> list[list[int]]:
        by_place: dict[str, list[int]] = {}
        for slot in range(segments):
            place = answer.get(f"place_{slot + 1}")
            if not isinstance(place, str) or not PLACE.fullmatch(place) or int(place) > segments:
                raise self.refuse(
                    gettext("Give answer %(name)s a place from 1 to %(n)s.", name=slot + 1, n=segments), place or ""
                )
            by_place.setdefault(place, []).append(slot)
        return [by_place[place] for place in sorted(by_place)]

    def sentence(self, drafts: Sequence[Draft], names: str) -> str:
        """ "3, then 1 and 2, then 4", "All the same", "All bad"."""
        draft = preference_of(drafts, self.key)
        if draft is None:
            return ""
        if draft.outcome == "all_bad":
            return gettext("All bad")
        if draft.outcome == "tie":
            return gettext("All the same")
        level = gettext(" and ")
        return gettext(", then ").join(level.join(names[slot] for slot in tier) for tier in draft.tiers)

    def filled(self, drafts: Sequence[Draft]) -> dict[str, str]:
        """`order`, the same as places, and the note; `choice` where none was good."""
        draft = preference_of(drafts, self.key)
        if draft is None:
            return {}
        if draft.outcome == "all_bad":
            return {"choice": "all_bad", "note": draft.note}
        order = ">".join("=".join(self.names[slot] for slot in tier) for tier in draft.tiers)
        places = {f"place_{self.names[slot]}": str(at) for at, tier in enumerate(draft.tiers, 1) for slot in tier}
        return {"order": order, "note": draft.note, **places}
