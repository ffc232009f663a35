"""Forward passes without gradients: log-probs, entropies and rewards of answers, in length-sorted micro-batches.

Left out on purpose: keeping (B, T, V) logits; the trunk computes log-probs in chunks of answer positions only.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.data import Batch, pad, token_batches
from trainer.modeling import Trunk
from trainer.packing import Sequences


@dataclass(frozen=True)
class Reading:
    """What a pass over N sequences gives, padded to the longest answer (N, R); 0 where `mask` is False."""

    values: Tensor
    entropy: Tensor
    mask: Tensor


@torch.no_grad()
def in_micro_batches(
    trunk: Trunk,
    adapter: str | None,
    sequences: Sequences,
    *,
    pad_id: int,
    budget: int,
    read: Callable[[Batch, list[int]], None],
) -> None:
    """Call `read(batch, rows)` under an adapter for every micro-batch of all sequences."""
    with trunk.use(adapter):
        for rows in token_batches(sequences, budget, packed=trunk.packs(adapter)):
            read(pad([sequences[row] for row in rows], pad_id, trunk.device), rows)


def answer_logprobs(
    trunk: Trunk, adapter: str | None, sequences: Sequences, *, pad_id: int, budget: int, temperature: float = 1.0
) -> Reading:
    """fp32 log-probs of every answer token under an adapter (None: the base model), and the entropies there."""
    shape = (len(sequences), max((len(answer) for _, answer in sequences), default=0))
    empty = torch.zeros(shape, device=trunk.device)
    made = Reading(empty, empty.clone(), empty.bool())

    def read(batch: Batch, rows: list[int]) -> None:
        hidden = batch.at_answer(trunk.read(batch))
        logprobs, entropy = trunk.token_logprobs(hidden, batch.targets, batch.mask, temperature)
        width = batch.mask.shape[1]
        made.values[rows, :width], made.entropy[rows, :width], made.mask[rows, :width] = logprobs, entropy, batch.mask

    in_micro_batches(trunk, adapter, sequences, pad_id=pad_id, budget=budget, read=read)
    return made


def end_states(trunk: Trunk, adapter: str | None, sequences: Sequences, *, pad_id: int, budget: int) -> Tensor:
    """(N, d) fp32 hidden states at each sequence's last real token, where rewards are read, on the CPU."""
    made = torch.zeros(len(sequences), trunk.width)

    def read(batch: Batch, rows: list[int]) -> None:
        made[rows] = trunk.read_ends(batch)[:, 0].float().cpu()

    in_micro_batches(trunk, adapter, sequences, pad_id=pad_id, budget=budget, read=read)
    return made


def rewards(trunk: Trunk, name: str, sequences: Sequences, *, pad_id: int, budget: int) -> Tensor:
    """(N,) fp32: the head `name` on the adapter `name`, read at each sequence's last real token, on the CPU."""
    made = torch.zeros(len(sequences))

    def read(batch: Batch, rows: list[int]) -> None:
        made[rows] = trunk.head(name)(trunk.read_ends(batch))[:, 0].cpu()

    in_micro_batches(trunk, name, sequences, pad_id=pad_id, budget=budget, read=read)
    return made
