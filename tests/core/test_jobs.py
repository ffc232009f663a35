"""The queue: one winner per job, fences, leases, cancel, retry."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import func, update

from app.core import jobs
from app.core.database import UnitOfWork
from app.core.errors import Cancelled, LostFence
from app.core.records import Job


def enqueue(uow: UnitOfWork, key: str | None = None) -> int | None:
    with uow() as db:
        return jobs.enqueue(db, "trainer", "round", {"round_id": 1}, key=key)


def claim(uow: UnitOfWork, owner: str = "a") -> Job | None:
    with uow() as db:
        return jobs.claim(db, "trainer", owner)


def expire(uow: UnitOfWork, job_id: int) -> None:
    with uow() as db:
        db.execute(update(Job).where(Job.id == job_id).values(lease_until=func.now() - timedelta(seconds=1)))


def state(uow: UnitOfWork, job_id: int) -> str:
    with uow() as db:
        return db.get_one(Job, job_id).state


def test_one_active_job_per_key(uow: UnitOfWork) -> None:
    first = enqueue(uow, "round:1")
    assert first is not None
    assert enqueue(uow, "round:1") is None
    job = claim(uow)
    assert job is not None
    with uow() as db:
        jobs.finish(db, job.id, job.fence)
    assert enqueue(uow, "round:1") is not None


def test_each_job_is_claimed_by_exactly_one_worker(uow: UnitOfWork) -> None:
    wanted = {enqueue(uow) for _ in range(20)}
    claimed: list[int] = []

    def work(owner: str) -> None:
        while (job := claim(uow, owner)) is not None:
            claimed.append(job.id)

    threads = [threading.Thread(target=work, args=(str(number),)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(claimed) == sorted(job for job in wanted if job is not None)


def test_a_silent_worker_loses_its_job_and_notices(uow: UnitOfWork) -> None:
    enqueue(uow)
    first = claim(uow, "sleeper")
    assert first is not None
    assert claim(uow, "other") is None
    expire(uow, first.id)
    second = claim(uow, "other")
    assert second is not None
    assert (second.id, second.fence, second.attempt) == (first.id, first.fence + 1, 2)
    with uow() as db, pytest.raises(LostFence):
        jobs.hold(db, first.id, first.fence)
    with uow() as db, pytest.raises(LostFence):
        jobs.finish(db, first.id, first.fence)
    with uow() as db, pytest.raises(LostFence):
        jobs.retry(db, first.id, first.fence, "too late")
    with uow() as db:
        jobs.hold(db, second.id, second.fence)


def test_hold_renews_the_lease(uow: UnitOfWork) -> None:
    enqueue(uow)
    job = claim(uow)
    assert job is not None
    expire(uow, job.id)
    with uow() as db:
        jobs.hold(db, job.id, job.fence)
    assert claim(uow, "other") is None


def test_cancel_of_a_waiting_job_is_immediate(uow: UnitOfWork) -> None:
    job_id = enqueue(uow)
    assert job_id is not None
    with uow() as db:
        jobs.request_cancel(db, job_id)
    assert state(uow, job_id) == "cancelled"
    assert claim(uow) is None


def test_cancel_of_a_running_job_is_noticed_at_the_next_hold(uow: UnitOfWork) -> None:
    enqueue(uow)
    job = claim(uow)
    assert job is not None
    with uow() as db:
        jobs.request_cancel(db, job.id)
    with uow() as db, pytest.raises(Cancelled):
        jobs.hold(db, job.id, job.fence)
    with uow() as db:
        jobs.finish(db, job.id, job.fence, "cancelled")
    with uow() as db:
        jobs.request_cancel(db, job.id)
    assert state(uow, job.id) == "cancelled"


def test_retry_waits_longer_each_time_and_gives_up_after_the_last_attempt(uow: UnitOfWork) -> None:
    job_id = enqueue(uow)
    assert job_id is not None
    waits: list[float] = []
    for _ in range(3):
        job = claim(uow)
        assert job is not None
        with uow() as db:
            jobs.retry(db, job.id, job.fence, "out of memory", delay=8)
        with uow() as db:
            now = db.get_one(Job, job_id)
            waits.append((now.run_at - now.created_at).total_seconds())
            assert now.error == "out of memory"
            if now.state == "queued":
                now.run_at = now.created_at
    assert state(uow, job_id) == "failed"
    assert 8 <= waits[0] < 16 <= waits[1] < 32


def test_a_later_job_waits_for_its_time(uow: UnitOfWork) -> None:
    with uow() as db:
        jobs.enqueue(db, "trainer", "round", {}, delay=60)
    assert claim(uow) is None
