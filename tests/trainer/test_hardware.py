"""dtype=auto is measured once, kept, and the measurement decides."""

import json
from pathlib import Path

import pytest
import torch

from app.core.settings import Settings
from trainer import hardware


@pytest.mark.parametrize(("gain", "dtype"), [(0.3, torch.float32), (1.1, torch.float32), (2.5, torch.bfloat16)])
def test_auto_is_what_was_measured_and_stays_so(
    gain: float, dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "_measured_gain", lambda: gain)
    settings = Settings(home=tmp_path, device="cpu")
    assert hardware.pick_dtype(settings) == dtype
    monkeypatch.setattr(hardware, "_measured_gain", lambda: 1 / gain)
    assert hardware.pick_dtype(settings) == dtype
    assert hardware.pick_dtype(Settings(home=tmp_path, device="cpu", dtype="bfloat16")) == torch.bfloat16


def test_another_machine_or_a_broken_file_is_measured_anew(tmp_path: Path) -> None:
    kept = tmp_path / "cache/hardware.json"
    first = hardware.bf16_gain(kept)
    assert first > 0
    assert hardware.bf16_gain(kept) == first
    for content in ("not json", json.dumps({"machine": "another", "bf16_gain": 1e9})):
        kept.write_text(content)
        assert 0 < hardware.bf16_gain(kept) < 1e6
        assert json.loads(kept.read_text())["machine"] != "another"
