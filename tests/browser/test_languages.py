"""The annotators' pages in a language that is none: everything from catalogues, nothing cut off, the other way round.

And in German, chosen or asked for by the browser.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser, BrowserContext, Page
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.records import Assignment, Preference, Project, User
from app.web import words
from tests import factories
from tests.browser.conftest import Server
from tests.browser.test_forms import CLEAR, COMPARE, EDIT, FIRST, FLAGS, MARK, WHY, WRITE
from tests.browser.waits import awake
from tests.words.pseudo import CODE, pseudo

pytestmark = pytest.mark.browser
GRADED = {**factories.PROTOCOL[0], "strength": 4}
RANK = {"type": "rank", "key": "overall", "question": "Best first.", "answers": 3, "ties": True, "all_bad": True}
CHOOSE = {"type": "choose", "key": "overall", "question": "Which is the best?", "answers": 3, "all_bad": True}
FORMS: dict[str, tuple[list[dict[str, Any]], int]] = {
    "compare": ([factories.PROTOCOL[0]], 2),
    "graded": ([GRADED], 2),
    "aspects": ([COMPARE, CLEAR, FLAGS, WHY], 2),
    "covered": ([CLEAR, FIRST], 2),
    "rank": ([RANK], 3),
    "choose": ([CHOOSE, WHY], 3),
    "edit": ([EDIT], 1),
    "write": ([WRITE], 0),
    "marks": ([MARK], 1),
}
TEXTS = ("Kassel it is. " * 60, "**Bern** it is.", "Neither of them.")
OWN = [
    *("Palate", "UTC", "Mara Oduya", "mara@example.org", "MO", "Everyday assistant", "Tone", "Why?", "Not at all"),
    *("Half way", "Half", "Fully", "Wrong", "Vague", "Contains personal data", "Fails the task", "Deutsch", "English"),
    "How helpful was it?",
    *(field["question"] for fields, _ in FORMS.values() for field in fields),
]
"""What stands on these pages and is nobody's interface: names, questions and labels that people of a project wrote."""
FOUND = """own => {
    const bare = (text) => {
        text = text.replace(/\\S+@example\\.org|https?:\\/\\/\\S+/g, "");
        for (const one of own) text = text.replaceAll(one, "");
        for (let last; last !== text;) { last = text; text = text.replace(/⟦[^⟦⟧]*⟧/g, ""); }
        text = text.replace(/^[^⟦⟧]*⟧|⟦[^⟦⟧]*$/g, "");  // parted by a value with markup of its own, such as a key
        return /[A-Za-z]{2}/.test(text) ? text.trim() : "";
    };
    const NAMES = ["aria-label", "title", "placeholder", "alt"];
    const found = [bare(document.title)];
    const walk = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT);
    for (let node = walk.nextNode(); node; node = walk.nextNode()) {
        const element = node.nodeType === Node.TEXT_NODE ? node.parentElement : node;
        if (element.closest('[lang=""], [translate="no"], code, kbd, noscript, script, style, title')) continue;
        if (node.nodeType === Node.TEXT_NODE) { found.push(bare(node.data)); continue; }
        for (const name of NAMES) found.push(bare(node.getAttribute(name) ?? ""));
    }
    return found.filter(Boolean);
}"""
Show = Callable[..., Page]


@pytest.fixture
def strange(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The language that is none, for the time of a test."""
    monkeypatch.setitem(words.languages(), CODE, pseudo())
    words.script_words.cache_clear()
    yield
    words.script_words.cache_clear()


@pytest.fixture
def make(db: Session, annotator: User) -> Callable[[str], Project]:
    """A project whose tasks have one of FORMS."""

    def made(name: str) -> Project:
        fields, answers = FORMS[name]
        project = factories.make_project(
            db,
            slug=name,
            name="Everyday assistant",
            members={annotator: "annotator"},
            fields=fields,
            guidelines="# Be kind",
        )
        for number in range(3):
            prompt = factories.make_prompt(db, project, f"Which is the capital? ({number})")
            factories.make_task(db, prompt, [factories.make_completion(db, prompt, text) for text in TEXTS[:answers]])
        db.commit()
        return project

    return made


@pytest.fixture
def show(browser: Browser, server: Server, annotator: User, db: Session) -> Iterator[Show]:
    """`show(address, width=…, language=…)`: a page for the annotator, who chose that language."""
    contexts: list[BrowserContext] = []

    def shown(address: str, *, width: int = 1440, language: str = CODE, signed: bool = True, **options: Any) -> Page:
        annotator.preferences = {**annotator.preferences, "language": language}
        db.commit()
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(8000)
        page.goto(f"{server.url}/sign-in?next={address}" if signed else server.url + address)
        if signed:
            page.fill('[name="email"]', annotator.email)
            page.fill('[name="password"]', factories.PASSWORD)
            page.press('[name="password"]', "Enter")
            page.wait_for_url(server.url + address)
            if page.locator("#dock").count():
                page.wait_for_selector("#dock[data-ready]", state="attached")
        return page

    yield shown
    for context in contexts:
        context.close()


def look(page: Page, name: str) -> None:
    """A picture for a person, where one is asked for: SHOTS=directory."""
    if place := os.environ.get("SHOTS"):
        page.screenshot(path=f"{place}/{name}.png")


def whole(page: Page, name: str, own: Sequence[str] = OWN) -> None:
    """Nothing on this page is without a catalogue, and nothing sticks out of it at any width."""
    assert page.evaluate(FOUND, list(own)) == [], name
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 900})
        look(page, f"{name}-{width}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{name} at {width}"


GATE = ("compare", "aspects", "marks")
"""The forms that are looked at each time; the others by the slow command."""


@pytest.mark.parametrize(
    "name", [name if name in GATE else pytest.param(name, marks=pytest.mark.slow) for name in FORMS]
)
def test_every_form_speaks_the_language(strange: None, make: Callable[[str], Project], show: Show, name: str) -> None:
    make(name)
    page = show(f"/projects/{name}/label")
    assert page.locator("html").get_attribute("dir") == "rtl"
    whole(page, name)
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    page.wait_for_selector("#keys[open]")
    whole(page, f"{name}-keys")


def test_what_happens_on_the_label_page_is_told_in_it(
    strange: None, make: Callable[[str], Project], show: Show
) -> None:
    make("compare")
    page = show("/projects/compare/label")
    for key in ("1", "z", "n", "Escape", "d", "g"):
        awake(page)
        page.keyboard.press(key)
        page.wait_for_function("() => document.querySelector('#save').dataset.state === 'saved'")
    page.wait_for_selector(".toast")
    whole(page, "compare-busy")
    page.keyboard.press("p")
    page.wait_for_selector("#paused:not([hidden])")
    whole(page, "compare-paused")
    page.keyboard.press("Enter")
    page.wait_for_selector("#paused", state="hidden")
    while page.locator("#nothing").is_hidden():  # a page that never gets there ends in a timeout
        page.wait_for_selector("#dock[data-awake], #nothing:not([hidden])", state="attached")
        page.keyboard.press("x")
    whole(page, "compare-nothing")
    page.goto(page.url.replace("label", "history"))
    whole(page, "history")
    page.locator(".work-list a.button").first.click()
    page.wait_for_selector("#dock[data-ready]", state="attached")
    whole(page, "edit-again")


@pytest.mark.parametrize("address", ["/", "/settings", "/projects/compare/guidelines", "/projects/compare/members"])
def test_pages_around_speak_it(strange: None, make: Callable[[str], Project], show: Show, address: str) -> None:
    make("compare")
    whole(show(address), address.replace("/", "_"))


@pytest.mark.parametrize("address", ["/sign-in", "/nowhere"])
def test_strangers_are_told_in_it(strange: None, show: Show, address: str) -> None:
    page = show(address, signed=False, locale=CODE)
    assert page.locator("html").get_attribute("dir") == "rtl"
    whole(page, address.replace("/", "stranger_"))
    if address == "/sign-in":
        page.fill('[name="email"]', "nobody@example.org")
        page.fill('[name="password"]', "wrong enough")
        page.press('[name="password"]', "Enter")
        page.wait_for_selector(".notice.bad")
        whole(page, "stranger_refused")


def test_an_arrow_answers_what_it_points_at(
    strange: None, make: Callable[[str], Project], show: Show, db: Session
) -> None:
    """From right to left the first answer stands on the right, and so does the key for it."""
    make("compare")
    page = show("/projects/compare/label")
    first, second = (page.locator(f".pane-{slot}").bounding_box() for slot in (0, 1))
    assert first
    assert second
    assert first["x"] > second["x"]
    awake(page)
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector('#save[data-state="saved"]')
    page.wait_for_function(
        "() => document.querySelector('#progress').dataset.today !== '' && !document.querySelector('.chosen')"
    )
    db.rollback()
    said = db.scalars(select(Preference)).one()
    order = db.scalars(select(Assignment.display_order).where(Assignment.id == said.assignment_id)).one()
    assert said.tiers == [[order[1]], [order[0]]]


def test_an_arrow_moves_along_the_scale_as_it_points(strange: None, make: Callable[[str], Project], show: Show) -> None:
    make("graded")
    page = show("/projects/graded/label")
    awake(page)
    page.keyboard.press("ArrowLeft")
    marked = page.locator(".cell.chosen")
    assert (marked.get_attribute("data-choice"), marked.get_attribute("data-strength")) == ("b", "1")
    page.keyboard.press("ArrowRight")
    assert marked.get_attribute("data-choice") == "same"


def test_somebody_who_chose_german_reads_german(make: Callable[[str], Project], show: Show, server: Server) -> None:
    make("compare")
    page = show("/projects/compare/label", language="de")
    assert page.locator("html").get_attribute("lang") == "de"
    assert page.locator('[data-command="skip"]').inner_text().startswith("Überspringen")
    assert page.locator(".material").first.get_attribute("lang") == ""
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 900})
        look(page, f"de-compare-{width}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.set_viewport_size({"width": 1440, "height": 900})
    awake(page)
    page.keyboard.press("1")
    page.wait_for_function("() => document.querySelector('#said').textContent.startsWith('Gespeichert: ')")
    assert page.locator("#said").text_content() == "Gespeichert: A ist besser."
    refused = page.evaluate(
        """async (address) => {
            const token = document.querySelector('meta[name="csrf-token"]').content;
            const headers = { Accept: "application/json", "X-CSRF-Token": token };
            const key = "0b2d5b8e-6f43-4d5a-9d7e-0a2f3b4c5d6e";
            const body = new URLSearchParams({ key, token: key });
            const sent = await fetch(address, { method: "POST", headers, body });
            return (await sent.json()).message;
        }""",
        "/projects/compare/label/answer",
    )
    assert refused == "Diese Aufgabe ist nicht Ihre, oder sie wurde zurückgenommen. Nichts wurde gespeichert."
    page.goto(f"{server.url}/settings")
    assert page.locator('select[name="language"]').input_value() == "de"
    look(page, "de-settings")


def test_a_first_visitor_reads_what_the_browser_asks_for(show: Show) -> None:
    page = show("/sign-in", signed=False, locale="de-DE")
    assert page.locator("h1").inner_text() == "Anmelden"
    assert page.locator("html").get_attribute("lang") == "de"
    look(page, "de-sign-in")
    assert show("/sign-in", signed=False, locale="fr-FR").locator("h1").inner_text() == "Sign in"
