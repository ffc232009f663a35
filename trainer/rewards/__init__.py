"""What an answer is worth: a weighted sum of terms, one small file each, used alike by PPO, RLOO and evaluation.

A term is a function of what was written (`Written`) to one number an answer. To add one: a file here with a function
`make(options, allowed)`, a line in `MAKERS`, its options in app.core.recipes.rewards, its two lines in METRICS.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from app.core.recipes.rewards import parse_terms
from trainer.context import RecipeError
from trainer.rewards import ensemble, length, missing_end, python, reward_model
from trainer.rewards.written import Term, Written

__all__ = ["MAKERS", "Rewards", "Written", "make_rewards"]

MAKERS: dict[str, Callable[[Mapping[str, Any], Sequence[str]], Term]] = {
    "reward_model": reward_model.make,
    "ensemble": ensemble.make,
    "length": length.make,
    "missing_end": missing_end.make,
    "python": python.make,
}
"""term → the function that makes it from its options and the allowed modules."""


@dataclass(frozen=True)
class Rewards:
    """The terms of a run, ready to be asked."""

    terms: list[tuple[str, float, Term]]
    """name, weight, function."""

    @property
    def ask_model(self) -> bool:
        """Whether any term reads the reward model, so that it has to be run at all."""
        return any(name in ("reward_model", "ensemble") for name, _, _ in self.terms)

    def of(self, written: Written) -> tuple[Tensor, dict[str, float]]:
        """(N,) fp32 scores, and mean and deviation of every term before its weight. Raises RecipeError."""
        total = torch.zeros(len(written.texts))
        figures: dict[str, float] = {}
        for name, weight, term in self.terms:
            values = term(written).float().cpu()
            if not bool(torch.isfinite(values).all()):
                raise RecipeError(f"Reward term {name} gave something else than a number.")
            total += weight * values
            figures[f"reward_term/{name}"] = float(values.mean())
            figures[f"reward_term/{name}_std"] = float(values.std(correction=0))
        return total, figures


def make_rewards(rows: Sequence[Any], allowed: Sequence[str] = ()) -> Rewards:
    """The terms of a config. `allowed`: modules that the term `python` may import (PALATE_REWARD_MODULES).

    Raises InvalidConfig or RecipeError before anything was computed.
    """
    return Rewards([(t.term, t.weight, MAKERS[t.term](t.options, allowed)) for t in parse_terms(rows)])
