"""The light worker: keeps pools full, starts rounds that are due, tidies up. No torch. `python -m app.background`."""

import logging
import signal
import threading
import time
from collections.abc import Callable
from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.core import logs, registry, runs
from app.core.database import UnitOfWork, units_of_work
from app.core.errors import Conflict, Unavailable
from app.core.records import Project, SignInAttempt, WebSession, WorkerState
from app.core.settings import Settings
from app.sampler import Sampler
from app.web.policy_client import PolicyClient

log = logging.getLogger(__name__)
EVERY = 2.0
"""Seconds between two looks at the database."""
TIDY_EVERY = 600.0
KEPT = timedelta(days=1)
"""How long failed sign-ins are remembered."""


class Background:
    """Two loops: one that samples (and waits for the model), one for everything quick."""

    def __init__(self, settings: Settings, uow: UnitOfWork, client: PolicyClient) -> None:
        self.settings = settings
        self.uow = uow
        self.sampler = Sampler(uow, client)
        self.stop = threading.Event()
        self.said: dict[str, str] = {}
        self.tidied = 0.0

    def run(self) -> None:
        """Work until `stop` is set. A thing that fails is told once and tried again; nothing ends the loops."""
        filling = threading.Thread(target=self._loop, args=("filling", self.fill), name="sampler", daemon=True)
        filling.start()
        self._loop("housekeeping", self.look_after)
        filling.join(timeout=5)

    def fill(self) -> bool:
        """One batch for every project that wants one. True when something was made."""
        with self.uow() as db:
            projects = working_projects(db)
        made = 0
        for project_id in projects:
            if not self.stop.is_set():
                made += self.sampler.fill(project_id)
        return made > 0

    def look_after(self) -> bool:
        """Sign of life, base models of new projects, rounds that are due, tidying. Never True: it can wait its turn."""
        with self.uow() as db:
            heartbeat(db, "background", trouble=self.said.get("filling"))
            projects = working_projects(db)
        for project_id in projects:
            self._start_due(project_id)
        if time.monotonic() - self.tidied > TIDY_EVERY:
            with self.uow() as db:
                tidy(db)
            self.tidied = time.monotonic()
        return False

    def _start_due(self, project_id: int) -> None:
        with self.uow() as db:
            project = db.get_one(Project, project_id)
            if registry.live(db, project_id) is None:
                registry.ensure_base(db, project, self.settings.base_model)
            if not runs.due(db, project):
                return
            try:
                started = runs.start_round(db, project, trigger="rule")
            except Conflict:
                return
        log.info("round started", extra={"action": "start_round", "project": project.slug, "round": started.number})

    def _loop(self, name: str, work: Callable[[], bool]) -> None:
        while not self.stop.is_set():
            again = False
            try:
                again = work()
                self._well(name)
            except Unavailable as error:
                self._say(name, str(error), None)
            except Exception as error:  # noqa: BLE001  (one bad row must not end the worker; it is said, then tried again)
                self._say(name, f"{type(error).__name__}: {error}".splitlines()[0], error)
            if not again:
                self.stop.wait(EVERY)

    def _say(self, name: str, words: str, error: Exception | None) -> None:
        if self.said.get(name) != words:
            self.said[name] = words
            log.warning("%s waits: %s", name, words, exc_info=error, extra={"action": "wait"})

    def _well(self, name: str) -> None:
        if self.said.pop(name, None):
            log.info("%s goes on", name, extra={"action": "go_on"})


def working_projects(db: Session) -> list[int]:
    """Projects that are neither paused nor archived."""
    return list(
        db.scalars(
            select(Project.id).where(Project.paused_at.is_(None), Project.archived_at.is_(None)).order_by(Project.id)
        )
    )


def heartbeat(db: Session, name: str, **detail: object) -> None:
    """Tell pages that this process lives, and what troubles it."""
    row = insert(WorkerState).values(name=name, seen_at=func.now(), detail=detail)
    db.execute(
        row.on_conflict_do_update(
            index_elements=["name"], set_={"seen_at": row.excluded.seen_at, "detail": row.excluded.detail}
        )
    )


def tidy(db: Session) -> None:
    """Remove what has ended: sessions past their time, old failed sign-ins."""
    db.execute(delete(WebSession).where(WebSession.expires_at < func.now()))
    db.execute(delete(SignInAttempt).where(SignInAttempt.at < func.now() - KEPT))


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    settings = Settings()
    logs.setup("background", settings.log_level)
    with units_of_work(settings.dsn, pool_size=4) as uow, PolicyClient.of(settings, bulk=True) as client:
        worker = Background(settings, uow, client)
        for sign in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sign, lambda *_: worker.stop.set())
        log.info("background works", extra={"action": "start"})
        worker.run()
    log.info("background stopped", extra={"action": "stop"})


if __name__ == "__main__":
    main()
