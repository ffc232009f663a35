"""A whole round on the tiny model and a real Postgres: the worker, its child, kills, cancels, and what is stored."""

import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core import registry, runs
from app.core.artifacts import ArtifactStore
from app.core.database import UnitOfWork
from app.core.records import Job, Model, Project, Round, Run, RunMetric
from app.core.settings import Settings
from tests import factories
from tests.tiny_model import make_tiny_model
from trainer.worker import Worker

SMALL: dict[str, dict[str, Any]] = {
    "reward_model": {"epochs": 2, "batch_size": 8, "normalisation_samples": 16},
    "ppo": {"steps": 4, "prompts_per_step": 8, "max_tokens": 16},
    "evaluate": {"prompts": 6, "max_tokens": 16},
}


@pytest.fixture
def worker(settings: Settings, uow: UnitOfWork, tmp_path: Path) -> Worker:
    model = make_tiny_model(tmp_path / "tiny")
    chosen = settings.model_copy(update={"base_model": str(model), "dtype": "float32", "threads": 1})
    return Worker(chosen, uow)


def make_round(db: Session, worker: Worker, *, seed: int = 5) -> Round:
    """A project with comparisons of a lexical taste, and a round on them."""
    draw = random.Random(2)  # noqa: S311 - made-up answers
    kim = factories.make_user(db)
    project = factories.make_project(db, training={"preset": "tiny"}, rounds={"automatic": False})
    base = registry.ensure_base(db, project, worker.settings.base_model)
    for number in range(30):
        prompt = factories.make_prompt(db, project, f"ask {number}", split="validation" if number % 5 == 4 else "train")
        texts = ["".join(draw.choices("eatn ", k=10)) for _ in range(2)]
        answers = [factories.make_completion(db, prompt, text, model=base) for text in texts]
        better = texts[0].count("e") - texts[1].count("e")
        tiers = [[0, 1]] if better == 0 else [[0], [1]] if better > 0 else [[1], [0]]
        task = factories.make_task(db, prompt, answers)
        factories.make_preference(db, task, kim, outcome="prefer" if better else "tie", tiers=tiers)
    started = runs.start_round(db, project, trigger="manual", overrides=SMALL, seed=seed)
    db.commit()
    return started


def results(db: Session, asked: Round) -> dict[str, Run]:
    db.expire_all()
    return {run.recipe: run for run in db.scalars(select(Run).where(Run.round_id == asked.id))}


def figures(db: Session, asked: Round) -> dict[tuple[str, str, int], float]:
    rows = db.execute(
        select(Run.recipe, RunMetric.name, RunMetric.step, RunMetric.value)
        .join(Run, Run.id == RunMetric.run_id)
        .where(Run.round_id == asked.id)
    )
    return {(recipe, name, step): v for recipe, name, step, v in rows if not name.startswith("time/")}


def kill_child(worker: Worker, monkeypatch: pytest.MonkeyPatch, until: Callable[[], bool]) -> threading.Event:
    """Kill the worker's first child with SIGKILL as soon as `until` holds."""
    spawn, killed = worker.spawn, threading.Event()

    def spawn_and_kill(job: Job) -> Any:
        child = spawn(job)

        def strike() -> None:
            while child.poll() is None and not until():
                time.sleep(0.01)
            if child.poll() is None:
                os.kill(child.pid, signal.SIGKILL)
                killed.set()

        if not killed.is_set():
            threading.Thread(target=strike, daemon=True).start()
        return child

    monkeypatch.setattr(worker, "spawn", spawn_and_kill)
    return killed


def work_until_over(worker: Worker, db: Session, asked: Round) -> Round:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if not worker.work_once():
            time.sleep(0.2)
        db.expire_all()
        if db.get_one(Round, asked.id).state not in ("queued", "running"):
            return db.get_one(Round, asked.id)
        db.rollback()
    raise AssertionError("the round did not end")


def test_a_round_ends_in_a_verdict_and_its_artefacts(worker: Worker, db: Session) -> None:
    asked = make_round(db, worker)
    ended = work_until_over(worker, db, asked)
    made = results(db, asked)
    assert ended.state in ("live", "refused"), [(run.recipe, run.error) for run in made.values()]
    assert {run.state for run in made.values()} == {"done"}
    assert {check["name"] for check in ended.verdict["checks"]} >= {"held_out_accuracy", "win_rate", "kl"}
    store = ArtifactStore(worker.settings.artifacts)
    policy = db.get_one(Model, ended.candidate_model_id)
    assert (policy.role, policy.version, policy.run_id) == ("policy", 1, made["ppo"].id)
    assert policy.artifact_hash is not None
    files = {path.name for path in store.verify(policy.artifact_hash).iterdir()}
    assert files >= {"adapter.safetensors", "adapter.json", "canary.json"}
    reward = db.get_one(Model, made["reward_model"].result["model_id"])
    assert set(reward.normalisation) == {"mean", "std", "temperature"}
    predictions = store.verify(str(reward.artifact_hash)) / "predictions.jsonl"
    rows = [json.loads(line) for line in predictions.read_text().splitlines()]
    assert len(rows) == 6
    assert {row["split"] for row in rows} == {"validation"}
    held_out = made["reward_model"].result["held_out"]
    assert [row["annotator"][:10] for row in held_out["annotators"]] == ["annotator-"], "a pseudonym, no id"
    decided = sum(row["target"] != 0.5 for row in rows)
    assert held_out["all"]["of"] == held_out["annotators"][0]["of"] == decided
    samples = json.loads((store.verify(made["evaluate"].result["samples"]) / "samples.json").read_text())["samples"]
    assert len(samples) == 6
    assert set(samples[0]) == {"prompt_id", "messages", "base", "live", "candidate"}
    assert figures(db, asked)["ppo", "policy/ratio_first", 1] == 0
    assert figures(db, asked)["ppo", "objective/kl", 1] == 0
    # A critic that starts at nothing explains nothing, and hurts nothing.
    assert figures(db, asked)["ppo", "value/explained_variance", 1] == pytest.approx(0, abs=1e-6)
    assert db.scalar(select(Job.state)) == "done"
    dropped = {run.checkpoint for run in made.values() if run.checkpoint}
    assert dropped
    assert not any(store.path(digest).exists() for digest in dropped)


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["reward_model 2", "ppo 1", "ppo 3", "evaluate 1"])
def test_a_killed_round_resumes_to_the_same_numbers(
    worker: Worker, db: Session, uow: UnitOfWork, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    whole = make_round(db, worker)
    work_until_over(worker, db, whole)
    expected = figures(db, whole)
    recipe, step = phase.split()
    again = make_round(db, worker)
    again_id = again.id

    def there() -> bool:
        with uow() as session:
            run = session.scalar(select(Run).where(Run.round_id == again_id, Run.recipe == recipe))
            return run is not None and run.state == "running" and run.step >= int(step)

    killed = kill_child(worker, monkeypatch, there)
    ended = work_until_over(worker, db, again)
    assert killed.is_set()
    assert ended.state in ("live", "refused")
    assert (db.scalar(select(func.max(Job.attempt))) or 0) >= 2
    assert figures(db, again) == expected


def test_a_cancelled_round_stops_within_seconds(worker: Worker, db: Session, uow: UnitOfWork) -> None:
    asked = make_round(db, worker)
    asked_id = asked.id
    at_work = threading.Thread(target=worker.work_once)
    at_work.start()
    time.sleep(1.5)
    with uow() as session:
        runs.cancel_round(session, asked_id)
    at_work.join(20)
    assert not at_work.is_alive()
    db.expire_all()
    assert db.get_one(Round, asked_id).state == "cancelled"
    assert {run.state for run in results(db, asked).values()} <= {"cancelled", "done"}


def test_a_worker_that_is_told_to_stop_gives_the_round_back(worker: Worker, db: Session) -> None:
    asked = make_round(db, worker)
    at_work = threading.Thread(target=worker.work_once)
    at_work.start()
    time.sleep(1.0)
    worker.stop.set()
    at_work.join(20)
    job = db.scalars(select(Job)).one()
    assert (job.state, job.attempt) == ("queued", 0)
    assert db.get_one(Round, asked.id).state in ("queued", "running")


def test_a_reward_function_that_may_not_be_used_ends_the_round_at_its_start(worker: Worker, db: Session) -> None:
    asked = make_round(db, worker)
    terms = [{"term": "python", "options": {"function": "os:getcwd"}}]
    results(db, asked)["ppo"].config = {**results(db, asked)["ppo"].config, "reward_terms": terms}
    db.commit()
    ended = work_until_over(worker, db, asked)
    made = results(db, asked)
    assert (ended.state, made["ppo"].state, made["reward_model"].started_at) == ("failed", "failed", None)
    assert made["ppo"].error == (
        "Reward function os:getcwd may not be used: PALATE_REWARD_MODULES names the modules that may be (none)."
    )


def test_an_error_becomes_a_sentence_on_the_run(worker: Worker, db: Session) -> None:
    asked = make_round(db, worker)
    config = {**results(db, asked)["reward_model"].config, "learning_rate": 1e30, "gradient_clip": 1e30}
    results(db, asked)["reward_model"].config = config
    db.commit()
    ended = work_until_over(worker, db, asked)
    run = results(db, asked)["reward_model"]
    assert ended.state == "failed"
    assert run.state == "failed"
    assert run.error is not None
    assert "is not a number at step" in run.error
    assert db.scalar(select(Job.state)) == "failed"
    assert db.scalar(select(Project.id)) is not None
