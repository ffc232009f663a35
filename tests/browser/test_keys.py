"""Every key can be moved or switched off, and the page shows the key that works now. With real key presses."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core.keys import STANDARD
from app.core.records import Assignment, Preference, Project, User
from tests import factories
from tests.browser.conftest import Open, Server
from tests.browser.waits import awake

pytestmark = pytest.mark.browser
GRADED = {"type": "compare", "key": "overall", "question": "Which answer is better?", "strength": 4}
Prefer = Callable[..., None]


@pytest.fixture
def prefer(db: Session, annotator: User) -> Prefer:
    """`prefer(keys="home", …)`: what the annotator chose in their settings."""

    def choose(**chosen: Any) -> None:
        annotator.preferences = {**annotator.preferences, **chosen}
        db.commit()

    return choose


@pytest.fixture
def graded(db: Session, annotator: User) -> Project:
    """A project with the nine-point scale."""
    project = factories.make_project(db, slug="graded", members={annotator: "annotator"}, fields=[GRADED])
    for _ in range(8):
        factories.make_task(db, factories.make_prompt(db, project))
    db.commit()
    return project


def press(page: Page, *keys: str) -> None:
    awake(page)
    for key in keys:
        page.keyboard.press(key)


def today(page: Page, count: int) -> None:
    expect(page.locator("#progress .figures")).to_have_text(f"{count} today")


def go(page: Page, project: Project) -> None:
    page.goto(f"{page.evaluate('location.origin')}/projects/{project.slug}/label")
    page.wait_for_selector("#dock[data-ready]", state="attached")


def outcomes(db: Session) -> list[str]:
    db.rollback()
    taken_back = select(Preference.supersedes_id).where(Preference.supersedes_id.is_not(None))
    current = select(Preference.outcome).where(~Preference.withdrawn, Preference.id.not_in(taken_back))
    return list(db.scalars(current.order_by(Preference.id)))


def strengths(db: Session) -> list[tuple[bool, int | None]]:
    """Whether the first shown answer won, and how clearly."""
    db.rollback()
    rows = db.execute(
        select(Preference.tiers, Preference.strength, Assignment.display_order)
        .join(Assignment, Assignment.id == Preference.assignment_id)
        .order_by(Preference.id)
    )
    return [(tiers[0] == [order[0]], strength) for tiers, strength, order in rows]


def test_home_row_answers_with_letters_and_commands_with_shift(
    prefer: Prefer, open_label: Open, graded: Project, db: Session
) -> None:
    prefer(keys="home")
    page = open_label()
    go(page, graded)
    press(page, "a")
    today(page, 1)
    press(page, "l")
    today(page, 2)
    press(page, "5")  # a digit is no key of this layout
    press(page, "Shift+Z")
    today(page, 1)
    press(page, "Shift+S")
    page.wait_for_selector('#save[data-state="saved"]')
    page.wait_for_timeout(200)
    assert strengths(db)[:2] == [(True, 4), (False, 4)]
    assert outcomes(db) == ["prefer"]
    db.rollback()
    assert db.scalars(select(func.count()).where(Assignment.outcome == "skipped")).one() == 1
    assert page.get_attribute('[data-command="undo"]', "aria-keyshortcuts") == "Shift+Z"
    assert page.inner_text('[data-command="undo"] kbd') == "⇧Z"
    assert page.locator(".cell kbd").all_inner_texts() == list("ASDFGHJKL")
    page.keyboard.press("?")
    assert "⇧R" in page.inner_text("#keys")
    assert "Home row" in page.inner_text("#keys")


def test_number_pad(prefer: Prefer, open_label: Open, project: Project, db: Session) -> None:
    prefer(keys="pad")
    page = open_label()
    press(page, "Numpad1")
    today(page, 1)
    press(page, "NumpadMultiply")
    today(page, 2)
    press(page, "NumpadSubtract")
    today(page, 1)
    press(page, "Shift+Digit8")
    today(page, 2)
    press(page, "-")
    today(page, 1)
    press(page, "NumpadDivide")
    press(page, "z", "s", "x")  # not on the number pad
    page.wait_for_selector('#save[data-state="saved"]')
    page.wait_for_timeout(200)
    assert outcomes(db) == ["prefer"]
    assert page.inner_text('[data-command="undo"] kbd') == "\N{MINUS SIGN}"


def test_off_leaves_tab_arrows_and_enter(prefer: Prefer, open_label: Open, project: Project, db: Session) -> None:
    prefer(keys="off")
    page = open_label()
    press(page, "1", "0", "x", "s", "z", "?", "Space")
    page.wait_for_timeout(200)
    assert outcomes(db) == []
    assert page.locator("dialog[open]").count() == 0
    assert page.locator("kbd:visible").all_inner_texts() == ["←", "→"]
    press(page, "ArrowLeft")
    today(page, 1)
    awake(page)
    page.keyboard.press("Tab")
    while page.evaluate("document.activeElement.dataset.choice") != "same":
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    today(page, 2)
    assert outcomes(db) == ["prefer", "tie"]


def test_a_layout_of_ones_own_is_made_with_keys_and_a_taken_key_is_refused(
    open_label: Open, server: Server, project: Project, annotator: User, db: Session
) -> None:
    page = open_label()
    page.goto(f"{server.url}/settings")
    assert not page.is_visible(".own-keys")
    page.select_option('[name="keys"]', "own")
    page.focus('[name="own.undo"]')
    page.keyboard.press("s")
    assert page.input_value('[name="own.undo"]') == "s"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "own.note"
    page.keyboard.press("Backspace")
    with page.expect_navigation():
        page.get_by_role("button", name="Save keys and pace").click()
    assert page.inner_text("#own\\.skip-error") == "S is the key of “Undo, up to 50 back” already."
    assert page.evaluate("document.activeElement.name") == "own.skip"
    assert page.input_value('[name="own.undo"]') == "s"
    page.keyboard.press("Shift+J")
    page.focus('[name="own.1"]')
    page.keyboard.press("e")
    with page.expect_navigation():
        page.get_by_role("button", name="Save keys and pace").click()
    assert "Saved." in page.inner_text("#flash")
    go(page, project)
    press(page, "e")
    today(page, 1)
    press(page, "s")
    today(page, 0)
    press(page, "n", "1")  # the note has no key now, and 1 is no longer one
    assert not page.is_visible(".note")
    assert page.locator('[data-command="note"] kbd').count() == 0
    assert page.get_attribute('[data-command="note"]', "aria-keyshortcuts") is None
    assert page.inner_text('[data-command="skip"] kbd') == "⇧J"
    press(page, "Shift+J")
    page.wait_for_selector('#save[data-state="saved"]')
    page.wait_for_timeout(200)
    db.rollback()
    assert db.scalars(select(Assignment.outcome).where(Assignment.outcome.is_not(None))).all() == ["skipped"]
    page.keyboard.press("?")
    sheet = page.inner_text("#keys")
    assert "Own." in sheet
    assert "⇧J" in sheet
    assert "Note" not in sheet
    assert page.problems == []  # type: ignore[attr-defined]


def test_enter_and_esc_can_be_moved_and_switched_off(
    prefer: Prefer, open_label: Open, server: Server, graded: Project, annotator: User, db: Session
) -> None:
    prefer(sending="ask")
    page = open_label()
    page.goto(f"{server.url}/settings")
    page.select_option('[name="keys"]', "own")
    for name, key in (("send", "e"), ("skip", "Enter"), ("leave", "Backspace"), ("finish", "Control+Enter")):
        page.focus(f'[name="own.{name}"]')
        page.keyboard.press(key)
    assert page.input_value('[name="own.finish"]') == "Ctrl+Enter"
    with page.expect_navigation():
        page.get_by_role("button", name="Save keys and pace").click()
    db.refresh(annotator)
    own = annotator.preferences["own"]
    assert (own["send"], own["skip"], own["leave"], own["finish"]) == ("e", "Enter", "", "Ctrl+Enter")
    go(page, graded)
    press(page, "2")
    assert page.inner_text(".send-now") == "Send: A is clearly better\nE"
    assert page.get_attribute(".send-now", "aria-keyshortcuts") == "e"
    assert page.inner_text("#said") == "A is clearly better. E sends."
    press(page, "Escape")  # no key of this person
    press(page, "e")
    today(page, 1)
    assert strengths(db) == [(True, 3)]
    press(page, "n")
    page.keyboard.type("We see.")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "note", "nothing leaves the field but Tab"
    page.keyboard.press("Tab")
    page.focus("#task-title")
    press(page, "Enter")
    page.wait_for_selector('#save[data-state="saved"]')
    page.wait_for_timeout(200)
    db.rollback()
    assert db.scalars(select(Assignment.outcome).where(Assignment.outcome.is_not(None))).all() == [
        "answered",
        "skipped",
    ]
    press(page, "?")
    assert "Esc" not in page.inner_text("#keys")
    page.keyboard.press("Escape")  # the browser's own way to close a dialog
    assert not page.is_visible("#keys")
    press(page, "p")
    assert page.inner_text("#said") == "Paused. E goes on."
    page.keyboard.press("e")
    page.wait_for_selector("#task")


def test_every_chip_on_the_page_names_the_key_that_works(
    prefer: Prefer, open_label: Open, project: Project, graded: Project
) -> None:
    """Whatever carries a command says the same key to eyes and to readers; the sheet has every command once."""
    own = {**STANDARD, "undo": "u", "report": "", "1": "q", "left": "b"}
    prefer(keys="own", own=own)
    page = open_label()
    for place in (project, graded):
        go(page, place)
        for control in page.locator("[data-press]").all():
            names = (control.get_attribute("data-press") or "").split()
            keys = [own[name] for name in names if own[name]]
            said = control.evaluate("e => (e.querySelector('input') ?? e).getAttribute('aria-keyshortcuts')")
            assert (said or "").split() == keys
    page.keyboard.press("?")
    terms = page.locator("#keys dt").all_inner_texts()
    assert "U" in terms
    assert "Z" not in terms
    assert "Report" not in page.inner_text("#keys")
    page.keyboard.press("Escape")
    press(page, "ArrowLeft", "b", "Enter")  # the arrow was given away: one step to the left, not two
    today(page, 1)
    expect(page.locator("#said")).to_contain_text("A is slightly better")


def test_asking_before_sending(prefer: Prefer, open_label: Open, graded: Project, db: Session) -> None:
    prefer(sending="ask")
    page = open_label()
    go(page, graded)
    height = page.evaluate("document.querySelector('#dock').offsetHeight")
    press(page, "2")
    assert page.inner_text(".send-now") == "Send: A is clearly better\nEnter"
    assert not page.is_visible(".question")
    assert page.evaluate("document.querySelector('#dock').offsetHeight") == height
    assert page.inner_text("#said") == "A is clearly better. Enter sends."
    press(page, "8")
    assert page.locator(".cell.chosen").all_inner_texts() == ["8\nClearly"]
    press(page, "Escape")
    assert page.locator(".send-now").count() == 0
    assert outcomes(db) == []
    press(page, "Enter")
    press(page, "7", "Enter")
    today(page, 1)
    awake(page)
    assert page.locator(".send-now, .chosen").count() == 0
    page.click('.cell[data-choice="same"]')
    assert page.evaluate("document.activeElement.className").endswith("send-now")
    page.keyboard.press("Enter")
    today(page, 2)
    press(page, "x", "Enter")
    today(page, 3)
    assert outcomes(db) == ["prefer", "tie", "all_bad"]
    assert strengths(db)[0] == (False, 2)
    press(page, "1")
    page.click(".send-now")
    today(page, 4)


def test_the_project_asks_and_a_person_may_say_otherwise(
    prefer: Prefer, open_label: Open, project: Project, db: Session
) -> None:
    project.settings = {**project.settings, "ask_before_sending": True}
    db.commit()
    page = open_label()
    press(page, "ArrowLeft")
    page.wait_for_selector(".send-now")
    assert outcomes(db) == []
    prefer(sending="one")
    page.reload()
    page.wait_for_selector("#dock[data-ready]", state="attached")
    press(page, "ArrowLeft")
    today(page, 1)


def test_arrows_move_on_a_graded_scale_and_enter_sends(open_label: Open, graded: Project, db: Session) -> None:
    page = open_label()
    go(page, graded)
    press(page, "ArrowLeft", "ArrowLeft", "ArrowRight", "Enter")
    today(page, 1)
    press(page, *["ArrowRight"] * 6, "Enter")
    today(page, 2)
    assert strengths(db) == [(True, 1), (False, 4)]


def test_pause_gives_the_tasks_back_at_once_and_enter_goes_on(open_label: Open, project: Project, db: Session) -> None:
    page = open_label()
    held = select(func.count()).where(Assignment.outcome.is_(None), Assignment.lease_until > func.clock_timestamp())
    assert db.scalars(held).one() == 2
    awake(page)
    with page.expect_response("**/label/pause"):
        page.keyboard.press("p")
    db.rollback()
    assert db.scalars(held).one() == 0
    assert "Paused" in page.inner_text("#paused")
    assert not page.is_visible("#dock")
    assert page.title().startswith("Paused")
    press(page, "1", "z", "s", "x")
    page.wait_for_timeout(300)
    assert outcomes(db) == []
    page.keyboard.press("Enter")
    page.wait_for_selector("#task")
    assert not page.is_visible("#paused")
    assert page.evaluate("document.activeElement.id") == "task-title"
    press(page, "ArrowLeft")
    today(page, 1)
    assert page.problems == []  # type: ignore[attr-defined]


def test_pause_without_a_script(browser: Browser, server: Server, project: Project, annotator: User) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{server.url}/sign-in?next=/projects/everyday/label")
    page.fill('[name="email"]', annotator.email)
    page.fill('[name="password"]', factories.PASSWORD)
    page.press('[name="password"]', "Enter")
    page.get_by_role("button", name="Pause").click()
    assert "Your task went back to the pile" in page.inner_text("#flash")
    context.close()


def test_a_break_is_announced_quietly(prefer: Prefer, open_label: Open, project: Project) -> None:
    project.settings = {"pool": {"lease_minutes": 240}}  # so that nothing else is announced meanwhile
    prefer(break_minutes=25)
    page = open_label()
    page.clock.install()
    page.reload()
    page.wait_for_selector("#dock[data-ready]", state="attached")
    assert page.inner_text("#break") == "break in 25 min"
    for _ in range(13):
        page.keyboard.press("l")
        page.clock.fast_forward(60_000)
        page.clock.run_for(10_000)
    assert page.inner_text("#break") == "break in 10 min"
    for _ in range(10):
        page.keyboard.press("l")
        page.clock.fast_forward(60_000)
        page.clock.run_for(10_000)
    assert page.inner_text("#break") == "time for a break"
    assert page.inner_text("#said") == "Time for a break."
    page.clock.fast_forward(6 * 60_000)
    page.keyboard.press("l")
    page.clock.run_for(10_000)
    assert page.inner_text("#break") == "break in 25 min"
    prefer(break_minutes=0)
    page.reload()
    assert page.locator("#break").count() == 0


def test_letters_come_from_the_character_and_digits_from_the_place(open_label: Open, project: Project) -> None:
    """Keyboards of France (digits need Shift), Germany (? beside the digits) and Russia (other letters)."""
    page = open_label()
    awake(page)
    strike = """([key, code, shiftKey]) => document.body.dispatchEvent(
        new KeyboardEvent("keydown", { key, code, shiftKey, bubbles: true, cancelable: true }))"""
    page.evaluate(strike, ["&", "Digit1", False])
    today(page, 1)
    awake(page)
    page.evaluate(strike, ["я", "KeyZ", False])
    today(page, 0)
    page.evaluate(strike, ["?", "Minus", True])
    assert page.is_visible("#keys")
