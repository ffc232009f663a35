"""LoRA adapters (Hu et al. 2021): their weights in memory and in files, and linear layers that compute with them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from transformers.pytorch_utils import Conv1D

from app.core.errors import AppError


class BadAdapter(AppError):
    """The weights of this adapter do not fit the model."""

    words = "The weights of this adapter do not fit the model."


class _Steps:
    """Optimiser steps of this process so far: a fused step changes weights without changing their `_version`."""

    count = 0


def _count(*_: Any) -> None:
    _Steps.count += 1


register_optimizer_step_post_hook(_count)


def state_of(weights: Sequence[Tensor]) -> tuple[int, int]:
    """A pair that differs from every earlier one when any of these tensors has been changed in place since."""
    return _Steps.count, sum(weight._version for weight in weights)


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
        self._cast: dict[str, tuple[tuple[int, int], Tensor, Tensor]] = {}

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
        kept, state = self._cast.get(name), state_of([a, b])
        if kept is None or kept[0] != state or kept[1].dtype != dtype:
            kept = self._cast[name] = (state, a.detach().to(dtype), b.detach().to(dtype))
        return kept[1:]

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


class LoraGroup:
    """LoRA layers with the same input, computed as one: their weights become views of one matrix."""

    def __init__(self, layers: Sequence[LoraLinear]) -> None:
        self.layers = layers
        self.selection = layers[0].selection
        bases = [cast(nn.Linear, layer.base) for layer in layers]
        self.weight = bases[0].weight.detach()
        biases = [base.bias for base in bases if base.bias is not None]
        self.bias = torch.cat([bias.detach() for bias in biases]) if biases else None
        self._kept: dict[str, tuple[tuple[int, int], Tensor, Tensor]] = {}
        if len(layers) > 1:
            self.weight = torch.cat([base.weight.detach() for base in bases])
            for base, view in zip(bases, torch.split(self.weight, [layer.outputs for layer in layers]), strict=True):
                base.weight = nn.Parameter(view, requires_grad=False)

    def __call__(self, x: Tensor) -> Tensor:
        """(N, in) → (N, Σ out)."""
        name = self.selection.name
        if name is None or name not in self.layers[0].scale:
            return product(x, self.weight, self.bias)
        masters = self._masters(name)
        a, b = self._both(name, masters, x.dtype)
        made: Tensor = _Lora.apply(x, self.weight, self.bias, a, b, self.layers[0].scale[name], *masters)  # type: ignore[no-untyped-call]
        return made

    def columns(self, x: Tensor) -> Tensor:
        """The same for columns, (in, R) → (Σ out, R), without gradients."""
        out = torch.mm(self.weight, x) if self.bias is None else torch.addmm(self.bias[:, None], self.weight, x)
        name = self.selection.name
        if name is None or name not in self.layers[0].scale:
            return out
        a, b = self._both(name, self._masters(name), x.dtype)
        return out.addmm_(b, torch.mm(a, x))

    def forget(self, name: str) -> None:
        """Free what is kept of an adapter."""
        self._kept.pop(name, None)

    def _masters(self, name: str) -> list[nn.Parameter]:
        return [matrix[name] for layer in self.layers for matrix in (layer.a, layer.b)]

    def _both(self, name: str, masters: list[nn.Parameter], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """A of all layers stacked (Σ r, in), and scale · B on a diagonal of blocks (Σ out, Σ r); made anew when

        the masters changed."""
        kept, state = self._kept.get(name), state_of(masters)
        if kept is not None and kept[0] == state and kept[1].dtype == dtype:
            return kept[1:]
        with torch.no_grad():
            a = torch.cat([master.to(dtype) for master in masters[::2]])
            b = torch.block_diag(  # type: ignore[no-untyped-call]
                *(master * self.layers[0].scale[name] for master in masters[1::2])
            ).to(dtype)
        self._kept[name] = (state, a, b)
        return a, b


class _Lora(torch.autograd.Function):
    """x Wᵀ + (x Aᵀ) Bᵀ, with gradients for x and the fp32 masters of A and B; W is frozen."""

    @staticmethod
    def forward(  # noqa: PLR0917  # the signature is autograd's
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        scale: float,
        *masters: Tensor,
    ) -> Tensor:
        low = product(x, a, None)
        out = product(x, weight, bias)
        ctx.save_for_backward(x, low, weight, a, b)
        ctx.scale, ctx.shapes = scale, [tuple(master.shape) for master in masters]
        return out.addmm_(low, b.t())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, low, weight, a, b = ctx.saved_tensors
        pulled = grad @ b
        to_a, to_b = (pulled.t() @ x).float(), (grad.t() @ low).float().mul_(ctx.scale)
        made: list[Tensor | None] = []
        rank = out = 0
        for (r, _), (outputs, _) in zip(ctx.shapes[::2], ctx.shapes[1::2], strict=True):
            made += [to_a[rank : rank + r], to_b[out : out + outputs, rank : rank + r]]
            rank, out = rank + r, out + outputs
        to_x = (grad @ weight).addmm_(pulled, a) if ctx.needs_input_grad[0] else None
        return to_x, None, None, None, None, None, *made


def product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x Wᵀ + bias for (N, in)."""
    return torch.nn.functional.linear(x, weight, bias)
