"""LoRA adapters (Hu et al. 2021): their weights in memory and in files, and linear layers that compute with them."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from app.core.errors import AppError


class BadAdapter(AppError):
    """The weights of this adapter do not fit the model."""

    words = "The weights of this adapter do not fit the model."


class Selection:
    """Which adapter computes now. One object, shared by all layers of a trunk, written by one thread only."""

    name: str | None = None


@dataclass(frozen=True)
class Adapter:
    """LoRA weights outside a trunk: fp32 tensors by "<module path>.a" (rank, in) and ".b" (out, rank)."""

    rank: int
    alpha: float
    tensors: dict[str, Tensor]


def linear(layer: nn.Module, x: Tensor) -> Tensor:
    """layer(x); as (W xᵀ)ᵀ for the 8 to 48 fp32 rows of a decode step on a CPU, where MKL then needs half the time."""
    rows = x.numel() // x.shape[-1]
    turned = 8 <= rows <= 48 and x.dtype == torch.float32 and x.device.type == "cpu"
    if not isinstance(layer, nn.Linear) or not turned or torch.is_grad_enabled():
        out: Tensor = layer(x)
        return out
    out = torch.mm(layer.weight, x.reshape(rows, -1).t()).t().contiguous()
    if layer.bias is not None:
        out += layer.bias
    return out.view(*x.shape[:-1], -1)


class LoraLinear(nn.Module):
    """A frozen linear layer plus, for the selected adapter, (alpha / rank) · B A x (Hu et al. 2021)."""

    def __init__(self, base: nn.Linear | Conv1D, selection: Selection) -> None:
        super().__init__()
        weight: Tensor = base.weight
        self.base = base
        self.inputs, self.outputs = tuple(weight.shape) if isinstance(base, Conv1D) else tuple(weight.shape)[::-1]
        self.selection = selection
        # Plain dicts: adapter names may hold dots, and the frozen trunk's own parameters stay the only registered ones.
        self.a: dict[str, nn.Parameter] = {}
        self.b: dict[str, nn.Parameter] = {}
        self.scale: dict[str, float] = {}
        self._cast: dict[str, tuple[int, int, Tensor, Tensor]] = {}

    def forward(self, x: Tensor) -> Tensor:
        out = linear(self.base, x)
        name = self.selection.name
        if name is None or name not in self.scale:
            return out
        a, b = self._weights(name, x.dtype)
        low = x.reshape(-1, self.inputs) @ a.t()
        return torch.addmm(out.reshape(-1, self.outputs), low, b.t(), alpha=self.scale[name]).view(out.shape)

    def _weights(self, name: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """A and B in the trunk's dtype. Without gradients the casts are kept until the masters change."""
        a, b = self.a[name], self.b[name]
        if a.dtype == dtype:
            return a, b
        if torch.is_grad_enabled():
            return a.to(dtype), b.to(dtype)
        kept = self._cast.get(name)
        if kept is None or kept[:2] != (a._version, b._version) or kept[2].dtype != dtype:
            kept = self._cast[name] = (a._version, b._version, a.detach().to(dtype), b.detach().to(dtype))
        return kept[2:]

    def attach(self, name: str, a: Tensor, b: Tensor, scale: float) -> None:
        """Put an adapter's tensors on this layer, replacing one of the same name."""
        device = next(self.base.parameters()).device
        self.a[name] = nn.Parameter(a.to(device, torch.float32))
        self.b[name] = nn.Parameter(b.to(device, torch.float32))
        self.scale[name] = scale
        self._cast.pop(name, None)

    def detach(self, name: str) -> None:
        """Forget an adapter."""
        del self.a[name], self.b[name], self.scale[name]
        self._cast.pop(name, None)


def read_adapter(directory: Path) -> Adapter:
    """The adapter in a directory, on the CPU. Raises BadAdapter when its files are missing or not readable."""
    try:
        about = json.loads((directory / "adapter.json").read_text())
        tensors = load_file(directory / "adapter.safetensors")
        return Adapter(int(about["rank"]), float(about["alpha"]), tensors)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadAdapter(f"The adapter in {directory} cannot be read: {error}") from error
    except Exception as error:  # safetensors raises a class of its own that only its binary part exports
        if type(error).__name__ != "SafetensorError":
            raise
        raise BadAdapter(f"The adapter in {directory} cannot be read: {error}") from error
