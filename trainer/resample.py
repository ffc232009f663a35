"""`python -m trainer resample`: what several policies write to the prompts of an evaluation, with fresh seeds.

An evaluation writes two answers a prompt, the base model's with one seed in every first round: enough for a gate, too
few to tell a small gain from the luck of that draw. This writes as many more as somebody has time for.
"""

import argparse
import json
from pathlib import Path

from app.core.errors import AppError
from app.core.settings import Settings
from trainer.base_model import ensure_base_model, load_tokenizer
from trainer.modeling import load_trunk
from trainer.rollout import sample


def resample(settings: Settings, arguments: list[str]) -> int:
    """Sample the base model and each adapter; JSON {"samples": [{"prompt_id", "answers": {name: [text, …]}}, …]}."""
    parser = argparse.ArgumentParser(prog="python -m trainer resample", description=resample.__doc__)
    parser.add_argument("evaluation", type=Path, help="samples.json of an evaluation: whose prompts")
    parser.add_argument("--policy", action="append", default=[], metavar="NAME=DIR", help="a policy's directory")
    parser.add_argument("--samples", type=int, default=8, help="answers a prompt")
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--max-tokens", type=int, default=96)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--output", "-o", type=Path, required=True)
    asked = parser.parse_args(arguments)
    base = ensure_base_model(settings)
    trunk, tokenizer = load_trunk(settings, base), load_tokenizer(base)
    adapters: dict[str, str | None] = {"base": None}
    for given in asked.policy:
        name, _, directory = given.partition("=")
        if not name or not Path(directory).is_dir():
            raise AppError(f"{given}: write it like v1=DIRECTORY, the directory of a policy's artefact.")
        trunk.load_adapter(name, Path(directory))
        adapters[name] = name
    rows = [
        {"prompt_id": row["prompt_id"], "messages": row["messages"], "answers": {}}
        for row in json.loads(asked.evaluation.read_text())["samples"]
    ]
    prompts = [tokenizer.encode_chat(row["messages"]) for row in rows]
    for name, adapter in adapters.items():
        rollout = sample(
            trunk,
            prompts,
            eos_id=tokenizer.eos_id,
            n=asked.samples,
            max_tokens=asked.max_tokens,
            temperature=asked.temperature,
            seed=asked.seed,
            adapter=adapter,
        )
        for index, tokens in zip(rollout.prompt_index, rollout.token_ids, strict=True):
            rows[index]["answers"].setdefault(name, []).append(tokenizer.decode(tokens))
        asked.output.write_text(json.dumps({"seed": asked.seed, "samples": rows}, ensure_ascii=False, indent=1))
    return 0
