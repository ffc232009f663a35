"""The overview in words: its sentence, its stations, what needs a person, and the tiles with their intervals."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy.orm import Session

from app.core.recipes import POLICY_RECIPES, TITLES
from app.core.runs import OPEN_STATES, too_few
from app.core.statistics import wilson
from app.core.told import told
from app.core.words import N_, gettext, ngettext, number, percent
from app.insights import service
from app.insights.service import Overview

STATES = {
    "queued": N_("Round %(n)s is queued"),
    "running": N_("Round %(n)s is running"),
    "failed": N_("Round %(n)s failed"),
    "cancelled": N_("Round %(n)s is cancelled"),
    "refused": N_("Round %(n)s is refused"),
}
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
        return Headline(gettext("Labeling is paused."), gettext("What was answered is saved. Tasks wait."))
    if not sum(now.prompts.values()):
        return Headline(
            gettext("No prompts yet."),
            gettext("The model needs something to answer."),
            [(gettext("Import prompts"), "/prompts/import", True)],
        )
    if now.open_tasks == 0:
        writing = (
            gettext("%(name)s writes the first ones. They appear here by themselves.", name=now.live.name)
            if now.live
            else gettext("The model writes the first ones. They appear here by themselves.")
        )
        return Headline(gettext("No pairs wait yet."), _trouble(now) or writing)
    title = (
        gettext("People compare what %(name)s wrote.", name=now.live.name)
        if now.live
        else gettext("People compare what the model wrote.")
    )
    return Headline(title, _next_round(now), [(gettext("Label"), "/label", True)])


def _round_headline(now: Overview) -> Headline | None:
    current = now.round
    if current is None:
        return None
    at = f"/rounds/{current.number}"
    if current.state == "waiting" and now.candidate is not None:
        name = now.candidate.name
        acts = [
            (gettext("Review %(name)s", name=name), at, True),
            (gettext("Try %(name)s", name=name), f"/playground?version={now.candidate.version}", False),
        ]
        title = gettext("%(name)s is ready. It goes live when you say so.", name=name)
        return Headline(title, _closest(current.verdict), acts)
    if current.state == "failed":
        live = " " + gettext("%(name)s stays live.", name=now.live.name) if now.live else ""
        title = gettext("Round %(n)s stopped.", n=current.number)
        return Headline(title, told(current.note) + live, [(gettext("Open the round"), at, True)])
    if current.state in OPEN_STATES:
        run = next((run for run in now.runs if run.state == "running"), None)
        doing = (
            gettext(
                "%(recipe)s: %(doing)s. Labeling goes on.",
                recipe=gettext(TITLES[run.recipe]),
                doing=told(run.phase) or gettext("starting"),
            )
            if run
            else gettext("The trainer takes it when it is free. Labeling goes on.")
        )
        title = gettext("Round %(n)s is at work.", n=current.number)
        return Headline(title, doing, [(gettext("Watch"), at, False)])
    return None


def _closest(verdict: dict[str, Any]) -> str:
    checks = [check for check in verdict.get("checks", []) if not check.get("warns")]
    passed = sum(bool(check["passed"]) for check in checks)
    kl = next((check for check in checks if check["name"] == "kl" and check["value"] is not None), None)
    words = ngettext(
        "%(n)s of %(all)s check passed.", "%(n)s of %(all)s checks passed.", len(checks), n=passed, all=len(checks)
    )
    if kl is None:
        return words
    drift = gettext("KL %(n)s of %(most)s.", n=number(kl["value"], 1), most=number(kl["limit"], 1))
    return f"{words} {drift}"


def _next_round(now: Overview) -> str:
    rule = now.settings.rounds
    if not rule.automatic:
        return ngettext(
            "%(n)s label is new since the last round. Rounds start by hand.",
            "%(n)s labels are new since the last round. Rounds start by hand.",
            now.labels.new,
            n=number(now.labels.new),
        )
    missing = rule.new_preferences - now.labels.new
    following = now.round.number + 1 if now.round else 1
    if missing > 0:
        return ngettext(
            "Round %(round)s starts by itself in %(n)s label.",
            "Round %(round)s starts by itself in %(n)s labels.",
            missing,
            n=number(missing),
            round=following,
        )
    short = too_few(now.pairs)
    return short or gettext("Round %(n)s starts in a moment.", n=following)


def _trouble(now: Overview) -> str:
    worker = now.workers.get("background")
    if now.silent("background"):
        return gettext("The worker that fills the pool is not running.")
    return told(str(worker.detail.get("trouble") or "")) if worker else ""


def stations(now: Overview) -> dict[str, dict[str, Any]]:
    """The six stations: figure, unit, sentence, pill, address below the project."""
    training = now.prompts.get("train", 0)
    total = sum(now.prompts.values())
    overlap = now.settings.pool.answers_per_task
    live = now.live
    paused = now.project.paused_at is not None
    empty = now.open_tasks == 0 and total > 0
    return {
        "prompts": _station(
            gettext("Prompts"), number(total), "", gettext("%(n)s in training", n=number(training)), "/prompts"
        ),
        "tasks": _station(
            gettext("Tasks"),
            number(now.open_tasks),
            gettext("waiting"),
            ngettext("one person each", "%(n)s people each", overlap),
            "/label",
            ("warn", gettext("Pool is empty")) if empty else None,
        ),
        "labels": _station(
            gettext("Labels"),
            number(now.labels.total),
            "",
            ngettext(
                "+%(more)s today by %(n)s person",
                "+%(more)s today by %(n)s people",
                now.labels.people_today,
                more=number(now.labels.today),
            ),
            "/exports",
            ("warn", gettext("Paused")) if paused else ("good", gettext("Collecting")) if now.open_tasks else None,
        ),
        "reward": _reward_station(now),
        "policy": _policy_station(now),
        "served": _station(
            gettext("Served"),
            live.name if live else "–",
            "",
            live.base_model if live and live.version == 0 else gettext("the live policy"),
            "/models",
            ("bad", gettext("Not serving"))
            if live and live.error
            else ("good", gettext("Live"))
            if live and live.serving_at
            else ("info", gettext("Being staged")),
        ),
    }


def _station(  # noqa: PLR0917  (six strings in their reading order)
    name: str, figure: str, unit: str, says: str, address: str, pill: tuple[str, str] | None = None
) -> dict[str, Any]:
    return {"name": name, "figure": figure, "unit": unit, "says": says, "address": address, "pill": pill}


def _reward_station(now: Overview) -> dict[str, Any]:
    pill = ("info", gettext("Training")) if _running(now, "reward_model") else None
    if not now.reward:
        return _station(gettext("Reward model"), "–", "", gettext("none fitted yet"), "/rounds", pill)
    of_round, value = now.reward[0]
    says = (
        gettext("Round %(n)s, was %(share)s", n=of_round, share=percent(now.reward[1][1], 1))
        if len(now.reward) > 1
        else gettext("Round %(n)s", n=of_round)
    )
    return _station(gettext("Reward model"), percent(value, 1), gettext("held-out"), says, f"/rounds/{of_round}", pill)


def _policy_station(now: Overview) -> dict[str, Any]:
    current = now.round
    if current is None:
        return _station(gettext("Policy"), "–", "", gettext("no round yet"), "/rounds")
    at = f"/rounds/{current.number}"
    pills = {
        "waiting": ("wait", gettext("Waits for you")),
        "failed": ("bad", gettext("Stopped")),
        "refused": ("bad", gettext("Refused")),
        "queued": ("", gettext("Queued")),
    }
    if _running(now, *POLICY_RECIPES, "evaluate"):
        run = next(run for run in now.runs if run.state == "running")
        return _station(
            gettext("Policy"),
            number(run.step),
            ngettext("of %(n)s step", "of %(n)s steps", run.steps, n=number(run.steps)),
            gettext(TITLES[run.recipe]),
            at,
            ("info", gettext("Training")),
        )
    if now.candidate is None:
        says = gettext(STATES.get(current.state, N_("Round %(n)s")), n=current.number)
        return _station(gettext("Policy"), "–", "", says, at, pills.get(current.state))
    win: dict[str, Any] = next(
        (check for check in current.verdict.get("checks", []) if check["name"] == "win_rate"), {}
    )
    value, low, high = win.get("value"), win.get("low"), win.get("high")
    says = gettext("Wins %(share)s", share=percent(value, 1)) if value is not None else ""
    if low is not None and high is not None:
        says += f" ({_between(low, high)})"
    waits = current.state == "waiting"
    unit = gettext("candidate") if waits else gettext("of round %(n)s", n=current.number)
    return _station(gettext("Policy"), now.candidate.name, unit, says, at, pills.get(current.state))


def _running(now: Overview, *recipes: str) -> bool:
    return any(run.recipe in recipes and run.state == "running" for run in now.runs)


def edges(now: Overview) -> dict[str, Any]:
    """The edges as gauges: how far to the next round, and whether anything moves, waits or is broken."""
    rule = now.settings.rounds
    state = now.round.state if now.round else ""
    serving = "wait" if state == "waiting" else "broken" if state == "failed" else ""
    following = now.round.number + 1 if now.round else 1
    goal = rule.new_preferences if rule.automatic else None
    said = (
        gettext("%(n)s of %(goal)s new labels", n=number(now.labels.new), goal=number(goal))
        if goal
        else ngettext("%(n)s new label", "%(n)s new labels", now.labels.new, n=number(now.labels.new))
    )
    share = min(1.0, now.labels.new / rule.new_preferences) if rule.new_preferences else 0.0
    return {
        "share": round(100 * share, 1),
        "new": now.labels.new,
        "said": said,
        "goal": goal,
        "next": following,
        "learning": "moving" if _running(now, "reward_model", *POLICY_RECIPES) else "",
        "serving": "moving" if _running(now, "evaluate") else serving,
        "fresh": now.settings.pool.completions_per_prompt,
    }


def needs(now: Overview) -> list[dict[str, str]]:
    """What waits for a person, most pressing first."""
    found: list[dict[str, str]] = []
    at = f"/rounds/{now.round.number}" if now.round else "/rounds"
    if now.round and now.round.state == "waiting" and now.candidate:
        found.append(
            _need(
                "wait",
                gettext("%(name)s waits for a decision", name=now.candidate.name),
                _closest(now.round.verdict),
                at,
                gettext("Review"),
            )
        )
    if now.round and now.round.state == "failed":
        found.append(
            _need("bad", gettext("Round %(n)s stopped", n=now.round.number), told(now.round.note), at, gettext("Open"))
        )
    if now.live and now.live.error:
        found.append(
            _need(
                "bad",
                gettext("%(name)s could not be served", name=now.live.name),
                told(now.live.error),
                "/models",
                gettext("Open"),
            )
        )
    trouble = _trouble(now)
    if trouble:
        found.append(_need("warn", gettext("The pool is not being filled"), trouble, "/models", gettext("Models")))
    if now.reports:
        words = ngettext("%(n)s report from annotators", "%(n)s reports from annotators", now.reports)
        found.append(_need("warn", words, gettext("Their tasks are held back."), "/audit", gettext("Audit log")))
    short = too_few(now.pairs)
    if short and now.labels.new >= now.settings.rounds.new_preferences:
        found.append(_need("warn", gettext("The next round cannot start"), short, "/rounds/new", gettext("Why")))
    return found


def _need(state: str, title: str, says: str, address: str, act: str) -> dict[str, str]:
    return {"state": state, "title": title, "says": says, "address": address, "act": act}


def tiles(db: Session, now: Overview) -> list[tuple[str, str, str, str]]:
    """(name, figure, interval, sentence) of the four tiles; a figure that is not known says why."""
    project_id = now.project.id
    goal = now.settings.daily_goal
    mean = number(now.labels.week / 7)
    week = gettext("%(n)s a day, goal %(goal)s", n=mean, goal=number(goal)) if goal else gettext("%(n)s a day", n=mean)
    left, decided = service.left_chosen(db, project_id)
    right, golden = service.gold(db, project_id)
    return [
        (gettext("Labels this week"), number(now.labels.week), "", week),
        _agreement_tile(db, now),
        _share(
            gettext("Gold answers right"),
            right,
            golden,
            ngettext("%(n)s hidden check", "%(n)s hidden checks", golden, n=number(golden)),
            gettext("No task has a known right answer yet."),
        ),
        _share(
            gettext("Left answer chosen"),
            left,
            decided,
            _side(left, decided),
            gettext("No comparison was decided yet."),
        ),
    ]


def _agreement_tile(db: Session, now: Overview) -> tuple[str, str, str, str]:
    alike, pairs, tasks = service.agreement(db, now.project.id)
    if tasks < service.FEWEST_SHARED:
        why = gettext(
            "Needs %(n)s tasks seen by two people, so far %(now)s.", n=service.FEWEST_SHARED, now=number(tasks)
        )
        return (gettext("Agreement"), gettext("Not known yet"), "", why)
    says = gettext("%(n)s tasks seen by two people or more", n=number(tasks))
    return _share(gettext("Agreement"), alike, pairs, says, "")


def _share(name: str, count: int, of: int, says: str, without: str) -> tuple[str, str, str, str]:
    if not of:
        return (name, gettext("Not known yet"), "", without)
    low, high = wilson(count, of)
    return (name, percent(count / of, 1), _between(low, high), says)


def _between(low: float, high: float) -> str:
    """The ends of an interval in percent: 41.0 to 58.3."""
    return gettext("%(low)s to %(high)s", low=number(100 * low, 1), high=number(100 * high, 1))


def _side(left: int, decided: int) -> str:
    low, high = wilson(left, decided)
    if low <= 0.5 <= high:
        return gettext("No side is favoured")
    return gettext("The left side is favoured") if low > 0.5 else gettext("The right side is favoured")


def poll_seconds(now: Overview) -> int | None:
    """How soon the page should look again by itself; None when nothing moves."""
    busy = now.round is not None and now.round.state in OPEN_STATES
    filling = now.project.paused_at is None and now.open_tasks < now.settings.pool.open_tasks and bool(now.prompts)
    if busy or filling or (now.live is not None and now.live.serving_at is None):
        return 3
    recent = now.labels.newest is not None and now.now - now.labels.newest < AUTOMATIC_POLL
    return 10 if recent else None
