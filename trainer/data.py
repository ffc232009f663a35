"""From rows to tensors: tokenised pairs by prompt, padded micro-batches under a token budget, PPO's prompt cursor.

Left out on purpose: left padding (a prompt is followed directly by its answer, so position = index and causal
attention alone is right).
"""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from trainer.packing import Packed, Sequences, pack, sharing


class Encodes(Protocol):
    """What this module needs of a tokenizer (trainer.base_model.Tokenizer)."""

    @property
    def eos_id(self) -> int: ...
    def encode(self, text: str) -> list[int]: ...
    def encode_chat(self, messages: list[dict[str, str]]) -> list[int]: ...


class Pair(Protocol):
    """What this module reads of app.core.snapshots.PreferencePair."""

    @property
    def preference_id(self) -> int: ...
    @property
    def prompt_id(self) -> int: ...
    @property
    def split(self) -> str: ...
    @property
    def messages(self) -> list[dict[str, Any]]: ...
    @property
    def first(self) -> str: ...
    @property
    def second(self) -> str: ...
    @property
    def first_trajectory_id(self) -> int: ...
    @property
    def second_trajectory_id(self) -> int: ...
    @property
    def target(self) -> float: ...
    @property
    def user_id(self) -> int: ...


@dataclass(frozen=True)
class Prompt:
    """A prompt to sample from."""

    prompt_id: int
    messages: list[dict[str, Any]]
    token_ids: list[int]


@dataclass(frozen=True)
class Judged:
    """One judgement: rows `first` and `second` of its group's answers; target 1 = first better, 0 = second, ½ = tie."""

    preference_id: int
    first: int
    second: int
    target: float
    annotator: int = 0


@dataclass(frozen=True)
class Group:
    """One prompt, its distinct answers, each once, and every judgement between them: one batch element."""

    prompt_id: int
    split: str
    prompt: list[int]
    trajectory_ids: list[int]
    answers: list[list[int]]
    judged: list[Judged]

    @property
    def sequences(self) -> list[tuple[list[int], list[int]]]:
        return [(self.prompt, answer) for answer in self.answers]


def group_pairs(pairs: Sequence[Pair], tokenizer: Encodes, written: dict[int, list[int]] | None = None) -> list[Group]:
    """The pairs by what was asked, in order of prompt id. An answer in several pairs appears, and is scored, once.

    Turns of one talk have the same prompt and another context each, and so a group each.

    `written`: trajectory id → the exact tokens our sampler wrote, end token included where it ended by itself. An
    answer that is not in there is encoded from its text and closed with the end token.
    """
    groups: dict[tuple[int, str], Group] = {}
    for pair in sorted(pairs, key=lambda p: (p.prompt_id, p.preference_id)):
        asked = (pair.prompt_id, json.dumps(pair.messages, sort_keys=True))
        group = groups.get(asked)
        if group is None:
            prompt = tokenizer.encode_chat(pair.messages)
            group = groups[asked] = Group(pair.prompt_id, pair.split, prompt, [], [], [])
        rows = []
        for trajectory_id, text in ((pair.first_trajectory_id, pair.first), (pair.second_trajectory_id, pair.second)):
            if trajectory_id not in group.trajectory_ids:
                tokens = (written or {}).get(trajectory_id) or [*tokenizer.encode(text), tokenizer.eos_id]
                group.trajectory_ids.append(trajectory_id)
                group.answers.append(list(tokens))
            rows.append(group.trajectory_ids.index(trajectory_id))
        group.judged.append(Judged(pair.preference_id, rows[0], rows[1], pair.target, pair.user_id))
    return list(groups.values())


@dataclass(frozen=True)
class Batch:
    """Right-padded prompt + answer, and where the answer's tokens are predicted from.

    B sequences of T tokens, R of them of an answer.
    """

    ids: Tensor  # (B, T)
    lengths: Tensor  # (B,) real tokens of prompt + answer
    places: Tensor  # (B, R) position whose hidden state predicts answer token r: one BEFORE the token itself
    targets: Tensor  # (B, R) the answer's tokens
    mask: Tensor  # (B, R) True where the answer has a token
    packed: Packed  # the same tokens without padding

    def at_answer(self, hidden: Tensor) -> Tensor:
        """(B, T, d) or packed (M, d) → (B, R, d): the states from which each answer token was predicted."""
        if hidden.dim() == 2:
            return hidden[self.packed.answers]
        return torch.gather(hidden, 1, self.places[:, :, None].expand(-1, -1, hidden.shape[2]))

    def at_end(self, hidden: Tensor) -> Tensor:
        """(B, T, d) or packed (M, d) → (B, 1, d): the state at the last real token, where the reward is read."""
        if hidden.dim() == 2:
            return hidden[self.packed.ends]
        last = (self.lengths - 1)[:, None, None].expand(-1, 1, hidden.shape[2])
        return torch.gather(hidden, 1, last)


def pad(sequences: Sequences, pad_id: int, device: torch.device | str = "cpu") -> Batch:
    """(prompt, answer) token lists as one Batch. Every answer has at least one token."""
    lengths = [len(prompt) + len(answer) for prompt, answer in sequences]
    width = max(lengths)
    span = max(len(answer) for _, answer in sequences)
    ids = torch.full((len(sequences), width), pad_id)
    targets = torch.full((len(sequences), span), pad_id)
    for row, (prompt, answer) in enumerate(sequences):
        ids[row, : lengths[row]] = torch.tensor(prompt + answer)
        targets[row, : len(answer)] = torch.tensor(answer)
    starts = torch.tensor([len(prompt) for prompt, _ in sequences])
    spans = torch.tensor([len(answer) for _, answer in sequences])
    steps = torch.arange(span)
    mask = steps < spans[:, None]
    places = torch.where(mask, starts[:, None] - 1 + steps, 0)
    return Batch(
        ids.to(device),
        torch.tensor(lengths).to(device),
        places.to(device),
        targets.to(device),
        mask.to(device),
        pack(sequences, device),
    )


def micro_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices, longest first, cut so that rows × longest ≤ `budget` tokens (a single longer sequence goes alone)."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    cuts: list[list[int]] = []
    for index in order:
        if cuts and (len(cuts[-1]) + 1) * lengths[cuts[-1][0]] <= budget:
            cuts[-1].append(index)
        else:
            cuts.append([index])
    return cuts


def token_batches(sequences: Sequences, budget: int, *, packed: bool) -> list[list[int]]:
    """Indices of sequences for passes of at most `budget` tokens (a single longer sequence goes alone).

    Packed, answers to one prompt stay together and its tokens count once; else padding counts (`micro_batches`).
    """
    lengths = [len(prompt) + len(answer) for prompt, answer in sequences]
    if not packed:
        return micro_batches(lengths, budget)
    together = sorted(sharing(sequences).values(), key=lambda rows: (-max(lengths[row] for row in rows), rows))
    cuts: list[list[int]] = []
    used, before = 0, None
    for prompt, row in ((rows[0], row) for rows in together for row in rows):
        cost = len(sequences[row][1]) if prompt == before else lengths[row]
        if not cuts or used + cost > budget:
            cuts.append([])
            used, cost = 0, lengths[row]
        cuts[-1].append(row)
        used, before = used + cost, prompt
    return cuts


def shuffled(count: int, *seed: int | str) -> list[int]:
    """A permutation that depends on nothing but its seed, so that a resumed run draws the same one."""
    order = list(range(count))
    random.Random(":".join(map(str, seed))).shuffle(order)  # noqa: S311 - an order of training, not a secret
    return order


def epochs(count: int, batch_size: int, *, rounds: int, seed: int) -> Iterator[list[int]]:
    """Every index once per round, in a fresh order each, in batches."""
    for number in range(rounds):
        order = shuffled(count, seed, number)
        yield from (order[i : i + batch_size] for i in range(0, count, batch_size))


def next_prompts(prompts: Sequence[Prompt], cursor: int, count: int, seed: int) -> list[Prompt]:
    """Prompts number cursor … cursor + count of an endless shuffled stream; the cursor alone is all its state."""
    picked = []
    for position in range(cursor, cursor + count):
        lap, place = divmod(position, len(prompts))
        picked.append(prompts[shuffled(len(prompts), seed, lap)[place]])
    return picked


def group_batches(groups: Sequence[Group], budget: int, *, packed: bool = False) -> list[list[Group]]:
    """Whole groups, longest first, cut so that a pass has at most `budget` tokens: packed without padding and with

    each prompt once, else answers × longest sequence.
    """
    longest = [len(g.prompt) + max(map(len, g.answers)) for g in groups]
    cuts: list[list[Group]] = []
    rows = width = used = 0
    for index in sorted(range(len(groups)), key=lambda i: (-longest[i], groups[i].prompt_id)):
        group = groups[index]
        tokens = len(group.prompt) + sum(map(len, group.answers))
        if not cuts or (used + tokens if packed else (rows + len(group.answers)) * width) > budget:
            cuts.append([])
            rows, width, used = 0, longest[index], 0
        cuts[-1].append(group)
        rows, used = rows + len(group.answers), used + tokens
    return cuts
