"""What people wrote and rewrote, as a run sees it: what of it holds now, and each text with what was said before."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import ARRAY, BigInteger, ColumnElement, Select, String, any_, cast, func, literal, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session, aliased

from app.core.context import ROLES, told
from app.core.records import SPLITS, Assignment, Demonstration, Prompt, Snapshot, Step, Task, Trajectory
from app.core.records.base import Json

CHUNK = 500
"""Rows whose texts are in memory at once."""


@dataclass(frozen=True)
class Written:
    """An answer of a person's own, or one that they made better, and what it answers."""

    demonstration_id: int
    prompt_id: int
    split: str
    messages: list[Json]
    """Everything before it: the prompt, and in a talk its turns so far."""
    text: str
    edited: bool
    """It is a rewritten answer."""
    user_id: int


def holds() -> ColumnElement[bool]:
    """True for demonstrations that hold now: not withdrawn, and no other row supersedes them."""
    newer = aliased(Demonstration)
    return ~Demonstration.withdrawn & ~select(newer.id).where(newer.supersedes_id == Demonstration.id).exists()


def matching_demonstrations(
    project_id: int, *, late: bool = True, gold: bool = False, repeats: bool = False, history: bool = False
) -> Select[int]:
    """The ids of a project's demonstrations, oldest first; the filters are those of SnapshotFilter."""
    query = (
        select(Demonstration.id)
        .join(Assignment, Assignment.id == Demonstration.assignment_id)
        .join(Task, Task.id == Assignment.task_id)
        .where(Demonstration.project_id == project_id)
        .order_by(Demonstration.id)
    )
    if not history:
        query = query.where(holds())
    if not late:
        query = query.where(~Assignment.late)
    if not gold:
        query = query.where(Task.gold.is_(None))
    return query if repeats else query.where(Task.repeat_of.is_(None))


def demonstration_counts(db: Session, project_id: int) -> dict[str, int]:
    """Demonstrations by split: what a round started now would imitate."""
    return split_counts(db, list(db.scalars(matching_demonstrations(project_id))))


def split_counts(db: Session, ids: Sequence[int]) -> dict[str, int]:
    """These demonstrations by split, without those that take another one back."""
    query = (
        select(Prompt.split, func.count(Demonstration.id))
        .join(Trajectory, Trajectory.id == Demonstration.trajectory_id)
        .join(Prompt, Prompt.id == Trajectory.prompt_id)
        .where(_among(ids), ~Demonstration.withdrawn)
        .group_by(Prompt.split)
    )
    return dict.fromkeys(SPLITS, 0) | dict(iter(db.execute(query)))


def demonstrations_of(db: Session, snapshot_id: int) -> Iterator[Written]:
    """The snapshot's demonstrations in the order they were written, 500 in memory at a time."""
    ids = db.scalars(select(Snapshot.demonstration_ids).where(Snapshot.id == snapshot_id)).one()
    for start in range(0, len(ids), CHUNK):
        rows = db.execute(
            select(
                Demonstration.id,
                Demonstration.trajectory_id,
                Demonstration.edited_from_id,
                Demonstration.user_id,
                Prompt.id.label("prompt_id"),
                Prompt.split,
                Prompt.messages,
            )
            .join(Trajectory, Trajectory.id == Demonstration.trajectory_id)
            .join(Prompt, Prompt.id == Trajectory.prompt_id)
            .where(_among(ids[start : start + CHUNK]), ~Demonstration.withdrawn)
            .order_by(Demonstration.id)
        ).all()
        steps = _steps(db, [row.trajectory_id for row in rows])
        for row in rows:
            *earlier, last = steps[row.trajectory_id]
            yield Written(
                demonstration_id=row.id,
                prompt_id=row.prompt_id,
                split=row.split,
                messages=told(row.messages, earlier),
                text=last["content"],
                edited=row.edited_from_id is not None,
                user_id=row.user_id,
            )


def demonstration_lines(db: Session, ids: Sequence[int]) -> Iterator[str]:
    """One line per demonstration for a snapshot's hash: its lasting identity and hashes of all that was said."""
    text_hash = func.encode(func.sha256(func.convert_to(Step.content, "UTF8")), "hex")
    said = (
        select(func.string_agg(text_hash, aggregate_order_by(literal(" "), Step.position)))
        .where(Step.trajectory_id == Demonstration.trajectory_id)
        .scalar_subquery()
    )
    query = (
        select(
            literal("demonstration"),
            Assignment.idempotency_key,
            Demonstration.field,
            cast(Demonstration.withdrawn, String),
            Prompt.content_hash,
            Prompt.split,
            said,
        )
        .join(Assignment, Assignment.id == Demonstration.assignment_id)
        .join(Trajectory, Trajectory.id == Demonstration.trajectory_id)
        .join(Prompt, Prompt.id == Trajectory.prompt_id)
        .where(_among(ids))
        .order_by(Assignment.idempotency_key, Demonstration.field, Demonstration.id)
        .execution_options(yield_per=CHUNK)
    )
    for row in db.execute(query):
        yield "\t".join(map(str, row)) + "\n"


def _steps(db: Session, trajectory_ids: Sequence[int]) -> dict[int, list[Json]]:
    rows = db.execute(
        select(Step.trajectory_id, Step.actor, Step.content)
        .where(Step.trajectory_id.in_(set(trajectory_ids)))
        .order_by(Step.trajectory_id, Step.position)
    )
    found: dict[int, list[Json]] = {}
    for trajectory_id, actor, content in rows:
        found.setdefault(trajectory_id, []).append({"role": ROLES[actor], "content": content})
    return found


def _among(ids: Sequence[int]) -> ColumnElement[bool]:
    return Demonstration.id == any_(cast(list(ids), ARRAY(BigInteger)))
