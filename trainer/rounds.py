"""A round, run by run, in the child process of the worker: rows in, models and a verdict out.

Runs that are done are skipped, an interrupted one goes on from its checkpoint, so a round may be executed any number of
times and ends the same.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.core import jobs, registry, runs
from app.core.artifacts import ArtifactStore
from app.core.database import UnitOfWork
from app.core.demonstrations import demonstrations_of
from app.core.errors import AppError, Cancelled, LostFence
from app.core.gate import gate
from app.core.people import pseudonym
from app.core.projects import GateLimits
from app.core.recipes import (
    POLICY_RECIPES,
    DpoConfig,
    EvaluateConfig,
    PpoConfig,
    RewardModelConfig,
    RlooConfig,
    SftConfig,
    make_config,
)
from app.core.recipes.rewards import only_reward_model
from app.core.records import Job, Model, Prompt, Round, Run, Step
from app.core.records.base import Json
from app.core.settings import Settings
from app.core.snapshots import pairs_of
from app.core.writers import RunWriter
from trainer.base_model import ensure_base_model, load_tokenizer
from trainer.checkpoints import Checkpoints
from trainer.context import Context, RecipeError
from trainer.conversations import Lesson, make_lesson
from trainer.data import Group, group_pairs
from trainer.data import Prompt as PromptTokens
from trainer.experience import POLICY
from trainer.modeling import load_trunk
from trainer.recipes.dpo import prefer
from trainer.recipes.evaluate import evaluate
from trainer.recipes.ppo import train_policy
from trainer.recipes.reward_model import NAME as REWARD
from trainer.recipes.reward_model import Normalisation, fit_reward_model, load_reward_model
from trainer.recipes.rloo import train_policy_rloo
from trainer.recipes.sft import imitate
from trainer.rewards import make_rewards

log = logging.getLogger(__name__)
Made = TypeVar("Made")
Kind = TypeVar("Kind", SftConfig, RewardModelConfig, DpoConfig, PpoConfig, RlooConfig, EvaluateConfig)
PATIENCE = 60.0
"""Seconds that a write waits for a database that is being restarted."""
LIVE = "live"


@dataclass(frozen=True)
class Reporter:
    """A RunWriter that waits for a database that is being restarted."""

    writer: RunWriter

    def start(self, steps: int) -> None:
        patiently(lambda: self.writer.start(steps))

    def progress(self, step: int, phase: str) -> None:
        patiently(lambda: self.writer.progress(step, phase))

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        patiently(lambda: self.writer.metrics(step, values))

    def checkpoint(self, digest: str) -> None:
        patiently(lambda: self.writer.checkpoint(digest))


def patiently(work: Callable[[], Made], patience: float = PATIENCE) -> Made:
    """`work()`, again and again while the database cannot be reached. Everything handed in here may happen twice."""
    until = time.monotonic() + patience
    while True:
        try:
            return work()
        except OperationalError:
            if time.monotonic() > until:
                raise
            log.warning("the database does not answer, trying again")
            time.sleep(1)


@dataclass
class Execution:
    """One attempt at a round: its rows, and what is loaded for it."""

    settings: Settings
    uow: UnitOfWork
    job_id: int
    fence: int
    round: Round
    parent: Model
    context: Context
    made: dict[str, Json] = field(default_factory=dict)
    """Results of the runs that are done, by recipe, in order."""

    @property
    def policy(self) -> Json | None:
        """The newest policy of this round: what the next recipe goes on from, and in the end the candidate."""
        made = [result for recipe, result in self.made.items() if recipe in POLICY_RECIPES]
        return made[-1] if made else None

    @property
    def start(self) -> Path | None:
        """The verified directory of the policy that a recipe goes on from; None for the base model."""
        if self.policy is not None:
            return self.store.verify(self.policy["artifact"])
        return artifact(self.store, self.parent)

    @property
    def store(self) -> ArtifactStore:
        return self.context.store

    def of_run(self, run: Run) -> Context:
        """The context of one run: where it reports, its seed, its checkpoints."""
        report = Reporter(RunWriter(self.uow, self.job_id, self.fence, run.id))
        checkpoints = Checkpoints(self.store, report, f"run {run.id}", run.checkpoint)
        return replace(self.context, report=report, checkpoints=checkpoints, seed=run.seed)

    def transact(self, work: Callable[[Session], Made]) -> Made:
        """One fenced transaction."""

        def once() -> Made:
            with self.uow() as db:
                jobs.hold(db, self.job_id, self.fence)
                return work(db)

        return patiently(once)


def execute(settings: Settings, uow: UnitOfWork, job_id: int, fence: int) -> None:
    """Execute the round of a claimed job to its verdict.

    Raises LostFence, Cancelled; any other error has been written to its run as a sentence.
    """
    with uow() as db:
        round_id = int(db.get_one(Job, job_id).payload["round_id"])
        jobs.hold(db, job_id, fence)
        runs.begin_round(db, round_id)
        asked = db.get_one(Round, round_id)
        db.refresh(asked)
        parent = db.get_one(Model, asked.parent_model_id)
        pipeline = list(db.scalars(select(Run).where(Run.round_id == round_id).order_by(Run.position)))
    for run in pipeline:
        check_rewards(settings, run, RunWriter(uow, job_id, fence, run.id))
    path = ensure_base_model(settings)
    store = ArtifactStore(settings.artifacts)
    report = Reporter(RunWriter(uow, job_id, fence, pipeline[0].id))
    trunk, tokenizer = load_trunk(settings, path), load_tokenizer(path)
    context = Context(trunk, tokenizer, store, report, Checkpoints(store, report, ""), 0, settings.allowed_rewards)
    execution = Execution(settings, uow, job_id, fence, asked, parent, context)
    for run in pipeline:
        if run.state != "done":
            execute_run(execution, run)
        else:
            execution.made[run.recipe] = run.result
    conclude(execution)


def check_rewards(settings: Settings, run: Run, writer: RunWriter) -> None:
    """Whether a run's reward terms can be made, before the runs that come first have taken their time."""
    try:
        make_rewards(run.config.get("reward_terms") or only_reward_model(), settings.allowed_rewards)
    except AppError as error:
        sentence = str(error)
        patiently(lambda: writer.failed(sentence))
        raise


def execute_run(execution: Execution, run: Run) -> None:
    """One run. An error becomes a sentence in its row."""
    writer = RunWriter(execution.uow, execution.job_id, execution.fence, run.id)
    log.info("run starts", extra={"action": "run", "run": run.id, "recipe": run.recipe})
    torch.manual_seed(run.seed)
    try:
        result = RECIPES[run.recipe](execution, run)
    except (LostFence, Cancelled):
        raise
    except AppError as error:
        sentence = str(error)
        patiently(lambda: writer.failed(sentence))
        raise
    patiently(lambda: writer.done(result))
    drop_checkpoint(execution, run.id)
    execution.made[run.recipe] = result


def drop_checkpoint(execution: Execution, run_id: int) -> None:
    """A run that is done needs no checkpoint. Not before: a kill in between would start it from nothing."""
    newest = execution.transact(lambda db: db.scalar(select(Run.checkpoint).where(Run.id == run_id)))
    if newest is not None:
        execution.store.drop(newest)


def config_of(run: Run, kind: type[Kind]) -> Kind:
    """The run's stored config, checked again."""
    config = make_config(run.recipe, overrides=run.config)
    if not isinstance(config, kind):
        raise RecipeError(f"Run {run.id} is called {run.recipe} but is configured as another recipe.")
    return config


def run_reward_model(execution: Execution, run: Run) -> Json:
    """Fit the reward model on the round's snapshot and register it."""
    config = config_of(run, RewardModelConfig)
    groups = execution.transact(lambda db: read_groups(db, execution.round.snapshot_id, execution.context))
    fitted = fit_reward_model(config, groups, execution.of_run(run))
    normalisation = vars(fitted.normalisation)
    model = execution.transact(
        lambda db: registry.register(
            db,
            execution.round.project_id,
            "reward",
            run.id,
            None,
            fitted.digest,
            execution.parent.base_model,
            normalisation=normalisation,
            metrics=fitted.metrics,
        )
    )
    tables = fitted.tables
    key = execution.settings.secret("pseudonym_key")
    for row in tables["annotators"]:
        row["annotator"] = pseudonym(key, execution.round.project_id, row["annotator"])
    interval = {"held_out_accuracy_low": tables["all"]["low"], "held_out_accuracy_high": tables["all"]["high"]}
    made = {"model_id": model.id, "artifact": fitted.digest, "metrics": fitted.metrics}
    return {**made, **interval, "held_out": tables}


def run_ppo(execution: Execution, run: Run) -> Json:
    """Train the policy from the newest of this round, else the live one, against the reward model."""
    config = config_of(run, PpoConfig)
    prompts, normalisation, start = to_train(execution, config.max_tokens)
    trained = train_policy(config, prompts, normalisation, execution.of_run(run), start=start)
    return register_policy(execution, run, trained.digest, trained.metrics) | {"stopped": trained.stopped}


def run_rloo(execution: Execution, run: Run) -> Json:
    """The same without a critic."""
    config = config_of(run, RlooConfig)
    prompts, normalisation, start = to_train(execution, config.max_tokens)
    trained = train_policy_rloo(config, prompts, normalisation, execution.of_run(run), start=start)
    return register_policy(execution, run, trained.digest, trained.metrics) | {"stopped": trained.stopped}


def to_train(execution: Execution, longest: int) -> tuple[list[PromptTokens], Normalisation, Path | None]:
    """What both need: prompts, the round's reward model on the trunk, and the policy to go on from."""
    prompts = execution.transact(lambda db: read_prompts(db, execution, "train", longest=longest))
    return prompts, reward_on_trunk(execution), execution.start


def run_sft(execution: Execution, run: Run) -> Json:
    """Imitate the snapshot's demonstrations, from the newest policy of this round, else the live one."""
    config = config_of(run, SftConfig)
    lessons = execution.transact(lambda db: read_lessons(db, execution, config))
    prompts = execution.transact(lambda db: read_prompts(db, execution, "train", longest=config.max_tokens))
    made = imitate(config, lessons, prompts, execution.of_run(run), start=execution.start)
    return register_policy(execution, run, made.digest, made.metrics)


def run_dpo(execution: Execution, run: Run) -> Json:
    """Learn from the snapshot's pairs directly, from the newest policy of this round, else the live one."""
    config = config_of(run, DpoConfig)
    groups = execution.transact(lambda db: read_groups(db, execution.round.snapshot_id, execution.context))
    prompts = execution.transact(lambda db: read_prompts(db, execution, "train", longest=config.max_tokens))
    made = prefer(config, groups, prompts, execution.of_run(run), start=execution.start)
    return register_policy(execution, run, made.digest, made.metrics)


def register_policy(execution: Execution, run: Run, digest: str, metrics: dict[str, float]) -> Json:
    """Store a policy as the next version, the child of the one it went on from."""
    before = execution.parent.id if execution.policy is None else int(execution.policy["model_id"])
    base_model = execution.parent.base_model
    model = execution.transact(
        lambda db: registry.register(
            db, execution.round.project_id, "policy", run.id, before, digest, base_model, metrics=metrics
        )
    )
    return {"model_id": model.id, "artifact": digest, "metrics": metrics}


def run_evaluate(execution: Execution, run: Run) -> Json:
    """Compare the candidate with the live policy and the base on held-out prompts."""
    config = config_of(run, EvaluateConfig)
    trunk = execution.context.trunk
    prompts = execution.transact(lambda db: read_prompts(db, execution, "validation", longest=config.max_tokens))
    normalisation = reward_on_trunk(execution)
    for name in set(trunk.settings) - {REWARD}:
        trunk.drop_adapter(name)
    trunk.load_adapter(POLICY, execution.store.verify(candidate_of(execution)["artifact"]))
    live = artifact(execution.store, execution.parent)
    if live is not None:
        trunk.load_adapter(LIVE, live)
    made = evaluate(
        config,
        prompts,
        normalisation,
        execution.of_run(run),
        candidate=POLICY,
        live=None if live is None else LIVE,
    )
    return {"samples": made.digest, "metrics": made.metrics}


RECIPES: dict[str, Callable[[Execution, Run], Json]] = {
    "sft": run_sft,
    "reward_model": run_reward_model,
    "dpo": run_dpo,
    "ppo": run_ppo,
    "rloo": run_rloo,
    "evaluate": run_evaluate,
}


def conclude(execution: Execution) -> None:
    """Put the candidate before the gate and apply the verdict; the job is done in the same transaction."""
    made = execution.made
    figures: dict[str, Any] = {**made["reward_model"]["metrics"], **made["evaluate"]["metrics"]}
    verdict = gate(GateLimits.model_validate(execution.round.config.get("gate", {})), figures)

    def decide(db: Session) -> None:
        runs.finish_round(db, execution.round.id, int(candidate_of(execution)["model_id"]), verdict)
        jobs.finish(db, execution.job_id, execution.fence)

    execution.transact(decide)


def candidate_of(execution: Execution) -> Json:
    """The result of the last recipe that made a policy. Raises RecipeError for a round without one."""
    if execution.policy is None:
        raise RecipeError("No run of this round made a policy, so there is no candidate.")
    return execution.policy


def artifact(store: ArtifactStore, model: Model) -> Path | None:
    """The verified directory of a policy; None for the base model."""
    return None if model.artifact_hash is None else store.verify(model.artifact_hash)


def reward_on_trunk(execution: Execution) -> Normalisation:
    """The round's stored reward model, loaded and frozen."""
    return load_reward_model(
        execution.context.trunk, execution.store.verify(execution.made["reward_model"]["artifact"])
    )


def read_groups(db: Session, snapshot_id: int, context: Context) -> list[Group]:
    """The snapshot's pairs by prompt, with the exact tokens of the completions that we sampled."""
    pairs = list(pairs_of(db, snapshot_id))
    ids = {i for pair in pairs for i in (pair.first_trajectory_id, pair.second_trajectory_id)}
    rows = db.execute(
        select(Step.trajectory_id, Step.token_ids).where(
            Step.trajectory_id.in_(ids), Step.actor == "agent", Step.token_ids.is_not(None)
        )
    )
    return group_pairs(pairs, context.tokenizer, {owner: tokens for owner, tokens in rows if tokens})


def read_lessons(db: Session, execution: Execution, config: SftConfig) -> list[Lesson]:
    """The snapshot's demonstrations as tokens to imitate."""
    tokenizer, written = execution.context.tokenizer, demonstrations_of(db, execution.round.snapshot_id)
    return [
        make_lesson(tokenizer, one.prompt_id, one.split, one.messages, one.text, turns=config.turns) for one in written
    ]


def read_prompts(db: Session, execution: Execution, split: str, *, longest: int) -> list[PromptTokens]:
    """The project's prompts of a split that leave room for an answer. Raises RecipeError when there are none."""
    rows = db.execute(
        select(Prompt.id, Prompt.messages)
        .where(Prompt.project_id == execution.round.project_id, Prompt.split == split, Prompt.archived_at.is_(None))
        .order_by(Prompt.id)
    )
    tokenizer, room = execution.context.tokenizer, execution.context.trunk.max_length - longest
    every = [PromptTokens(number, messages, tokenizer.encode_chat(messages)) for number, messages in rows]
    fitting = [prompt for prompt in every if len(prompt.token_ids) <= room]
    if not fitting:
        raise RecipeError(f"The project has no prompts in its {split} split that fit the model.")
    return fitting
