"""A real Palate under `palate up` for tests that kill parts of it, and annotators who keep labeling meanwhile."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx
from sqlalchemy import NullPool, create_engine, select

from app.core import database
from app.core.records import Assignment, Preference
from app.core.settings import ROOT
from app.processes import die_with_parent
from tests import factories

READY = "Palate is ready"
MARKS = {
    "postgres": "postgres",
    "app.background": "background",
    "trainer serve": "policy",
    "trainer work": "trainer",
    "web": "web",
}
"""What stands in a child's command line, and how tests call it."""


class House:
    """One home and its supervisor. As root the home must be open to the database's account, so it is not pytest's."""

    def __init__(self, port: int, *, train: bool = False, **environment: str) -> None:
        self.top = Path(tempfile.mkdtemp(prefix="palate-house-"))
        self.top.chmod(0o755)
        self.home = self.top / "home"
        self.log = self.top / "log"
        self.port = port
        self.train = train
        self.url = f"http://127.0.0.1:{port}"
        self.environment = {
            **os.environ,
            "PALATE_HOME": str(self.home),
            "PALATE_DEMO": "false",
            "PALATE_PORT": str(port),
            "PYTHONPATH": str(ROOT),
            **environment,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *words: str) -> float:
        """Start and wait until the pages answer. Returns the seconds it took."""
        began = time.monotonic()
        before = self.text().count(READY)
        with self.log.open("ab") as log:
            command = [sys.executable, "-P", "-m", "app.cli", "up", *words]
            command += [] if self.train else ["--no-train"]
            self.process = subprocess.Popen(
                command,
                env=self.environment,
                stdout=log,
                stderr=log,
                process_group=0,
                preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 - one system call, made before exec
            )
        while self.text().count(READY) == before:
            assert self.process.poll() is None, self.text()
            assert time.monotonic() - began < 120, self.text()
            time.sleep(0.05)
        return time.monotonic() - began

    def text(self) -> str:
        """Everything it said so far."""
        return self.log.read_text() if self.log.exists() else ""

    def pids(self) -> dict[str, int]:
        """The supervisor's children by name: web, background, postgres, policy, trainer."""
        assert self.process is not None
        found = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = int(stat.read_text().rpartition(")")[2].split()[1])
                words = (stat.parent / "cmdline").read_text().split("\0")
            except (OSError, IndexError):
                continue
            if parent == self.process.pid and words[0]:
                line = " ".join(words)
                name = next((name for mark, name in MARKS.items() if mark in line), line)
                found[name] = int(stat.parent.name)
        return found

    def kill(self, name: str) -> None:
        """SIGKILL one child."""
        os.kill(self.pids()[name], signal.SIGKILL)

    def kill_all(self) -> None:
        """SIGKILL the supervisor and every child at once, as a power cut would."""
        assert self.process is not None
        for pid in [self.process.pid, *self.pids().values()]:
            os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM, as Ctrl-C does, and the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(40)

    def remove(self) -> None:
        """Stop and leave nothing behind."""
        if self.process is not None:
            self.stop()
        shutil.rmtree(self.top, ignore_errors=True)

    def uow(self) -> database.UnitOfWork:
        """Straight into its database."""
        address = (self.home / "postgres" / "address").read_text()
        return database.unit_of_work(create_engine(address, poolclass=NullPool))


class Annotator(threading.Thread):
    """Signs in and answers until there is nothing left; repeats every answer until it is acknowledged."""

    def __init__(self, url: str, slug: str, email: str, *, pause: float = 0.02) -> None:
        super().__init__(daemon=True)
        self.pause = pause
        self.url, self.slug, self.email = url, slug, email
        self.acknowledged: list[str] = []
        self.failures = 0
        self.problem: str | None = None
        self.enough = threading.Event()

    def run(self) -> None:
        """The whole working day."""
        with httpx.Client(base_url=self.url, timeout=15, headers={"Origin": self.url}) as client:
            self._sign_in(client)
            while not self.enough.is_set() and self.problem is None:
                page = self._asked(client, "GET", f"/projects/{self.slug}/label", {})
                form = {name: _value(page.text, name) for name in ("key", "token", "csrf_token")}
                if not form["key"]:
                    return
                answer = {**form, "choice": "a"}
                done = self._asked(client, "POST", f"/projects/{self.slug}/label/answer", answer)
                if done.status_code != httpx.codes.OK:
                    self.problem = f"{done.status_code}: {done.text[:300]}"
                    return
                self.acknowledged.append(form["key"])
                time.sleep(self.pause)

    def _sign_in(self, client: httpx.Client) -> None:
        page = self._asked(client, "GET", "/sign-in", {})
        form = {"email": self.email, "password": factories.PASSWORD, "csrf_token": _value(page.text, "csrf_token")}
        done = client.post("/sign-in", data=form)
        if done.status_code != httpx.codes.SEE_OTHER:
            self.problem = f"sign-in: {done.status_code}"

    def _asked(self, client: httpx.Client, method: str, path: str, form: dict[str, str]) -> httpx.Response:
        """Ask until something other than "not now" comes back."""
        headers = {"Accept": "application/json"} if method == "POST" else {}
        deadline = time.monotonic() + 120
        while True:
            try:
                response = client.request(method, path, data=form or None, headers=headers)
                if response.status_code < httpx.codes.INTERNAL_SERVER_ERROR or time.monotonic() > deadline:
                    return response
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise
            self.failures += 1
            time.sleep(0.1)


def until(annotators: list[Annotator], labels: int, patience: float = 120) -> None:
    """Wait until that many answers were acknowledged in all."""
    deadline = time.monotonic() + patience
    while sum(len(a.acknowledged) for a in annotators) < labels:
        assert [a.problem for a in annotators if a.problem] == []
        assert time.monotonic() < deadline, "labeling did not go on"
        time.sleep(0.02)


def check(house: House, annotators: list[Annotator], *, earlier: int = 0) -> None:
    """Every acknowledged answer is there once; nothing is there that was not sent (but for `earlier` labels)."""
    acknowledged = [key for annotator in annotators for key in annotator.acknowledged]
    assert len(set(acknowledged)) == len(acknowledged)
    with house.uow()() as db:
        stored = [
            str(key)
            for key in db.scalars(
                select(Assignment.idempotency_key).join(Preference, Preference.assignment_id == Assignment.id)
            )
        ]
        answered = list(db.scalars(select(Preference.task_id)))
    assert len(stored) == len(set(stored))
    assert set(acknowledged) <= set(stored)
    assert len(stored) - len(acknowledged) - earlier <= len(annotators)  # at most the one each was about to hear of
    assert len(answered) == len(set(answered))


def _value(html: str, name: str) -> str:
    match = re.search(rf'name="{name}" value="([^"]*)"', html)
    return match.group(1) if match else ""
