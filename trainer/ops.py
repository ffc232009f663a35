"""The few operations of a Llama layer with gradients by hand: less kept, less cast, no padding, no repeated keys.

Written for many tokens (N) as one matrix. Each has a slow twin in tests/trainer/test_llama.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from trainer.packing import Segment


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """x / √(mean x² + ε) · weight over the last dimension; `weight` is frozen."""
    made: Tensor = _Norm.apply(x, weight, epsilon)  # type: ignore[no-untyped-call]
    return made


class _Norm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        inverse = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        inverse = inverse.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, inverse, weight)
        made: Tensor = (x * inverse).mul_(weight).to(x.dtype)
        return made

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        x, inverse, weight = ctx.saved_tensors
        pulled = grad.float() * weight
        along = torch.linalg.vecdot(pulled, x.to(pulled.dtype))[:, None]
        made = pulled.mul_(inverse).addcmul_(x, along * inverse.pow(3), value=-1 / x.shape[-1])
        return made.to(x.dtype), None, None


def swiglu(both: Tensor) -> Tensor:
    """silu(gate) · up of (N, 2 f) = [gate, up]."""
    made: Tensor = _Swiglu.apply(both)  # type: ignore[no-untyped-call]
    return made


class _Swiglu(Function):
    @staticmethod
    def forward(ctx: Any, both: Tensor) -> Tensor:
        ctx.save_for_backward(both)
        gate, up = both.chunk(2, -1)
        return torch.nn.functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (both,) = ctx.saved_tensors
        gate, up = both.chunk(2, -1)
        made = torch.empty_like(both)
        to_gate, to_up = made.chunk(2, -1)
        torch.mul(grad, torch.nn.functional.silu(gate), out=to_up)
        torch.ops.aten.silu_backward.grad_input(grad * up, gate, grad_input=to_gate)
        return made


@dataclass(frozen=True)
class Turns:
    """Rotary tables of N tokens, (N, 1, D / 2) each, in the model's dtype; queries' hold attention's scale too."""

    cos: Tensor
    sin: Tensor
    query_cos: Tensor
    query_sin: Tensor


def turn(x: Tensor, cos: Tensor, sin: Tensor, out: Tensor) -> None:
    """Rotate the halves of x (…, D) into `out`; with −sin back again."""
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    torch.mul(first, cos, out=out[..., :half]).addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=out[..., half:]).addcmul_(first, sin)


def attention(
    qkv: Tensor,
    turns: Turns,
    segments: Sequence[Segment],
    heads: tuple[int, int],
    stored: list[tuple[Tensor, Tensor]] | None = None,
) -> Tensor:
    """Rotary attention of packed tokens: (N, (H + 2 K) D) → (N, H D), `heads` = (H, K).

    The H / K queries that share a key are rows of one product, so no key is repeated. `stored` gets rotated keys and
    values, (K, N, D) each.
    """
    made: Tensor = _Attention.apply(qkv, turns, segments, heads, stored)  # type: ignore[no-untyped-call]
    return made


class _Attention(Function):
    @staticmethod
    def forward(  # noqa: PLR0917  # the signature is autograd's
        ctx: Any,
        qkv: Tensor,
        turns: Turns,
        segments: Sequence[Segment],
        heads: tuple[int, int],
        stored: list[tuple[Tensor, Tensor]] | None,
    ) -> Tensor:
        q, k, v = _split(qkv, *heads)
        query, key, value = (
            q.new_empty(q.transpose(0, 1).shape),
            k.new_empty(k.transpose(0, 1).shape),
            v.transpose(0, 1),
        )
        turn(q, turns.query_cos[:, None], turns.query_sin[:, None], query.transpose(0, 1))
        turn(k, turns.cos, turns.sin, key.transpose(0, 1))
        value = value.contiguous()
        if stored is not None:
            stored.append((key, value))
        out = torch.empty_like(q, memory_format=torch.contiguous_format)  # (N, K, H / K, D)
        shares = []
        for part in segments:
            share = _scores(query, key, part)
            share = share.softmax(-1)
            read = torch.bmm(share, _seen(value, part))
            out[part.start : part.end] = read.view(len(read), part.end - part.start, *out.shape[2:]).transpose(0, 1)
            shares.append(share)
        ctx.segments, ctx.heads, ctx.turns = segments, heads, turns
        ctx.save_for_backward(query, key, value, *shares)
        return out.view(len(qkv), -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        query, key, value, *shares = ctx.saved_tensors
        pulled = grad.view(len(grad), query.shape[0], *query.shape[2:])
        to_query, to_key, to_value = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
        for part, share in zip(ctx.segments, shares, strict=True):
            mine = _rows(pulled[part.start : part.end].transpose(0, 1))
            _give(to_value, part, torch.bmm(share.transpose(1, 2), mine))
            slope = torch.bmm(mine, _seen(value, part).transpose(1, 2))
            slope = torch._softmax_backward_data(slope, share, -1, share.dtype)
            asked = _rows(query[:, part.start : part.end])
            to_query[:, part.start : part.end] = torch.bmm(slope, _seen(key, part)).view(
                len(query), -1, *query.shape[2:]
            )
            _give(to_key, part, torch.bmm(slope.transpose(1, 2), asked))
        made = grad.new_empty(len(grad), (ctx.heads[0] + 2 * ctx.heads[1]) * key.shape[-1])
        q, k, v = _split(made, *ctx.heads)
        turns: Turns = ctx.turns
        turn(to_query.transpose(0, 1), turns.query_cos[:, None], -turns.query_sin[:, None], q)
        turn(to_key.transpose(0, 1), turns.cos, -turns.sin, k)
        v.copy_(to_value.transpose(0, 1))
        return made, None, None, None, None


def _split(qkv: Tensor, heads: int, keys: int) -> tuple[Tensor, Tensor, Tensor]:
    """Views of (N, (H + 2 K) D): queries (N, K, H / K, D), keys and values (N, K, D)."""
    size = qkv.shape[-1] // (heads + 2 * keys)
    q, k, v = torch.split(qkv, [heads * size, keys * size, keys * size], -1)
    return q.view(-1, keys, heads // keys, size), k.view(-1, keys, size), v.view(-1, keys, size)


def _rows(query: Tensor) -> Tensor:
    """(K, t, H / K, D) → (K, t · H / K, D)."""
    return query.reshape(query.shape[0], -1, query.shape[-1])


def _seen(tensor: Tensor, part: Segment) -> Tensor:
    """What a segment sees of (K, N, D): its prompt and itself."""
    own = tensor[:, part.start : part.end]
    return own if part.before == part.until else torch.cat((tensor[:, part.before : part.until], own), 1)


def _give(total: Tensor, part: Segment, grad: Tensor) -> None:
    """Add the gradient of `_seen` to where it came from."""
    prompt = part.until - part.before
    total[:, part.start : part.end] += grad[:, prompt:]
    if prompt:
        total[:, part.before : part.until] += grad[:, :prompt]


def _scores(query: Tensor, key: Tensor, part: Segment) -> Tensor:
    """Masked scores (K, t · H / K, seen)."""
    asked, seen = query[:, part.start : part.end], _seen(key, part)
    scores = torch.bmm(_rows(asked), seen.transpose(1, 2))
    length, prompt = part.end - part.start, part.until - part.before
    later = torch.full((length, length), float("-inf"), dtype=scores.dtype, device=scores.device).triu_(1)
    scores.view(len(scores), length, -1, prompt + length)[..., prompt:].add_(later[:, None])
    return scores
