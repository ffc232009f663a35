"""Our own forward pass for Llama-type models: packed tokens for training and scoring, one token a row for decoding.

It computes with the very weights of the transformers module (fused matrices are views of the same memory), which stays
the fallback for every other architecture, and the slow twin in tests.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainer.lora import LoraGroup, LoraLinear
from trainer.ops import Turns, attention, rms_norm, swiglu, turn
from trainer.packing import Segment

KINDS = {"llama", "mistral", "qwen2"}
TURNS = {"default", "linear", "llama3"}
"""Rotary embeddings whose angles depend on nothing but the position."""


@dataclass(frozen=True)
class Layer:
    """One layer: norms (weight, ε) and the four products that a token goes through."""

    norm: tuple[Tensor, float]
    qkv: LoraGroup
    out: LoraGroup
    second_norm: tuple[Tensor, float]
    gate_up: LoraGroup
    down: LoraGroup


class Llama:
    """The layers of a transformers model whose linear layers are LoraLinear already."""

    def __init__(self, model: Any) -> None:
        body, config = model.base_model, model.config
        self.embedding: Tensor = body.embed_tokens.weight
        self.rotary = body.rotary_emb
        self.norm = (body.norm.weight, float(body.norm.variance_epsilon))
        attention_layer = body.layers[0].self_attn
        self.size = int(attention_layer.head_dim)
        self.heads = int(config.num_attention_heads), int(config.num_key_value_heads)
        self.scale = float(attention_layer.scaling)
        self.layers = [_layer(layer) for layer in body.layers]
        self.groups = [g for layer in self.layers for g in (layer.qkv, layer.out, layer.gate_up, layer.down)]
        self._table = torch.zeros(0, 0)

    @staticmethod
    def fits(model: Any) -> bool:
        """Whether this is the forward pass of that model."""
        config, body = model.config, model.base_model
        return (
            config.model_type in KINDS
            and config.hidden_act == "silu"
            and getattr(body.rotary_emb, "rope_type", "") in TURNS
        )

    def run(
        self,
        ids: Tensor,
        positions: Tensor,
        segments: Sequence[Segment],
        needed: Tensor | None = None,
        stored: list[tuple[Tensor, Tensor]] | None = None,
    ) -> Tensor:
        """Final hidden states of packed tokens, (N, d), or (M, d) of the `needed` places only."""
        turns = self._turns(positions)
        x = torch.nn.functional.embedding(ids, self.embedding)
        for number, layer in enumerate(self.layers):
            seen = attention(layer.qkv(rms_norm(x, *layer.norm)), turns, segments, self.heads, stored)
            if needed is not None and number == len(self.layers) - 1:
                x, seen = x[needed], seen[needed]  # no later layer asks for the rest
            x = self._rest(layer, x, seen)
        return rms_norm(x, *self.norm)

    def step(self, ids: Tensor, places: Tensor, mask: Tensor, keys: list[Tensor], values: list[Tensor]) -> Tensor:
        """One token for each of R rows, written at `places` of the caches (R, K, length, D): (R, d).

        `mask` (R, 1, length) is 0 where a row has a token and −∞ beyond.
        """
        rows, (heads, shared) = len(ids), self.heads
        every = torch.arange(rows, device=ids.device)
        longest = mask.shape[-1]
        turns = self._turns(places)
        x = torch.nn.functional.embedding(ids, self.embedding)
        for layer, cached_keys, cached_values in zip(self.layers, keys, values, strict=True):
            qkv = layer.qkv(rms_norm(x, *layer.norm)).view(rows, heads + 2 * shared, self.size)
            query, key = torch.empty_like(qkv[:, :heads]), torch.empty_like(qkv[:, :shared])
            turn(qkv[:, :heads], turns.query_cos, turns.query_sin, query)
            turn(qkv[:, heads : heads + shared], turns.cos, turns.sin, key)
            cached_keys[every, :, places] = key
            cached_values[every, :, places] = qkv[:, heads + shared :]
            seen = cached_keys[:rows, :, :longest].reshape(rows * shared, longest, self.size)
            told = cached_values[:rows, :, :longest].reshape(rows * shared, longest, self.size)
            scores = torch.bmm(query.view(rows * shared, -1, self.size), seen.transpose(1, 2))
            scores.view(rows, -1, longest).add_(mask)
            x = self._rest(layer, x, torch.bmm(scores.softmax(-1), told).view(rows, -1))
        return rms_norm(x, *self.norm)

    @staticmethod
    def _rest(layer: Layer, x: Tensor, seen: Tensor) -> Tensor:
        x = x + layer.out(seen)
        return x + layer.down(swiglu(layer.gate_up(rms_norm(x, *layer.second_norm))))

    def _turns(self, positions: Tensor) -> Turns:
        longest = int(positions.max()) + 1
        if longest > len(self._table):
            every = torch.arange(max(longest, 2 * len(self._table)), device=self.embedding.device)
            cos, sin = self.rotary(self.embedding.new_zeros(1, dtype=torch.float32), every[None])
            half = self.size // 2
            cos, sin = cos[0, :, :half], sin[0, :, :half]
            whole = torch.cat((cos, sin, cos * self.scale, sin * self.scale), -1)
            self._table = whole.to(self.embedding.dtype)
        return Turns(*self._table[positions][:, None].chunk(4, -1))


def _layer(layer: Any) -> Layer:
    heads, mlp = layer.self_attn, layer.mlp
    return Layer(
        _norm(layer.input_layernorm),
        _group(heads.q_proj, heads.k_proj, heads.v_proj),
        _group(heads.o_proj),
        _norm(layer.post_attention_layernorm),
        _group(mlp.gate_proj, mlp.up_proj),
        _group(mlp.down_proj),
    )


def _norm(norm: Any) -> tuple[Tensor, float]:
    return norm.weight, float(norm.variance_epsilon)


def _group(*layers: LoraLinear) -> LoraGroup:
    return LoraGroup(layers)
