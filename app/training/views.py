"""A round in words and pictures: its sentence, timeline, charts and gate, made from rows."""

from datetime import datetime
from typing import Any

from app.core.records import Run
from app.core.records.base import Json
from app.training.service import RECIPES, RoundPage

PILLS = {
    "queued": ("", "Waits for the trainer"),
    "running": ("info", "Training"),
    "waiting": ("wait", "Waits for you"),
    "live": ("good", "Passed, went live"),
    "refused": ("bad", "Refused"),
    "failed": ("bad", "Failed"),
    "cancelled": ("", "Cancelled"),
}
CHARTS = (
    ("objective/score", "Reward", "steps", False, "Mean normalised reward of each step's answers"),
    ("objective/kl", "KL from the base", "steps", False, "Nats per answer; the coefficient steers it to its target"),
    ("policy/clip_fraction", "Clip fraction", "steps", True, "Share of tokens where PPO held back the update"),
    ("reward/held_out_accuracy", "Reward model, held-out accuracy", "batches", True, "On pairs it never saw"),
)
UNITS = {"reward_model": "batch", "ppo": "step", "evaluate": "prompt"}


def sentence(page: RoundPage) -> str:
    """What one would say about this round."""
    found = page.round
    said = str(found.verdict.get("sentence", ""))
    ends = {
        "failed": f"It stopped: {found.note} {page.parent.name} stays live.",
        "cancelled": f"{found.note} Nothing of it went live.",
        "refused": f"{said} {found.note}".strip(),
        "queued": "The labels are frozen. The trainer takes it as soon as it is free.",
    }
    if found.state != "running":
        return ends.get(found.state, said)
    run = next((run for run in page.runs.values() if run.state == "running"), None)
    if run is None:
        return "The trainer has it and gets ready."
    return f"{RECIPES[run.recipe]}: {run.phase or 'starting'}. {page.parent.name} stays live meanwhile."


def timeline(page: RoundPage) -> list[dict[str, str]]:
    """Steps for ui.timeline."""
    found, counts = page.round, page.snapshot.counts
    pairs = counts.get("train", 0) + counts.get("validation", 0)
    steps = [{"name": "Snapshot", "state": "done", "says": f"{pairs:,} preferences", "took": ""}]
    steps += [_run_step(page.runs[recipe], page) for recipe in RECIPES if recipe in page.runs]
    checks = [check for check in found.verdict.get("checks", []) if not check.get("warns")]
    passed = sum(bool(check["passed"]) for check in checks)
    said = f"{passed} of {len(checks)} passed" if checks else ""
    gate_state = "todo" if not checks else "done" if found.verdict.get("passed") else "failed"
    steps.append({"name": "Gate", "state": gate_state, "says": said, "took": ""})
    if found.state == "waiting":
        steps.append(
            {
                "name": "Your decision",
                "state": "waiting",
                "says": "waiting",
                "took": _since(found.finished_at, page.now),
            }
        )
    steps.append({"name": "Live", "state": "done" if found.state == "live" else "todo", "says": "", "took": ""})
    return steps


def _run_step(run: Run, page: RoundPage) -> dict[str, str]:
    state = {"queued": "todo", "cancelled": "todo"}.get(run.state, run.state)
    if page.round.state == "failed" and run.state == "running":
        state = "failed"
    unit = UNITS[run.recipe]
    says = f"{run.steps:,} {unit}{'es' if unit == 'batch' else 's'}" if run.state == "done" and run.steps else ""
    if run.state == "running":
        says = f"{unit} {run.step:,} of {run.steps:,}" if run.steps else run.phase
    if run.state == "failed":
        says = f"stopped at {unit} {run.step:,}"
    took = _since(run.started_at, run.finished_at or page.now)
    return {"name": RECIPES[run.recipe], "state": state, "says": says, "took": _left(run, page.now) or took}


def _left(run: Run, now: datetime) -> str:
    if run.state != "running" or run.started_at is None or not 0 < run.step < run.steps:
        return ""
    gone = (now - run.started_at).total_seconds()
    return f"about {_span(gone / run.step * (run.steps - run.step))} left"


def _since(start: datetime | None, end: datetime | None) -> str:
    return _span((end - start).total_seconds()) if start and end else ""


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def duration(page: RoundPage) -> str:
    """From the first run's start to the end, in words; empty while it works."""
    starts = [run.started_at for run in page.runs.values() if run.started_at]
    return _since(min(starts), page.round.finished_at) if starts and page.round.finished_at else ""


def charts(page: RoundPage) -> list[dict[str, Any]]:
    """Arguments of ui.line_chart, in the order of reading."""
    limits = {"objective/kl": page.round.config.get("gate", {}).get("kl")}
    made = []
    for name, title, unit, percent, says in CHARTS:
        points = page.figures.get(name, [])
        series = [{"name": f"round {page.round.number}", "points": points, "reference": False}]
        before = page.before.get(name, [])
        if before and points and name == "reward/held_out_accuracy":
            series.append({"name": f"round {page.round.number - 1}", "points": before, "reference": True})
        made.append(
            {
                "title": title,
                "value": _shown(points, percent, " nats" if name == "objective/kl" else ""),
                "series": series,
                "unit": unit,
                "percent": percent,
                "says": says,
                "limit": limits.get(name) if points else None,
            }
        )
    return made


def _shown(points: list[tuple[int, float]], percent: bool, unit: str) -> str:
    if not points:
        return ""
    value = points[-1][1]
    return f"{100 * value:.1f} %" if percent else f"{value:.2f}{unit}"


def bullets(verdict: Json) -> list[Json]:
    """The gate's checks for ui.bullet, whose low and high are the allowed range, with the condition in words."""
    shown = []
    for check in verdict.get("checks", []):
        upper = check["name"] in ("kl", "length_ratio")
        figure, _, low_end = check.get("shown", "").partition(" (")
        words = check.get("condition") or check.get("sentence", "")
        if check["passed"] and not check.get("warns") and _close(check):
            words += " · close to its limit"
        if low_end:
            words = f"{low_end.rstrip(')')}, {words.replace('low end', 'must be')}"
        shown.append(
            {
                **check,
                "low": None if upper else check["limit"],
                "high": check["limit"] if upper else None,
                "sentence": words,
                "shown": figure,
            }
        )
    return shown


def _close(check: Json) -> bool:
    """Within a fifth of its limit; a share within three points."""
    value = check["low"] if check["name"] == "win_rate" else check["value"]
    near = 0.2 * abs(check["limit"]) if check["name"] == "kl" else 0.03
    return value is not None and abs(value - check["limit"]) <= near


def passed(verdict: Json) -> str:
    """The gate in a pill: Passed 3 of 3."""
    checks = [check for check in verdict.get("checks", []) if not check.get("warns")]
    return f"Passed {sum(bool(check['passed']) for check in checks)} of {len(checks)}"
