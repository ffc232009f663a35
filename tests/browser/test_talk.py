"""Talks in a real browser: by keys, on a phone, without a script, coming back, and with a model that is not there."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from pydantic import SecretStr
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.core.records import Assignment, Demonstration, Preference, Project, Prompt, Rating, Task, User
from app.core.settings import Settings
from tests import factories
from tests.background.policy_double import PolicyDouble, serve
from tests.browser.access import Looks
from tests.browser.conftest import Open, Server
from tests.browser.test_languages import strange, whole  # noqa: F401  the first is a fixture
from tests.browser.waits import awake
from tests.words.pseudo import CODE

pytestmark = pytest.mark.browser
SCALE = [{"value": n, "label": word} for n, word in enumerate(("Not at all", "", "Half way", "", "Fully"), 1)]
CONVERSE = {
    "type": "converse",
    "key": "overall",
    "question": "Which reply should the talk go on with?",
    "strength": 4,
    "own_reply": True,
}
BESIDE: list[dict[str, Any]] = [
    {"type": "rate", "key": "helpful", "question": "How helpful was it?", "of": "task", "options": SCALE},
    {"type": "note", "key": "why", "question": "Why?", "least": 5},
]
WITHIN = 30_000
"""Milliseconds; the machine may be busy."""


@pytest.fixture
def double() -> Iterator[PolicyDouble]:
    with serve(PolicyDouble(word_pause=0.01)) as double:
        yield double


@pytest.fixture
def settings(settings: Settings, double: PolicyDouble) -> Settings:
    return settings.model_copy(update={"policy_url": double.url, "policy_token": SecretStr("secret")})


@pytest.fixture
def project(db: Session, annotator: User, double: PolicyDouble) -> Project:
    """Three talks, each opened by its prompt, with two questions at the end."""
    project = factories.make_project(
        db,
        slug="everyday",
        name="Everyday assistant",
        members={annotator: "annotator"},
        fields=[CONVERSE, *BESIDE],
    )
    model, deployment = factories.make_policy(db, project, version=7)
    double.version, double.model_id, double.deployment_id = 7, model.id, deployment.id
    text = "I want to propose to my girlfriend on a hike near Bergen in early May. She has a bad knee. Where? {}"
    for number in range(3):
        factories.make_task(db, factories.make_prompt(db, project, text.format(number)), [])
    db.commit()
    return project


def waits(page: Page, state: str, turns: int) -> None:
    """Until the talk says that it waits for this, with so many turns."""
    page.wait_for_selector(f'#task[data-at="{turns}{state}"]', timeout=WITHIN, state="attached")
    awake(page)


def look(page: Page, name: str) -> None:
    """A picture for a person, where one is asked for: SHOTS=directory."""
    if os.environ.get("SHOTS"):
        page.screenshot(path=str(Path(os.environ["SHOTS"]) / f"{name}.png"))


def stored(db: Session, what: Any) -> Any:
    db.rollback()
    count = db.scalar(select(func.count(what.id)))
    db.rollback()
    return count


def test_a_whole_talk_by_keys(open_label: Open, db: Session) -> None:
    page = open_label()
    waits(page, "open", 1)
    look(page, "open")
    page.keyboard.press("2")
    waits(page, "ready", 1)
    expect(page.locator(".other summary")).to_have_text("Other reply")
    assert stored(db, Preference) == 1
    page.keyboard.press("w")
    page.keyboard.type("And what if it rains?")
    look(page, "writing")
    page.keyboard.press("Control+Enter")
    waits(page, "open", 2)
    expect(page.locator(".says.user").last).to_contain_text("And what if it rains?")
    page.keyboard.press("0")
    waits(page, "ready", 2)
    page.click("text=End the talk")
    page.wait_for_selector('#task[data-state="ending"]')
    awake(page)
    page.keyboard.press("Enter")
    expect(page.locator(".toast")).to_contain_text("Still open")
    page.keyboard.press("4")
    page.keyboard.type("It knew the place.")
    look(page, "ending")
    page.keyboard.press("Control+Enter")
    page.wait_for_function("() => document.querySelector('#progress').innerText.startsWith('1 today')", timeout=WITHIN)
    assert stored(db, Rating) == 2
    assert list(db.scalars(select(Preference.outcome).order_by(Preference.id))) == ["prefer", "tie"]
    turns = select(Assignment.seen_to_end).join(Task).where(Task.parent_id.is_not(None)).order_by(Assignment.id)
    assert list(db.scalars(turns)) == [[0, 1], [0, 1]]
    assert page.problems == []  # type: ignore[attr-defined]


@pytest.mark.timeout(240)
def test_axe_finds_nothing_in_a_talk(open_label: Open) -> None:
    """In each of its states, wide and narrow, light and dark."""
    page, looks = open_label(bypass_csp=True), Looks()
    waits(page, "open", 1)
    looks.look(page, "replies to choose between")
    page.keyboard.press("2")
    waits(page, "ready", 1)
    looks.look(page, "the next message")
    page.click("text=End the talk")
    page.wait_for_selector('#task[data-state="ending"]')
    looks.look(page, "the questions at the end")
    assert looks.found == [], "\n".join(looks.found)


def test_undo_opens_the_turn_again(open_label: Open, db: Session) -> None:
    page = open_label()
    waits(page, "open", 1)
    first = page.locator(".replies .pane-0 .rendered").inner_text()
    page.keyboard.press("1")
    waits(page, "ready", 1)
    page.keyboard.press("z")
    waits(page, "open", 1)
    assert page.locator(".replies .pane-0 .rendered").inner_text() == first
    assert list(db.scalars(select(Preference.withdrawn).order_by(Preference.id))) == [False, True]


def test_both_bad_brings_new_replies(open_label: Open, db: Session) -> None:
    page = open_label()
    waits(page, "open", 1)
    page.keyboard.press("x")
    waits(page, "open", 2)
    expect(page.locator(".other summary")).to_have_text("Both replies were bad")


def test_a_reply_of_ones_own(open_label: Open, db: Session) -> None:
    page = open_label()
    waits(page, "open", 1)
    page.keyboard.press("w")
    page.keyboard.type("Take the **Fløibanen** up.")
    page.keyboard.press("Control+Enter")
    waits(page, "ready", 1)
    expect(page.locator(".says.assistant strong")).to_have_text("Fløibanen")
    assert (stored(db, Demonstration), stored(db, Preference)) == (1, 0)


def test_what_was_begun_goes_on_without_its_page(open_label: Open, double: PolicyDouble, db: Session) -> None:
    double.word_pause = 0.25
    page = open_label()
    page.wait_for_function("() => document.querySelectorAll('.live')[1]?.innerText.length > 3", timeout=WITHIN)
    look(page, "streaming")
    inert = page.locator("#answer .gate[inert]")
    assert inert.count() == 2, "the scale opens when both replies have ended"
    page.reload()
    waits(page, "open", 1)
    assert stored(db, Task) == 4, "three talks and one turn"
    assert len(double.asked) == 1


def test_the_text_is_kept_while_the_model_is_not_there(open_label: Open, double: PolicyDouble) -> None:
    page = open_label()
    waits(page, "open", 1)
    page.keyboard.press("5")
    waits(page, "ready", 1)
    double.status = 503
    page.keyboard.press("w")
    page.keyboard.type("Are you there?")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#trouble")).to_contain_text("The model is starting", timeout=WITHIN)
    expect(page.locator("#trouble")).to_contain_text("Comparisons go on")
    look(page, "trouble")
    page.reload()
    expect(page.locator("#message")).to_have_value("Are you there?")
    double.status = 200
    page.click("#say button")
    waits(page, "open", 2)


def test_equal_replies_are_asked_for_once_more(open_label: Open, double: PolicyDouble) -> None:
    double.same = 1
    page = open_label()
    waits(page, "open", 1)
    assert [asked["n"] for asked in double.asked] == [2, 1]
    assert double.asked[1]["model"] == "everyday@v7", "from the version that wrote the first"
    texts = page.locator(".replies .rendered").all_inner_texts()
    assert texts[0] != texts[1]
    assert "The same again." in texts


def test_a_sensitive_talk_is_hidden_until_it_is_shown(open_label: Open, db: Session) -> None:
    db.execute(update(Prompt).values(sensitive=True))
    db.execute(update(Task).values(sensitive=True))
    db.commit()
    page = open_label()
    waits(page, "open", 1)
    look(page, "talk-veiled")
    assert "Bergen" not in page.inner_text("body")
    for reply in page.locator(".replies .rendered").all():
        assert reply.is_hidden()
    page.keyboard.press("2")
    expect(page.locator(".toast")).to_contain_text("Show the text first")
    page.keyboard.press("w")
    page.keyboard.type("I would say so.")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".toast")).to_contain_text("Show the text first")
    assert (stored(db, Preference), stored(db, Demonstration)) == (0, 0)
    page.fill("#message", "")
    page.keyboard.press("Escape")
    page.keyboard.press("v")
    assert "Bergen" in page.inner_text("body")
    page.keyboard.press("2")
    waits(page, "ready", 1)
    assert "Bergen" in page.inner_text("body"), "the same talk stays open"
    assert stored(db, Preference) == 1
    turn = db.scalars(select(Task).where(Task.parent_id.is_not(None))).one()
    assert turn.sensitive


def test_on_a_phone(open_label: Open, db: Session) -> None:
    page = open_label(width=390, height=844, has_touch=True)
    waits(page, "open", 1)
    look(page, "phone")
    assert page.locator(".replies .pane-1").is_hidden()
    page.locator(".switch label", has_text="B").click()
    assert page.locator(".replies .pane-1").is_visible()
    page.locator("#answer .cell").first.click()
    waits(page, "ready", 1)
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390
    page.fill("#message", "Thank you.")
    look(page, "phone-ready")
    page.click("#say button")
    waits(page, "open", 2)


@pytest.mark.slow
def test_a_whole_talk_by_pointer(open_label: Open, db: Session) -> None:
    page = open_label()
    waits(page, "open", 1)
    page.click('#answer .cell[data-choice="a"]')
    waits(page, "ready", 1)
    page.fill("#message", "And then?")
    page.click("#say button")
    waits(page, "open", 2)
    page.fill("#message", "A better one.")
    page.click("text=Use my reply")
    waits(page, "ready", 2)
    page.click("text=End the talk")
    page.wait_for_selector('#task[data-state="ending"]')
    awake(page)
    page.click('label:has([name="helpful.value"][value="4"])')
    page.fill('[name="why.text"]', "It knew the place.")
    page.click("#answer .send")
    expect(page.locator("#progress")).to_contain_text("1 today", timeout=WITHIN)
    assert (stored(db, Preference), stored(db, Demonstration), stored(db, Rating)) == (1, 1, 2)


@pytest.mark.parametrize(("width", "theme"), [(1024, "light"), (1440, "dark")])
def test_it_fits(open_label: Open, width: int, theme: str) -> None:
    page = open_label(width=width, height=800, theme=theme)
    waits(page, "open", 1)
    look(page, f"{width}-{theme}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    boxes = [page.locator(f".replies .pane-{slot}").bounding_box() for slot in (0, 1)]
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert abs(boxes[0]["width"] - boxes[1]["width"]) < 1


def test_without_a_script(browser: Browser, server: Server, project: Project, annotator: User, db: Session) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{server.url}/sign-in?next=/projects/{project.slug}/label")
    page.fill('[name="email"]', annotator.email)
    page.fill('[name="password"]', factories.PASSWORD)
    page.press('[name="password"]', "Enter")
    page.click("text=Get the replies")
    expect(page.locator(".replies .pane")).to_have_count(2)
    held = select(func.count()).where(Assignment.outcome.is_(None), Assignment.lease_until > func.clock_timestamp())
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#flash")).to_contain_text("Your task went back to the pile")
    db.rollback()
    assert db.scalars(held).one() == 0
    page.goto(f"{server.url}/projects/{project.slug}/label")
    page.click('#answer .cell[value="b2"]')
    page.wait_for_selector('#task[data-state="ready"]')
    page.fill("#message", "And then?")
    page.click("#say button")
    expect(page.locator(".replies .pane")).to_have_count(2)
    page.click('#answer .cell[value="same"]')
    page.click("text=End the talk")
    page.check('[name="helpful.value"][value="4"]', force=True)
    page.fill('[name="why.text"]', "It knew the place.")
    page.click("#answer .send")
    expect(page.locator("#progress")).to_contain_text("1 today")
    context.close()
    db.rollback()
    assert stored(db, Preference) == 2
    assert db.scalars(select(Assignment.late).where(Assignment.outcome.is_not(None))).all() == [False] * 3


def test_no_body_tells_what_wrote_a_reply(open_label: Open, double: PolicyDouble) -> None:
    bodies: list[str] = []
    page = open_label()
    page.on("response", lambda response: bodies.append(response.text()) if "/label" in response.url else None)
    waits(page, "open", 1)
    page.keyboard.press("1")
    waits(page, "ready", 1)
    page.keyboard.press("w")
    page.keyboard.type("Go on.")
    page.keyboard.press("Control+Enter")
    waits(page, "open", 2)
    page.reload()
    waits(page, "open", 2)
    assert len(bodies) >= 3
    for body in bodies:
        assert not re.search(r"\bv7\b|@v|model_id|deployment|token_ids|logprob|\"tiny\"|palate\"", body), body[:400]


def test_a_talk_speaks_any_language(strange: None, annotator: User, db: Session, open_label: Open) -> None:  # noqa: F811  a fixture that is imported
    """In the language that is none (tests/words/pseudo.py): nothing came from elsewhere than a catalogue."""
    annotator.preferences = {"language": CODE}
    db.commit()
    page = open_label()
    waits(page, "open", 1)
    whole(page, "talk-open")
    page.set_viewport_size({"width": 1440, "height": 900})
    page.keyboard.press("1")
    waits(page, "ready", 1)
    whole(page, "talk-ready")
    page.get_by_role("link", name="⟦Éńd thé tálk").click()
    page.wait_for_selector("#dock[data-ready]", state="attached")
    whole(page, "talk-end")
