"""The project pages' forms: a settings form of many numbers, explained in words, and what a new project needs."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from app.core.errors import InvalidConfig, InvalidInput, Problem
from app.core.forms import DEFAULT_PROTOCOL, MOST_ANSWERS, parse_protocol
from app.core.forms.field import SHIPPED
from app.core.projects import ProjectSettings
from app.core.recipes import PIPELINES, PRESETS, RECIPES, make_config
from app.core.records.base import Json
from app.core.strategies import STRATEGIES
from app.core.words import N_, figure, gettext

SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?")
TAKEN = ("new",)
"""Slugs that are addresses of ours."""


@dataclass(frozen=True)
class Setting:
    """One number or box of the settings page. `name` is its path in ProjectSettings."""

    name: str
    label: str
    hint: str = ""
    box: bool = False
    step: str = "1"
    choices: tuple[tuple[str, str, str], ...] = ()
    """(value, label, sentence) of each, where one of a few is chosen."""


SECTIONS: list[tuple[str, str, list[Setting]]] = [
    (
        N_("How answers are sampled"),
        N_("The live policy writes the pool with these."),
        [
            Setting(
                "sampling.temperature",
                N_("Temperature"),
                N_("Above 0, at most 2. Lower is steadier. Rounds train with the same value."),
                step="any",
            ),
            Setting("sampling.top_p", N_("Top p"), N_("Above 0, at most 1. 1 leaves nothing out."), step="any"),
            Setting("sampling.max_tokens", N_("Longest answer"), N_("Tokens. Rounds train with the same value.")),
        ],
    ),
    (
        N_("What waits for people"),
        N_("The sampler refills the pool by itself."),
        [
            Setting("pool.open_tasks", N_("Open tasks"), N_("The pool is filled up to this many.")),
            Setting(
                "pool.completions_per_prompt",
                N_("Answers per prompt"),
                N_("Sampled for each prompt, then paired. 2 to 16."),
            ),
            Setting("pool.answers_per_task", N_("People per task"), N_("How many must answer before it is done.")),
            Setting("pool.lease_minutes", N_("Lease in minutes"), N_("How long a task is kept for one person.")),
            Setting("daily_goal", N_("Daily goal"), N_("Labels per person and day, shown as progress. 0 shows none.")),
            Setting(
                "pool.daily_cap", N_("Daily cap"), N_("No person gives more labels in a day (UTC). 0 is without limit.")
            ),
            Setting(
                "pool.strategy",
                N_("What goes together into a task"),
                choices=tuple((one.name, one.title, one.says) for one in STRATEGIES.values()),
            ),
            Setting(
                "ask_before_sending",
                N_("Ask before sending"),
                N_("One key marks an answer, Enter sends it. Each person may choose otherwise."),
                box=True,
            ),
            Setting(
                "all_sensitive",
                N_("All texts are sensitive"),
                N_("Hidden until a person asks for them; who wants none gets no task here. Else only marked prompts."),
                box=True,
            ),
        ],
    ),
    (
        N_("Hidden checks"),
        N_("They look like every other task and are never trained on. Shares are written from 0 to 0.2."),
        [
            Setting(
                "pool.gold_rate",
                N_("Gold tasks"),
                N_("Share of tasks whose right answer is known. The Gold page makes them."),
                step="any",
            ),
            Setting(
                "pool.repeat_rate",
                N_("Repeats"),
                N_("Share of tasks that the same person answered before, at least 20 tasks ago."),
                step="any",
            ),
            Setting(
                "pool.screening_tasks",
                N_("Screening tasks"),
                N_("A new annotator answers so many gold tasks first. 0 to 50; 0 screens nobody."),
            ),
            Setting(
                "pool.screening_accuracy",
                N_("Of these right, at least"),
                N_("From 0 to 1. Who stays below gets no task until an admin lets them in."),
                step="any",
            ),
        ],
    ),
    (
        N_("When a round starts"),
        N_("A round trains on all labels of the project."),
        [
            Setting(
                "rounds.automatic", N_("Start rounds by themselves"), N_("Off: an admin starts each one."), box=True
            ),
            Setting("rounds.new_preferences", N_("New labels for a round"), N_("At least 2.")),
            Setting(
                "rounds.promote_automatically",
                N_("Go live without asking"),
                N_("Off: a candidate that passes waits for an admin."),
                box=True,
            ),
        ],
    ),
    (
        N_("What a candidate must pass"),
        N_("Shares are written from 0 to 1."),
        [
            Setting(
                "gate.held_out_accuracy",
                N_("Held-out accuracy, at least"),
                N_("Of the reward model, on pairs it never saw."),
                step="any",
            ),
            Setting(
                "gate.win_rate",
                N_("Win rate, above"),
                N_("Low end of its interval against the live policy."),
                step="any",
            ),
            Setting("gate.kl", N_("KL, at most"), N_("Nats per answer away from the base model."), step="any"),
        ],
    ),
]


def values_of(settings: ProjectSettings) -> dict[str, Any]:
    """What the settings page shows, by field name."""
    flat: dict[str, Any] = {}
    for name, value in settings.model_dump().items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": one for inner, one in value.items()}
        else:
            flat[name] = value
    flat["training.overrides"] = "\n".join(
        f"{recipe}.{name} = {_shown(value)}"
        for recipe, changed in settings.training.overrides.items()
        for name, value in changed.items()
    )
    return flat


def read_settings(form: Mapping[str, str]) -> ProjectSettings:
    """The settings a form names. Raises InvalidInput with one problem per field that does not fit."""
    nested: dict[str, Any] = {"description": form.get("description", "").strip()}
    for _, _, fields in SECTIONS:
        for field in fields:
            value: Any = field.name in form if field.box else form.get(field.name, "").strip()
            part, _, name = field.name.rpartition(".")
            (nested.setdefault(part, {}) if part else nested)[name] = value
    preset = form.get("training.preset", "laptop")
    pipeline = form.get("training.pipeline", "ppo")
    problems: list[Problem] = []
    if pipeline not in PIPELINES:
        problems.append(Problem("training.pipeline", gettext("Choose one of these."), found=pipeline[:40]))
    try:
        overrides = read_overrides(form.get("training.overrides", ""), preset)
        nested["training"] = {"pipeline": pipeline, "preset": preset, "overrides": overrides}
    except InvalidInput as error:
        problems += error.problems
    try:
        settings = ProjectSettings.model_validate(nested)
    except ValidationError as error:
        raise InvalidInput(problems + _problems(error)) from error
    if problems:
        raise InvalidInput(problems)
    return settings


def read_overrides(text: str, preset: str) -> dict[str, dict[str, bool | int | float | str]]:
    """Lines like `ppo.steps = 20`, checked against the recipes. Raises InvalidInput that names the line."""
    overrides: dict[str, dict[str, bool | int | float | str]] = {}
    for line in filter(None, (line.strip() for line in text.splitlines())):
        path, equals, value = (part.strip() for part in line.partition("="))
        recipe, _, name = path.partition(".")
        if not equals or recipe not in RECIPES or not name:
            raise InvalidInput(
                [Problem("training.overrides", gettext("%(line)s: write it like ppo.steps = 20.", line=line[:80]))]
            )
        overrides.setdefault(recipe, {})[name] = _value(value)
    try:
        for recipe in RECIPES:
            make_config(recipe, preset, dict(overrides.get(recipe, {})))
    except InvalidConfig as error:
        field = "training.preset" if preset not in PRESETS else "training.overrides"
        raise InvalidInput([Problem(field, str(error))]) from error
    return overrides


QUESTIONS = {
    "compare": DEFAULT_PROTOCOL[0]["question"],
    "choose": SHIPPED[1],
    "rank": SHIPPED[2],
}
"""What is asked where the form leaves the question empty."""


def read_protocol(form: Mapping[str, str]) -> list[Json]:
    """The one field that the form describes. Raises InvalidInput that names the input."""
    kind = form.get("asks", "compare")
    if kind not in QUESTIONS:
        raise InvalidInput([Problem("asks", gettext("Choose one of the three."), found=kind[:40])])
    asked: Json = {"type": kind, "key": "overall", "question": form.get("question", "").strip() or QUESTIONS[kind]}
    if kind == "compare":
        strength = _whole(form, "strength", 0, 0, 4)
        asked |= {"tie": "tie" in form, "both_bad": "both_bad" in form, "strength": strength}
    else:
        asked |= {"answers": _whole(form, "answers", 4, 2, MOST_ANSWERS), "all_bad": "both_bad" in form}
    if kind == "rank":
        asked["ties"] = "tie" in form
    try:
        parse_protocol([asked])
    except InvalidInput as error:
        raise InvalidInput([Problem("question", error.problems[0].message)]) from error
    return [asked]


def _whole(form: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    given = form.get(name, "").strip() or str(default)
    if not (given.isascii() and given.isdigit() and least <= int(given[:9]) <= most):
        raise InvalidInput(
            [
                Problem(
                    name,
                    gettext("A whole number from %(least)s to %(most)s.", least=least, most=most),
                    found=given[:40],
                )
            ]
        )
    return int(given)


def read_name(name: str, slug: str) -> tuple[str, str]:
    """Name and slug of a new project; an empty slug is made from the name. Raises InvalidInput."""
    name = " ".join(name.split())
    slug = slug.strip().lower() or slug_of(name)
    problems = []
    if not 1 <= len(name) <= 80:
        problems.append(Problem("name", gettext("A name has 1 to 80 characters.")))
    if not SLUG.fullmatch(slug) or slug in TAKEN:
        problems.append(
            Problem("slug", gettext("Small letters, digits and hyphens, at most 48; it becomes part of the address."))
        )
    if problems:
        raise InvalidInput(problems)
    return name, slug


def slug_of(name: str) -> str:
    """A slug from a name: "Küche & Co" becomes "kuche-co"."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:48].strip("-")


def _value(text: str) -> bool | int | float | str:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


WORDS = {
    "greater_than": ("gt", N_("Above %(n)s.")),
    "greater_than_equal": ("ge", N_("At least %(n)s.")),
    "less_than": ("lt", N_("Below %(n)s.")),
    "less_than_equal": ("le", N_("At most %(n)s.")),
}


def _problems(error: ValidationError) -> list[Problem]:
    problems = []
    for one in error.errors():
        field = ".".join(str(part) for part in one["loc"])
        if one["type"] in WORDS:
            key, words = WORDS[one["type"]]
            said = gettext(words, n=figure(one.get("ctx", {})[key]))
        elif one["type"] == "literal_error":
            said = gettext("Choose one of these.")
        else:
            said = gettext("A number belongs here.")
        problems.append(Problem(field, said, found=str(one["input"])[:80]))
    return problems
