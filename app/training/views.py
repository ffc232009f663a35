"""A round in words and pictures: its sentence, timeline, charts and gate, made from rows."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from app.core.records import Run
from app.core.records.base import Json
from app.core.told import told
from app.core.words import N_, gettext, ngettext, number
from app.core.words import percent as share
from app.training.service import RoundPage, name_of

PILLS = {
    "queued": ("", N_("Waits for the trainer")),
    "running": ("info", N_("Training")),
    "waiting": ("wait", N_("Waits for you")),
    "live": ("good", N_("Passed, went live")),
    "refused": ("bad", N_("Refused")),
    "failed": ("bad", N_("Failed")),
    "cancelled": ("", N_("Cancelled")),
}
CHARTS = (
    ("objective/score", N_("Reward"), N_("steps"), False, N_("Mean normalised reward of each step's answers")),
    (
        "objective/kl",
        N_("KL from the base"),
        N_("steps"),
        False,
        N_("Nats per answer; the coefficient steers it to its target"),
    ),
    (
        "policy/clip_fraction",
        N_("Clip fraction"),
        N_("steps"),
        True,
        N_("Share of tokens where PPO held back the update"),
    ),
    ("dpo/margin", N_("DPO, margin"), N_("steps"), False, N_("Implicit reward of chosen minus rejected answers")),
    ("dpo/accuracy", N_("DPO, accuracy"), N_("steps"), True, N_("Training pairs that the policy orders as people did")),
    ("sft/perplexity", N_("Imitation, perplexity"), N_("steps"), False, N_("Per token of what people wrote")),
    (
        "reward/held_out_accuracy",
        N_("Reward model, held-out accuracy"),
        N_("batches"),
        True,
        N_("On pairs it never saw"),
    ),
)
MADE_BY = {
    "objective": {"ppo", "rloo"},
    "policy": {"ppo", "rloo"},
    "dpo": {"dpo"},
    "sft": {"sft"},
    "reward": {"reward_model"},
}
"""Whose figures these are: a round shows the charts of its own runs."""
DONE: dict[str, Callable[[int], str]] = {
    "reward_model": lambda n: ngettext("%(n)s batch", "%(n)s batches", n, n=number(n)),
    "evaluate": lambda n: ngettext("%(n)s prompt", "%(n)s prompts", n, n=number(n)),
}
"""How far a run came that is done; what is not named here counts steps."""
NOW = {"reward_model": N_("batch %(n)s of %(all)s"), "evaluate": N_("prompt %(n)s of %(all)s")}
STOPPED = {"reward_model": N_("stopped at batch %(n)s"), "evaluate": N_("stopped at prompt %(n)s")}


def _steps(n: int) -> str:
    return ngettext("%(n)s step", "%(n)s steps", n, n=number(n))


def sentence(page: RoundPage) -> str:
    """What one would say about this round."""
    found = page.round
    said, note, live = told(str(found.verdict.get("sentence", ""))), told(found.note), page.parent.name
    ends = {
        "failed": gettext("It stopped: %(why)s %(name)s stays live.", why=note, name=live),
        "cancelled": gettext("%(why)s Nothing of it went live.", why=note),
        "refused": f"{said} {note}".strip(),
        "queued": gettext("The labels are frozen. The trainer takes it as soon as it is free."),
    }
    if found.state != "running":
        return ends.get(found.state, said)
    run = next((run for run in page.runs.values() if run.state == "running"), None)
    if run is None:
        return gettext("The trainer has it and gets ready.")
    doing = told(run.phase) or gettext("starting")
    return gettext(
        "%(recipe)s: %(doing)s. %(name)s stays live meanwhile.", recipe=name_of(run.recipe), doing=doing, name=live
    )


def timeline(page: RoundPage) -> list[dict[str, str]]:
    """Steps for ui.timeline."""
    found, counts = page.round, page.snapshot.counts
    pairs = counts.get("train", 0) + counts.get("validation", 0)
    steps = [{"name": gettext("Snapshot"), "state": "done", "says": _preferences(pairs), "took": ""}]
    steps += [_run_step(run, page) for run in page.runs.values()]
    checks = [check for check in found.verdict.get("checks", []) if not check.get("warns")]
    passed = sum(bool(check["passed"]) for check in checks)
    said = gettext("%(n)s of %(all)s passed", n=passed, all=len(checks)) if checks else ""
    gate_state = "todo" if not checks else "done" if found.verdict.get("passed") else "failed"
    steps.append({"name": gettext("Gate"), "state": gate_state, "says": said, "took": ""})
    if found.state == "waiting":
        steps.append(
            {
                "name": gettext("Your decision"),
                "state": "waiting",
                "says": gettext("waiting"),
                "took": _since(found.finished_at, page.now),
            }
        )
    steps.append(
        {"name": gettext("Live"), "state": "done" if found.state == "live" else "todo", "says": "", "took": ""}
    )
    return steps


def _preferences(count: int) -> str:
    return ngettext("%(n)s preference", "%(n)s preferences", count, n=number(count))


def _run_step(run: Run, page: RoundPage) -> dict[str, str]:
    state = {"queued": "todo", "cancelled": "todo"}.get(run.state, run.state)
    if page.round.state == "failed" and run.state == "running":
        state = "failed"
    says = DONE.get(run.recipe, _steps)(run.steps) if run.state == "done" and run.steps else ""
    if run.state == "running":
        now = gettext(NOW.get(run.recipe, N_("step %(n)s of %(all)s")), n=number(run.step), all=number(run.steps))
        says = now if run.steps else told(run.phase)
    if run.state == "failed":
        says = gettext(STOPPED.get(run.recipe, N_("stopped at step %(n)s")), n=number(run.step))
    took = _since(run.started_at, run.finished_at or page.now)
    return {"name": name_of(run.recipe), "state": state, "says": says, "took": _left(run, page.now) or took}


def _left(run: Run, now: datetime) -> str:
    if run.state != "running" or run.started_at is None or not 0 < run.step < run.steps:
        return ""
    gone = (now - run.started_at).total_seconds()
    return gettext("about %(span)s left", span=_span(gone / run.step * (run.steps - run.step)))


def _since(start: datetime | None, end: datetime | None) -> str:
    return _span((end - start).total_seconds()) if start and end else ""


def _span(seconds: float) -> str:
    if seconds < 90:
        return gettext("%(n)s s", n=number(seconds))
    if seconds < 5400:
        return gettext("%(n)s min", n=number(seconds / 60))
    return gettext("%(n)s h", n=number(seconds / 3600, 1))


def duration(page: RoundPage) -> str:
    """From the first run's start to the end, in words; empty while it works."""
    starts = [run.started_at for run in page.runs.values() if run.started_at]
    return _since(min(starts), page.round.finished_at) if starts and page.round.finished_at else ""


def charts(page: RoundPage) -> list[dict[str, Any]]:
    """Arguments of ui.line_chart, in the order of reading."""
    limits = {"objective/kl": page.round.config.get("gate", {}).get("kl")}
    made = []
    for name, title, unit, percent, says in CHARTS:
        if not MADE_BY[name.split("/")[0]] & set(page.runs):
            continue
        points = page.figures.get(name, [])
        series = [{"name": gettext("round %(n)s", n=page.round.number), "points": points, "reference": False}]
        before = page.before.get(name, [])
        if before and points and name == "reward/held_out_accuracy":
            series.append(
                {"name": gettext("round %(n)s", n=page.round.number - 1), "points": before, "reference": True}
            )
        made.append(
            {
                "title": gettext(title),
                "value": _shown(points, percent, nats=name == "objective/kl"),
                "series": series,
                "unit": gettext(unit),
                "percent": percent,
                "says": gettext(says),
                "limit": limits.get(name) if points else None,
            }
        )
    return made


def _shown(points: list[tuple[int, float]], percent: bool, *, nats: bool) -> str:
    if not points:
        return ""
    value = points[-1][1]
    if percent:
        return share(value, 1)
    return gettext("%(n)s nats", n=number(value, 2)) if nats else number(value, 2)


def bullets(verdict: Json) -> list[Json]:
    """The gate's checks for ui.bullet, whose low and high are the allowed range, with the condition in words."""
    shown = []
    for check in verdict.get("checks", []):
        upper = check["name"] in ("kl", "length_ratio")
        figure, _, low_end = check.get("shown", "").partition(" (")
        words = told(check.get("condition") or check.get("sentence", ""))
        if low_end and check["name"] == "win_rate" and check.get("low") is not None:
            words = gettext(
                "low end %(low)s, must be above %(limit)s", low=_percent(check["low"]), limit=_percent(check["limit"])
            )
        if check["passed"] and not check.get("warns") and _close(check):
            words = gettext("%(condition)s · close to its limit", condition=words)
        shown.append(
            {
                **check,
                "label": told(check.get("label", check["name"])),
                "low": None if upper else check["limit"],
                "high": check["limit"] if upper else None,
                "sentence": words,
                "shown": told(figure),
            }
        )
    return shown


def _percent(share_of_one: float) -> str:
    return f"{number(100 * share_of_one, 1)} %"


def _close(check: Json) -> bool:
    """Within a fifth of its limit; a share within three points."""
    value = check["low"] if check["name"] == "win_rate" else check["value"]
    near = 0.2 * abs(check["limit"]) if check["name"] == "kl" else 0.03
    return value is not None and abs(value - check["limit"]) <= near


def passed(verdict: Json) -> str:
    """The gate in a pill: Passed 3 of 3."""
    checks = [check for check in verdict.get("checks", []) if not check.get("warns")]
    return gettext("Passed %(n)s of %(all)s", n=sum(bool(check["passed"]) for check in checks), all=len(checks))
