"""Changing an answer later: the same task with the same sides again, and rows that supersede the old ones.

An edit is not one more answer. It leaves the task's counters, its state and every lease alone, so it works for a task
that is long done; snapshots taken before keep the old rows, those taken later see the new ones.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.answers import (
    Beside,
    Feedback,
    Outcome,
    current,
    drafts_of,
    fields_of,
    marker,
    rows_of,
    sentence_for,
    spent,
)
from app.core.errors import Conflict, InvalidInput, NotFound, Problem
from app.core.forms import Converse, filled, lead_of, parse_answers, sentence_of
from app.core.queue import locked
from app.core.records import Assignment, Project, Rating, Task, User
from app.core.served import Served, served
from app.core.words import gettext


@dataclass(frozen=True)
class Reopened:
    """An answered task as it was shown then, and what was said about it."""

    task: Served
    """`key` is fresh: it is the edit's own. `token` names the answer that the edit replaces."""
    sentence: str
    inputs: dict[str, str]
    """What the form would have sent for the answer that holds now (app.core.forms.filled)."""


def reopen(db: Session, project: Project, user: User, key: UUID) -> Reopened:
    """Show an answer of one's own again; changes nothing and leases nothing. `key` is that of the answered task.

    Raises NotFound for anybody else's, Conflict for a task that holds no answer (skipped, reported, taken back).
    """
    assignment = db.scalar(
        select(Assignment).where(
            Assignment.idempotency_key == key, Assignment.user_id == user.id, Assignment.project_id == project.id
        )
    )
    if assignment is None:
        raise NotFound(gettext("This answer is not yours, or it was taken back."))
    _must_be_answered(db, assignment)
    task = served(db, assignment)
    rows = current(db, assignment)
    drafts = drafts_of(assignment, rows, Beside(db, rows))
    return Reopened(
        task=replace(task, key=uuid4(), token=key),
        sentence=sentence_of(task.fields, drafts),
        inputs=filled(task.fields, drafts),
    )


def edit(db: Session, user: User, key: UUID, of: UUID, answers: Mapping[str, Any]) -> Outcome:
    """Replace the answer `of` (the key of its task) by new ones, under a fresh `key`; the same key again is one edit.

    Raises NotFound, Conflict, and InvalidInput for an answer that does not fit the form.
    """
    before = _earlier(db, user, key)
    if before is not None:
        return before
    _, assignment = locked(db, user, of)
    before = _earlier(db, user, key)  # a repeat that waited for the lock
    if before is not None:
        return before
    _must_be_answered(db, assignment)
    if db.scalar(select(Assignment.id).where(Assignment.idempotency_key == key)) is not None:
        raise InvalidInput([Problem("key", gettext("This is the key of a task, not of a change."))])
    task = served(db, assignment)
    drafts = parse_answers(task.fields, answers, task.answers)
    old = {_place(row): row for row in current(db, assignment)}
    for row in rows_of(db, assignment, task.fields, drafts, key):
        replaced = old.pop(_place(row), None)
        row.supersedes_id = replaced.id if replaced else None
        db.add(row)
    db.add_all(marker(row) for row in old.values())  # what the new answer no longer says
    db.flush()
    return Outcome("answered", sentence_of(task.fields, drafts), late=assignment.late)


def _place(row: Feedback) -> Hashable:
    """What a row speaks of: a new one about the same replaces it."""
    if isinstance(row, Rating):
        return (Rating, row.field, row.criterion_id, row.position, row.span_start, row.span_end)
    return (type(row), row.field)


def _must_be_answered(db: Session, assignment: Assignment) -> None:
    if assignment.outcome != "answered":
        raise Conflict(gettext("This task holds no answer of yours that could be changed."))
    task = db.get_one(Task, assignment.task_id)
    if task.parent_id is not None or isinstance(lead_of(fields_of(db, task)), Converse):
        raise Conflict(gettext("A talk went on with this answer. Undo takes back its newest choice; older ones stay."))


def _earlier(db: Session, user: User, key: UUID) -> Outcome | None:
    """The result of an edit that was stored before, also when its answer was changed again or taken back since."""
    row = spent(db, user, key)
    if row is None or row.assignment_id is None:
        return None
    assignment = db.get_one(Assignment, row.assignment_id)
    fields = fields_of(db, db.get_one(Task, assignment.task_id))
    return Outcome("answered", sentence_for(db, fields, assignment, [row]), late=assignment.late, replayed=True)
