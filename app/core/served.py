"""A task as one person sees it: texts in the order shown, and nothing that says who wrote them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session

from app.core.forms import Field, is_alone, lead_of, names_of, parse_protocol
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
_SERVED = (
    select(Prompt.messages, Prompt.sensitive, Protocol.fields, Guideline.version, _PARTS)
    .select_from(Task)
    .join(Prompt, Prompt.id == Task.prompt_id)
    .join(Protocol, Protocol.id == Task.protocol_id)
    .outerjoin(Guideline, Guideline.id == bindparam("guideline"))
    .where(Task.id == bindparam("task"))
)


def served(db: Session, assignment: Assignment) -> Served:
    """The task of an assignment, in its display order."""
    which = {"task": assignment.task_id, "guideline": assignment.guideline_id}
    messages, sensitive, fields, version, parts = db.execute(_SERVED, which).one()
    texts = _joined(parts or [])
    return Served(
        key=assignment.idempotency_key,
        token=assignment.lease_token,
        messages=messages,
        answers=[texts[position] for position in assignment.display_order],
        fields=parse_protocol(fields),
        guideline_version=version,
        lease_until=assignment.lease_until,
        sensitive=is_sensitive(db.get_one(Project, assignment.project_id), sensitive),
    )


def texts_of(db: Session, task_id: int) -> dict[int, str]:
    """The texts of a task's segments by position."""
    return _joined(db.scalar(select(_PARTS).where(Task.id == task_id)) or [])


def _joined(parts: Iterable[Sequence[Any]]) -> dict[int, str]:
    texts: dict[int, str] = {}
    for position, content in parts:
        texts[position] = f"{texts[position]}\n\n{content}" if position in texts else content
    return texts
