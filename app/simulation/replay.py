"""Real workers' answers given once more through the pages: one simulated annotator for each worker, over HTTP.

The queue hands out the oldest open task that a person has not met. Tasks stand in it in the order of the file, and each
needs exactly as many answers as are recorded; so when the workers come to the page in that order, each is handed the
task that is meant, and nobody has to skip. Where other tasks stand in between, a worker skips what they have no answer
for. Left out on purpose: pauses. This checks that what is stored is what was said, not how long people take.
"""

import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from app.core.comparisons import CheckedComparison
from app.core.database import UnitOfWork
from app.core.people import make_invite
from app.core.projects import project_by_slug
from app.core.settings import Settings
from app.simulation.annotator import Browser
from app.simulation.crowd import server_address
from app.simulation.page import ShownTask
from app.simulation.recorded import Memory, Recorded

TOGETHER = 4
"""Requests in flight at once."""
SAY_EVERY = 500


@dataclass
class Played:
    """What came of it."""

    handed_out: int = 0
    answered: int = 0
    skipped: int = 0
    not_offered: list[Recorded] = field(default_factory=list)
    """Answers whose task the page never showed to their worker."""
    seconds: float = 0.0
    emails: dict[str, str] = field(default_factory=dict)
    """Who stands for which worker: e-mail addresses by worker."""


class Worker(Browser):
    """A simulated annotator with one real worker's memory."""

    def __init__(self, address: str, project: str, memory: Memory, *, name: str) -> None:
        super().__init__(address, project, name=name)
        self.memory = memory
        self.sending: Future[ShownTask | None] | None = None
        """The answer that is on its way."""

    def finish(self) -> None:
        """Wait until the last answer is stored."""
        if self.sending is not None:
            self.sending.result()
            self.sending = None


def replay(
    uow: UnitOfWork,
    settings: Settings,
    project: str,
    rows: Sequence[CheckedComparison],
    recorded: Sequence[Recorded],
    *,
    say: Callable[[str], None],
) -> Played:
    """Give every recorded answer through the pages of a running server, row by row in the order of the file."""
    played, began = Played(), time.monotonic()
    by_row: dict[str, list[Recorded]] = defaultdict(list)
    said = 0
    for one in recorded:
        by_row[one.name].append(one)
    with ThreadPoolExecutor(TOGETHER) as pool:
        workers = _join(uow, settings, project, recorded, pool=pool, played=played)
        say(f"{len(workers)} workers have signed in after {time.monotonic() - began:.0f} s.")
        try:
            for row in rows:
                _answer_row(workers, by_row[row.external_id or ""], pool, played)
                if played.answered >= said + SAY_EVERY:
                    said = played.answered
                    say(f"{said:,} of {len(recorded):,} answers after {time.monotonic() - began:.0f} s.")
            for worker in workers.values():
                worker.finish()
        finally:
            for worker in workers.values():
                worker.close()
    played.seconds = time.monotonic() - began
    return played


def _answer_row(
    workers: Mapping[str, Worker], row: Iterable[Recorded], pool: ThreadPoolExecutor, played: Played
) -> None:
    """Hand a row's task to all of its workers, then let them answer together.

    Tasks are taken one after another and before any answer to them is sent: the queue passes over a task that somebody
    else locks in the same instant. Answers travel while the next row is handed out: a task whose places are all taken
    is handed to nobody.
    """
    taken = [(one, _hand_out(workers[one.worker], one, played)) for one in row]
    for one, task in taken:
        if task is not None:
            worker = workers[one.worker]
            worker.sending = pool.submit(worker.send, *task, one.form(task[0]))
            played.answered += 1


def _hand_out(worker: Worker, one: Recorded, played: Played) -> tuple[ShownTask, str] | None:
    """Let the worker take tasks until the one that is meant is there; None when it is not.

    What else is remembered is answered on the way, what is not is skipped.
    """
    worker.memory.next = one.name
    while one.name not in worker.memory.given:
        worker.finish()
        taken = worker.next_task()
        if taken is None:
            played.not_offered.append(one)
            return None
        played.handed_out += 1
        found = worker.memory.take(taken[0])
        if found is one:
            return taken
        if found is None:
            worker.skip(*taken)
            played.skipped += 1
        else:
            worker.send(*taken, found.form(taken[0]))
            played.answered += 1
    return None


def _join(
    uow: UnitOfWork,
    settings: Settings,
    project: str,
    recorded: Iterable[Recorded],
    *,
    pool: ThreadPoolExecutor,
    played: Played,
) -> dict[str, Worker]:
    """One person for each worker: invited, signed in."""
    batch = secrets.token_hex(3)
    memories: dict[str, list[Recorded]] = defaultdict(list)
    for one in recorded:
        memories[one.worker].append(one)
    with uow() as db:
        project_id = project_by_slug(db, project).id
        invites = {worker: make_invite(db, "annotator", project_id=project_id, created_by=None) for worker in memories}
    address = server_address(settings)

    def join(number: int, worker: str) -> tuple[str, Worker]:
        email = f"replay-{batch}-{number}@example.org"
        person = Worker(address, project, Memory(memories[worker]), name=f"Worker {worker}")
        person.join(invites[worker], email)
        played.emails[worker] = email
        return worker, person

    joining = [pool.submit(join, number, worker) for number, worker in enumerate(memories, start=1)]
    return dict(one.result() for one in joining)
