"""One work queue on Postgres for both workers: enqueue, claim, heartbeat, finish, cancel.

A claim raises the job's fence. Whoever wants to write on behalf of a job proves with `hold` that its fence is still the
newest, in the same transaction; a worker that slept past its lease finds out there and stops.
"""

from datetime import timedelta

from sqlalchemy import func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.core.errors import Cancelled, LostFence
from app.core.records import Job
from app.core.records.base import Json

LEASE = timedelta(seconds=30)


def enqueue(
    db: Session, queue: str, kind: str, payload: Json, *, key: str | None = None, priority: int = 0, delay: float = 0
) -> int | None:
    """Queue a job in the caller's transaction. None when a job with the same key already waits or runs.

    The index condition is plain text: as parameters, Postgres cannot match it to the index in a generic plan.
    """
    return db.scalar(
        insert(Job)
        .values(
            queue=queue,
            kind=kind,
            key=key,
            payload=payload,
            priority=priority,
            run_at=func.now() + timedelta(seconds=delay),
        )
        .on_conflict_do_nothing(index_elements=["key"], index_where=text("state in ('queued', 'running')"))
        .returning(Job.id)
    )


def claim(db: Session, queue: str, owner: str, lease: timedelta = LEASE) -> Job | None:
    """Take the next job that is due, or one whose worker went silent. Exactly one worker wins."""
    due = or_(
        (Job.state == "queued") & (Job.run_at <= func.now()),
        (Job.state == "running") & (Job.lease_until < func.now()),
    )
    next_id = (
        select(Job.id)
        .where(Job.queue == queue, due)
        .order_by(Job.priority.desc(), Job.run_at, Job.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    return db.scalar(
        update(Job)
        .where(Job.id == next_id)
        .values(
            state="running",
            attempt=Job.attempt + 1,
            fence=Job.fence + 1,
            lease_owner=owner,
            lease_until=func.now() + lease,
        )
        .returning(Job)
        .execution_options(populate_existing=True)
    )


def hold(db: Session, job_id: int, fence: int, lease: timedelta = LEASE) -> None:
    """Renew the lease and prove that the job is still ours; raises LostFence or Cancelled where it is not."""
    cancel = db.scalar(
        update(Job)
        .where(Job.id == job_id, Job.fence == fence, Job.state == "running")
        .values(lease_until=func.now() + lease)
        .returning(Job.cancel_requested)
    )
    if cancel is None:
        raise LostFence
    if cancel:
        raise Cancelled


def finish(db: Session, job_id: int, fence: int, state: str = "done", error: str | None = None) -> None:
    """Close a job: done, failed or cancelled. Raises LostFence when somebody else has taken it over."""
    closed = db.scalar(
        update(Job)
        .where(Job.id == job_id, Job.fence == fence, Job.state == "running")
        .values(state=state, error=error, finished_at=func.now(), lease_until=None)
        .returning(Job.id)
    )
    if closed is None:
        raise LostFence


def retry(db: Session, job_id: int, fence: int, error: str, *, delay: float = 5) -> str:
    """Put a job back after a failure, or give it up after its last attempt. Returns the new state."""
    job = db.scalars(select(Job).where(Job.id == job_id, Job.fence == fence).with_for_update()).one_or_none()
    if job is None or job.state != "running":
        raise LostFence
    job.error = error
    job.lease_until = None
    if job.attempt >= job.max_attempts:
        job.state = "failed"
        job.finished_at = db.scalar(select(func.now()))
    else:
        job.state = "queued"
        job.run_at = db.scalar(select(func.now() + timedelta(seconds=delay * 2 ** (job.attempt - 1)))) or job.run_at
    db.flush()
    return job.state


def release(db: Session, job_id: int, fence: int) -> None:
    """Put a job back as if it had not been claimed: its worker is told to stop. Raises LostFence."""
    released = db.scalar(
        update(Job)
        .where(Job.id == job_id, Job.fence == fence, Job.state == "running")
        .values(state="queued", attempt=Job.attempt - 1, lease_until=None, lease_owner=None, run_at=func.now())
        .returning(Job.id)
    )
    if released is None:
        raise LostFence


def request_cancel(db: Session, job_id: int) -> None:
    """Ask for a stop. A waiting job is cancelled at once; a running one notices at its next `hold`."""
    db.execute(
        update(Job).where(Job.id == job_id, Job.state == "queued").values(state="cancelled", finished_at=func.now())
    )
    db.execute(update(Job).where(Job.id == job_id, Job.state == "running").values(cancel_requested=True))
