"""The overview in words: its sentence, its stations, what needs a person, and the tiles with their intervals."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy.orm import Session

from app.core.runs import OPEN_STATES, too_few
from app.core.statistics import wilson
from app.insights import service
from app.insights.service import Overview

RECIPES = {"reward_model": "Reward model", "ppo": "PPO", "evaluate": "Evaluate"}
AUTOMATIC_POLL = timedelta(minutes=10)
"""So long after the last label the page still looks for the next one by itself."""


@dataclass(frozen=True)
class Headline:
    """What is going on, in one sentence, and what one may do about it: (words, address below the project, primary)."""

    title: str
    says: str
    acts: list[tuple[str, str, bool]] = field(default_factory=list)


def headline(now: Overview) -> Headline:
    """The one thing to know first."""
    found = _round_headline(now)
    if found is not None:
        return found
    if now.project.paused_at is not None:
        return Headline("Labeling is paused.", "What was answered is saved. Tasks wait.")
    if not sum(now.prompts.values()):
        return Headline(
            "No prompts yet.", "The model needs something to answer.", [("Import prompts", "/prompts/import", True)]
        )
    if now.open_tasks == 0:
        name = now.live.name if now.live else "the model"
        trouble = _trouble(now)
        return Headline(
            "No pairs wait yet.", trouble or f"{name} writes the first ones. They appear here by themselves."
        )
    name = now.live.name if now.live else "the model"
    return Headline(f"People compare what {name} wrote.", _next_round(now), [("Label", "/label", True)])


def _round_headline(now: Overview) -> Headline | None:
    current = now.round
    if current is None:
        return None
    at = f"/rounds/{current.number}"
    if current.state == "waiting" and now.candidate is not None:
        name = now.candidate.name
        acts = [(f"Review {name}", at, True), (f"Try {name}", f"/playground?version={now.candidate.version}", False)]
        return Headline(f"{name} is ready. It goes live when you say so.", _closest(current.verdict), acts)
    if current.state == "failed":
        live = f" {now.live.name} stays live." if now.live else ""
        return Headline(f"Round {current.number} stopped.", current.note + live, [("Open the round", at, True)])
    if current.state in OPEN_STATES:
        run = next((run for run in now.runs if run.state == "running"), None)
        doing = f"{RECIPES[run.recipe]}: {run.phase or 'starting'}." if run else "The trainer takes it when it is free."
        return Headline(f"Round {current.number} is at work.", f"{doing} Labeling goes on.", [("Watch", at, False)])
    return None


def _closest(verdict: dict[str, Any]) -> str:
    checks = [check for check in verdict.get("checks", []) if not check.get("warns")]
    passed = sum(bool(check["passed"]) for check in checks)
    kl = next((check for check in checks if check["name"] == "kl" and check["value"] is not None), None)
    words = f"{passed} of {len(checks)} checks passed."
    return f"{words} KL {kl['value']:.1f} of {kl['limit']:.1f}." if kl else words


def _next_round(now: Overview) -> str:
    rule = now.settings.rounds
    if not rule.automatic:
        return f"{now.labels.new:,} labels are new since the last round. Rounds start by hand."
    missing = rule.new_preferences - now.labels.new
    number = now.round.number + 1 if now.round else 1
    if missing > 0:
        return f"Round {number} starts by itself in {missing:,} label{'s' if missing != 1 else ''}."
    short = too_few(now.pairs)
    return short or f"Round {number} starts in a moment."


def _trouble(now: Overview) -> str:
    worker = now.workers.get("background")
    if now.silent("background"):
        return "The worker that fills the pool is not running."
    return str(worker.detail.get("trouble") or "") if worker else ""


def stations(now: Overview) -> dict[str, dict[str, Any]]:
    """The six stations: figure, unit, sentence, pill, address below the project."""
    training = now.prompts.get("train", 0)
    total = sum(now.prompts.values())
    overlap = now.settings.pool.answers_per_task
    live = now.live
    paused = now.project.paused_at is not None
    empty = now.open_tasks == 0 and total > 0
    return {
        "prompts": _station("Prompts", f"{total:,}", "", f"{training:,} in training", "/prompts"),
        "tasks": _station(
            "Tasks",
            f"{now.open_tasks:,}",
            "waiting",
            "one person each" if overlap == 1 else f"{overlap} people each",
            "/label",
            ("warn", "Pool is empty") if empty else None,
        ),
        "labels": _station(
            "Labels",
            f"{now.labels.total:,}",
            "",
            f"+{now.labels.today:,} today by {_people(now.labels.people_today)}",
            "/exports",
            ("warn", "Paused") if paused else ("good", "Collecting") if now.open_tasks else None,
        ),
        "reward": _reward_station(now),
        "policy": _policy_station(now),
        "served": _station(
            "Served",
            live.name if live else "–",
            "",
            live.base_model if live and live.version == 0 else "the live policy",
            "/models",
            ("bad", "Not serving")
            if live and live.error
            else ("good", "Live")
            if live and live.serving_at
            else ("info", "Being staged"),
        ),
    }


def _people(count: int) -> str:
    return "1 person" if count == 1 else f"{count} people"


def _station(  # noqa: PLR0917  (six strings in their reading order)
    name: str, figure: str, unit: str, says: str, address: str, pill: tuple[str, str] | None = None
) -> dict[str, Any]:
    return {"name": name, "figure": figure, "unit": unit, "says": says, "address": address, "pill": pill}


def _reward_station(now: Overview) -> dict[str, Any]:
    pill = ("info", "Training") if _running(now, "reward_model") else None
    if not now.reward:
        return _station("Reward model", "–", "", "none fitted yet", "/rounds", pill)
    number, value = now.reward[0]
    was = f", was {100 * now.reward[1][1]:.1f} %" if len(now.reward) > 1 else ""
    return _station(
        "Reward model", f"{100 * value:.1f} %", "held-out", f"Round {number}{was}", f"/rounds/{number}", pill
    )


def _policy_station(now: Overview) -> dict[str, Any]:
    current = now.round
    if current is None:
        return _station("Policy", "–", "", "no round yet", "/rounds")
    at = f"/rounds/{current.number}"
    pills = {
        "waiting": ("wait", "Waits for you"),
        "failed": ("bad", "Stopped"),
        "refused": ("bad", "Refused"),
        "queued": ("", "Queued"),
    }
    if _running(now, "ppo") or _running(now, "evaluate"):
        run = next(run for run in now.runs if run.state == "running")
        return _station(
            "Policy", f"{run.step:,}", f"of {run.steps:,} steps", RECIPES[run.recipe], at, ("info", "Training")
        )
    if now.candidate is None:
        return _station("Policy", "–", "", f"Round {current.number} is {current.state}", at, pills.get(current.state))
    win: dict[str, Any] = next(
        (check for check in current.verdict.get("checks", []) if check["name"] == "win_rate"), {}
    )
    value, low, high = win.get("value"), win.get("low"), win.get("high")
    says = f"Wins {100 * value:.1f} %" if value is not None else ""
    if low is not None and high is not None:
        says += f" ({100 * low:.1f} to {100 * high:.1f})"
    unit = "candidate" if current.state == "waiting" else f"of round {current.number}"
    return _station("Policy", now.candidate.name, unit, says, at, pills.get(current.state))


def _running(now: Overview, recipe: str) -> bool:
    return any(run.recipe == recipe and run.state == "running" for run in now.runs)


def edges(now: Overview) -> dict[str, Any]:
    """The edges as gauges: how far to the next round, and whether anything moves, waits or is broken."""
    rule = now.settings.rounds
    state = now.round.state if now.round else ""
    serving = "wait" if state == "waiting" else "broken" if state == "failed" else ""
    number = now.round.number + 1 if now.round else 1
    share = min(1.0, now.labels.new / rule.new_preferences) if rule.new_preferences else 0.0
    return {
        "share": round(100 * share, 1),
        "new": now.labels.new,
        "goal": rule.new_preferences if rule.automatic else None,
        "next": number,
        "learning": "moving" if _running(now, "reward_model") or _running(now, "ppo") else "",
        "serving": "moving" if _running(now, "evaluate") else serving,
        "fresh": now.settings.pool.completions_per_prompt,
    }


def needs(now: Overview) -> list[dict[str, str]]:
    """What waits for a person, most pressing first."""
    found: list[dict[str, str]] = []
    at = f"/rounds/{now.round.number}" if now.round else "/rounds"
    if now.round and now.round.state == "waiting" and now.candidate:
        found.append(
            _need("wait", f"{now.candidate.name} waits for a decision", _closest(now.round.verdict), at, "Review")
        )
    if now.round and now.round.state == "failed":
        found.append(_need("bad", f"Round {now.round.number} stopped", now.round.note, at, "Open"))
    if now.live and now.live.error:
        found.append(_need("bad", f"{now.live.name} could not be served", now.live.error, "/models", "Open"))
    trouble = _trouble(now)
    if trouble:
        found.append(_need("warn", "The pool is not being filled", trouble, "/models", "Models"))
    if now.reports:
        words = f"{now.reports} report{'s' if now.reports > 1 else ''} from annotators"
        found.append(_need("warn", words, "Their tasks are held back.", "/audit", "Audit log"))
    short = too_few(now.pairs)
    if short and now.labels.new >= now.settings.rounds.new_preferences:
        found.append(_need("warn", "The next round cannot start", short, "/rounds/new", "Why"))
    return found


def _need(state: str, title: str, says: str, address: str, act: str) -> dict[str, str]:
    return {"state": state, "title": title, "says": says, "address": address, "act": act}


def tiles(db: Session, now: Overview) -> list[tuple[str, str, str, str]]:
    """(name, figure, interval, sentence) of the four tiles; a figure that is not known says why."""
    project_id = now.project.id
    goal = now.settings.daily_goal
    week = f"{now.labels.week / 7:,.0f} a day" + (f", goal {goal:,}" if goal else "")
    left, decided = service.left_chosen(db, project_id)
    right, golden = service.gold(db, project_id)
    return [
        ("Labels this week", f"{now.labels.week:,}", "", week),
        _agreement_tile(db, now),
        _share(
            "Gold answers right", right, golden, f"{golden:,} hidden checks", "No task has a known right answer yet."
        ),
        _share("Left answer chosen", left, decided, _side(left, decided), "No comparison was decided yet."),
    ]


def _agreement_tile(db: Session, now: Overview) -> tuple[str, str, str, str]:
    alike, pairs, tasks = service.agreement(db, now.project.id)
    if tasks < service.FEWEST_SHARED:
        why = f"Needs {service.FEWEST_SHARED} tasks seen by two people, so far {tasks}."
        return ("Agreement", "Not known yet", "", why)
    return _share("Agreement", alike, pairs, f"{tasks:,} tasks seen by two people or more", "")


def _share(name: str, count: int, of: int, says: str, without: str) -> tuple[str, str, str, str]:
    if not of:
        return (name, "Not known yet", "", without)
    low, high = wilson(count, of)
    return (name, f"{100 * count / of:.1f} %", f"{100 * low:.1f} to {100 * high:.1f}", says)


def _side(left: int, decided: int) -> str:
    low, high = wilson(left, decided)
    if low <= 0.5 <= high:
        return "No side is favoured"
    return "The left side is favoured" if low > 0.5 else "The right side is favoured"


def poll_seconds(now: Overview) -> int | None:
    """How soon the page should look again by itself; None when nothing moves."""
    busy = now.round is not None and now.round.state in OPEN_STATES
    filling = now.project.paused_at is None and now.open_tasks < now.settings.pool.open_tasks and bool(now.prompts)
    if busy or filling or (now.live is not None and now.live.serving_at is None):
        return 3
    recent = now.labels.newest is not None and now.now - now.labels.newest < AUTOMATIC_POLL
    return 10 if recent else None
