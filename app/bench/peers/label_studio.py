"""Label Studio as `label-studio start` runs it: Django's development server on SQLite, its pairwise tag."""

import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from app.bench.peers.client import Client, Refused, checked
from app.bench.peers.ledger import Stored
from app.bench.peers.system import Notes, Peer, Say, Seat
from app.bench.peers.tasks import Pair
from app.bench.servers import Server, clean_environment, free_port
from app.core.errors import Unavailable

ADMIN, PASSWORD = "admin@example.com", "bench-pass-1"
FORM = """<View><Text name="prompt" value="$prompt"/><Pairwise name="better" toName="a,b"/>
<View style="display: flex"><Text name="a" value="$a"/><Text name="b" value="$b"/></View></View>"""
CSRF = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')
CHOICE = {"from_name": "better", "to_name": "a", "type": "pairwise", "value": {"selected": "left"}}
IMPORT_AT_ONCE = 500


class LabelStudioSeat(Seat):
    """The label stream of the project: GET next, POST the annotation."""

    project: int
    task: int | None = None

    async def step(self, notes: Notes) -> bool:
        """Two requests, as its page makes them; drafts, which the page also saves while one thinks, are left out."""
        if self.task is None:
            with notes.timed("next"):
                answer = checked(await self.client.get(f"/api/projects/{self.project}/next"), 200, 404)
            if answer.status == 404:
                return False  # none is left, or "they seem to be locked by another user(s)"
            self.task = int(answer.json()["id"])
        said = {"result": [CHOICE], "lead_time": 1.0}
        path = f"/api/tasks/{self.task}/annotations?project={self.project}"
        with notes.timed("submit"):
            answer = await self.client.post_json(path, said, csrf(self.client))
            if answer.status in (403, 404, 409):
                self.task = None  # not to be repeated
            checked(answer, 201)
        self.task = None
        notes.told(str(answer.json()["id"]))
        return True


class LabelStudio(Peer):
    """Its defaults, but for where its files lie."""

    name, requirement, program = "label-studio", "label-studio==1.23.2", "label-studio"

    def prepare(self, say: Say) -> None:
        """Install it, and let it make its database, which takes a minute; each round begins with a copy."""
        super().prepare(say)
        done = subprocess.run(
            self.command("init", "--quiet"),
            env=self._environment(self.directory / "empty"),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Unavailable(f"label-studio init failed: {done.stderr[-1000:]}")

    def _environment(self, data: Path) -> dict[str, str]:
        return clean_environment(LABEL_STUDIO_BASE_DATA_DIR=str(data), COLLECT_ANALYTICS="False")

    def open(self, pairs: Sequence[Pair], people: int, directory: Path) -> None:
        """Start it with its first account."""
        self.data = directory / "data"
        shutil.copytree(self.directory / "empty", self.data)
        port = free_port()
        self.address, self.pairs, self.project = f"http://127.0.0.1:{port}", pairs, 0
        command = self.command(
            "start", "--no-browser", "--port", str(port), "--username", ADMIN, "--password", PASSWORD
        )
        environment = self._environment(self.data)
        self.server = Server.start(
            command, directory=directory, environment=environment, ready=f"{self.address}/health"
        )

    async def seat(self, number: int) -> Seat:
        """Sign up as anybody can; the first one to come waits until the admin has imported the tasks."""
        if not self.project:
            await self._import()
        client = Client(self.address)
        await _enter(client, "signup", f"person-{number}@example.org", f"secret-{os.urandom(6).hex()}")
        seat = LabelStudioSeat(client)
        seat.project = self.project
        return seat

    async def _import(self) -> None:
        async with Client(self.address) as client:
            await _enter(client, "login", ADMIN, PASSWORD)
            project = {"title": "Peers", "label_config": FORM, "maximum_annotations": 1}
            self.project = int(
                checked(await client.post_json("/api/projects", project, csrf(client)), 201).json()["id"]
            )
            rows = [{"data": {"prompt": one.prompt, "a": one.first, "b": one.second}} for one in self.pairs]
            for start in range(0, len(rows), IMPORT_AT_ONCE):
                part = rows[start : start + IMPORT_AT_ONCE]
                path = f"/api/projects/{self.project}/import"
                checked(await client.post_json(path, part, csrf(client)), 201)

    def stored(self) -> list[Stored]:
        """Its table of annotations, which it still calls completions."""
        with closing(sqlite3.connect(self.data / "label_studio.sqlite3")) as store:
            rows = store.execute("select id, task_id, completed_by_id from task_completion where not was_cancelled")
            return [Stored(str(task), str(person), str(number)) for number, task, person in rows]


def csrf(client: Client) -> dict[str, str]:
    """The header that its scripts send with a change."""
    return {"X-CSRFToken": client.cookies.get("csrftoken", "")}


async def _enter(client: Client, page: str, email: str, password: str) -> None:
    found = CSRF.search(checked(await client.get(f"/user/{page}/"), 200).text)
    if found is None:
        raise Refused(f"/user/{page}/ has no form.")
    fields = {"csrfmiddlewaretoken": found[1], "email": email, "password": password}
    checked(await client.post_form(f"/user/{page}/", fields), 302)
