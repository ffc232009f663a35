"""Recipes: their names, frozen configs, presets, and the one vocabulary of metrics.

Defaults are those of the `laptop` preset (two CPU cores, a 135M model). Sources: Ziegler et al. 2019 ("OAI"), Huang et
al. 2024 "The N+ Implementation Details of RLHF with PPO" ("N+").
"""

from dataclasses import asdict, fields, replace
from typing import Any

from app.core.errors import InvalidConfig
from app.core.recipes.dpo import DpoConfig
from app.core.recipes.evaluate import EvaluateConfig
from app.core.recipes.metrics import METRICS
from app.core.recipes.pipelines import DEFAULT_PIPELINE, PIPELINES, POLICY_RECIPES, Pipeline, pipeline_of
from app.core.recipes.policy import PolicyConfig
from app.core.recipes.ppo import PpoConfig
from app.core.recipes.presets import PRESETS
from app.core.recipes.reward_model import RewardModelConfig
from app.core.recipes.rloo import RlooConfig
from app.core.recipes.sft import SftConfig
from app.core.words import N_, gettext

__all__ = [
    "DEFAULT_PIPELINE",
    "METRICS",
    "PIPELINES",
    "POLICY_RECIPES",
    "PRESETS",
    "RECIPES",
    "TITLES",
    "Config",
    "DpoConfig",
    "EvaluateConfig",
    "Pipeline",
    "PolicyConfig",
    "PpoConfig",
    "RewardModelConfig",
    "RlooConfig",
    "SftConfig",
    "config_json",
    "make_config",
    "pipeline_of",
]

Config = SftConfig | RewardModelConfig | DpoConfig | PpoConfig | RlooConfig | EvaluateConfig
RECIPES: dict[str, type[Config]] = {
    "sft": SftConfig,
    "reward_model": RewardModelConfig,
    "dpo": DpoConfig,
    "ppo": PpoConfig,
    "rloo": RlooConfig,
    "evaluate": EvaluateConfig,
}
TITLES = {
    "sft": N_("Imitation"),
    "reward_model": N_("Reward model"),
    "dpo": "DPO",
    "ppo": "PPO",
    "rloo": "RLOO",
    "evaluate": N_("Evaluate"),
}
"""How pages call the recipes."""


def make_config(recipe: str, preset: str = "laptop", overrides: dict[str, Any] | None = None) -> Config:
    """The checked config of a recipe; an unknown name or an impossible value raises InvalidConfig and says which."""
    if recipe not in RECIPES:
        raise InvalidConfig(
            gettext("There is no recipe %(name)s; there are %(names)s.", name=repr(recipe), names=", ".join(RECIPES))
        )
    if preset not in PRESETS:
        raise InvalidConfig(
            gettext("There is no preset %(name)s; there are %(names)s.", name=repr(preset), names=", ".join(PRESETS))
        )
    config = RECIPES[recipe]()
    values = {**PRESETS[preset].get(recipe, {}), **(overrides or {})}
    known = {field.name: type(getattr(config, field.name)) for field in fields(config)}
    for name, value in values.items():
        if name not in known:
            raise InvalidConfig(gettext("%(recipe)s has no setting %(name)s.", recipe=recipe, name=repr(name)))
        fits = isinstance(value, known[name]) or (known[name] is float and type(value) is int)
        if not fits or (known[name] is not bool and isinstance(value, bool)):
            raise InvalidConfig(
                gettext(
                    "%(name)s must be %(kind)s, not %(value)s.",
                    name=f"{recipe}.{name}",
                    kind=known[name].__name__,
                    value=repr(value),
                )
            )
    fitting: dict[str, Any] = {k: float(v) if known[k] is float else v for k, v in values.items()}
    config = replace(config, **fitting)
    config.validate()
    return config


def config_json(config: Config) -> dict[str, Any]:
    """The config as it is stored in runs.config."""
    return asdict(config)
