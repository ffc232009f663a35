"""What a trainer tells the database about its run. Fenced: a worker that lost its job changes nothing."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Session
from sqlalchemy.sql import literal

from app.core import jobs
from app.core.database import UnitOfWork
from app.core.errors import AppError
from app.core.recipes import METRICS
from app.core.records import Run, RunMetric
from app.core.records.base import Json


@dataclass(frozen=True)
class RunWriter:
    """Progress, metrics, checkpoints and the end of one run, each in its own short transaction.

    Every method renews the lease and raises LostFence (another worker took over) or Cancelled (an admin said stop);
    then nothing was written.
    """

    uow: UnitOfWork
    job_id: int
    fence: int
    run_id: int

    def start(self, steps: int) -> None:
        """The run begins, or goes on after an interruption; `steps` is how many it has in all."""
        with self._write(
            state="running", steps=steps, error=None, started_at=func.coalesce(Run.started_at, func.now())
        ):
            pass

    def progress(self, step: int, phase: str) -> None:
        """Where it is now. `phase` is what the page says: "sampling", "step 12 of 30"."""
        with self._write(step=step, phase=phase):
            pass

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Store figures of one step. A resumed run may write a step again: the newest figure stays.

        Raises AppError for a name outside the vocabulary and for a value that is not a finite number.
        """
        for name, value in values.items():
            if name not in METRICS:
                raise AppError(f"{name!r} is not in the vocabulary of metrics (app.core.recipes.METRICS).")
            if not math.isfinite(value):
                raise AppError(f"{name} is not a number at step {step}.")
        with self._hold() as db:
            if values:
                rows = [
                    {"run_id": self.run_id, "name": name, "step": step, "value": float(value)}
                    for name, value in values.items()
                ]
                new = insert(RunMetric).values(rows)
                db.execute(
                    new.on_conflict_do_update(
                        index_elements=["run_id", "name", "step"], set_={"value": new.excluded.value}
                    )
                )

    def checkpoint(self, digest: str) -> None:
        """The artefact from which a resumed run goes on."""
        with self._write(checkpoint=digest):
            pass

    def done(self, result: Json) -> None:
        """The run ended well; `result` holds its final figures and what it made."""
        merged = Run.result.op("||", return_type=JSONB())(literal(result, JSONB()))
        with self._write(state="done", result=merged, phase="", finished_at=func.now()):
            pass

    def failed(self, message: str) -> None:
        """The run stopped by an error; `message` is a sentence for the person who reads the page."""
        with self._write(state="failed", error=message, finished_at=func.now()):
            pass

    @contextmanager
    def _hold(self) -> Iterator[Session]:
        with self.uow() as db:
            jobs.hold(db, self.job_id, self.fence)
            yield db

    @contextmanager
    def _write(self, **values: Any) -> Iterator[Session]:
        with self._hold() as db:
            db.execute(update(Run).where(Run.id == self.run_id).values(**values))
            yield db
