"""What the configs of all recipes that sample from the policy and learn from rewards share (ppo, rloo)."""

from dataclasses import dataclass, field
from typing import Any, Literal

from app.core.errors import InvalidConfig
from app.core.recipes.checks import positive
from app.core.recipes.rewards import only_reward_model, parse_terms
from app.core.words import gettext


@dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """Sampling, reward, leash, optimiser, and which weights become the candidate."""

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
    warmup_steps: int = 0
    """Steps in which it rises first (OpenRLHF: 3 % of them). 0: none, as in OAI and N+."""
    adam_epsilon: float = 1e-5
    gradient_clip: float = 1.0
    clip_ratio: float = 0.2
    reward_terms: list[dict[str, Any]] = field(default_factory=only_reward_model)
    """What an answer is worth: a weighted sum (app.core.recipes.rewards)."""
    reward_clip: float = 10.0
    missing_end_score: float = 10.0
    """The highest reward of an answer that did not end by itself (EOS trick; OAI and N+ use −1).

    Off (the same as `reward_clip`): people judge answers as they were cut, so the reward model knows what a cut
    answer is worth, and a penalty would teach shortness that nobody asked for.
    """
    kl_place: Literal["reward", "loss"] = "reward"
    """reward: a penalty on what was sampled, without gradient (OAI, N+). loss: a loss beside the policy's."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k1"
    """k1 in the reward, k2 or k3 in the loss; the other combinations do not pull towards the base (docs/training.md).
    k1 and k2 have the gradient of KL(policy‖base), k3 as a loss (GRPO) that of KL(base‖policy)."""
    kl_coefficient: float = 0.05
    kl_adaptive: bool = True
    kl_target: float = 6.0
    """Nats per answer, summed over tokens and averaged over answers, that the adaptive coefficient steers to."""
    kl_horizon: float = 500.0
    """Episodes; smaller reacts faster (OAI: 10 000 for a million episodes)."""
    kl_stop: float = 12.0
    """The run ends early, keeping its best checkpoint, when KL goes beyond this."""
    sampler_tolerance: float = 0.1
    """Mean |difference| of sampler and trainer log-probs per token beyond which the run stops (bf16; fp32: 0.001)."""
    approx_kl_stop: float = 0.2
    """Ends the epochs on one batch early when the update has moved this far."""
    ptx_coefficient: float = 0.0
    """Weight of the loss on texts that should stay likely (InstructGPT's "PPO-ptx"). 0: off."""
    ptx_texts: list[str] = field(default_factory=list)
    """Those texts."""
    ptx_batch: int = 4
    """Texts mixed into each optimiser step."""
    ema_decay: float = 0.0
    """Of the running average of the policy's weights, per optimiser step (DeepSpeed-Chat: 0.992). 0: no average."""
    candidate: Literal["policy", "average"] = "policy"
    """Which weights become the candidate: those that were trained, or their running average."""
    trial_every: int = 0
    """Steps between trials on held-out prompts: then the best trial within `kl_stop` becomes the candidate. 0: none."""
    trial_prompts: int = 16
    """Training prompts that are kept apart for trials; the gate's own prompts are never looked at before the gate."""
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
            "kl_target",
            "kl_horizon",
            "kl_stop",
            "ptx_batch",
            "trial_prompts",
        )
        parse_terms(self.reward_terms)
        for name in ("kl_coefficient", "ptx_coefficient", "warmup_steps", "trial_every", "ema_decay"):
            if not getattr(self, name) >= 0:
                raise InvalidConfig(gettext("%(name)s must be at least 0.", name=name))
        if self.warmup_steps >= self.steps:
            raise InvalidConfig(gettext("warmup_steps must be below steps."))
        if (self.prompts_per_step * self.samples_per_prompt) % self.minibatches:
            raise InvalidConfig(gettext("minibatches must divide prompts_per_step × samples_per_prompt."))
        self._check_leash()
        self._check_candidate()

    def _check_leash(self) -> None:
        if self.kl_place not in ("reward", "loss") or self.kl_estimator not in ("k1", "k2", "k3"):
            raise InvalidConfig(gettext("kl_place must be reward or loss, and kl_estimator k1, k2 or k3."))
        if self.kl_place == "reward" and self.kl_estimator != "k1":
            raise InvalidConfig(
                gettext(
                    "%(name)s in the reward would punish a token that became too rare, which makes it rarer still."
                    " Use k1, or kl_place = loss.",
                    name=self.kl_estimator,
                )
            )
        if self.kl_place == "loss" and self.kl_estimator == "k1":
            raise InvalidConfig(
                gettext("k1 as a loss pulls nowhere: its gradient is 0 on average. Use k2, or kl_place = reward.")
            )

    def _check_candidate(self) -> None:
        if self.ema_decay >= 1 or self.candidate not in ("policy", "average"):
            raise InvalidConfig(gettext("ema_decay must be below 1, and candidate policy or average."))
        if self.candidate == "average" and self.ema_decay == 0:
            raise InvalidConfig(gettext("candidate = average needs an ema_decay above 0."))
        if self.ptx_coefficient > 0 and not self.ptx_texts:
            raise InvalidConfig(gettext("ptx_coefficient above 0 needs ptx_texts."))
        if not all(isinstance(text, str) and text.strip() for text in self.ptx_texts):
            raise InvalidConfig(gettext("ptx_texts must be a list of texts, none of them empty."))
