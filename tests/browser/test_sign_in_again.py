"""A session that ends while somebody labels: signed in again above the task, nothing lost, nothing sent for another."""

import pytest
from playwright.sync_api import Page
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.core.records import Preference, Project, SignInAttempt, User, WebSession
from tests import factories
from tests.browser.conftest import Open, Server
from tests.browser.test_label_page import key_of, press, saved, stored

pytestmark = pytest.mark.browser
FIRST_FOCUS = """() => {
    const dialog = document.getElementById("sign-in");
    const note = () => { window.firstFocus ??= document.activeElement.id; };
    new MutationObserver(note).observe(dialog, { attributes: true });
}"""


def end_sessions(db: Session) -> None:
    db.execute(delete(WebSession))
    db.commit()


def sign_in(page: Page, email: str, password: str = factories.PASSWORD) -> None:
    page.wait_for_selector("#sign-in[open]")
    page.fill("#again-email", email)
    page.fill("#again-password", password)
    page.press("#again-password", "Enter")


def waiting(page: Page) -> list[str]:
    found: list[str] = page.evaluate("Object.keys(localStorage).filter((name) => /^palate:\\d+:/.test(name))")
    return found


def test_in_place_and_everything_is_sent(open_label: Open, db: Session, annotator: User) -> None:
    page = open_label()
    page.evaluate(FIRST_FOCUS)
    end_sessions(db)
    press(page, "ArrowLeft")
    page.wait_for_selector("#sign-in[open]")
    assert page.inner_text("#sign-in-title") == "Sign in again to send 1 answer"
    assert page.input_value("#again-email") == annotator.email
    assert page.evaluate("firstFocus") == "sign-in-title", "a key meant for the task is no part of a password"
    page.wait_for_function("() => document.activeElement.id === 'again-password'")
    page.keyboard.press("Escape")
    task = key_of(page)
    press(page, "0")
    page.wait_for_function("() => document.querySelector('#save').innerText === 'Sign in to send 2'")
    assert stored(db) == []
    page.click("#save")
    sign_in(page, annotator.email, "not the password")
    page.wait_for_selector("#sign-in .error:not([hidden])")
    assert page.inner_text("#sign-in .error") == "E-mail and password do not match."
    sign_in(page, annotator.email)
    saved(page)
    assert not page.is_visible("#sign-in")
    assert stored(db) == ["prefer", "tie"]
    page.wait_for_selector("#task")
    assert key_of(page) != task
    press(page, "x")
    page.wait_for_function("() => document.querySelector('#progress').innerText.startsWith('3')")
    assert page.problems == []  # type: ignore[attr-defined]


def test_a_cleared_cookie_and_an_empty_outbox(open_label: Open, db: Session, annotator: User) -> None:
    page = open_label()
    page.context.clear_cookies()
    press(page, "ArrowLeft")
    sign_in(page, annotator.email)
    saved(page)
    assert stored(db) == ["prefer"]
    end_sessions(db)
    press(page, "z")
    page.wait_for_selector("#sign-in[open]")
    assert page.inner_text("#sign-in-title") == "Sign in again to go on"
    sign_in(page, annotator.email)
    page.wait_for_selector("#sign-in", state="hidden")
    press(page, "z")
    page.wait_for_function("() => document.querySelector('#progress').innerText.startsWith('0')")


def test_somebody_else_gets_a_page_of_their_own_and_sends_nothing_of_mine(
    open_label: Open, db: Session, project: Project, annotator: User
) -> None:
    kim = factories.make_user(db, email="kim@example.org")
    factories.add_member(db, project, kim)
    db.commit()
    page = open_label()
    end_sessions(db)
    press(page, "ArrowLeft")
    page.wait_for_selector("#sign-in[open]")
    assert "Only when Mara Oduya signs in is it sent." in page.inner_text("#sign-in")
    sign_in(page, kim.email)
    page.wait_for_selector(f'#dock[data-owner="{kim.id}"]', state="attached")
    page.wait_for_selector("#dock[data-ready]", state="attached")
    assert "1 answer of somebody else is kept on this device" in page.inner_text("#notices")
    press(page, "0")
    saved(page)
    db.rollback()
    assert db.scalars(select(Preference.user_id)).all() == [kim.id]
    assert len(waiting(page)) == 1
    end_sessions(db)
    press(page, "0")
    sign_in(page, annotator.email)
    page.wait_for_selector(f'#dock[data-owner="{annotator.id}"]', state="attached")
    saved(page)
    db.rollback()
    assert db.scalars(select(Preference.user_id).order_by(Preference.id)).all() == [kim.id, annotator.id]
    assert [name.split(":")[1] for name in waiting(page)] == [str(kim.id)]


def test_somebody_else_in_another_window(open_label: Open, server: Server, db: Session, annotator: User) -> None:
    """The page that is still open belongs to the first person: it sends nothing until that person is back."""
    kim = factories.make_user(db, email="kim@example.org")
    db.commit()
    page = open_label()
    other = page.context.new_page()
    other.goto(f"{server.url}/settings")
    other.click('[aria-label="Sign out"] >> visible=true')
    other.fill('[name="email"]', kim.email)
    other.fill('[name="password"]', factories.PASSWORD)
    other.press('[name="password"]', "Enter")
    other.wait_for_selector("h1")
    press(page, "ArrowLeft")
    page.wait_for_selector("#sign-in[open]")
    assert "Somebody else is signed in in this browser now." in page.inner_text("#sign-in")
    assert stored(db) == []
    sign_in(page, annotator.email)
    saved(page)
    db.rollback()
    assert db.scalars(select(Preference.user_id)).all() == [annotator.id]


def test_too_many_tries_are_told_in_place(open_label: Open, db: Session, annotator: User) -> None:
    page = open_label()
    end_sessions(db)
    db.add_all(SignInAttempt(key=f"email:{annotator.email}") for _ in range(10))
    db.commit()
    press(page, "ArrowLeft")
    sign_in(page, annotator.email)
    page.wait_for_selector("#sign-in .error:not([hidden])")
    assert page.inner_text("#sign-in .error").startswith("Too many tries. Try again in ")
    assert len(waiting(page)) == 1


def test_one_sign_in_is_enough_for_two_windows(open_label: Open, db: Session, annotator: User) -> None:
    page = open_label()
    second = page.context.new_page()
    second.goto(page.url)
    second.wait_for_selector("#dock[data-ready]", state="attached")
    end_sessions(db)
    press(page, "ArrowLeft")
    page.wait_for_selector("#sign-in[open]")
    second.wait_for_selector("#sign-in[open]")  # it asked for a task in place of the one that was answered
    sign_in(page, annotator.email)
    second.wait_for_selector("#sign-in", state="hidden")
    saved(page)
    press(second, "0")
    saved(second)
    second.wait_for_timeout(300)
    assert sorted(stored(db)) == ["prefer", "tie"]
