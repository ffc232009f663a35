"""Config of the recipe `rloo`."""

from dataclasses import dataclass

from app.core.errors import InvalidConfig
from app.core.recipes.policy import PolicyConfig
from app.core.words import gettext


@dataclass(frozen=True, kw_only=True)
class RlooConfig(PolicyConfig):
    """REINFORCE leave-one-out on the policy adapter (Ahmadian et al. 2024; trainer/recipes/rloo.py): no critic."""

    prompts_per_step: int = 8
    samples_per_prompt: int = 4
    """k: each answer's baseline is the mean of the other k − 1 to its prompt."""
    epochs: int = 1
    minibatches: int = 1
    """With one epoch and one minibatch every update is on-policy, and `clip_ratio` never acts."""
    normalise_advantages: bool = False
    """Divide them by their deviation over the batch (TRL: off)."""

    def validate(self) -> None:
        super().validate()
        if self.samples_per_prompt < 2:
            raise InvalidConfig(
                gettext("rloo.samples_per_prompt must be at least 2: the others are an answer's baseline.")
            )
