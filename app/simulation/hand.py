"""Fills in a form as a person with a known taste would: by taste where it says something, else with plain words."""

import json
import random
import re
from collections import deque
from collections.abc import Iterable

from app.simulation.character import Character
from app.simulation.page import Control, ShownTask

SEEN = 200
"""Texts that somebody remembers, to say how good one is beside the others."""
FLAGGED = 0.1
NOTED = 0.3
MARKED = 0.7
"""How often a flag is set, a note written that may be left out, a passage marked."""
SENTENCE = re.compile(r"(?<=[.!?])\s+")
SIDES = ("a", "b")
REFUSALS = ("both_bad", "all_bad")
"""What people with a taste never say: to them one is always better."""
NOTES = (
    "I read all of it twice before I said so.",
    "The ending decided it for me.",
    "It was not easy to tell, but this is what I would stand by.",
)
ANSWERS = (
    "Begin with the smallest step and look at what comes of it. Then take the next one.",
    "Thank you for asking! I am happy to help. Begin with a small step, take care of yourself, and enjoy it.",
)
MESSAGES = ("Could you say that with an example?", "Thank you. And what would you do first?", "What if that fails?")
CLOSING = "I hope this helps. Take care!"


class Hand:
    """The hand of one person."""

    def __init__(self, character: Character, draw: random.Random) -> None:
        self._character, self._draw = character, draw
        self._seen: deque[float] = deque(maxlen=SEEN)

    def fill(self, task: ShownTask) -> dict[str, str]:
        """What this person sends for a task, by the names of its inputs."""
        self._seen.extend(self._character.taste(text) for text in task.answers)
        said: dict[str, str] = {}
        for control in task.controls:
            value = self._value(control, task)
            if value:
                said[control.name] = value
        return said

    def message(self) -> str:
        """Something to say in a talk."""
        return self._draw.choice(MESSAGES)

    def _value(self, control: Control, task: ShownTask) -> str:
        match control.kind:
            case "order":
                return self._character.order(task.answers, self._draw)
            case "choice":
                return self._choice(control, task)
            case "box":
                return "on" if self._draw.random() < FLAGGED else ""
            case "marks":
                return self._marks(control, task.answers[0])
            case "text":
                return self._text(control, task)

    def _choice(self, control: Control, task: ShownTask) -> str:
        base = control.name.rpartition(".")[2]
        if base.startswith("value"):
            return self._step(base, control.values, task.answers)
        values = [value for value in control.values if value not in REFUSALS]
        if not any(value.startswith(SIDES) for value in values):
            return self._character.best(task.answers, self._draw) if values else ""
        first, second = task.answers[:2]
        side = self._character.choice(first, second, self._draw)
        if side == "same" and "same" in values:
            return side
        if side == "same":
            side = self._draw.choice(SIDES)
        grades = sum(value.startswith(side) and value != side for value in values)
        if not grades:
            return side
        return f"{side}{self._character.grade(first, second, grades, self._seen, self._draw)}"

    def _step(self, base: str, values: list[str], texts: list[str]) -> str:
        """A step of the scale: of the text that the input's name ends with, or of the best one for the whole task."""
        steps = [value for value in values if value != "none"]
        _, _, slot = base.partition("_")
        if slot:
            text = texts[int(slot) - 1]
        elif texts:
            text = max(texts, key=self._character.taste)
        else:
            return self._draw.choice(steps)
        return steps[self._character.step(text, len(steps), self._seen, self._draw)]

    def _marks(self, control: Control, text: str) -> str:
        passages = [part for part in SENTENCE.split(text) if part.strip()]
        if not passages or self._draw.random() >= MARKED:
            return "[]"
        passage = self._draw.choice(passages)
        start = text.index(passage)
        label = self._draw.choice(control.values)
        return json.dumps([{"start": start, "end": start + len(passage), "label": label, "comment": ""}])

    def _text(self, control: Control, task: ShownTask) -> str:
        if control.name == "text" and task.field == "edit":
            return self._rewritten(task.answers[0])
        if control.name == "text" and task.field == "demonstrate":
            return _at_least(control.least, self._character.favourite(ANSWERS, self._draw), ANSWERS)
        if not control.least and self._draw.random() >= NOTED:
            return ""
        return _at_least(control.least, self._draw.choice(NOTES), NOTES)

    def _rewritten(self, text: str) -> str:
        """The answer cut short, or with a kind word at its end: what this person likes best, and never as it was."""
        parts = SENTENCE.split(text.strip())
        cut = [" ".join(parts[:count]) for count in range(1, len(parts)) if parts[0]]
        return self._character.favourite([*cut, f"{text.strip()} {CLOSING}".strip()], self._draw)


def _at_least(characters: int, text: str, more: Iterable[str]) -> str:
    """A text of this length or longer: further sentences are added."""
    while len(text) < characters:
        text = " ".join((text, *more))
    return text
