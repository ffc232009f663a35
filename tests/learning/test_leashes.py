"""Leashes and RLOO on a problem with a closed form: one token, two choices, reward (1, 0), a uniform reference."""

import math

import pytest
import torch
from torch import Tensor

from trainer import losses

torch.set_num_threads(1)
BETA = 0.5


def learned(estimator: str, *, place: str, samples: int = 0) -> float:
    """P(first choice) after training: PPO's losses, or with `samples` RLOO's over groups of so many."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.zeros(2, requires_grad=True)
    reference = torch.log_softmax(torch.zeros(2), 0)
    optimiser = torch.optim.Adam([logits], lr=0.05, eps=1e-5)
    steps, trail = 200, []
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 0.05 * (1 - step / steps)
        with torch.no_grad():
            policy = torch.log_softmax(logits, 0)
            actions = torch.multinomial(policy.exp(), 512, replacement=True, generator=generator)[:, None]
            mask, old = torch.ones_like(actions, dtype=torch.bool), policy[actions]
            apart = BETA * losses.kl(old, reference[actions], estimator) if place == "reward" else torch.zeros_like(old)
            rewards = (actions[:, 0] == 0).float() - apart[:, 0]
            advantages = losses.leave_one_out(rewards, samples) if samples else rewards - rewards.mean()
        for _ in range(1 if samples else 4):
            new = torch.log_softmax(logits, 0)[actions]
            loss = _policy_loss(new, old, advantages, mask, sequences=samples > 0)
            if place == "loss":
                leash = losses.kl_loss(new, old, reference[actions], mask, estimator=estimator, total=512)
                loss = loss + BETA * leash
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            optimiser.zero_grad()
        trail.append(float(torch.softmax(logits.detach(), 0)[0]))
    return sum(trail[-20:]) / 20


def _policy_loss(new: Tensor, old: Tensor, advantages: Tensor, mask: Tensor, *, sequences: bool) -> Tensor:
    if sequences:
        return losses.sequence_loss(new, old, advantages, mask, clip=0.2, total=512).loss
    return losses.policy_loss(new, old, advantages[:, None], mask, clip=0.2, total=512).loss


@pytest.mark.parametrize(("estimator", "place", "samples"), [("k2", "loss", 0), ("k1", "reward", 4), ("k2", "loss", 4)])
def test_sound_leashes_find_the_optimum(estimator: str, place: str, samples: int) -> None:
    """π ∝ π_ref · e^{r/β}, with PPO and with RLOO, wherever the leash is."""
    best = 1 / (1 + math.exp(-1 / BETA))
    assert learned(estimator, place=place, samples=samples) == pytest.approx(best, abs=0.02)


def test_k3_as_a_loss_holds_the_other_divergence() -> None:
    """The optimum of E[r] − β · KL(ref‖π) for two choices: β / 2 · (1/π₂ − 1/π₁) = 1."""
    low, high = 0.5, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if BETA / 2 * (1 / (1 - middle) - 1 / middle) < 1 else (low, middle)
    assert learned("k3", place="loss") == pytest.approx(low, abs=0.02)


def test_k3_in_the_reward_is_no_leash() -> None:
    """Why the config refuses it: it lands far from both optima."""
    best = 1 / (1 + math.exp(-1 / BETA))
    assert abs(learned("k3", place="reward") - best) > 0.05
