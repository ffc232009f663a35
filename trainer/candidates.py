"""What PPO and RLOO share around their loops: the start, what is remembered, and which weights are handed over."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from app.core.recipes import PolicyConfig
from trainer import checkpoints, losses
from trainer.context import Context, fall
from trainer.data import Prompt
from trainer.experience import AVERAGE, BEST, POLICY, Experience
from trainer.policies import store_policy

SLACK = 0.2
"""Standard deviations of score by which the smoothed score may lie below its best: that much is noise of 32 answers."""


@dataclass
class State:
    """What a checkpoint carries besides tensors."""

    coefficient: float
    step: int = 0
    cursor: int = 0
    """Prompts taken so far."""
    smoothed: float | None = None
    """Running mean of the scores."""
    best: float = float("-inf")
    best_step: int = 0
    stopped: str = ""
    """Why the run ended early."""
    figures: dict[str, float] = field(default_factory=dict)
    """Of the newest step."""


@dataclass(frozen=True)
class Trained:
    """The candidate's artefact, the adapter name it still has on the trunk, and its last figures."""

    digest: str
    adapter: str
    metrics: dict[str, float]
    stopped: str


def prepare_policy(config: PolicyConfig, context: Context, start: Path | None, saved: checkpoints.Saved | None) -> None:
    """Put the run's adapters on the trunk: the policy, its best so far, its average. A continued one keeps its rank."""
    trunk = context.trunk
    if start is None:
        trunk.add_adapter(POLICY, rank=config.lora_rank, alpha=config.lora_alpha, seed=context.seed)
    else:
        trunk.load_adapter(POLICY, start)
    rank, alpha = trunk.settings[POLICY]
    for name in adapters_of(config):
        if name != POLICY:
            trunk.copy_adapter(POLICY, name)
        if saved is not None:
            checkpoints.unpack_adapter(trunk, name, saved.tensors, rank=rank, alpha=alpha)


def adapters_of(config: PolicyConfig) -> tuple[str, ...]:
    """The adapters that a checkpoint holds."""
    return (POLICY, BEST, *((AVERAGE,) if config.ema_decay else ()))


def make_optimiser(
    config: PolicyConfig, groups: list[dict[str, Any]], saved: checkpoints.Saved | None
) -> torch.optim.Optimizer:
    """AdamW over groups with an "lr" each, as it was when the checkpoint was taken."""
    optimiser = torch.optim.AdamW(groups, eps=config.adam_epsilon, weight_decay=0.0, fused=True)
    if saved is not None:
        checkpoints.unpack_optimiser(optimiser, saved.tensors)
    return optimiser


def set_rates(config: PolicyConfig, optimiser: torch.optim.Optimizer, rates: list[float], step: int) -> None:
    """The learning rate of every group at this step."""
    for group, rate in zip(optimiser.param_groups, rates, strict=True):
        group["lr"] = fall(rate, step, config.steps, config.warmup_steps)


def everything(config: PolicyConfig, context: Context, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The tensors that a resumed run needs, a critic's apart."""
    tensors = checkpoints.pack_optimiser(optimiser)
    for name in adapters_of(config):
        tensors |= checkpoints.pack_adapter(context.trunk, name)
    return tensors


def with_penalties(experience: Experience, config: PolicyConfig) -> Tensor:
    """(N,) scores as they are learned from: clipped, and never above `missing_end_score` without an end token.

    OAI and N+ put the constant in place of the score; the smaller of the two never pays an answer for not ending.
    """
    scores = experience.scores.clamp(-config.reward_clip, config.reward_clip)
    return torch.where(experience.finished, scores, scores.clamp(max=config.missing_end_score))


def penalty(config: PolicyConfig, experience: Experience, coefficient: float) -> Tensor:
    """(N, R) β · KL as the reward subtracts it from every token; 0 where the leash is a loss."""
    if config.kl_place == "loss":
        return torch.zeros_like(experience.old)
    return coefficient * losses.kl(experience.old, experience.reference, config.kl_estimator)


def objective_figures(
    experience: Experience, scores: Tensor, penalties: Tensor, coefficient: float
) -> dict[str, float]:
    """What the policy that wrote this batch achieved. `penalties`: (N, R)."""
    apart = {name: losses.kl(experience.old, experience.reference, name).sum(1).mean() for name in ("k1", "k2", "k3")}
    figures = {
        "objective/score": experience.scores.mean(),
        "objective/rlhf_reward": (scores - penalties.sum(1)).mean(),
        "objective/non_score_reward": -penalties.sum(1).mean(),
        "objective/kl": apart["k1"],
        "objective/kl_k2": apart["k2"],
        "objective/kl_k3": apart["k3"],
        "objective/kl_coefficient": torch.tensor(coefficient),
        "objective/entropy": losses.masked_mean(experience.entropy, experience.mask),
        "answer/length": experience.lengths.float().mean(),
        "answer/end_rate": experience.finished.float().mean(),
    }
    return {name: float(value) for name, value in figures.items()} | experience.terms


def steer(config: PolicyConfig, state: State, kl: float, episodes: int) -> None:
    """The adaptive coefficient's next value."""
    if config.kl_adaptive:
        state.coefficient = losses.next_kl_coefficient(
            state.coefficient, kl, target=config.kl_target, horizon=config.kl_horizon, episodes=episodes
        )


def remember(context: Context, state: State, config: PolicyConfig, *, score: float, kl: float) -> None:
    """Copy the policy to `best` when its smoothed score is the highest so far, within the KL budget.

    With trials they decide instead (trainer.trials).
    """
    if config.trial_every:
        return
    state.smoothed = score if state.smoothed is None else (state.smoothed + score) / 2
    if kl <= config.kl_stop and state.smoothed >= state.best:
        state.best, state.best_step = state.smoothed, state.step
        context.trunk.copy_adapter(newest(config), BEST)


def newest(config: PolicyConfig) -> str:
    """The adapter that would be the candidate if training ended now."""
    return AVERAGE if config.candidate == "average" else POLICY


def hand_over(config: PolicyConfig, context: Context, state: State, prompts: list[Prompt]) -> Trained:
    """Store the candidate: the last weights while scores still rose, else the best that were measured.

    With trials always the best of them.
    """
    rose = not state.stopped and not config.trial_every and (state.smoothed or 0.0) >= state.best - SLACK
    adapter = newest(config) if rose else BEST
    digest = store_policy(context, config, prompts, adapter, step=state.step if rose else state.best_step)
    return Trained(digest, adapter, state.figures, state.stopped)
