"""Policies between recipes: how one goes on from another, and the artefact that the policy server reads."""

import json
from pathlib import Path

from app.core.recipes import DpoConfig, PolicyConfig, SftConfig
from trainer import checkpoints
from trainer.checkpoints import Saved
from trainer.context import Context
from trainer.data import Prompt
from trainer.rollout import sample
from trainer.scoring import answer_logprobs

PROBES = 8
PROBE_TOKENS = 32


def put_policy(
    context: Context, name: str, config: SftConfig | DpoConfig, start: Path | None, saved: Saved | None
) -> None:
    """Put the adapter to train on the trunk: fresh, of `start` (it keeps its rank), or of the checkpoint."""
    trunk = context.trunk
    if start is None:
        trunk.add_adapter(name, rank=config.lora_rank, alpha=config.lora_alpha, seed=context.seed)
    else:
        trunk.load_adapter(name, start)
    if saved is not None:
        rank, alpha = trunk.settings[name]
        checkpoints.unpack_adapter(trunk, name, saved.tensors, rank=rank, alpha=alpha)


def store_policy(
    context: Context, config: SftConfig | DpoConfig | PolicyConfig, prompts: list[Prompt], adapter: str, *, step: int
) -> str:
    """Write adapter.safetensors, adapter.json and canary.json. Returns the artefact's hash.

    The canary is a few answers of this policy with its log-probs under the trainer at temperature 1: a server that
    computes others does not serve what was trained.
    """
    trunk, tokenizer = context.trunk, context.tokenizer
    probes = prompts[:PROBES]
    answers = sample(
        trunk,
        [prompt.token_ids for prompt in probes],
        eos_id=tokenizer.eos_id,
        max_tokens=min(PROBE_TOKENS, config.max_tokens),
        seed=context.seed,
        adapter=adapter,
    )
    sequences = [(prompt.token_ids, tokens) for prompt, tokens in zip(probes, answers.token_ids, strict=True)]
    reading = answer_logprobs(
        trunk, adapter, sequences, pad_id=tokenizer.pad_id, budget=config.micro_batch_tokens, temperature=1.0
    )
    canary = {
        "probes": [
            {"token_ids": prompt + answer, "start": len(prompt), "logprobs": row[: len(answer)].tolist()}
            for (prompt, answer), row in zip(sequences, reading.values, strict=True)
        ],
        "dtype": str(trunk.dtype).removeprefix("torch."),
    }
    with context.store.stage() as directory:
        trunk.save_adapter(adapter, directory, step=step)
        (directory / "canary.json").write_text(json.dumps(canary))
        return context.store.commit(directory)
