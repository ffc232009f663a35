"""What reward terms are asked about."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from trainer.context import RecipeError
from trainer.data import Prompt


@dataclass(frozen=True)
class Written:
    """N answers: parallel lists and tensors on the CPU."""

    prompts: list[str]
    texts: list[str]
    lengths: Tensor  # (N,) tokens, the end token included
    finished: Tensor  # (N,) bool: ended by itself
    members: Tensor | None  # (N, n) normalised scores of the reward model's n members; None where it was not run

    def scores(self) -> Tensor:
        """(N, n) of the reward model."""
        if self.members is None:
            raise RecipeError("This reward needs the scores of a reward model, but none was run.")
        return self.members


Term = Callable[[Written], Tensor]
"""(N,) values."""


def as_text(prompt: Prompt) -> str:
    """What was asked, without the template's marks: the contents of its messages."""
    return "\n\n".join(str(message.get("content", "")) for message in prompt.messages)
