"""A project as it looks after some weeks: labels, rounds in each state, versions. For tests of pages."""

import json
import math
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core import jobs, registry, runs
from app.core.artifacts import ArtifactStore
from app.core.projects import GateLimits
from app.core.records import Project, Round, Run, RunMetric
from tests import factories

FIGURES = {
    "reward/held_out_accuracy": 0.718,
    "evaluate/win_rate": 0.583,
    "evaluate/win_rate_low": 0.551,
    "evaluate/win_rate_high": 0.614,
    "evaluate/kl": 6.4,
    "evaluate/end_rate": 0.994,
    "evaluate/length_ratio": 1.11,
}


def make_labels(db: Session, project: Project, *, train: int = 10, validation: int = 3) -> None:
    """Answered comparisons of two people."""
    people = [factories.make_user(db, name=name) for name in ("Ama Boateng", "Jonas Weber")]
    for split, count in (("train", train), ("validation", validation)):
        for number in range(count):
            task = factories.make_task(db, factories.make_prompt(db, project, split=split))
            outcome = "tie" if number % 7 == 6 else "prefer"
            tiers = [[0, 1]] if outcome == "tie" else [[number % 2], [1 - number % 2]]
            factories.make_preference(db, task, people[number % 2], outcome=outcome, tiers=tiers)


def make_round(db: Session, project: Project, *, state: str = "live", store: ArtifactStore | None = None) -> Round:
    """A round that went through `core.runs` to this state, with figures of every step."""
    started = runs.start_round(db, project, trigger="manual")
    if state == "queued":
        return started
    runs.begin_round(db, started.id)
    rows = list(db.scalars(select(Run).where(Run.round_id == started.id).order_by(Run.position)))
    for run in rows if state not in ("running", "failed") else rows[:2]:
        _work(db, run, state)
    if state == "running":
        return started
    if state == "failed":
        runs.fail_round(db, started.id, "PPO stopped at step 61: the loss is not a number.")
    elif state == "cancelled":
        runs.cancel_round(db, started.id)
        runs.stop_cancelled(db, started.id)
    else:
        _judge(db, project, started, rows, state, store)
    job = jobs.claim(db, "trainer", "test")
    if job is not None:
        jobs.finish(db, job.id, job.fence)
    db.flush()
    db.refresh(started)
    return started


def _work(db: Session, run: Run, state: str) -> None:
    unfinished = state in ("running", "failed") and run.recipe == "ppo"
    run.state = "running" if unfinished else "done"
    run.steps, run.step = 300, 212 if unfinished else 300
    run.phase = "step 212 of 300" if unfinished else ""
    run.started_at = db.execute(select(func.now() - timedelta(minutes=31))).scalar_one()
    run.finished_at = None if unfinished else db.execute(select(func.now())).scalar_one()
    for step in range(0, run.step + 1, 10):
        for name, value in _curves(run.recipe, step / 300).items():
            db.add(RunMetric(run_id=run.id, name=name, step=step, value=value))
    db.flush()


def _curves(recipe: str, done: float) -> dict[str, float]:
    wobble = 0.03 * math.sin(40 * done)
    if recipe == "reward_model":
        return {"reward/held_out_accuracy": 0.5 + 0.22 * (1 - math.exp(-4 * done)) + wobble / 4}
    if recipe == "ppo":
        return {
            "objective/score": 1.5 * (1 - math.exp(-3 * done)) + wobble,
            "objective/kl": 6.4 * (1 - math.exp(-4 * done)) + wobble,
            "policy/clip_fraction": 0.06 + 0.06 * done + wobble / 5,
        }
    return {"evaluate/win_rate_base": 0.66 + wobble} if done == 1 else {}


def _judge(
    db: Session, project: Project, started: Round, rows: list[Run], state: str, store: ArtifactStore | None
) -> None:
    figures: dict[str, Any] = dict(FIGURES)
    if state == "refused":
        figures["evaluate/kl"] = 19.7
    asks = state == "waiting"
    project.settings = {**project.settings, "rounds": {"promote_automatically": not asks}}
    reward = registry.register(
        db, project.id, "reward", rows[0].id, None, factories.digest(f"reward {started.id}"), "SmolLM2-135M-Instruct"
    )
    candidate = registry.register(
        db,
        project.id,
        "policy",
        rows[1].id,
        started.parent_model_id,
        factories.digest(f"policy {reward.id}"),
        "SmolLM2-135M-Instruct",
    )
    if store is not None:
        rows[2].result = {"samples": samples(store)}
    runs.finish_round(db, started.id, candidate.id, registry.gate(GateLimits(), figures))


def samples(store: ArtifactStore) -> str:
    """An artefact with two prompts before and after."""
    rows = [
        {
            "prompt_id": number,
            "messages": [{"role": "user", "content": question}],
            "base": [_answer("There are many things to consider.", 0.1)],
            "live": [_answer("There are many reasons why sourdough may be flat. Use a healthy starter.", 0.41)],
            "candidate": [
                _answer("Most likely it did not rise: at **18 °C** dough needs twice the time.", 1.2 + number)
            ],
        }
        for number, question in enumerate(
            ("Why is my bread flat?", "My sourdough is flat and sticky. What went wrong?")
        )
    ]
    with store.stage() as directory:
        Path(directory / "samples.json").write_text(json.dumps({"samples": rows}))
        return store.commit(directory)


def _answer(text: str, score: float) -> dict[str, Any]:
    return {"text": text, "score": score, "tokens": len(text.split()), "finished": True}
