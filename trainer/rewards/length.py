"""−|tokens − target|: with a weight above 0 every token away from the target costs that much."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from trainer.rewards.written import Term, Written


def make(options: Mapping[str, Any], _allowed: Sequence[str]) -> Term:
    """`target` in tokens; 0 makes every token cost."""
    target = float(options["target"])

    def term(written: Written) -> Tensor:
        return -(written.lengths.float() - target).abs()

    return term
