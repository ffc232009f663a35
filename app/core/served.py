"""A task as one person sees it: texts in the order shown, and nothing that says who wrote them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, Text, bindparam, cast, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session
from sqlalchemy.sql.selectable import FromClause

from app.core import lanes
from app.core.forms import Field, is_alone, lead_of, names_of, stored_protocol
from app.core.records import Assignment, Guideline, Project, Prompt, Protocol, Step, Task, TaskSegment
from app.core.records.base import Json
from app.core.sensitive import is_sensitive


@dataclass(frozen=True)
class Served:
    """What a page needs to show a task. Whether it is gold, a repeat or meant for this person is not among it."""

    key: UUID
    token: UUID
    messages: list[Json]
    """The prompt's turns, the last one from the user."""
    answers: list[str]
    """Texts by slot."""
    fields: list[Field]
    guideline_version: int | None
    lease_until: datetime | None = None
    """None where the task is only shown, not lent."""
    sensitive: bool = False
    """Its texts are hidden until the person asks for them, unless they chose otherwise."""

    @property
    def lead(self) -> Field:
        """The field of the dock or of the desk."""
        return lead_of(self.fields)

    @property
    def names(self) -> str:
        """What the answers are called, by slot."""
        return names_of(self.fields)

    @property
    def beside(self) -> bool:
        """Whether questions stand beside the answers."""
        return any(field.place == "panel" for field in self.fields) or bool(getattr(self.lead, "aspects", []))

    @property
    def alone(self) -> bool:
        """Whether the dock's own keys send it: there is nothing else to answer."""
        return is_alone(self.fields)


# The texts are one JSON array of [position, content], so that a task is one row.
_PARTS = (
    select(
        func.json_agg(
            aggregate_order_by(
                func.json_build_array(TaskSegment.position, Step.content), TaskSegment.position, Step.position
            )
        )
    )
    .join(Step, Step.trajectory_id == TaskSegment.trajectory_id)
    .where(TaskSegment.task_id == Task.id, Step.position.between(TaskSegment.first_step, TaskSegment.last_step))
    .correlate(Task)
    .scalar_subquery()
)


def _serving(lent: FromClause) -> Select[Any]:
    """Everything that a page shows of the rows of `lent`, which have the columns of assignments."""
    return (
        select(
            *(lent.c[name] for name in ("idempotency_key", "lease_token", "lease_until", "display_order")),
            Prompt.messages,
            Prompt.sensitive,
            cast(Protocol.fields, Text).label("fields"),
            Guideline.version,
            _PARTS.label("parts"),
        )
        .select_from(lent)
        .join(Task, Task.id == lent.c.task_id)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .join(Protocol, Protocol.id == Task.protocol_id)
        .outerjoin(Guideline, Guideline.id == lent.c.guideline_id)
    )


_ASSIGNMENTS = Assignment.__table__
_SERVED = _serving(_ASSIGNMENTS).where(_ASSIGNMENTS.c.id == bindparam("assignment"))
# The lease and what is shown of it are one statement: what others read of the task was committed long before.
_LENT = _serving(lanes.LEASE.columns(*_ASSIGNMENTS.c).cte("lent"))


def served(db: Session, assignment: Assignment) -> Served:
    """The task of an assignment, in its display order."""
    row = db.execute(_SERVED, {"assignment": assignment.id}).one()
    return _read(row, db.get_one(Project, assignment.project_id))


def lend(db: Session, project: Project, task_id: int, terms: dict[str, Any]) -> Served | None:
    """Lease a task of this project under these terms, and show it; None when its places went meanwhile."""
    row = db.execute(_LENT, {"task": task_id, **terms}).one_or_none()
    return _read(row, project) if row is not None else None


def _read(row: Row[Any], project: Project) -> Served:
    texts = _joined(row.parts or [])
    return Served(
        key=row.idempotency_key,
        token=row.lease_token,
        messages=row.messages,
        answers=[texts[position] for position in row.display_order],
        fields=list(stored_protocol(row.fields)),
        guideline_version=row.version,
        lease_until=row.lease_until,
        sensitive=is_sensitive(project, row.sensitive),
    )


def texts_of(db: Session, task_id: int) -> dict[int, str]:
    """The texts of a task's segments by position."""
    return _joined(db.scalar(select(_PARTS).where(Task.id == task_id)) or [])


def _joined(parts: Iterable[Sequence[Any]]) -> dict[int, str]:
    texts: dict[int, str] = {}
    for position, content in parts:
        texts[position] = f"{texts[position]}\n\n{content}" if position in texts else content
    return texts
