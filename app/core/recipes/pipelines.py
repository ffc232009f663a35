"""Pipelines: which recipes a round runs, in order. A round stores its own list as runs; this is what can be chosen.

Every pipeline fits a reward model, also where the policy learns without one: it is the judge of the evaluation and of
the gate, and without it nobody could say whether a candidate is better than what is live.
"""

from dataclasses import dataclass

from app.core.errors import InvalidConfig
from app.core.words import N_, gettext


@dataclass(frozen=True)
class Pipeline:
    """A round's recipes, with its name and its plain words for pages."""

    name: str
    title: str
    says: str
    recipes: tuple[str, ...]

    @property
    def demonstrations(self) -> bool:
        """Whether it learns from answers that people wrote."""
        return "sft" in self.recipes


POLICY_RECIPES = ("sft", "dpo", "ppo", "rloo")
"""Recipes whose result is a policy; the last one of a round makes its candidate."""
DEFAULT_PIPELINE = "ppo"
PIPELINES: dict[str, Pipeline] = {
    one.name: one
    for one in (
        Pipeline(
            "ppo",
            N_("Reward model, then PPO"),
            N_("A reward model learns what people prefer; the policy writes and learns from the scores it gets."),
            ("reward_model", "ppo", "evaluate"),
        ),
        Pipeline(
            "rloo",
            N_("Reward model, then RLOO"),
            N_("As with PPO, but without a critic: each answer is compared with the others to its prompt."),
            ("reward_model", "rloo", "evaluate"),
        ),
        Pipeline(
            "dpo",
            N_("DPO: straight from the comparisons"),
            N_("The policy learns from the comparisons directly and writes nothing. The reward model only judges."),
            ("reward_model", "dpo", "evaluate"),
        ),
        Pipeline(
            "sft",
            N_("Imitate what people wrote"),
            N_("The policy learns to write like people's own and rewritten answers. The reward model only judges."),
            ("reward_model", "sft", "evaluate"),
        ),
        Pipeline(
            "sft-ppo",
            N_("Imitate, then PPO"),
            N_("First it learns from answers that people wrote, then from the reward model's scores."),
            ("sft", "reward_model", "ppo", "evaluate"),
        ),
    )
}


def pipeline_of(name: str) -> Pipeline:
    """The pipeline with this name; raises InvalidConfig."""
    if name not in PIPELINES:
        raise InvalidConfig(
            gettext("There is no pipeline %(name)s; there are %(names)s.", name=repr(name), names=", ".join(PIPELINES))
        )
    return PIPELINES[name]
