"""A task as one person sees it: texts in the order shown, and nothing that says who wrote them."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.forms import Field, is_alone, lead_of, names_of, parse_protocol
from app.core.records import Assignment, Guideline, Prompt, Protocol, Step, Task, TaskSegment
from app.core.records.base import Json


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


def served(db: Session, assignment: Assignment) -> Served:
    """The task of an assignment, in its display order."""
    prompt, protocol = db.execute(
        select(Prompt, Protocol)
        .join(Task, Task.prompt_id == Prompt.id)
        .join(Protocol, Protocol.id == Task.protocol_id)
        .where(Task.id == assignment.task_id)
    ).one()
    version = db.scalar(select(Guideline.version).where(Guideline.id == assignment.guideline_id))
    texts = texts_of(db, assignment.task_id)
    return Served(
        key=assignment.idempotency_key,
        token=assignment.lease_token,
        messages=prompt.messages,
        answers=[texts[position] for position in assignment.display_order],
        fields=parse_protocol(protocol.fields),
        guideline_version=version,
        lease_until=assignment.lease_until,
    )


def texts_of(db: Session, task_id: int) -> dict[int, str]:
    """The texts of a task's segments by position."""
    rows = db.execute(
        select(TaskSegment.position, Step.content)
        .join(Step, Step.trajectory_id == TaskSegment.trajectory_id)
        .where(TaskSegment.task_id == task_id, Step.position.between(TaskSegment.first_step, TaskSegment.last_step))
        .order_by(TaskSegment.position, Step.position)
    )
    texts: dict[int, str] = {}
    for position, content in rows:
        texts[position] = f"{texts[position]}\n\n{content}" if position in texts else content
    return texts
