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
from trainer.ops import Turns, attention, rms_norm, swiglu
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
    norm_columns: tuple[Tensor, float]
    second_norm_columns: tuple[Tensor, float]
    """The norms' weights as fp32 columns."""


class Llama:
    """The layers of a transformers model whose linear layers are LoraLinear already."""

    def __init__(self, model: Any) -> None:
        body, config = model.base_model, model.config
        self.embedding: Tensor = body.embed_tokens.weight
        self.rotary = body.rotary_emb
        self.norm = (body.norm.weight, float(body.norm.variance_epsilon))
        attention_layer = body.layers[0].self_attn
        self.norm_columns = _upright(*self.norm)
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
        window = getattr(config, "sliding_window", None)
        return (
            config.model_type in KINDS
            and config.hidden_act == "silu"
            and (window is None or window >= config.max_position_embeddings)  # we look back to the beginning
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

    @torch.no_grad()
    def step(self, ids: Tensor, places: Tensor, mask: Tensor, keys: list[Tensor], values: list[Tensor]) -> Tensor:
        """One token for each of R rows, written at `places` of the caches (R, K, length, D): (R, d).

        `mask` (R, 1, length) is 0 where a row has a token and −∞ beyond. Inside, features lie first, (d, R): products
        of a large matrix and a few columns take less time than those of a few rows.
        """
        rows, longest, (heads, shared), size = len(ids), mask.shape[-1], self.heads, self.size
        every = torch.arange(rows, device=ids.device)
        turns = self._turns(places)
        tables = [table[:, 0].t() for table in (turns.cos, turns.sin, turns.query_cos, turns.query_sin)]
        x = torch.nn.functional.embedding(ids, self.embedding).t().contiguous()
        for layer, cached_keys, cached_values in zip(self.layers, keys, values, strict=True):
            qkv = layer.qkv.columns(_norm_columns(x, *layer.norm_columns)).view(-1, size, rows)
            query = x.new_empty(rows, heads, size)
            key = x.new_empty(rows, shared, size)
            _turn_columns(qkv[:heads], tables[2], tables[3], query.permute(1, 2, 0))
            _turn_columns(qkv[heads : heads + shared], tables[0], tables[1], key.permute(1, 2, 0))
            cached_keys[every, :, places] = key
            cached_values[every, :, places] = qkv[heads + shared :].permute(2, 0, 1)
            seen = cached_keys[:rows, :, :longest].reshape(rows * shared, longest, size)
            told = cached_values[:rows, :, :longest].reshape(rows * shared, longest, size)
            scores = torch.bmm(query.view(rows * shared, -1, size), seen.transpose(1, 2))
            scores.view(rows, -1, longest).add_(mask)
            read = torch.bmm(scores.softmax(-1), told).view(rows, -1).t()
            x = x + layer.out.columns(read)
            both = layer.gate_up.columns(_norm_columns(x, *layer.second_norm_columns))
            gate, up = both.chunk(2)
            x = x + layer.down.columns(torch.nn.functional.silu(gate).mul_(up))
        return _norm_columns(x, *self.norm_columns).t().contiguous()

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


def _norm_columns(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """rms_norm of the columns of (d, R); `weight` (d, 1) in fp32."""
    wide = x.float()
    inverse = wide.square().mean(0).add_(epsilon).rsqrt_()
    return (wide * inverse).mul_(weight).to(x.dtype)


def _turn_columns(x: Tensor, cos: Tensor, sin: Tensor, out: Tensor) -> None:
    """ops.turn for (heads, D, R)."""
    half = x.shape[1] // 2
    first, second = x[:, :half], x[:, half:]
    out[:, :half] = (first * cos).addcmul_(second, sin, value=-1)
    out[:, half:] = (second * cos).addcmul_(first, sin)


def _layer(layer: Any) -> Layer:
    heads, mlp = layer.self_attn, layer.mlp
    return Layer(
        _norm(layer.input_layernorm),
        _group(heads.q_proj, heads.k_proj, heads.v_proj),
        _group(heads.o_proj),
        _norm(layer.post_attention_layernorm),
        _group(mlp.gate_proj, mlp.up_proj),
        _group(mlp.down_proj),
        _upright(*_norm(layer.input_layernorm)),
        _upright(*_norm(layer.post_attention_layernorm)),
    )


def _norm(norm: Any) -> tuple[Tensor, float]:
    return norm.weight, float(norm.variance_epsilon)


def _upright(weight: Tensor, epsilon: float) -> tuple[Tensor, float]:
    return weight.detach().float()[:, None], epsilon


def _group(*layers: LoraLinear) -> LoraGroup:
    return LoraGroup(layers)
