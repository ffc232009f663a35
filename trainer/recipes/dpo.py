"""DPO: the policy learns from comparisons directly, without sampling and without a reward model.

Rafailov et al. 2023; label smoothing after Mitchell ("cDPO"), IPO after Azar et al. 2023. The baseline of every other
way to learn a policy here. Left out on purpose: a likelihood term on chosen answers, margins from strength.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from app.core.recipes import DpoConfig
from trainer import checkpoints, losses
from trainer.context import Context, RecipeError, fall, must_be_number
from trainer.data import Group, Prompt, epochs, group_batches, pad
from trainer.experience import POLICY
from trainer.policies import put_policy, store_policy
from trainer.recipes.reward_model import pair_rows
from trainer.scoring import answer_logprobs


@dataclass(frozen=True)
class Preferred:
    """The policy's artefact and its figures."""

    digest: str
    metrics: dict[str, float]


def prefer(
    config: DpoConfig, groups: Sequence[Group], prompts: list[Prompt], context: Context, *, start: Path | None
) -> Preferred:
    """Train on the pairs of training prompts, measure on held-out ones, store the policy.

    `start` is the policy it goes on from; `prompts` are what the stored policy is probed with.
    """
    trunk, report = context.trunk, context.report
    groups = [group for group in (counted(group, config) for group in groups) if group.judged]
    training = [group for group in groups if group.split == "train"]
    held_out = [group for group in groups if group.split == "validation"]
    if not training or not held_out:
        raise RecipeError("DPO needs decided pairs on training prompts and on held-out prompts.")
    plan = list(epochs(len(training), config.batch_size, rounds=config.epochs, seed=context.seed))
    report.start(len(plan))

    # 1. The policy, and what its reference says of every answer, read once.
    saved = context.checkpoints.load()
    put_policy(context, POLICY, config, start, saved)
    if saved is None:
        report.progress(0, "reading every answer with the reference")
        reference = read(context, [*training, *held_out], config, POLICY if config.reference == "start" else None)
    else:
        reference = saved.tensors["reference"]
    kept = by_group([*training, *held_out], reference)
    parameters = trunk.parameters_of(POLICY)
    optimiser = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=0.0, fused=True)
    if saved is not None:
        checkpoints.unpack_optimiser(optimiser, saved.tensors)

    # 2. One optimiser step per batch of prompts; micro-batches of whole prompts only bound the memory.
    for step in range(saved.state["step"] if saved else 0, len(plan)):
        report.progress(step, f"step {step + 1} of {len(plan)}")
        rate = optimiser.param_groups[0]["lr"] = fall(config.learning_rate, step, len(plan))
        batch = [training[index] for index in plan[step]]
        pairs = sum(len(group.judged) for group in batch)
        loss, rewards = 0.0, []
        for part in group_batches(batch, config.micro_batch_tokens, packed=trunk.packs(POLICY)):
            ratios = log_ratios(context, part, kept, config)
            first, second, target = rows_of(part, ratios)
            cost = loss_of(first - second, target, config).sum() / pairs
            cost.backward()  # type: ignore[no-untyped-call]
            loss += float(cost.detach())
            rewards.append(implicit(first, second, target, config))
        must_be_number(loss, step + 1)
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, config.gradient_clip))
        must_be_number(norm, step + 1)
        optimiser.step()
        optimiser.zero_grad()
        figures = {"dpo/loss": loss, "dpo/learning_rate": rate, "dpo/gradient_norm": norm}
        report.metrics(step + 1, figures | shares(torch.cat(rewards, 1)))
        if (step + 1) % config.checkpoint_every == 0 or step + 1 == len(plan):
            tensors = checkpoints.pack_adapter(trunk, POLICY) | checkpoints.pack_optimiser(optimiser)
            context.checkpoints.save(tensors | {"reference": reference}, {"step": step + 1})

    # 3. What it orders as people did on prompts it never saw.
    report.progress(len(plan), "measuring on held-out pairs")
    metrics = measure(context, held_out, kept, config)
    report.metrics(len(plan), metrics)
    return Preferred(store_policy(context, config, prompts, POLICY, step=len(plan)), metrics)


def counted(group: Group, config: DpoConfig) -> Group:
    """The group with the judgements that count, and with the answers that they compare."""
    judged = [one for one in group.judged if config.ties == "soft" or one.target != 0.5]
    return Group(group.prompt_id, group.split, group.prompt, group.trajectory_ids, group.answers, judged)


@torch.no_grad()
def read(context: Context, groups: Sequence[Group], config: DpoConfig, adapter: str | None) -> Tensor:
    """(N,) the log-prob of every answer as a whole, in the order of groups and their answers, on the CPU."""
    reading = answer_logprobs(
        context.trunk,
        adapter,
        [sequence for group in groups for sequence in group.sequences],
        pad_id=context.tokenizer.pad_id,
        budget=config.micro_batch_tokens,
        temperature=config.temperature,
    )
    return reading.values.sum(1).cpu()


def by_group(groups: Sequence[Group], logprobs: Tensor) -> dict[int, Tensor]:
    """Those log-probs by group (its identity: a prompt may have several in a talk)."""
    parts = torch.split(logprobs, [len(group.answers) for group in groups])
    return {id(group): part for group, part in zip(groups, parts, strict=True)}


def log_ratios(context: Context, groups: Sequence[Group], reference: dict[int, Tensor], config: DpoConfig) -> Tensor:
    """(N,) log(policy / reference) of every answer, with its gradient; each answer goes through the trunk once."""
    trunk = context.trunk
    batch = pad([sequence for group in groups for sequence in group.sequences], context.tokenizer.pad_id, trunk.device)
    with trunk.use(POLICY):
        states = batch.at_answer(trunk.read(batch))
        logprobs, _ = trunk.token_logprobs(states, batch.targets, batch.mask, config.temperature)
    return logprobs.sum(1) - torch.cat([reference[id(group)] for group in groups]).to(trunk.device)


def rows_of(groups: Sequence[Group], ratios: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of every judgement: the log-ratios of its first and second answer, and its target."""
    first, second, target = pair_rows(groups)
    return ratios[first], ratios[second], torch.tensor(target, device=ratios.device)


def loss_of(difference: Tensor, target: Tensor, config: DpoConfig) -> Tensor:
    """(P,) the loss that the config names."""
    if config.loss == "ipo":
        return losses.ipo(difference, target, beta=config.beta)
    return losses.dpo(difference, target, beta=config.beta, smoothing=config.label_smoothing)


def implicit(first: Tensor, second: Tensor, target: Tensor, config: DpoConfig) -> Tensor:
    """(2, D) implicit rewards of the chosen and of the rejected answers of decided pairs, without gradient."""
    rewards = config.beta * torch.stack([first, second]).detach().cpu()
    decided = target.cpu() != 0.5
    turned = target.cpu() < 0.5
    return torch.where(turned, rewards.flip(0), rewards)[:, decided]


def shares(rewards: Tensor, name: str = "dpo/") -> dict[str, float]:
    """The metrics of some implicit rewards; nothing where no pair is decided."""
    if not rewards.shape[1]:
        return {}
    chosen, rejected = rewards
    figures = {"accuracy": float((chosen > rejected).float().mean()), "margin": float((chosen - rejected).mean())}
    if name == "dpo/":
        figures |= {"reward_chosen": float(chosen.mean()), "reward_rejected": float(rejected.mean())}
    return {name + key: value for key, value in figures.items()}


@torch.no_grad()
def measure(
    context: Context, groups: Sequence[Group], reference: dict[int, Tensor], config: DpoConfig
) -> dict[str, float]:
    """Loss, accuracy and margin of held-out pairs."""
    total, rewards = 0.0, []
    for part in group_batches(groups, config.micro_batch_tokens, packed=context.trunk.packs(POLICY)):
        first, second, target = rows_of(part, log_ratios(context, part, reference, config))
        total += float(loss_of(first - second, target, config).sum())
        rewards.append(implicit(first, second, target, config))
    pairs = sum(len(group.judged) for group in groups)
    return {"dpo/held_out_loss": total / pairs} | shares(torch.cat(rewards, 1), "dpo/held_out_")
