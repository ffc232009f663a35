"""PPO by the product's own losses on the smallest policy there is: a table of logits, one row per position.

Its optimum is known: E[r] − β·KL is largest at π ∝ π_ref · e^{r/β}, position by position when the reward is a sum over
tokens.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from trainer import losses

Scores = Callable[[Tensor], Tensor]
"""(N, T) answers → (N,) scores."""


def learn_table(
    scores: Scores,
    reference: Tensor,
    *,
    beta: float,
    steps: int = 200,
    answers: int = 512,
    learning_rate: float = 0.05,
    seed: int = 0,
) -> Tensor:
    """(T, V) probabilities, mean of the last tenth of the steps. PPO starts at `reference`, (T, V) log-probs."""
    generator = torch.Generator().manual_seed(seed)
    logits = reference.clone().requires_grad_()
    optimiser = torch.optim.Adam([logits], lr=learning_rate, eps=1e-5)
    positions = torch.arange(len(reference))
    trail = []
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = learning_rate * (1 - step / steps)
        with torch.no_grad():
            policy = torch.log_softmax(logits, 1)
            written = torch.multinomial(policy.exp(), answers, replacement=True, generator=generator).T
            mask = torch.ones_like(written, dtype=torch.bool)
            old = policy[positions, written]
            leash = losses.kl(old, reference[positions, written])
            rewards = losses.token_rewards(scores(written), leash, mask, beta)
            # The baseline of a position is its mean reward to go: what a perfect critic of this policy would say.
            expected = rewards.flip(1).cumsum(1).flip(1).mean(0).expand_as(rewards)
            advantages, _ = losses.gae(rewards, expected, mask, gamma=1.0, lam=1.0)
            advantages = losses.whiten(advantages, mask)
        for _ in range(4):
            new = torch.log_softmax(logits, 1)[positions, written]
            losses.policy_loss(new, old, advantages, mask, clip=0.2, total=answers).loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            optimiser.zero_grad()
        trail.append(torch.softmax(logits.detach(), 1))
    return torch.stack(trail[-steps // 10 :]).mean(0)


def optimum(reference: Tensor, worth: Tensor, beta: float) -> Tensor:
    """π ∝ π_ref · e^{r/β} per position. `worth` (V,) or (T, V): reward of each token."""
    return torch.softmax(reference + worth / beta, 1)


def divergence(policy: Tensor, reference: Tensor) -> float:
    """KL(policy‖reference) in nats, summed over positions. (T, V) probabilities, (T, V) log-probs."""
    return float(torch.where(policy > 0, policy * (policy.log() - reference), 0).sum())
