"""Rounds and runs on the job queue: when one is due, its start, its end and verdict, cancel and resume."""

from typing import Any

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from app.core import jobs, registry
from app.core.demonstrations import demonstration_counts
from app.core.errors import Conflict, InvalidConfig, InvalidInput, Problem
from app.core.projects import settings_of
from app.core.recipes import Config, Pipeline, config_json, make_config, pipeline_of
from app.core.records import SPLITS, Job, Model, Preference, Project, Prompt, Round, Run, Snapshot, Task, record
from app.core.records.base import Json
from app.core.snapshots import is_current, is_ordinary, take_snapshot
from app.core.told import Stored
from app.core.words import gettext, number
from app.core.writers import RunWriter

__all__ = [
    "MIN_TRAIN",
    "MIN_VALIDATION",
    "RunWriter",
    "begin_round",
    "cancel_round",
    "due",
    "fail_round",
    "finish_round",
    "labels_since_last_round",
    "missing_feedback",
    "pair_counts",
    "refuse_round",
    "resume_round",
    "round_configs",
    "start_round",
    "stop_cancelled",
    "too_few",
]

MIN_TRAIN = 8
"""Fewest training pairs that a reward model is fitted on at all."""
MIN_VALIDATION = 2
"""Fewest held-out pairs; below, nothing could be said about it. Both limits hold for demonstrations as well."""
OPEN_STATES = ("queued", "running")

Overrides = dict[str, dict[str, Any]]


def current_pairs(project_id: int) -> list[ColumnElement[bool]]:
    """Conditions of a preference that counts as a pair: it holds now, and it is not "all bad"."""
    return [Preference.project_id == project_id, Preference.outcome != "all_bad", is_current()]


def labels_since_last_round(db: Session, project_id: int) -> int:
    """Current pairs on ordinary tasks, newer than the last round's snapshot (its ids ascend), whatever became of it."""
    newest_id = Snapshot.preference_ids[func.cardinality(Snapshot.preference_ids)]
    last = (
        select(newest_id)
        .join(Round, Round.snapshot_id == Snapshot.id)
        .where(Round.project_id == project_id)
        .order_by(Round.number.desc())
        .limit(1)
    )
    seen = db.scalar(last) or 0
    new = (
        select(func.count(Preference.id))
        .join(Task, Task.id == Preference.task_id)
        .where(*current_pairs(project_id), is_ordinary(), Preference.id > seen)
    )
    return db.scalar(new) or 0


def pair_counts(db: Session, project_id: int) -> dict[str, int]:
    """Current pairs by split: what a round started now would train on."""
    query = (
        select(Prompt.split, func.count(Preference.id))
        .join(Task, Task.id == Preference.task_id)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .where(*current_pairs(project_id), is_ordinary())
        .group_by(Prompt.split)
    )
    return dict.fromkeys(SPLITS, 0) | dict(iter(db.execute(query)))


def too_few(counts: dict[str, int]) -> str | None:
    """Why a round cannot start on so few pairs, or None when it can."""
    train, held = counts.get("train", 0), counts.get("validation", 0)
    values = {"train": MIN_TRAIN, "now": number(train), "held": MIN_VALIDATION, "held_now": number(held)}
    if train < MIN_TRAIN and held < MIN_VALIDATION:
        return gettext(
            "A round needs %(train)s pairs on training prompts, so far %(now)s, and %(held)s pairs on held-out "
            "prompts, so far %(held_now)s.",
            **values,
        )
    if train < MIN_TRAIN:
        return gettext("A round needs %(train)s pairs on training prompts, so far %(now)s.", **values)
    if held < MIN_VALIDATION:
        return gettext("A round needs %(held)s pairs on held-out prompts, so far %(held_now)s.", **values)
    return None


def missing_feedback(db: Session, project_id: int, pipeline: Pipeline) -> str | None:
    """Why a round of this pipeline cannot start on what people said so far, or None when it can."""
    reason = too_few(pair_counts(db, project_id))
    if reason is not None or not pipeline.demonstrations:
        return reason
    written = demonstration_counts(db, project_id)
    if written["train"] >= MIN_TRAIN and written["validation"] >= MIN_VALIDATION:
        return None
    return gettext(
        "To imitate people a round needs %(train)s answers that they wrote or rewrote on training prompts, so far "
        "%(now)s, and %(held)s on held-out prompts, so far %(held_now)s.",
        train=MIN_TRAIN,
        now=number(written["train"]),
        held=MIN_VALIDATION,
        held_now=number(written["validation"]),
    )


def due(db: Session, project: Project) -> bool:
    """Does the project's rule ask for a round now? A round that runs or waits for a decision comes first."""
    rule = settings_of(project).rounds
    if not rule.automatic or project.paused_at is not None:
        return False
    if labels_since_last_round(db, project.id) < rule.new_preferences or registry.live(db, project.id) is None:
        return False
    busy = select(Round.id).where(Round.project_id == project.id, Round.state.in_((*OPEN_STATES, "waiting")))
    if db.scalar(busy.limit(1)) is not None:
        return False
    return missing_feedback(db, project.id, pipeline_of(settings_of(project).training.pipeline)) is None


def round_configs(
    project: Project, overrides: Overrides | None = None, preset: str | None = None, pipeline: str | None = None
) -> dict[str, Config]:
    """The checked configs of a round, in order: preset, then the project's sampling and own values, then this round's.

    Temperature and longest answer are those of the pool, so that the policy learns to write what people judge.
    """
    settings = settings_of(project)
    training = settings.training
    recipes = pipeline_of(pipeline or training.pipeline).recipes
    sampling = {"temperature": settings.sampling.temperature, "max_tokens": settings.sampling.max_tokens}
    usual: Overrides = dict.fromkeys(("dpo", "ppo", "rloo", "evaluate"), sampling)
    usual["sft"] = {"max_tokens": settings.sampling.max_tokens}
    mine = overrides or {}
    unknown = set(mine) - set(recipes)
    if unknown:
        raise InvalidConfig(
            gettext(
                "This round has no part %(names)s; it has %(all)s.",
                names=", ".join(sorted(unknown)),
                all=", ".join(recipes),
            )
        )
    return {
        recipe: make_config(
            recipe,
            preset or training.preset,
            {**usual.get(recipe, {}), **training.overrides.get(recipe, {}), **mine.get(recipe, {})},
        )
        for recipe in recipes
    }


def start_round(
    db: Session,
    project: Project,
    *,
    trigger: str,
    user_id: int | None = None,
    overrides: Overrides | None = None,
    preset: str | None = None,
    pipeline: str | None = None,
    seed: int | None = None,
    note: str = "",
) -> Round:
    """Freeze the labels, store a round with the runs of its pipeline, and queue it for the trainer.

    Raises Conflict while another round is active, InvalidInput when there is too little feedback or no live policy,
    InvalidConfig for a setting that cannot work.
    """
    registry.lock_project(db, project.id)
    _refuse_second(db, project.id)
    live = registry.live(db, project.id)
    if live is None:
        raise InvalidInput([Problem("policy", gettext("No policy is live yet. The model is still being prepared."))])
    chosen = pipeline_of(pipeline or settings_of(project).training.pipeline)
    configs = round_configs(project, overrides, preset, chosen.name)
    reason = missing_feedback(db, project.id, chosen)
    if reason is not None:
        raise InvalidInput([Problem("labels", reason)], reason)
    newest = db.scalar(select(func.max(Round.number)).where(Round.project_id == project.id)) or 0
    started = Round(
        project_id=project.id,
        number=newest + 1,
        trigger=trigger,
        started_by=user_id,
        config={
            "pipeline": chosen.name,
            "preset": preset or settings_of(project).training.preset,
            "recipes": {recipe: config_json(config) for recipe, config in configs.items()},
            "gate": settings_of(project).gate.model_dump(),
        },
        snapshot_id=take_snapshot(db, project.id, None).id,
        parent_model_id=live.model_id,
        note=note,
    )
    db.add(started)
    db.flush()
    _add_runs(db, started, configs, seed=1000 * started.number if seed is None else seed)
    record(db, "started a round", f"rounds:{started.id}", user_id=user_id, project_id=project.id, number=started.number)
    return started


def begin_round(db: Session, round_id: int) -> None:
    """A worker has the round now."""
    db.execute(update(Round).where(Round.id == round_id, Round.state == "queued").values(state="running"))


def finish_round(db: Session, round_id: int, candidate_model_id: int, verdict: Json) -> Round:
    """Apply the gate's verdict: live, waiting for an admin, or refused. Says it in `verdict["sentence"]`.

    Called twice (a worker that was killed right after), the second call changes nothing.
    """
    finished = db.scalars(select(Round).where(Round.id == round_id).with_for_update()).one()
    if finished.state not in OPEN_STATES:
        return finished
    project = db.get_one(Project, finished.project_id)
    candidate = db.get_one(Model, candidate_model_id)
    live = registry.live(db, project.id)
    finished.candidate_model_id = candidate_model_id
    finished.finished_at = db.scalar(select(func.now()))
    moved = live is not None and live.model_id != finished.parent_model_id
    if not verdict["passed"]:
        finished.state, sentence = "refused", _refusal(candidate.name, verdict)
    elif not settings_of(project).rounds.promote_automatically:
        finished.state, sentence = "waiting", Stored.READY.of(name=candidate.name)
    elif moved and live is not None:
        finished.state = "waiting"
        sentence = Stored.OVERTAKEN.of(name=candidate.name, live=live.name)
    else:
        finished.state, sentence = "live", Stored.WENT_LIVE.of(name=candidate.name)
    finished.verdict = {**verdict, "sentence": sentence}
    db.flush()
    if finished.state == "live":
        registry.promote(
            db, project.id, candidate_model_id, round_id=round_id, reason=Stored.ROUND_PASSED.of(n=finished.number)
        )
    else:
        record(db, f"judged {finished.state}", f"rounds:{round_id}", project_id=project.id, sentence=sentence)
    return finished


def fail_round(db: Session, round_id: int, message: str) -> None:
    """The round stopped by an error that trying again did not mend. What is live stays live.

    Where a run wrote down why it failed, that is the reason shown; `message` else.
    """
    run = db.scalar(select(Run).where(Run.round_id == round_id, Run.state == "failed").limit(1))
    if run is not None and run.error:
        message = Stored.STOPPED.of(recipe=run.recipe, n=f"{run.step:,}", why=run.error)
    _close(db, round_id, "failed", message)


def stop_cancelled(db: Session, round_id: int) -> None:
    """The worker has stopped because an admin cancelled the round."""
    _close(db, round_id, "cancelled", Stored.CANCELLED.of())


def cancel_round(db: Session, round_id: int, *, user_id: int | None = None) -> str:
    """Ask for a stop. A waiting round is cancelled at once, a running one at its worker's next step.

    Returns the round's state afterwards; raises Conflict when it is over already. Locks the job before the round, as
    the worker does when it concludes, so that the two never wait for each other.
    """
    job = job_of(db, round_id)
    if job is not None:
        jobs.request_cancel(db, job.id)
        db.refresh(job)
    query = select(Round).where(Round.id == round_id).with_for_update().execution_options(populate_existing=True)
    cancelled = db.scalars(query).one()
    if cancelled.state not in OPEN_STATES:
        raise Conflict(gettext("Round %(n)s is over already.", n=cancelled.number))
    if job is None or job.state not in OPEN_STATES:
        stop_cancelled(db, round_id)
    record(db, "cancelled", f"rounds:{round_id}", user_id=user_id, project_id=cancelled.project_id)
    db.refresh(cancelled)
    return cancelled.state


def resume_round(db: Session, round_id: int, *, user_id: int | None = None) -> Round:
    """Queue a failed round again; every run goes on from its last checkpoint. Raises Conflict where that cannot be."""
    resumed = db.scalars(select(Round).where(Round.id == round_id).with_for_update()).one()
    if resumed.state != "failed":
        raise Conflict(gettext("Round %(n)s did not fail, so there is nothing to resume.", n=resumed.number))
    registry.lock_project(db, resumed.project_id)
    _refuse_second(db, resumed.project_id)
    resumed.state, resumed.note, resumed.finished_at = "queued", "", None
    db.flush()
    job_id = _enqueue(db, resumed)
    db.execute(
        update(Run)
        .where(Run.round_id == round_id, Run.state != "done")
        .values(state="queued", error=None, finished_at=None, job_id=job_id)
    )
    record(db, "resumed", f"rounds:{round_id}", user_id=user_id, project_id=resumed.project_id)
    return resumed


def refuse_round(db: Session, round_id: int, *, user_id: int | None, reason: str) -> None:
    """An admin decides against a waiting candidate. Raises Conflict when the round does not wait."""
    refused = db.scalar(
        update(Round)
        .where(Round.id == round_id, Round.state == "waiting")
        .values(state="refused", note=reason)
        .returning(Round.project_id)
    )
    if refused is None:
        raise Conflict(gettext("This round does not wait for a decision any more."))
    record(db, "refused", f"rounds:{round_id}", user_id=user_id, project_id=refused, reason=reason)


def job_of(db: Session, round_id: int) -> Job | None:
    """The newest job that works on this round."""
    return db.scalar(
        select(Job)
        .where(Job.queue == "trainer", Job.kind == "round", Job.payload["round_id"].as_integer() == round_id)
        .order_by(Job.id.desc())
        .limit(1)
    )


def _refuse_second(db: Session, project_id: int) -> None:
    active = db.scalar(select(Round.number).where(Round.project_id == project_id, Round.state.in_(OPEN_STATES)))
    if active is not None:
        raise Conflict(gettext("Round %(n)s is still at work. The next one can start when it is over.", n=active))


def _add_runs(db: Session, started: Round, configs: dict[str, Config], seed: int) -> None:
    job_id = _enqueue(db, started)
    for position, (recipe, config) in enumerate(configs.items()):
        db.add(
            Run(
                project_id=started.project_id,
                round_id=started.id,
                position=position,
                recipe=recipe,
                config=config_json(config),
                seed=seed + position,
                job_id=job_id,
            )
        )
    db.flush()


def _enqueue(db: Session, started: Round) -> int:
    job_id = jobs.enqueue(db, "trainer", "round", {"round_id": started.id}, key=f"round:{started.project_id}")
    if job_id is None:
        raise Conflict(gettext("The last round is still being put away. Try again in a minute."))
    return job_id


def _close(db: Session, round_id: int, state: str, message: str) -> None:
    closed = db.scalar(
        update(Round)
        .where(Round.id == round_id, Round.state.in_(OPEN_STATES))
        .values(state=state, note=message, finished_at=func.now())
        .returning(Round.project_id)
    )
    if closed is None:
        return
    db.execute(
        update(Run)
        .where(Run.round_id == round_id, Run.state.in_(OPEN_STATES), (Run.state == "running") | (state == "cancelled"))
        .values(state=state, error=message if state == "failed" else None, finished_at=func.now())
    )
    record(db, state, f"rounds:{round_id}", project_id=closed, message=message)


def _refusal(name: str, verdict: Json) -> str:
    stopped = [check["sentence"] for check in verdict["checks"] if not check["passed"] and not check.get("warns")]
    return Stored.REFUSED.of(name=name, why=" ".join(stopped))
