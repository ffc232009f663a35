"""Three places for PPO's critic: on the reward model's frozen states, on the policy's own, or with its own adapter."""

from dataclasses import dataclass

import torch
from torch import Tensor

from app.core.recipes import PpoConfig
from trainer import checkpoints
from trainer.context import Context
from trainer.data import Batch
from trainer.modeling import Trunk
from trainer.recipes.reward_model import NAME as REWARD
from trainer.recipes.reward_model import Normalisation

VALUE = "value"
"""Of the critic's head, and of its adapter where it has one."""


@dataclass(frozen=True)
class Critic:
    """A head on the trunk, and which states it reads: kind "head", "adapter" or "policy" (PpoConfig.critic)."""

    trunk: Trunk
    kind: str
    detach: bool

    def parameters(self) -> list[torch.nn.Parameter]:
        """What the critic's optimiser moves; the policy's parameters are never among them."""
        own = self.trunk.parameters_of(VALUE) if self.kind == "adapter" else []
        return [*self.trunk.head(VALUE).parameters(), *own]

    def read(self, batch: Batch, policy: Tensor, reward: Tensor | None) -> Tensor:
        """(B, R) what it expects before each token. `policy`, `reward`: (B, R, d) states that were computed anyway."""
        if self.kind == "adapter":
            with self.trunk.use(VALUE):
                states = batch.at_answer(self.trunk.read(batch))
        elif self.kind == "policy":
            states = policy.detach() if self.detach else policy
        else:
            assert reward is not None  # noqa: S101  (narrowing: `judge` keeps them for this kind)
            states = reward
        values: Tensor = self.trunk.head(VALUE)(states)
        return values

    def shares_policy(self) -> bool:
        """Whether its loss flows into the policy's weights, so that both are differentiated together."""
        return self.kind == "policy" and not self.detach

    def tensors(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        packed = checkpoints.pack_head(self.trunk.head(VALUE), VALUE)
        return packed | (checkpoints.pack_adapter(self.trunk, VALUE) if self.kind == "adapter" else {})


@torch.no_grad()
def prepare_critic(
    config: PpoConfig, context: Context, normalisation: Normalisation, saved: checkpoints.Saved | None
) -> Critic:
    """A critic with an adapter starts as the reward model (N+ detail 19), on the normalised scale; a head alone at 0
    (OAI): on the states within an answer the reward's head explains less than nothing (docs/experiments.md), and it
    could not adapt its states as an adapter can."""
    trunk = context.trunk
    value = trunk.add_head(VALUE, zero=True)
    if config.critic == "adapter":
        reward = trunk.head(REWARD)
        value.weight.copy_(reward.weight / normalisation.std)
        value.bias.copy_((reward.bias - normalisation.mean) / normalisation.std)
        trunk.copy_adapter(REWARD, VALUE)
    if saved is not None:
        checkpoints.unpack_head(value, VALUE, saved.tensors)
        if config.critic == "adapter":
            rank, alpha = trunk.settings[VALUE]
            checkpoints.unpack_adapter(trunk, VALUE, saved.tensors, rank=rank, alpha=alpha)
    return Critic(trunk, config.critic, config.critic_detach)
