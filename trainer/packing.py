"""Ragged sequences as one row of tokens: no padding, and a prompt that several answers share is there once.

Each prompt is followed by its answers; positions start anew with every prompt and, after it, with every answer. Linear
layers see all tokens as one matrix; attention goes segment by segment, and no answer sees another.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Sequences = Sequence[tuple[list[int], list[int]]]
"""(prompt, answer) token lists."""


@dataclass(frozen=True)
class Segment:
    """Tokens start … end, which see the tokens before … until (their prompt) and, causally, each other."""

    start: int
    end: int
    before: int
    until: int


@dataclass(frozen=True)
class Packed:
    """N tokens of B sequences, and where to read. Rewards and predictions are read at M of the N places only."""

    ids: Tensor  # (N,)
    positions: Tensor  # (N,)
    segments: list[Segment]
    needed: Tensor  # (M,) places of the last prompt token and the answer tokens
    answers: Tensor  # (B, R) which needed place predicts answer token r; 0 where there is none
    ends: Tensor  # (B, 1) which needed place is the sequence's last token


def pack(sequences: Sequences, device: torch.device | str = "cpu") -> Packed:
    """Sequences (every prompt and answer has a token) as one row; equal prompts share their tokens."""
    ids: list[int] = []
    positions: list[int] = []
    needed: list[int] = []
    segments: list[Segment] = []
    span = max(len(answer) for _, answer in sequences)
    answers = torch.zeros(len(sequences), span, dtype=torch.long)
    ends = torch.zeros(len(sequences), 1, dtype=torch.long)
    for prompt, rows in sharing(sequences).items():
        start = len(ids)
        ids += prompt
        positions += range(len(prompt))
        needed.append(len(ids) - 1)
        shared = len(needed) - 1
        if len(rows) > 1:
            segments.append(Segment(start, len(ids), start, start))
        until = len(ids)
        for row in rows:
            answer = sequences[row][1]
            first = until if len(rows) == 1 else len(ids)
            place = len(needed)
            needed += range(len(ids), len(ids) + len(answer))
            ids += answer
            positions += range(len(prompt), len(prompt) + len(answer))
            answers[row, 0] = shared
            answers[row, 1 : len(answer)] = torch.arange(place, place + len(answer) - 1)
            ends[row] = len(needed) - 1
            # A prompt with one answer is one causal sequence.
            alone = len(rows) == 1
            segments.append(Segment(start if alone else first, len(ids), start, start if alone else until))
    return Packed(
        torch.tensor(ids, device=device),
        torch.tensor(positions, device=device),
        segments,
        torch.tensor(needed, device=device),
        answers.to(device),
        ends.to(device),
    )


def sharing(sequences: Sequences) -> dict[tuple[int, ...], list[int]]:
    """Prompt → rows of the sequences that begin with it, in order of first appearance."""
    found: dict[tuple[int, ...], list[int]] = {}
    for row, (prompt, _) in enumerate(sequences):
        found.setdefault(tuple(prompt), []).append(row)
    return found


def causal(lengths: Sequence[int], device: torch.device | str) -> tuple[Tensor, list[Segment]]:
    """Positions and segments of prompts alone, laid end to end."""
    starts = [sum(lengths[:index]) for index in range(len(lengths))]
    segments = [Segment(start, start + length, start, start) for start, length in zip(starts, lengths, strict=True)]
    return torch.cat([torch.arange(length) for length in lengths]).to(device), segments
