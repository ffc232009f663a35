"""The inner loop of PPO and RLOO: epochs, minibatches and micro-batches over one batch of experience."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from app.core.recipes import PolicyConfig, PpoConfig, RlooConfig
from trainer import losses
from trainer.averaging import follow
from trainer.context import Context, RecipeError, must_be_number
from trainer.critics import Critic
from trainer.data import Batch
from trainer.experience import POLICY, Experience, cut, minibatches
from trainer.mix import Mix


@dataclass(frozen=True)
class Size:
    """Of a whole optimiser step: losses are divided by it, so that micro-batches change nothing."""

    tokens: Tensor
    answers: int


Teach = Callable[[list[int], Batch, Tensor, Tensor, Size], dict[str, float]]
"""Differentiates the loss of one micro-batch: rows of the experience, the batch, new log-probs, the policy's states,
and the step's size → its share of the figures."""


def learn(
    config: PolicyConfig,
    context: Context,
    experience: Experience,
    teach: Teach,
    *,
    optimiser: torch.optim.Optimizer,
    critic: list[torch.nn.Parameter],
    mix: Mix | None,
    step: int,
) -> dict[str, float]:
    """`epochs` passes over the batch, one optimiser step per minibatch; ends early when the policy moved too far."""
    trunk, policy = context.trunk, context.trunk.parameters_of(POLICY)
    seen: list[dict[str, float]] = []
    for epoch in range(config.epochs):
        for number, rows in enumerate(minibatches(config, len(experience.sequences), context.seed, step, epoch)):
            size = Size(experience.mask[rows].sum(), len(rows))
            sums: dict[str, float] = {}
            mine = [experience.sequences[row] for row in rows]
            for places, batch in cut(context, mine, rows, config.micro_batch_tokens):
                with trunk.use(POLICY):
                    states = batch.at_answer(trunk.read(batch))
                new, _ = trunk.token_logprobs(states, batch.targets, batch.mask, config.temperature)
                add(sums, teach(places, batch, new, states, size))
            if mix is not None:
                place = (step * config.epochs + epoch) * config.minibatches + number
                sums["ptx/loss"] = mix.teach(config, context, POLICY, place)
            must_be_number(sum(value for name, value in sums.items() if name.endswith("loss")), step + 1)
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
            follow(config, trunk)
            seen.append(sums)
    return averaged(seen)


def ppo_teaching(
    config: PpoConfig,
    experience: Experience,
    critic: Critic,
    *,
    advantages: Tensor,
    returns: Tensor,
    coefficient: float,
) -> Teach:
    """PPO's clipped loss, the leash where it is a loss, and the critic's."""

    def teach(rows: list[int], batch: Batch, new: Tensor, states: Tensor, size: Size) -> dict[str, float]:
        width, mask = batch.mask.shape[1], batch.mask
        old, credit = experience.old[rows, :width], advantages[rows, :width]
        made = losses.policy_loss(
            new, old, credit, mask, clip=config.clip_ratio, total=size.tokens, dual_clip=config.dual_clip
        )
        # What the critic reads of the policy must be taken before its graph is freed.
        together = critic.shares_policy()
        loss = made.loss + leash(
            config, experience, rows, new=new, mask=mask, coefficient=coefficient, total=size.tokens
        )
        if not together:
            loss.backward()  # type: ignore[no-untyped-call]
        judged = None if experience.features is None else experience.features[rows, :width]
        value_loss, held = losses.value_loss(
            critic.read(batch, states, judged),
            experience.values[rows, :width],
            returns[rows, :width],
            mask,
            clip=config.clip_value,
            total=size.tokens,
        )
        weighted = config.value_coefficient * value_loss
        (loss + weighted if together else weighted).backward()  # type: ignore[no-untyped-call]
        sums = {"value/loss": float(value_loss.detach()), "value/clip_fraction": float(held / size.tokens)}
        return sums | shares(made, moved=size.tokens, acted=size.tokens)

    return teach


def rloo_teaching(config: RlooConfig, experience: Experience, *, advantages: Tensor, coefficient: float) -> Teach:
    """REINFORCE on whole answers, and the leash where it is a loss. `advantages`: (N,)."""

    def teach(rows: list[int], batch: Batch, new: Tensor, _states: Tensor, size: Size) -> dict[str, float]:
        old = experience.old[rows, : batch.mask.shape[1]]
        made = losses.sequence_loss(new, old, advantages[rows], batch.mask, clip=config.clip_ratio, total=size.answers)
        loss = made.loss + leash(
            config, experience, rows, new=new, mask=batch.mask, coefficient=coefficient, total=size.answers
        )
        loss.backward()  # type: ignore[no-untyped-call]
        return shares(made, moved=size.tokens, acted=size.answers)

    return teach


def leash(
    config: PolicyConfig,
    experience: Experience,
    rows: list[int],
    *,
    new: Tensor,
    mask: Tensor,
    coefficient: float,
    total: Tensor | int,
) -> Tensor:
    """β · KL as a loss; 0 where the leash is part of the reward."""
    if config.kl_place != "loss":
        return new.new_zeros(())
    width = mask.shape[1]
    old, reference = experience.old[rows, :width], experience.reference[rows, :width]
    return coefficient * losses.kl_loss(new, old, reference, mask, estimator=config.kl_estimator, total=total)


def shares(made: losses.PolicyLoss, *, moved: Tensor, acted: Tensor | int) -> dict[str, float]:
    """A micro-batch's part of its step's figures: `moved` tokens in all, and `acted` actions (tokens, or answers)."""
    parts = {
        "policy/loss": made.loss.detach(),
        "policy/approx_kl": made.approx_kl / moved,
        "policy/clip_fraction": made.clipped / acted,
        "policy/ratio_mean": made.ratio / acted,
        "ratio_square": made.ratio_square / acted,
        "policy/ratio_max": made.ratio_max,
        "drift": made.drift,
    }
    return {name: float(part) for name, part in parts.items()}


def add(sums: dict[str, float], parts: dict[str, float]) -> None:
    """Add a micro-batch to the figures of its optimiser step; of maxima the largest."""
    for name, part in parts.items():
        largest = name in ("policy/ratio_max", "drift")
        sums[name] = max(sums.get(name, 0.0), part) if largest else sums.get(name, 0.0) + part


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
