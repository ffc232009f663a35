"""Leases that are kept alive while somebody works on a task."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core.errors import Conflict
from app.core.projects import settings_of
from app.core.queue import clock, locked
from app.core.records import Assignment, Project, Task, User
from app.core.words import gettext

MOST = 4
"""A task is lent for at most so many times the project's lease, counted from when it was served; a talk
from its last turn."""


def length(project: Project) -> timedelta:
    """For how long a task is lent at a time."""
    return timedelta(minutes=settings_of(project).pool.lease_minutes)


def keep(db: Session, project: Project, user: User, key: UUID, token: UUID) -> datetime:
    """Renew a live lease; until when it lasts now, which is no later than before where it reached its limit.

    The task row is locked first, as for every write of the queue: whoever is given the place of a lease that ends just
    now, and whoever renews it, come one after the other. Raises NotFound for a key that is not this person's, Conflict
    for a lease that has ended, was given anew, or has its answer.
    """
    task, assignment = locked(db, user, key)
    now = clock(db)
    if assignment.outcome is not None or assignment.lease_token != token or assignment.lease_until <= now:
        raise Conflict(
            gettext("This task went back to the pile. An answer to it is kept all the same, and marked late.")
        )
    limit = _begun(db, task, assignment) + MOST * length(project)
    assignment.lease_until = max(assignment.lease_until, min(now + length(project), limit))
    db.flush()
    return assignment.lease_until


def _begun(db: Session, task: Task, assignment: Assignment) -> datetime:
    """When the task was served or, of a talk, when its last turn was written or chosen."""
    newest = func.max(func.greatest(Assignment.served_at, Assignment.submitted_at))
    turns = select(newest).join(Task, Task.id == Assignment.task_id)
    latest = db.scalar(turns.where(Task.parent_id == task.id, Assignment.user_id == assignment.user_id))
    return max(assignment.served_at, latest or assignment.served_at)
