"""Reward terms in a config: [{"term": "reward_model", "weight": 1.0, "options": {}}, …], and how each is checked."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.core.errors import InvalidConfig
from app.core.words import gettext

TERMS: dict[str, dict[str, Any]] = {
    "reward_model": {},
    "ensemble": {"deviations": 1.0},
    "length": {"target": 0},
    "missing_end": {},
    "python": {"function": ""},
}
"""Every term and its options with their defaults. What each computes: trainer/rewards/, one file a term."""
FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class RewardTerm:
    """One checked term: its value times `weight` is added to the reward."""

    term: str
    weight: float
    options: dict[str, Any]


def only_reward_model() -> list[dict[str, Any]]:
    """The usual reward: what people are likely to prefer, and nothing else."""
    return [{"term": "reward_model", "weight": 1.0, "options": {}}]


def parse_terms(rows: Sequence[Any]) -> list[RewardTerm]:
    """The checked terms, each kind at most once; raises InvalidConfig with a sentence."""
    terms = [_parse(row) for row in rows]
    if not terms:
        raise InvalidConfig(gettext("reward_terms is empty: without a term there is nothing to learn from."))
    names = [term.term for term in terms]
    for name in names:
        if names.count(name) > 1:
            raise InvalidConfig(gettext("reward_terms names %(name)s twice; one weight is enough.", name=name))
    return terms


def _parse(row: Any) -> RewardTerm:
    if not isinstance(row, dict) or row.get("term") not in TERMS:
        raise InvalidConfig(
            gettext(
                "A reward term looks like %(example)s; there are %(names)s.",
                example='{"term": "length", "weight": 0.01}',
                names=", ".join(TERMS),
            )
        )
    name, weight, options = row["term"], row.get("weight", 1.0), row.get("options", {})
    if set(row) - {"term", "weight", "options"}:
        raise InvalidConfig(gettext("Reward term %(name)s has nothing but term, weight and options.", name=name))
    if not _number(weight) or weight == 0:
        raise InvalidConfig(gettext("The weight of reward term %(name)s must be a number other than 0.", name=name))
    if not isinstance(options, dict) or set(options) - set(TERMS[name]):
        known = ", ".join(TERMS[name]) or "–"
        raise InvalidConfig(gettext("The options of reward term %(name)s are: %(names)s.", name=name, names=known))
    chosen = {**TERMS[name], **options}
    for option, value in chosen.items():
        if option == "function":
            if not isinstance(value, str) or not FUNCTION.fullmatch(value):
                raise InvalidConfig(gettext("Reward term python needs a function, written package.module:function."))
        elif not _number(value) or value < 0:
            raise InvalidConfig(gettext("%(name)s must be at least 0.", name=f"{name}.{option}"))
    return RewardTerm(name, float(weight), chosen)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
