"""Exact sampling of one token per row: temperature, nucleus, greedy; one counter-based random number per token.

Inverse transform in two stages (blocks of the vocabulary, then inside one block) instead of drawing noise for every
entry of the vocabulary: the same distribution, one number per row, a few milliseconds for 32 × 49,152.
"""

import torch
from torch import Tensor

BLOCK = 256
NUCLEUS = 1024
"""How many of the most probable tokens are sorted first; all of them where these do not hold the nucleus."""
_MASK = (1 << 64) - 1


def uniform(seed: int, sample: int, step: int) -> float:
    """A number in [0, 1) that depends on nothing but these three (SplitMix64, Steele et al. 2014, chained)."""
    state = _mix(seed & _MASK)
    state = _mix(state ^ (sample + 1) * 0x9E3779B97F4A7C15 & _MASK)
    state = _mix(state ^ (step + 1) * 0xD1B54A32D192ED03 & _MASK)
    return float((state >> 11) / (1 << 53))


def _mix(value: int) -> int:
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def choose(
    logits: Tensor, temperatures: list[float], top_ps: list[float], uniforms: list[float]
) -> tuple[list[int], list[float]]:
    """One token id per row of `logits` (R, V), and its log-prob under softmax(logits / temperature), in fp32.

    Temperature 0 takes the most probable token (its log-prob is told at temperature 1). top_p < 1 draws from the
    smallest set of most probable tokens that holds at least that probability; the log-prob stays the whole softmax's.
    """
    device = logits.device
    divisor = torch.tensor([t or 1.0 for t in temperatures], dtype=torch.float32, device=device)
    scaled = logits.float() / divisor[:, None]
    top = scaled.amax(-1, keepdim=True)
    weights = (scaled - top).exp_()
    log_total = _totals(weights).sum(-1).log()
    limited = [row for row, p in enumerate(top_ps) if p < 1]
    if limited:
        weights[limited] = _nucleus(weights[limited], torch.tensor([top_ps[row] for row in limited], device=device))
    tokens = _invert(weights, torch.tensor(uniforms, dtype=torch.float64, device=device))
    greedy = torch.tensor([t == 0 for t in temperatures], device=device)
    tokens = torch.where(greedy, scaled.argmax(-1), tokens) if any(t == 0 for t in temperatures) else tokens
    logprobs = (scaled - top).gather(-1, tokens[:, None]).squeeze(-1) - log_total.float()
    return tokens.tolist(), logprobs.tolist()


def _totals(weights: Tensor) -> Tensor:
    """Sums of blocks of the vocabulary, (R, V) → (R, ⌈V / BLOCK⌉) in fp64."""
    rest = -weights.shape[-1] % BLOCK
    padded = torch.nn.functional.pad(weights, (0, rest)) if rest else weights
    return padded.view(len(weights), -1, BLOCK).sum(-1).double()


def _invert(weights: Tensor, uniforms: Tensor) -> Tensor:
    """For each row the first token whose cumulative weight exceeds uniform × total; never one of weight 0."""
    blocks = _totals(weights)
    ends = blocks.cumsum(-1)
    target = uniforms[:, None] * ends[:, -1:]
    block = _first_above(ends, target)
    before = ends.gather(-1, block) - blocks.gather(-1, block)
    index = block * BLOCK + torch.arange(BLOCK, device=weights.device)
    inside = weights.gather(-1, index.clamp(max=weights.shape[-1] - 1)).double()
    inside = inside.masked_fill(index >= weights.shape[-1], 0.0)
    return (block * BLOCK + _first_above(inside.cumsum(-1), target - before)).squeeze(-1)


def _first_above(ends: Tensor, target: Tensor) -> Tensor:
    """First index whose running sum exceeds the target, or (rounding) the last one that added anything. (R, 1)."""
    last = (ends < ends[:, -1:]).sum(-1, keepdim=True)
    return torch.minimum(torch.searchsorted(ends, target, right=True), last)


def _nucleus(weights: Tensor, top_p: Tensor) -> Tensor:
    """Weights with everything outside the nucleus set to 0."""
    total = weights.sum(-1, keepdim=True, dtype=torch.float64)
    for size in (min(NUCLEUS, weights.shape[-1]), weights.shape[-1]):
        values, index = weights.topk(size, dim=-1)
        ends = values.double().cumsum(-1) / total
        if bool((ends[:, -1] >= top_p).all()):
            break
    kept = values.masked_fill(ends - values.double() / total >= top_p[:, None].double(), 0.0)
    return torch.zeros_like(weights).scatter(-1, index, kept)
