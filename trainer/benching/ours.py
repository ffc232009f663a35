"""One measurement of Palate's own recipes: `python -m trainer.benching.ours WHAT ASKED.json`, JSON on the last line."""

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from app.core.artifacts import ArtifactStore
from app.core.recipes import PpoConfig, RewardModelConfig
from trainer.base_model import Tokenizer, load_tokenizer
from trainer.checkpoints import Checkpoints
from trainer.context import Context
from trainer.data import Group, Judged, Prompt
from trainer.modeling import Trunk
from trainer.recipes.ppo import train_policy
from trainer.recipes.reward_model import NAME as REWARD
from trainer.recipes.reward_model import Normalisation, fit_reward_model
from trainer.rollout import sample


class Clock:
    """A report that notes when each step began and when its figures came."""

    def __init__(self) -> None:
        self.last = time.perf_counter()
        self.seconds: list[float] = []
        self._begun = False

    def start(self, steps: int) -> None: ...

    def progress(self, step: int, phase: str) -> None:  # noqa: ARG002  # a report's signature
        if phase.startswith("step ") and not self._begun:
            self._begun, self.last = True, time.perf_counter()

    def metrics(self, step: int, values: Mapping[str, float]) -> None:  # noqa: ARG002  # the same
        now = time.perf_counter()
        self.seconds.append(now - self.last)
        self.last = now

    def checkpoint(self, digest: str) -> None: ...


def reward(asked: dict[str, Any], context: Context) -> dict[str, float]:
    """The recipe itself, checkpoints and all, one pair a prompt, as many optimiser steps as asked."""
    groups = []
    for number, pair in enumerate(asked["pairs"]):
        answers = [[*context.tokenizer.encode(pair[side]), context.tokenizer.eos_id] for side in ("chosen", "rejected")]
        prompt = context.tokenizer.encode_chat([{"role": "user", "content": pair["prompt"]}])
        split = "train" if number < asked["batch"] * asked["steps"] else "validation"
        groups.append(Group(number, split, prompt, [2 * number, 2 * number + 1], answers, [Judged(number, 0, 1, 1.0)]))
    config = RewardModelConfig(
        batch_size=asked["batch"], micro_batch_tokens=asked["micro_batch_tokens"], normalisation_samples=2
    )
    fit_reward_model(config, groups, context)
    training = [group for group in groups if group.split == "train"]
    tokens = sum(len(group.prompt) + sum(map(len, group.answers)) for group in training)
    return {"tokens": tokens / asked["steps"]}


def ppo(asked: dict[str, Any], context: Context) -> dict[str, float]:
    """The recipe itself; answers never end early, as TRL's do not."""
    trunk = context.trunk
    trunk.add_adapter(REWARD, rank=16)
    trunk.add_head(REWARD)
    prompts = [Prompt(number, [], ids) for number, ids in enumerate(asked["prompts"])]
    config = PpoConfig(
        steps=asked["steps"],
        prompts_per_step=asked["batch"],
        samples_per_prompt=1,
        epochs=asked["epochs"],
        minibatches=1,
        micro_batch_tokens=asked["micro_batch_tokens"],
        max_tokens=asked["new_tokens"],
        approx_kl_stop=1e9,
        kl_stop=1e9,
        learning_rate=1e-6,
        critic=asked["critic"],
    )
    train_policy(config, prompts, Normalisation(0.0, 1.0, 1.0), context, start=None)
    return {"tokens": float(sum(len(ids) + asked["new_tokens"] for ids in asked["prompts"][: asked["batch"]]))}


def rollout(asked: dict[str, Any], context: Context, clock: Clock) -> dict[str, float]:
    """Samples of one batch of prompts, log-probs recorded, as often as asked."""
    if asked["lora"]:
        context.trunk.add_adapter("policy", rank=16)
    for step in range(asked["steps"]):
        clock.last = time.perf_counter()
        sample(
            context.trunk,
            asked["prompts"],
            eos_id=-1,
            max_tokens=asked["new_tokens"],
            temperature=0.7,
            seed=step,
            adapter="policy" if asked["lora"] else None,
            max_rows=len(asked["prompts"]),
        )
        clock.metrics(step, {})
    return {"tokens": float(len(asked["prompts"]) * asked["new_tokens"])}


def peak_gemm(dtype: torch.dtype) -> float:
    """FLOP/s of the fastest of many products of this model's shape."""
    x, weight = torch.randn(512, 576, dtype=dtype), torch.randn(3072, 576, dtype=dtype)
    best = float("inf")
    for _ in range(60):
        started = time.perf_counter()
        torch.mm(x, weight.t())
        best = min(best, time.perf_counter() - started)
    return 2.0 * x.numel() * len(weight) / best


def main() -> None:
    """Load the trunk, run one of the three, and print its seconds, peak memory and the machine's own peak."""
    what, asked = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    torch.set_num_threads(asked["threads"])
    clock, model = Clock(), Path(asked["model"])
    dtype = getattr(torch, asked["dtype"])
    tokenizer: Tokenizer = load_tokenizer(model)
    if what == "ppo":
        tokenizer = replace(tokenizer, eos_id=-1)
    with tempfile.TemporaryDirectory() as directory:
        store = ArtifactStore(Path(directory))
        trunk = Trunk.load(model, dtype=dtype)
        context = Context(trunk, tokenizer, store, clock, Checkpoints(store, clock, "bench"), 1)
        clock.last = time.perf_counter()
        run: dict[str, Callable[[], dict[str, float]]] = {
            "reward": lambda: reward(asked, context),
            "ppo": lambda: ppo(asked, context),
            "rollout": lambda: rollout(asked, context, clock),
        }
        found = run[what]()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    layers = sum(layer.base.weight.numel() for layer in trunk.layers.values())
    print(  # noqa: T201  # its answer
        json.dumps(
            found
            | {
                "seconds": clock.seconds[: asked["steps"]],
                "peak_mib": peak,
                "gemm": peak_gemm(dtype),
                "layers": layers,
                "head": trunk.width * trunk.vocabulary,
            }
        )
    )


if __name__ == "__main__":
    main()
