"""What people answered, as it stands in the tables: storing it, reading it back, taking it back.

Feedback is append-only: nothing here changes or deletes a preference; a withdrawal is a new row that supersedes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from app.core.forms import Draft, Field, PreferenceDraft, parse_protocol, sentence_of
from app.core.records import Assignment, Preference, Project, Protocol, Task, User

Act = Literal["answered", "skipped", "reported"]


@dataclass(frozen=True)
class Outcome:
    """What was stored for a key. `replayed`: it had been stored before, and this request changed nothing."""

    kind: Act
    sentence: str
    late: bool = False
    replayed: bool = False


def acts(db: Session, project: Project, user: User, *, limit: int = 50) -> list[tuple[Assignment, Outcome]]:
    """The person's newest acts in a project, newest first, as they stand now."""
    rows = db.scalars(
        select(Assignment)
        .where(Assignment.user_id == user.id, Assignment.project_id == project.id, Assignment.submitted_at.is_not(None))
        .order_by(Assignment.submitted_at.desc(), Assignment.id.desc())
        .limit(limit)
    )
    return [(assignment, stored(db, assignment)) for assignment in rows]


def preference(assignment: Assignment, draft: Draft, key: UUID | None) -> Preference:
    """A draft as a row: slots become positions."""
    order = assignment.display_order
    return Preference(
        project_id=assignment.project_id,
        task_id=assignment.task_id,
        assignment_id=assignment.id,
        user_id=assignment.user_id,
        field=draft.field,
        outcome=draft.outcome,
        tiers=[sorted(order[slot] for slot in tier) for tier in draft.tiers],
        strength=draft.strength,
        note=draft.note,
        idempotency_key=key,
    )


def current(db: Session, assignment: Assignment) -> list[Preference]:
    """The assignment's preferences that hold now."""
    newer = aliased(Preference)
    replaced = select(newer.id).where(newer.supersedes_id == Preference.id).exists()
    return list(
        db.scalars(
            select(Preference)
            .where(Preference.assignment_id == assignment.id, ~Preference.withdrawn, ~replaced)
            .order_by(Preference.id)
        )
    )


def stored(db: Session, assignment: Assignment) -> Outcome:
    """What an assignment holds now, as an outcome of a request that changed nothing."""
    if assignment.outcome == "answered":
        task = db.get_one(Task, assignment.task_id)
        said = " ".join(_sentence(fields_of(db, task), assignment, row) for row in current(db, assignment))
        return Outcome("answered", said, late=assignment.late, replayed=True)
    if assignment.outcome == "skipped":
        return Outcome("skipped", "Skipped", late=assignment.late, replayed=True)
    return Outcome("reported", "Reported", late=assignment.late, replayed=True)


def taken_back(db: Session, user: User, key: UUID) -> Outcome | None:
    """The first result of a key whose answer was undone since: the task has a new key, the old one is spent."""
    row = db.scalar(select(Preference).where(Preference.idempotency_key == key, Preference.user_id == user.id))
    if row is None:
        return None
    assignment = db.get_one(Assignment, row.assignment_id)
    if assignment.idempotency_key == key:
        return None
    fields = fields_of(db, db.get_one(Task, row.task_id))
    return Outcome("answered", _sentence(fields, assignment, row), replayed=True)


def _sentence(fields: Sequence[Field], assignment: Assignment, row: Preference) -> str:
    slot = {position: slot for slot, position in enumerate(assignment.display_order)}
    tiers = [[slot[position] for position in tier] for tier in row.tiers]
    outcome: Any = row.outcome
    return sentence_of(fields, PreferenceDraft(row.field, outcome, tiers, row.strength, row.note))


def fields_of(db: Session, task: Task) -> list[Field]:
    """The fields of a task's protocol."""
    return parse_protocol(db.scalar(select(Protocol.fields).where(Protocol.id == task.protocol_id)))


def withdraw(db: Session, assignment: Assignment) -> None:
    """Take back everything that the assignment's person said: one superseding row for each."""
    for row in current(db, assignment):
        db.add(
            Preference(
                project_id=row.project_id,
                task_id=row.task_id,
                assignment_id=row.assignment_id,
                user_id=row.user_id,
                field=row.field,
                outcome=row.outcome,
                tiers=row.tiers,
                strength=row.strength,
                note=row.note,
                supersedes_id=row.id,
                withdrawn=True,
            )
        )
