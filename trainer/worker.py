"""The trainer's worker: claims rounds, keeps their lease, and runs each in a child process. `python -m trainer work`.

The parent holds no model: whatever happens to the child (a crash, no memory, a kill), the parent is there to say so and
to try again, and the next child goes on from the last checkpoint. A child never outlives its parent.
"""

import argparse
import contextlib
import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time

from sqlalchemy import func, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.core import jobs, runs
from app.core.database import UnitOfWork, units_of_work
from app.core.errors import AppError, Cancelled, LostFence
from app.core.records import Job, WorkerState
from app.core.settings import ROOT, Settings

log = logging.getLogger(__name__)
QUEUE = "trainer"
HOLD_EVERY = 5.0
"""Seconds between two heartbeats; a cancel is noticed within that time, too."""
LOOK_EVERY = 1.0
KILL_AFTER = 10.0
"""Seconds a child gets to end after SIGTERM."""
DONE, FAILED, LOST, CANCELLED = 0, 3, 4, 5
"""How a child ends. Anything else is an accident, and the round is tried again."""
PR_SET_PDEATHSIG = 1


class Worker:
    """One round at a time."""

    def __init__(self, settings: Settings, uow: UnitOfWork) -> None:
        self.settings = settings
        self.uow = uow
        self.owner = f"{socket.gethostname()}:{os.getpid()}"
        self.stop = threading.Event()

    def run(self) -> None:
        """Work until `stop` is set."""
        while not self.stop.is_set():
            try:
                worked = self.work_once()
            except OperationalError:
                log.warning("the database does not answer, trying again")
                worked = False
            if not worked:
                self.stop.wait(LOOK_EVERY)

    def work_once(self) -> bool:
        """Claim a round and see it through. False when none waits."""
        with self.uow() as db:
            alive(db, self.owner)
            job = jobs.claim(db, QUEUE, self.owner)
        if job is None:
            return False
        log.info("round claimed", extra={"action": "claim", "job": job.id, "attempt": job.attempt})
        child = self.spawn(job)
        try:
            self.watch(job, child)
        finally:
            end(child)
        return True

    def spawn(self, job: Job) -> "subprocess.Popen[bytes]":
        """The child that executes the round, polite to everybody else and bound to this process's life."""
        command = [sys.executable, "-m", "trainer", "run", "--job", str(job.id), "--fence", str(job.fence)]
        command += ["--parent", str(os.getpid())]
        environment = {
            **os.environ,
            "PALATE_HOME": str(self.settings.home),
            "PALATE_BASE_MODEL": self.settings.base_model,
            "PALATE_DTYPE": self.settings.dtype,
            "PALATE_DEVICE": self.settings.device,
            "PALATE_THREADS": str(self.settings.threads),
            "PALATE_PROCESS": "training",
            "PALATE_LOG_LEVEL": self.settings.log_level,
        }
        if self.settings.database_url is not None:
            environment["PALATE_DATABASE_URL"] = self.settings.dsn
        return subprocess.Popen(command, cwd=ROOT, env=environment)

    def watch(self, job: Job, child: "subprocess.Popen[bytes]") -> None:
        """Keep the lease until the child ends, then put the job away."""
        held = time.monotonic()
        while child.poll() is None:
            if self.stop.wait(0.2):
                self.let_go(job, child)
                return
            if time.monotonic() - held < HOLD_EVERY:
                continue
            held = time.monotonic()
            try:
                with self.uow() as db:
                    jobs.hold(db, job.id, job.fence)
                    alive(db, self.owner, job=job.id)
            except OperationalError:
                log.warning("the database does not answer, the round goes on")
            except LostFence:
                end(child)
                return
            except Cancelled:
                end(child)
                self.cancelled(job)
                return
        self.ended(job, child.returncode)

    def let_go(self, job: Job, child: "subprocess.Popen[bytes]") -> None:
        """This worker is told to stop: the round goes back to the queue as if it had not been claimed."""
        end(child)
        with self.uow() as db, contextlib.suppress(LostFence):
            jobs.release(db, job.id, job.fence)
        log.info("round released", extra={"action": "release", "job": job.id})

    def ended(self, job: Job, code: int) -> None:
        """What becomes of the job after its child ended by itself."""
        log.info("round's process ended", extra={"action": "end", "job": job.id, "code": code})
        if code == CANCELLED:
            self.cancelled(job)
        elif code not in (DONE, LOST):
            with contextlib.suppress(LostFence):
                self.accident(job, code)

    def cancelled(self, job: Job) -> None:
        """The child is gone; say that the round is."""
        with self.uow() as db:
            runs.stop_cancelled(db, int(job.payload["round_id"]))
            db.execute(
                update(Job)
                .where(Job.id == job.id, Job.fence == job.fence, Job.state == "running")
                .values(state="cancelled", finished_at=func.now(), lease_until=None)
            )

    def accident(self, job: Job, code: int) -> None:
        """A failed round is over; a killed one is tried again until its attempts are used up."""
        with self.uow() as db:
            words = reason(code)
            if code == FAILED:
                jobs.finish(db, job.id, job.fence, "failed", words)
            elif jobs.retry(db, job.id, job.fence, words, delay=1) != "failed":
                return
            runs.fail_round(db, int(job.payload["round_id"]), words)


def reason(code: int) -> str:
    """Why a child ended, for people."""
    if code == FAILED:
        return "A run of this round failed; its own line says why."
    if code == -signal.SIGKILL:
        return "The training process was killed, perhaps for want of memory. It goes on from its last checkpoint."
    if code < 0:
        return f"The training process was stopped by signal {-code}. It goes on from its last checkpoint."
    return f"The training process ended unexpectedly (code {code}); the log has the details."


def end(child: "subprocess.Popen[bytes]") -> None:
    """Make sure that a child is gone. Its last checkpoint stays."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(KILL_AFTER)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def alive(db: Session, owner: str, **detail: object) -> None:
    """Tell pages that this worker lives."""
    row = insert(WorkerState).values(name="trainer", seen_at=func.now(), detail={"owner": owner, **detail})
    db.execute(
        row.on_conflict_do_update(
            index_elements=["name"], set_={"seen_at": row.excluded.seen_at, "detail": row.excluded.detail}
        )
    )


def die_with_parent(parent: int) -> None:
    """Ask Linux to end this process when its parent dies, and end now if that has happened already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(LOST)


def work(settings: Settings, _rest: list[str]) -> int:
    """`python -m trainer work`: run until SIGTERM or SIGINT."""
    with units_of_work(settings.dsn, pool_size=2) as uow:
        worker = Worker(settings, uow)
        for sign in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sign, lambda *_: worker.stop.set())
        worker.run()
    return DONE


def run(settings: Settings, rest: list[str]) -> int:
    """`python -m trainer run --job N --fence F`: execute one claimed round. Returns what the worker understands."""
    parser = argparse.ArgumentParser(prog="python -m trainer run", description=run.__doc__)
    parser.add_argument("--job", type=int, required=True)
    parser.add_argument("--fence", type=int, required=True)
    parser.add_argument("--parent", type=int, default=os.getppid(), help="end when this process does")
    given = parser.parse_args(rest)
    die_with_parent(given.parent)
    from trainer.rounds import execute  # noqa: PLC0415 - the worker itself stays free of torch

    os.nice(5)
    try:
        with units_of_work(settings.dsn, pool_size=2) as uow:
            execute(settings, uow, given.job, given.fence)
    except LostFence:
        return LOST
    except Cancelled:
        return CANCELLED
    except AppError as error:
        log.error("round failed: %s", error, extra={"action": "fail", "job": given.job})
        return FAILED
    return DONE
