"""Config of the recipe `sft`."""

from dataclasses import dataclass
from typing import Literal

from app.core.errors import InvalidConfig
from app.core.recipes.checks import positive
from app.core.words import gettext


@dataclass(frozen=True, kw_only=True)
class SftConfig:
    """Supervised fine-tuning on what people wrote and rewrote."""

    epochs: int = 2
    batch_size: int = 8
    """Demonstrations per optimiser step."""
    micro_batch_tokens: int = 512
    """Most tokens of one forward pass: smaller needs less memory and changes nothing else."""
    learning_rate: float = 1e-4
    """Falls linearly to 0."""
    gradient_clip: float = 1.0
    turns: Literal["all", "last"] = "all"
    """Of a talk: whether every turn of the assistant is learned, or only the last one, which the person wrote."""
    max_tokens: int = 96
    """Longest answer of the probes that the policy server checks; a round takes it from the project's sampling."""
    lora_rank: int = 16
    lora_alpha: float = 32.0
    checkpoint_every: int = 1

    def validate(self) -> None:
        positive(self, "epochs", "batch_size", "micro_batch_tokens", "learning_rate", "gradient_clip", "max_tokens")
        positive(self, "lora_rank", "lora_alpha", "checkpoint_every")
        if self.turns not in ("all", "last"):
            raise InvalidConfig(gettext("sft.turns must be all or last, not %(value)s.", value=repr(self.turns)))
