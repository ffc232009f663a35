"""SFT: the policy learns to write like what people wrote and rewrote, by maximum likelihood on the assistant's tokens.

Micro-batches are sorted by length and the loss is divided by the learned tokens of the whole optimiser step, so that
cutting a step changes nothing. Left out on purpose: packing (micro-batches waste little), a mix of pre-training text.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from app.core.recipes import SftConfig
from trainer import checkpoints
from trainer.context import Context, RecipeError, fall, must_be_number
from trainer.conversations import Lesson, pad_lessons
from trainer.data import Prompt, epochs, micro_batches
from trainer.experience import POLICY
from trainer.policies import put_policy, store_policy


@dataclass(frozen=True)
class Imitated:
    """The policy's artefact and its figures."""

    digest: str
    metrics: dict[str, float]


def imitate(
    config: SftConfig, lessons: Sequence[Lesson], prompts: list[Prompt], context: Context, *, start: Path | None
) -> Imitated:
    """Train on the lessons of training prompts, measure on held-out ones, store the policy.

    `start` is the policy it goes on from; `prompts` are what the stored policy is probed with.
    """
    trunk, report = context.trunk, context.report
    fitting = [lesson for lesson in lessons if lesson.length <= trunk.max_length]
    training = [lesson for lesson in fitting if lesson.split == "train"]
    held_out = [lesson for lesson in fitting if lesson.split == "validation"]
    if not training or not held_out:
        raise RecipeError(
            "Imitation needs demonstrations on training prompts and on held-out prompts that fit the model;"
            f" {len(lessons) - len(fitting)} of {len(lessons)} are too long for it."
        )
    plan = list(epochs(len(training), config.batch_size, rounds=config.epochs, seed=context.seed))
    report.start(len(plan))

    # 1. Fresh weights, those of the policy it starts from, or those of the checkpoint; and where they stand now.
    saved = context.checkpoints.load()
    put_policy(context, POLICY, config, start, saved)
    if saved is None:
        report.progress(0, "measuring on held-out demonstrations")
        before = perplexity(context, held_out, config)
    else:
        before = saved.state["before"]
    parameters = trunk.parameters_of(POLICY)
    optimiser = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=0.0, fused=True)
    if saved is not None:
        checkpoints.unpack_optimiser(optimiser, saved.tensors)

    # 2. One optimiser step per batch of demonstrations; micro-batches only bound the memory.
    for step in range(saved.state["step"] if saved else 0, len(plan)):
        report.progress(step, f"step {step + 1} of {len(plan)}")
        rate = optimiser.param_groups[0]["lr"] = fall(config.learning_rate, step, len(plan))
        batch = [training[index] for index in plan[step]]
        tokens = sum(sum(lesson.taught) for lesson in batch)
        loss = 0.0
        for rows in micro_batches([lesson.length for lesson in batch], config.micro_batch_tokens):
            part = -likelihood(context, [batch[row] for row in rows]) / tokens
            part.backward()  # type: ignore[no-untyped-call]
            loss += float(part.detach())
        must_be_number(loss, step + 1)
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, config.gradient_clip))
        must_be_number(norm, step + 1)
        optimiser.step()
        optimiser.zero_grad()
        figures = {"sft/loss": loss, "sft/perplexity": math.exp(min(loss, 80.0)), "sft/learning_rate": rate}
        report.metrics(step + 1, {**figures, "sft/gradient_norm": norm})
        if (step + 1) % config.checkpoint_every == 0 or step + 1 == len(plan):
            tensors = checkpoints.pack_adapter(trunk, POLICY) | checkpoints.pack_optimiser(optimiser)
            context.checkpoints.save(tensors, {"step": step + 1, "before": before})

    # 3. What it learned that carries over to prompts it never saw.
    report.progress(len(plan), "measuring on held-out demonstrations")
    after = perplexity(context, held_out, config)
    metrics = {"sft/held_out_perplexity_before": before, "sft/held_out_perplexity": after}
    report.metrics(len(plan), metrics)
    return Imitated(store_policy(context, config, prompts, POLICY, step=len(plan)), metrics)


def likelihood(context: Context, lessons: Sequence[Lesson]) -> torch.Tensor:
    """The sum of the log-probs of all learned tokens under the policy, at temperature 1."""
    trunk = context.trunk
    batch, taught = pad_lessons(lessons, context.tokenizer.pad_id, trunk.device)
    with trunk.use(POLICY):
        states = batch.at_answer(trunk.read(batch))
        logprobs, _ = trunk.token_logprobs(states, batch.targets, taught)
    return logprobs.sum()


@torch.no_grad()
def perplexity(context: Context, lessons: Sequence[Lesson], config: SftConfig) -> float:
    """exp of the mean negative log-likelihood per learned token."""
    total = 0.0
    for rows in micro_batches([lesson.length for lesson in lessons], config.micro_batch_tokens):
        total += float(likelihood(context, [lessons[row] for row in rows]))
    return math.exp(min(-total / sum(sum(lesson.taught) for lesson in lessons), 80.0))
