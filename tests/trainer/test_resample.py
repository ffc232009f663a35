"""Answers sampled anew: of every policy, repeatable, and different with another seed."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.core.errors import AppError
from app.core.settings import Settings
from tests.trainer.test_modeling import disturb
from trainer.modeling import Trunk
from trainer.resample import resample


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    """Two prompts, as an evaluation leaves them."""
    rows = [{"prompt_id": n, "messages": [{"role": "user", "content": text}]} for n, text in enumerate(("Hi", "Why?"))]
    path = tmp_path / "samples.json"
    path.write_text(json.dumps({"samples": rows}))
    return path


def test_every_policy_answers_every_prompt(tiny_model: Path, evaluation: Path, tmp_path: Path) -> None:
    trunk = Trunk.load(tiny_model)
    trunk.add_adapter("policy", rank=4)
    disturb(trunk, "policy")
    trunk.save_adapter("policy", tmp_path)
    settings = Settings(home=tmp_path / "home", base_model=str(tiny_model))

    def run(seed: int, **policies: Path) -> list[dict[str, Any]]:
        named = [word for name, place in policies.items() for word in ("--policy", f"{name}={place}")]
        output = tmp_path / "again.json"
        asked = [str(evaluation), *named, "--samples", "3", "--seed", str(seed), "--max-tokens", "8", "-o", str(output)]
        assert resample(settings, asked) == 0
        rows: list[dict[str, Any]] = json.loads(output.read_text())["samples"]
        return rows

    rows = run(1, v1=tmp_path)
    assert [set(row["answers"]) for row in rows] == [{"base", "v1"}] * 2
    assert {len(texts) for row in rows for texts in row["answers"].values()} == {3}
    assert rows == run(1, v1=tmp_path)
    assert rows != run(2, v1=tmp_path)
    assert rows[0]["answers"]["base"] != rows[0]["answers"]["v1"]
    with pytest.raises(AppError, match="write it like v1=DIRECTORY"):
        run(1, v1=tmp_path / "nowhere")
