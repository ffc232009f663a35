"""Log-probs of given tokens without ever holding all logits: forward and gradient in chunks of rows."""

from typing import Any

import torch
from torch import Tensor

CHUNK_NUMBERS = 8_000_000
"""Logits held at once (rows × vocabulary): 32 MB in fp32."""


def masked_logprobs(
    hidden: Tensor, targets: Tensor, weight: Tensor, bias: Tensor | None, temperature: float
) -> tuple[Tensor, Tensor]:
    """fp32 log-probs (N,) of `targets` (N,) under softmax((hidden · weightᵀ + bias) / temperature), and entropies (N,).

    `hidden` is (N, d), `weight` (V, d) and frozen. Differentiable in `hidden` only.
    """
    logprobs, entropy = _Logprobs.apply(hidden, targets, weight, bias, temperature)  # type: ignore[no-untyped-call]
    return logprobs, entropy


class _Logprobs(torch.autograd.Function):
    """∂ log p(t) / ∂ hidden = (W_t − p · W) / temperature is one vector per row, so it is computed in the forward pass

    (while the chunk's logits are there) and only scaled in the backward pass: two large products instead of three.
    """

    @staticmethod
    def forward(  # noqa: PLR0917  # the signature is autograd's
        ctx: Any, hidden: Tensor, targets: Tensor, weight: Tensor, bias: Tensor | None, temperature: float
    ) -> tuple[Tensor, Tensor]:
        keep = hidden.requires_grad
        rows = max(1, CHUNK_NUMBERS // weight.shape[0])
        logprobs = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        entropy = torch.empty_like(logprobs)
        slopes = torch.empty(hidden.shape if keep else (0,), dtype=torch.float32, device=hidden.device)
        for start in range(0, len(hidden), rows):
            part = slice(start, start + rows)
            logits = torch.nn.functional.linear(hidden[part], weight, bias).float()
            logits = logits.sub_(logits.amax(-1, keepdim=True)).div_(temperature)
            chosen = logits.gather(-1, targets[part, None]).squeeze(-1)
            likely = logits.exp()  # at most 1, not yet divided by their sum
            total = likely.sum(-1)
            logprobs[part] = chosen - total.log()
            entropy[part] = total.log() - torch.linalg.vecdot(likely, logits) / total
            if keep:
                mean = (likely.to(weight.dtype) @ weight).float() / total[:, None]
                slopes[part] = (weight[targets[part]].float() - mean) / temperature
        ctx.save_for_backward(slopes)
        ctx.dtype = hidden.dtype
        ctx.mark_non_differentiable(entropy)
        return logprobs, entropy

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _entropy: Tensor) -> tuple[Tensor, None, None, None, None]:
        (slopes,) = ctx.saved_tensors
        return (grad[:, None] * slopes).to(ctx.dtype), None, None, None, None
