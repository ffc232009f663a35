"""Every field in every way: by keys alone, by pointer alone, on a phone, without a script; all four say the same."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.answers import current, fields_of, sentence_for
from app.core.forms import parse_protocol, segments_of
from app.core.records import Assignment, Project, Task, User
from tests import factories
from tests.browser.conftest import Server
from tests.browser.test_fields import CHOOSE, RANK
from tests.browser.test_forms import CLEAR, COMPARE, EDIT, FLAGS, MARK, WHY, WRITE
from tests.browser.test_keys import GRADED
from tests.browser.waits import awake

pytestmark = pytest.mark.browser
WAYS = ("keys", "pointer", "phone", "no script")
TEXTS = ("Bern it is. It is big.", "A list:\n\n- one\n- two", "A longer answer. " * 30, "```python\nprint(1)\n```")
MARK_IT = """() => {
    const text = document.querySelector(".pane .source").firstChild;
    document.getSelection().setBaseAndExtent(text, 0, text, 4);
}"""


@dataclass(frozen=True)
class Form:
    """One form, and one answer to it. Clicks are selectors, or (selector, text) for what is written."""

    fields: Sequence[dict[str, Any]]
    keys: Sequence[str]
    """A key each; what begins with a blank is typed."""
    clicks: Sequence[str | tuple[str, str]]
    says: str
    most: int = 9
    """Keys that it may take."""
    plain: Sequence[str | tuple[str, str]] = field(default_factory=tuple)
    """Without a script, where that is otherwise."""


FORMS = {
    "compare": Form([factories.PROTOCOL[0]], ["ArrowLeft"], ['[name="choice"][value="a"]'], "A is better", 1),
    "strength": Form([GRADED], ["2"], ['[name="graded"][value="a3"]'], "A is clearly better", 1),
    "aspects": Form(
        [COMPARE],
        ["ArrowRight", "1", "Enter"],
        ['label.cell:has([value="b"])', '.row-of:has-text("Tone") label:has([value="a"])', ".send"],
        "B is better (Tone: A)",
        3,
    ),
    "choose": Form([CHOOSE], ["3"], ['[name="choice"][value="3"]'], "3 is the best", 1),
    "rank": Form(
        [RANK],
        ["3", "1", "4", "Enter"],
        [*(f'[data-place="{name}"]' for name in (3, 1, 4)), '[data-command="rank"]'],
        "3, then 1, then 4, then 2",
        4,
        [*((f'[name="place_{name}"]', place) for name, place in zip("1234", "2413", strict=True)), ".places .button"],
    ),
    "rate": Form([CLEAR], ["4", "Enter"], ['label:has([name^="value"][value="4"])', ".send"], "How clear is it? 4", 2),
    "flags": Form([FLAGS], ["2", "Enter"], ["label:has([name^=fails])", ".send"], "Flags: Fails the task", 2),
    "note": Form(
        [WHY],
        ["ArrowDown", " Because it is.", "Control+Enter"],
        [("#text-why", "Because it is."), ".send"],
        "“Because it is.”",
    ),
    "annotate": Form(
        [MARK],
        ["ArrowRight", "1", "Enter"],
        ["select it", '[data-mark="wrong"]', ".send"],
        "1 passage marked",
        4,
        [('[name="quote_1"]', "Bern"), ".send"],
    ),
    "edit": Form([EDIT], ["w", " It is.", "Control+Enter"], [("#writing", "Bern."), ".send"], "Rewrote the answer in"),
    "demonstrate": Form(
        [WRITE], ["w", " Bern.", "Control+Enter"], [("#writing", "Bern."), ".send"], "Wrote an answer of 1 word"
    ),
}
GATE = {
    "keys": ("annotate", "note"),
    "pointer": ("annotate", "demonstrate", "flags"),
    "phone": ("strength", "choose", "rate", "edit"),
    "no script": ("strength", "note"),
}
"""What no other test does; all the rest of the matrix is in the slow tests as well."""
Open = Callable[[str], Page]


@pytest.fixture
def open_in(browser: Browser, server: Server, db: Session, annotator: User) -> Iterator[Open]:
    """`open_in(way)`: a page of a signed-in annotator, and a project for each form."""
    for name, form in FORMS.items():
        project = factories.make_project(db, slug=name, members={annotator: "annotator"}, fields=list(form.fields))
        prompt = factories.make_prompt(db, project, "What is the capital of Switzerland?")
        count = segments_of(parse_protocol(list(form.fields)))
        factories.make_task(db, prompt, [factories.make_completion(db, prompt, text) for text in TEXTS[:count]])
    db.commit()
    contexts = []

    def opened(way: str) -> Page:
        phone: Any = {"has_touch": True, "is_mobile": True, "viewport": {"width": 390, "height": 844}}
        context = browser.new_context(**(phone if way == "phone" else {}), java_script_enabled=way != "no script")
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(8000)
        page.goto(f"{server.url}/sign-in?next=/settings")
        page.fill('[name="email"]', annotator.email)
        page.fill('[name="password"]', factories.PASSWORD)
        page.press('[name="password"]', "Enter")
        page.wait_for_url("**/settings")
        return page

    yield opened
    for context in contexts:
        context.close()


def by_keys(page: Page, form: Form) -> None:
    assert len(form.keys) <= form.most
    if any(
        "spans" in name for name in page.locator("input[type=hidden]").evaluate_all("all => all.map(one => one.name)")
    ):
        page.focus(".pane > .body")
    for key in form.keys:
        if key.startswith(" "):
            page.keyboard.type(key[1:])
        else:
            page.keyboard.press(key)


def reach(page: Page, what: Locator) -> Locator:
    """What a small screen shows behind its switch is brought to the front."""
    for place in page.locator(".switch label").all():
        if what.is_visible():
            break
        place.click()
    return what


def by_pointer(page: Page, clicks: Sequence[str | tuple[str, str]], way: str) -> None:
    for click in clicks:
        if click == "select it":
            text = reach(page, page.locator(".pane .source"))
            # A finger holds a word until it is selected, which this browser has no way to play.
            page.evaluate(MARK_IT) if way == "phone" else text.dblclick(position={"x": 12, "y": 12})
        elif isinstance(click, str):
            what = reach(page, page.locator(click).first)
            what.tap() if way == "phone" else what.click()
        elif click[0].startswith('[name="place'):
            page.select_option(*click)
        else:
            reach(page, page.locator(click[0])).fill(click[1])


def say(page: Page, name: str, way: str) -> None:
    """Answer the one task of this form's project in this way."""
    form = FORMS[name]
    page.goto(f"{page.evaluate('location.origin')}/projects/{name}/label")
    if way != "no script":
        page.wait_for_selector("#dock[data-ready]", state="attached")
        awake(page)
    if way == "keys":
        by_keys(page, form)
    else:
        by_pointer(page, (form.plain if way == "no script" else ()) or form.clicks, way)
    if way == "phone":
        assert page.evaluate("document.documentElement.scrollWidth") == 390
    expect(page.locator("#progress")).to_contain_text("1 today")


def said(db: Session, name: str) -> str:
    """What is stored, in words."""
    db.rollback()
    task, assignment = db.execute(
        select(Task, Assignment)
        .join(Assignment, Assignment.task_id == Task.id)
        .join(Project, Project.id == Task.project_id)
        .where(Project.slug == name, Assignment.outcome == "answered")
    ).one()
    return sentence_for(db, fields_of(db, task), assignment, current(db, assignment))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("part", ["gate", pytest.param("all", marks=[pytest.mark.slow, pytest.mark.timeout(300)])])
def test_every_field_is_answered(open_in: Open, db: Session, part: str, way: str) -> None:
    page = open_in(way)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    for name in GATE[way] if part == "gate" else FORMS:
        say(page, name, way)
        assert said(db, name).startswith(FORMS[name].says), f"{name} by {way}"
    assert problems == []
