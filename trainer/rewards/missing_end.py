"""−1 for an answer that was cut instead of ending by itself (TRL's missing_eos_penalty)."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from trainer.rewards.written import Term, Written


def make(_options: Mapping[str, Any], _allowed: Sequence[str]) -> Term:
    """0 for one that ended."""

    def term(written: Written) -> Tensor:
        return -(~written.finished).float()

    return term
