"""The whole loop against a running `palate up`, with annotators whose taste is known, and what came of it."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.artifacts import ArtifactStore
from app.core.database import UnitOfWork
from app.core.errors import AppError
from app.core.projects import project_by_slug
from app.core.records import Deployment, Round, Run, record
from app.core.records.base import Json
from app.core.runs import start_round
from app.core.settings import Settings
from app.simulation.character import Character
from app.simulation.crowd import Crowd
from app.simulation.requests import Requests
from app.simulation.tastes import TASTES
from app.simulation.truth import measure, table

OPEN = ("queued", "running")
AFTER_SWAP = 5
"""Seconds that requests go on after the new policy answers."""
PATIENCE_FOR_RULE = 90
"""Seconds the project's rule gets to start the round; then it is started by hand."""


@dataclass(frozen=True)
class Plan:
    """One benchmark of the loop."""

    project: str
    rounds: int
    annotators: int
    labels: int
    taste: str
    noise: float
    seed: int
    shuffle_labels: bool
    """A control: coins answer instead of the taste. No gain may come of it."""
    requests: bool
    hours: float = 2.0
    """Most time of one round."""


def run_loop(uow: UnitOfWork, settings: Settings, plan: Plan, output: Path, say: Callable[[str], None]) -> Json:
    """Drive the rounds, print a table, write it all as JSON. Raises AppError where it cannot go on."""
    taste = TASTES[plan.taste]
    character = Character(taste, plan.noise, random_answers=plan.shuffle_labels)
    rule = _rule(uow, plan.project)
    _set_rule(uow, plan.project, rule | {"automatic": True, "new_preferences": plan.labels})
    report: Json = {"plan": vars(plan), "rounds": []}
    crowd = Crowd(uow, settings, plan.project, character, count=plan.annotators, seed=plan.seed)
    began = time.monotonic()
    try:
        for _ in range(plan.rounds):
            report["rounds"].append(_one_round(uow, settings, plan, crowd, say))
            report["seconds"] = time.monotonic() - began
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(json.dumps(report, indent=1, default=str) + "\n")
            say(table(report["rounds"]))
    finally:
        crowd.close()
        _set_rule(uow, plan.project, rule)
    return report


def _one_round(uow: UnitOfWork, settings: Settings, plan: Plan, crowd: Crowd, say: Callable[[str], None]) -> Json:
    with uow() as db:
        last = _newest_round(db, plan.project)
    tally = crowd.label(plan.labels)
    say(f"{tally.placed} labels in {tally.seconds:.0f} s ({tally.rate:.0f} a minute): {dict(tally.choices)}")
    if tally.placed < plan.labels:
        raise AppError(
            f"Only {tally.placed} of {plan.labels} labels could be placed. {' '.join(tally.errors[:3])}".strip()
        )
    number = _wait_for_start(uow, plan.project, last)
    say(f"Round {number} is running.")
    with Requests(settings, plan.project) as requests:
        finished = _wait_for_end(uow, plan, number, say, requests)
        if requests.started:
            time.sleep(AFTER_SWAP)
    with uow() as db:
        figures = measure(db, ArtifactStore(settings.artifacts), finished, TASTES[plan.taste])
    labels = {"placed": tally.placed, "seconds": tally.seconds, "choices": dict(tally.choices)}
    return figures | {"labels": labels, "requests": requests.summary()}


def _rule(uow: UnitOfWork, slug: str) -> dict[str, Any]:
    with uow() as db:
        return dict(project_by_slug(db, slug).settings.get("rounds", {}))


def _set_rule(uow: UnitOfWork, slug: str, rule: dict[str, Any]) -> None:
    """Change the project's round rule as an admin would."""
    with uow() as db:
        project = project_by_slug(db, slug)
        project.settings = project.settings | {"rounds": rule}
        record(db, "changed settings", f"projects:{project.id}", project_id=project.id, rounds=rule)


def _newest_round(db: Session, slug: str) -> int:
    project = project_by_slug(db, slug)
    newest = select(Round.number).where(Round.project_id == project.id).order_by(Round.number.desc()).limit(1)
    return db.scalar(newest) or 0


def _wait_for_start(uow: UnitOfWork, slug: str, last: int) -> int:
    """The number of the round that the rule starts; started by hand when the rule does not."""
    until = time.monotonic() + PATIENCE_FOR_RULE
    while time.monotonic() < until:
        with uow() as db:
            newest = _newest_round(db, slug)
        if newest > last:
            return newest
        time.sleep(1)
    with uow() as db:
        return start_round(db, project_by_slug(db, slug), trigger="manual").number


def _wait_for_end(uow: UnitOfWork, plan: Plan, number: int, say: Callable[[str], None], requests: Requests) -> Round:
    """The round when it has its verdict and, if it went live, the policy server answers with it.

    Requests begin when the evaluation has written its answers, so that they run across the swap without taking the
    training's cores.
    """
    until, said = time.monotonic() + plan.hours * 3600, ""
    while time.monotonic() < until:
        with uow() as db:
            project = project_by_slug(db, plan.project)
            found = db.scalars(select(Round).where(Round.project_id == project.id, Round.number == number)).one()
            serving = db.scalar(
                select(Deployment.serving_at).where(Deployment.round_id == found.id).order_by(Deployment.id.desc())
            )
            written = db.scalar(
                select(Run.step >= Run.steps - 1).where(
                    Run.round_id == found.id, Run.recipe == "evaluate", Run.steps > 0
                )
            )
        if plan.requests and (written or found.state not in OPEN):
            requests.start()
        if found.state != said:
            said = found.state
            say(f"Round {number}: {said}")
        if found.state not in OPEN and (found.state != "live" or serving is not None):
            return found
        time.sleep(2)
    raise AppError(f"Round {number} had no verdict after {plan.hours:g} hours.")
