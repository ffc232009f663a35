"""Policies with random weights in an artefact store, and an engine on the tiny model."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from app.core.artifacts import ArtifactStore
from tests.trainer.test_modeling import disturb
from trainer.base_model import load_tokenizer
from trainer.modeling import Trunk
from trainer.serving.engine import Engine

torch.set_num_threads(1)
MakePolicy = Callable[..., str]


@pytest.fixture(scope="session")
def scorer(tiny_model: Path) -> Trunk:
    """A trunk of the trainer's side: makes adapters and says what a version alone would write."""
    return Trunk.load(tiny_model)


@pytest.fixture
def engine_(tiny_model: Path) -> Iterator[Engine]:
    """A running engine without any project."""
    engine = Engine(Trunk.load(tiny_model), load_tokenizer(tiny_model), max_rows=16)
    engine.start()
    yield engine
    engine.stop()


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    """An empty store."""
    return ArtifactStore(tmp_path / "artifacts")


@pytest.fixture
def make_policy_files(store: ArtifactStore, scorer: Trunk) -> MakePolicy:
    """make(seed, damage=None) → hash of a policy artefact; `damage` makes one that must be refused."""

    def make(seed: int, damage: str | None = None) -> str:
        scorer.add_adapter("made", rank=4, seed=seed)
        disturb(scorer, "made", seed)
        ids = torch.randint(3, 259, (2, 24), generator=torch.Generator().manual_seed(seed))
        mask = torch.ones_like(ids, dtype=torch.bool)
        mask[:, -1] = False
        with torch.no_grad(), scorer.use("made"):
            logprobs, _ = scorer.token_logprobs(scorer.hidden(ids), ids.roll(-1, 1), mask)
        probes: list[dict[str, Any]] = [
            {"token_ids": ids[i].tolist(), "start": 10, "logprobs": logprobs[i, 9:-1].tolist()} for i in range(2)
        ]
        if damage == "canary":
            probes[1]["logprobs"][3] -= 0.5
        if damage == "nan":
            with torch.no_grad():
                scorer.parameters_of("made")[1][0, 0] = float("nan")
        with store.stage() as directory:
            scorer.save_adapter("made", directory)
            (directory / "canary.json").write_text(json.dumps({"probes": probes, "dtype": "float32"}))
            if damage == "no canary":
                (directory / "canary.json").unlink()
            if damage == "shape":
                about = json.loads((directory / "adapter.json").read_text())
                (directory / "adapter.json").write_text(json.dumps({**about, "rank": 8}))
            if damage == "base":
                about = json.loads((directory / "adapter.json").read_text())
                (directory / "adapter.json").write_text(json.dumps({**about, "base_model": "another"}))
            digest = store.commit(directory)
        scorer.drop_adapter("made")
        if damage == "bytes":
            file = store.path(digest) / "adapter.safetensors"
            content = bytearray(file.read_bytes())
            content[-1] ^= 1
            file.write_bytes(bytes(content))
        return digest

    return make
