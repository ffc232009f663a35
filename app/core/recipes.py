"""Recipes: their names, frozen configs, presets, and the one vocabulary of metrics.

Defaults are those of the `laptop` preset (two CPU cores, a 135M model). Sources: Ziegler et al. 2019 ("OAI"), Huang et
al. 2024 "The N+ Implementation Details of RLHF with PPO" ("N+").
"""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from app.core.errors import InvalidConfig


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
        _positive(self, "epochs", "batch_size", "micro_batch_tokens", "learning_rate", "lora_rank", "lora_alpha")
        _positive(self, "normalisation_samples", "probe_ridge", "gradient_clip")
        _share(self, "label_smoothing")


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
        _positive(
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
            raise InvalidConfig(f"ppo.critic must be head or adapter, not {self.critic!r}.")
        if (self.prompts_per_step * self.samples_per_prompt) % self.minibatches:
            raise InvalidConfig("ppo.minibatches must divide prompts_per_step × samples_per_prompt.")


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Candidate against the live policy and the base on held-out prompts."""

    prompts: int = 64
    """At most; the first of the held-out ones, so that rounds are compared on the same."""
    samples_per_prompt: int = 2
    max_tokens: int = 96
    temperature: float = 0.7
    micro_batch_tokens: int = 512

    def validate(self) -> None:
        _positive(self, "prompts", "samples_per_prompt", "max_tokens", "temperature", "micro_batch_tokens")


Config = RewardModelConfig | PpoConfig | EvaluateConfig
RECIPES: dict[str, type[RewardModelConfig] | type[PpoConfig] | type[EvaluateConfig]] = {
    "reward_model": RewardModelConfig,
    "ppo": PpoConfig,
    "evaluate": EvaluateConfig,
}
PIPELINE = ("reward_model", "ppo", "evaluate")
"""The runs of a round, in order."""

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "laptop": {},
    "one-gpu": {
        "reward_model": {"epochs": 1, "batch_size": 64, "micro_batch_tokens": 65_536, "learning_rate": 1e-4},
        "ppo": {
            "steps": 200,
            "prompts_per_step": 128,
            "samples_per_prompt": 4,
            "epochs": 4,
            "minibatches": 4,
            "micro_batch_tokens": 65_536,
            "learning_rate": 3e-5,
            "kl_horizon": 10_000.0,
            "checkpoint_every": 10,
        },
        "evaluate": {"prompts": 512, "micro_batch_tokens": 65_536},
    },
    "tiny": {
        "reward_model": {"epochs": 4, "learning_rate": 1e-2, "normalisation_samples": 32},
        "ppo": {"steps": 12, "learning_rate": 1e-2, "missing_end_score": -1.0},
        "evaluate": {"prompts": 32},
    },
}
"""laptop: measured. one-gpu: written for a GPU, untested here. tiny: the random test model."""


def make_config(recipe: str, preset: str = "laptop", overrides: dict[str, Any] | None = None) -> Config:
    """The checked config of a recipe; an unknown name or an impossible value raises InvalidConfig and says which."""
    if recipe not in RECIPES:
        raise InvalidConfig(f"There is no recipe {recipe!r}; there are {', '.join(RECIPES)}.")
    if preset not in PRESETS:
        raise InvalidConfig(f"There is no preset {preset!r}; there are {', '.join(PRESETS)}.")
    config = RECIPES[recipe]()
    values = {**PRESETS[preset].get(recipe, {}), **(overrides or {})}
    known = {field.name: type(getattr(config, field.name)) for field in fields(config)}
    for name, value in values.items():
        if name not in known:
            raise InvalidConfig(f"{recipe} has no setting {name!r}.")
        fits = isinstance(value, known[name]) or (known[name] is float and type(value) is int)
        if not fits or (known[name] is not bool and isinstance(value, bool)):
            raise InvalidConfig(f"{recipe}.{name} must be {known[name].__name__}, not {value!r}.")
    fitting: dict[str, Any] = {k: float(v) if known[k] is float else v for k, v in values.items()}
    config = replace(config, **fitting)
    config.validate()
    return config


def config_json(config: Config) -> dict[str, Any]:
    """The config as it is stored in runs.config."""
    return asdict(config)


def _positive(config: object, *names: str) -> None:
    for name in names:
        if not getattr(config, name) > 0:
            raise InvalidConfig(f"{name} must be above 0.")


def _share(config: object, *names: str) -> None:
    for name in names:
        if not 0 <= getattr(config, name) < 0.5:
            raise InvalidConfig(f"{name} must be at least 0 and below 0.5.")


METRICS: dict[str, str] = {
    "reward/loss": "Bradley–Terry loss of the training pairs of this step.",
    "reward/accuracy": "Share of this step's decided training pairs that the reward model orders as people did.",
    "reward/held_out_accuracy": "The same on decided held-out pairs, which it never trained on.",
    "reward/held_out_loss": "Bradley–Terry loss on held-out pairs, after temperature.",
    "reward/calibration_error": "Expected calibration error on held-out pairs, after temperature.",
    "reward/temperature": "The one number that reward differences are divided by so that probabilities are honest.",
    "reward/margin": "Mean reward of chosen minus rejected in this step's decided training pairs.",
    "reward/held_out_margin": "Mean normalised reward of chosen minus rejected on decided held-out pairs.",
    "reward/learning_rate": "Learning rate of this step of the reward model.",
    "reward/gradient_norm": "Norm of the reward model's gradient before clipping.",
    "objective/score": "Mean normalised reward-model score of this step's answers, before penalties.",
    "objective/rlhf_reward": "Mean over answers of the score (with penalties) minus the KL penalty.",
    "objective/non_score_reward": "Mean over answers of the summed KL penalty.",
    "objective/kl": "KL from policy to reference: sum over tokens of k1, mean over answers, in nats.",
    "objective/kl_k3": "The same with Schulman's k3 estimator, which is never negative.",
    "objective/kl_coefficient": "What the KL is multiplied by in the reward.",
    "objective/entropy": "Mean entropy of the policy per token, in nats, estimated from the sampled tokens.",
    "policy/loss": "Clipped surrogate loss, mean over the step's updates.",
    "policy/approx_kl": "½ mean (log ratio)² over the step's updates: how far they moved.",
    "policy/clip_fraction": "Share of tokens where PPO held the update back.",
    "policy/ratio_mean": "Mean probability ratio new/old.",
    "policy/ratio_variance": "Variance of the probability ratio new/old.",
    "policy/ratio_max": "Largest probability ratio new/old.",
    "policy/ratio_first": "Largest |ratio − 1| before the first update on the batch; 0, or the run stops.",
    "policy/sampler_error": "Mean |log-prob of the sampler − log-prob of the trainer| per token; rounding only.",
    "policy/gradient_norm": "Norm of the policy's gradient before clipping.",
    "policy/learning_rate": "Learning rate of this step.",
    "value/loss": "Clipped value loss.",
    "value/clip_fraction": "Share of tokens where the value update was held back.",
    "value/explained_variance": "Share of the variance of returns that the critic explains.",
    "answer/length": "Mean length of the answers, in tokens.",
    "answer/end_rate": "Share of answers that ended by themselves.",
    "evaluate/win_rate": "Calibrated probability that the candidate beats the live policy, mean over held-out prompts.",
    "evaluate/win_rate_low": "Low end of its 95 % interval.",
    "evaluate/win_rate_high": "High end of its 95 % interval.",
    "evaluate/win_rate_base": "The same win rate against the base model.",
    "evaluate/kl": "KL from candidate to base on held-out prompts, nats per answer.",
    "evaluate/score_candidate": "Mean normalised reward of the candidate's held-out answers.",
    "evaluate/score_live": "Mean normalised reward of the live policy's held-out answers.",
    "evaluate/score_base": "Mean normalised reward of the base model's held-out answers.",
    "evaluate/length_ratio": "Mean length of the candidate's answers divided by the live policy's.",
    "evaluate/end_rate": "Share of the candidate's answers that ended by themselves.",
    "evaluate/repetition": "Share of repeated 4-word sequences in the candidate's answers.",
    "data/episodes": "Answers written and learned from so far in this run.",
    "time/sampling": "Seconds spent sampling in this step.",
    "time/scoring": "Seconds spent on rewards, values and reference log-probs in this step.",
    "time/update": "Seconds spent on gradient steps in this step.",
}
"""Every metric name that a run may record, with its one-sentence meaning (docs/metrics.md is tested against it)."""
