"""The linear probe against what is known about its minimum, and on labels that say nothing."""

import math

import pytest
import torch
from torch import Tensor

from trainer import losses
from trainer.probe import fit_probe


def drawn(pairs: int, width: int, *, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """States of pairs, and the direction in which rewards truly rise. Features have very different scales."""
    generator = torch.Generator().manual_seed(seed)
    scales = torch.logspace(-2, 2, width)
    first, second = torch.randn(2, pairs, width, generator=generator) * scales
    return first, second, torch.randn(width, generator=generator) / scales


def agreement(probe: Tensor, direction: Tensor) -> float:
    first, second, _ = drawn(4000, len(probe), seed=9)
    difference = first - second
    return float(((difference @ probe > 0) == (difference @ direction > 0)).float().mean())


def test_one_pair_has_the_minimum_that_calculus_gives() -> None:
    """States 1 and −1: σ is 1, so the loss is log(1 + e^(−2w)) + ridge w², whose slope at the minimum is 0."""
    ridge = 0.1
    weight = float(fit_probe(torch.tensor([[1.0]]), torch.tensor([[-1.0]]), torch.tensor([1.0]), ridge=ridge))
    assert 2 * ridge * weight == pytest.approx(2 / (1 + math.exp(2 * weight)), abs=1e-5)


def test_few_pairs_find_the_direction_whatever_the_scales() -> None:
    first, second, direction = drawn(60, 16)
    target = ((first - second) @ direction > 0).float()
    assert agreement(fit_probe(first, second, target, ridge=0.05), direction) > 0.8
    shuffled = target[torch.randperm(60, generator=torch.Generator().manual_seed(1))]
    assert agreement(fit_probe(first, second, shuffled, ridge=0.05), direction) < 0.65


def test_ties_alone_prefer_nothing() -> None:
    first, second, _ = drawn(30, 8)
    assert float(fit_probe(first, second, torch.full((30,), 0.5), ridge=0.1).abs().max()) == 0.0


def test_the_penalty_holds_separable_labels_back() -> None:
    first, second, direction = drawn(10, 16)
    target = ((first - second) @ direction > 0).float()
    loose, tight = (fit_probe(first, second, target, ridge=ridge) for ridge in (1e-3, 1.0))
    certainty = [float(losses.bradley_terry((first - second) @ w, target).mean()) for w in (loose, tight)]
    assert certainty[0] < 0.05
    assert 0.3 < certainty[1] < 0.69
