"""A real server, a real Chromium. Skipped, and said so, where there is no Chromium."""

import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from sqlalchemy.orm import Session

from app.core.records import Project, User
from tests import factories

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LONG = "\n\n".join(
    f"Paragraph {number} says *something* about `code` and life, at some length." for number in range(14)
)
CODE = (
    "Use a set:\n\n```python\ndef unique(orders):\n    seen = set()  # fast\n    return [o for o in orders]\n```\n\n"
    "| a | b |\n|---|---|\n| 1 | 2 |"
)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all browser tests."""
    if not os.path.exists(CHROMIUM):
        pytest.skip(f"BROWSER TESTS DID NOT RUN: no Chromium at {CHROMIUM}; set CHROMIUM to one")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Server:
    """The application behind uvicorn on a port of its own, in a thread, so that tests can stop and start it."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        config = uvicorn.Config(self.app, port=self.port, log_level="warning", timeout_graceful_shutdown=2, ws="none")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        deadline = time.monotonic() + 20
        while not self.server.started:
            assert self.thread.is_alive()
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.02)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)


@pytest.fixture
def server(app: FastAPI) -> Iterator[Server]:
    """The running application."""
    running = Server(app)
    yield running
    running.stop()


@pytest.fixture
def annotator(db: Session) -> User:
    """Who labels."""
    user = factories.make_user(db, email="mara@example.org", name="Mara Oduya")
    db.commit()
    return user


@pytest.fixture
def project(db: Session, annotator: User) -> Project:
    """A project with twelve comparisons."""
    project = factories.make_project(
        db,
        slug="everyday",
        name="Everyday assistant",
        members={annotator: "annotator"},
        guidelines="# Helpful first\n\nThen short.",
    )
    for number in range(12):
        prompt = factories.make_prompt(
            db, project, f"Question {number}: how do I remove duplicates from a list of orders?"
        )
        texts = (f"{LONG}\n\nEnd {number} one.", f"{CODE}\n\nEnd {number} two.")
        factories.make_task(db, prompt, [factories.make_completion(db, prompt, text) for text in texts])
    db.commit()
    return project


Open = Callable[..., Page]


@pytest.fixture
def open_label(browser: Browser, server: Server, project: Project, annotator: User) -> Iterator[Open]:
    """`open_label(width=…, height=…, theme=…)`: a page signed in as the annotator, on the label page."""
    contexts: list[BrowserContext] = []

    def opened(*, width: int = 1440, height: int = 900, theme: Any = "light", **options: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(8000)
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda said: problems.append(said.text) if "Content Security Policy" in said.text else None)
        page.problems = problems  # type: ignore[attr-defined]
        page.goto(f"{server.url}/sign-in?next=/projects/{project.slug}/label")
        page.fill('[name="email"]', annotator.email)
        page.fill('[name="password"]', factories.PASSWORD)
        page.press('[name="password"]', "Enter")
        page.wait_for_selector("#dock[data-ready]", state="attached")
        return page

    yield opened
    for context in contexts:
        context.close()
