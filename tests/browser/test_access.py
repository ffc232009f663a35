"""Every page for everybody: axe-core in both themes, wide and narrow; 320 px; touch; 400 %; focus; motion; weight."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser, BrowserContext, Page
from sqlalchemy import update
from sqlalchemy.orm import Session

from app.accounts.service import first_owner_link
from app.core import registry
from app.core.records import Project, Task, User
from app.core.settings import Settings
from tests import factories, loop_rows
from tests.browser.access import FIELDS, SMALL, WIDER, House, Looks, furnish
from tests.browser.conftest import Open, Server
from tests.browser.waits import awake
from tests.web.browser import walk

pytestmark = pytest.mark.browser
VALUES = {"slug": "kitchen", "version": "1", "number": "1", "name": "export.json", "task_id": "1"}
"""What stands for the parameters of an address. Tokens are those of real links."""
WIDE, NARROW = [(1440, 900)], [(320, 640)]
Enter = Callable[..., Page]


@pytest.fixture
def enter(browser: Browser, server: Server) -> Iterator[Enter]:
    """`enter(user, …)`: a page signed in as this person; without: a visitor's. axe needs the CSP out of its way."""
    contexts: list[BrowserContext] = []

    def entered(user: User | None = None, **options: Any) -> Page:
        context = browser.new_context(base_url=server.url, bypass_csp=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(8000)
        if user is not None:
            page.goto("/sign-in")
            page.fill('[name="email"]', user.email)
            page.fill('[name="password"]', factories.PASSWORD)
            with page.expect_navigation():
                page.press('[name="password"]', "Enter")
        return page

    yield entered
    for context in contexts:
        context.close()


def addresses(app: FastAPI, page: Page, **values: str) -> list[str]:
    """Every address of the application that answers this person with a whole page; one of those that refuse."""
    found, refused = [], False
    for route in walk(app.routes):
        if "GET" not in route.methods or "{token}" in route.path or "/talk/" in route.path:
            continue  # a talk is seen on its label page
        path = re.sub(r"\{(\w+)(?::\w+)?\}", lambda match: {**VALUES, **values}[match[1]], route.path)
        answer = page.request.get(path, max_redirects=0)
        assert answer.status in (200, 204, 303, 403), f"{path}: {answer.status}; is a value missing for its parameters?"
        whole = "text/html" in answer.headers.get("content-type", "") and "<!doctype html>" in answer.text()
        if whole and not (refused and answer.status == 403):
            found.append(path)
            refused = refused or answer.status == 403
    return found


def unfold(page: Page) -> None:
    """Open what is folded, but not the menus that lie over the page; of the charts' many tables only the first."""
    folds = "main details:not(.why, figure details), main figure:first-of-type details"
    page.evaluate("folds => document.querySelectorAll(folds).forEach((fold) => { fold.open = true; })", folds)


def dialogs(page: Page, name: str, looks: Looks) -> None:
    """Each kind of dialog of a page, opened by its button."""
    page.set_viewport_size({"width": 1440, "height": 900})
    openers = page.evaluate("""() => {
        const names = [...document.querySelectorAll("[data-opens]")].map((button) => button.dataset.opens);
        const kinds = names.map((name) => name.replace(/\\d+/, ""));
        return names.filter((name, index) => kinds.indexOf(name.replace(/\\d+/, "")) === index); }""")
    for opens in openers:
        page.locator(f'[data-opens="{opens}"]').first.click()
        assert page.locator(f"dialog#{opens}").is_visible()
        looks.look(page, f"{name} {opens}")
        page.keyboard.press("Escape")
        page.set_viewport_size({"width": 1440, "height": 900})


def strangers(page: Page, looks: Looks, db: Session, settings: Settings) -> None:
    """Before there is an owner: the welcome page, and sign-in with a mistake."""
    link = first_owner_link(db, settings)
    assert link is not None
    db.commit()
    page.goto(re.sub(r"^https?://[^/]+", "", link))
    looks.look(page, "welcome")
    page.get_by_role("button", name="Create account").click()
    page.goto("/sign-in")
    looks.look(page, "sign in")
    page.fill('[name="email"]', "nobody@example.org")
    page.fill('[name="password"]', "wrong")
    with page.expect_navigation():
        page.press('[name="password"]', "Enter")
    looks.look(page, "sign in, wrong")


def mistakes(page: Page, looks: Looks) -> None:
    """Forms that come back with what is wrong, and a file with bad rows."""
    for path, fill, button in (
        ("/settings", {"size": "99"}, "Save"),
        ("/projects/new", {"name": "x", "slug": "kitchen"}, "Create project"),
        ("/projects/kitchen/settings", {"sampling.temperature": "9"}, "Save settings"),
    ):
        page.set_viewport_size({"width": 1440, "height": 900})
        page.goto(path)
        page.evaluate("document.querySelectorAll('form').forEach((form) => { form.noValidate = true; })")
        for name, value in fill.items():
            page.fill(f'[name="{name}"]', value)
        with page.expect_navigation():
            page.get_by_role("button", name=button, exact=True).first.click()
        assert page.locator('[aria-invalid="true"]').count() > 0, path
        looks.look(page, f"{path} with a mistake", NARROW)


def label_page(page: Page, looks: Looks) -> None:
    """What opens over and beside a task."""
    page.set_viewport_size({"width": 1440, "height": 900})
    page.goto("/projects/kitchen/label")
    page.wait_for_selector("#dock[data-ready]", state="attached")
    page.wait_for_timeout(200)
    for name, opened, closes in (
        ("n", "note", "Escape"),
        ("r", "report", "Escape"),
        ("g", "guidelines", "Escape"),
        ("d", "differences", "d"),
        ("m", "source", "m"),
        ("z", "toast", ""),
    ):
        page.keyboard.press(name)
        looks.look(page, f"label, {opened}", WIDE if opened in ("differences", "source", "toast") else (*WIDE, *NARROW))
        page.set_viewport_size({"width": 1440, "height": 900})
        if closes:
            page.keyboard.press(closes)
    page.click("#save")
    looks.look(page, "label, what waits", WIDE)
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("p")
    looks.look(page, "label, paused")


def import_rows(page: Page) -> None:
    """An import with a bad row, which stays as it is."""
    page.goto("/projects/kitchen/prompts/import")
    page.fill('[name="rows"]', '{"prompt": "Tea?"}\n{"promt": "x"}\n{"prompt": "Tea?"}')
    with page.expect_navigation():
        page.get_by_role("button", name="Look at the rows").click()


def test_the_pages_that_people_meet_most_have_no_violation(enter: Enter, db: Session, settings: Settings) -> None:
    """The gate; the whole walk is slow."""
    looks = Looks()
    house = furnish(db, settings)
    annotator = enter(house.annotator)
    for path in ("/projects/kitchen/label", "/projects/several/label", "/projects/kitchen/history", "/settings"):
        annotator.goto(path)
        looks.look(annotator, path)
    owner = enter(house.owner)
    for path in ("/projects/kitchen", "/projects/kitchen/protocol", "/projects/kitchen/gold"):
        owner.goto(path)
        looks.look(owner, path)
    assert looks.found == [], "\n".join(looks.found)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_no_page_of_owners_and_visitors_has_a_violation(
    app: FastAPI, enter: Enter, db: Session, settings: Settings
) -> None:
    looks = Looks()
    visitor = enter()
    strangers(visitor, looks, db, settings)
    house = furnish(db, settings)
    visitor.goto(f"/invite/{house.invite}")
    looks.look(visitor, "invite")
    visitor.goto("/invite/used")
    looks.look(visitor, "invite, gone")
    owner = enter(house.owner)
    import_rows(owner)
    for path in [
        *addresses(app, owner, key=house.mine[house.owner.email]),
        "/projects/kitchen/rounds/2",
        "/projects/kitchen/rounds/3",
        "/nothing",
    ]:
        owner.goto(path)
        unfold(owner)
        looks.look(owner, path)
        dialogs(owner, path, looks)
    mistakes(owner, looks)
    for path in ("/projects/quiet", "/projects/quiet/prompts", "/projects/quiet/rounds", "/projects/quiet/exports"):
        owner.goto(path)
        looks.look(owner, path)
    assert len(looks.seen) >= 40
    assert looks.found == [], "\n".join(looks.found)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_no_page_of_annotators_has_a_violation(app: FastAPI, enter: Enter, db: Session, settings: Settings) -> None:
    looks = Looks()
    house = furnish(db, settings)
    annotator = enter(house.annotator)
    for path in addresses(app, annotator, key=house.mine[house.annotator.email]):
        annotator.goto(path)
        looks.look(annotator, path)
    label_page(annotator, looks)
    for slug in (*FIELDS, "quiet"):
        annotator.goto(f"/projects/{slug}/label")
        annotator.wait_for_selector("#dock[data-ready]", state="attached")
        looks.look(annotator, f"{slug}, label page")
    annotator.set_viewport_size({"width": 320, "height": 640})
    annotator.click(".bar-menu summary")
    looks.look(annotator, "label page, menu", NARROW)
    stranger = enter(house.stranger)
    looks.look(stranger, "no projects")
    assert len(looks.seen) >= 20
    assert looks.found == [], "\n".join(looks.found)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_is_too_small_for_a_finger_or_too_wide_for_a_phone(
    app: FastAPI, enter: Enter, db: Session, settings: Settings
) -> None:
    """Targets of 44 px where the pointer is coarse; 390 px wide, and 1280 px at 400 % (320 by 256)."""
    house = furnish(db, settings)
    found: list[str] = []
    phone = enter(house.owner, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    import_rows(phone)
    paths = [
        *addresses(app, phone, key=house.mine[house.owner.email]),
        "/projects/kitchen/rounds/3",
        *(f"/projects/{slug}/label" for slug in FIELDS),
    ]
    for path in paths:
        phone.set_viewport_size({"width": 390, "height": 844})
        phone.goto(path)
        if path.endswith("/label"):
            phone.wait_for_selector("#dock[data-ready]", state="attached")
        found += [f"{path}: {one}" for one in [*phone.evaluate(SMALL), *phone.evaluate(WIDER)]]
        phone.set_viewport_size({"width": 320, "height": 256})
        found += [f"{path} at 400 %: {one}" for one in phone.evaluate(WIDER)]
    assert found == [], "\n".join(found)


def test_at_400_percent_a_task_is_read_and_answered(open_label: Open) -> None:
    page = open_label(width=320, height=256)
    texts = page.locator(".pane:visible .material:visible")
    texts.evaluate("(text) => text.lastElementChild.scrollIntoView({ block: 'start' })")
    assert texts.evaluate("(text) => text.lastElementChild.getBoundingClientRect().top") < 256
    awake(page)
    page.click('.cell[data-choice="same"]')
    page.wait_for_function("() => document.querySelector('#progress').innerText === '1 today'")


def test_focus_is_never_lost(open_label: Open, db: Session) -> None:
    """After sending, after a dialog, and at the last task."""
    page = open_label()
    place = "document.activeElement.id || document.activeElement.tagName"
    awake(page)
    page.click('.cell[data-choice="same"]')
    page.wait_for_function("() => document.activeElement.id === 'task-title'")
    page.click('[data-opens="keys"]')
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.dataset.opens") == "keys"
    db.execute(update(Task).values(state="done"))
    db.commit()
    for _ in range(2):
        awake(page)
        page.keyboard.press("ArrowLeft")
        awake(page)
    page.wait_for_selector("#nothing:not([hidden])")
    assert page.evaluate(place) == "H1"


@pytest.fixture
def running(db: Session) -> House:
    """A project with a round at work, whose pages fetch themselves again."""
    owner = factories.make_user(db, name="Ines Kovač", owner=True)
    busy = factories.make_project(db, slug="busy", members={owner: "admin"})
    registry.ensure_base(db, busy, "tiny")
    loop_rows.make_labels(db, busy)
    loop_rows.make_round(db, busy, state="running")
    db.commit()
    return House(owner, owner, owner, busy, "", {})


def test_a_part_that_is_fetched_again_keeps_focus_and_folds(enter: Enter, running: House) -> None:
    page = enter(running.owner)
    page.goto("/projects/busy/rounds/1")
    page.get_by_text("Settings of its recipes").click()
    page.get_by_role("button", name="Cancel…").focus()
    for _ in range(2):
        page.evaluate("document.getElementById('round').dataset.old = 'yes'")
        page.wait_for_selector("#round:not([data-old])", timeout=20_000)
        assert page.evaluate("document.activeElement.textContent.trim()") == "Cancel…"
        assert page.locator("details[open] > summary", has_text="Settings of its recipes").count() == 1


def test_nothing_moves_for_who_wants_no_motion(enter: Enter, running: House) -> None:
    page = enter(running.owner, viewport={"width": 1440, "height": 900}, reduced_motion="no-preference")
    page.goto("/projects/busy")
    moving = "document.getAnimations().filter((one) => one.playState === 'running').length"
    assert page.evaluate(moving) > 0
    page.emulate_media(reduced_motion="reduce")
    assert page.evaluate(moving) == 0
    lasting = (
        "[...document.querySelectorAll('*')].filter((e) => getComputedStyle(e).transitionDuration !== '0s').length"
    )
    assert page.evaluate(lasting) == 0


def test_the_label_page_weighs_little_on_the_wire(
    browser: Browser, server: Server, project: Project, annotator: User, record_property: Callable[[str, object], None]
) -> None:
    """Scripts and styles as they are sent, with their headers; fonts do not count."""
    context = browser.new_context(base_url=server.url)
    page = context.new_page()
    wire = context.new_cdp_session(page)
    wire.send("Network.enable")
    wire.send("Network.setCacheDisabled", {"cacheDisabled": True})
    kinds: dict[str, str] = {}
    weights: dict[str, float] = {}

    def arrived(said: dict[str, Any]) -> None:
        if kinds.get(said["requestId"]) in ("Script", "Stylesheet"):
            weights[said["requestId"]] = said["encodedDataLength"]

    page.goto(f"/sign-in?next=/projects/{project.slug}/label")
    page.fill('[name="email"]', annotator.email)
    page.fill('[name="password"]', factories.PASSWORD)
    wire.on("Network.responseReceived", lambda said: kinds.update({said["requestId"]: said["type"]}))
    wire.on("Network.loadingFinished", arrived)
    page.press('[name="password"]', "Enter")
    page.wait_for_selector("#dock[data-ready]", state="attached")
    page.wait_for_load_state("networkidle")
    total = round(sum(weights.values()))
    record_property("bytes on the wire", total)
    print(f"The label page: {total:,} bytes of scripts and styles in {len(weights)} files.")  # noqa: T201  the figure
    assert len(weights) >= 8
    assert total <= 150 * 1024
    context.close()
