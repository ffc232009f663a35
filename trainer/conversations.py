"""Conversations with an assistant's turns to imitate, as tokens and a mask of what is learned."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainer.base_model import Tokenizer
from trainer.data import Batch, pad


@dataclass(frozen=True)
class Lesson:
    """A conversation to imitate. `prompt` ends where the first learned turn begins; `taught` marks learned tokens of

    `rest`: the words of the assistant and the end token after each, never what stands between turns.
    """

    prompt_id: int
    split: str
    prompt: list[int]
    rest: list[int]
    taught: list[bool]

    @property
    def length(self) -> int:
        """Tokens in all."""
        return len(self.prompt) + len(self.rest)


def make_lesson(
    tokenizer: Tokenizer, prompt_id: int, split: str, messages: Sequence[dict[str, Any]], text: str, *, turns: str
) -> Lesson:
    """The lesson of an answer (`text`) and of what was said before it. `turns`: all of the assistant's, or the last.

    Each learned turn follows the very tokens that the decode loop would be given before it. A template that writes an
    earlier turn otherwise once later ones follow (some drop what was thought) leaves only the last turn to learn.
    """
    said = [*messages, {"role": "assistant", "content": text}]
    places = [index for index, message in enumerate(said) if message["role"] == "assistant"]
    opened = [tokenizer.encode_chat(said[:index]) for index in places]
    answers = [[*tokenizer.encode(said[index]["content"]), tokenizer.eos_id] for index in places]
    first = len(places) - 1
    while turns == "all" and first > 0 and _follows(opened[first], opened[first - 1], answers[first - 1]):
        first -= 1
    rest: list[int] = []
    taught: list[bool] = []
    for turn in range(first, len(places)):
        between = opened[turn][len(opened[first]) + len(rest) :]
        rest += between + answers[turn]
        taught += [False] * len(between) + [True] * len(answers[turn])
    return Lesson(prompt_id, split, opened[first], rest, taught)


def _follows(later: list[int], opened: list[int], answer: list[int]) -> bool:
    """Whether the later context begins with this turn exactly as it is learned."""
    return later[: len(opened) + len(answer)] == opened + answer


def pad_lessons(lessons: Sequence[Lesson], pad_id: int, device: torch.device) -> tuple[Batch, Tensor]:
    """Some lessons as one Batch, and (B, R) True where a token is learned."""
    batch = pad([(lesson.prompt, lesson.rest) for lesson in lessons], pad_id, device)
    taught = torch.zeros_like(batch.mask)
    for row, lesson in enumerate(lessons):
        taught[row, : len(lesson.taught)] = torch.tensor(lesson.taught, device=device)
    return batch, taught
