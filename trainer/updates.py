"""The inner loop of PPO: epochs, minibatches and micro-batches over one batch of experience."""

import torch
from torch import Tensor

from app.core.recipes import PpoConfig
from trainer import losses
from trainer.context import Context, RecipeError, must_be_number
from trainer.data import Batch
from trainer.experience import POLICY, VALUE, Experience, cut, minibatches


def learn(
    config: PpoConfig,
    context: Context,
    experience: Experience,
    *,
    advantages: Tensor,
    returns: Tensor,
    optimiser: torch.optim.Optimizer,
    critic: list[torch.nn.Parameter],
    step: int,
) -> dict[str, float]:
    """`epochs` passes over the batch, one optimiser step per minibatch; ends early when the policy moved too far."""
    trunk, policy = context.trunk, context.trunk.parameters_of(POLICY)
    seen: list[dict[str, float]] = []
    for epoch in range(config.epochs):
        for rows in minibatches(config, len(experience.sequences), context.seed, step, epoch):
            total = experience.mask[rows].sum()
            sums: dict[str, float] = {}
            for places, batch in cut(
                context, [experience.sequences[row] for row in rows], rows, config.micro_batch_tokens
            ):
                width = batch.mask.shape[1]
                with trunk.use(POLICY):
                    states = batch.at_answer(trunk.read(batch))
                new, _ = trunk.token_logprobs(states, batch.targets, batch.mask, config.temperature)
                old, credit = experience.old[places, :width], advantages[places, :width]
                made = losses.policy_loss(new, old, credit, batch.mask, clip=config.clip_ratio, total=total)
                made.loss.backward()  # type: ignore[no-untyped-call]
                values = read_values(context, experience, places, batch)
                value_loss, held = losses.value_loss(
                    values,
                    experience.values[places, :width],
                    returns[places, :width],
                    batch.mask,
                    clip=config.clip_value,
                    total=total,
                )
                (config.value_coefficient * value_loss).backward()  # type: ignore[no-untyped-call]
                add(sums, made, value_loss, held, total)
            must_be_number(sums["policy/loss"] + sums["value/loss"], step + 1)
            if not seen:
                first_ratio(sums["drift"], trunk.dtype)
            if sums["policy/approx_kl"] > config.approx_kl_stop:
                optimiser.zero_grad()
                return averaged([*seen, sums])
            norm = torch.nn.utils.clip_grad_norm_(policy, config.gradient_clip)
            torch.nn.utils.clip_grad_norm_(critic, config.gradient_clip)
            sums["policy/gradient_norm"] = must_be_number(float(norm), step + 1)
            optimiser.step()
            optimiser.zero_grad()
            seen.append(sums)
    return averaged(seen)


def read_values(context: Context, experience: Experience, rows: list[int], batch: Batch) -> Tensor:
    """What the critic expects before each token: on the reward model's kept states, or by a pass of its own adapter."""
    head, width = context.trunk.head(VALUE), batch.mask.shape[1]
    if experience.features is not None:
        values: Tensor = head(experience.features[rows, :width])
        return values
    with context.trunk.use(VALUE):
        own: Tensor = head(batch.at_answer(context.trunk.read(batch)))
        return own


def add(sums: dict[str, float], made: losses.PolicyLoss, value_loss: Tensor, held: Tensor, total: Tensor) -> None:
    """Add a micro-batch to the figures of its optimiser step; all are shares of the step's `total` tokens."""
    parts = {
        "policy/loss": made.loss.detach(),
        "policy/approx_kl": made.approx_kl / total,
        "policy/clip_fraction": made.clipped / total,
        "policy/ratio_mean": made.ratio / total,
        "ratio_square": made.ratio_square / total,
        "value/loss": value_loss.detach(),
        "value/clip_fraction": held / total,
    }
    for name, part in parts.items():
        sums[name] = sums.get(name, 0.0) + float(part)
    for name, largest in (("policy/ratio_max", made.ratio_max), ("drift", made.drift)):
        sums[name] = max(sums.get(name, 0.0), float(largest))


def averaged(seen: list[dict[str, float]]) -> dict[str, float]:
    """Means over the passes of a step (the largest of maxima), and the drift of the very first."""
    names = {name for sums in seen for name in sums} - {"drift", "ratio_square"}
    figures = {
        name: (max if name.endswith("_max") else mean)([sums[name] for sums in seen if name in sums]) for name in names
    }
    squares = mean([sums["ratio_square"] for sums in seen])
    figures["policy/ratio_variance"] = max(0.0, squares - figures["policy/ratio_mean"] ** 2)
    figures["policy/ratio_first"] = seen[0]["drift"]
    return figures


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def first_ratio(drift: float, dtype: torch.dtype) -> None:
    """Before anything was learned from a batch the policy is the one that wrote it; else RecipeError."""
    if not drift <= (1e-5 if dtype == torch.float32 else 1e-2):
        raise RecipeError(
            f"Before the first update on a batch every probability ratio must be 1, but one is off by {drift:.4f}."
            " Judging and learning do not compute the same policy."
        )
