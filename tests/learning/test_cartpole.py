"""The core of PPO (GAE, whitening, both losses: the product's own functions) on a control task with a known score.

CleanRL's PPO ends CartPole-v1 at 490 ± 6 of 500. A random policy holds the pole for about 22 steps.
"""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from tests.learning.cartpole import LIMIT, move, start
from trainer import losses

torch.set_num_threads(1)


@dataclass(frozen=True)
class Played:
    """B episodes of at most R steps, right padded: what an answer's tokens are to a language model."""

    states: Tensor  # (B, R, 4)
    actions: Tensor  # (B, R)
    mask: Tensor


class Player(nn.Module):
    """Policy and critic, two small networks. Positions and angles are small numbers, so the states are scaled."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.tensor([1.0, 1.0, 5.0, 1.0])
        self.policy = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2))
        self.critic = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
        nn.init.zeros_(self.policy[-1].weight)  # type: ignore[arg-type]

    def logprobs(self, states: Tensor) -> Tensor:
        return torch.log_softmax(self.policy(states * self.scale), -1)

    def values(self, states: Tensor) -> Tensor:
        made: Tensor = self.critic(states * self.scale)[..., 0] * 10
        return made


@torch.no_grad()
def play(player: Player, carts: int, generator: torch.Generator) -> Played:
    """Whole episodes of as many carts."""
    state, alive = start(carts, generator), torch.ones(carts, dtype=torch.bool)
    states, actions, masks = [], [], []
    for _ in range(LIMIT):
        right = (torch.rand(carts, generator=generator) < player.logprobs(state)[:, 1].exp()).long()
        states.append(state)
        actions.append(right)
        masks.append(alive)
        state, over = move(state, right)
        alive = alive & ~over
        if not alive.any():
            break
    return Played(torch.stack(states, 1), torch.stack(actions, 1), torch.stack(masks, 1))


def train(seed: int, *, rounds: int, carts: int = 16, spoil: bool = False) -> list[float]:
    """Mean length of the episodes of each round. `spoil` deals the advantages out at random among the steps."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    player = Player()
    optimiser = torch.optim.Adam(player.parameters(), eps=1e-5)
    lengths = []
    for number in range(rounds):
        optimiser.param_groups[0]["lr"] = 2e-3 * (1 - number / rounds)
        seen = play(player, carts, generator)
        lengths.append(float(seen.mask.sum(1).float().mean()))
        with torch.no_grad():
            old = player.logprobs(seen.states).gather(2, seen.actions[..., None])[..., 0]
            before = player.values(seen.states)
            advantages, returns = losses.gae(seen.mask.float(), before, seen.mask, gamma=0.99, lam=0.95)
            advantages = losses.whiten(advantages, seen.mask)
        rows = seen.mask.flatten().nonzero()[:, 0]
        states, actions = seen.states.flatten(0, 1)[rows], seen.actions.flatten()[rows]
        old, before = old.flatten()[rows], before.flatten()[rows]
        credit, returns = advantages.flatten()[rows], returns.flatten()[rows]
        if spoil:
            credit = credit[torch.randperm(len(credit), generator=generator)]
        for _ in range(4):
            for part in torch.split(torch.randperm(len(rows), generator=generator), max(64, len(rows) // 8)):
                mask, total = torch.ones(len(part), dtype=torch.bool), len(part)
                new = player.logprobs(states[part]).gather(1, actions[part, None])[:, 0]
                policy = losses.policy_loss(new, old[part], credit[part], mask, clip=0.2, total=total)
                values = player.values(states[part])
                critic, _ = losses.value_loss(values, before[part], returns[part], mask, clip=10.0, total=total)
                optimiser.zero_grad()
                (policy.loss + 0.1 * critic).backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(player.parameters(), 0.5)
                optimiser.step()
    return lengths


@pytest.mark.parametrize("spoil", [False, True])
def test_twenty_rounds_teach_a_pole_to_stand_unless_credit_is_dealt_at_random(spoil: bool) -> None:
    lengths = train(2, rounds=20, spoil=spoil)
    late = sum(lengths[-5:]) / 5
    assert late < 60 if spoil else late > 400


@pytest.mark.slow
def test_ppo_solves_cartpole() -> None:
    """Mean of three seeds over their last ten rounds of 16 episodes; CartPole-v1 counts as solved at 475."""
    ends = [sum(train(seed, rounds=60)[-10:]) / 10 for seed in (1, 2, 3)]
    assert sum(ends) / 3 >= 475, ends
