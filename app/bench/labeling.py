"""`palate bench labeling`: how long people wait, with many at once on a large project.

Nothing of a running Palate is used: Postgres and a web server stand up in a temporary directory; people join by invite
and talk HTTP as the page does: an answer is posted, and the next task comes with its acknowledgement.
"""

import json
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from sqlalchemy import func, select, text

from app import demo
from app.bench.servers import Server, clean_environment, free_port
from app.core import registry, schema
from app.core.database import UnitOfWork, units_of_work
from app.core.people import make_invite
from app.core.records import Preference, Project, Protocol, Task
from app.core.settings import ROOT, Settings
from app.postgres import Cluster
from app.simulation.annotator import Annotator
from app.simulation.character import Character
from app.simulation.tastes import concise

WARM_UP = 3.0
"""Seconds at the beginning that are not counted."""


@dataclass(frozen=True)
class Load:
    """What is measured. `think`: mean seconds between two answers of a person; 0 is as fast as the server lets them."""

    people: int
    seconds: float
    think: float
    tasks: int
    labels: int
    seed: int
    web_workers: int = 1


@dataclass
class Measured:
    """Milliseconds of every request after the warm-up, and what was acknowledged."""

    submit: list[float] = field(default_factory=list)
    fetch: list[float] = field(default_factory=list)
    acknowledged: int = 0
    errors: list[str] = field(default_factory=list)


class Person(Annotator):
    """An annotator who keeps the next task ready, as the page does."""

    def label(self, load: Load, until: float, note: Callable[[str, float], None]) -> None:
        """Answer until the time is over. `note(kind, milliseconds)` is told of every request."""
        shown, csrf = self.tasks()
        draw = random.Random(f"{load.seed}:{self.name}")  # noqa: S311  repeatable
        while time.monotonic() < until:
            pause = draw.expovariate(1 / load.think) if load.think else 0.0
            if time.monotonic() + pause >= until:
                return  # cut short instead, all people would answer at once in the last moment
            time.sleep(pause)
            if not shown:
                shown, csrf = self.tasks()
                continue
            task = shown.pop(0)
            said = self.says(task)
            began = time.monotonic()
            fresh = self.send(task, csrf, said, have=[task.key, *(other.key for other in shown)])
            note("submit", began)
            if fresh is not None:
                shown.append(fresh)
                continue
            began = time.monotonic()
            fetched = self.next_task(shown)
            if fetched is not None:
                note("fetch", began)
                shown.append(fetched[0])


def run(load: Load, say: Callable[[str], None]) -> dict[str, Any]:
    """Seed, serve, label, count. Returns every figure. Raises Unavailable when a server does not come up."""
    home = Path(tempfile.mkdtemp(prefix="palate-bench-"))
    home.chmod(0o711)  # Postgres runs under an account of its own when this is root, and must pass through
    cluster = Cluster(home / "postgres", {})
    try:
        cluster.prepare()
        cluster.start()
        cluster.create_database()
        settings = Settings(home=home, database_url=SecretStr(cluster.dsn()), port=free_port(), demo=True)
        schema.migrate(settings.dsn)
        with units_of_work(settings.dsn, pool_size=2) as uow:
            began = time.monotonic()
            seed(uow, settings, load)
            with cluster.connect("palate") as connection:
                # What a server that has run for months did long ago, and what would be measured instead of the pages.
                connection.execute("vacuum analyze")
                connection.execute("checkpoint")
            say(f"{load.tasks:,} open tasks and {load.labels:,} labels stand after {time.monotonic() - began:.0f} s.")
            with _web(settings, load):
                return _measure(uow, settings, load, say)
    finally:
        cluster.stop()
        shutil.rmtree(home, ignore_errors=True)


def seed(uow: UnitOfWork, settings: Settings, load: Load) -> None:
    """The demo project, grown to the wanted size."""
    demo.seed(uow, settings)
    with uow() as db:
        project = db.scalars(select(Project)).one()
        live = registry.live(db, project.id)
        assert live is not None  # noqa: S101  the seed deploys the base model
        facts = {
            "project": project.id,
            "model": live.model_id,
            "deployment": live.deployment_id,
            "protocol": db.scalars(select(Protocol.id)).one(),
            "tasks": load.tasks,
            "labels": load.labels,
        }
        db.execute(text("set local statement_timeout = 0"))
        db.execute(text("set local synchronous_commit = off"))
        script = (Path(__file__).parent / "seed.sql").read_text()
        for name, value in facts.items():
            # Numbers of our own, written in: a statement that creates a table takes no parameters.
            script = script.replace(f":{name}", str(int(value)))
        for statement in script.split(";\n"):
            if statement.strip():
                db.connection().execution_options(no_parameters=True).exec_driver_sql(statement)


def _measure(uow: UnitOfWork, settings: Settings, load: Load, say: Callable[[str], None]) -> dict[str, Any]:
    measured, lock = Measured(), threading.Lock()
    with uow() as db:
        project = db.scalars(select(Project)).one()
        slug, project_id = project.slug, project.id
        before = _stored(uow, project_id)
    address = f"http://{settings.host}:{settings.port}"
    people = [
        Person(address, slug, Character(concise), seed=load.seed * 1000 + number, name=f"Person {number}")
        for number in range(load.people)
    ]
    for number, person in enumerate(people):
        with uow() as db:
            invite = make_invite(db, "annotator", project_id=project_id, created_by=None)
        person.join(invite, f"person-{number}@example.org")
    say(f"{load.people} people have joined; they label for {load.seconds:.0f} s.")
    counted_from = time.monotonic() + WARM_UP
    until = counted_from + load.seconds

    def note(kind: str, began: float) -> None:
        took = 1000 * (time.monotonic() - began)
        with lock:
            measured.acknowledged += kind == "submit"
            if began >= counted_from:
                (measured.submit if kind == "submit" else measured.fetch).append(took)

    def work(person: Person) -> None:
        try:
            person.label(load, until, note)
        except Exception as error:  # noqa: BLE001  a thread has nobody else to tell
            with lock:
                measured.errors.append(f"{person.name}: {error}")

    threads = [threading.Thread(target=work, args=(person,)) for person in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for person in people:
        person.close()
    stored = _stored(uow, project_id) - before
    with uow() as db:
        surplus = db.scalar(select(func.count(Task.id)).where(Task.answers > Task.answers_needed, Task.gold.is_(None)))
    return {
        "load": asdict(load),
        "submit_ms": quantiles(measured.submit),
        "next_ms": quantiles(measured.fetch),
        "labels_per_second": len(measured.submit) / load.seconds,
        "acknowledged": measured.acknowledged,
        "stored": stored,
        "surplus": surplus,
        "errors": measured.errors[:10],
    }


def _stored(uow: UnitOfWork, project_id: int) -> int:
    with uow() as db:
        return db.scalars(select(func.count(Preference.id)).where(Preference.project_id == project_id)).one()


def quantiles(values: list[float]) -> dict[str, float]:
    """p50, p95, p99 and the largest, in the unit of the values."""
    if len(values) < 2:
        return {}
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98], "max": max(values), "requests": len(values)}


@contextmanager
def _web(settings: Settings, load: Load) -> Iterator[None]:
    """The pages in a process of their own."""
    environment = clean_environment(
        PALATE_HOME=str(settings.home),
        PALATE_DATABASE_URL=settings.dsn,
        PALATE_PORT=str(settings.port),
        PALATE_WEB_WORKERS=str(load.web_workers),
        PALATE_LOG_LEVEL="WARNING",
        PYTHONPATH=str(ROOT),
    )
    ready = f"http://{settings.host}:{settings.port}/readyz"
    command = [sys.executable, "-m", "app.cli", "web"]
    server = Server.start(command, directory=settings.home, environment=environment, ready=ready)
    try:
        yield
    finally:
        server.stop()


def report(figures: dict[str, Any]) -> str:
    """The figures as a person reads them."""
    lines = []
    for name, words in (
        ("submit_ms", "answer stored"),
        ("next_ms", "next task asked for"),
    ):
        found = figures[name]
        if found:
            shown = ", ".join(f"{key} {found[key]:.0f}" for key in ("p50", "p95", "p99", "max"))
            lines.append(f"{words:>18}: {shown} ms ({found['requests']:,} requests)")
    kept = f"{figures['acknowledged']:,} acknowledged, {figures['stored']:,} stored, {figures['surplus']} surplus"
    lines.append(f"{'labels':>18}: {figures['labels_per_second']:.1f} a second; {kept}")
    lines += figures["errors"]
    return "\n".join(lines)


def store(figures: dict[str, Any], path: Path) -> None:
    """Write all figures as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=1) + "\n")
