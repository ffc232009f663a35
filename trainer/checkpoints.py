"""Checkpoints of a run in the artefact store: safetensors and JSON only, never a pickle.

A checkpoint is complete or not there (stage → fsync → rename), the run's row points to the newest, and the one
before is dropped only after that. Together with orders and samples that are drawn from (seed, step), a killed run
that resumes computes the very numbers that the uninterrupted one would have.
"""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from app.core.artifacts import ArtifactStore, BrokenArtifact
from trainer.lora import Adapter
from trainer.modeling import ScalarHead, Trunk


class Report(Protocol):
    """Where a recipe tells how it goes (app.core.writers.RunWriter; a list in tests)."""

    def start(self, steps: int) -> None: ...
    def progress(self, step: int, phase: str) -> None: ...
    def metrics(self, step: int, values: Mapping[str, float]) -> None: ...
    def checkpoint(self, digest: str) -> None: ...


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds: tensors by name, and plain values (step, coefficient, cursor …)."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]


@dataclass
class Checkpoints:
    """The checkpoints of one run. `newest` is the artefact hash that the run's row points to."""

    store: ArtifactStore
    report: Report
    run: str
    newest: str | None = None

    def save(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Write a checkpoint, point the run to it, drop the one before."""
        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        whole |= _random_tensors()
        about = {"run": self.run, "state": dict(state), "python": _python_random()}
        with self.store.stage() as directory:
            save_file(whole, directory / "state.safetensors")
            (directory / "state.json").write_text(json.dumps(about))
            digest = self.store.commit(directory)
        self.report.checkpoint(digest)
        if self.newest not in (None, digest):
            self.drop()
        self.newest = digest

    def load(self) -> Saved | None:
        """The newest checkpoint, with the random generators put back; None when there is none to read."""
        if self.newest is None:
            return None
        try:
            directory = self.store.verify(self.newest)
        except BrokenArtifact:
            return None
        tensors = load_file(directory / "state.safetensors")
        about = json.loads((directory / "state.json").read_text())
        torch.set_rng_state(tensors.pop("random.cpu"))
        if "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors.pop("random.cuda"))
        version, internal, gauss = about["python"]
        random.setstate((version, tuple(internal), gauss))
        return Saved(tensors, about["state"])

    def drop(self) -> None:
        """Remove the newest checkpoint."""
        if self.newest is not None:
            self.store.drop(self.newest)
        self.newest = None


def _random_tensors() -> dict[str, Tensor]:
    states = {"random.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["random.cuda"] = torch.cuda.get_rng_state()
    return states


def _python_random() -> list[Any]:
    version, internal, gauss = random.getstate()
    return [version, list(internal), gauss]


def pack_adapter(trunk: Trunk, name: str) -> dict[str, Tensor]:
    """An adapter's tensors as `adapter.NAME.…`."""
    return {f"adapter.{name}.{key}": tensor for key, tensor in trunk.detached(name).tensors.items()}


def unpack_adapter(trunk: Trunk, name: str, tensors: Mapping[str, Tensor], *, rank: int, alpha: float) -> None:
    """Put a packed adapter on the trunk. Do it before an optimiser looks at its parameters: they are new objects."""
    prefix = f"adapter.{name}."
    mine = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
    trunk.attach(name, Adapter(rank, alpha, mine))


def pack_head(head: ScalarHead, name: str) -> dict[str, Tensor]:
    """A head's tensors as `head.NAME.…`."""
    return {f"head.{name}.{key}": tensor.detach().clone() for key, tensor in head.state_dict().items()}


def unpack_head(head: ScalarHead, name: str, tensors: Mapping[str, Tensor]) -> None:
    """Put packed tensors into a head, in place."""
    head.load_state_dict({key: tensors[f"head.{name}.{key}"] for key in ("weight", "bias")})


def pack_optimiser(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Every tensor of the optimiser's state as `optimiser.INDEX.…`, by the order of its parameters."""
    return {
        f"optimiser.{index}.{key}": value
        for index, state in optimiser.state_dict()["state"].items()
        for key, value in state.items()
    }


def unpack_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put packed state back. Learning rates are not part of it: they follow from the step."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimiser."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = tensor
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
