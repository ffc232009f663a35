"""Tasks with a known right answer: made, taken back, and how people did on them.

`tasks.gold` holds what a preference would: {"field": "overall", "outcome": "prefer", "tiers": [[1], [0]]}. Tiers hold
positions, never slots, so that it fits every order of sides. `outcome` and `field` may be left out. The strength is
never right or wrong. Only answers to tasks that were handed out as gold are judged: those before made it gold.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select, text
from sqlalchemy.orm import Session, aliased

from app.core.answers import fields_of
from app.core.errors import Conflict
from app.core.forms import Choose, Compare, Field, Rank
from app.core.forms.field import preference_of
from app.core.lanes import NO_KEY
from app.core.records import Assignment, Preference, Task, TaskSegment, User, record
from app.core.records.base import Json
from app.core.words import gettext

ORDERING = (Compare, Choose, Rank)
"""Field types whose answers can be right."""


def handed_out_as_gold() -> ColumnElement[bool]:
    """True for assignments whose task was gold when it was handed out."""
    known = func.coalesce(Task.gold_at, text("'-infinity'::timestamptz"))
    return Task.gold.is_not(None) & (Assignment.served_at >= known)


def right() -> ColumnElement[bool]:
    """True for preference rows that say what their task's gold says."""
    return (
        (Preference.tiers == Task.gold["tiers"])
        & or_(Task.gold["outcome"].is_(None), Task.gold["outcome"].astext == Preference.outcome)
        & or_(Task.gold["field"].is_(None), Task.gold["field"].astext == Preference.field)
    )


def answered_right() -> ColumnElement[bool]:
    """True for assignments with a right answer that still holds."""
    newer = aliased(Preference)
    replaced = select(newer.id).where(newer.supersedes_id == Preference.id).exists()
    return (
        select(Preference.id)
        .where(Preference.assignment_id == Assignment.id, ~Preference.withdrawn, ~replaced, right())
        .correlate(Assignment, Task)
        .exists()
    )


def marks(db: Session, project_id: int, first: int, user_id: int | None = None) -> dict[int, list[bool]]:
    """By person, their first gold tasks, oldest first: whether each was answered right. A skipped one was not."""
    place = func.row_number().over(partition_by=Assignment.user_id, order_by=(Assignment.submitted_at, Assignment.id))
    done = (
        select(Assignment.user_id, answered_right().label("right"), place.label("place"))
        .join(Task, Task.id == Assignment.task_id)
        .where(
            Assignment.project_id == project_id,
            Assignment.submitted_at.is_not(None),
            handed_out_as_gold(),
            *([] if user_id is None else [Assignment.user_id == user_id]),
        )
        .subquery()
    )
    found: dict[int, list[bool]] = {}
    for user, right_one in db.execute(
        select(done.c.user_id, done.c.right).where(done.c.place <= first).order_by(done.c.place)
    ):
        found.setdefault(user, []).append(right_one)
    return found


def gold_field(db: Session, task: Task) -> Field:
    """The field of a task that its gold is about: the first that puts answers in order. Raises Conflict."""
    for field in fields_of(db, task):
        if isinstance(field, ORDERING):
            return field
    raise Conflict(
        gettext("This task asks for no comparison, choice or ranking, so that there is no right answer to it.")
    )


def make_gold(db: Session, task_id: int, answer: Mapping[str, Any], by: User) -> Task:
    """Say what the right answer is, as a person would who sees position 0 first. Everybody may be asked it from now on.

    Raises InvalidInput for an answer that does not fit the form, Conflict for a repeat.
    """
    task = _locked(db, task_id)
    count = db.scalars(select(func.count()).where(TaskSegment.task_id == task.id)).one()
    field = gold_field(db, task)
    if isinstance(field, Compare):  # how much better, and in which respects, is no part of it
        field = field.model_copy(update={"strength": 0, "aspects": []})
    draft = preference_of(field.parse(answer, [""] * count), field.key)
    assert draft is not None  # noqa: S101  (these fields always give one)
    return _set(db, task, {"field": draft.field, "outcome": draft.outcome, "tiers": draft.tiers}, by)


def make_gold_as_agreed(db: Session, task_id: int, by: User) -> Task:
    """Make what all who answered said the right answer. Raises Conflict where they did not agree."""
    task = _locked(db, task_id)
    field = gold_field(db, task)
    newer = aliased(Preference)
    replaced = select(newer.id).where(newer.supersedes_id == Preference.id).exists()
    said = db.execute(
        select(Preference.outcome, Preference.tiers).where(
            Preference.task_id == task.id, Preference.field == field.key, ~Preference.withdrawn, ~replaced
        )
    ).all()
    if not said or any(tuple(row) != tuple(said[0]) for row in said):
        raise Conflict(gettext("People did not agree on this task. Give the right answer yourself."))
    return _set(db, task, {"field": field.key, "outcome": said[0].outcome, "tiers": said[0].tiers}, by)


def unmake_gold(db: Session, task_id: int, by: User) -> Task:
    """Make a gold task an ordinary one: open again if it never had its answers."""
    task = _locked(db, task_id)
    if task.gold is None:
        raise Conflict(gettext("This task is not gold any more."))
    task.gold = task.gold_at = task.gold_by = None
    task.state = "open" if task.answers < task.answers_needed else "done"
    record(db, "gave up the gold of", f"tasks:{task.id}", user_id=by.id, project_id=task.project_id)
    db.flush()
    return task


def _locked(db: Session, task_id: int) -> Task:
    return db.get_one(Task, task_id, with_for_update=NO_KEY, populate_existing=True)


def _set(db: Session, task: Task, gold: Json, by: User) -> Task:
    if task.repeat_of is not None:
        raise Conflict(gettext("This task repeats another one for one person. Make that one gold."))
    task.gold, task.state = gold, "done"
    task.gold_at = db.scalars(select(func.clock_timestamp())).one()
    task.gold_by = by.id
    record(db, "made gold", f"tasks:{task.id}", user_id=by.id, project_id=task.project_id, outcome=gold["outcome"])
    db.flush()
    return task
