"""Rows for tests. Each function adds one thing with everything it needs, flushes, and returns it."""

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from uuid import uuid4

from argon2 import PasswordHasher
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import gold
from app.core.records import (
    Assignment,
    Demonstration,
    Deployment,
    DeploymentPolicy,
    Guideline,
    Membership,
    Model,
    Preference,
    Project,
    Prompt,
    Protocol,
    Step,
    Task,
    TaskSegment,
    Trajectory,
    User,
)
from app.core.records.base import Record

PASSWORD = "correct horse battery staple"
PROTOCOL = [
    {
        "type": "compare",
        "key": "overall",
        "question": "Which answer is better overall?",
        "tie": True,
        "both_bad": True,
    }
]
_number = itertools.count(1)


def digest(text: str) -> str:
    """A stand-in for content hashes."""
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def password_hash(password: str) -> str:
    """argon2id with the smallest cost, so that tests do not wait for it."""
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(password)


def _add(db: Session, row: Record) -> None:
    db.add(row)
    db.flush()


def make_user(
    db: Session, *, email: str | None = None, name: str = "Kim Doe", password: str = PASSWORD, owner: bool = False
) -> User:
    """A person who can sign in with `password`."""
    user = User(
        email=email or f"user{next(_number)}@example.org",
        name=name,
        password_hash=password_hash(password),
        owner=owner,
        preferences={},
    )
    _add(db, user)
    return user


def make_project(
    db: Session,
    *,
    slug: str | None = None,
    name: str = "Kitchen table",
    members: Mapping[User, str] | None = None,
    guidelines: str = "Prefer the answer that helps.",
    fields: Sequence[Mapping[str, Any]] = PROTOCOL,
    **settings: Any,
) -> Project:
    """A project with protocol 1 (`fields`), guidelines 1, members by role. `settings` are parts of ProjectSettings."""
    project = Project(slug=slug or f"project-{next(_number)}", name=name, settings=settings)
    _add(db, project)
    db.add(Guideline(project_id=project.id, version=1, text=guidelines))
    db.add(Protocol(project_id=project.id, version=1, fields=list(fields)))
    for user, role in (members or {}).items():
        db.add(Membership(project_id=project.id, user_id=user.id, role=role))
    db.flush()
    return project


def add_member(db: Session, project: Project, user: User, role: str = "annotator") -> None:
    """Give a person a role in a project."""
    _add(db, Membership(project_id=project.id, user_id=user.id, role=role))


def make_prompt(
    db: Session, project: Project, text: str | None = None, *, split: str = "train", sensitive: bool = False
) -> Prompt:
    """A prompt of one user message."""
    text = text or f"Explain thing number {next(_number)}."
    prompt = Prompt(
        project_id=project.id,
        messages=[{"role": "user", "content": text}],
        content_hash=digest(text),
        split=split,
        extra={},
        sensitive=sensitive,
    )
    _add(db, prompt)
    return prompt


def make_policy(db: Session, project: Project, *, version: int = 0, live: bool = True) -> tuple[Model, Deployment]:
    """A policy model and a deployment of it (the live one unless told otherwise)."""
    model = Model(project_id=project.id, role="policy", version=version, base_model="tiny")
    deployment = Deployment(project_id=project.id, state="live" if live else "retired")
    db.add_all([model, deployment])
    db.flush()
    _add(db, DeploymentPolicy(deployment_id=deployment.id, model_id=model.id, weight=1.0))
    return model, deployment


def make_completion(
    db: Session,
    prompt: Prompt,
    text: str,
    *,
    model: Model | None = None,
    deployment: Deployment | None = None,
    user: User | None = None,
) -> Trajectory:
    """A one-step trajectory with this text, by a model, by a person, or by somebody outside."""
    trajectory = Trajectory(
        project_id=prompt.project_id,
        prompt_id=prompt.id,
        author_kind="model" if model else "user" if user else "source",
        source=None if model or user else "factory",
        user_id=user.id if user else None,
        model_id=model.id if model else None,
        deployment_id=deployment.id if deployment else None,
        sampling={},
        content_hash=digest(f"{text}:{next(_number)}"),
    )
    _add(db, trajectory)
    step = Step(
        trajectory_id=trajectory.id,
        position=0,
        actor="agent",
        content=text,
        model_id=trajectory.model_id,
        deployment_id=trajectory.deployment_id,
        finish_reason="stop",
    )
    _add(db, step)
    return trajectory


def make_task(
    db: Session,
    prompt: Prompt,
    completions: Sequence[Trajectory] | None = None,
    *,
    deployment: Deployment | None = None,
    answers_needed: int = 1,
    priority: int = 0,
    people: Sequence[User] = (),
) -> Task:
    """An open comparison of two completions; with `people` for these alone."""
    if completions is None:
        completions = [make_completion(db, prompt, "The first answer."), make_completion(db, prompt, "Another one.")]
    protocol = db.query(Protocol).filter_by(project_id=prompt.project_id, version=1).one()
    task = Task(
        project_id=prompt.project_id,
        prompt_id=prompt.id,
        protocol_id=protocol.id,
        deployment_id=deployment.id if deployment else None,
        answers_needed=answers_needed,
        priority=priority,
        assignees=[user.id for user in people] or None,
        sensitive=prompt.sensitive,
    )
    _add(db, task)
    for position, completion in enumerate(completions):
        db.add(TaskSegment(task_id=task.id, position=position, trajectory_id=completion.id))
    db.flush()
    return task


def make_gold(
    db: Session, project: Project, by: User, completions: Sequence[Trajectory] | None = None, *, choice: str = "a"
) -> Task:
    """A comparison whose right answer is known: `a` is the segment at position 0."""
    prompt = make_prompt(db, project) if not completions else db.get_one(Prompt, completions[0].prompt_id)
    return gold.make_gold(db, make_task(db, prompt, completions).id, {"choice": choice}, by)


def make_assignment(db: Session, task: Task, user: User, *, outcome: str | None = None) -> Assignment:
    """A served task; with an outcome also a submitted one."""
    now = datetime.now(UTC)
    assignment = Assignment(
        task_id=task.id,
        project_id=task.project_id,
        user_id=user.id,
        lease_token=uuid4(),
        lease_until=now + timedelta(minutes=30),
        display_order=list(
            db.scalars(
                select(TaskSegment.position).where(TaskSegment.task_id == task.id).order_by(TaskSegment.position)
            )
        ),
        idempotency_key=uuid4(),
        outcome=outcome,
        submitted_at=now if outcome else None,
    )
    _add(db, assignment)
    return assignment


def make_preference(
    db: Session, task: Task, user: User, *, outcome: str = "prefer", tiers: list[list[int]] | None = None
) -> Preference:
    """An answered comparison: the first over the second unless told otherwise. The task counts it."""
    assignment = make_assignment(db, task, user, outcome="answered")
    preference = Preference(
        project_id=task.project_id,
        task_id=task.id,
        assignment_id=assignment.id,
        user_id=user.id,
        field="overall",
        outcome=outcome,
        tiers=tiers or ([[0], [1]] if outcome == "prefer" else [[0, 1]]),
        idempotency_key=assignment.idempotency_key,
    )
    task.answers = (task.answers or 0) + 1
    if task.answers >= task.answers_needed:
        task.state = "done"
    _add(db, preference)
    return preference


def make_demonstration(
    db: Session, prompt: Prompt, user: User, text: str, *, edited_from: Trajectory | None = None
) -> Demonstration:
    """An answer that a person wrote (or made out of another) to a task of its own."""
    task = make_task(db, prompt, [edited_from] if edited_from else [])
    assignment = make_assignment(db, task, user, outcome="answered")
    task.state = "done"
    row = Demonstration(
        project_id=prompt.project_id,
        assignment_id=assignment.id,
        user_id=user.id,
        field="own",
        trajectory_id=make_completion(db, prompt, text, user=user).id,
        edited_from_id=edited_from.id if edited_from else None,
        idempotency_key=assignment.idempotency_key,
    )
    _add(db, row)
    return row
