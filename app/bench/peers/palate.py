"""Palate, driven as its label page does it: the page once, then each answer, which brings a task ahead."""

import json
import re
import secrets
import sys
from collections.abc import Sequence
from html import unescape
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import select

from app.bench.peers.client import Client, checked
from app.bench.peers.ledger import Stored
from app.bench.peers.system import Notes, Say, Seat, System
from app.bench.peers.tasks import Pair
from app.bench.servers import Server, clean_environment, family, free_port
from app.core import schema
from app.core.comparisons import check_comparisons
from app.core.database import UnitOfWork, units_of_work
from app.core.errors import InvalidInput, Problem
from app.core.forms import DEFAULT_PROTOCOL
from app.core.imported import add_comparisons, segments_in_force
from app.core.people import make_invite
from app.core.projects import project_by_slug
from app.core.records import Assignment, Preference, User
from app.core.settings import ROOT, Settings
from app.postgres import Cluster
from app.projects.service import create_project

SLUG = "peers"
BASE = f"/projects/{SLUG}/label"
ON_PAGE = 2
"""The task on the screen, and one ahead."""
FINAL = (404, 409, 422)
"""No repeat would change it: the page drops the task."""
CSRF = re.compile(r'<meta name="csrf-token" content="([^"]+)"')
FORM_CSRF = re.compile(r'name="csrf_token" value="([^"]+)"')
FORM = re.compile(
    r'<input type="hidden" name="key" value="([^"]+)">\s*<input type="hidden" name="token" value="([^"]+)">'
)


class PalateSeat(Seat):
    """A label page: tasks in memory, the one on the screen first, as (key, token)."""

    ready: list[tuple[str, str]]
    csrf: str
    tried = ""
    """The key of the answer that was sent last."""

    async def open(self) -> None:
        """Load the page, which brings its first task and the next one."""
        page = checked(await self.client.get(BASE), 200).text
        token = CSRF.search(page)
        assert token is not None  # noqa: S101  every page has it
        self.csrf, self.ready = unescape(token[1]), FORM.findall(page)

    async def step(self, notes: Notes) -> bool:
        """One key."""
        return await palate_step(self, notes)


async def palate_step(seat: PalateSeat, notes: Notes) -> bool:
    """Send the answer to the task on the screen. The task after the one that follows comes with the acknowledgement.

    An answer that is sent again asks for nothing more, and where no task came along, the page asks for one.
    """
    if not seat.ready:
        await _fetch(seat)
        if not seat.ready:
            return False
    key, token = seat.ready[0]
    fields = [("key", key), ("token", token), ("choice", "a"), ("active_ms", "1000"), ("input_method", "key")]
    if key != seat.tried:
        fields += [("have", other) for other, _ in seat.ready[1:]] + [("have", key)]
    seat.tried = key
    headers = {"Accept": "application/json", "X-CSRF-Token": seat.csrf}
    with notes.timed("submit"):
        answer = await seat.client.post_form(f"{BASE}/answer", fields, headers)
        if answer.status in FINAL:
            del seat.ready[0]
        checked(answer, 200)
    notes.told(key)
    del seat.ready[0]
    seat.ready += FORM.findall(answer.json().get("next") or "")
    if len(seat.ready) < ON_PAGE:
        with notes.timed("next"):
            await _fetch(seat)
    return True


async def _fetch(seat: PalateSeat) -> None:
    have = "&".join(f"have={key}" for key, _ in seat.ready)
    answer = checked(await seat.client.get(f"{BASE}/next?{have}", {"Accept": "text/html"}), 200, 204)
    seat.ready += FORM.findall(answer.text)


class Palate(System):
    """The pages and their Postgres as they come: `palate web` with its defaults."""

    name = "palate"
    server: Server | None = None

    def __init__(self, directory: Path, *, web_workers: int = 1) -> None:
        super().__init__(directory)
        self.web_workers = web_workers
        self.cluster = Cluster(directory / "postgres", {})
        self.rounds = 0

    def prepare(self, say: Say) -> None:
        """A database with the newest schema, from which each round's is copied."""
        self.directory.chmod(
            0o711
        )  # Postgres runs under an account of its own when this is root, and must pass through
        self.cluster.prepare()
        self.cluster.start()
        self.cluster.create_database()
        schema.migrate(self.cluster.dsn())
        self.cluster.stop()

    def open(self, pairs: Sequence[Pair], people: int, directory: Path) -> None:
        """Postgres, a project with these comparisons, and the pages."""
        self.rounds += 1
        self.cluster.start()
        self.cluster.create_database(f"round_{self.rounds}", template="palate")
        self.settings = Settings(
            home=directory,
            database_url=SecretStr(self.cluster.dsn(f"round_{self.rounds}")),
            port=free_port(),
            demo=False,
            web_workers=self.web_workers,
        )
        self.address = f"http://{self.settings.host}:{self.settings.port}"
        with units_of_work(self.settings.dsn) as uow:
            _project(uow, self.settings, pairs)
        with self.cluster.connect(f"round_{self.rounds}") as connection:
            connection.execute("vacuum analyze")  # an import is seldom a second old
        environment = clean_environment(
            PALATE_HOME=str(directory),
            PALATE_DATABASE_URL=self.settings.dsn,
            PALATE_PORT=str(self.settings.port),
            PALATE_WEB_WORKERS=str(self.web_workers),
            PALATE_LOG_LEVEL="WARNING",
            PYTHONPATH=str(ROOT),
        )
        command = [sys.executable, "-m", "app.cli", "web"]
        self.server = Server.start(
            command, directory=directory, environment=environment, ready=f"{self.address}/readyz"
        )

    async def seat(self, number: int) -> Seat:
        """Take an invite, which signs in, and open the label page."""
        with units_of_work(self.settings.dsn) as uow, uow() as db:
            project = project_by_slug(db, SLUG)
            invite = make_invite(db, "annotator", project_id=project.id, created_by=None)
        client = Client(self.address)
        csrf = FORM_CSRF.search(checked(await client.get(f"/invite/{invite}"), 200).text)
        assert csrf is not None  # noqa: S101  every form has it
        account = {"name": f"Person {number}", "email": _email(number), "password": secrets.token_urlsafe(24)}
        checked(await client.post_form(f"/invite/{invite}", account | {"csrf_token": unescape(csrf[1])}), 303)
        seat = PalateSeat(client)
        await seat.open()
        return seat

    @property
    def pids(self) -> list[int]:
        """The pages and Postgres."""
        database = self.cluster.process
        return [*(self.server.pids if self.server else []), *(family(database.pid) if database else [])]

    def stop(self) -> None:
        """End the pages; Postgres is needed to read the store."""
        if self.server is not None:
            self.server.stop()
            self.server = None

    def stored(self) -> list[Stored]:
        """All preferences, by the key of their assignment."""
        wanted = (
            select(Preference.task_id, User.email, Assignment.idempotency_key)
            .join(User, User.id == Preference.user_id)
            .join(Assignment, Assignment.id == Preference.assignment_id)
        )
        with units_of_work(self.settings.dsn) as uow, uow() as db:
            return [Stored(str(task), email, str(key)) for task, email, key in db.execute(wanted)]

    def clean(self) -> None:
        """Stop Postgres."""
        self.stop()
        self.cluster.stop()


def _email(number: int) -> str:
    return f"person-{number}@example.org"


def _project(uow: UnitOfWork, settings: Settings, pairs: Sequence[Pair]) -> None:
    """What `palate project` and `palate import --as comparisons` do."""
    lines = (
        json.dumps({"prompt": one.prompt, "completions": [one.first, one.second], "answers_needed": 1}).encode()
        for one in pairs
    )
    with uow() as db:
        project = create_project(
            db,
            None,
            name="Peers",
            slug=SLUG,
            guidelines="Which answer is better?",
            fields=list(DEFAULT_PROTOCOL),
            base_model=settings.base_model,
        )
        report = check_comparisons(lines, segments_in_force(db, project))
        if report.problems:
            raise InvalidInput([Problem("--pairs", f"{report.problems[0].field}: {report.problems[0].message}")])
        add_comparisons(db, project, report.good, "bench")
