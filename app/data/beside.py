"""What a native export holds beside preferences: ratings, demonstrations, tasks that were skipped or reported."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, func, literal, select
from sqlalchemy.orm import Session, aliased

from app.core.records import (
    Assignment,
    Criterion,
    Demonstration,
    Guideline,
    Prompt,
    Protocol,
    Rating,
    Step,
    Task,
)
from app.data.counts import without_label
from app.data.forms import ExportOptions

Rows = Sequence[Row[*tuple[Any, ...]]]


@dataclass(frozen=True)
class Beside:
    """Ids, oldest first; `ended` are assignments without a label."""

    ratings: list[int] = field(default_factory=list)
    demonstrations: list[int] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)


def beside_of(db: Session, project_id: int, options: ExportOptions) -> Beside:
    """All of a project that these options keep; nothing for shapes that only have pairs."""
    if not options.native:
        return Beside()
    found: list[list[int]] = []
    for kind in (Rating, Demonstration):
        query = select(kind.id).where(kind.project_id == project_id).order_by(kind.id)
        if options.late == "drop":
            query = query.join(Assignment, Assignment.id == kind.assignment_id).where(~Assignment.late)
        found.append(list(db.scalars(query)))
    ended = db.scalars(select(Assignment.id).where(without_label(project_id, options)).order_by(Assignment.id))
    return Beside(found[0], found[1], list(ended))


AROUND = (
    Assignment.idempotency_key.label("assignment_key"),
    Assignment.project_id,
    Assignment.user_id,
    Assignment.display_order,
    Assignment.reason,
    Assignment.late,
    Assignment.input_method,
    Assignment.active_ms,
    Assignment.seen_to_end,
    Assignment.served_at,
    Task.id.label("task_id"),
    Task.strategy,
    Task.gold,
    Task.external_id.label("comparison_id"),
    Task.extra.label("comparison_metadata"),
    Task.repeat_of,
    Prompt.split,
    Prompt.external_id,
    Prompt.content_hash,
    Prompt.source,
    Prompt.extra,
    Prompt.sensitive,
    Prompt.messages,
    Protocol.version.label("protocol_version"),
    Guideline.version.label("guideline_version"),
)
"""What surrounds an answer, whatever it was."""


def with_surroundings(query: Any) -> Any:
    """A query that has Assignment, joined with everything that AROUND names."""
    return (
        query.join(Task, Task.id == Assignment.task_id)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .join(Protocol, Protocol.id == Task.protocol_id)
        .outerjoin(Guideline, Guideline.id == Assignment.guideline_id)
    )


def revision(kind: Any, older: Any) -> tuple[Any, ...]:
    """What every kind of feedback has: which row it is, under which key, and which older one it supersedes."""
    return (
        kind.id,
        kind.idempotency_key.label("key"),
        older.id.label("older_id"),
        older.idempotency_key.label("older_key"),
        kind.withdrawn,
        kind.field,
        kind.created_at,
    )


def rating_rows(db: Session, ids: Sequence[int]) -> Rows:
    """Ratings, notes and marks."""
    older = aliased(Rating)
    query = (
        select(
            literal("rated").label("outcome"),
            *revision(Rating, older),
            Criterion.key.label("criterion"),
            Criterion.scale,
            Rating.position,
            Rating.value,
            Rating.span_start,
            Rating.span_end,
            Rating.text,
            *AROUND,
        )
        .join(Criterion, Criterion.id == Rating.criterion_id)
        .join(Assignment, Assignment.id == Rating.assignment_id)
        .outerjoin(older, older.id == Rating.supersedes_id)
        .where(Rating.id.in_(ids))
        .order_by(Rating.id)
    )
    return db.execute(with_surroundings(query)).all()


def demonstration_rows(db: Session, ids: Sequence[int]) -> Rows:
    """What people wrote themselves: the last step, in a talk after all that was said before."""
    any_step = aliased(Step)
    last = (
        select(func.max(any_step.position))
        .where(any_step.trajectory_id == Demonstration.trajectory_id)
        .correlate(Demonstration)
        .scalar_subquery()
    )
    older = aliased(Demonstration)
    query = (
        select(
            literal("demonstrated").label("outcome"),
            *revision(Demonstration, older),
            Step.content.label("text"),
            Demonstration.edited_from_id,
            *AROUND,
        )
        .join(Step, Step.trajectory_id == Demonstration.trajectory_id)
        .join(Assignment, Assignment.id == Demonstration.assignment_id)
        .outerjoin(older, older.id == Demonstration.supersedes_id)
        .where(Demonstration.id.in_(ids), Step.position == last)
        .order_by(Demonstration.id)
    )
    return db.execute(with_surroundings(query)).all()


def ended_rows(db: Session, ids: Sequence[int]) -> Rows:
    """Skipped and reported tasks."""
    query = (
        select(Assignment.id, Assignment.outcome, Assignment.submitted_at.label("created_at"), *AROUND)
        .where(Assignment.id.in_(ids))
        .order_by(Assignment.id)
    )
    return db.execute(with_surroundings(query)).all()
