"""Config of the recipe `ppo`."""

from dataclasses import dataclass
from typing import Literal

from app.core.errors import InvalidConfig
from app.core.recipes.checks import positive
from app.core.words import gettext


@dataclass(frozen=True, kw_only=True)
class PpoConfig:
    """PPO on the policy adapter (Schulman et al. 2017; details: trainer/recipes/ppo.py)."""

    steps: int = 8
    prompts_per_step: int = 16
    samples_per_prompt: int = 2
    epochs: int = 2
    minibatches: int = 2
    micro_batch_tokens: int = 512
    max_tokens: int = 96
    """A round takes this and the temperature from the project's sampling (app.core.runs.round_configs)."""
    temperature: float = 0.7
    """Of sampling and of every log-probability: logits are divided by it everywhere (N+: 0.7)."""
    learning_rate: float = 1e-4
    """Falls linearly to 0 over `steps`."""
    adam_epsilon: float = 1e-5
    gradient_clip: float = 1.0
    gamma: float = 1.0
    lam: float = 1.0
    """GAE. A round is too short for its critic to explain much, and below 1 early tokens would learn nothing then."""
    clip_ratio: float = 0.2
    clip_value: float = 0.2
    value_coefficient: float = 0.1
    critic: Literal["head", "adapter"] = "head"
    """head: a linear critic on the frozen reward model's hidden states, which scoring computes anyway; starts at 0.
    adapter: a whole adapter of its own, started from the reward model's (N+), which doubles the cost of an update."""
    value_learning_rate: float = 1e-4
    whiten_advantages: bool = True
    kl_estimator: Literal["k1"] = "k1"
    kl_coefficient: float = 0.05
    kl_adaptive: bool = True
    kl_target: float = 6.0
    """Nats per answer, summed over tokens and averaged over answers, that the adaptive coefficient steers to."""
    kl_horizon: float = 500.0
    """Episodes; smaller reacts faster (OAI: 10 000 for a million episodes)."""
    kl_stop: float = 12.0
    """The run ends early, keeping its best checkpoint, when KL goes beyond this."""
    missing_end_score: float = 10.0
    """The highest (normalised) reward of an answer that did not end by itself (EOS trick; OAI and N+ use −1).

    Off (the same as `reward_clip`): people judge answers as they were cut, so the reward model knows what a cut
    answer is worth, and a penalty would teach shortness that nobody asked for.
    """
    reward_clip: float = 10.0
    sampler_tolerance: float = 0.1
    """Mean |difference| of sampler and trainer log-probs per token beyond which the run stops (bf16; fp32: 0.001)."""
    approx_kl_stop: float = 0.2
    """Ends the epochs on one batch early when the update has moved this far."""
    lora_rank: int = 16
    lora_alpha: float = 32.0
    checkpoint_every: int = 1

    def validate(self) -> None:
        positive(
            self,
            "steps",
            "prompts_per_step",
            "samples_per_prompt",
            "epochs",
            "minibatches",
            "max_tokens",
            "temperature",
            "learning_rate",
            "lora_rank",
            "lora_alpha",
            "micro_batch_tokens",
            "checkpoint_every",
            "value_learning_rate",
            "kl_target",
            "kl_horizon",
            "kl_stop",
        )
        if self.critic not in ("head", "adapter"):
            raise InvalidConfig(gettext("ppo.critic must be head or adapter, not %(value)s.", value=repr(self.critic)))
        if (self.prompts_per_step * self.samples_per_prompt) % self.minibatches:
            raise InvalidConfig(gettext("ppo.minibatches must divide prompts_per_step × samples_per_prompt."))
