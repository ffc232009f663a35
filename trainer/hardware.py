"""Which device and which numbers this machine computes with."""

import json
import os
import platform
import time
from pathlib import Path

import torch

from app.core.settings import Settings

GAIN = 1.3
"""So many times faster than fp32 must bf16 products be, or its rounding buys nothing."""


def pick_device(settings: Settings) -> str:
    """`settings.device` with auto resolved: CUDA where there is one, else the CPU."""
    if settings.device != "auto":
        return settings.device
    return "cuda" if torch.cuda.is_available() else "cpu"


def pick_dtype(settings: Settings) -> torch.dtype:
    """`settings.dtype` with auto resolved: bf16 where the hardware multiplies it fast, else fp32."""
    if settings.dtype != "auto":
        return torch.float32 if settings.dtype == "float32" else torch.bfloat16
    if pick_device(settings).startswith("cuda"):
        return torch.bfloat16
    return torch.bfloat16 if bf16_gain(settings.home / "cache/hardware.json") >= GAIN else torch.float32


def bf16_gain(kept: Path) -> float:
    """How many times faster bf16 products are than fp32 ones here; measured once and kept in a file.

    Names of processor features do not tell it: some that have the instructions are slower with them. It is kept so
    that the trainer, the policy server and a resumed run choose alike, whatever else the machine is doing.
    """
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}"
    try:
        found = json.loads(kept.read_text())
        if found["machine"] == machine:
            return float(found["bf16_gain"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not measured yet, or broken
    gain = _measured_gain()
    kept.parent.mkdir(parents=True, exist_ok=True)
    whole = kept.with_suffix(f".{os.getpid()}")
    whole.write_text(json.dumps({"machine": machine, "bf16_gain": gain}))
    whole.rename(kept)
    return gain


def _measured_gain() -> float:
    """Best times of products of a small model's shape, in turns, a fraction of a second."""
    best = {torch.float32: float("inf"), torch.bfloat16: float("inf")}
    pairs = {dtype: (torch.ones(256, 576, dtype=dtype), torch.ones(1536, 576, dtype=dtype)) for dtype in best}
    for _ in range(8):
        for dtype, (x, weight) in pairs.items():
            started = time.perf_counter()
            torch.nn.functional.linear(x, weight)
            best[dtype] = min(best[dtype], time.perf_counter() - started)
    return best[torch.float32] / best[torch.bfloat16]
