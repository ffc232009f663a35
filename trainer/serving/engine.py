"""The generation engine: one thread owns the trunk and its adapters; requests join and leave between decode steps.

A version is chosen when a request arrives and leased until it is answered, so a swap never mixes two versions in one
answer. Versions with the same weights decode together, different ones one after the other in the same loop.
"""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TypeVar

from app.core.errors import AppError, NotFound, TooMany, Unavailable
from trainer.base_model import Tokenizer
from trainer.lora import Adapter
from trainer.modeling import Trunk
from trainer.rollout import DecodeBatch, Request, Row

log = logging.getLogger(__name__)
T = TypeVar("T")
IDLE_SECONDS = 0.5


@dataclass(frozen=True)
class Version:
    """A policy that can be asked. Without `artifact_hash` it is the base model itself."""

    slug: str
    version: int
    model_id: int | None
    deployment_id: int | None
    artifact_hash: str | None

    @property
    def name(self) -> str:
        """As responses name it: slug@v3, or base."""
        return f"{self.slug}@v{self.version}" if self.model_id is not None else "base"


BASE = Version("base", 0, None, None, None)


@dataclass(eq=False)
class Job:
    """One request on its way: leased version, rows, and who is told what. Callbacks run in the generation thread."""

    version: Version
    request: Request
    on_token: Callable[[Row], None] | None
    on_done: Callable[["Job"], None]
    bulk: bool = False
    rows: list[Row] = field(default_factory=list)
    error: AppError | None = None
    cancelled: bool = False
    """Set by whoever asked; the rows are dropped before the next step."""

    @property
    def waiting(self) -> int:
        """Samples that have no row yet."""
        return self.request.n - len(self.rows)

    @property
    def answered(self) -> bool:
        """Every sample is finished."""
        return self.waiting == 0 and all(row.finish for row in self.rows)


class Engine:
    """Thread-safe from outside; inside, everything that touches tensors happens in one thread."""

    def __init__(self, trunk: Trunk, tokenizer: Tokenizer, *, max_rows: int = 32, max_waiting: int = 256) -> None:
        self.trunk = trunk
        self.tokenizer = tokenizer
        self.max_rows = max_rows
        self.max_waiting = max_waiting
        self.max_bulk_rows = max_rows - max_rows // 4
        """Bulk requests leave a quarter of the rows to people."""
        self.live: dict[str, Version] = {}
        self.previous: dict[str, Version] = {}
        """Kept warm, so that a roll-back needs no reading."""
        self._lock = threading.Condition()
        self._people: deque[Job] = deque()
        self._bulk: deque[Job] = deque()
        self._running: list[Job] = []
        self._calls: deque[Callable[[], None]] = deque()
        self._leases: Counter[str | None] = Counter()
        self._batches: dict[str | None, DecodeBatch] = {}
        self._stopping = False
        self._thread = threading.Thread(target=self._loop, name="generation", daemon=True)

    def start(self) -> None:
        """Begin generating."""
        self._thread.start()

    def stop(self, grace: float = 30.0) -> None:
        """Finish what is running within `grace` seconds, then end the thread. New requests are turned away at once."""
        with self._lock:
            self._stopping = True
            self._lock.notify()
        self._thread.join(grace)

    # Requests

    def lease(self, name: str) -> Version:
        """The version that a model name means now, held until `submit`'s job is answered or `release` is called.

        `name`: a project's slug (what is live), slug@vN where that is live or the one before, or base.
        """
        with self._lock:
            found = self._find(name)
            self._leases[found.artifact_hash] += 1
            return found

    def release(self, version: Version) -> None:
        """Give a lease back that never became a job."""
        with self._lock:
            self._leases[version.artifact_hash] -= 1

    def submit(self, job: Job) -> None:
        """Queue a job whose version is leased. Raises TooMany when too many wait, Unavailable while stopping."""
        with self._lock:
            if self._stopping:
                raise Unavailable("The policy server is stopping.")
            queue = self._bulk if job.bulk else self._people
            if len(queue) >= self.max_waiting:
                raise TooMany("Too many requests are waiting for the model.", retry_after=5)
            queue.append(job)
            self._lock.notify()

    def load(self) -> dict[str, int]:
        """How busy it is: rows being decoded, jobs waiting."""
        with self._lock:
            rows = sum(len(batch.rows) for batch in self._batches.values())
            return {"rows": rows, "waiting": len(self._people) + len(self._bulk)}

    def _find(self, name: str) -> Version:
        if name == "base":
            return BASE
        slug, _, version = name.partition("@")
        known = [found for found in (self.live.get(slug), self.previous.get(slug)) if found]
        if not known:
            raise NotFound(f"No model {slug!r} is served here.")
        if not version:
            return known[0]
        for found in known:
            if version == f"v{found.version}":
                return found
        raise NotFound(f"{name} is not in memory; {' and '.join(found.name for found in known)} can be asked.")

    # Swaps

    def call(self, work: Callable[[], T]) -> Future[T]:
        """Run something between two decode steps, in the thread that owns the trunk."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001  # handed to the caller, whatever it is
                future.set_exception(error)

        with self._lock:
            if not self._thread.is_alive():
                future.set_exception(Unavailable("The policy server is stopping."))
                return future
            self._calls.append(run)
            self._lock.notify()
        return future

    def attach(self, name: str, adapter: Adapter) -> None:
        """Put weights on the trunk; held like a lease until `release_adapter`. From a staging thread."""
        with self._lock:
            self._leases[name] += 1
        try:
            self.call(lambda: None if name in self.trunk.settings else self.trunk.attach(name, adapter)).result()
        except BaseException:
            self.release_adapter(name)
            raise

    def release_adapter(self, name: str) -> None:
        """End the hold of `attach`; without other leases the weights go."""
        with self._lock:
            self._leases[name] -= 1
            self._lock.notify()

    def flip(self, version: Version) -> None:
        """From the next request on, this version answers for its project. Running ones finish on theirs."""
        with self._lock:
            before = self.live.get(version.slug)
            if before is not None and before.model_id != version.model_id:
                self.previous[version.slug] = before
            self.live[version.slug] = version

    def forget(self, slug: str) -> None:
        """Serve this project no more."""
        with self._lock:
            self.live.pop(slug, None)
            self.previous.pop(slug, None)

    def _clean(self) -> None:
        """Drop weights that nobody serves, keeps or leases."""
        with self._lock:
            kept = {v.artifact_hash for v in (*self.live.values(), *self.previous.values())}
            kept |= {name for name, count in self._leases.items() if count > 0}
            for name in set(self.trunk.settings) - kept:
                self.trunk.drop_adapter(name)
                self._leases.pop(name, None)
            for idle in [n for n, batch in self._batches.items() if n not in kept and not batch.rows]:
                del self._batches[idle]

    # The generation thread

    def _loop(self) -> None:
        while True:
            with self._lock:
                if not (self._people or self._bulk or self._running or self._calls):
                    if self._stopping:
                        return
                    self._lock.wait(IDLE_SECONDS)
                calls, self._calls = self._calls, deque()
            for call in calls:
                call()
            self._drop_cancelled()
            self._admit()
            self._step()
            self._clean()

    def _drop_cancelled(self) -> None:
        for job in [job for job in self._running if job.cancelled]:
            self._batches[job.version.artifact_hash].drop(job.rows)
            self._close(job)
        with self._lock:
            gone = [job for job in (*self._people, *self._bulk) if job.cancelled]
            self._people = deque(job for job in self._people if not job.cancelled)
            self._bulk = deque(job for job in self._bulk if not job.cancelled)
        for job in gone:
            self._close(job)

    def _admit(self) -> None:
        """Give waiting samples rows: people's first, and requests of one version together."""
        used = sum(len(batch.rows) for batch in self._batches.values())
        joining: dict[str | None, list[tuple[Job, Request]]] = {}
        for queue, limit in ((self._people, self.max_rows), (self._bulk, self.max_bulk_rows)):
            while queue and used < limit:
                job = queue[0]
                first = len(job.rows)
                part = replace(job.request, n=min(job.waiting, limit - used), first=job.request.first + first)
                joining.setdefault(job.version.artifact_hash, []).append((job, part))
                used += part.n
                if part.n < job.waiting:
                    break  # the rest follows when rows are free
                with self._lock:
                    queue.popleft()
        for adapter, parts in joining.items():
            self._start(adapter, parts)

    def _start(self, adapter: str | None, parts: list[tuple[Job, Request]]) -> None:
        batch = self._batches.get(adapter)
        if batch is None:
            batch = DecodeBatch(self.trunk, eos_id=self.tokenizer.eos_id, adapter=adapter, max_rows=self.max_rows)
            self._batches[adapter] = batch
        for job, _ in parts:
            if job not in self._running:
                self._running.append(job)
        try:
            rows = batch.admit([part for _, part in parts])
        except Exception as error:  # noqa: BLE001  # _fail logs it and tells every waiting request
            self._fail(adapter, error)
            return
        owner = {id(part): job for job, part in parts}
        for row in rows:
            owner[id(row.request)].rows.append(row)
        self._tell(rows)

    def _step(self) -> None:
        for adapter, batch in list(self._batches.items()):
            try:
                self._tell(batch.step())
            except Exception as error:  # noqa: BLE001  # the same
                self._fail(adapter, error)

    def _tell(self, rows: list[Row]) -> None:
        told = {id(row) for row in rows}
        for job in list(self._running):
            if job.on_token is not None:
                for row in job.rows:
                    if id(row) in told:
                        job.on_token(row)
            if job.answered:
                self._close(job)

    def _fail(self, adapter: str | None, error: Exception) -> None:
        """A batch broke (out of memory, say): its requests get an error, everybody else goes on."""
        log.error("Generating failed", exc_info=error)
        self._batches.pop(adapter, None)
        for job in [job for job in self._running if job.version.artifact_hash == adapter]:
            job.error = AppError("The model could not answer this request.")
            self._close(job)

    def _close(self, job: Job) -> None:
        if job in self._running:
            self._running.remove(job)
        with self._lock:
            for queue in (self._people, self._bulk):
                if job in queue:
                    queue.remove(job)
            self._leases[job.version.artifact_hash] -= 1
        job.on_done(job)


def wait_for(engine: Engine, request: Request, model: str, *, bulk: bool = False, timeout: float = 120.0) -> Job:
    """Ask and wait, for callers that are not asynchronous (tests, benchmarks)."""
    done = threading.Event()
    version = engine.lease(model)
    job = Job(version, request, None, lambda _job: done.set(), bulk)
    try:
        engine.submit(job)
    except AppError:
        engine.release(version)
        raise
    end = time.monotonic() + timeout
    if not done.wait(max(0.0, end - time.monotonic())):
        job.cancelled = True
        raise Unavailable("The model took too long to answer.")
    return job
