"""Talks under everything that goes wrong: what was chosen is stored, once, and the person goes on where they were."""

import pytest
from playwright.sync_api import Page, Route, expect
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.core.records import Assignment, Demonstration, Preference, Project, Rating, Task, User
from tests.background.policy_double import PolicyDouble
from tests.browser.conftest import Open, Server
from tests.browser.test_sign_in_again import end_sessions, sign_in, waiting
from tests.browser.test_talk import double, project, settings, stored, waits  # noqa: F401  fixtures

pytestmark = pytest.mark.browser
HELD = select(func.count()).where(Assignment.outcome.is_(None), Assignment.lease_until > func.clock_timestamp())


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def kept(page: Page, count: int) -> None:
    page.wait_for_selector('#save[data-state="kept"]')
    assert page.inner_text("#save") == f"{count} kept on this device"


def chosen(db: Session) -> list[tuple[str, bool]]:
    """Outcome, and whether it was the first one shown, of every choice that holds."""
    db.rollback()
    rows = db.execute(
        select(Preference.outcome, Preference.tiers, Assignment.display_order)
        .join(Assignment, Assignment.id == Preference.assignment_id)
        .order_by(Preference.id)
    )
    return [(outcome, tiers[0] == [order[0]]) for outcome, tiers, order in rows]


def answered(page: Page) -> None:
    """The questions at the end, and Send."""
    page.click("text=End the talk")
    page.wait_for_selector('#task[data-state="ending"]')
    page.wait_for_selector("#dock[data-awake]")
    press(page, "4")
    page.keyboard.type("It knew the place.")
    page.keyboard.press("Control+Enter")


def test_a_choice_while_the_server_is_away(open_label: Open, server: Server, db: Session) -> None:
    page = open_label()
    waits(page, "open", 1)
    server.stop()
    press(page, "2", "9", "z")
    expect(page.locator(".toast")).to_contain_text("cannot be reached")
    kept(page, 1)
    expect(page.locator(".cell.chosen")).to_have_count(1)
    expect(page.locator("#message")).to_be_disabled()
    server.start()
    page.click("#save")
    page.get_by_role("button", name="Try now").click()
    waits(page, "ready", 1)
    assert chosen(db) == [("prefer", True)]
    page.wait_for_selector('#save[data-state="saved"]')
    assert page.problems == []  # type: ignore[attr-defined]


def test_a_choice_offline_can_be_taken_back_and_a_reload_keeps_it(open_label: Open, db: Session) -> None:
    page = open_label()
    waits(page, "open", 1)
    page.context.set_offline(True)
    press(page, "1")
    kept(page, 1)
    expect(page.locator(".toast")).to_contain_text("The talk goes on when the server is there again")
    press(page, "z")
    expect(page.locator(".toast")).to_contain_text("It had not been sent yet")
    expect(page.locator(".cell.chosen")).to_have_count(0)
    press(page, "w")
    page.keyboard.type("Take the **train**.")
    page.keyboard.press("Control+Enter")
    kept(page, 1)
    page.route("**/talk/pick", lambda route: route.abort())
    page.context.set_offline(False)
    page.reload()
    page.wait_for_selector("#dock[data-ready]", state="attached")
    assert len(waiting(page)) == 1
    assert stored(db, Demonstration) == 0
    page.unroute("**/talk/pick")
    waits(page, "ready", 1)
    assert (stored(db, Demonstration), stored(db, Preference)) == (1, 0)
    expect(page.locator(".says.assistant strong")).to_have_text("train")


def test_a_lost_acknowledgement_and_double_presses_store_once(open_label: Open, db: Session) -> None:
    page = open_label()
    waits(page, "open", 1)

    def lose(route: Route) -> None:
        route.fetch()
        route.abort()

    page.route("**/talk/pick", lose, times=1)
    page.locator('#answer .cell[data-choice="b"]').first.dblclick()
    kept(page, 1)
    assert stored(db, Preference) == 1, "the server has it; the page does not know"
    waits(page, "ready", 1)
    assert chosen(db) == [("prefer", False)]
    page.go_back()
    page.go_forward()
    waits(page, "ready", 1)
    page.route("**/talk/end", lose, times=1)
    answered(page)
    expect(page.locator("#progress")).to_contain_text("1 today", timeout=20_000)
    assert (stored(db, Preference), stored(db, Rating)) == (1, 2)


def test_a_session_that_ends_in_a_talk(open_label: Open, db: Session, annotator: User) -> None:
    page = open_label()
    waits(page, "open", 1)
    end_sessions(db)
    press(page, "2")
    page.wait_for_selector("#sign-in[open]")
    assert stored(db, Preference) == 0
    sign_in(page, annotator.email)
    waits(page, "ready", 1)
    assert stored(db, Preference) == 1
    end_sessions(db)
    press(page, "w")
    page.keyboard.type("And what if it rains?")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#sign-in[open]")
    expect(page.locator("#message")).to_have_value("And what if it rains?")
    sign_in(page, annotator.email)
    waits(page, "open", 2)
    expect(page.locator(".says.user").last).to_contain_text("And what if it rains?")
    press(page, "0")
    waits(page, "ready", 2)
    page.click("text=End the talk")
    page.wait_for_selector('#task[data-state="ending"]')
    page.wait_for_selector("#dock[data-awake]")
    press(page, "4")
    page.keyboard.type("It knew the place.")
    end_sessions(db)
    page.keyboard.press("Control+Enter")
    sign_in(page, annotator.email)
    expect(page.locator("#progress")).to_contain_text("1 today")
    assert (stored(db, Preference), stored(db, Rating)) == (2, 2)
    assert page.problems == []  # type: ignore[attr-defined]


def test_two_windows_on_one_talk(open_label: Open, db: Session) -> None:
    page = open_label()
    waits(page, "open", 1)
    second = page.context.new_page()
    second.goto(page.url)
    waits(second, "open", 1)
    press(page, "2")
    waits(page, "ready", 1)
    waits(second, "ready", 1)
    page.context.set_offline(True)
    press(page, "z")
    page.context.set_offline(False)
    press(second, "z")
    waits(second, "open", 1)
    press(page, "9")  # nothing to choose from here any more
    press(second, "8")
    waits(second, "ready", 1)
    assert chosen(db)[-1] == ("prefer", False)
    assert stored(db, Preference) == 3, "the first choice, its withdrawal, the second choice"


def test_pause_gives_a_talk_back_and_goes_on_with_it(
    open_label: Open,
    double: PolicyDouble,  # noqa: F811  a fixture that is imported
    db: Session,
) -> None:
    double.word_pause = 0.2
    page = open_label()
    page.wait_for_function("() => document.querySelectorAll('.live')[1]?.innerText.length > 3", timeout=30_000)
    assert db.scalars(HELD).one() == 1
    with page.expect_response("**/label/pause"):
        press(page, "p")
    db.rollback()
    assert db.scalars(HELD).one() == 0
    assert "Paused" in page.inner_text("#paused")
    assert not page.is_visible("#task")
    turns = select(func.count()).where(Task.parent_id.is_not(None))
    for _ in range(100):
        db.rollback()
        if db.scalars(turns).one():
            break
        page.wait_for_timeout(100)
    assert db.scalars(turns).one() == 1, "what was asked for is written to its end"
    assert db.scalars(HELD).one() == 0, "and takes nothing back"
    press(page, "1", "x")
    assert stored(db, Preference) == 0
    press(page, "Enter")
    waits(page, "open", 1)
    db.rollback()
    assert db.scalars(HELD).one() == 1
    press(page, "1")
    waits(page, "ready", 1)
    db.rollback()
    assert db.scalars(select(Assignment.late).where(Assignment.outcome.is_not(None))).all() == [False]


def test_the_lease_of_a_talk_is_renewed_or_asked_about(open_label: Open, db: Session) -> None:
    db.execute(update(Project).values(settings={"pool": {"lease_minutes": 2}}))
    db.commit()
    page = open_label()
    waits(page, "open", 1)
    page.clock.install()
    page.reload()
    waits(page, "open", 1)
    talks = select(func.extract("epoch", Assignment.lease_until - func.clock_timestamp()))
    talks = talks.join(Task, Task.id == Assignment.task_id).where(Task.parent_id.is_(None))
    shift = func.make_interval(0, 0, 0, 0, 0, 0, 105)
    db.execute(update(Assignment).values(lease_until=Assignment.lease_until - shift))
    db.commit()
    page.clock.fast_forward(105_000)
    page.clock.run_for(5_000)
    page.wait_for_selector(".notice.lease")
    assert "This task goes back to the pile in 1 minute." in page.inner_text("#notices")
    page.focus("[data-keeps]")
    page.keyboard.press("Enter")
    page.wait_for_selector(".notice.lease", state="detached")
    db.rollback()
    assert float(db.scalars(talks).one()) > 100


def test_an_answer_is_marked_first_where_that_is_asked_for(open_label: Open, annotator: User, db: Session) -> None:
    annotator.preferences = {"sending": "ask"}
    db.commit()
    page = open_label()
    waits(page, "open", 1)
    press(page, "2", "ArrowRight")
    assert page.inner_text(".send-now").startswith("Send: A is better")
    assert stored(db, Preference) == 0
    press(page, "Enter")
    waits(page, "ready", 1)
    assert stored(db, Preference) == 1
