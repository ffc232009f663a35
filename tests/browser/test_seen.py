"""What was read to its end is stored with the answer: by key, by scrolling, on a phone, not under a cover."""

import pytest
from playwright.sync_api import Page
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.core.records import Assignment, Project, Protocol
from tests import factories
from tests.browser.conftest import Open
from tests.browser.waits import awake

pytestmark = pytest.mark.browser
LONG_AT, SHORT_AT = 0, 1
"""Positions of the two answers in the fixture's tasks: fourteen paragraphs, and a few lines."""
SEEN = """() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"""


def answered(page: Page, db: Session) -> Assignment:
    """Answer with a key; what was stored of the answer."""
    awake(page)
    page.evaluate(SEEN)
    page.keyboard.press("0")  # not an arrow, which turns a switch that has the focus
    return taken(page, db)


def taken(page: Page, db: Session) -> Assignment:
    """What was stored of the one answer so far."""
    page.wait_for_selector('#save[data-state="saved"]')
    page.wait_for_function("() => document.querySelector('#progress').innerText === '1 today'")
    db.rollback()
    return db.scalars(select(Assignment).where(Assignment.outcome == "answered")).one()


def slot_of_the_long_one(page: Page) -> int:
    return next(slot for slot in (0, 1) if page.locator(f".pane-{slot} .rendered p").count() >= 14)


def test_an_end_below_the_fold_was_not_seen(open_label: Open, db: Session) -> None:
    page = open_label(height=700)
    stored = answered(page, db)
    assert stored.seen_to_end == [SHORT_AT]


def test_scrolling_to_the_end_counts_and_stays_counted(open_label: Open, db: Session) -> None:
    page = open_label(height=700)
    body = page.locator(f".pane-{slot_of_the_long_one(page)} > .body")
    for _ in range(12):
        page.keyboard.press("Space")
    page.evaluate(SEEN)
    body.evaluate("(box) => { box.scrollTop = 0; }")
    assert answered(page, db).seen_to_end == [LONG_AT, SHORT_AT]


def test_a_phone_saw_only_what_it_turned_to(open_label: Open, db: Session) -> None:
    page = open_label(width=390, height=844, has_touch=True)
    first = slot_of_the_long_one(page)
    stored = answered(page, db)
    assert stored.seen_to_end == ([] if first == 0 else [SHORT_AT])


def test_a_phone_that_turned_to_both(open_label: Open, db: Session) -> None:
    page = open_label(width=390, height=844, has_touch=True)
    short = 1 - slot_of_the_long_one(page)
    for slot in (1, 0):
        page.locator(f".switch label:has(.pick-{slot})").tap()
        page.evaluate(SEEN)
    stored = answered(page, db)
    assert stored.seen_to_end == [stored.display_order[short]] == [SHORT_AT]


@pytest.fixture
def covered(db: Session, project: Project) -> None:
    """The same tasks, whose answers stay covered until something is written."""
    note = {"type": "note", "key": "first", "question": "What is asked?", "least": 5, "hides": "answers"}
    db.execute(update(Protocol).values(fields=[*factories.PROTOCOL, note]))
    db.commit()


def test_what_was_covered_was_not_seen(covered: None, open_label: Open, db: Session) -> None:
    page = open_label(height=700)
    body = page.locator(f".pane-{slot_of_the_long_one(page)} > .body")
    for place in ("box.scrollHeight", "0"):
        body.evaluate(f"(box) => {{ box.scrollTop = {place}; }}")
        page.evaluate(SEEN)
    page.fill(".questions textarea", "Duplicates in a list.")
    page.evaluate(SEEN)
    page.locator("#answer .cell").first.click()
    page.locator("#answer .send").click()
    assert taken(page, db).seen_to_end == [SHORT_AT]
