"""The pages of owners, admins and visitors in the language that is none: a few each time, all by the slow command."""

import re
from collections.abc import Callable

import pytest
from fastapi import FastAPI
from playwright.sync_api import Page
from sqlalchemy import update
from sqlalchemy.orm import Session

from app.accounts.service import first_owner_link
from app.core.people import make_invite
from app.core.records import Project, Prompt, Task
from app.core.settings import Settings
from tests import factories
from tests.browser.access import FIELDS, WIDER, House, furnish
from tests.browser.test_access import Enter, addresses, enter, unfold  # noqa: F401  a fixture among them
from tests.browser.test_languages import FOUND, OWN, Show, look, make, show, strange, whole  # noqa: F401  fixtures among them
from tests.words.pseudo import CODE

pytestmark = pytest.mark.browser
HOUSE = [
    *OWN,
    *("Ines Kovač", "ines@example.org", "Lee Roe", "Ama Boateng", "Jonas Weber", "Nothing yet", "IK", "AB", "JW"),
    *("SmolLM2-135M-Instruct", "PPO stopped at step 61: the loss is not a number.", "Kitchen table"),
    *(
        "laptop",
        "one-gpu",
        "multi-gpu",
        "tiny",
        "JSONL",
        "Parquet",
        "SHA-256",
        "palate-export",
        "TRL",
        "KL",
        "PPO",
        "kB",
    ),
    *(slug.title() for slug in FIELDS),
]
"""What stands on these pages and is nobody's interface: names of people, models, presets, formats, and one error."""
GATE = ("/projects/kitchen", "/projects/kitchen/members", "/projects/kitchen/settings", "/projects/kitchen/rounds/3")
"""The pages that are looked at each time."""


@pytest.fixture
def house(strange: None, db: Session, settings: Settings) -> House:  # noqa: F811  a fixture
    """A house whose owner chose the language that is none."""
    house = furnish(db, settings)
    house.owner.preferences = {"language": CODE}
    db.commit()
    return house


def read(page: Page, name: str) -> list[str]:
    """What a page says that came from no catalogue, also where it is folded or in a dialog; what sticks out of it."""
    unfold(page)
    page.evaluate("document.querySelectorAll('dialog').forEach((one) => one.open || one.show())")
    found = list(page.evaluate(FOUND, HOUSE))
    page.evaluate("document.querySelectorAll('dialog[open]').forEach((one) => one.close())")
    if page.evaluate("document.documentElement.dir") != "rtl":
        found.append("runs from left to right")
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 900})
        look(page, f"{name}-{width}")
        found += page.evaluate(WIDER)
    return [f"{name}: {one}" for one in found]


def test_the_pages_that_admins_meet_most_speak_it(house: House, enter: Enter) -> None:  # noqa: F811  a fixture
    owner = enter(house.owner)
    found: list[str] = []
    for path in GATE:
        owner.goto(path)
        found += read(owner, name_of(path))
    assert found == [], "\n".join(found)


def name_of(path: str) -> str:
    """What a picture of a page is called."""
    return path.strip("/").replace("/", "_").replace("?", "_") or "projects"


def test_a_sensitive_task_speaks_it(
    strange: None,  # noqa: F811  a fixture
    make: Callable[[str], Project],  # noqa: F811  a fixture
    show: Show,  # noqa: F811  a fixture
    db: Session,
) -> None:
    make("compare")
    db.execute(update(Prompt).values(sensitive=True))
    db.execute(update(Task).values(sensitive=True))
    db.commit()
    page = show("/projects/compare/label")
    page.wait_for_selector("article.veiled", state="attached")
    whole(page, "sensitive")
    page.goto(page.url.replace("label", "history"))
    whole(page, "sensitive-history")


def test_first_pages_of_visitors_speak_it(
    strange: None,  # noqa: F811  a fixture
    enter: Enter,  # noqa: F811  a fixture
    db: Session,
    settings: Settings,
) -> None:
    """The welcome page, also with mistakes; an invitation to a stranger, to a member, and one that is gone."""
    visitor = enter(locale=CODE)
    link = first_owner_link(db, settings)
    assert link is not None
    db.commit()
    visitor.goto(re.sub(r"^https?://[^/]+", "", link))
    whole(visitor, "welcome", HOUSE)
    visitor.evaluate("document.querySelectorAll('form').forEach((form) => { form.noValidate = true; })")
    with visitor.expect_navigation():
        visitor.locator("main form button[type=submit], main form button.primary").first.click()
    assert visitor.locator('[aria-invalid="true"]').count() > 0
    whole(visitor, "welcome-mistakes", HOUSE)
    owner = factories.make_user(db, name="Ines Kovač", owner=True)
    project = factories.make_project(db, slug="kitchen", name="Kitchen table")
    invite = make_invite(db, "annotator", project_id=project.id, created_by=owner.id)
    stranger = factories.make_user(db, name="Lee Roe")
    stranger.preferences = {"language": CODE}
    db.commit()
    for path, name in ((f"/invite/{invite}", "invite"), ("/invite/used", "invite-gone")):
        visitor.goto(path)
        whole(visitor, name, HOUSE)
    member = enter(stranger)
    member.goto(f"/invite/{invite}")
    whole(member, "invite-member", HOUSE)


WRITE = "([name, text]) => { const [one] = document.getElementsByName(name); one.type = 'text'; one.value = text; }"
MISTAKES = (
    ("/settings", {"size": "99"}),
    ("/projects/new", {"name": "x", "slug": "kitchen"}),
    ("/projects/kitchen/settings", {"sampling.temperature": "9", "pool.open_tasks": "many"}),
    ("/projects/kitchen/rounds/new", {"ppo.steps": "many", "seed": "no"}),
    ("/projects/kitchen/tasks/1", {"priority": "5000"}),
)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_all_pages_of_owners_speak_it(app: FastAPI, house: House, enter: Enter, db: Session) -> None:  # noqa: F811  a fixture
    owner = enter(house.owner, locale=CODE)  # an address that there is not looks nobody up
    owner.goto("/projects/kitchen/prompts/import")
    owner.fill('[name="rows"]', '{"prompt": "Tea?"}\n{"promt": "x"}\n{"prompt": "Tea?"}\nno JSON')
    with owner.expect_navigation():
        owner.locator("main form button.primary").click()
    found: list[str] = []
    paths = addresses(app, owner, key=house.mine[house.owner.email])
    more = ("rounds/1", "rounds/2", "tasks?show=done", "tasks?show=withdrawn", "tasks?show=agreed", "prompts?q=nothing")
    for path in [*paths, *(f"/projects/kitchen/{one}" for one in more), "/nothing"]:
        owner.goto(path)
        found += read(owner, name_of(path))
    for one in (
        "",
        "/prompts",
        "/rounds",
        "/exports",
        "/gold",
        "/tasks",
        "/members",
        "/models",
        "/playground",
        "/audit",
    ):
        owner.goto(f"/projects/quiet{one}")
        found += read(owner, f"quiet{name_of(one)}")
    for path, fill in MISTAKES:
        owner.goto(path)
        unfold(owner)
        owner.evaluate("document.querySelectorAll('form').forEach((form) => { form.noValidate = true; })")
        for name, value in fill.items():
            owner.evaluate(WRITE, [name, value])
        field = f'form:has([name="{next(iter(fill))}"])'
        with owner.expect_navigation():
            owner.locator(f"{field} button.primary, {field} button[type=submit]").last.click()
        assert owner.locator('[aria-invalid="true"], .error').count() > 0, path
        found += read(owner, f"{name_of(path)}-mistake")
    assert found == [], "\n".join(found)
