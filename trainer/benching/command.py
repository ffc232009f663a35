"""`python -m trainer bench-training`: ours and the peers in turns, a process for each measurement."""

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from app.core.errors import BadConfiguration
from app.core.settings import ROOT, Settings
from trainer.base_model import Tokenizer, ensure_base_model, load_tokenizer
from trainer.hardware import pick_dtype

PEERS = Path(__file__).parent / "peers"
LONGEST = 250
"""Tokens of prompt and answer of the pairs that are taken."""
WORDS = [
    "the",
    "sea",
    "wind",
    "old",
    "quiet",
    "house",
    "bright",
    "road",
    "small",
    "river",
    "under",
    "long",
    "winter",
    "morning",
    "song",
    "paper",
    "garden",
    "stone",
]


@dataclass(frozen=True)
class Entry:
    """One thing that is measured: its name in the table, its command, and what it is asked beyond the rest."""

    name: str
    command: list[str]
    asked: dict[str, Any]


def bench_training(settings: Settings, arguments: list[str]) -> int:
    """Speed and memory of training and rollout, beside TRL and transformers where their environments are named."""
    parser = argparse.ArgumentParser(prog="python -m trainer bench-training", description=bench_training.__doc__)
    parser.add_argument("--what", default="reward,ppo,rollout", help="of these three, with commas")
    parser.add_argument("--pairs", type=Path, help="a PandaLM test set (JSON); else words of our own")
    parser.add_argument("--trl", type=Path, help="a virtual environment with trl 1.16, transformers 5 and peft")
    parser.add_argument("--trl-ppo", type=Path, help="one with trl 0.23.1 and transformers 4.57.6")
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument(
        "--steps", type=int, default=3, help="steps of a process; the first warms up and is not counted"
    )
    parser.add_argument("--peer-dtype", default="bfloat16", choices=["bfloat16", "float32"], help="of TRL's weights")
    parser.add_argument("-o", "--output", type=Path, default=settings.home / "bench/training.json")
    asked = parser.parse_args(arguments)
    kinds = asked.what.split(",")
    if unknown := set(kinds) - {"reward", "ppo", "rollout"}:
        raise BadConfiguration(f"There is no bench {sorted(unknown)[0]!r}; there are reward, ppo and rollout.")
    if asked.steps < 2 or asked.repetitions < 1:
        raise BadConfiguration("A bench needs at least two steps and one repetition.")
    model = ensure_base_model(settings)
    material = prepare(settings, model, load_tokenizer(model), asked.pairs, asked.steps)
    about = {name: str(value) for name, value in vars(asked).items()}
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    for kind in kinds:
        found[kind] = measure(entries(kind, material, asked), asked.repetitions)
        asked.output.write_text(json.dumps({"asked": about, "found": found}, indent=1) + "\n")
        print(f"\n{kind}\n{table(kind, found[kind])}", flush=True)  # noqa: T201  # a bench prints
    print(f"\nAll figures: {asked.output}")  # noqa: T201  # a bench prints
    return 0


def prepare(settings: Settings, model: Path, tokenizer: Tokenizer, file: Path | None, steps: int) -> dict[str, Any]:
    """What every process is asked: model, dtype, threads, pairs and prompts of bounded length in one order."""
    pairs = []
    for prompt, first, second in _texts(file):
        tokens = [len(tokenizer.encode(text)) for text in (first, second)]
        if len(tokenizer.encode_chat([{"role": "user", "content": prompt}])) + max(tokens) < LONGEST and min(tokens):
            pairs.append({"prompt": prompt, "chosen": first, "rejected": second})
    random.Random(1).shuffle(pairs)  # noqa: S311  # an order, not a secret
    if len(pairs) < 8 * steps + 8:
        raise BadConfiguration(f"{file} has only {len(pairs)} pairs of at most {LONGEST} tokens.")
    every = (tokenizer.encode_chat([{"role": "user", "content": pair["prompt"]}]) for pair in pairs)
    return {
        "model": str(model),
        "dtype": str(pick_dtype(settings)).removeprefix("torch."),
        "threads": settings.threads or torch.get_num_threads(),
        "pairs": pairs[: 8 * steps + 8],
        "prompts": [ids for ids in every if len(ids) < 90][:32],
        "batch": 8,
        "steps": steps,
        "max_length": 256,
        "micro_batch_tokens": 512,
        "bf16": True,
    }


def _texts(file: Path | None) -> list[tuple[str, str, str]]:
    """Prompt and two answers, each."""
    if file is None:
        draw = random.Random(2)  # noqa: S311  # made-up texts

        def words(least: int, most: int) -> str:
            return " ".join(draw.choices(WORDS, k=draw.randint(least, most)))

        # Every second one short, for tokenizers that know no words.
        return [(words(4, most), words(2, most), words(2, most)) for most in (60, 8) * 200]
    try:
        rows = json.loads(file.read_text())
        made = [
            (
                "\n\n".join(filter(None, [row["instruction"], row["input"]])),
                str(row["response1"]).strip(),
                str(row["response2"]).strip(),
            )
            for row in rows
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadConfiguration(f"{file} is not a PandaLM test set: {error}") from error
    return [row for row in made if row[1] != row[2]]


def entries(kind: str, material: dict[str, Any], asked: argparse.Namespace) -> list[Entry]:
    """Ours and the peers of one kind; a peer whose environment is not named is left out."""
    ours = [sys.executable, "-m", "trainer.benching.ours", kind]
    peer = {"dtype": asked.peer_dtype}
    trl, trl_ppo = (str(path / "bin/python") if path else None for path in (asked.trl, asked.trl_ppo))
    if kind == "reward":
        found = [Entry("Palate", ours, material)]
        return found + _peer("TRL RewardTrainer, LoRA", trl, "trl_reward.py", material | peer)
    if kind == "ppo":
        material = material | {"batch": 16, "epochs": 4, "new_tokens": 32}
        found = [
            Entry(f"Palate, critic {critic}", ours, material | {"critic": critic}) for critic in ("head", "adapter")
        ]
        return found + _peer("TRL PPOTrainer, full", trl_ppo, "trl_ppo.py", material | peer)
    found = []
    for lora in (False, True):
        wanted = material | {"new_tokens": 64, "lora": lora}
        words = "LoRA" if lora else "base"
        found.append(Entry(f"Palate, {words}", ours, wanted))
        found += _peer(f"transformers.generate, {words}", trl, "generate.py", wanted)
    return found


def _peer(name: str, python: str | None, script: str, asked: dict[str, Any]) -> list[Entry]:
    return [Entry(name, [python, str(PEERS / script)], asked)] if python else []


def measure(wanted: list[Entry], repetitions: int) -> dict[str, list[dict[str, Any]]]:
    """Every entry once per repetition, in turns, each second repetition backwards. Raises BadConfiguration."""
    found: dict[str, list[dict[str, Any]]] = {entry.name: [] for entry in wanted}
    for repetition in range(repetitions):
        for entry in wanted if repetition % 2 == 0 else wanted[::-1]:
            print(f"{entry.name}, {repetition + 1} of {repetitions} …", flush=True)  # noqa: T201  # minutes pass
            found[entry.name].append(_run(entry))
    return found


def _run(entry: Entry) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "asked.json"
        file.write_text(json.dumps(entry.asked))
        try:
            done = subprocess.run([*entry.command, file], cwd=ROOT, capture_output=True, text=True, check=True)
        except OSError as error:
            raise BadConfiguration(f"{entry.name} could not be started: {error}") from error
        except subprocess.CalledProcessError as error:
            raise BadConfiguration(f"{entry.name} failed.\n{error.stderr[-2000:]}") from error
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer | {"work": _work(entry.asked)}


def _work(asked: dict[str, Any]) -> float:
    """What the rate counts of one step: pairs, samples or tokens."""
    if "lora" in asked:
        return float(len(asked["prompts"]) * asked["new_tokens"])
    return float(asked["batch"])


def table(kind: str, found: dict[str, list[dict[str, Any]]]) -> str:
    """Medians and ranges, and each entry's ratios to its first peer by repetition."""
    unit = {"reward": "pairs/s", "ppo": "samples/s", "rollout": "tok/s"}[kind]
    lines = [f"{'':<30} {'s/step':>7} {unit:>10} {'range':>15} {'peak MiB':>9} {'of GEMM peak':>13}"]
    for name, runs in found.items():
        steps = [seconds for run in runs for seconds in run["seconds"][1:]]
        rates = [run["work"] / statistics.median(run["seconds"][1:]) for run in runs]
        spread = f"{min(rates):.2f}-{max(rates):.2f}"
        share = f"{fraction(kind, runs):.0%}" if "gemm" in runs[0] else ""
        memory = max(run["peak_mib"] for run in runs)
        median = f"{statistics.median(steps):7.2f} {statistics.median(rates):10.2f}"
        lines.append(f"{name:<30} {median} {spread:>15} {memory:9.0f} {share:>13}")
    for ours, theirs in _couples(list(found)):
        pairs = zip(found[ours], found[theirs], strict=True)
        ratios = [statistics.median(b["seconds"][1:]) / statistics.median(a["seconds"][1:]) for a, b in pairs]
        memory = max(r["peak_mib"] for r in found[ours]) / max(r["peak_mib"] for r in found[theirs])
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        lines.append(f"{ours} / {theirs}: {statistics.median(ratios):.2f} times ({spread}), {memory:.2f} of the memory")
    return "\n".join(lines)


def _couples(names: list[str]) -> list[tuple[str, str]]:
    """Each of ours with the peer of its kind: for rollout the one with the same ending."""
    ours = [name for name in names if name.startswith("Palate")]
    peers = [name for name in names if not name.startswith("Palate")]
    matching = [(a, b) for a in ours for b in peers if a.partition(", ")[2] == b.partition(", ")[2]]
    return matching or [(a, b) for a in ours for b in peers]


def fraction(kind: str, runs: list[dict[str, Any]]) -> float:
    """Share of the measured GEMM peak that the products of our own steps come to, attention not counted.

    A forward pass is 2 FLOP per weight and token, a frozen layer's backward pass as many again. PPO: three passes to
    judge, four epochs to learn, the output matrix at the answers only. Rollout: the new tokens alone.
    """
    shares = []
    for run in runs:
        layers, head, tokens = run["layers"], run["head"], run["tokens"]
        if kind == "reward":
            work = 4 * layers * tokens
        elif kind == "ppo":
            answers = run["work"] * 32
            work = (
                2 * layers * (3 * tokens + answers)
                + 2 * head * (3 * answers)
                + 4 * 4 * (layers * tokens + head * answers)
            )
        else:
            work = 2 * (layers + head) * tokens
        shares.append(work / statistics.median(run["seconds"][1:]) / run["gemm"])
    return float(statistics.median(shares))
