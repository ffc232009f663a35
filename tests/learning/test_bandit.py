"""PPO's losses on a problem with a closed form: one token, two choices, reward (1, 0), a uniform reference.

The optimum of E[r] − β·KL is π ∝ π_ref · e^{r/β}: .7311 at β = 1, .8808 at β = ½ (trainers.md section 6).
"""

import math

import pytest
import torch

from trainer import losses

torch.set_num_threads(1)


@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_ppo_finds_the_optimum_of_the_leashed_bandit(beta: float) -> None:
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
            mask = torch.ones_like(actions, dtype=torch.bool)
            old = policy[actions]
            scores = (actions[:, 0] == 0).float()
            rewards = losses.token_rewards(scores, losses.kl(old, reference[actions]), mask, beta)
            advantages, _ = losses.gae(rewards, torch.zeros_like(rewards), mask, gamma=1.0, lam=0.95)
            advantages = losses.whiten(advantages, mask)
        for _ in range(4):
            new = torch.log_softmax(logits, 0)[actions]
            losses.policy_loss(new, old, advantages, mask, clip=0.2, total=512).loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            optimiser.zero_grad()
        trail.append(float(torch.softmax(logits.detach(), 0)[0]))
    best = 1 / (1 + math.exp(-1 / beta))
    assert sum(trail[-20:]) / 20 == pytest.approx(best, abs=0.02)
