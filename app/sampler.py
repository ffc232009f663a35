"""Keeps each project's pool full: the live policy writes, completions become pairs or groups, those become tasks.

No transaction is open while the model works: plan (short read), sample (HTTP, several prompts in flight together so
that the server batches them), store (short write, only if what the server said it served is still live).
"""

import hashlib
import logging
import random
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from sqlalchemy import case, exists, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from app.core import registry
from app.core.database import UnitOfWork
from app.core.errors import AppError, Unavailable
from app.core.forms import parse_protocol, segments_of
from app.core.projects import ProjectSettings, protocol_of, settings_of
from app.core.queue import withdraw_stale
from app.core.records import (
    DeploymentPolicy,
    Model,
    Project,
    Prompt,
    Round,
    Step,
    Task,
    TaskSegment,
    Trajectory,
)
from app.core.records.base import Json
from app.core.sensitive import marked_among
from app.core.snapshots import is_ordinary
from app.core.splits import text_hash
from app.core.strategies import STRATEGIES, Pool, Strategy
from app.web.policy_client import Answer, PolicyClient

log = logging.getLogger(__name__)
TOGETHER = 8
"""Prompts whose requests are in flight at once."""
Shown = tuple[int, tuple[int, ...]]
"""A task to be: its prompt, and the trajectories it shows."""


@dataclass(frozen=True)
class Wanted:
    """One request to come: a prompt, and the seed that makes it repeatable."""

    prompt_id: int
    messages: list[Json]
    seed: int


@dataclass(frozen=True)
class Plan:
    """What one pass over a project will ask for."""

    project_id: int
    slug: str
    settings: ProjectSettings
    live: registry.LivePolicy
    wanted: list[Wanted]
    missing: int
    """Tasks that the pool lacks."""
    protocol_id: int
    segments: int
    """Answers that a task of this protocol shows."""

    @property
    def completions(self) -> int:
        """How many to write for a prompt: enough for one task at least."""
        return max(self.settings.pool.completions_per_prompt, self.segments)

    @property
    def strategy(self) -> Strategy:
        """What goes together into tasks, and for which prompts first."""
        return STRATEGIES[self.settings.pool.strategy]


@dataclass
class Sampler:
    """Fills pools, one batch of prompts per call."""

    uow: UnitOfWork
    client: PolicyClient
    fruitless: Counter[tuple[int, int]] = field(default_factory=Counter)
    """Requests per (model, prompt) that brought no new pair; such prompts wait behind the others."""

    def fill(self, project_id: int) -> int:
        """One batch for this project. Returns the number of new tasks; raises Unavailable without a policy server."""
        with self.uow() as db:
            plan = self.plan(db, project_id)
            if plan is not None and plan.segments == 0:
                return _fill_without_answers(db, plan)
        if plan is None or not plan.wanted:
            return 0
        answers = self._ask(plan)
        with self.uow() as db:
            made = self._store(db, plan, answers)
        if made:
            log.info("pool filled", extra={"action": "fill", "project": plan.slug, "tasks": made})
        return made

    def plan(self, db: Session, project_id: int) -> Plan | None:
        """Which prompts come next, as the project's strategy says. None where nothing is to do."""
        project = db.get_one(Project, project_id)
        live = registry.live(db, project_id)
        if project.paused_at is not None or project.archived_at is not None or live is None:
            return None
        settings = settings_of(project)
        ours, others = open_tasks(db, project_id, live.model_id)
        if others and live.serving_at is not None:
            withdraw_stale(db, project, live.deployment_id)
        missing = settings.pool.open_tasks - ours
        if missing <= 0 or (_training(db, project_id) and missing < settings.pool.open_tasks // 2):
            return None
        protocol = protocol_of(db, project)
        segments = segments_of(parse_protocol(protocol.fields))
        strategy = STRATEGIES[settings.pool.strategy]
        full = Pool(0, fresh=range(max(settings.pool.completions_per_prompt, segments)))
        count = min(TOGETHER, -(-missing // len(strategy.groups(full, segments))))
        prompts = self._next_prompts(db, project_id, live.model_id, strategy, count)
        return Plan(project_id, project.slug, settings, live, prompts, missing, protocol.id, segments)

    def _next_prompts(
        self, db: Session, project_id: int, model_id: int, strategy: Strategy, count: int
    ) -> list[Wanted]:
        written = (
            select(Trajectory.prompt_id, func.count(Trajectory.id).label("texts"))
            .where(Trajectory.project_id == project_id, Trajectory.model_id == model_id)
            .group_by(Trajectory.prompt_id)
            .subquery()
        )
        texts: dict[int, int] = dict(
            iter(
                db.execute(
                    select(Prompt.id, func.coalesce(written.c.texts, 0))
                    .outerjoin(written, written.c.prompt_id == Prompt.id)
                    .where(
                        Prompt.project_id == project_id,
                        Prompt.archived_at.is_(None),
                        Prompt.split.in_(("train", "validation")),
                    )
                )
            )
        )
        tasks, labels = _tasks(db, project_id, model_id), _labels(db, project_id) if strategy.needs_labels else {}

        def turn(prompt_id: int) -> tuple[int, str, int]:
            pool = Pool(prompt_id, tasks=tasks.get(prompt_id, 0), labels=labels.get(prompt_id, 0))
            return strategy.turn(pool) + self.fruitless[model_id, prompt_id], _scatter(prompt_id), prompt_id

        chosen = {
            prompt_id: seed_of(model_id, prompt_id, texts[prompt_id] + self.fruitless[model_id, prompt_id])
            for prompt_id in sorted(texts, key=turn)[:count]
        }
        messages = dict(iter(db.execute(select(Prompt.id, Prompt.messages).where(Prompt.id.in_(chosen)))))
        return [Wanted(prompt_id, messages[prompt_id], seed) for prompt_id, seed in chosen.items()]

    def _ask(self, plan: Plan) -> list[tuple[Wanted, Answer]]:
        def one(wanted: Wanted) -> tuple[Wanted, Answer] | None:
            try:
                return wanted, self.client.chat(
                    plan.slug,
                    wanted.messages,
                    sampling=plan.settings.sampling,
                    n=plan.completions,
                    seed=wanted.seed,
                    logprobs=True,
                )
            except Unavailable:
                raise
            except AppError as error:
                self.fruitless[plan.live.model_id, wanted.prompt_id] += 1
                log.warning("prompt refused", extra={"action": "sample", "prompt": wanted.prompt_id, "why": str(error)})
                return None

        with ThreadPoolExecutor(TOGETHER) as threads:
            return [found for found in threads.map(one, plan.wanted) if found is not None]

    def _store(self, db: Session, plan: Plan, answers: Sequence[tuple[Wanted, Answer]]) -> int:
        """Trajectories, steps and tasks. What a policy wrote that is not live any more is left out."""
        live = registry.live(db, plan.project_id)
        made: list[list[Shown]] = []
        for wanted, answer in answers:
            if live is None or answer.deployment_id != live.deployment_id or answer.model_id != live.model_id:
                continue
            new = _store_completions(db, plan, wanted, answer)
            draw = random.Random(wanted.seed)  # noqa: S311  (repeatable on purpose)
            fresh = _unpaired(db, wanted.prompt_id, live.model_id)
            draw.shuffle(fresh)
            others = _others(db, wanted.prompt_id, live.model_id, draw) if plan.strategy.needs_others else []
            pool = Pool(wanted.prompt_id, fresh, others)
            found = [(wanted.prompt_id, group) for group in plan.strategy.groups(pool, plan.segments)]
            if not new or not found:
                self.fruitless[live.model_id, wanted.prompt_id] += 1
            made.append(found)
        turns = [shown for turn in _turns(made) for shown in turn]
        if live is not None:
            _make_tasks(db, plan, live.deployment_id, turns)
        return len(turns)


def _fill_without_answers(db: Session, plan: Plan) -> int:
    """Tasks of a form that shows no answer: each prompt once for each version of the protocol."""
    asked = exists().where(Task.prompt_id == Prompt.id, Task.protocol_id == plan.protocol_id)
    waiting = select(func.count(Task.id)).where(
        Task.project_id == plan.project_id, Task.protocol_id == plan.protocol_id, Task.state == "open"
    )
    prompts = db.scalars(
        select(Prompt.id)
        .where(
            Prompt.project_id == plan.project_id,
            Prompt.archived_at.is_(None),
            Prompt.split.in_(("train", "validation")),
            ~asked,
        )
        .order_by(Prompt.id)
        .limit(max(plan.settings.pool.open_tasks - db.scalars(waiting).one(), 0))
    ).all()
    _make_tasks(db, plan, None, [(prompt_id, ()) for prompt_id in prompts])
    return len(prompts)


def open_tasks(db: Session, project_id: int, model_id: int) -> tuple[int, int]:
    """Tasks that wait for answers: on completions of this policy (under any of its deployments), and of others."""
    of_this = DeploymentPolicy.model_id == model_id
    ours, others = db.execute(
        select(func.count(Task.id).filter(of_this), func.count(Task.id).filter(~of_this))
        .select_from(Task)
        .join(DeploymentPolicy, DeploymentPolicy.deployment_id == Task.deployment_id)
        .where(Task.project_id == project_id, Task.state == "open")
    ).one()
    return ours, others


def seed_of(model_id: int, prompt_id: int, number: int) -> int:
    """31 bits that depend on nothing but their arguments, so that a pool can be made again."""
    digest = hashlib.sha256(f"{model_id}:{prompt_id}:{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def _scatter(prompt_id: int) -> str:
    """A fixed order that mixes prompts of different sources and splits."""
    return hashlib.sha256(str(prompt_id).encode()).hexdigest()


def _training(db: Session, project_id: int) -> bool:
    """While a round works, the pool is refilled only when half empty: the model has better things to do."""
    active = select(Round.id).where(Round.project_id == project_id, Round.state == "running")
    return db.scalar(active.limit(1)) is not None


def _store_completions(db: Session, plan: Plan, wanted: Wanted, answer: Answer) -> int:
    stored = 0
    sampling = plan.settings.sampling.model_dump() | {"n": len(answer.completions)}
    for index, completion in enumerate(answer.completions):
        if not completion.text.strip():
            continue
        trajectory_id = db.scalar(
            insert(Trajectory)
            .values(
                project_id=plan.project_id,
                prompt_id=wanted.prompt_id,
                author_kind="model",
                model_id=answer.model_id,
                deployment_id=answer.deployment_id,
                sampling=sampling | {"index": index},
                seed=wanted.seed,
                content_hash=text_hash(completion.text),
            )
            .on_conflict_do_nothing(index_elements=["prompt_id", "model_id", "user_id", "source", "content_hash"])
            .returning(Trajectory.id)
        )
        if trajectory_id is None:
            continue
        stored += 1
        db.add(
            Step(
                trajectory_id=trajectory_id,
                position=0,
                actor="agent",
                content=completion.text,
                model_id=answer.model_id,
                deployment_id=answer.deployment_id,
                token_ids=completion.token_ids,
                logprobs=completion.logprobs,
                finish_reason=completion.finish_reason,
            )
        )
    db.flush()
    return stored


def _unpaired(db: Session, prompt_id: int, model_id: int) -> list[int]:
    """Completions of one policy for one prompt that stand in no task yet."""
    used = exists().where(TaskSegment.trajectory_id == Trajectory.id)
    return list(
        db.scalars(
            select(Trajectory.id)
            .where(Trajectory.prompt_id == prompt_id, Trajectory.model_id == model_id, ~used)
            .order_by(Trajectory.id)
        )
    )


def _others(db: Session, prompt_id: int, model_id: int, draw: random.Random) -> list[int]:
    """Completions of other versions for one prompt: first those that never stood beside this one, the newest first."""
    mine, beside = aliased(Trajectory), aliased(TaskSegment)
    met = (
        select(TaskSegment.task_id)
        .join(beside, beside.task_id == TaskSegment.task_id)
        .join(mine, mine.id == beside.trajectory_id)
        .where(TaskSegment.trajectory_id == Trajectory.id, mine.model_id == model_id)
        .exists()
    )
    rows = list(
        db.execute(
            select(met, Model.version, Trajectory.id)
            .join(Model, Model.id == Trajectory.model_id)
            .where(
                Trajectory.prompt_id == prompt_id,
                Trajectory.model_id != model_id,
                Model.role == "policy",
                ~exists().where(Step.trajectory_id == Trajectory.id, Step.position > 0),  # a talk is no answer to it
            )
            .order_by(Trajectory.id)
        )
    )
    draw.shuffle(rows)
    rows.sort(key=lambda row: (row[0], -row[1]))
    return [row[2] for row in rows]


def _tasks(db: Session, project_id: int, model_id: int) -> dict[int, int]:
    """Tasks of this policy by prompt."""
    rows = db.execute(
        select(Task.prompt_id, func.count(Task.id))
        .join(DeploymentPolicy, DeploymentPolicy.deployment_id == Task.deployment_id)
        .where(Task.project_id == project_id, DeploymentPolicy.model_id == model_id)
        .group_by(Task.prompt_id)
    )
    return dict(iter(rows))


def _labels(db: Session, project_id: int) -> dict[int, int]:
    """Answers to ordinary tasks by prompt, those included that open tasks still wait for."""
    wanted = func.greatest(Task.answers, case((Task.state == "open", Task.answers_needed), else_=0))
    rows = db.execute(
        select(Task.prompt_id, func.sum(wanted))
        .where(Task.project_id == project_id, is_ordinary())
        .group_by(Task.prompt_id)
    )
    return dict(iter(rows))


def _turns(made: list[list[Shown]]) -> list[list[Shown]]:
    """Each prompt's first task, then each one's second …, so that people do not meet one prompt twice in a row."""
    longest = max((len(found) for found in made), default=0)
    return [[found[turn] for found in made if turn < len(found)] for turn in range(longest)]


def _make_tasks(db: Session, plan: Plan, deployment_id: int | None, shown: Sequence[Shown]) -> None:
    marked = marked_among(db, [prompt_id for prompt_id, _ in shown])
    tasks = [
        Task(
            project_id=plan.project_id,
            prompt_id=prompt_id,
            protocol_id=plan.protocol_id,
            strategy=plan.strategy.name,
            deployment_id=deployment_id,
            answers_needed=plan.settings.pool.answers_per_task,
            sensitive=prompt_id in marked,
        )
        for prompt_id, _ in shown
    ]
    db.add_all(tasks)
    db.flush()
    for task, (_, group) in zip(tasks, shown, strict=True):
        db.add_all(
            TaskSegment(task_id=task.id, position=position, trajectory_id=trajectory_id)
            for position, trajectory_id in enumerate(group)
        )
    db.flush()
