"""A talk with the served policy: at each turn several replies, one of which the talk goes on with."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field as Limits

from app.core.forms.choose import Choose
from app.core.forms.compare import Compare
from app.core.forms.field import Answer, DemonstrationDraft, Draft, Field
from app.core.words import gettext, ngettext

MOST_MESSAGE = 8_000
"""Characters of one message of a talk."""
MOST_TURNS = 40
"""Turns of one talk."""


class Converse(Field):
    """The person talks with the model. Each turn is a task of its own, answered with the field `turn`.

    Fields beside it are about the talk as a whole and are asked when it ends. A page sends nothing for the talk itself:
    app.core.talks counts its turns.
    """

    place: ClassVar[Literal["dock", "panel", "desk"]] = "desk"

    type: Literal["converse"]
    opening: Literal["message", "scenario"] = "message"
    """What the prompt is: the person's first message, or what they are to talk about, which the model is not told."""
    replies: Annotated[int, Limits(ge=2, le=4)] = 2
    strength: Annotated[int, Limits(ge=0, le=4)] = 0
    """Of two replies: grades on each side, as in a comparison."""
    tie: bool = True
    both_bad: bool = True
    own_reply: bool = False
    """Whether the person may write the assistant's reply instead of choosing one."""
    turns_least: Annotated[int, Limits(ge=1, le=MOST_TURNS)] = 1
    """Turns that a talk needs before it may end."""

    @property
    def segments(self) -> int:
        """None: the replies belong to the turns."""
        return 0

    @property
    def turn(self) -> Field:
        """The question of one turn: a comparison of two replies, or the best of more."""
        common = {"key": self.key, "question": self.question, "own_reply": self.own_reply}
        if self.replies == 2:
            return ComparedTurn.model_validate(
                common | {"type": "compare", "strength": self.strength, "tie": self.tie, "both_bad": self.both_bad}
            )
        return ChosenTurn.model_validate(common | {"type": "choose", "answers": self.replies, "all_bad": self.both_bad})

    def inputs(self, segments: int) -> list[str]:
        """Nothing."""
        return []

    def parse(self, answer: Answer, texts: Sequence[str]) -> list[Draft]:
        """No draft: the turns are stored already. `turns` is how many of them are answered."""
        turns = answer.get("turns")
        if not isinstance(turns, int):
            raise self.refuse(gettext("A talk ends on its own page."))
        if turns < self.turns_least:
            wanted = ngettext("It needs %(n)s turn.", "It needs %(n)s turns.", self.turns_least)
            sofar = ngettext("This talk has %(n)s turn so far.", "This talk has %(n)s turns so far.", turns)
            raise self.refuse(f"{sofar} {wanted}")
        return []

    def sentence(self, drafts: Sequence[Draft], names: str) -> str:
        """That it ended: each turn says its own sentence."""
        return gettext("Ended the talk")


class _Turn(Field):
    """A turn may be answered with a reply of one's own: then nothing is said about the others."""

    own_reply: bool = False

    def inputs(self, segments: int) -> list[str]:
        """What the choice sends, and the reply of one's own."""
        return [*super().inputs(segments), *(["own"] if self.own_reply else [])]  # type: ignore[safe-super]

    def parse(self, answer: Answer, texts: Sequence[str]) -> list[Draft]:
        """One demonstration for {"own": str}; else what the other base makes of the choice."""
        own = self.text(answer, "own", MOST_MESSAGE) if self.own_reply else ""
        return [DemonstrationDraft(self.key, own)] if own else super().parse(answer, texts)  # type: ignore[safe-super]

    def sentence(self, drafts: Sequence[Draft], names: str) -> str:
        """The choice, or that the person wrote the reply."""
        own = any(isinstance(one, DemonstrationDraft) for one in drafts)
        return gettext("Wrote the reply") if own else super().sentence(drafts, names)  # type: ignore[safe-super]


class ComparedTurn(_Turn, Compare):
    """Two replies side by side."""


class ChosenTurn(_Turn, Choose):
    """The best of several replies."""
