"""How a round's reward model did on held-out pairs, made from its run's result."""

from typing import Any

from app.core.records.base import Json
from app.core.words import N_, gettext
from app.training.service import RoundPage

LENGTHS = {
    "far_shorter": N_("below half"),
    "shorter": N_("half to nine tenths"),
    "alike": N_("about the same"),
    "longer": N_("up to double"),
    "far_longer": N_("double or more"),
}
"""The buckets of trainer.held_out, in words."""


def held_out(page: RoundPage) -> dict[str, Any] | None:
    """How the reward model did on held-out pairs, as groups of lines; None before it is known."""
    run = page.runs.get("reward_model")
    found: Json | None = run.result.get("held_out") if run else None
    if run is None or found is None:
        return None
    words = {name: gettext(said) for name, said in LENGTHS.items()}
    groups = [
        ("", [(gettext("All"), found["all"])]),
        (gettext("How sure it is"), [(row["name"], row) for row in found["sure"]]),
        (gettext("Chosen answer's length over the other's"), [(words[row["name"]], row) for row in found["lengths"]]),
        (gettext("Agrees with"), [(row["annotator"], row) for row in found["annotators"]]),
    ]
    return {
        "groups": [(title, [_right(name, row) for name, row in rows if row["of"]]) for title, rows in groups],
        "people": found["people"],
        "metrics": {name.removeprefix("reward/"): value for name, value in run.result["metrics"].items()},
    }


def _right(name: str, row: Json) -> dict[str, Any]:
    return {"name": name, "share": row["right"] / row["of"], "low": row["low"], "high": row["high"], "of": row["of"]}
