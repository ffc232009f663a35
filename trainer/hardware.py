"""Which device and which numbers this machine computes with."""

import torch

from app.core.settings import Settings


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
    fast = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else torch.float32
