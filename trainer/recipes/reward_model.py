"""Reward model: a LoRA adapter and a scalar head, fitted to people's comparisons (Bradley–Terry).

Follows Ziegler et al. 2019 ("OAI"), Ouyang et al. 2022 (all pairs of a prompt in one batch element) and Huang et al.
2024 ("N+"). Left out on purpose: margins from strength, ensembles.

The head starts as the best linear reward on the frozen model's states, then head and adapter are trained together
(Kumar et al. 2022, "LP-FT"): a few dozen comparisons are enough for the first, and too few for the second alone.

Normalisation uses completions that people were shown in the newest training pairs: they are samples of the live
policy, and cost no sampling. After training their mean and standard deviation become part of the model.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from app.core.recipes import RewardModelConfig
from app.core.records.base import Json
from trainer import checkpoints, held_out, losses
from trainer.context import Context, RecipeError, fall, must_be_number
from trainer.data import Group, epochs, group_batches, pad
from trainer.modeling import Trunk
from trainer.probe import fit_probe
from trainer.scoring import end_states, rewards

NAME = "reward"
"""Of the adapter and of the head."""


@dataclass(frozen=True)
class Normalisation:
    """(reward − mean) / std has mean 0, deviation 1 on the live policy; its differences / temperature are logits."""

    mean: float
    std: float
    temperature: float

    def of(self, scores: Tensor) -> Tensor:
        return (scores - self.mean) / self.std


@dataclass(frozen=True)
class Fitted:
    """A fitted reward model: its artefact, its normalisation and its figures."""

    digest: str
    normalisation: Normalisation
    metrics: dict[str, float]
    tables: Json
    """Held-out accuracy with intervals, overall and by bucket (trainer.held_out.tables)."""


def fit_reward_model(config: RewardModelConfig, groups: Sequence[Group], context: Context) -> Fitted:  # noqa: PLR0915 - the recipe, read top to bottom
    """Fit on the training groups, measure on the held-out ones, store the artefact."""
    trunk, report = context.trunk, context.report
    training = [group for group in groups if group.split == "train"]
    validation = [group for group in groups if group.split == "validation"]
    if not training or not validation:
        raise RecipeError("A reward model needs pairs on training prompts and on held-out prompts.")
    plan = list(epochs(len(training), config.batch_size, rounds=config.epochs, seed=context.seed))
    report.start(len(plan))

    # 1. A fresh adapter (B = 0, so it starts as the base model) and a head; or those of the checkpoint.
    trunk.add_adapter(NAME, rank=config.lora_rank, alpha=config.lora_alpha, seed=context.seed)
    head = trunk.add_head(NAME, seed=context.seed)
    saved = context.checkpoints.load()
    if saved is None:
        report.progress(0, "reading the training pairs")
        head_start(context, head.weight, head.bias, training, config)
    else:
        checkpoints.unpack_adapter(trunk, NAME, saved.tensors, rank=config.lora_rank, alpha=config.lora_alpha)
        checkpoints.unpack_head(head, NAME, saved.tensors)
    parameters = [*trunk.parameters_of(NAME), *head.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=0.0, fused=True)
    if saved is not None:
        checkpoints.unpack_optimiser(optimiser, saved.tensors)

    # 2. One optimiser step per batch of prompts; micro-batches of whole prompts only bound the memory.
    for step in range(saved.state["step"] if saved else 0, len(plan)):
        report.progress(step, f"step {step + 1} of {len(plan)}")
        rate = optimiser.param_groups[0]["lr"] = fall(config.learning_rate, step, len(plan))
        batch = [training[index] for index in plan[step]]
        pairs = sum(len(group.judged) for group in batch)
        sums = torch.zeros(4)
        for part in group_batches(batch, config.micro_batch_tokens, packed=trunk.packs(NAME)):
            first, second, target = judged_rewards(trunk, part, context.tokenizer.pad_id)
            weight = torch.where(target == 0.5, config.tie_weight, 1.0)
            loss = weight * losses.bradley_terry(first - second, target, smoothing=config.label_smoothing)
            loss = (loss + config.centering * losses.centring(first, second)).sum() / pairs
            loss.backward()  # type: ignore[no-untyped-call]
            sums += torch.stack([loss.detach().cpu(), *agreement((first - second).detach().cpu(), target.cpu())])
        must_be_number(float(sums[0]), step + 1)
        norm = torch.nn.utils.clip_grad_norm_(parameters, config.gradient_clip)
        must_be_number(float(norm), step + 1)
        optimiser.step()
        optimiser.zero_grad()
        figures = {"reward/loss": sums[0], "reward/learning_rate": torch.tensor(rate), "reward/gradient_norm": norm}
        if sums[2] > 0:
            figures |= {"reward/accuracy": sums[1] / sums[2], "reward/margin": sums[3] / sums[2]}
        report.metrics(step + 1, {name: float(value) for name, value in figures.items()})
        tensors = checkpoints.pack_adapter(trunk, NAME) | checkpoints.pack_head(head, NAME)
        context.checkpoints.save(tensors | checkpoints.pack_optimiser(optimiser), {"step": step + 1})

    # 3. Scale for PPO, honesty for probabilities, and the figures of the gate, all on what it never trained on.
    report.progress(len(plan), "measuring on held-out pairs")
    reference = score(context, reference_samples(training, config), config)
    mean, std = float(reference.mean()), float(reference.std(correction=0).clamp(min=1e-6))
    unseen = [sequence for group in validation for sequence in group.sequences]
    scores = Normalisation(mean, std, 1.0).of(score(context, unseen, config)).tolist()
    made = held_out.held_out(validation, scores)
    metrics, tables = held_out.figures(made, validation), held_out.tables(made, validation)
    normalisation = Normalisation(mean, std, metrics["reward/temperature"])
    report.metrics(len(plan), metrics)
    digest = store(context, normalisation, metrics, predictions(validation, scores), step=len(plan))
    return Fitted(digest, normalisation, metrics, tables)


def judged_rewards(trunk: Trunk, groups: Sequence[Group], pad_id: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rewards of first and second, and targets, of every judgement; each answer goes through the trunk once."""
    batch = pad([sequence for group in groups for sequence in group.sequences], pad_id, trunk.device)
    with trunk.use(NAME):
        scores = trunk.head(NAME)(trunk.read_ends(batch))[:, 0]
    first, second, target = pair_rows(groups)
    return scores[first], scores[second], torch.tensor(target, device=scores.device)


def pair_rows(groups: Sequence[Group]) -> tuple[list[int], list[int], list[float]]:
    """Of every judgement: the rows of its two answers when all groups' answers are laid end to end, and its target."""
    first, second, target, offset = [], [], [], 0
    for group in groups:
        first += [offset + judgement.first for judgement in group.judged]
        second += [offset + judgement.second for judgement in group.judged]
        target += [judgement.target for judgement in group.judged]
        offset += len(group.answers)
    return first, second, target


def agreement(difference: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Over decided pairs: how many are ordered as people did, how many there are, the sum of chosen − rejected."""
    decided = target != 0.5
    margin = torch.where(target > 0.5, difference, -difference)[decided]
    return (margin > 0).sum(), decided.sum(), margin.sum()


def reference_samples(groups: Sequence[Group], config: RewardModelConfig) -> list[tuple[list[int], list[int]]]:
    """The newest completions of the training pairs, at most `normalisation_samples`."""
    every = [(t, (g.prompt, a)) for g in groups for t, a in zip(g.trajectory_ids, g.answers, strict=True)]
    newest = sorted(every, key=lambda item: -item[0])[: config.normalisation_samples]
    return [sequence for _, sequence in newest]


def score(context: Context, sequences: Sequence[tuple[list[int], list[int]]], config: RewardModelConfig) -> Tensor:
    """Raw rewards (N,) of (prompt, answer) pairs."""
    pad_id = context.tokenizer.pad_id
    return rewards(context.trunk, NAME, sequences, pad_id=pad_id, budget=config.micro_batch_tokens)


def head_start(
    context: Context, weight: Tensor, bias: Tensor, groups: Sequence[Group], config: RewardModelConfig
) -> None:
    """Set the fresh head to the linear probe of the training pairs; their answers then have mean reward 0."""
    sequences = [sequence for group in groups for sequence in group.sequences]
    budget = config.micro_batch_tokens
    states = end_states(context.trunk, None, sequences, pad_id=context.tokenizer.pad_id, budget=budget)
    first, second, target = pair_rows(groups)
    probe = fit_probe(states[first], states[second], torch.tensor(target), ridge=config.probe_ridge)
    with torch.no_grad():
        weight.copy_(probe[None])
        bias.fill_(-float((states @ probe).mean()))


def predictions(groups: Sequence[Group], scores: Sequence[float]) -> list[Json]:
    """One row per held-out judgement, with normalised scores: others can check them against other labels."""
    rows: list[Json] = []
    offset = 0
    for group in groups:
        mine = scores[offset : offset + len(group.answers)]
        offset += len(group.answers)
        rows += [
            {
                "preference_id": judgement.preference_id,
                "prompt_id": group.prompt_id,
                "first_trajectory_id": group.trajectory_ids[judgement.first],
                "second_trajectory_id": group.trajectory_ids[judgement.second],
                "score_first": mine[judgement.first],
                "score_second": mine[judgement.second],
                "target": judgement.target,
                "split": group.split,
            }
            for judgement in group.judged
        ]
    return rows


def store(
    context: Context,
    normalisation: Normalisation,
    metrics: dict[str, float],
    rows: list[Json],
    *,
    step: int,
) -> str:
    """Write the artefact: adapter, head, reward.json, predictions.jsonl. Returns its hash."""
    with context.store.stage() as directory:
        context.trunk.save_adapter(NAME, directory, step=step)
        head = context.trunk.head(NAME)
        save_file(
            {name: t.detach().cpu().contiguous() for name, t in head.state_dict().items()},
            directory / "head.safetensors",
        )
        about = {"normalisation": vars(normalisation), "metrics": metrics}
        (directory / "reward.json").write_text(json.dumps(about, indent=1))
        lines = (json.dumps(row) + "\n" for row in rows)
        (directory / "predictions.jsonl").write_text("".join(lines))
        return context.store.commit(directory)


def load_reward_model(trunk: Trunk, directory: Path) -> Normalisation:
    """Put a stored reward model on the trunk, frozen. Returns its normalisation."""
    trunk.load_adapter(NAME, directory)
    head = trunk.add_head(NAME)
    head.load_state_dict(load_file(directory / "head.safetensors"))
    for parameter in (*trunk.parameters_of(NAME), *head.parameters()):
        parameter.requires_grad_(False)
    return Normalisation(**json.loads((directory / "reward.json").read_text())["normalisation"])
