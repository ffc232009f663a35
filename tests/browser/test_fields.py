"""Choosing among several answers and ranking them: by keys, by pointer, by drag, on a phone, without a script."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Browser, Page
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.records import Assignment, Preference, User
from tests import factories
from tests.browser.conftest import Open
from tests.browser.waits import awake

pytestmark = pytest.mark.browser
CHOOSE = {"type": "choose", "key": "overall", "question": "Which answer is the best?", "answers": 4, "all_bad": True}
RANK = {"type": "rank", "key": "overall", "question": "Best first.", "answers": 4, "ties": True, "all_bad": True}
TEXTS = ("Short.", "A list:\n\n- one\n- two", "A longer answer. " * 30, "```python\nprint(1)\n```")
Ask = Callable[[dict[str, Any]], None]


@pytest.fixture
def ask(db: Session, annotator: User) -> Ask:
    """`ask(field)`: the project of these tests, with six tasks of four answers and this one field."""

    def make(field: dict[str, Any]) -> None:
        project = factories.make_project(
            db, slug="everyday", name="Everyday assistant", members={annotator: "annotator"}, fields=[field]
        )
        for _ in range(6):
            prompt = factories.make_prompt(db, project)
            shown = [factories.make_completion(db, prompt, text) for text in TEXTS[: field["answers"]]]
            factories.make_task(db, prompt, shown)
        db.commit()

    return make


@pytest.fixture
def project() -> Any:
    """The pages only need the address; `ask` makes the rows."""

    class Somewhere:
        slug = "everyday"

    return Somewhere()


def press(page: Page, *keys: str) -> None:
    awake(page)
    for key in keys:
        page.keyboard.press(key)


def saved(page: Page, today: int) -> None:
    page.wait_for_function("n => document.querySelector('#progress').innerText === `${n} today`", arg=today)
    page.wait_for_selector('#save[data-state="saved"]')


def stored(db: Session) -> list[tuple[str, list[list[int]]]]:
    """Outcome and tiers of what is stored, in the slots that were shown (0 = first)."""
    db.rollback()
    rows = db.execute(
        select(Preference.outcome, Preference.tiers, Assignment.display_order)
        .join(Assignment, Assignment.id == Preference.assignment_id)
        .order_by(Preference.id)
    )
    return [(said, [sorted(order.index(place) for place in tier) for tier in tiers]) for said, tiers, order in rows]


def test_one_key_chooses_the_best(ask: Ask, open_label: Open, db: Session) -> None:
    ask(CHOOSE)
    page = open_label()
    press(page, "3")
    saved(page, 1)
    press(page, "x")
    saved(page, 2)
    awake(page)
    page.click('[data-choice="1"]')
    saved(page, 3)
    assert stored(db) == [("best", [[2], [0, 1, 3]]), ("all_bad", [[0, 1, 2, 3]]), ("best", [[0], [1, 2, 3]])]
    press(page, "z")
    saved(page, 2)
    assert len(stored(db)) == 4
    assert page.problems == []  # type: ignore[attr-defined]


def test_a_ranking_takes_as_many_keys_as_answers(ask: Ask, open_label: Open, db: Session) -> None:
    ask(RANK)
    page = open_label()
    press(page, "3", "1", "4", "Enter")
    saved(page, 1)
    press(page, "3", "0", "1", "4", "0", "Enter")
    saved(page, 2)
    press(page, "2", "2", "3", "Backspace", "4", "1", "Enter")
    saved(page, 3)
    press(page, "x")
    saved(page, 4)
    assert stored(db) == [
        ("prefer", [[2], [0], [3], [1]]),
        ("prefer", [[0, 2], [1, 3]]),
        ("prefer", [[1], [3], [0], [2]]),
        ("all_bad", [[0, 1, 2, 3]]),
    ]
    assert page.problems == []  # type: ignore[attr-defined]


def test_an_unfinished_order_is_not_sent_and_says_so(ask: Ask, open_label: Open, db: Session) -> None:
    ask(RANK)
    page = open_label()
    press(page, "3", "Enter")
    assert "Not every answer has its place yet." in page.inner_text(".toast")
    assert page.is_disabled('[data-command="rank"]')
    assert stored(db) == []
    assert page.inner_text("#said") == "Not every answer has its place yet."


def test_a_ranking_by_pointer_and_by_drag(ask: Ask, open_label: Open, db: Session) -> None:
    ask(RANK)
    page = open_label()
    awake(page)
    page.click('[data-place="2"]')
    page.click('[data-place="4"]')
    page.click('[data-place="1"]')
    page.click('[data-than="1"]')
    page.click('[data-command="rank"]')
    saved(page, 1)
    awake(page)
    for name in ("1", "2", "3"):
        page.click(f'[data-place="{name}"]')
    page.drag_and_drop('[data-taken="4"]', '[data-taken="1"]')
    page.click('[data-taken="3"]')
    page.drag_and_drop('[data-place="3"]', '[data-taken="2"]')
    page.click('[data-command="rank"]')
    saved(page, 2)
    assert stored(db) == [("prefer", [[1, 3], [0], [2]]), ("prefer", [[3], [0], [2], [1]])]


def test_both_fields_on_a_phone(ask: Ask, open_label: Open, db: Session) -> None:
    ask(RANK)
    page = open_label(width=390, height=844, has_touch=True, is_mobile=True)
    awake(page)
    for name in ("2", "3", "1"):
        page.click(f".switch label:nth-of-type({name})")
        page.click(f'[data-place="{name}"]')
    page.click('[data-command="rank"]')
    saved(page, 1)
    assert stored(db) == [("prefer", [[1], [2], [0], [3]])]
    assert page.evaluate("document.documentElement.scrollWidth") == 390


@pytest.mark.parametrize("field", [CHOOSE, RANK], ids=["choose", "rank"])
def test_both_fields_without_a_script(
    ask: Ask, field: dict[str, Any], browser: Browser, server: Any, annotator: User, db: Session
) -> None:
    ask(field)
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{server.url}/sign-in?next=/projects/everyday/label")
    page.fill('[name="email"]', annotator.email)
    page.fill('[name="password"]', factories.PASSWORD)
    page.press('[name="password"]', "Enter")
    if field is CHOOSE:
        page.click('[name="choice"][value="2"]')
        expected: tuple[str, list[list[int]]] = ("best", [[1], [0, 2, 3]])
    else:
        for name, place in zip("1234", "2142", strict=True):
            page.select_option(f'[name="place_{name}"]', place)
        page.click("text=Send")
        expected = ("prefer", [[1], [0, 3], [2]])
    page.wait_for_selector("text=Saved.")
    assert stored(db) == [expected]
    context.close()


def test_the_key_sheet_tells_the_keys_of_this_form(ask: Ask, open_label: Open) -> None:
    ask(RANK)
    page = open_label()
    page.keyboard.press("?")
    assert "Place it next, the best first" in page.inner_text("#keys")
    assert "As good as the last" in page.inner_text("#keys")
