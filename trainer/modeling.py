"""One frozen causal language model (the trunk), named LoRA adapters on its linear layers, and named scalar heads.

Sequences are contiguous and padded on the right, so causal attention needs no mask and a token's index is its position.
"""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D
from transformers.utils.logging import disable_progress_bar

from app.core.errors import BadConfiguration
from app.core.settings import Settings
from trainer.data import Batch
from trainer.hardware import pick_device, pick_dtype
from trainer.llama import Llama
from trainer.logprobs import masked_logprobs
from trainer.lora import Adapter, BadAdapter, LoraLinear, Selection, linear, read_adapter
from trainer.packing import causal


class ScalarHead(nn.Module):
    """One number per token from its hidden state, in fp32. Weight std 1/√(d+1) (Huang et al. 2024) or zero, bias 0."""

    def __init__(self, width: int, *, seed: int = 0, zero: bool = False) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        weight = torch.randn(1, width, generator=generator) / math.sqrt(width + 1)
        self.weight = nn.Parameter(torch.zeros_like(weight) if zero else weight)
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, d) → (B, T)."""
        return nn.functional.linear(hidden.float(), self.weight, self.bias).squeeze(-1)


class Trunk(nn.Module):
    """A frozen causal LM with LoRA adapters and heads by name. One thread owns it."""

    def __init__(self, model: Any, name: str) -> None:
        super().__init__()
        self.base_model_name = name
        self.model = model.eval().requires_grad_(False)
        self.selection = Selection()
        self.heads = nn.ModuleDict()
        self.settings: dict[str, tuple[int, float]] = {}
        self.layers: dict[str, LoraLinear] = {}
        self._wrap_linears()
        self.llama: Llama | None = Llama(self.model) if Llama.fits(self.model) else None
        """Our own forward pass, where there is one for this architecture."""

    @classmethod
    def load(cls, path: Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> "Trunk":
        """The model in a local directory (safetensors only, no code of its own). Raises BadConfiguration."""
        model = cls.plain(path, device=device, dtype=dtype)
        trunk = cls(model, Path(path).name)
        trunk.check_head()
        return trunk

    @staticmethod
    def plain(path: Path, *, device: str, dtype: torch.dtype) -> Any:
        """transformers' own model object, without adapters. Raises BadConfiguration."""
        disable_progress_bar()
        try:
            config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
            _check_config(config)
            model = AutoModelForCausalLM.from_pretrained(
                path,
                config=config,
                dtype=dtype,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                attn_implementation="sdpa",
            )
        except (OSError, ValueError) as error:
            raise BadConfiguration(f"The base model in {path} could not be loaded: {error}") from error
        return model.to(device)

    def _wrap_linears(self) -> None:
        body = self.model.base_model
        for path, module in list(body.named_modules()):
            if isinstance(module, nn.Linear | Conv1D):
                parent, _, child = path.rpartition(".")
                layer = LoraLinear(module, self.selection)
                setattr(body.get_submodule(parent), child, layer)
                self.layers[path] = layer
        if not self.layers:
            raise BadConfiguration("The base model has no linear layers to adapt.")

    @property
    def device(self) -> torch.device:
        device: torch.device = self.embedding.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.embedding.dtype
        return dtype

    @property
    def embedding(self) -> Tensor:
        """The input embedding matrix (V, d)."""
        weight: Tensor = self.model.get_input_embeddings().weight
        return weight

    @property
    def width(self) -> int:
        """Width d of the hidden states."""
        return int(self.model.get_output_embeddings().weight.shape[1])

    @property
    def vocabulary(self) -> int:
        """Number of token ids V that the model can write."""
        return int(self.model.get_output_embeddings().weight.shape[0])

    @property
    def max_length(self) -> int:
        """Most tokens that one sequence may have."""
        return int(getattr(self.model.config, "max_position_embeddings", 2048))

    def check_head(self) -> None:
        """Make sure that logits are exactly head(hidden); some architectures scale or cap them in between.

        Our own pass is taken only where it computes what the module does: bf16 rounds each at other places.
        """
        ids = torch.linspace(0, self.vocabulary - 1, min(16, self.vocabulary), device=self.device).long()[None]
        with torch.no_grad():
            whole = self.model(input_ids=ids, use_cache=False).logits.float()
            theirs = self.logits(self.hidden(ids)).float()
            if self.llama is not None:
                own = self.logits(self.llama.run(ids[0], *causal([ids.shape[1]], self.device))).float()
                allowed = 1e-3 if self.dtype == torch.float32 else 0.1
                self.llama = self.llama if (whole[0] - own).abs().mean() <= allowed * whole.abs().mean() else None
        if (whole - theirs).abs().max() > 1e-2 * whole.abs().max():
            raise BadConfiguration("The base model changes its logits after the last layer, which is not supported.")

    # Adapters

    def add_adapter(self, name: str, *, rank: int = 16, alpha: float = 32.0, seed: int = 0) -> None:
        """A new adapter that changes nothing yet: A is drawn (Kaiming uniform), B is zero."""
        generator = torch.Generator().manual_seed(seed)
        tensors: dict[str, Tensor] = {}
        for path, layer in self.layers.items():
            bound = 1 / math.sqrt(layer.inputs)
            tensors[f"{path}.a"] = (torch.rand(rank, layer.inputs, generator=generator) * 2 - 1) * bound
            tensors[f"{path}.b"] = torch.zeros(layer.outputs, rank)
        self.attach(name, Adapter(rank, alpha, tensors))

    def attach(self, name: str, adapter: Adapter) -> None:
        """Put read weights on the trunk under a name: pointer work, milliseconds. The tensors become its own."""
        self.check_adapter(adapter)
        for path, layer in self.layers.items():
            layer.attach(name, adapter.tensors[f"{path}.a"], adapter.tensors[f"{path}.b"], adapter.alpha / adapter.rank)
        self._forget(name)
        self.settings[name] = (adapter.rank, adapter.alpha)

    def _forget(self, name: str) -> None:
        for group in self.llama.groups if self.llama else []:
            group.forget(name)

    def check_adapter(self, adapter: Adapter) -> None:
        """Names, shapes and finite numbers; raises BadAdapter. Reads no mutable state, so any thread may call it."""
        wanted = {f"{path}.a": (adapter.rank, layer.inputs) for path, layer in self.layers.items()}
        wanted |= {f"{path}.b": (layer.outputs, adapter.rank) for path, layer in self.layers.items()}
        if set(adapter.tensors) != set(wanted):
            name = sorted(set(adapter.tensors) ^ set(wanted))[0]
            raise BadAdapter(f"The adapter and the base model do not have the same layers ({name}).")
        for name, shape in wanted.items():
            if tuple(adapter.tensors[name].shape) != shape:
                raise BadAdapter(f"{name} has shape {tuple(adapter.tensors[name].shape)}, not {shape}.")
            if not bool(torch.isfinite(adapter.tensors[name]).all()):
                raise BadAdapter(f"{name} holds numbers that are not finite.")

    def load_adapter(self, name: str, directory: Path) -> None:
        """read_adapter and attach in one."""
        self.attach(name, read_adapter(directory))

    def detached(self, name: str) -> Adapter:
        """A copy of an adapter's weights on the CPU."""
        rank, alpha = self.settings[name]
        tensors: dict[str, Tensor] = {}
        for path, layer in self.layers.items():
            tensors[f"{path}.a"] = layer.a[name].detach().cpu().clone()
            tensors[f"{path}.b"] = layer.b[name].detach().cpu().clone()
        return Adapter(rank, alpha, tensors)

    def save_adapter(self, name: str, directory: Path, *, step: int = 0) -> None:
        """Write adapter.safetensors (fp32) and adapter.json into an existing directory."""
        adapter = self.detached(name)
        save_file(adapter.tensors, directory / "adapter.safetensors")
        about = {
            "kind": "lora",
            "rank": adapter.rank,
            "alpha": adapter.alpha,
            "base_model": self.base_model_name,
            "step": step,
        }
        (directory / "adapter.json").write_text(json.dumps(about, indent=1))

    def drop_adapter(self, name: str) -> None:
        """Forget an adapter and free its memory."""
        for layer in self.layers.values():
            layer.detach(name)
        self._forget(name)
        del self.settings[name]

    def copy_adapter(self, source: str, target: str) -> None:
        """A second adapter with the same weights, trained apart from the first."""
        self.attach(target, self.detached(source))

    @contextmanager
    def use(self, name: str | None) -> Iterator[None]:
        """Compute with this adapter inside the block; None is the reference, the base model itself."""
        if name is not None and name not in self.settings:
            raise KeyError(f"no adapter {name!r}")
        before, self.selection.name = self.selection.name, name
        try:
            yield
        finally:
            self.selection.name = before

    def parameters_of(self, name: str) -> list[nn.Parameter]:
        """The trainable tensors of an adapter, in a fixed order."""
        return [p for layer in self.layers.values() for p in (layer.a[name], layer.b[name])]

    # Heads

    def add_head(self, name: str, *, seed: int = 0, zero: bool = False) -> ScalarHead:
        """A new scalar head on the final hidden states."""
        head = ScalarHead(self.width, seed=seed, zero=zero).to(self.device)
        self.heads[name] = head
        return head

    def head(self, name: str) -> ScalarHead:
        """The head with this name: (B, T, d) → (B, T)."""
        return cast(ScalarHead, self.heads[name])

    # Computation

    def hidden(self, input_ids: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Final hidden states (B, T, d) of right-padded ids (B, T). With `lengths` (B,) padding positions are zero."""
        out: Tensor = self.model.base_model(input_ids=input_ids, use_cache=False).last_hidden_state
        if lengths is None:
            return out
        real = torch.arange(input_ids.shape[1], device=out.device)[None] < lengths.to(out.device)[:, None]
        return out.masked_fill(~real[..., None], 0.0)

    def packs(self, name: str | None) -> bool:
        """Whether our own pass computes this adapter (None: the base): of LoRA, that is of a rank above 0."""
        return self.llama is not None and (name is None or self.settings[name][0] > 0)

    @property
    def own(self) -> Llama | None:
        """Our own pass, where it computes what is selected now; else transformers' module does."""
        return self.llama if self.packs(self.selection.name) else None

    def read(self, batch: Batch) -> Tensor:
        """Final hidden states of a batch, for its `at_answer` and `at_end`: packed where we can, else padded."""
        if (own := self.own) is None:
            return self.hidden(batch.ids)
        packed = batch.packed
        return own.run(packed.ids, packed.positions, packed.segments, packed.needed)

    def read_ends(self, batch: Batch) -> Tensor:
        """(B, 1, d) final hidden states of each sequence's last token, and of nothing else where that saves work."""
        if (own := self.own) is None:
            return batch.at_end(self.hidden(batch.ids))
        packed = batch.packed
        return own.run(packed.ids, packed.positions, packed.segments, packed.needed[packed.ends[:, 0]])[:, None]

    def logits(self, hidden: Tensor) -> Tensor:
        """(…, d) → (…, V) in the trunk's dtype. Only for a few positions at a time."""
        return linear(self.model.get_output_embeddings(), hidden)

    def token_logprobs(
        self, hidden: Tensor, targets: Tensor, mask: Tensor, temperature: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Log-probs of `targets` (B, T) at the positions of `hidden` that predict them (shift them yourself).

        Only where `mask` (B, T) is true; 0 elsewhere. fp32, logits divided by temperature. The second result is the
        entropy of each of these distributions, without gradient. Never holds logits of more than one chunk.
        """
        output = self.model.get_output_embeddings()
        mask = mask.bool()
        values, entropy = masked_logprobs(hidden[mask], targets[mask], output.weight, output.bias, temperature)
        empty = torch.zeros(mask.shape, dtype=torch.float32, device=hidden.device)
        return empty.masked_scatter(mask, values), empty.masked_scatter(mask, entropy)


def load_trunk(settings: Settings, path: Path) -> Trunk:
    """The trunk for this machine: device, dtype and torch threads from the settings."""
    if settings.threads > 0:
        torch.set_num_threads(settings.threads)
    trunk = Trunk.load(path, device=pick_device(settings), dtype=pick_dtype(settings))
    trunk.base_model_name = settings.base_model
    return trunk


def _check_config(config: Any) -> None:
    if getattr(config, "auto_map", None):
        raise BadConfiguration("This base model wants to run code of its own, which Palate never does.")
    kinds = set(getattr(config, "layer_types", None) or []) - {"full_attention"}
    window = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    if kinds or window:
        raise BadConfiguration("This base model does not use full attention in every layer, which is not supported.")
