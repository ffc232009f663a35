"""The reward model learns what can be learned, and nothing from labels that say nothing."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from app.core.recipes import RewardModelConfig, make_config
from tests.tiny_model import make_tiny_model
from tests.trainer.bench import lexical_groups, make_context
from trainer import losses
from trainer.recipes.reward_model import fit_reward_model

torch.set_num_threads(1)


@pytest.mark.parametrize(("spread", "ceiling"), [(0.5, 0.631), (1.0, 0.726), (2.0, 0.828), (3.0, 0.878)])
def test_bradley_terry_reaches_the_bayes_ceiling(spread: float, ceiling: float) -> None:
    """Linear rewards of known spread, labels drawn by Bradley–Terry: no model can agree with more than the ceiling."""
    generator = torch.Generator().manual_seed(1)
    accuracy = {}
    for shuffled in (False, True):
        direction = F.normalize(torch.randn(8, generator=generator), dim=0) * spread
        first, second = torch.randn(2, 40_000, 8, generator=generator)
        target = torch.bernoulli(torch.sigmoid((first - second) @ direction), generator=generator)
        if shuffled:
            target = target[torch.randperm(len(target), generator=generator)]
        weight = torch.zeros(8, requires_grad=True)
        optimiser = torch.optim.Adam([weight], lr=0.1)
        for _ in range(100):
            losses.bradley_terry((first[:20_000] - second[:20_000]) @ weight, target[:20_000]).mean().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            optimiser.zero_grad()
        difference = ((first - second) @ weight.detach())[20_000:]
        accuracy[shuffled] = float(((difference > 0) == (target[20_000:] > 0.5)).float().mean())
        if not shuffled:
            calibrated = torch.sigmoid(difference / losses.fit_temperature(difference, target[20_000:]))
            assert losses.calibration_error(calibrated, target[20_000:]) < 0.05
    assert accuracy[False] == pytest.approx(ceiling, abs=0.015)
    assert accuracy[True] == pytest.approx(0.5, abs=0.02)


def held_out_accuracy(tmp_path: Path, *, shuffled: bool) -> float:
    context, heard = make_context(make_tiny_model(tmp_path / "tiny"), tmp_path / "store")
    config = make_config("reward_model", "tiny")
    assert isinstance(config, RewardModelConfig)
    groups = lexical_groups(context, 150, shuffled=shuffled)
    fitted = fit_reward_model(config, groups, context)
    assert heard.figures[heard.steps]["reward/held_out_accuracy"] == fitted.metrics["reward/held_out_accuracy"]
    return fitted.metrics["reward/held_out_accuracy"]


def test_a_lexical_taste_is_learned(tmp_path: Path) -> None:
    assert held_out_accuracy(tmp_path, shuffled=False) >= 0.9


def test_shuffled_labels_teach_nothing(tmp_path: Path) -> None:
    assert held_out_accuracy(tmp_path, shuffled=True) < 0.6
