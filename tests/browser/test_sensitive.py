"""Sensitive texts in a real browser: hidden from eyes and screen readers, shown by a key or a tap, answered after."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from app.core.records import Assignment, Preference, Project, Prompt, Protocol, Task, TaskSegment, User
from tests import factories
from tests.browser.access import Looks
from tests.browser.conftest import Open, Server
from tests.browser.waits import awake

pytestmark = pytest.mark.browser
FIRST = "Show the text first"
WORDS = ("remove duplicates", "something", "Use a set")
"""Of the prompt and of both answers."""


@pytest.fixture
def project(db: Session, project: Project) -> Project:
    """Twelve comparisons, all marked."""
    db.execute(update(Prompt).values(sensitive=True))
    db.execute(update(Task).values(sensitive=True))
    db.commit()
    return project


def look(page: Page, name: str) -> None:
    """A picture for a person, where one is asked for: SHOTS=directory."""
    if os.environ.get("SHOTS"):
        page.screenshot(path=str(Path(os.environ["SHOTS"]) / f"{name}.png"))


def stored(db: Session) -> int:
    db.rollback()
    count = db.scalars(select(func.count(Preference.id))).one()
    db.rollback()
    return count


def heard(page: Page) -> str:
    """Everything that a screen reader finds on the page."""
    client = page.context.new_cdp_session(page)
    nodes = client.send("Accessibility.getFullAXTree")["nodes"]
    client.detach()
    said = [str(node.get("name", {}).get("value", "")) for node in nodes if not node.get("ignored")]
    return "\n".join(said)


def found(page: Page) -> str:
    """The text that can be seen, selected and searched for."""
    return page.inner_text("body")


def saved(page: Page, today: int) -> None:
    page.wait_for_function(f"() => document.querySelector('#progress').innerText === '{today} today'")


def test_by_keys_nothing_is_answered_before_it_is_shown(open_label: Open, db: Session) -> None:
    page = open_label()
    awake(page)
    look(page, "veiled")
    for words in WORDS:
        assert words not in found(page)
        assert words not in heard(page)
    assert "Show text" in heard(page)
    for key in ("ArrowLeft", "0", "x", "1"):
        page.keyboard.press(key)
        expect(page.locator(".toast")).to_contain_text(FIRST)
    assert stored(db) == 0
    page.keyboard.press("v")
    expect(page.locator("#said")).to_have_text("The text is shown.")
    look(page, "shown")
    for words in WORDS:
        assert words in found(page)
        assert words in heard(page)
    page.keyboard.press("ArrowLeft")
    saved(page, 1)
    assert stored(db) == 1
    assert WORDS[0] not in found(page), "the next one is hidden again"
    assert WORDS[0] not in heard(page)
    awake(page)
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".toast")).to_contain_text(FIRST)
    page.keyboard.press("s")
    page.wait_for_function("() => document.querySelector('#save').dataset.state === 'saved'")
    assert db.scalars(select(func.count()).where(Assignment.outcome == "skipped")).one() == 1
    assert page.problems == []  # type: ignore[attr-defined]


def test_what_was_hidden_was_not_read_to_its_end(open_label: Open, db: Session) -> None:
    page = open_label(height=2000)
    awake(page)
    page.keyboard.press("v")
    page.keyboard.press("v")
    expect(page.locator("#said")).to_have_text("The text is hidden.")
    page.keyboard.press("v")
    page.keyboard.press("0")
    saved(page, 1)
    assert db.scalars(select(Assignment.seen_to_end).where(Assignment.outcome == "answered")).one() == [0, 1]


def test_by_pointer(open_label: Open, db: Session) -> None:
    page = open_label()
    awake(page)
    page.locator("#answer .cell").first.click()
    expect(page.locator(".toast")).to_contain_text(FIRST)
    assert stored(db) == 0
    page.locator(".veil label").click()
    page.locator("#answer .cell").first.click()
    saved(page, 1)
    assert stored(db) == 1


def test_on_a_phone(open_label: Open, db: Session) -> None:
    page = open_label(width=390, height=844, has_touch=True)
    awake(page)
    look(page, "veiled-phone")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    box = page.locator(".veil label").bounding_box()
    assert box
    assert min(box["width"], box["height"]) >= 44
    page.locator("#answer .cell").first.tap()
    expect(page.locator(".toast")).to_contain_text(FIRST)
    page.locator(".veil label").tap()
    assert WORDS[0] in found(page)
    page.locator("#answer .cell").first.tap()
    saved(page, 1)
    assert WORDS[0] not in found(page)
    assert stored(db) == 1


def test_without_a_script(browser: Browser, server: Server, project: Project, annotator: User, db: Session) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{server.url}/sign-in?next=/projects/{project.slug}/label")
    page.fill('[name="email"]', annotator.email)
    page.fill('[name="password"]', factories.PASSWORD)
    page.click('button[type="submit"]')
    page.wait_for_selector("#task")
    look(page, "veiled-plain")
    assert WORDS[0] not in heard(page)
    page.locator("#answer .cell").first.click()
    page.wait_for_timeout(300)
    assert stored(db) == 0, "the form is not sent while its box is empty"
    page.locator(".veil label").click()
    assert WORDS[0] in heard(page)
    page.locator("#answer .cell").first.click()
    expect(page.locator("body")).to_contain_text("Saved.")
    assert stored(db) == 1
    assert WORDS[0] not in heard(page)
    page.click('#answer [data-command="skip"]')
    expect(page.locator("body")).to_contain_text("Skipped")
    context.close()


def test_a_rewrite_and_its_questions(open_label: Open, db: Session) -> None:
    """A text to be rewritten stands in a field: it is hidden with the rest."""
    fields = [
        {"type": "edit", "key": "better", "question": "Make it better."},
        {"type": "note", "key": "why", "question": "Why?", "least": 3},
    ]
    db.execute(update(Protocol).values(fields=fields))
    db.execute(delete(TaskSegment).where(TaskSegment.position == 1))
    db.commit()
    page = open_label()
    awake(page)
    look(page, "veiled-edit")
    assert page.locator("#writing").is_hidden()
    assert "Use a set" not in heard(page)
    assert "something" not in heard(page)
    page.locator("#answer .send").click()
    expect(page.locator(".toast")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("v")
    assert page.locator("#writing").is_visible()


def test_in_the_dark_and_in_history(open_label: Open, db: Session, server: Server) -> None:
    page = open_label(theme="dark", width=1024, height=768)
    awake(page)
    look(page, "veiled-dark")
    page.keyboard.press("v")
    page.keyboard.press("0")
    saved(page, 1)
    page.goto(f"{server.url}/projects/everyday/history")
    assert WORDS[0] not in found(page)
    assert WORDS[0] not in heard(page)
    look(page, "veiled-history")
    page.locator(".work-list summary").click()
    assert WORDS[0] in heard(page)
    page.locator(".work-list a").click()
    page.wait_for_selector("#dock[data-ready]", state="attached")
    assert WORDS[0] not in heard(page)
    awake(page)
    page.keyboard.press("1")
    expect(page.locator(".toast")).to_contain_text(FIRST)
    assert stored(db) == 1


def test_one_key_marks_and_asks_only_after_the_text_is_shown(open_label: Open, db: Session, annotator: User) -> None:
    annotator.preferences = {"sending": "ask"}
    db.commit()
    page = open_label()
    awake(page)
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".toast")).to_contain_text(FIRST)
    assert page.locator(".send-now").count() == 0
    page.keyboard.press("v")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    saved(page, 1)


def test_axe_finds_nothing(open_label: Open) -> None:
    page = open_label(bypass_csp=True)
    looks = Looks()
    looks.look(page, "hidden")
    page.locator(".veil label").click()
    looks.look(page, "shown")
    assert looks.found == []
