"""A person who pauses gives their tasks back at once, instead of holding them until the lease ends."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.core.records import Assignment, Task, User


def give_back(db: Session, user: User, keys: Sequence[UUID]) -> int:
    """End the person's live leases of these keys now, so that others can have the tasks; how many there were.

    Nothing is answered or skipped: the same person may be handed these tasks again. An answer that still comes under
    such a key is kept and marked late. Keys that are unknown, another person's, answered or ended change nothing.
    """
    mine = (
        Assignment.user_id == user.id,
        Assignment.idempotency_key.in_(keys),
        Assignment.outcome.is_(None),
        Assignment.lease_until > func.clock_timestamp(),
    )
    tasks = select(Assignment.task_id).where(*mine)
    # As in the queue: the tasks first, then the assignments, each in the order in which others lock them.
    db.execute(select(Task.id).where(Task.id.in_(tasks)).order_by(Task.id).with_for_update())
    held = select(Assignment.id).where(*mine).order_by(Assignment.served_at, Assignment.id).with_for_update()
    ended = db.execute(
        update(Assignment)
        .where(Assignment.id.in_(db.scalars(held).all()))
        .values(lease_until=func.clock_timestamp())
        .returning(Assignment.id),
        execution_options={"synchronize_session": False},
    )
    return len(ended.all())
