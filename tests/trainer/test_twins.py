"""The rest of trainer.losses against loops and search, and an audit: no function without a test that calls it."""

import inspect
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.trainer.test_losses import batch, real
from trainer import losses

torch.set_num_threads(1)


def test_every_function_of_losses_is_called_by_a_test() -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    public = [
        name for name, made in inspect.getmembers(losses, inspect.isfunction) if made.__module__ == losses.__name__
    ]
    assert [name for name in public if f"losses.{name}(" not in tests] == []


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_kl_estimators_token_by_token(estimator: str) -> None:
    policy, reference, _ = batch(1)
    twins: dict[str, Callable[[float, float], float]] = {
        "k1": lambda p, r: p - r,
        "k2": lambda p, r: (p - r) ** 2 / 2,
        "k3": lambda p, r: math.exp(r - p) - 1 - (r - p),
    }
    twin = twins[estimator]
    found = losses.kl(policy, reference, estimator).flatten().tolist()
    pairs = zip(policy.flatten().tolist(), reference.flatten().tolist(), strict=True)
    assert found == pytest.approx([twin(p, r) for p, r in pairs], abs=1e-9)


def test_figures_of_the_policy_loss_equal_their_loops() -> None:
    new, old, mask = batch(2)
    credit = batch(3)[0]
    made = losses.policy_loss(new, old, credit, mask, clip=0.2, total=int(mask.sum()))
    steps = [a - b for a, b in zip(real(new, mask), real(old, mask), strict=True)]
    ratios = [math.exp(step) for step in steps]
    held = [-a * min(max(ratio, 0.8), 1.2) > -a * ratio for a, ratio in zip(real(credit, mask), ratios, strict=True)]
    assert 0 < sum(held) < len(held)
    assert float(made.clipped) == sum(held)
    assert float(made.approx_kl) == pytest.approx(sum(step**2 / 2 for step in steps), abs=1e-9)
    assert float(made.ratio) == pytest.approx(sum(ratios), abs=1e-9)
    assert float(made.ratio_square) == pytest.approx(sum(ratio**2 for ratio in ratios), abs=1e-9)
    assert float(made.ratio_max) == pytest.approx(max(ratios), abs=1e-9)
    assert float(made.drift) == pytest.approx(max(abs(ratio - 1) for ratio in ratios), abs=1e-9)


@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_kl_losses_equal_their_loops(estimator: str) -> None:
    new, old, mask = batch(4)
    reference = batch(5)[0]
    total = 0.0
    for n, o, r in zip(real(new, mask), real(old, mask), real(reference, mask), strict=True):
        leash = (n - r) ** 2 / 2 if estimator == "k2" else math.exp(r - n) - 1 - (r - n)
        total += math.exp(n - o) * leash / 9
    found = losses.kl_loss(new, old, reference, mask, estimator=estimator, total=9)
    assert float(found) == pytest.approx(total, abs=1e-9)


def test_log_loss_of_soft_targets_equals_its_loop() -> None:
    generator = torch.Generator().manual_seed(6)
    sure = torch.rand(40, generator=generator, dtype=torch.float64) * 0.98 + 0.01
    target = torch.randint(0, 3, (40,), generator=generator).double() / 2
    pairs = list(zip(sure.tolist(), target.tolist(), strict=True))
    by_hand = sum(-t * math.log(p) - (1 - t) * math.log(1 - p) for p, t in pairs) / 40
    assert float(losses.log_loss(sure, target)) == pytest.approx(by_hand, abs=1e-9)


def test_explained_variance_equals_its_loop() -> None:
    values, returns, mask = batch(7)
    kept, rest = real(returns, mask), real(returns - values, mask)

    def variance(numbers: list[float]) -> float:
        return sum((n - sum(numbers) / len(numbers)) ** 2 for n in numbers) / len(numbers)

    assert losses.explained_variance(values, returns, mask) == pytest.approx(
        1 - variance(rest) / variance(kept), abs=1e-6
    )


def test_the_temperature_is_the_best_of_a_fine_grid() -> None:
    generator = torch.Generator().manual_seed(8)
    difference = 3 * torch.randn(300, generator=generator, dtype=torch.float64)
    target = torch.bernoulli(torch.sigmoid(difference / 2.5), generator=generator)

    def loss(temperature: float) -> float:
        return float(losses.bradley_terry(difference / temperature, target).mean())

    found = losses.fit_temperature(difference, target)
    assert loss(found) <= min(loss(0.05 * 1.01**step) for step in range(600)) + 1e-9
