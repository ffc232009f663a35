"""What recipe tests share: a context on the tiny model, a report that keeps what it hears, and made-up comparisons."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from app.core.artifacts import ArtifactStore
from trainer.base_model import load_tokenizer
from trainer.checkpoints import Checkpoints
from trainer.context import Context
from trainer.data import Group, Judged, Prompt
from trainer.modeling import Trunk


@dataclass
class Heard:
    """A report that remembers everything."""

    steps: int = 0
    phases: list[str] = field(default_factory=list)
    figures: dict[int, dict[str, float]] = field(default_factory=dict)
    digests: list[str] = field(default_factory=list)

    def start(self, steps: int) -> None:
        self.steps = steps

    def progress(self, step: int, phase: str) -> None:
        self.phases.append(f"{step}: {phase}")

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self.figures.setdefault(step, {}).update(values)

    def checkpoint(self, digest: str) -> None:
        self.digests.append(digest)


def make_context(model: Path, home: Path, *, seed: int = 1, newest: str | None = None) -> tuple[Context, Heard]:
    """A fresh trunk in fp32 with nothing on it, and what it reports."""
    torch.set_num_threads(1)
    heard = Heard()
    store = ArtifactStore(home)
    return Context(
        Trunk.load(model), load_tokenizer(model), store, heard, Checkpoints(store, heard, "run", newest), seed
    ), heard


def make_prompts(context: Context, count: int) -> list[Prompt]:
    """Short questions."""
    words = random.Random(0)  # noqa: S311 - made-up prompts
    made = []
    for number in range(count):
        text = "".join(words.choice("abcdefgh ") for _ in range(8))
        messages = [{"role": "user", "content": f"{number} {text}"}]
        made.append(Prompt(number, messages, context.tokenizer.encode_chat(messages)))
    return made


def lexical_groups(context: Context, count: int, *, shuffled: bool = False, noise: float = 0.0) -> list[Group]:
    """Per prompt four random answers and three comparisons by a lexical taste: more of the letter e is better.

    A fifth of the prompts is held out. `shuffled` draws every label by coin.
    """
    draw = random.Random(1)  # noqa: S311 - made-up answers
    groups = []
    for prompt in make_prompts(context, count):
        texts = ["".join(draw.choices("eeatn iolsr", k=draw.randint(6, 16))) for _ in range(4)]
        answers = [[*context.tokenizer.encode(text), context.tokenizer.eos_id] for text in texts]
        judged = []
        for number, (first, second) in enumerate([(0, 1), (1, 2), (2, 3)]):
            better = texts[first].count("e") - texts[second].count("e")
            target = 0.5 if better == 0 else float(better > 0)
            if shuffled or draw.random() < noise:
                target = float(draw.random() < 0.5)
            judged.append(Judged(prompt.prompt_id * 10 + number, first, second, target))
        split = "validation" if prompt.prompt_id % 5 == 4 else "train"
        ids = [prompt.prompt_id * 10 + i for i in range(4)]
        groups.append(Group(prompt.prompt_id, split, prompt.token_ids, ids, answers, judged))
    return groups
