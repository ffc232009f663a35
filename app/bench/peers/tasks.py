"""The tasks that every server gets: one prompt, two answers."""

import json
import random
from dataclasses import dataclass
from pathlib import Path

from app.core.errors import InvalidInput, Problem

SUBJECTS = (
    "a small garden",
    "a night train",
    "sourdough",
    "the tides",
    "an old bicycle",
    "chess",
    "a first job",
    "bees",
)
WORDS = (
    "it depends on how much time there is and on who has to live with the result",
    "begin with what is there already, and change one thing at a time",
    "most people underestimate the second half of the work",
    "write down what you want before you look at what others did",
    "the cheap way is good enough until it has to last",
    "ask somebody who has done it twice, not somebody who has done it once",
)


@dataclass(frozen=True)
class Pair:
    """One task."""

    prompt: str
    first: str
    second: str


def pairs_from(path: Path | None, count: int) -> list[Pair]:
    """This many pairs: of a PandaLM test set where a path is given, generated where not. Raises InvalidInput.

    Where there are fewer, they come again with a number, so that no two tasks are the same.
    """
    found = _generated() if path is None else _read(path)
    return [_again(found[number % len(found)], number // len(found)) for number in range(count)]


def _again(pair: Pair, time: int) -> Pair:
    return pair if not time else Pair(f"{pair.prompt}\n\n({time + 1})", pair.first, pair.second)


def _read(path: Path) -> list[Pair]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput([Problem("--pairs", f"{path} cannot be read: {error}.")]) from error
    found: dict[str, Pair] = {}
    try:
        for row in rows:
            prompt = f"{row['instruction']}\n\n{row['input']}".strip()
            first, second = (str(row[name]).strip() for name in ("response1", "response2"))  # some answers are true
            if first and second:
                found.setdefault(prompt, Pair(prompt, first, second))
    except (KeyError, TypeError) as error:
        message = f"Every row needs instruction, input, response1 and response2 ({error})."
        raise InvalidInput([Problem("--pairs", message)]) from error
    if not found:
        raise InvalidInput([Problem("--pairs", f"{path} holds no pair.")])
    return list(found.values())


def _generated() -> list[Pair]:
    draw = random.Random(1)  # noqa: S311  the same texts on every machine
    return [
        Pair(
            f"What should one know about {subject}, in {number} sentences?",
            _answer(draw, subject, 2 + number % 4),
            _answer(draw, subject, 2 + (number + 1) % 5),
        )
        for number in range(2, 127)
        for subject in SUBJECTS
    ]


def _answer(draw: random.Random, subject: str, sentences: int) -> str:
    return f"About {subject}: " + " ".join(f"{draw.choice(WORDS).capitalize()}." for _ in range(sentences))
