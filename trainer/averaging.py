"""A running average of the policy's weights (Polyak; DeepSpeed-Chat's EMA), as an adapter beside it."""

import torch

from app.core.recipes import PolicyConfig
from trainer.experience import AVERAGE, POLICY
from trainer.modeling import Trunk


@torch.no_grad()
def follow(config: PolicyConfig, trunk: Trunk) -> None:
    """After an optimiser step: average ← decay · average + (1 − decay) · policy. Nothing without a decay."""
    if config.ema_decay == 0:
        return
    for mean, now in zip(trunk.parameters_of(AVERAGE), trunk.parameters_of(POLICY), strict=True):
        mean.lerp_(now, 1 - config.ema_decay)
