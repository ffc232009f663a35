"""potato as `potato start` runs it: Flask's development server, state in memory and in a file for each annotator."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from app.bench.peers.client import Client, Refused, checked
from app.bench.peers.ledger import Stored
from app.bench.peers.system import Notes, Peer, Seat
from app.bench.peers.tasks import Pair
from app.bench.servers import Server, clean_environment, free_port

INSTANCE = re.compile(r'id="instance_id"[^>]* value="([^"]+)"')
PAGE_MOVES = {"X-Potato-Navigation": "1"}


class PotatoSeat(Seat):
    """Its page: save the answer, move on, load the whole page again."""

    person: str
    task: str | None = None
    sent = False

    async def step(self, notes: Notes) -> bool:
        """Save the answer (submit), then move and reload (next), which is what its page does after one arrow key."""
        if self.task is None:
            return False
        if not self.sent:
            said = {
                "instance_id": self.task,
                "annotations": {"better:selection": "A"},
                "cleared_schemas": [],
                "span_annotations": [],
                "response_time_seconds": 1.0,
            }
            with notes.timed("submit"):
                answer = checked(await self.client.post_json("/updateinstance", said), 200)
                if answer.json().get("status") != "success":
                    raise Refused(answer.text[:200])
            self.sent = True
            notes.told(f"{self.task} {self.person}")
        with notes.timed("next"):
            move = {"action": "next_instance", "instance_id": self.task}
            checked(await self.client.post_json("/annotate", move, PAGE_MOVES), 200, 302)
            found = INSTANCE.search(checked(await self.client.get("/annotate"), 200).text)
        self.task = found[1] if found and found[1] != self.task else None
        self.sent = False
        return True


class Potato(Peer):
    """Its defaults. Everyone's quota is their share of the tasks: without it, the first to come is dealt all."""

    name, requirement, program = "potato", "potato-annotation==2.12.1", "potato"

    def open(self, pairs: Sequence[Pair], people: int, directory: Path) -> None:
        """Write its configuration and start it."""
        self.output = directory / "annotation_output"
        rows = [
            {"id": f"task-{number}", "text": one.prompt, "answers": [one.first, one.second]}
            for number, one in enumerate(pairs)
        ]
        (directory / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        scheme = {
            "annotation_type": "pairwise",
            "name": "better",
            "description": "Which answer is better?",
            "items_key": "answers",
        }
        configuration = {
            "annotation_task_name": "Peers",
            "task_dir": ".",
            "output_annotation_dir": "annotation_output",
            "data_files": ["tasks.jsonl"],
            "item_properties": {"id_key": "id", "text_key": "text"},
            "require_password": False,
            "num_annotators_per_item": 1,
            "max_annotations_per_user": max(1, len(pairs) // people),
            "annotation_schemes": [scheme],
        }
        (directory / "config.yaml").write_text(json.dumps(configuration))  # JSON is YAML
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        command = self.command("start", "config.yaml", "-p", str(port), "--host", "127.0.0.1")
        self.server = Server.start(
            command, directory=directory, environment=clean_environment(), ready=f"{self.address}/health"
        )

    async def seat(self, number: int) -> Seat:
        """Give a name; no password is asked."""
        client = Client(self.address)
        seat = PotatoSeat(client)
        seat.person = f"person-{number}"
        checked(await client.post_form("/auth", {"action": "login", "email": seat.person, "pass": ""}), 302)
        found = INSTANCE.search(checked(await client.get("/annotate"), 200).text)
        seat.task = found[1] if found else None
        return seat

    def stored(self) -> list[Stored]:
        """What stands in everyone's file."""
        found = []
        for path in self.output.glob("*/user_state.json"):
            state = json.loads(path.read_text())
            person = state["user_id"]
            for task, labels in state["instance_id_to_label_to_value"].items():
                if labels:
                    found.append(Stored(task, person, f"{task} {person}"))
        return found
