"""Config of the recipe `reward_model`."""

from dataclasses import dataclass

from app.core.recipes.checks import positive, share


@dataclass(frozen=True, kw_only=True)
class RewardModelConfig:
    """Bradley–Terry reward model on a snapshot's preference pairs."""

    epochs: int = 1
    batch_size: int = 4
    """Prompts per optimiser step: all pairs of one prompt stay in one batch element."""
    micro_batch_tokens: int = 512
    """Most tokens of one forward pass: smaller needs less memory and less padding, and changes nothing else."""
    learning_rate: float = 1e-4
    """Falls linearly to 0."""
    gradient_clip: float = 1.0
    tie_weight: float = 1.0
    """A tie is a soft target of one half, with this weight."""
    centering: float = 0.01
    """Weight of (r_chosen + r_rejected)², which keeps rewards near 0."""
    label_smoothing: float = 0.0
    lora_rank: int = 16
    lora_alpha: float = 32.0
    normalisation_samples: int = 64
    """Reference completions on which the reward gets mean 0 and standard deviation 1."""
    probe_ridge: float = 0.2
    """Penalty of the linear reward that the head starts from (trainer.probe); larger trusts few labels less."""

    def validate(self) -> None:
        positive(self, "epochs", "batch_size", "micro_batch_tokens", "learning_rate", "lora_rank", "lora_alpha")
        positive(self, "normalisation_samples", "probe_ridge", "gradient_clip")
        share(self, "label_smoothing")
