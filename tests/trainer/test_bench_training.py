"""`bench-training` on the tiny model: real recipes in processes of their own, a table, and sentences for bad input."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.core.errors import BadConfiguration
from app.core.settings import Settings
from trainer.benching.command import bench_training, fraction, table


def settings_for(model: Path, home: Path) -> Settings:
    return Settings(home=home, base_model=str(model), threads=1, dtype="float32")


@pytest.mark.slow
def test_our_own_rollout_is_measured(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "found.json"
    asked = ["--what", "rollout", "--repetitions", "1", "--steps", "2", "-o", str(output)]
    assert bench_training(settings_for(tiny_model, tmp_path), asked) == 0
    found = json.loads(output.read_text())["found"]["rollout"]
    for name in ("Palate, base", "Palate, LoRA"):
        (run,) = found[name]
        assert len(run["seconds"]) == 2
        assert min(run["seconds"]) > 0
        assert run["work"] == run["tokens"]
        assert 50 < run["peak_mib"] < 4000
    assert "tok/s" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["reward", "ppo"])
def test_our_own_recipes_are_measured(kind: str, tiny_model: Path, tmp_path: Path) -> None:
    output = tmp_path / "found.json"
    asked = ["--what", kind, "--repetitions", "1", "--steps", "2", "-o", str(output)]
    assert bench_training(settings_for(tiny_model, tmp_path), asked) == 0
    for (run,) in json.loads(output.read_text())["found"][kind].values():
        assert len(run["seconds"]) == 2
        assert run["tokens"] > 0


@pytest.mark.parametrize(
    ("asked", "words"),
    [(["--what", "speed"], "no bench 'speed'"), (["--steps", "1"], "two steps"), (["--pairs", "none.json"], "PandaLM")],
)
def test_bad_options_are_sentences(asked: list[str], words: str, tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match=words):
        bench_training(settings_for(tiny_model, tmp_path), asked)


def test_ratios_are_of_medians_without_the_first_step_and_by_repetition() -> None:
    ours: dict[str, Any] = {"work": 8.0, "peak_mib": 100.0, "gemm": 1e9, "layers": 1e6, "head": 0, "tokens": 250.0}
    found: dict[str, list[dict[str, Any]]] = {
        "Palate": [ours | {"seconds": [9.0, 2.0, 2.0]}, ours | {"seconds": [9.0, 4.0, 4.0]}],
        "TRL": [{"work": 8.0, "peak_mib": 400.0, "seconds": [1.0, 6.0, 6.0]}] * 2,
    }
    written = table("reward", found)
    assert "Palate / TRL: 2.25 times (1.50 to 3.00), 0.25 of the memory" in written
    assert fraction("reward", found["Palate"]) == pytest.approx((0.5 + 0.25) / 2)
