"""Hot swap: watch the live deployments, stage a new policy beside the old, probe it, flip one pointer.

Reading and checking happen in this thread on CPU tensors; the generation thread only attaches pointers and scores one
probe between two decode steps. Any failure keeps the old version serving and is written to the deployment.
"""

import json
import logging
import math
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import torch
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from app.core import registry
from app.core.artifacts import ArtifactStore
from app.core.database import UnitOfWork
from app.core.errors import AppError
from app.core.records import Deployment, DeploymentPolicy, Model, Project
from trainer.lora import Adapter, read_adapter
from trainer.modeling import Trunk
from trainer.serving.engine import Engine, Version

log = logging.getLogger(__name__)
POLL_SECONDS = 2.0
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 5e-2}
"""Largest mean |difference| of a probe's log-probs to the trainer's. Both in fp32: the first; else the second."""


class CanaryFailed(AppError):
    """The new policy does not compute what it computed in training."""

    words = "The new policy does not compute what it computed in training."


@dataclass(frozen=True)
class Probe:
    """Token ids and the trainer's log-probs of those from `start` on."""

    token_ids: list[int]
    start: int
    logprobs: list[float]


@dataclass(frozen=True)
class Staged:
    """A policy that was read and checked, ready to be attached."""

    adapter: Adapter
    probes: list[Probe]
    tolerance: float


def stage(store: ArtifactStore, trunk: Trunk, digest: str) -> Staged:
    """Read a policy artefact: every byte against its hash, shapes and numbers against the trunk, probes present."""
    directory = store.verify(digest)
    base_model = _read_json(directory / "adapter.json").get("base_model")
    if base_model != trunk.base_model_name:
        raise CanaryFailed(f"This policy belongs to the base model {base_model!r}, not {trunk.base_model_name!r}.")
    adapter = read_adapter(directory)
    trunk.check_adapter(adapter)
    canary = _read_json(directory / "canary.json")
    try:
        probes = [
            Probe([int(t) for t in p["token_ids"]], int(p["start"]), [float(x) for x in p["logprobs"]])
            for p in canary["probes"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise CanaryFailed(f"The policy's canary.json cannot be read: {error}") from error
    if not probes or any(not 0 < p.start < len(p.token_ids) == p.start + len(p.logprobs) for p in probes):
        raise CanaryFailed("The policy's canary.json holds no usable probe.")
    exact = canary.get("dtype") == "float32" and trunk.dtype == torch.float32
    return Staged(adapter, probes, TOLERANCE[torch.float32 if exact else torch.bfloat16])


@torch.no_grad()
def probe_difference(trunk: Trunk, adapter: str, probe: Probe) -> float:
    """Mean |log-prob here − log-prob in training| over a probe's tokens. In the generation thread."""
    ids = torch.tensor([probe.token_ids], device=trunk.device)
    mask = torch.zeros_like(ids, dtype=torch.bool)
    mask[:, probe.start - 1 : -1] = True
    with trunk.use(adapter):
        logprobs, _ = trunk.token_logprobs(trunk.hidden(ids), ids.roll(-1, 1), mask)
    expected = torch.tensor(probe.logprobs, device=trunk.device)
    return float((logprobs[mask] - expected).abs().mean())


def install(engine: Engine, store: ArtifactStore, version: Version) -> None:
    """Stage, attach, probe, flip. Raises AppError with the reason; then nothing has changed."""
    digest = version.artifact_hash
    if digest is None:
        engine.flip(version)
        return
    staged = stage(store, engine.trunk, digest)
    engine.attach(digest, staged.adapter)
    try:
        for probe in staged.probes:
            difference = engine.call(partial(probe_difference, engine.trunk, digest, probe)).result()
            if not (math.isfinite(difference) and difference <= staged.tolerance):
                raise CanaryFailed(
                    f"Its log-probs differ from training by {difference:.4f} on average, more than {staged.tolerance}."
                )
        engine.flip(version)
    finally:
        engine.release_adapter(digest)


class Watcher:
    """A thread that keeps what is served equal to the live deployment rows of all projects."""

    def __init__(self, engine: Engine, store: ArtifactStore, uow: UnitOfWork, dsn: str) -> None:
        self.engine = engine
        self.store = store
        self.uow = uow
        self.dsn = dsn.replace("postgresql+psycopg://", "postgresql://", 1)
        self.refused: set[int] = set()
        """Deployments that failed here and had nothing before them to go back to."""
        self.looked = threading.Event()
        """Set after the first successful look: what should be served is served."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="swap", daemon=True)

    def start(self) -> None:
        """Begin watching."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; a swap under way is finished first."""
        self._stop.set()
        self._thread.join(30)

    def look(self) -> None:
        """One pass: bring what is served in line with the rows. Database errors come through."""
        wanted = self._live_rows()
        for version in wanted:
            served = self.engine.live.get(version.slug)
            if version.deployment_id in self.refused or served == version:
                continue
            self._swap(version)
        for slug in set(self.engine.live) - {version.slug for version in wanted}:
            self.engine.forget(slug)
        self.looked.set()

    def _swap(self, version: Version) -> None:
        started = time.monotonic()
        assert version.deployment_id is not None  # noqa: S101  # rows have ids
        try:
            install(self.engine, self.store, version)
        except AppError as error:
            log.error("Kept the old policy: the new one cannot be served", extra={"model": version.name, "why": error})
            self.refused.add(version.deployment_id)
            with self.uow() as db:
                registry.refuse(db, version.deployment_id, str(error))
            return
        with self.uow() as db:
            registry.mark_serving(db, version.deployment_id)
        seconds = f"{time.monotonic() - started:.2f}"
        log.info("Serving a policy", extra={"model": version.name, "seconds": seconds})

    def _live_rows(self) -> list[Version]:
        query = (
            select(Project.slug, Model.version, Model.id, Deployment.id, Model.artifact_hash)
            .join(Deployment, Deployment.project_id == Project.id)
            .join(DeploymentPolicy, DeploymentPolicy.deployment_id == Deployment.id)
            .join(Model, Model.id == DeploymentPolicy.model_id)
            .where(Deployment.state == "live", Project.archived_at.is_(None))
            .order_by(Project.id, DeploymentPolicy.weight, Model.id.desc())
        )
        with self.uow() as db:
            rows = {row[0]: Version(*row) for row in db.execute(query)}
        return list(rows.values())

    def _loop(self) -> None:
        quiet = False
        while not self._stop.is_set():
            try:
                with psycopg.connect(self.dsn, autocommit=True, connect_timeout=10) as listening:
                    listening.execute(f"listen {registry.CHANNEL}")
                    quiet = False
                    while not self._stop.is_set():
                        self.look()
                        for _ in listening.notifies(timeout=POLL_SECONDS, stop_after=1):
                            pass
            except (DBAPIError, psycopg.Error) as error:
                if not quiet:
                    log.warning("The database is away; serving goes on", extra={"why": str(error).split("\n")[0]})
                quiet = True
            except Exception:
                log.exception("Looking for new policies failed; it is tried again")
            self._stop.wait(POLL_SECONDS)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CanaryFailed(f"{path.name} of the policy cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise CanaryFailed(f"{path.name} of the policy is not an object.")
    return found
