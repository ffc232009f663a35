"""feedloop as its readme runs it: a Python program that starts its server and submits comparisons."""

import json
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import httpx

from app.bench.peers.client import Client, checked
from app.bench.peers.ledger import Stored
from app.bench.peers.system import Notes, Peer, Seat
from app.bench.peers.tasks import Pair
from app.bench.servers import START, Server, clean_environment, free_port
from app.core.errors import Unavailable

PROGRAM = """
import json, sys, threading
import feedloop
port, store, tasks = int(sys.argv[1]), sys.argv[2], json.load(open(sys.argv[3]))
feedloop.start(port=port, db_path=store, open_browser=False)
for prompt, first, second in tasks:
    feedloop.compare(prompt, [first, second])
threading.Event().wait()
"""


class FeedloopSeat(Seat):
    """Its page: the oldest pending pair, and one side of it. There are no accounts; everybody is the same person."""

    session: str
    task: str | None = None

    async def step(self, notes: Notes) -> bool:
        """Two requests."""
        if self.task is None:
            with notes.timed("next"):
                pair = checked(await self.client.get(f"/api/pending?session_id={self.session}"), 200).json()
            if pair is None:
                return False
            self.task = str(pair["id"])
        said = {"comparison_id": self.task, "chosen_side": "left"}
        with notes.timed("submit"):
            checked(await self.client.post_json("/api/feedback", said), 200)
        notes.told(self.task)
        self.task = None
        return True


class Feedloop(Peer):
    """Its defaults, but for port and file."""

    name, requirement, program = "feedloop", "feedloop==1.5.3", "python"

    def open(self, pairs: Sequence[Pair], people: int, directory: Path) -> None:
        """Run the program and wait until the last pair is in."""
        self.store = directory / "feedloop.db"
        tasks = directory / "tasks.json"
        tasks.write_text(json.dumps([[one.prompt, one.first, one.second] for one in pairs]))
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        command = self.command("-c", PROGRAM, str(port), str(self.store), str(tasks))
        ready = f"{self.address}/api/stats"
        self.server = Server.start(command, directory=directory, environment=clean_environment(), ready=ready)
        until = time.monotonic() + START
        while httpx.get(ready, timeout=10, trust_env=False).json()["total"] < len(pairs):
            if time.monotonic() > until:
                raise Unavailable("feedloop does not take all comparisons.")
            time.sleep(0.1)

    async def seat(self, number: int) -> Seat:
        """Open the page."""
        seat = FeedloopSeat(Client(self.address))
        seat.session = checked(await seat.client.get("/api/session"), 200).json()["session_id"]
        return seat

    def stored(self) -> list[Stored]:
        """Its one table; it knows nobody, so everybody is nobody."""
        with closing(sqlite3.connect(self.store)) as store:
            rows = store.execute("select id from comparisons where status = 'completed'")
            return [Stored(task, "", task) for (task,) in rows]
