"""A task is lent for longer while somebody works on it; somebody who seems away is asked."""

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.core import queue
from app.core.records import Assignment, Project, Task
from tests import factories
from tests.browser.conftest import Open
from tests.browser.test_label_page import key_of

pytestmark = pytest.mark.browser


@pytest.fixture
def project(project: Project, db: Session) -> Project:
    """Lent for two minutes at a time."""
    db.execute(update(Project).values(settings={"pool": {"lease_minutes": 2}}))
    db.commit()
    return project


def left(db: Session, key: str) -> float:
    db.rollback()
    until = func.extract("epoch", Assignment.lease_until - func.clock_timestamp())
    return float(db.scalars(select(until).where(Assignment.idempotency_key == key)).one())


def older(db: Session, seconds: int) -> None:
    """As if all leases had been given that long ago."""
    db.execute(
        update(Assignment).values(lease_until=Assignment.lease_until - func.make_interval(0, 0, 0, 0, 0, 0, seconds))
    )
    db.commit()


def test_somebody_who_seems_away_is_asked(open_label: Open, db: Session) -> None:
    page = open_label()
    page.clock.install()
    page.reload()
    page.wait_for_selector("#dock[data-ready]", state="attached")
    key = key_of(page)
    older(db, 105)
    page.clock.fast_forward(105_000)
    page.clock.run_for(5_000)
    page.wait_for_selector(".notice.lease")
    assert "This task goes back to the pile in 1 minute." in page.inner_text("#notices")
    page.focus("[data-keeps]")
    page.keyboard.press("Enter")
    page.wait_for_selector(".notice.lease", state="detached")
    assert left(db, key) > 100
    assert all(left(db, str(one)) > 100 for one in db.scalars(select(Assignment.idempotency_key))), "both in memory"


def test_somebody_who_works_is_not_asked(open_label: Open, db: Session) -> None:
    page = open_label()
    page.clock.install()
    page.reload()
    page.wait_for_selector("#dock[data-ready]", state="attached")
    key = key_of(page)
    older(db, 100)
    page.clock.fast_forward(98_000)
    page.keyboard.press("Shift")
    with page.expect_response("**/label/keep"):
        page.clock.run_for(6_000)
    page.wait_for_timeout(300)
    assert left(db, key) > 100
    assert not page.is_visible(".notice.lease")


def test_a_lease_that_has_ended_is_said(open_label: Open, db: Session) -> None:
    page = open_label()
    page.clock.install()
    page.reload()
    page.wait_for_selector("#dock[data-ready]", state="attached")
    older(db, 200)
    page.clock.fast_forward(200_000)
    page.clock.run_for(5_000)
    page.wait_for_selector(".notice.lease")
    assert "This task went back to the pile." in page.inner_text("#notices")
    assert not page.is_visible("[data-keeps]")


def test_what_somebody_left_comes_to_others_within_a_minute(open_label: Open, db: Session) -> None:
    """A page that has nothing looks again by itself; a lease that ended frees its task at once."""
    other = factories.make_user(db)
    project = db.scalars(select(Project)).one()
    factories.add_member(db, project, other)
    db.execute(update(Task).where(Task.id.not_in(select(Task.id).order_by(Task.id).limit(1))).values(state="withdrawn"))
    left_by = queue.next_task(db, project, other)
    assert left_by is not None
    db.commit()
    page = open_label()
    page.clock.install()
    page.reload()
    page.wait_for_selector("#dock[data-ready]", state="attached")
    page.clock.run_for(20_000)
    assert not page.is_visible("#task")
    older(db, 121)
    page.clock.run_for(10_000)
    page.wait_for_selector("#task")
    assert key_of(page) != str(left_by.key)
