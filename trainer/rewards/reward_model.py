"""What people are likely to prefer: the reward model's score, mean 0 and deviation 1 on the live policy."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from trainer.rewards.written import Term, Written


def make(_options: Mapping[str, Any], _allowed: Sequence[str]) -> Term:
    """The mean over its members."""

    def term(written: Written) -> Tensor:
        return written.scores().mean(1)

    return term
