"""`palate up`: every process of Palate under one parent, started in order, restarted when it dies, stopped cleanly.

The lock on `home`/lock says who the one supervisor of a home is. Children are direct, in process groups of their own,
and the kernel ends them when the supervisor dies; the next start sweeps up whatever outlived a killed one.
"""

import http.client
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

from sqlalchemy.exc import OperationalError

from app import preflight
from app.core import database, schema
from app.core.errors import AppError, Unavailable
from app.core.settings import ROOT, Settings
from app.postgres import Cluster
from app.postgres_binaries import place_for
from app.processes import Child

log = logging.getLogger("palate.supervisor")

GRACE = 15.0
SLOWEST_RESTART = 30.0
STABLE = 30.0  # a child that lived this long starts its back-off anew


class Supervisor:
    """All processes of one home. `run` returns the exit code of `palate up`."""

    def __init__(self, settings: Settings, *, train: bool = True) -> None:
        self.settings = settings
        self.train = train
        self.stopping = threading.Event()
        self.hurry = False
        self.cluster: Cluster | None = None
        self.children: list[Child] = []
        self.lock: IO[str] | None = None
        self.announced = False

    def run(self) -> int:
        """Start everything, keep it running until a signal, stop everything."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        try:
            self.lock = preflight.take_home(self.settings.home)
            preflight.check_ports(self.settings, policy=self.train)
            if self.train:
                preflight.check_model(self.settings)
            self._start_database()
            self._seed()
            self._start_children()
            return self._watch()
        except AppError as problem:
            log.error(str(problem))
            return 1
        except OSError as problem:
            log.error(preflight.sentence(problem, self.settings.home))
            return 1
        finally:
            self._stop()

    def _on_signal(self, *_: object) -> None:
        self.hurry = self.stopping.is_set()
        self.stopping.set()

    # Starting

    def _start_database(self) -> None:
        given = self.settings.database_url
        if given is None or not given.get_secret_value():
            self.cluster = Cluster(place_for(self.settings.home), {}, log=log.info)
            if not (self.cluster.data / "PG_VERSION").exists():
                log.info("Making the database", extra={"directory": str(self.cluster.data)})
            self.cluster.prepare()
            self.cluster.start()
            self.cluster.create_database()
            _write_private(self.settings.home / "postgres" / "address", self.cluster.dsn())
        try:
            schema.migrate(self.settings.dsn)
        except OperationalError as problem:
            raise Unavailable(f"The database does not answer: {str(problem).splitlines()[0]}") from problem

    def _seed(self) -> None:
        if not self.settings.demo:
            return
        done = subprocess.run(
            [sys.executable, "-P", "-m", "app.cli", "seed"],
            env={**os.environ, **self.environment},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
            raise Unavailable(f"The demo project could not be made: {' '.join(last)}")

    def _start_children(self) -> None:
        self.children = [
            Child("web", ["app.cli", "web"]),
            Child("background", ["app.background"]),
        ]
        if self.train:
            self.children.append(Child("model", ["trainer", "base-model"], once=True))
        for child in self.children:
            child.launch(self.environment)

    def _start_trainer(self) -> None:
        """The policy server and the trainer need the converted base model."""
        for child in (Child("policy", ["trainer", "serve"]), Child("trainer", ["trainer", "work"], nice=10)):
            self.children.append(child)
            child.launch(self.environment)

    @property
    def environment(self) -> dict[str, str]:
        """What every child is told on top of our own environment."""
        return {
            "PALATE_HOME": str(self.settings.home),
            "PALATE_SUPERVISED": "1",
            "PALATE_HOST": self.settings.host,
            "PALATE_PORT": str(self.settings.port),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "TQDM_DISABLE": "1",
            # Policy server and trainer share the cores: a thread that waits must not spin for long on the other's.
            # Spinning for some microseconds all the same makes a decode step a quarter faster than sleeping at once.
            "OMP_WAIT_POLICY": "PASSIVE",
            "GOMP_SPINCOUNT": "4000",
        }

    # Running

    def _watch(self) -> int:
        while not self.stopping.wait(0.2):
            self._keep_database()
            for child in list(self.children):
                if not child.running and not self._revive(child):
                    return 1
            if not self.announced and self._ready():
                self._announce()
        return 0

    def _keep_database(self) -> None:
        if self.cluster is None or self.cluster.process is None or self.cluster.process.poll() is None:
            return
        log.error("The database stopped; starting it again", extra={"code": self.cluster.process.returncode})
        began = time.monotonic()
        self.cluster.start()
        log.info("The database answers again", extra={"seconds": round(time.monotonic() - began, 1)})

    def _revive(self, child: Child) -> bool:
        """Restart a child that ended, when its pause is over. False when everything must end."""
        assert child.process is not None  # noqa: S101 - only launched children are watched
        code = child.process.returncode
        if child.once:
            if code != 0:
                log.error(child.last_line or "The base model could not be prepared", extra={"code": code})
                return False
            self.children.remove(child)
            self._start_trainer()
            return True
        now = time.monotonic()
        if not child.due:
            child.end_group()
            child.pause = 0.25 if now - child.started > STABLE else min(max(0.25, child.pause * 2), SLOWEST_RESTART)
            child.due = now + child.pause
            log.error(
                "A process ended; starting it again", extra={"which": child.name, "code": code, "in_s": child.pause}
            )
        if now >= child.due:
            child.due = 0.0
            child.launch(self.environment)
        return True

    def _ready(self) -> bool:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.settings.host, self.settings.host)  # noqa: S104 - compared, not bound
        connection = http.client.HTTPConnection(host, self.settings.port, timeout=2)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _announce(self) -> None:
        from app.accounts.service import first_owner_link  # noqa: PLC0415 - not needed before the pages answer

        self.announced = True
        with database.units_of_work(self.settings.dsn) as uow, uow() as db:
            link = first_owner_link(db, self.settings)
        address = self.settings.public_url or f"http://{_shown(self.settings.host)}:{self.settings.port}"
        log.info("Palate is ready. Open %s", address)
        if link:
            log.info("Nobody owns this Palate yet. This link works once and makes you its owner: %s", link)

    # Stopping

    def _stop(self) -> None:
        self.stopping.set()
        running = [child for child in self.children if child.running and child.process is not None]
        if running:
            log.info("Stopping", extra={"processes": len(running)})
        for child in running:
            if child.process is not None:
                child.process.terminate()
        deadline = time.monotonic() + GRACE
        while any(child.running for child in running) and time.monotonic() < deadline and not self.hurry:
            time.sleep(0.05)
        for child in self.children:
            child.end_group()
        if self.cluster is not None:
            self.cluster.stop()
        if self.lock is not None:
            self.lock.close()
        log.info("Stopped")


def _shown(host: str) -> str:
    """A host that can be clicked on this machine."""
    if host in ("0.0.0.0", "::", "127.0.0.1", "::1"):  # noqa: S104 - compared, not bound
        return "localhost"
    return f"[{host}]" if ":" in host else host


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)
