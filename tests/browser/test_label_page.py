"""The label page in a real Chromium: one key is one stored label, the next pair is there, nothing is lost."""

import time

import pytest
from playwright.sync_api import Page
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.core.records import Assignment, Preference, Project, Task
from tests import factories
from tests.browser.conftest import Open, Server
from tests.browser.waits import awake

pytestmark = pytest.mark.browser
"""Milliseconds: longer than the time in which keys are dead after a new task."""


def key_of(page: Page) -> str:
    return str(page.get_attribute("#task", "data-key"))


def saved(page: Page) -> None:
    page.wait_for_selector('#save[data-state="saved"]', timeout=15_000)


def press(page: Page, key: str) -> None:
    awake(page)
    page.keyboard.press(key)


def stored(db: Session) -> list[str]:
    db.rollback()
    return list(db.scalars(select(Preference.outcome).order_by(Preference.id)))


def test_one_key_is_one_stored_label_and_undo_takes_it_back(open_label: Open, db: Session) -> None:
    page = open_label()
    first = key_of(page)
    for key in ("ArrowLeft", "0", "x", "ArrowRight"):
        before = key_of(page)
        press(page, key)
        page.wait_for_function("key => document.querySelector('#task').dataset.key !== key", arg=before)
        saved(page)
    assert stored(db) == ["prefer", "tie", "all_bad", "prefer"]
    sides = db.execute(
        select(Preference.tiers, Assignment.display_order)
        .join(Assignment, Assignment.id == Preference.assignment_id)
        .where(Preference.outcome == "prefer")
        .order_by(Preference.id)
    ).all()
    (left, left_order), (right, right_order) = sides
    assert left[0] == [left_order[0]]
    assert right[0] == [right_order[1]]
    assert db.scalars(select(func.count()).where(Assignment.active_ms > 0, Assignment.input_method == "key")).one() == 4
    assert page.inner_text("#progress") == "4 today"
    press(page, "z")
    page.wait_for_function("() => document.querySelector('#progress').innerText === '3 today'")
    assert stored(db)[-1] == "prefer"
    assert db.scalars(select(func.count()).where(Preference.withdrawn)).one() == 1
    assert key_of(page) != first
    assert page.problems == []  # type: ignore[attr-defined]


def test_the_next_pair_needs_no_network(open_label: Open) -> None:
    page = open_label()
    awake(page)
    page.context.set_offline(True)
    # Whether it comes without the network is tested; how fast it comes is for a benchmark on a quiet machine.
    came = page.evaluate("""() => new Promise((done) => {
        const before = document.querySelector("#task").dataset.key;
        setTimeout(() => done(false), 5000);
        new MutationObserver(() => {
            if (document.querySelector("#task")?.dataset.key === before) return;
            requestAnimationFrame(() => done(true));
        }).observe(document.querySelector("#holder"), { childList: true });
        const press = { key: "ArrowLeft", code: "ArrowLeft", bubbles: true };
        document.body.dispatchEvent(new KeyboardEvent("keydown", press));
    })""")
    assert came


HELD = """() => {
    const real = window.fetch;
    window.held = [];
    window.fetch = async (where, ...rest) => {
        const response = await real(where, ...rest);
        if (String(where).endsWith("/answer")) await new Promise((go) => window.held.push(go));
        return response;
    };
}"""


def test_a_task_that_comes_while_the_answer_still_glows_stays(open_label: Open) -> None:
    """The next task arrives in the 90 ms in which the dock still shows the answer before."""
    page = open_label()
    page.evaluate(HELD)
    press(page, "ArrowLeft")  # the one behind it is in memory; the one behind that comes with the acknowledgement
    awake(page)
    page.wait_for_function("() => window.held.length > 0")
    shown = page.evaluate("""() => new Promise((done) => {
        const seen = [];
        new MutationObserver(() => seen.push(document.querySelector("#task")?.dataset.key ?? "none"))
            .observe(document.querySelector("#holder"), { childList: true });
        const press = { key: "ArrowLeft", code: "ArrowLeft", bubbles: true };
        document.body.dispatchEvent(new KeyboardEvent("keydown", press));
        window.held.forEach((go) => go());
        setTimeout(() => done(seen), 1500);
    })""")
    assert shown[0] == "none"
    assert "none" not in shown[1:]
    assert len(shown) > 1, "the task did not come"


def test_offline_then_online_loses_nothing(open_label: Open, db: Session) -> None:
    page = open_label()
    page.context.set_offline(True)
    press(page, "ArrowLeft")
    press(page, "0")
    page.wait_for_selector('#save[data-state="kept"]')
    assert page.inner_text("#save") == "2 kept on this device"
    assert stored(db) == []
    page.context.set_offline(False)
    saved(page)
    assert stored(db) == ["prefer", "tie"]
    page.wait_for_selector("#task", timeout=15_000)


def test_a_server_that_dies_and_a_page_that_is_loaded_again(open_label: Open, server: Server, db: Session) -> None:
    page = open_label()
    answered = key_of(page)
    server.stop()
    press(page, "ArrowRight")
    page.wait_for_selector('#save[data-state="kept"]')
    server.start()
    page.reload()
    page.wait_for_selector("#task")
    saved(page)
    assert stored(db) == ["prefer"]
    assert key_of(page) != answered


def test_a_double_press_and_a_held_key_answer_once(open_label: Open, db: Session) -> None:
    page = open_label()
    awake(page)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    saved(page)
    page.wait_for_timeout(400)
    page.keyboard.down("0")
    for _ in range(8):
        page.keyboard.down("0")  # a held key repeats
    page.keyboard.up("0")
    saved(page)
    page.wait_for_timeout(300)
    assert stored(db) == ["prefer", "tie"]


def test_keys_are_dead_in_a_note_and_the_note_is_stored(open_label: Open, db: Session) -> None:
    page = open_label()
    press(page, "n")
    page.keyboard.type("x s 0 because")
    page.keyboard.press("Escape")
    press(page, "0")
    saved(page)
    page.wait_for_timeout(300)
    assert stored(db) == ["tie"]
    assert db.scalars(select(Preference.note)).one() == "x s 0 because"


def test_skip_is_one_key_and_report_two(open_label: Open, db: Session) -> None:
    page = open_label()
    press(page, "s")
    press(page, "r")
    press(page, "2")
    saved(page)
    page.wait_for_timeout(300)
    outcomes = select(Assignment.outcome, Assignment.reason).where(Assignment.outcome.is_not(None))
    assert [tuple(row) for row in db.execute(outcomes.order_by(Assignment.submitted_at))] == [
        ("skipped", ""),
        ("reported", "unsafe"),
    ]


def test_signed_out_elsewhere_keeps_the_answer(open_label: Open, db: Session, project: Project) -> None:
    page = open_label()
    page.context.clear_cookies()
    press(page, "ArrowLeft")
    page.wait_for_selector('#save:is([data-state="signin"], [data-state="kept"])')
    assert stored(db) == []
    assert page.evaluate("Object.keys(localStorage).filter((name) => name.startsWith('palate:')).length") >= 1


@pytest.mark.parametrize("width", [320, 390, 768, 1024, 1440])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_fits_and_is_in_balance(open_label: Open, width: int, theme: str) -> None:
    page = open_label(width=width, theme=theme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    boxes = page.evaluate(
        "[...document.querySelectorAll('.pane, .cells, .dock .button, .cell')]"
        ".map((e) => e.getBoundingClientRect().toJSON())"
    )
    assert all(box["right"] <= width + 0.5 and box["left"] >= -0.5 for box in boxes)
    small = page.evaluate(
        "[...document.querySelectorAll('button, a, summary')]"
        ".filter((e) => e.offsetParent && !e.closest('.skip, .drawer, p'))"
        ".filter((e) => { const { height } = e.getBoundingClientRect(); return height > 1 && height < 24; })"
        ".map((e) => e.outerHTML.slice(0, 80))"
    )
    assert small == []
    if width >= 900:
        one, two = page.evaluate(
            "[...document.querySelectorAll('.pane')].map((e) => e.getBoundingClientRect().toJSON())"
        )
        assert (one["width"], one["height"]) == pytest.approx((two["width"], two["height"]), abs=0.1)
        cells = page.evaluate("document.querySelector('.cells').getBoundingClientRect().toJSON()")
        gutter = (one["right"] + two["left"]) / 2
        assert (cells["left"] + cells["right"]) / 2 == pytest.approx(gutter, abs=1)


def test_the_drawer_keys_sheet_and_source(open_label: Open) -> None:
    page = open_label()
    press(page, "g")
    assert "Helpful first" in page.inner_text("#drawer")
    page.keyboard.press("g")
    assert not page.is_visible("#drawer")
    page.keyboard.press("?")
    assert page.is_visible("#keys")
    page.keyboard.press("Escape")
    page.keyboard.press("m")
    assert "*something*" in page.inner_text(".panes")
    page.keyboard.press("h")
    page.wait_for_url("**/history")
    assert "My history" in page.inner_text("h1")


MARKED = """() => ["only-a", "only-b"].map((name) =>
    [...(CSS.highlights.get(name) ?? [])].map((range) => range.toString()))"""


def test_differences_are_marked_word_by_word(open_label: Open, db: Session, project: Project) -> None:
    db.execute(update(Task).values(state="withdrawn"))
    prompt = factories.make_prompt(db, project, "How warm is it?")
    for texts in (("It is **warm** today.", "It is cold today, though."), ("The same.", "The same.")):
        factories.make_task(db, prompt, [factories.make_completion(db, prompt, text) for text in texts])
    db.commit()
    page = open_label()
    assert page.evaluate(MARKED) == [[], []]
    press(page, "d")
    words = {"warm": ["warm"], "cold": ["cold", ",", "though"]}
    for _ in range(2):  # either order of the tasks, either order of the sides
        first = "warm" if "warm" in page.inner_text(".pane-0") else "cold"
        if "same" not in page.inner_text(".pane-0"):
            other = "cold" if first == "warm" else "warm"
            assert page.evaluate(MARKED) == [words[first], words[other]]
            assert page.get_attribute('[data-command="differences"]', "aria-pressed") == "true"
        else:
            assert page.evaluate(MARKED) == [[], []]
        before = key_of(page)
        press(page, "ArrowLeft")
        page.wait_for_function(
            "key => document.querySelector('#task')?.dataset.key !== key", arg=before, timeout=10_000
        )


def test_the_server_is_never_waited_for(open_label: Open, db: Session) -> None:
    """Five answers in a row as fast as the page lets: all stored, in order."""
    page = open_label()
    start = time.monotonic()
    for _ in range(5):
        page.wait_for_selector("#task")
        press(page, "ArrowLeft")
    saved(page)
    deadline = time.monotonic() + 5
    while len(stored(db)) < 5 and time.monotonic() < deadline:
        page.wait_for_timeout(100)
    assert stored(db) == ["prefer"] * 5
    assert time.monotonic() - start < 15
