"""What the benchmark asks of a server: stand up with these tasks, seat people, say what it stored."""

import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from app.bench.peers.client import Client
from app.bench.peers.ledger import Stored
from app.bench.peers.tasks import Pair
from app.bench.servers import Server, clean_environment
from app.core.errors import InvalidInput, Problem, Unavailable

Say = Callable[[str], None]


class Notes:
    """What all people of a round saw: milliseconds of each request, by what it was for, and every acknowledgement."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = {"next": [], "submit": []}
        self.receipts: list[str] = []
        self.told_at: list[float] = []
        """When each receipt came (time.monotonic)."""

    def told(self, receipt: str) -> None:
        """An answer was acknowledged; whatever fails from here on, this was said."""
        self.receipts.append(receipt)
        self.told_at.append(time.monotonic())

    @contextmanager
    def timed(self, kind: str) -> Iterator[None]:
        """Note how long the block takes, if it ends well."""
        began = time.perf_counter()
        yield
        self.times[kind].append(1000 * (time.perf_counter() - began))


class Seat(ABC):
    """One person at a server, signed in as nobody else."""

    def __init__(self, client: Client) -> None:
        self.client = client

    @abstractmethod
    async def step(self, notes: Notes) -> bool:
        """Have a task and answer it. False where there is no task. Raises Refused.

        After Refused the same task is answered again, as somebody does who sees an error.
        """


class System(ABC):
    """One kind of server. `prepare` once; then, as often as wished, `open`, seats, `stop`, `stored`."""

    name: str

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @abstractmethod
    def prepare(self, say: Say) -> None:
        """What a first start costs, paid once."""

    @abstractmethod
    def open(self, pairs: Sequence[Pair], people: int, directory: Path) -> None:
        """Start it in an empty directory, with these tasks; each wants one answer."""

    @abstractmethod
    async def seat(self, number: int) -> Seat:
        """Give one person an account and the first page."""

    @property
    @abstractmethod
    def pids(self) -> list[int]:
        """All its processes, a database's included."""

    @abstractmethod
    def stop(self) -> None:
        """End it, and leave the store to be read."""

    @abstractmethod
    def stored(self) -> list[Stored]:
        """Every answer in its own store."""

    def clean(self) -> None:
        """Forget the store: nothing of the round runs on."""
        self.stop()


class Peer(System):
    """A tool of others, in a virtual environment of its own, installed by pip as its users would."""

    requirement: str
    program: str
    """In the environment's bin."""
    server: Server | None = None
    address = ""

    def __init__(self, directory: Path, environment: Path) -> None:
        super().__init__(directory)
        self.environment = environment

    def prepare(self, say: Say) -> None:
        """Install it, unless it is there."""
        install(self.requirement, self.environment, self.program, say)

    @property
    def pids(self) -> list[int]:
        """The server and its children."""
        return self.server.pids if self.server else []

    def stop(self) -> None:
        """End the server."""
        if self.server is not None:
            self.server.stop()
            self.server = None

    def command(self, *arguments: str) -> list[str]:
        """Its program with these arguments."""
        return [str(self.environment / "bin" / self.program), *arguments]


def install(requirement: str, environment: Path, program: str, say: Say) -> None:
    """Make a virtual environment with this in it, by pip. Raises InvalidInput, Unavailable."""
    if (environment / "bin" / program).exists():
        return
    if environment.exists() and any(environment.iterdir()):
        raise InvalidInput([Problem("--environments", f"{environment} is there, but without {program}.")])
    say(f"Installing {requirement} into {environment}, once.")
    for command in (
        [sys.executable, "-m", "venv", str(environment)],
        [str(environment / "bin/pip"), "install", "--quiet", requirement],
    ):
        done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise Unavailable(f"{requirement} could not be installed: {done.stderr[-1000:]}")
