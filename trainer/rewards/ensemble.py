"""The reward model, careful where its members disagree: mean − deviations · std (Coste et al. 2024, "UWO")."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from trainer.rewards.written import Term, Written


def make(options: Mapping[str, Any], _allowed: Sequence[str]) -> Term:
    """`deviations`: how much disagreement costs. A single member cannot disagree: the same as reward_model."""
    deviations = float(options["deviations"])

    def term(written: Written) -> Tensor:
        scores = written.scores()
        return scores.mean(1) - deviations * scores.std(1, correction=0)

    return term
