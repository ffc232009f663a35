"""Rounds: when one is due, start, verdict, cancel, resume, and the fence around what a trainer writes."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.core import jobs, registry, runs
from app.core.database import UnitOfWork
from app.core.errors import AppError, Cancelled, Conflict, InvalidConfig, InvalidInput, LostFence
from app.core.projects import GateLimits
from app.core.recipes import config_json
from app.core.records import AuditEvent, Job, Model, Preference, Project, Round, Run, RunMetric, Snapshot, User
from tests import factories

GOOD = {
    "reward/held_out_accuracy": 0.9,
    "evaluate/win_rate": 0.7,
    "evaluate/win_rate_low": 0.6,
    "evaluate/win_rate_high": 0.8,
    "evaluate/kl": 3.0,
    "evaluate/end_rate": 1.0,
    "evaluate/length_ratio": 1.0,
}


@pytest.fixture
def project(db: Session) -> Project:
    """A project with a live base policy whose rule asks for a round every 10 pairs."""
    project = factories.make_project(db, rounds={"new_preferences": 10})
    registry.ensure_base(db, project, "tiny")
    db.commit()
    return project


def answer(db: Session, project: Project, *, train: int = 8, validation: int = 2, outcome: str = "prefer") -> None:
    """Answered comparisons, by one person, on training and held-out prompts."""
    user = factories.make_user(db)
    for split, count in (("train", train), ("validation", validation)):
        for _ in range(count):
            prompt = factories.make_prompt(db, project, split=split)
            factories.make_preference(db, factories.make_task(db, prompt), user, outcome=outcome)
    db.commit()


def start(db: Session, project: Project) -> Round:
    started = runs.start_round(db, project, trigger="manual")
    db.commit()
    return started


def claim(db: Session) -> Job:
    job = jobs.claim(db, "trainer", "test")
    assert job is not None
    db.commit()
    return job


def candidate(db: Session, project: Project, of: Round) -> Model:
    run_id = db.scalar(select(Run.id).where(Run.round_id == of.id, Run.recipe == "ppo"))
    return registry.register(db, project.id, "policy", run_id, of.parent_model_id, "f" * 64, "tiny")


def judged(db: Session, project: Project, figures: dict[str, float]) -> Round:
    started = start(db, project)
    runs.begin_round(db, started.id)
    verdict = registry.gate(GateLimits(), figures)
    finished = runs.finish_round(db, started.id, candidate(db, project, started).id, verdict)
    db.commit()
    return finished


def test_a_round_becomes_due_after_enough_new_pairs(db: Session, project: Project) -> None:
    answer(db, project, train=8, validation=1)
    assert runs.labels_since_last_round(db, project.id) == 9
    assert not runs.due(db, project)
    answer(db, project, train=0, validation=1)
    assert runs.due(db, project)


def test_both_bad_and_withdrawn_answers_are_no_pairs(db: Session, project: Project) -> None:
    answer(db, project, train=2, validation=0, outcome="all_bad")
    answer(db, project, train=2, validation=0, outcome="tie")
    old = db.scalars(select(Preference).where(Preference.outcome == "tie")).first()
    assert old is not None
    db.add(
        Preference(
            project_id=old.project_id,
            task_id=old.task_id,
            assignment_id=old.assignment_id,
            user_id=old.user_id,
            field=old.field,
            outcome=old.outcome,
            tiers=old.tiers,
            supersedes_id=old.id,
            withdrawn=True,
        )
    )
    db.commit()
    assert runs.labels_since_last_round(db, project.id) == 1
    assert runs.pair_counts(db, project.id) == {"train": 1, "validation": 0, "test": 0}


def test_a_paused_project_and_a_manual_rule_start_nothing(db: Session, project: Project) -> None:
    answer(db, project, train=10, validation=2)
    project.paused_at = db.scalar(select(func.now()))
    assert not runs.due(db, project)
    project.paused_at = None
    project.settings = {"rounds": {"automatic": False, "new_preferences": 10}}
    assert not runs.due(db, project)


def test_start_freezes_labels_configs_and_seeds_and_queues_one_job(db: Session, project: Project) -> None:
    answer(db, project)
    started = runs.start_round(db, project, trigger="rule", overrides={"ppo": {"steps": 3}})
    db.commit()
    rows = list(db.scalars(select(Run).where(Run.round_id == started.id).order_by(Run.position)))
    assert [run.recipe for run in rows] == ["reward_model", "ppo", "evaluate"]
    assert [run.seed for run in rows] == [1000, 1001, 1002]
    assert rows[1].config["steps"] == 3
    assert started.config["recipes"]["ppo"]["steps"] == 3
    assert db.get_one(Snapshot, started.snapshot_id).counts["train"] == 8
    job = db.scalars(select(Job)).one()
    assert (job.queue, job.kind, job.payload) == ("trainer", "round", {"round_id": started.id})
    assert {run.job_id for run in rows} == {job.id}
    assert runs.labels_since_last_round(db, project.id) == 0
    assert not runs.due(db, project)


def test_a_round_writes_as_the_pool_is_sampled(db: Session) -> None:
    """People judge what the pool's settings write, so that is what the policy learns and is measured with."""
    sampling = {"temperature": 0.9, "max_tokens": 33}
    project = factories.make_project(db, sampling=sampling, training={"preset": "one-gpu"})
    configs = {recipe: config_json(config) for recipe, config in runs.round_configs(project).items()}
    for recipe in ("ppo", "evaluate"):
        assert {name: configs[recipe][name] for name in sampling} == sampling
    changed = runs.round_configs(project, {"ppo": {"max_tokens": 20}})["ppo"]
    assert (config_json(changed)["max_tokens"], config_json(changed)["temperature"]) == (20, 0.9)


def test_a_second_round_has_to_wait(db: Session, project: Project) -> None:
    answer(db, project)
    start(db, project)
    with pytest.raises(Conflict, match="Round 1 is still at work"):
        runs.start_round(db, project, trigger="manual")


def test_a_round_says_what_it_is_missing(db: Session, project: Project) -> None:
    answer(db, project, train=5, validation=0)
    with pytest.raises(InvalidInput, match="8 pairs on training prompts, so far 5, and 2 pairs on held-out"):
        runs.start_round(db, project, trigger="manual")


def test_unknown_settings_are_refused_before_anything_is_stored(db: Session, project: Project) -> None:
    answer(db, project)
    for overrides in ({"ppo": {"stepps": 3}}, {"dpo": {"steps": 3}}, {"ppo": {"steps": 0}}):
        with pytest.raises(InvalidConfig):
            runs.start_round(db, project, trigger="manual", overrides=overrides)
    assert db.scalars(select(Round)).all() == []


def test_a_candidate_that_passes_goes_live(db: Session, project: Project) -> None:
    answer(db, project)
    finished = judged(db, project, GOOD)
    live = registry.live(db, project.id)
    assert live is not None
    assert (live.model_id, finished.state) == (finished.candidate_model_id, "live")
    assert finished.verdict["sentence"] == "v1 passed every check and went live by itself."


def test_a_candidate_waits_where_the_project_wants_to_be_asked(db: Session, project: Project) -> None:
    project.settings = {"rounds": {"promote_automatically": False}}
    answer(db, project)
    finished = judged(db, project, GOOD)
    live = registry.live(db, project.id)
    assert live is not None
    assert (live.name, finished.state) == ("v0", "waiting")
    assert not runs.due(db, project)
    runs.refuse_round(db, finished.id, user_id=None, reason="too short")
    db.refresh(finished)
    assert (finished.state, finished.note) == ("refused", "too short")
    with pytest.raises(Conflict):
        runs.refuse_round(db, finished.id, user_id=None, reason="again")


def test_a_refused_candidate_says_which_limit_stopped_it(db: Session, project: Project) -> None:
    answer(db, project)
    finished = judged(db, project, {**GOOD, "evaluate/kl": 30.0})
    assert finished.state == "refused"
    assert finished.verdict["sentence"] == (
        "v1 does not go live. KL from the base: 30.0, at most 12.0 nats: not passed."
    )
    live = registry.live(db, project.id)
    assert live is not None
    assert live.name == "v0"


def test_a_candidate_of_an_outdated_parent_waits(db: Session, project: Project) -> None:
    answer(db, project)
    started = start(db, project)
    other = registry.register(db, project.id, "policy", None, None, "e" * 64, "tiny")
    registry.promote(db, project.id, other.id)
    made = candidate(db, project, started)
    finished = runs.finish_round(db, started.id, made.id, registry.gate(GateLimits(), GOOD))
    assert finished.state == "waiting"
    assert "v1 went live while it trained" in finished.verdict["sentence"]


def test_finishing_twice_changes_nothing(db: Session, project: Project) -> None:
    answer(db, project)
    finished = judged(db, project, GOOD)
    bad = registry.gate(GateLimits(), {})
    assert runs.finish_round(db, finished.id, finished.candidate_model_id or 0, bad).state == "live"


def test_cancel_while_queued_ends_everything_at_once(db: Session, project: Project) -> None:
    answer(db, project)
    started = start(db, project)
    assert runs.cancel_round(db, started.id) == "cancelled"
    db.commit()
    db.expire_all()
    assert {run.state for run in db.scalars(select(Run))} == {"cancelled"}
    assert db.scalars(select(Job)).one().state == "cancelled"
    with pytest.raises(Conflict):
        runs.cancel_round(db, started.id)


def test_cancel_while_running_is_noticed_by_the_worker(db: Session, uow: UnitOfWork, project: Project) -> None:
    answer(db, project)
    started = start(db, project)
    job = claim(db)
    runs.begin_round(db, started.id)
    db.commit()
    run_id = db.scalars(select(Run.id).order_by(Run.position)).first()
    assert run_id is not None
    writer = runs.RunWriter(uow, job.id, job.fence, run_id)
    writer.start(3)
    assert runs.cancel_round(db, started.id) == "running"
    db.commit()
    with pytest.raises(Cancelled):
        writer.progress(1, "step 1 of 3")
    with uow() as other:
        runs.stop_cancelled(other, started.id)
        jobs.finish(other, job.id, job.fence, "cancelled")
    db.expire_all()
    assert db.get_one(Round, started.id).state == "cancelled"
    assert db.get_one(Run, run_id).step == 0
    assert {run.state for run in db.scalars(select(Run))} == {"cancelled"}
    start(db, project)


def test_a_failed_round_keeps_what_is_live_and_resumes_where_it_stopped(
    db: Session, uow: UnitOfWork, project: Project
) -> None:
    answer(db, project)
    started = start(db, project)
    job = claim(db)
    runs.begin_round(db, started.id)
    db.commit()
    first, second, _ = db.scalars(select(Run.id).order_by(Run.position))
    runs.RunWriter(uow, job.id, job.fence, first).done({"reward/held_out_accuracy": 0.8})
    writer = runs.RunWriter(uow, job.id, job.fence, second)
    writer.start(10)
    writer.checkpoint("c" * 64)
    writer.failed("The loss is not a number.")
    with uow() as other:
        runs.fail_round(other, started.id, "PPO stopped at step 6: the loss is not a number.")
        jobs.finish(other, job.id, job.fence, "failed")
    db.expire_all()
    assert db.get_one(Round, started.id).state == "failed"
    runs.resume_round(db, started.id)
    db.commit()
    db.expire_all()
    states = {run.position: (run.state, run.checkpoint) for run in db.scalars(select(Run))}
    assert states == {0: ("done", None), 1: ("queued", "c" * 64), 2: ("queued", None)}
    assert claim(db).payload == {"round_id": started.id}
    with pytest.raises(Conflict, match="did not fail"):
        runs.resume_round(db, started.id)


def test_metrics_are_rewritten_by_a_resumed_step_and_checked(db: Session, uow: UnitOfWork, project: Project) -> None:
    answer(db, project)
    start(db, project)
    job = claim(db)
    run_id = db.scalars(select(Run.id)).first()
    assert run_id is not None
    writer = runs.RunWriter(uow, job.id, job.fence, run_id)
    writer.metrics(1, {"objective/kl": 1.0, "objective/score": 0.5})
    writer.metrics(1, {"objective/kl": 2.0})
    with pytest.raises(AppError, match="vocabulary"):
        writer.metrics(2, {"objective/kl": 1.0, "kl": 1.0})
    with pytest.raises(AppError, match="not a number at step 2"):
        writer.metrics(2, {"objective/kl": float("nan")})
    rows = {(row.name, row.step): row.value for row in db.scalars(select(RunMetric))}
    assert rows == {("objective/kl", 1): 2.0, ("objective/score", 1): 0.5}


def test_a_worker_that_lost_its_job_writes_nothing(db: Session, uow: UnitOfWork, project: Project) -> None:
    answer(db, project)
    start(db, project)
    old = claim(db)
    fence = old.fence
    db.execute(update(Job).values(lease_until=func.now() - timedelta(seconds=1)))
    db.commit()
    assert claim(db).fence == fence + 1
    run_id = db.scalars(select(Run.id)).first()
    assert run_id is not None
    writer = runs.RunWriter(uow, old.id, fence, run_id)
    with pytest.raises(LostFence):
        writer.start(1)
    with pytest.raises(LostFence):
        writer.metrics(1, {"objective/kl": 1.0})
    with pytest.raises(LostFence):
        writer.checkpoint("d" * 64)
    with pytest.raises(LostFence):
        writer.done({})
    with pytest.raises(LostFence):
        writer.failed("late")
    db.expire_all()
    run = db.get_one(Run, run_id)
    assert (run.state, run.checkpoint, run.result) == ("queued", None, {})
    assert db.scalars(select(RunMetric)).all() == []


def test_every_decision_is_written_down(db: Session, project: Project, make_user: Callable[..., User]) -> None:
    ines = make_user()
    answer(db, project)
    started = runs.start_round(db, project, trigger="manual", user_id=ines.id)
    runs.cancel_round(db, started.id, user_id=ines.id)
    events = [(event.action, event.user_id) for event in db.scalars(select(AuditEvent).order_by(AuditEvent.id))]
    assert ("started a round", ines.id) in events
    assert ("cancelled", ines.id) in events
