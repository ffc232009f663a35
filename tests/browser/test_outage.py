"""Labels given at full speed while everything around them fails: every one is stored, and stored once.

A real server process, killed with SIGKILL; a real Postgres; a real Chromium with two windows of one person. What was
answered is written down in the browser, when it enters the outbox, and compared with the tables by idempotency key.
"""

import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.core.records import Assignment, Preference, Task, User, WebSession
from tests import factories
from tests.browser.web_process import WebProcess

pytestmark = pytest.mark.browser
KEYS = ("ArrowLeft", "0", "ArrowRight", "x")
BEAT = 45
"""Milliseconds between two presses. Many fall into the time in which keys are dead, as a hurried person's would."""
PATIENCE = 240
"""Seconds for any stretch of the day on a machine that has much else to do; a few are usual."""
LOG = """
const set = Storage.prototype.setItem;
Storage.prototype.setItem = function (name, value) {
  if (/^palate:\\d+:/.test(name)) {
    const { fields, tried } = JSON.parse(value);
    const line = `log:${fields.key}`;
    if (!tried) set.call(this, line, JSON.stringify([...JSON.parse(this.getItem(line) ?? "[]"), fields.choice]));
  }
  return set.call(this, name, value);
};"""
READ = """() => Object.fromEntries(Object.keys(localStorage).filter((name) => name.startsWith("log:"))
  .map((name) => [name.slice(4), JSON.parse(localStorage.getItem(name))]))"""
COUNT = "() => Object.keys(localStorage).filter((name) => name.startsWith('log:')).length"
WAITING = "() => Object.keys(localStorage).filter((name) => /^palate:\\d+:/.test(name)).length"


@pytest.fixture
def web(dsn: str, free_port: int, tmp_path: Path) -> Iterator[WebProcess]:
    """The pages, in a process that can be killed."""
    process = WebProcess(dsn, free_port, tmp_path / "home")
    yield process
    process.kill()


class Day:
    """One person with two windows, and what they answered."""

    def __init__(self, browser: Browser, web: WebProcess, person: User, goal: int) -> None:
        self.web, self.person, self.goal = web, person, goal
        self.context = browser.new_context(viewport={"width": 1280, "height": 800})
        self.context.add_init_script(LOG)
        self.keys = itertools.cycle(KEYS)
        self.problems: list[str] = []
        self.windows = [self.open(), self.open()]

    def open(self) -> Page:
        page = self.context.new_page()
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.goto(f"{self.web.url}/sign-in?next=/projects/everyday/label")
        if "/sign-in" in page.url:
            page.fill('[name="email"]', self.person.email)
            page.fill('[name="password"]', factories.PASSWORD)
            page.press('[name="password"]', "Enter")
        self.ready(page)
        return page

    def ready(self, page: Page) -> None:
        page.wait_for_selector("#dock[data-ready]", state="attached")

    def ready_to_answer(self, page: Page, *, other: Page) -> None:
        """Until this window has a task that takes keys: the other one may hold all that one person is lent."""
        deadline = time.monotonic() + PATIENCE
        while not page.evaluate("() => Boolean(document.querySelector('#task') && 'awake' in dock.dataset)"):
            other.keyboard.press(next(self.keys))
            other.wait_for_timeout(250)
            assert time.monotonic() < deadline, "the window got no task"

    def count(self) -> int:
        return int(self.windows[0].evaluate(COUNT))

    def label(self, share: float) -> None:
        """Press on in both windows until this share of the day's answers was given."""
        until, deadline = share * self.goal, time.monotonic() + PATIENCE + self.goal
        while self.count() < until:
            for page in self.windows:
                page.keyboard.press(next(self.keys))
                page.wait_for_timeout(BEAT)
            assert time.monotonic() < deadline, f"labeling did not go on after {self.count()} answers"

    def one(self, act: Callable[[Page], None]) -> None:
        """Something that must answer exactly one task, however it is done."""
        page = self.windows[0]
        page.wait_for_selector("#task")
        page.wait_for_timeout(250)
        before = self.count()
        act(page)
        page.wait_for_timeout(250)
        assert self.count() == before + 1

    def load_again(self, page: Page) -> None:
        page.reload()
        self.ready(page)

    def settle(self) -> dict[str, list[str]]:
        """Wait until nothing waits any more; what was answered, by key."""
        for page in self.windows:
            page.wait_for_function(f"() => ({WAITING})() === 0", timeout=60_000)
            page.wait_for_selector('#save[data-state="saved"]')
        given: dict[str, list[str]] = self.windows[0].evaluate(READ)
        self.context.close()
        return given


def press_twice(page: Page) -> None:
    for _ in range(2):
        page.keyboard.press("x")


def furnish(db: Session, tasks: int) -> User:
    person = factories.make_user(db, email="mara@example.org", name="Mara Oduya")
    project = factories.make_project(db, slug="everyday", name="Everyday assistant", members={person: "annotator"})
    prompt = factories.make_prompt(db, project, "How do I remove duplicates?")
    texts = [factories.make_completion(db, prompt, word) for word in ("Use a set.", "Sort them first.")]
    for _ in range(tasks):
        factories.make_task(db, prompt, texts)
    db.commit()
    return person


def a_bad_day(day: Day, db: Session, outage: float) -> None:
    """Everything that goes wrong, one after the other."""
    web, (first, second) = day.web, day.windows
    day.label(0.1)
    for share in (0.15, 0.2):  # in the middle of submits
        gone = web.outage(0)
        day.label(share)
        gone.join()
    gone = web.outage(outage)
    for _ in range(12):  # what is in memory can be answered, the rest waits
        for page in day.windows:
            page.keyboard.press(next(day.keys))
            page.wait_for_timeout(BEAT)
    assert first.evaluate(WAITING) > 0, "the outage was not felt"
    gone.join()
    day.label(0.45)
    db.execute(delete(WebSession))
    db.commit()
    while not first.is_visible("#sign-in[open]"):
        for page in day.windows:
            page.keyboard.press(next(day.keys))
            page.wait_for_timeout(BEAT)
    kept = first.evaluate(WAITING)
    assert kept > 0
    first.fill("#again-password", factories.PASSWORD)
    first.press("#again-password", "Enter")
    for page in day.windows:
        page.wait_for_selector("#sign-in", state="hidden")
    day.label(0.6)
    day.ready_to_answer(first, other=second)
    web.kill()
    first.keyboard.press("ArrowLeft")
    web.start()
    assert first.evaluate(WAITING) > 0, "nothing waited when the page was loaded again"
    day.load_again(first)
    day.label(0.75)
    second.goto(second.url.replace("/label", "/history"))
    second.go_back()
    day.ready(second)
    day.label(0.8)
    second.goto("about:blank")
    day.one(lambda page: page.dblclick('[data-choice="a"]'))
    day.one(press_twice)
    second.goto(first.url)
    day.ready(second)
    day.label(0.9)
    gone = web.outage(0.5)
    day.label(1)
    gone.join()


def compare(db: Session, given: dict[str, list[str]]) -> None:
    """The tables against the browser's own list."""
    db.rollback()
    rows = db.execute(
        select(Assignment.idempotency_key, Assignment.display_order, Preference.outcome, Preference.tiers).join(
            Preference, Preference.assignment_id == Assignment.id
        )
    ).all()
    keys = [str(row.idempotency_key) for row in rows]
    assert sorted(keys) == sorted(given), "lost or doubled"
    for key, order, outcome, tiers in rows:
        said = {("tie", False): "same", ("all_bad", False): "both_bad", ("prefer", True): "a"}.get(
            (outcome, outcome == "prefer" and tiers[0] == [order[0]]), "b"
        )
        # Two windows may answer one task before the browser has told either of the other: then one of both is stored.
        assert said in given[str(key)], json.dumps([str(key), outcome, tiers, order, given[str(key)]])
    assert db.scalars(select(func.count()).where(Task.answers > 1)).one() == 0
    assert db.scalars(select(func.count()).where(Task.answers == 1)).one() == len(given)


def run(browser: Browser, web: WebProcess, db: Session, labels: int, outage: float) -> None:
    person = furnish(db, labels + 60)
    day = Day(browser, web, person, labels)
    a_bad_day(day, db, outage)
    given = day.settle()
    assert len(given) >= labels
    compare(db, given)
    assert day.problems == []


@pytest.mark.timeout(900)
def test_60_labels_on_a_bad_day(browser: Browser, web: WebProcess, db: Session) -> None:
    run(browser, web, db, labels=60, outage=3)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_500_labels_on_a_bad_day(browser: Browser, web: WebProcess, db: Session) -> None:
    run(browser, web, db, labels=500, outage=30)
