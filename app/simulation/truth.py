"""What a round achieved, measured with the noiseless taste that the trainer never saw."""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean, pstdev
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.artifacts import ArtifactStore
from app.core.records import Round, Run, Step
from app.core.records.base import Json
from app.core.statistics import clustered_bootstrap, wilson
from app.simulation.tastes import Taste

POLICIES = ("base", "live", "candidate")
"""Names in samples.json: without any training, before the round, after it."""


def measure(db: Session, store: ArtifactStore, finished: Round, taste: Taste) -> Json:
    """Agreement of the reward model with the taste, and the taste's true score before and after, in base deviations."""
    results = {run.recipe: run.result for run in db.scalars(select(Run).where(Run.round_id == finished.id))}
    figures: Json = {
        "round": finished.number,
        "state": finished.state,
        "note": finished.note,
        "verdict": finished.verdict,
    }
    if finished.finished_at is not None:
        figures["seconds"] = (finished.finished_at - finished.created_at).total_seconds()
    if reward := results.get("reward_model", {}).get("artifact"):
        lines = (store.path(reward) / "predictions.jsonl").read_text().splitlines()
        figures["agreement"] = agreement([json.loads(line) for line in lines], _texts(db, lines), taste)
        figures["reward_model"] = results["reward_model"]["metrics"]
    if samples := results.get("evaluate", {}).get("samples"):
        rows = json.loads((store.path(samples) / "samples.json").read_text())["samples"]
        figures["true_score"] = true_score(rows, taste)
        figures["evaluate"] = results["evaluate"]["metrics"]
    return figures


def agreement(predictions: Sequence[Mapping[str, Any]], texts: Mapping[int, str], taste: Taste) -> Json:
    """How often the reward model orders held-out pairs as the noiseless taste does; equal pairs are left out."""
    right = total = 0
    for row in predictions:
        difference = taste(texts[row["first_trajectory_id"]]) - taste(texts[row["second_trajectory_id"]])
        if difference != 0:
            total += 1
            right += (row["score_first"] > row["score_second"]) == (difference > 0)
    low, high = wilson(right, total)
    return {"share": right / total if total else None, "low": low, "high": high, "pairs": total}


def true_score(rows: Sequence[Mapping[str, Any]], taste: Taste) -> Json:
    """The taste's mean score of each policy's held-out answers, and the gains in standard deviations of the base's.

    Intervals are bootstrapped over prompts. A gain is None when the base always scores the same.
    """
    scores = {name: [[taste(one["text"]) for one in row[name]] for row in rows] for name in POLICIES}
    flat = {name: [score for prompt in of for score in prompt] for name, of in scores.items()}
    unit = pstdev(flat["base"])
    figures: Json = {"prompts": len(rows), "base_deviation": unit} | {name: fmean(flat[name]) for name in POLICIES}
    for name, before, after in (("gain_over_base", "base", "candidate"), ("gain_over_live", "live", "candidate")):
        figures[name] = _gain(scores[before], scores[after], unit)
    return figures


def gains(rows: Sequence[Mapping[str, Any]], taste: Taste) -> Json:
    """By policy of a resampling: mean score, and its gain over the base in the base's deviations, bootstrapped."""
    names = list(rows[0]["answers"])
    scores = {name: [[taste(text) for text in row["answers"][name]] for row in rows] for name in names}
    unit = pstdev([score for prompt in scores["base"] for score in prompt])
    figures: Json = {}
    for name in names:
        gain = _gain(scores["base"], scores[name], unit)
        figures[name] = {"mean": fmean([fmean(prompt) for prompt in scores[name]]), "gain": gain}
    return figures


def _gain(before: Sequence[Sequence[float]], after: Sequence[Sequence[float]], unit: float) -> Json | None:
    """The mean gain of some prompts' scores in units, bootstrapped over prompts; None where the unit is 0."""
    differences = [fmean(new) - fmean(old) for old, new in zip(before, after, strict=True)]
    mean, low, high = clustered_bootstrap(differences, range(len(differences)))
    return {"sd": mean / unit, "low": low / unit, "high": high / unit} if unit else None


def table(rounds: Sequence[Json]) -> str:
    """The figures as lines that a person reads."""
    lines = [
        "round  state      labels  agreement (95 %)        gain over base, sd      gain over live, sd      KL     time"
    ]
    for one in rounds:
        agreed = one.get("agreement", {})
        share = (
            "not known" if agreed.get("share") is None else _interval(agreed["share"], agreed["low"], agreed["high"])
        )
        score = one.get("true_score", {})
        gains = [
            _interval(gain["sd"], gain["low"], gain["high"]) if (gain := score.get(name)) else "not known"
            for name in ("gain_over_base", "gain_over_live")
        ]
        kl = one.get("evaluate", {}).get("evaluate/kl")
        shown_kl = "–" if kl is None else f"{kl:.2f}"
        lines.append(
            f"{one['round']:<6} {one['state']:<10} {one['labels']['placed']:>6}  {share:<23} "
            f"{gains[0]:<23} {gains[1]:<23} {shown_kl:<6} {one.get('seconds', 0) / 60:.1f} min"
        )
        if asked := one.get("requests"):
            lines.append(
                f"       {asked['requests']} requests across the swap, {asked['failures']} failed: {asked['versions']}"
            )
    return "\n".join(lines)


def rising(rounds: Sequence[Json]) -> bool:
    """Whether every round's true score is above the one before it."""
    means = [one["true_score"]["candidate"] for one in rounds if "true_score" in one]
    return all(after > before for before, after in pairwise(means))


def _interval(value: float, low: float, high: float) -> str:
    return f"{value:+.2f} ({low:+.2f} to {high:+.2f})"


def _texts(db: Session, lines: Sequence[str]) -> dict[int, str]:
    ids: set[int] = set()
    for line in lines:
        row = json.loads(line)
        ids |= {row["first_trajectory_id"], row["second_trajectory_id"]}
    rows = db.execute(
        select(Step.trajectory_id, Step.content).where(Step.trajectory_id.in_(ids), Step.actor == "agent")
    )
    return {row.trajectory_id: row.content for row in rows}
