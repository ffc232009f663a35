"""Config of the recipe `dpo`."""

from dataclasses import dataclass
from typing import Literal

from app.core.errors import InvalidConfig
from app.core.recipes.checks import positive, share
from app.core.words import gettext


@dataclass(frozen=True, kw_only=True)
class DpoConfig:
    """Direct preference optimisation (Rafailov et al. 2023) on a snapshot's preference pairs."""

    epochs: int = 1
    batch_size: int = 8
    """Prompts per optimiser step: all pairs of one prompt stay in one batch element."""
    micro_batch_tokens: int = 512
    """Most tokens of one forward pass: smaller needs less memory and changes nothing else."""
    learning_rate: float = 5e-5
    """Falls linearly to 0."""
    gradient_clip: float = 1.0
    beta: float = 0.1
    """Implicit reward = beta · log(policy / reference); larger stays nearer to the reference."""
    loss: Literal["sigmoid", "ipo"] = "sigmoid"
    """ipo: a squared distance of the log-ratio to 1 / (2 · beta) (Azar et al. 2023), which does not run to infinity."""
    label_smoothing: float = 0.0
    """cDPO: the share of labels that are thought to be wrong."""
    ties: Literal["out", "soft"] = "out"
    """A tie is left out, or is a soft target of one half."""
    reference: Literal["base", "start"] = "base"
    """What the policy is held near: the base model, or the policy that it starts from."""
    temperature: float = 0.7
    """Logits are divided by it in every log-probability, so that what is learned is what is sampled (as in PPO)."""
    max_tokens: int = 96
    """Longest answer of the probes that the policy server checks; a round takes both from the project's sampling."""
    lora_rank: int = 16
    lora_alpha: float = 32.0
    checkpoint_every: int = 1

    def validate(self) -> None:
        positive(self, "epochs", "batch_size", "micro_batch_tokens", "learning_rate", "gradient_clip", "beta")
        positive(self, "temperature", "max_tokens", "lora_rank", "lora_alpha", "checkpoint_every")
        share(self, "label_smoothing")
        for name, known in (("loss", ("sigmoid", "ipo")), ("ties", ("out", "soft")), ("reference", ("base", "start"))):
            if getattr(self, name) not in known:
                words = gettext("%(name)s must be %(one)s or %(other)s, not %(value)s.")
                values = {"name": f"dpo.{name}", "one": known[0], "other": known[1]}
                raise InvalidConfig(words % {**values, "value": repr(getattr(self, name))})
        if self.loss == "ipo" and self.label_smoothing:
            raise InvalidConfig(gettext("dpo.label_smoothing belongs to the sigmoid loss; set it to 0 for ipo."))
