"""The rows of a talk's turns: each is a task under the talk's, whose replies carry the whole talk before them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.core.records import Assignment, Step, Task, TaskSegment, Trajectory, User
from app.core.records.base import Json

COPIED = ("position", "actor", "content", "model_id", "deployment_id", "token_ids", "logprobs", "finish_reason")
Copied = dict[str, Any]
"""The columns of a step that a copy in another trajectory has as well."""


@dataclass(frozen=True)
class Reply:
    """One reply of a turn and what wrote it."""

    text: str
    model_id: int | None
    deployment_id: int | None
    seed: int
    index: int
    finish_reason: str | None = None
    token_ids: list[int] | None = None
    logprobs: list[float] | None = None


def steps_of(db: Session, trajectory_id: int, *, before: int | None = None) -> list[Copied]:
    """The steps of a trajectory in order; with `before`, those that stand before this position."""
    query = select(Step).where(Step.trajectory_id == trajectory_id).order_by(Step.position)
    if before is not None:
        query = query.where(Step.position < before)
    return [{name: getattr(step, name) for name in COPIED} for step in db.scalars(query)]


def steps_before(db: Session, turn_id: int) -> list[Copied]:
    """The talk as it stood when a turn's replies were written."""
    segment = db.scalars(select(TaskSegment).filter_by(task_id=turn_id, position=0)).one()
    return steps_of(db, segment.trajectory_id, before=segment.first_step)


def text_identity(turn: Task, text: str) -> str:
    """What tells a reply of a turn from the same words elsewhere: they are another reply there."""
    return hashlib.sha256(f"turn {turn.id}\n{text}".encode()).hexdigest()


def turns_of(db: Session, talk: Task, user_id: int) -> list[tuple[Task, Assignment]]:
    """A person's turns in a talk, oldest first, without those that an undo made void."""
    rows = db.execute(
        select(Task, Assignment)
        .join(Assignment, Assignment.task_id == Task.id)
        .where(Task.parent_id == talk.id, Assignment.user_id == user_id, Task.state != "withdrawn")
        .order_by(Task.id)
    )
    return [(task, assignment) for task, assignment in rows]


def drop_later(db: Session, turn: Task, user: User) -> None:
    """Void the turns of the same person after this one: they go on from a choice that does not hold any more."""
    theirs = select(Assignment.id).where(Assignment.task_id == Task.id, Assignment.user_id == user.id).exists()
    db.execute(
        update(Task).where(Task.parent_id == turn.parent_id, Task.id > turn.id, theirs).values(state="withdrawn"),
        execution_options={"synchronize_session": False},
    )


def add_reply(
    db: Session, turn: Task, position: int, reply: Reply, before: Sequence[Copied], *, sampling: Json
) -> None:
    """One reply of a turn: a trajectory of all that was said before and of the reply, which is what people judge."""
    trajectory = Trajectory(
        project_id=turn.project_id,
        prompt_id=turn.prompt_id,
        author_kind="model",
        model_id=reply.model_id,
        deployment_id=reply.deployment_id,
        sampling=sampling | {"index": reply.index},
        seed=reply.seed,
        content_hash=text_identity(turn, f"{position}\n{reply.text}"),
    )
    db.add(trajectory)
    db.flush()
    last = {
        "position": len(before),
        "actor": "agent",
        "content": reply.text,
        "model_id": reply.model_id,
        "deployment_id": reply.deployment_id,
        "token_ids": reply.token_ids,
        "logprobs": reply.logprobs,
        "finish_reason": reply.finish_reason,
    }
    db.add_all(Step(trajectory_id=trajectory.id, **step) for step in (*before, last))
    db.add(
        TaskSegment(
            task_id=turn.id,
            position=position,
            trajectory_id=trajectory.id,
            first_step=len(before),
            last_step=len(before),
        )
    )
