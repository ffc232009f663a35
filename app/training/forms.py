"""The form that starts a round: a preset and a few values; what is left empty keeps the preset's value."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.core.errors import InvalidConfig, InvalidInput, Problem
from app.core.projects import settings_of
from app.core.recipes import PIPELINES, PRESETS, config_json
from app.core.records import Project
from app.core.runs import Overrides, round_configs
from app.core.words import N_, gettext, number

FIELDS: tuple[tuple[str, str, str], ...] = (
    ("reward_model.epochs", N_("Reward model: epochs"), N_("Passes over the training pairs.")),
    ("reward_model.learning_rate", N_("Reward model: learning rate"), N_("Falls to 0 over the run.")),
    ("sft.epochs", N_("Imitation: epochs"), N_("Passes over what people wrote.")),
    ("sft.learning_rate", N_("Imitation: learning rate"), N_("Falls to 0 over the run.")),
    ("dpo.epochs", N_("DPO: epochs"), N_("Passes over the training pairs.")),
    ("dpo.learning_rate", N_("DPO: learning rate"), N_("Falls to 0 over the run.")),
    ("dpo.beta", N_("DPO: beta"), N_("Larger stays nearer to the base model.")),
    ("ppo.steps", N_("PPO: steps"), N_("Each one samples answers, scores them and updates the policy.")),
    ("ppo.learning_rate", N_("PPO: learning rate"), N_("Falls to 0 over the run.")),
    ("ppo.kl_target", N_("PPO: KL to steer to"), N_("Nats per answer between candidate and base.")),
    ("evaluate.prompts", N_("Evaluate: prompts"), N_("Held-out prompts on which candidate and live policy meet.")),
)
"""name, label, meaning of the values that can be changed by hand."""


@dataclass(frozen=True)
class RoundForm:
    """A form that was read without problems."""

    pipeline: str
    preset: str
    overrides: Overrides
    seed: int | None
    note: str


def defaults(project: Project, preset: str | None = None) -> dict[str, Any]:
    """What each value is when its field stays empty: "ppo.steps" → 8."""
    known = preset if preset in PRESETS else None
    return {
        f"{recipe}.{name}": value
        for pipeline in PIPELINES
        for recipe, config in round_configs(project, preset=known, pipeline=pipeline).items()
        for name, value in config_json(config).items()
    }


def parse(project: Project, form: Mapping[str, Any]) -> RoundForm:
    """The checked form; raises InvalidInput with the names of fields that do not fit."""
    preset = str(form.get("preset") or settings_of(project).training.preset)
    pipeline = str(form.get("pipeline") or settings_of(project).training.pipeline)
    problems: list[Problem] = []
    overrides: Overrides = {}
    if pipeline not in PIPELINES:
        problems.append(Problem("pipeline", gettext("Choose one of these.")))
        pipeline = settings_of(project).training.pipeline
    if preset not in PRESETS:
        problems.append(Problem("preset", gettext("There are %(names)s.", names=", ".join(PRESETS))))
        preset = "laptop"
    for name, default in defaults(project, preset).items():
        text = str(form.get(name) or "").strip()
        if not text:
            continue
        recipe, setting = name.split(".")
        if recipe not in PIPELINES[pipeline].recipes:
            problems.append(Problem(name, gettext("A round of this kind has no such part. Leave it empty.")))
            continue
        try:
            value = json.loads(text) if isinstance(default, list) else type(default)(text)
            overrides.setdefault(recipe, {})[setting] = value
        except ValueError:
            words = {int: gettext("%(text)s is not a whole number."), list: gettext("%(text)s is not a list in JSON.")}
            said = words.get(type(default), gettext("%(text)s is not a number."))
            problems.append(Problem(name, said % {"text": text}))
    problems += _impossible(project, overrides, preset, pipeline)
    seed = str(form.get("seed") or "").strip()
    if seed and not (seed.isdecimal() and int(seed) < 2**31):
        problems.append(Problem("seed", gettext("A whole number below %(n)s.", n=number(2**31))))
    if problems:
        raise InvalidInput(problems)
    note = str(form.get("note") or "").strip()[:500]
    return RoundForm(pipeline, preset, overrides, int(seed) if seed else None, note)


def _impossible(project: Project, overrides: Overrides, preset: str, pipeline: str) -> list[Problem]:
    found = []
    for recipe, values in overrides.items():
        for name, value in values.items():
            try:
                round_configs(project, {recipe: {name: value}}, preset, pipeline)
            except InvalidConfig as error:
                found.append(Problem(f"{recipe}.{name}", str(error)))
    return found
