"""How long one person waits between the last key and the next task on the screen: Palate and its peers, in Chromium.

`PALATE_TEST_PEERS=DIRECTORY python -m pytest tests/browser/bench_peers.py -s` prints it, for those peers that have an
environment in the directory (as `palate bench peers` makes them). Each is its own server with its own page, signed in
as one person, the machine otherwise idle. Measured as in bench.py: from the key event to the second animation frame
after the next task's prompt is in the page and has a place on the screen. A page that loads itself anew is followed.
"""

import asyncio
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import pytest
from playwright.sync_api import Browser, Page

from app.bench.peers.feedloop import Feedloop
from app.bench.peers.label_studio import LabelStudio, LabelStudioSeat
from app.bench.peers.palate import BASE, Palate
from app.bench.peers.potato import Potato
from app.bench.peers.system import Seat, System
from app.bench.peers.tasks import pairs_from

KEYS = int(os.environ.get("PALATE_TEST_KEYS", "40"))
REST = 600
"""Milliseconds between two tasks: a page has fetched ahead by then, if it does so at all."""
ENVIRONMENTS = Path(os.environ.get("PALATE_TEST_PEERS", ""))
WATCH = """(selector) => {
  const now = () => performance.timeOrigin + performance.now();
  const shown = () => {
    const place = document.querySelector(selector);
    return place && place.getClientRects().length ? place.textContent.trim() : "";
  };
  for (const kind of ["keydown", "click"]) {
    addEventListener(kind, (event) => {
      if (["Control", "Shift"].includes(event.key)) return;
      sessionStorage.setItem("before", shown());
      sessionStorage.setItem("pressed", now());
    }, { capture: true });
  }
  const look = () => {
    const pressed = Number(sessionStorage.getItem("pressed"));
    const text = shown();
    if (!pressed || !text || text === sessionStorage.getItem("before")) return;
    sessionStorage.removeItem("pressed");
    requestAnimationFrame(() => requestAnimationFrame(() => {
      const waits = JSON.parse(sessionStorage.getItem("waits") ?? "[]");
      sessionStorage.setItem("waits", JSON.stringify([...waits, now() - pressed]));
    }));
  };
  const all = { childList: true, subtree: true, characterData: true, attributes: true };
  new MutationObserver(look).observe(document, all);
}"""
WAITS = "JSON.parse(sessionStorage.getItem('waits') ?? '[]')"


@dataclass
class Screen:
    """How one system's page is used: where it is, where the prompt stands, and how one answers."""

    system: System
    path: Callable[[Seat], str]
    prompt: str
    answer: Callable[[Page, int], None]


def _palate(page: Page, number: int) -> None:
    page.keyboard.press("ArrowLeft" if number % 2 else "ArrowRight")


def _label_studio(page: Page, number: int) -> None:
    """Choosing has no key; sending has."""
    page.locator(TEXTS).nth(1 + number % 2).click()
    page.wait_for_timeout(REST)
    page.keyboard.press("Control+Enter")


def _potato(page: Page, number: int) -> None:
    page.keyboard.press(str(1 + number % 2))
    page.wait_for_timeout(REST)
    page.keyboard.press("ArrowRight")


def _feedloop(page: Page, number: int) -> None:
    page.keyboard.press(str(1 + number % 2))


TEXTS = "[class*='richtext']"


def _stream(seat: Seat) -> str:
    assert isinstance(seat, LabelStudioSeat)
    return f"/projects/{seat.project}/data?labeling=1"


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory that the database's own account can reach."""
    with tempfile.TemporaryDirectory(prefix="palate-peers-") as directory:
        yield Path(directory)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["palate", "label-studio", "potato", "feedloop"])
def test_key_to_next_task(name: str, home: Path, browser: Browser) -> None:
    screen = _screen(name, home)
    place = home / "round"
    place.mkdir()
    screen.system.prepare(print)
    try:
        screen.system.open(pairs_from(None, 2 * KEYS), 1, place)
        with ThreadPoolExecutor(1) as aside:  # this thread has a loop already, Playwright's
            seat = aside.submit(lambda: asyncio.run(_seated(screen.system))).result()
        waits = _waits(browser, screen, seat)
    finally:
        screen.system.stop()
        screen.system.clean()
    assert len(waits) > 0.9 * KEYS
    high = quantiles(waits, n=20)[-1]
    print(f"{name}: key to next task median {median(waits):.1f} ms, p95 {high:.1f} ms, {len(waits)} keys")


async def _seated(system: System) -> Seat:
    """One person with an account and cookies, which the browser takes over."""
    seat = await system.seat(0)
    seat.client.close()
    return seat


def _screen(name: str, home: Path) -> Screen:
    if name == "palate":
        return Screen(Palate(home), lambda _: BASE, "#holder .asked", _palate)
    environment = ENVIRONMENTS / name
    if not os.environ.get("PALATE_TEST_PEERS") or not environment.is_dir():
        pytest.skip(f"no environment of {name}: set PALATE_TEST_PEERS to the directory that holds it")
    if name == "label-studio":
        return Screen(LabelStudio(home, environment), _stream, TEXTS, _label_studio)
    if name == "potato":
        return Screen(Potato(home, environment), lambda _: "/annotate", "#instance-text", _potato)
    return Screen(Feedloop(home, environment), lambda _: "/", ".prompt-text", _feedloop)


def _waits(browser: Browser, screen: Screen, seat: Seat) -> list[float]:
    address = seat.client.address
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    try:
        context.add_cookies(
            [{"name": name, "value": value, "url": address} for name, value in seat.client.cookies.items()]
        )
        page = context.new_page()
        page.add_init_script(f"({WATCH})({screen.prompt!r})")
        page.goto(address + screen.path(seat))
        page.locator(screen.prompt).first.wait_for(timeout=60_000)
        for number in range(KEYS):
            page.wait_for_timeout(REST)
            screen.answer(page, number)
            page.wait_for_function(f"() => {WAITS}.length > {number}", timeout=30_000)
            if number == 0 and (picture := os.environ.get("PALATE_TEST_PICTURES")):
                page.wait_for_timeout(REST)
                page.screenshot(path=Path(picture) / f"{screen.system.name}.png")
        waits: list[float] = page.evaluate(WAITS)
        return waits
    finally:
        context.close()
