"""One's own work in the browser: opened again, changed by keys or pointer, kept when the server is away."""

import pytest
from playwright.sync_api import Page
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.core.records import Assignment, Preference, Project, Protocol, Task, User
from tests import factories
from tests.browser.conftest import Open, Server
from tests.browser.test_label_page import press, saved, stored
from tests.browser.waits import awake

pytestmark = pytest.mark.browser


def answer_some(page: Page, *keys: str) -> None:
    for key in keys:
        press(page, key)
        saved(page)
        page.wait_for_timeout(150)


def open_again(page: Page, number: int = 0) -> None:
    """Change the answer with this number on the history page, the newest first."""
    page.goto(page.url.replace("/label", "/history"))
    page.locator(".work-list a.button").nth(number).click()
    page.wait_for_selector("#dock[data-ready]", state="attached")
    awake(page)


def test_by_keys_alone(open_label: Open, db: Session) -> None:
    page = open_label()
    answer_some(page, "ArrowLeft", "0")
    page.keyboard.press("h")
    page.wait_for_url("**/history")
    page.keyboard.press("/")
    page.keyboard.type("question 0")
    page.keyboard.press("Enter")
    page.wait_for_url("**/history?q=*")
    assert page.locator(".work-list > li").count() == 1
    page.focus(".work-list a.button")
    page.keyboard.press("Enter")
    page.wait_for_selector("#dock[data-ready]", state="attached")
    assert page.get_attribute('[data-choice="a"]', "aria-current") == "true"
    leased = db.scalars(select(func.count()).where(Assignment.outcome.is_(None))).one()
    for dead in ("z", "s", "r"):
        press(page, dead)
    press(page, "ArrowRight")
    page.wait_for_url("**/history")
    assert "B is better" in page.inner_text(".work-list")
    assert "first: A is better" in page.inner_text(".work-list")
    assert stored(db) == ["prefer", "tie", "prefer"]
    assert db.scalars(select(func.count()).where(Assignment.outcome.is_(None))).one() == leased
    assert page.problems == []  # type: ignore[attr-defined]


def test_a_change_survives_the_server(open_label: Open, server: Server, db: Session) -> None:
    page = open_label()
    answer_some(page, "ArrowLeft")
    open_again(page)
    server.stop()
    press(page, "x")
    page.wait_for_selector('#save[data-state="kept"]')
    server.start()
    page.wait_for_url("**/history", timeout=20_000)
    assert stored(db) == ["prefer", "all_bad"]


def test_a_ranking_stands_as_it_was(open_label: Open, db: Session, project: Project) -> None:
    db.execute(update(Task).values(state="withdrawn"))
    form = {"type": "rank", "key": "overall", "question": "From best to worst?", "answers": 3}
    db.execute(update(Protocol).values(fields=[form]))
    prompt = factories.make_prompt(db, project, "Three of them")
    factories.make_task(db, prompt, [factories.make_completion(db, prompt, f"Text {n}") for n in range(3)])
    db.commit()
    page = open_label()
    answer_some(page, "2", "0", "3", "Enter")
    open_again(page)
    assert [slot.inner_text() for slot in page.locator(".rail button.slot").all()] == ["2", "3", "1"]
    press(page, "Backspace")
    for key in ("1", "3", "Enter"):
        press(page, key)
    page.wait_for_url("**/history")
    assert "1, then 3, then 2" in page.inner_text(".work-list")
    rows = db.scalars(select(Preference).order_by(Preference.id)).all()
    assert [len(row.tiers) for row in rows] == [2, 3]


def test_by_pointer_on_a_phone(open_label: Open, db: Session, annotator: User) -> None:
    page = open_label(width=390, height=844, has_touch=True)
    answer_some(page, "0")
    open_again(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.tap('[data-choice="b"]')
    page.wait_for_url("**/history")
    assert stored(db) == ["tie", "prefer"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_without_a_script(open_label: Open, db: Session) -> None:
    page = open_label()
    answer_some(page, "ArrowLeft")
    address, cookies = page.url, page.context.cookies()
    plain = page.context.browser
    assert plain
    context = plain.new_context(java_script_enabled=False)
    context.add_cookies(cookies)  # type: ignore[arg-type]
    bare = context.new_page()
    bare.goto(address.replace("/label", "/history"))
    bare.click(".work-list a.button")
    assert "You answered: A is better." in bare.inner_text("main")
    bare.click('[data-choice="b"]')
    assert "Saved. B is better." in bare.inner_text("#flash")
    assert stored(db) == ["prefer", "prefer"]
    context.close()
