"""The one decode loop: serving, pool sampling and PPO all draw completions here.

Rows join and leave between steps. Every row has its own place in a preallocated key/value cache; a leaving row's place
is taken by the last one, so a step only ever computes live rows, and only up to the longest of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache

from trainer.llama import Llama
from trainer.modeling import Trunk
from trainer.packing import causal
from trainer.sampling import choose, uniform

PREFILL_TOKENS = 4096
"""Most padded prompt tokens in one forward pass."""
GROWTH = 32
"""The cache's length grows in steps of this many tokens."""

Stored = list[tuple[Tensor, Tensor]]
"""Keys and values of one prompt in every layer, (heads, length, size) each."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One prompt and how to answer it: samples first … first + n - 1 of this seed."""

    prompt: Sequence[int]
    n: int = 1
    first: int = 0
    max_tokens: int = 96
    temperature: float = 1.0
    """0 takes the most probable token every time."""
    top_p: float = 1.0
    seed: int = 0


@dataclass(eq=False)
class Row:
    """One completion being written. The end token, where it came, is the last of `token_ids`."""

    request: Request
    sample: int
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    """Of the sampled tokens, under softmax(logits / temperature), fp32."""
    finish: str | None = None
    """stop (end token), length (max_tokens), or None while it is being written."""

    @property
    def length(self) -> int:
        """Tokens of prompt and answer together."""
        return len(self.request.prompt) + len(self.token_ids)


@dataclass(frozen=True)
class Rollout:
    """Completions in the order prompt, sample; parallel lists."""

    prompt_index: list[int]
    token_ids: list[list[int]]
    logprobs: list[list[float]]
    finished: list[bool]
    """Whether it ended by itself."""


class RowCache(Cache):  # type: ignore[misc]  # transformers ships no types
    """Keys and values of all layers, (rows, heads, length, size) each; a step writes each row at its own place."""

    def __init__(self, max_rows: int) -> None:
        super().__init__(layers=[])
        self.max_rows = max_rows
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self.places = torch.zeros(0, dtype=torch.long)
        """(rows,) position that the next token of each row takes."""
        self.longest = 0

    def reserve(self, rows: int, length: int, like: Stored | None = None) -> None:
        """Make room for so many rows of so many tokens; what is stored stays. `like` tells the shape at first."""
        if like is not None and not self.keys:
            self.keys, self.values = (
                [tensor.new_zeros(0, tensor.shape[0], 0, tensor.shape[2]) for tensor in tensors]
                for tensors in zip(*like, strict=True)
            )
        have_rows, _, have_length, _ = self.keys[0].shape
        if rows <= have_rows and length <= have_length:
            return
        rows = have_rows if rows <= have_rows else min(self.max_rows, max(rows, 2 * have_rows))
        length = have_length if length <= have_length else -(-length // GROWTH) * GROWTH
        for tensors in (self.keys, self.values):
            for index, old in enumerate(tensors):
                # Zeros, not empty memory: what lies beyond a row's end is masked, but must be finite.
                new = old.new_zeros(rows, old.shape[1], length, old.shape[3])
                new[:have_rows, :, :have_length] = old[:, :, :length]
                tensors[index] = new

    def span(self, longest: int) -> int:
        """How much of the length a step reads: whole steps of growth, so that nothing is copied to be read."""
        return min(self.keys[0].shape[2], -(-longest // GROWTH) * GROWTH)

    def fill(self, row: int, stored: Stored) -> None:
        """Copy one prefilled prompt to a row."""
        for key, value, (from_key, from_value) in zip(self.keys, self.values, stored, strict=True):
            key[row, :, : from_key.shape[1]] = from_key
            value[row, :, : from_value.shape[1]] = from_value

    def move(self, source: int, target: int, length: int) -> None:
        """Copy a row to another place."""
        for tensors in (self.keys, self.values):
            for tensor in tensors:
                tensor[target, :, :length] = tensor[source, :, :length]

    def update(self, key: Tensor, value: Tensor, layer: int, *_args: Any, **_kwargs: Any) -> tuple[Tensor, Tensor]:
        """Called by each attention layer in a decode step with (rows, heads, 1, size)."""
        rows = len(key)
        every = torch.arange(rows, device=key.device)
        self.keys[layer][every, :, self.places] = key[:, :, 0]
        self.values[layer][every, :, self.places] = value[:, :, 0]
        return self.keys[layer][:rows, :, : self.longest], self.values[layer][:rows, :, : self.longest]

    def get_seq_length(self, layer_idx: int = 0) -> int:  # noqa: ARG002  # the name is transformers'
        """Tokens stored in the longest row. Positions and mask are always handed in, so nothing depends on it."""
        return self.longest - 1


class DecodeBatch:
    """Rows of one adapter that are decoded together. Owned by the thread that owns the trunk."""

    def __init__(self, trunk: Trunk, *, eos_id: int, adapter: str | None = None, max_rows: int = 32) -> None:
        self.trunk = trunk
        self.eos_id = eos_id
        self.adapter = adapter
        self.max_rows = max_rows
        self.rows: list[Row] = []
        self.cache = RowCache(max_rows)

    @property
    def free(self) -> int:
        """How many more rows fit."""
        return self.max_rows - len(self.rows)

    def admit(self, requests: Sequence[Request]) -> list[Row]:
        """Start requests: one forward pass per prompt, shared by its samples, and the first token of each.

        Returns all their rows; those that finished with their first token are already gone from `rows`.
        """
        if sum(request.n for request in requests) > self.free:
            raise ValueError("more rows than the batch has room for")
        for request in requests:
            if not 0 < len(request.prompt) < self.trunk.max_length:
                raise ValueError(f"a prompt of {len(request.prompt)} tokens does not fit the model")
        started: list[Row] = []
        size = 0
        part: list[Request] = []
        for request in sorted(requests, key=lambda r: len(r.prompt)):
            if part and (size + 1) * len(request.prompt) > PREFILL_TOKENS:
                started += self._prefill(part)
                part, size = [], 0
            part.append(request)
            size += 1
        started += self._prefill(part) if part else []
        return started

    @torch.no_grad()
    def _prefill(self, requests: list[Request]) -> list[Row]:
        prompts = [request.prompt for request in requests]
        with self.trunk.use(self.adapter):
            own = self.trunk.own
            last, stored = _read_module(self.trunk, prompts) if own is None else _read_own(own, prompts)
        logits = self.trunk.logits(last)
        started = [Row(r, r.first + i) for r in requests for i in range(r.n)]
        source = [index for index, r in enumerate(requests) for _ in range(r.n)]
        self.cache.reserve(len(self.rows) + len(started), self._room(started), stored[0])
        for row, index in zip(started, source, strict=True):
            self.cache.fill(len(self.rows), stored[index])
            self.rows.append(row)
        self._extend(started, logits[source])
        return started

    @torch.no_grad()
    def step(self) -> list[Row]:
        """One more token for every live row. Returns the rows that got one; finished ones have left."""
        rows = list(self.rows)
        if not rows:
            return []
        device = self.trunk.device
        places = torch.tensor([row.length - 1 for row in rows], device=device)
        longest = max(row.length for row in rows)
        self.cache.reserve(len(rows), longest)
        seen = self.cache.span(longest) if self.trunk.packs(self.adapter) else longest
        mask = torch.zeros(len(rows), 1, 1, seen, dtype=self.trunk.dtype, device=device)
        mask.masked_fill_(torch.arange(seen, device=device) > places[:, None, None, None], float("-inf"))
        self.cache.places, self.cache.longest = places, longest
        ids = torch.tensor([row.token_ids[-1] for row in rows], device=device)
        with self.trunk.use(self.adapter):
            if (own := self.trunk.own) is not None:
                hidden = own.step(ids, places, mask[:, 0], self.cache.keys, self.cache.values)
            else:
                hidden = self.trunk.model.base_model(
                    input_ids=ids[:, None],
                    position_ids=places[:, None],
                    attention_mask=mask,
                    past_key_values=self.cache,
                    use_cache=True,
                ).last_hidden_state[:, -1]
        self._extend(rows, self.trunk.logits(hidden))
        return rows

    def drop(self, rows: Sequence[Row]) -> None:
        """Forget live rows: finished, or nobody waits for them any more. The last rows move into their places."""
        gone = set(map(id, rows))
        for index in range(len(self.rows) - 1, -1, -1):
            if id(self.rows[index]) not in gone:
                continue
            last = self.rows.pop()
            if index < len(self.rows):
                self.cache.move(len(self.rows), index, last.length)
                self.rows[index] = last
        if not self.rows and self.cache.keys and self.cache.keys[0].shape[2] > 32 * GROWTH:
            self.cache = RowCache(self.max_rows)

    def _extend(self, rows: list[Row], logits: Tensor) -> None:
        tokens, logprobs = choose(
            logits,
            [row.request.temperature for row in rows],
            [row.request.top_p for row in rows],
            [uniform(row.request.seed, row.sample, len(row.token_ids)) for row in rows],
        )
        for row, token, logprob in zip(rows, tokens, logprobs, strict=True):
            row.token_ids.append(token)
            row.logprobs.append(logprob)
            if token == self.eos_id:
                row.finish = "stop"
            elif len(row.token_ids) >= row.request.max_tokens or row.length >= self.trunk.max_length:
                row.finish = "length"
        self.drop([row for row in rows if row.finish])

    def _room(self, started: list[Row]) -> int:
        """Tokens that the longest row holds with its next one."""
        rows = [*self.rows, *started]
        return max(row.length for row in rows) + 1


def _read_own(own: Llama, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, list[Stored]]:
    """Last hidden states (P, d) of prompts, and per prompt what its tokens leave in the cache."""
    lengths = [len(prompt) for prompt in prompts]
    ids = torch.tensor([token for prompt in prompts for token in prompt], device=own.embedding.device)
    layers: Stored = []
    ends = torch.tensor(lengths, device=ids.device).cumsum(0) - 1
    last = own.run(ids, *causal(lengths, ids.device), needed=ends, stored=layers)
    parts = [(torch.split(keys, lengths, 1), torch.split(values, lengths, 1)) for keys, values in layers]
    return last, [[(keys[i], values[i]) for keys, values in parts] for i in range(len(prompts))]


def _read_module(trunk: Trunk, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, list[Stored]]:
    """The same by transformers' module, padded."""
    lengths = [len(prompt) for prompt in prompts]
    ids = torch.tensor([[*p] + [0] * (max(lengths) - len(p)) for p in prompts], device=trunk.device)
    cache = DynamicCache()
    out = trunk.model.base_model(input_ids=ids, past_key_values=cache, use_cache=True)
    last = out.last_hidden_state[range(len(prompts)), [length - 1 for length in lengths]]
    return last, [[(x.keys[i, :, :n], x.values[i, :, :n]) for x in cache.layers] for i, n in enumerate(lengths)]


def sample(
    trunk: Trunk,
    prompts: Sequence[Sequence[int]],
    *,
    eos_id: int,
    n: int = 1,
    max_tokens: int = 96,
    temperature: float = 1.0,
    top_p: float = 1.0,
    seed: int = 0,
    adapter: str | None = None,
    max_rows: int = 32,
) -> Rollout:
    """n completions of every prompt (token ids), drawn with up to `max_rows` (≥ n) rows at a time."""
    batch = DecodeBatch(trunk, eos_id=eos_id, adapter=adapter, max_rows=max(max_rows, n))
    waiting = [
        Request(prompt=p, n=n, max_tokens=max_tokens, temperature=temperature, top_p=top_p, seed=seed * 1_000_003 + i)
        for i, p in enumerate(prompts)
    ]
    order = {id(request): index for index, request in enumerate(waiting)}
    waiting.reverse()
    done: list[Row] = []
    while waiting or batch.rows:
        joining: list[Request] = []
        while waiting and n * (len(joining) + 1) <= batch.free:
            joining.append(waiting.pop())
        if joining:
            done += batch.admit(joining)
        batch.step()
    done.sort(key=lambda row: (order[id(row.request)], row.sample))
    return Rollout(
        [order[id(row.request)] for row in done],
        [row.token_ids for row in done],
        [row.logprobs for row in done],
        [row.finish == "stop" for row in done],
    )
