"""Import, label, train, promote, export: clicked and typed in a real Chromium, against a real `palate up`.

SHOTS=directory keeps a picture of every page on the way, wide and phone, light and dark.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.waits import awake
from tests.end_to_end.house import training_house
from tests.faults.house import House

pytestmark = pytest.mark.browser
AT = "/projects/kitchen"
LABELS = 44
PROMPTS = [{"id": f"row-{n}", "prompt": f"How do I cook dish number {n}?"} for n in range(40)]
SETTINGS = {
    "gate.held_out_accuracy": "0",
    "gate.win_rate": "0",
    "gate.kl": "1000",
    "sampling.max_tokens": "16",
    "sampling.temperature": "1",
    "training.overrides": "reward_model.epochs = 2\nppo.steps = 3\nevaluate.prompts = 6",
}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with training_house(tmp_path) as made:
        yield made


@pytest.fixture
def page(browser: Browser, house: House) -> Iterator[Page]:
    """A browser of somebody who has just installed Palate."""
    context = browser.new_context(
        base_url=f"http://localhost:{house.port}", viewport={"width": 1440, "height": 900}, accept_downloads=True
    )
    page = context.new_page()
    page.set_default_timeout(15_000)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: problems.append(said.text) if "Content Security Policy" in said.text else None)
    yield page
    shots(page, "last")
    assert problems == []
    context.close()


def shots(page: Page, name: str) -> None:
    """Pictures of the page as it stands, for people to look at; none unless SHOTS names a directory."""
    directory = os.environ.get("SHOTS")
    if not directory:
        return
    theme: Any
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        for width, height in ((1440, 900), (1024, 768), (390, 844)):
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_timeout(150)
            page.screenshot(path=Path(directory) / f"{name}-{width}-{theme}.png", full_page=name != "label")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1440, "height": 900})


def press(page: Page, name: str) -> None:
    """Send a form, and wait for the page that answers."""
    with page.expect_navigation():
        page.get_by_role("button", name=name, exact=True).click()


def welcome(page: Page, house: House) -> None:
    """The first account, by the link that stands in the log."""
    link = next(word for word in house.text().split() if "/welcome/" in word)
    page.goto(link)
    shots(page, "welcome")
    page.fill('[name="name"]', "Ada Wren")
    page.fill('[name="email"]', "ada@example.org")
    page.fill('[name="password"]', "a kettle sings at noon")
    page.get_by_text("An empty project").click()
    press(page, "Create account")


def make_project(page: Page) -> None:
    page.goto("/projects/new")
    page.fill('[name="name"]', "Kitchen")
    shots(page, "new-project")
    press(page, "Create project")
    page.goto(f"{AT}/settings")
    for name, value in SETTINGS.items():
        page.fill(f'[name="{name}"]', value)
    page.select_option('[name="training.preset"]', "tiny")
    page.uncheck('[name="rounds.promote_automatically"]')
    page.uncheck('[name="rounds.automatic"]')
    shots(page, "settings")
    press(page, "Save settings")
    expect(page.locator('[name="gate.kl"]')).to_have_value("1000.0")


def import_prompts(page: Page, directory: Path) -> None:
    """A file with one bad row: it is named, and left out because the person says so."""
    lines = [json.dumps(row) for row in PROMPTS]
    lines.insert(7, '{"promt": "a slip of the pen"}')
    file = directory / "prompts.jsonl"
    file.write_text("\n".join(lines))
    page.goto(f"{AT}/prompts/import")
    page.set_input_files('[name="file"]', file)
    press(page, "Look at the rows")
    bad = page.locator("table").first
    expect(bad).to_contain_text("8")
    expect(bad).to_contain_text("promt")
    shots(page, "import")
    press(page, "Import 40 rows, leave out 1")
    page.goto(f"{AT}/prompts")
    expect(page.locator("body")).to_contain_text("40")


def label(page: Page) -> None:
    """One key, one label. The first pair appears by itself once the policy has written."""
    page.goto(f"{AT}/label")
    page.wait_for_selector("#task", timeout=90_000)
    page.wait_for_selector("#dock[data-ready]", state="attached")
    shots(page, "label")
    for number in range(LABELS):
        before = page.get_attribute("#task", "data-key")
        awake(page)
        page.keyboard.press(("ArrowLeft", "ArrowRight")[number % 2])
        page.wait_for_function(
            "key => document.querySelector('#task') && document.querySelector('#task').dataset.key !== key",
            arg=before,
            timeout=60_000,
        )
    page.wait_for_selector('#save[data-state="saved"]')
    expect(page.locator("#progress")).to_have_text(f"{LABELS} today")


def train_and_promote(page: Page) -> None:
    page.goto(f"{AT}/rounds/new")
    shots(page, "start-round")
    press(page, "Start the round")
    page.wait_for_url(f"**{AT}/rounds/1")
    promote = page.get_by_role("button", name="Promote v1", exact=True).first
    promote.wait_for(timeout=120_000)  # the page renews itself
    shots(page, "round")
    promote.click()
    with page.expect_navigation():
        page.locator("dialog[open]").get_by_role("button", name="Promote v1", exact=True).click()
    page.goto(f"{AT}/models")
    expect(page.locator(".live-now strong")).to_have_text("v1")
    for _ in range(30):
        if page.get_by_text("Being staged").count() == 0:
            break
        page.wait_for_timeout(500)
        page.reload()
    expect(page.locator(".live-now")).not_to_contain_text("Being staged")
    shots(page, "models")
    page.goto(AT)
    shots(page, "overview")


def export(page: Page) -> list[dict[str, Any]]:
    """The rows of a downloaded export."""
    page.goto(f"{AT}/exports")
    page.locator('[name="format"][value="jsonl"]').check(force=True)
    shots(page, "exports")
    press(page, "Create export")
    page.wait_for_url(f"**{AT}/exports/1")
    shots(page, "export")
    rows = []
    for name in ("train.jsonl", "validation.jsonl"):
        with page.expect_download() as coming:
            page.get_by_role("link", name=name, exact=True).click()
        rows += [json.loads(line) for line in Path(coming.value.path()).read_text().splitlines()]
    return rows


@pytest.mark.timeout(300)
def test_import_label_round_promotion_export(page: Page, house: House, tmp_path: Path) -> None:
    welcome(page, house)
    make_project(page)
    import_prompts(page, tmp_path)
    label(page)
    train_and_promote(page)
    rows = export(page)
    assert len(rows) == LABELS
    assert all(row["prompt"][0]["content"].startswith("How do I cook dish") for row in rows)
    assert all(row["chosen"] != row["rejected"] for row in rows)
