"""Config of the recipe `ppo`."""

from dataclasses import dataclass
from typing import Literal

from app.core.errors import InvalidConfig
from app.core.recipes.checks import positive
from app.core.recipes.policy import PolicyConfig
from app.core.words import gettext


@dataclass(frozen=True, kw_only=True)
class PpoConfig(PolicyConfig):
    """PPO on the policy adapter (Schulman et al. 2017; details: trainer/recipes/ppo.py)."""

    gamma: float = 1.0
    lam: float = 1.0
    """GAE. A round is too short for its critic to explain much, and below 1 early tokens would learn nothing then."""
    clip_value: float = 0.2
    value_coefficient: float = 0.1
    critic: Literal["head", "adapter", "policy"] = "head"
    """head: a linear critic on the frozen reward model's hidden states, which scoring computes anyway; starts at 0.
    adapter: a whole adapter of its own, started from the reward model's (N+), which doubles the cost of an update.
    policy: a linear critic on the policy's own hidden states (OAI), which costs nothing; starts at 0."""
    critic_detach: bool = True
    """With critic = policy: its loss trains the head only. Off: it also shapes the policy's states, as in OAI."""
    value_learning_rate: float = 1e-4
    whiten_advantages: bool = True
    dual_clip: float = 0.0
    """A second bound, for tokens that did badly: at most this times −advantage (Ye et al. 2020: 3). 0: off."""

    def validate(self) -> None:
        super().validate()
        positive(self, "value_learning_rate")
        if self.critic not in ("head", "adapter", "policy"):
            raise InvalidConfig(
                gettext("ppo.critic must be head, adapter or policy, not %(value)s.", value=repr(self.critic))
            )
        if self.dual_clip != 0 and not self.dual_clip > 1:
            raise InvalidConfig(gettext("dual_clip must be above 1 (3 is usual), or 0 for none."))
