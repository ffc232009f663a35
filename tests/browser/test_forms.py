"""Forms of several questions, and what people write and mark: by keys, by pointer, on a phone, without a script."""

import os
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Browser, Page
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.records import Assignment, Criterion, Demonstration, Preference, Rating, Step, User
from tests import factories
from tests.browser.conftest import Open
from tests.browser.test_fields import press, saved
from tests.browser.waits import awake

pytestmark = pytest.mark.browser
FIVE = [{"value": n, "label": word} for n, word in enumerate(("Not at all", "", "Half", "", "Fully"), 1)]
COMPARE = {**factories.PROTOCOL[0], "aspects": [{"key": "tone", "label": "Tone"}]}
CLEAR = {"type": "rate", "key": "clear", "question": "How clear is it?", "options": FIVE, "not_applicable": True}
FLAGS = {
    "type": "flags",
    "key": "flags",
    "question": "What is wrong with it?",
    "flags": [{"key": "personal", "label": "Contains personal data"}, {"key": "fails", "label": "Fails the task"}],
}
WHY = {"type": "note", "key": "why", "question": "Why?", "least": 10}
FIRST = {"type": "note", "key": "first", "question": "What was asked, in your words?", "least": 5, "hides": "answers"}
EDIT = {"type": "edit", "key": "better", "question": "Make it better."}
WRITE = {"type": "demonstrate", "key": "own", "question": "Write the answer that you would want."}
MARK = {
    "type": "annotate",
    "key": "errors",
    "question": "Mark what is wrong.",
    "labels": [{"key": "wrong", "label": "Wrong"}, {"key": "vague", "label": "Vague"}],
}
TEXTS = ("Kassel is the 🏙 capital. It is big.", "**Bern** is the seat of government.")
Ask = Callable[..., None]


@pytest.fixture
def ask(db: Session, annotator: User) -> Ask:
    """`ask(field, …)`: the project of these tests, with four tasks of as many answers as the fields want."""

    def make(*fields: dict[str, Any], answers: int) -> None:
        project = factories.make_project(
            db, slug="everyday", name="Everyday assistant", members={annotator: "annotator"}, fields=fields
        )
        for _ in range(4):
            prompt = factories.make_prompt(
                db, project, f"What is the capital of Switzerland? ({db.info.setdefault('n', 0)})"
            )
            db.info["n"] += 1
            factories.make_task(db, prompt, [factories.make_completion(db, prompt, text) for text in TEXTS[:answers]])
        db.commit()

    return make


@pytest.fixture
def project() -> Any:
    """The pages only need the address; `ask` makes the rows."""

    class Somewhere:
        slug = "everyday"

    return Somewhere()


def shot(page: Page, name: str) -> None:
    if place := os.environ.get("SHOTS"):
        page.screenshot(path=f"{place}/{name}.png")


def ratings(db: Session) -> list[tuple[str, int | None, float | None, str]]:
    """Criterion, slot, value and text of what holds, in the order it was stored."""
    db.rollback()
    rows = db.execute(
        select(Criterion.key, Rating.position, Rating.value, Rating.text, Assignment.display_order)
        .join(Criterion, Criterion.id == Rating.criterion_id)
        .join(Assignment, Assignment.id == Rating.assignment_id)
        .order_by(Rating.id)
    )
    return [
        (key, None if position is None else order.index(position), value, text)
        for key, position, value, text, order in rows
    ]


def written(db: Session) -> list[tuple[str, bool]]:
    """Text of each demonstration, and whether it was edited from an answer."""
    db.rollback()
    rows = db.execute(
        select(Step.content, Demonstration.edited_from_id)
        .join(Step, Step.trajectory_id == Demonstration.trajectory_id)
        .order_by(Demonstration.id)
    )
    return [(text, origin is not None) for text, origin in rows]


def preferred(db: Session) -> list[tuple[str, str, list[list[int]]]]:
    """Field, outcome and tiers, in slots."""
    db.rollback()
    rows = db.execute(
        select(Preference.field, Preference.outcome, Preference.tiers, Assignment.display_order)
        .join(Assignment, Assignment.id == Preference.assignment_id)
        .order_by(Preference.id)
    )
    return [
        (field, said, [sorted(order.index(p) for p in tier) for tier in tiers]) for field, said, tiers, order in rows
    ]


def test_a_form_of_several_questions_by_keys(ask: Ask, open_label: Open, db: Session) -> None:
    ask(COMPARE, CLEAR, FLAGS, WHY, answers=2)
    page = open_label()
    shot(page, "several-light")
    # Overall, tone, clear (A, B), flags (A: second; on to B, to the note), the note, Enter.
    press(page, "ArrowRight", "1", "4", "0", "2", "ArrowDown", "ArrowDown")
    page.keyboard.type("It names the place.")
    press(page, "Escape")
    shot(page, "several-filled")
    press(page, "Enter")
    saved(page, 1)
    assert preferred(db) == [("overall", "prefer", [[1], [0]]), ("overall.tone", "prefer", [[0], [1]])]
    assert ratings(db) == [
        ("clear", 0, 4.0, ""),
        ("clear", 1, None, ""),
        ("flags.personal", 0, 0.0, ""),
        ("flags.fails", 0, 1.0, ""),
        ("flags.personal", 1, 0.0, ""),
        ("flags.fails", 1, 0.0, ""),
        ("why", None, None, "It names the place."),
    ]
    assert "B is better (Tone: A). How clear is it? A 4, B does not apply. Flags: A Fails the task" in page.inner_text(
        "#said"
    )
    press(page, "z")
    saved(page, 0)
    assert len(ratings(db)) == 14  # each row withdrawn by one of its own
    assert page.problems == []  # type: ignore[attr-defined]


def test_what_is_open_is_named_and_gets_the_focus(ask: Ask, open_label: Open, db: Session) -> None:
    ask(COMPARE, CLEAR, answers=2)
    page = open_label()
    press(page, "ArrowLeft", "2", "5", "ArrowUp", "Enter")
    assert page.inner_text(".toast") == "Still open: How clear is it? Answer B"
    press(page, "3", "Enter")
    saved(page, 1)
    assert ratings(db) == [("clear", 0, 5.0, ""), ("clear", 1, 3.0, "")]


def test_several_questions_by_pointer_and_a_reload_keeps_them(ask: Ask, open_label: Open, db: Session) -> None:
    ask(COMPARE, CLEAR, WHY, answers=2)
    page = open_label()
    awake(page)
    page.click('label.cell:has([value="same"])')
    page.click('.row-of:has-text("Tone") label:has([value="b"])')
    page.fill("#text-why", "Neither says why.")
    page.reload()
    page.wait_for_selector("#dock[data-ready]", state="attached")
    assert page.input_value("#text-why") == "Neither says why."
    assert page.is_checked('[name="choice"][value="same"]')
    awake(page)
    for row in range(2):
        page.locator('[aria-labelledby="asked-clear"] .row-of').nth(row).locator(
            f'label:has([value="{row + 2}"])'
        ).click()
    page.click(".send")
    saved(page, 1)
    assert preferred(db) == [("overall", "tie", [[0, 1]]), ("overall.tone", "prefer", [[1], [0]])]
    assert [value for _, _, value, _ in ratings(db)] == [2.0, 3.0, None]


def test_several_questions_on_a_phone(ask: Ask, open_label: Open, db: Session) -> None:
    ask(COMPARE, FLAGS, answers=2)
    page = open_label(width=390, height=844, has_touch=True, is_mobile=True)
    awake(page)
    shot(page, "several-phone")
    page.tap('label.cell:has([value="a"])')
    page.wait_for_selector(".questions", state="visible")
    shot(page, "several-phone-questions")
    page.tap('.row-of:has-text("Tone") label:has([value="a"])')
    page.tap(".send")
    saved(page, 1)
    assert len(ratings(db)) == 4
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_one_answer_is_rated(ask: Ask, open_label: Open, db: Session) -> None:
    ask(CLEAR, answers=1)
    page = open_label()
    shot(page, "rate")
    press(page, "4", "Enter")
    saved(page, 1)
    press(page, "2", "ArrowRight", "Enter")
    saved(page, 2)
    assert ratings(db) == [("clear", 0, 4.0, ""), ("clear", 0, 3.0, "")]


def test_a_note_comes_before_the_answers(ask: Ask, open_label: Open, db: Session) -> None:
    ask(factories.PROTOCOL[0], FIRST, answers=2)
    page = open_label()
    covered = "getComputedStyle(document.querySelector('.pane .body')).visibility"
    assert page.evaluate(covered) == "hidden"
    page.fill("#text-first", "The c")
    assert page.evaluate(covered) == "visible"
    page.fill("#text-first", "The")
    assert page.evaluate(covered) == "hidden"
    page.fill("#text-first", "The capital of a country.")
    page.keyboard.press("Escape")
    press(page, "ArrowUp", "ArrowLeft")
    page.click(".send")
    saved(page, 1)
    assert ratings(db) == [("first", None, None, "The capital of a country.")]


def test_an_answer_is_rewritten(ask: Ask, open_label: Open, db: Session) -> None:
    ask(EDIT, answers=1)
    page = open_label()
    shot(page, "edit")
    assert page.locator(".send kbd:visible").all_inner_texts() == ["Enter"]
    place = page.locator(".send").bounding_box()
    press(page, "w")
    assert page.locator(".send").bounding_box() == place, "a button that moved under the pointer would lose its click"
    assert page.locator(".send kbd:visible").all_inner_texts() == ["Ctrl+Enter"]
    page.keyboard.press("Control+End")
    page.keyboard.type(" **Really.**")
    page.click('[data-command="preview"]')
    assert page.inner_text(".preview strong") == "Really."
    shot(page, "edit-preview")
    page.keyboard.press("Escape")
    press(page, "d")
    press(page, "Enter")
    saved(page, 1)
    assert written(db) == [(f"{TEXTS[0]} **Really.**", True)]
    assert page.problems == []  # type: ignore[attr-defined]


def test_an_answer_is_written(ask: Ask, open_label: Open, db: Session) -> None:
    ask(WRITE, CLEAR | {"of": "task"}, answers=0)
    page = open_label()
    press(page, "w")
    page.keyboard.type("Bern, though no law says so.")
    shot(page, "write")
    page.keyboard.press("Control+Enter")
    assert page.inner_text(".toast") == "Still open: How clear is it?"
    press(page, "5", "Enter")
    saved(page, 1)
    assert written(db) == [("Bern, though no law says so.", False)]
    press(page, "z")
    saved(page, 0)
    assert len(written(db)) == 2  # the second row takes the first one back


def test_passages_are_marked_by_keys_and_by_pointer(ask: Ask, open_label: Open, db: Session) -> None:
    ask(MARK, answers=1)
    page = open_label()
    assert page.is_visible(".pane .source")
    page.focus(".pane > .body")
    press(page, "ArrowRight", "ArrowRight", "ArrowRight", "ArrowRight", "Shift+ArrowRight", "1")
    page.fill(".marked input", "It is Bern.")
    shot(page, "marks")
    page.evaluate(
        "() => { const text = document.querySelector('.pane .source').firstChild;"
        " document.getSelection().setBaseAndExtent(text, 7, text, 0); }"
    )
    assert page.inner_text(".marks-held") == "Selected: “Kassel”", "without the blank behind it"
    page.click('[data-mark="vague"]')
    assert page.locator(".marked li").count() == 2
    page.click(".send")
    saved(page, 1)
    db.rollback()
    found = db.execute(
        select(Criterion.key, Rating.span_start, Rating.span_end, Rating.text, Rating.value)
        .join(Criterion, Criterion.id == Rating.criterion_id)
        .order_by(Rating.id)
    ).all()
    start = TEXTS[0].index("🏙")
    assert [tuple(row) for row in found] == [
        ("errors", None, None, "", 2.0),
        ("errors.vague", 0, 6, "", None),
        ("errors.wrong", start, TEXTS[0].index(". It") + 1, "It is Bern.", None),
    ]


def test_forms_without_a_script(ask: Ask, browser: Browser, server: Any, annotator: User, db: Session) -> None:
    ask(COMPARE, CLEAR, FLAGS, WHY, answers=2)
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{server.url}/sign-in?next=/projects/everyday/label")
    page.fill('[name="email"]', annotator.email)
    page.fill('[name="password"]', factories.PASSWORD)
    page.press('[name="password"]', "Enter")
    page.click('label.cell:has([value="a"])')
    page.click('.row-of:has-text("Tone") label:has([value="same"])')
    page.click('[aria-labelledby="asked-clear"] .row-of >> nth=0 >> label:has([value="5"])')
    page.click('[aria-labelledby="asked-clear"] .row-of >> nth=1 >> label:has([value="none"])')
    page.click('[aria-labelledby="asked-flags"] .row-of >> nth=1 >> label >> nth=0')
    page.fill("#text-why", "Because it is right.")
    page.click(".send")
    page.wait_for_selector("text=Saved.")
    assert len(preferred(db)) == 2
    assert [value for _, _, value, _ in ratings(db)] == [5.0, None, 0.0, 0.0, 1.0, 0.0, None]
    context.close()


@pytest.mark.parametrize("field", [EDIT, WRITE, MARK], ids=["edit", "write", "mark"])
def test_writing_and_marking_without_a_script(
    ask: Ask, field: dict[str, Any], browser: Browser, server: Any, annotator: User, db: Session
) -> None:
    ask(field, answers=0 if field is WRITE else 1)
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{server.url}/sign-in?next=/projects/everyday/label")
    page.fill('[name="email"]', annotator.email)
    page.fill('[name="password"]', factories.PASSWORD)
    page.press('[name="password"]', "Enter")
    if field is MARK:
        page.fill('[name="quote_1"]', "It is big.")
        page.select_option('[name="label_1"]', "vague")
        page.fill('[name="comment_1"]', "How big?")
    else:
        page.fill("#writing", "Bern.")
    page.click(".send")
    page.wait_for_selector("text=Saved.")
    if field is MARK:
        assert ratings(db) == [("errors", 0, 1.0, ""), ("errors.vague", 0, None, "How big?")]
    else:
        assert written(db) == [("Bern.", field is EDIT)]
    context.close()
