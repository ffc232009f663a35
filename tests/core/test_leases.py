"""Leases are renewed while somebody works, never past their limit, and never under somebody who has the place now."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from time import sleep
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.core import queue
from app.core.database import UnitOfWork
from app.core.errors import Conflict, NotFound
from app.core.leases import MOST, keep
from app.core.records import Assignment, Project, Task, User
from tests import factories

Make = Callable[..., Any]


@pytest.fixture
def person(db: Session) -> User:
    return factories.make_user(db)


@pytest.fixture
def project(db: Session, person: User) -> Project:
    """One task, lent for 10 minutes at a time."""
    project = factories.make_project(db, members={person: "annotator"}, pool={"lease_minutes": 10})
    factories.make_task(db, factories.make_prompt(db, project))
    db.commit()
    return project


def lent(db: Session, project: Project, person: User) -> queue.Served:
    served = queue.next_task(db, project, person)
    assert served is not None
    return served


def shift(db: Session, **moved: timedelta) -> None:
    """Move columns of all leases; a negative span is into the past."""
    db.execute(update(Assignment).values({name: getattr(Assignment, name) + by for name, by in moved.items()}))
    db.expire_all()


def minutes(until: datetime | None) -> int:
    assert until is not None
    return round((until - datetime.now(UTC)).total_seconds() / 60)


def test_a_live_lease_lasts_a_whole_one_longer(db: Session, project: Project, person: User) -> None:
    served = lent(db, project, person)
    assert minutes(served.lease_until) == 10
    shift(db, lease_until=timedelta(minutes=-8), served_at=timedelta(minutes=-8))
    assert minutes(keep(db, project, person, served.key, served.token)) == 10
    again = queue.next_task(db, project, person)
    assert again is not None
    assert (again.key, again.token) == (served.key, served.token)
    assert not queue.submit(db, person, served.key, served.token, {"overall": {"choice": "a"}}).late


def test_the_limit_is_never_passed_and_nothing_is_taken_away(db: Session, project: Project, person: User) -> None:
    served = lent(db, project, person)
    shift(db, served_at=timedelta(minutes=-36), lease_until=timedelta(minutes=-8))
    assert minutes(keep(db, project, person, served.key, served.token)) == 10 * MOST - 36
    shift(db, served_at=timedelta(minutes=-60))
    assert minutes(keep(db, project, person, served.key, served.token)) == 10 * MOST - 36


def test_a_lease_given_anew_begins_anew(db: Session, project: Project, person: User) -> None:
    lent(db, project, person)
    shift(db, served_at=timedelta(days=-1), lease_until=timedelta(days=-1))
    served = lent(db, project, person)
    shift(db, lease_until=timedelta(minutes=-9))
    assert minutes(keep(db, project, person, served.key, served.token)) == 10


def test_an_ended_lease_stays_ended_whoever_has_the_place(db: Session, project: Project, person: User) -> None:
    served = lent(db, project, person)
    shift(db, lease_until=timedelta(minutes=-11))
    with pytest.raises(Conflict):
        keep(db, project, person, served.key, served.token)
    other = factories.make_user(db)
    theirs = lent(db, project, other)
    with pytest.raises(Conflict):
        keep(db, project, person, served.key, served.token)
    assert minutes(keep(db, project, other, theirs.key, theirs.token)) == 10


def test_not_with_another_token_not_after_the_answer_not_for_others(
    db: Session, project: Project, person: User
) -> None:
    served = lent(db, project, person)
    with pytest.raises(Conflict):
        keep(db, project, person, served.key, uuid4())
    with pytest.raises(NotFound):
        keep(db, project, factories.make_user(db), served.key, served.token)
    queue.submit(db, person, served.key, served.token, {"overall": {"choice": "a"}})
    with pytest.raises(Conflict):
        keep(db, project, person, served.key, served.token)


def test_renewing_waits_for_whoever_is_given_the_place(
    db: Session, uow: UnitOfWork, project: Project, person: User, make_user: Make
) -> None:
    """Somebody asks for a task while its lease runs, and gets it after it ended: the renewal comes too late."""
    served = lent(db, project, person)
    shift(db, lease_until=timedelta(minutes=-10, seconds=2))
    db.commit()
    other = make_user()

    def renew() -> bool:
        try:
            with uow() as one:
                keep(one, project, person, served.key, served.token)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(1) as pool:
        with uow() as one:
            one.execute(select(Task).with_for_update())  # as next_task does, which goes on below
            renewed = pool.submit(renew)
            ends = one.scalars(select(Assignment.lease_until)).one()
            while one.scalars(select(func.clock_timestamp())).one() < ends:
                sleep(0.05)
            assert queue.next_task(one, project, other) is not None
        assert not renewed.result()
    live = select(Assignment.user_id).where(Assignment.lease_until > func.clock_timestamp())
    assert db.scalars(live).all() == [other.id]


def test_the_limit_of_a_talk_is_counted_from_its_last_turn(db: Session, project: Project, person: User) -> None:
    served = lent(db, project, person)
    shift(db, served_at=timedelta(minutes=-90), lease_until=timedelta(minutes=-8))
    assert minutes(keep(db, project, person, served.key, served.token)) == 2, "lent long ago"
    task = db.scalars(select(Task)).one()
    turn = factories.make_task(db, factories.make_prompt(db, project))
    turn.parent_id, turn.state, turn.answers_needed = task.id, "done", 0
    turn_at = datetime.now(UTC) - timedelta(minutes=35)
    db.add(
        Assignment(
            task_id=turn.id,
            project_id=project.id,
            user_id=person.id,
            lease_token=uuid4(),
            lease_until=turn_at,
            served_at=turn_at,
            display_order=[0, 1],
            idempotency_key=uuid4(),
        )
    )
    db.flush()
    assert minutes(keep(db, project, person, served.key, served.token)) == 10 * MOST - 35
