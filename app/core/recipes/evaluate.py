"""Config of the recipe `evaluate`."""

from dataclasses import dataclass

from app.core.recipes.checks import positive


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
        positive(self, "prompts", "samples_per_prompt", "max_tokens", "temperature", "micro_batch_tokens")
