"""`python -m trainer bench-generate`: our decode loop against transformers.generate on the same model, in pairs."""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from app.core.settings import Settings
from trainer.base_model import ensure_base_model
from trainer.modeling import Trunk, load_trunk
from trainer.rollout import sample


def bench_generate(settings: Settings, arguments: list[str]) -> int:
    """Print tokens per second of both, run alternately (prefill included, no end token), and the median ratio."""
    parser = argparse.ArgumentParser(prog="python -m trainer bench-generate", description=bench_generate.__doc__)
    for name, default in (("rows", 32), ("prompt", 40), ("new", 96), ("pairs", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args(arguments)
    trunk = load_trunk(settings, ensure_base_model(settings))
    plain = Trunk.plain(ensure_base_model(settings), device=str(trunk.device), dtype=trunk.dtype)
    prompts = torch.randint(
        100, trunk.vocabulary, (asked.rows, asked.prompt), generator=torch.Generator().manual_seed(0)
    )
    trunk.add_adapter("bench")
    kinds: dict[str, Callable[[], None]] = {
        "transformers.generate": lambda: _theirs(plain, prompts.to(trunk.device), asked.new),
        "ours, base": lambda: _ours(trunk, prompts, asked.new, None),
        "ours, LoRA": lambda: _ours(trunk, prompts, asked.new, "bench"),
    }
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(asked.pairs):
        for kind, run in kinds.items():
            started = time.perf_counter()
            run()
            found[kind].append(asked.rows * asked.new / (time.perf_counter() - started))
    print(f"{trunk.dtype}, {torch.get_num_threads()} threads, {asked.rows} rows, {asked.prompt} + {asked.new} tokens")  # noqa: T201 - a bench prints
    theirs = found["transformers.generate"]
    for kind, rates in found.items():
        ratio = statistics.median(a / b for a, b in zip(rates, theirs, strict=True))
        print(  # noqa: T201 - a bench prints
            f"{kind:<22} {statistics.median(rates):6.0f} tok/s ({min(rates):.0f}-{max(rates):.0f}), {ratio:.2f} times"
        )
    return 0


def _ours(trunk: Trunk, prompts: Tensor, new: int, adapter: str | None) -> None:
    sample(trunk, prompts.tolist(), eos_id=-1, max_tokens=new, adapter=adapter, max_rows=len(prompts))


@torch.no_grad()
def _theirs(model: Any, prompts: Tensor, new: int) -> None:
    options = {"do_sample": True, "top_k": 0, "top_p": 1.0, "temperature": 1.0, "pad_token_id": 0}
    whole = torch.ones_like(prompts)
    model.generate(prompts, attention_mask=whole, max_new_tokens=new, min_new_tokens=new, **options)
