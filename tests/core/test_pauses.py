"""Pausing gives tasks back at once: to others, without an answer, and only one's own."""

import threading
from uuid import uuid4

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core import queue
from app.core.database import UnitOfWork
from app.core.pauses import give_back
from app.core.records import Assignment, Project, Task, User
from tests import factories

ANSWER = {"overall": {"choice": "a"}}


def house(db: Session) -> tuple[Project, User, User]:
    kim, lee = factories.make_user(db), factories.make_user(db)
    project = factories.make_project(db, members={kim: "annotator", lee: "annotator"})
    for _ in range(2):
        factories.make_task(db, factories.make_prompt(db, project))
    db.commit()
    return project, kim, lee


def test_others_have_the_task_at_once_and_so_may_the_same_person(db: Session) -> None:
    project, kim, lee = house(db)
    first = queue.next_task(db, project, kim)
    assert first is not None
    second = queue.next_task(db, project, kim, have=[first.key])
    assert second is not None
    assert queue.next_task(db, project, lee) is None
    db.commit()
    assert give_back(db, kim, [first.key, second.key]) == 2
    db.commit()
    assert queue.next_task(db, project, lee) is not None
    again = queue.next_task(db, project, kim)
    assert again is not None
    assert again.key in (first.key, second.key)


def test_only_ones_own_unanswered_tasks_of_these_keys_are_given_back(db: Session) -> None:
    project, kim, lee = house(db)
    mine, theirs = queue.next_task(db, project, kim), queue.next_task(db, project, lee)
    assert mine is not None
    assert theirs is not None
    assert give_back(db, kim, [theirs.key, uuid4()]) == 0
    queue.submit(db, kim, mine.key, mine.token, ANSWER)
    assert give_back(db, kim, [mine.key]) == 0
    assert db.scalars(select(Assignment.outcome).order_by(Assignment.id)).all() == ["answered", None]
    assert give_back(db, lee, [theirs.key]) == 1
    assert give_back(db, lee, [theirs.key]) == 0


def test_an_answer_that_was_under_way_is_kept_and_late(db: Session) -> None:
    project, kim, _ = house(db)
    served = queue.next_task(db, project, kim)
    assert served is not None
    give_back(db, kim, [served.key])
    db.commit()
    assert queue.submit(db, kim, served.key, served.token, ANSWER).late


def test_pausing_while_others_ask_gives_no_task_to_two(db: Session, uow: UnitOfWork) -> None:
    """Twenty people who take, pause and take again: at the end no task has more live leases than it needs."""
    people = [factories.make_user(db) for _ in range(20)]
    project = factories.make_project(db, members=dict.fromkeys(people, "annotator"))
    for _ in range(6):
        factories.make_task(db, factories.make_prompt(db, project))
    db.commit()
    errors: list[Exception] = []

    def work(user: User) -> None:
        try:
            for _ in range(4):
                with uow() as own:
                    served = queue.next_task(own, own.get_one(Project, project.id), own.get_one(User, user.id))
                if served:
                    with uow() as own:
                        give_back(own, own.get_one(User, user.id), [served.key])
            with uow() as own:
                queue.next_task(own, own.get_one(Project, project.id), own.get_one(User, user.id))
        except Exception as error:  # noqa: BLE001  any error of a thread fails the test below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(user,)) for user in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    live = [
        db.query(Assignment)
        .filter(
            Assignment.task_id == task, Assignment.lease_until > func.clock_timestamp(), Assignment.outcome.is_(None)
        )
        .count()
        for task in db.scalars(select(Task.id))
    ]
    assert len(live) == 6
    assert set(live) <= {0, 1}
    assert sum(live) >= 1
