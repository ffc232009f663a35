"""PPO on the policy adapter, against a frozen reward model, with the base model as the leash's other end.

Schulman et al. 2017; details after Ziegler et al. 2019 ("OAI") and Huang et al. 2024 ("N+"), each listed with its place
in docs/training.md. One trunk: no adapter = reference, `policy`, `reward` + head, `value` head (and adapter).

Left out on purpose: several machines, gradient checkpointing, a pre-training gradient mix, an average of the weights.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from app.core.recipes import PpoConfig
from trainer import checkpoints, losses
from trainer.context import Context, Stopwatch, fall
from trainer.data import Prompt, next_prompts
from trainer.experience import BEST, POLICY, VALUE, Experience, check, judge, speak
from trainer.policies import store_policy
from trainer.recipes.reward_model import NAME as REWARD
from trainer.recipes.reward_model import Normalisation
from trainer.updates import learn

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


def train_policy(  # noqa: PLR0915 - the recipe, read top to bottom
    config: PpoConfig, prompts: list[Prompt], normalisation: Normalisation, context: Context, *, start: Path | None
) -> Trained:
    """Train the policy on these prompts. The reward model is on the trunk; `start` is the live policy's adapter.

    Raises RecipeError when an invariant does not hold or a number is none.
    """
    trunk, report = context.trunk, context.report
    report.start(config.steps)

    # 1. Policy (the live one's adapter, or a fresh one that changes nothing), critic, optimiser; or the checkpoint's.
    state = State(coefficient=config.kl_coefficient)
    saved = context.checkpoints.load()
    prepare_policy(config, context, start, saved)
    critic = prepare_critic(config, context, normalisation, saved)
    policy = trunk.parameters_of(POLICY)
    groups = [{"params": policy, "lr": config.learning_rate}, {"params": critic, "lr": config.value_learning_rate}]
    optimiser = torch.optim.AdamW(groups, eps=config.adam_epsilon, weight_decay=0.0, fused=True)
    if saved is not None:
        checkpoints.unpack_optimiser(optimiser, saved.tensors)
        state = State(**saved.state)
    figures = state.figures

    for step in range(state.step, config.steps):
        if state.stopped:
            break
        watch, where = Stopwatch(), f"step {step + 1} of {config.steps}"
        optimiser.param_groups[0]["lr"] = fall(config.learning_rate, step, config.steps)
        optimiser.param_groups[1]["lr"] = fall(config.value_learning_rate, step, config.steps)

        # 2. Speak.
        report.progress(step, f"{where}: sampling")
        picked = next_prompts(prompts, state.cursor, config.prompts_per_step, context.seed)
        rollout = speak(context, picked, config, step)
        figures = {"time/sampling": watch.lap()}

        # 3. Judge: one pass each of policy, reference, reward model and critic. Check before anything is learned.
        report.progress(step, f"{where}: judging")
        experience = judge(context, picked, rollout, normalisation, config=config, step=step)
        fresh = step == 0 and start is None
        figures["policy/sampler_error"] = check(experience, config, trunk.dtype, fresh=fresh)

        # 4. Reward: the score once, at the end, and a leash at every token.
        scores = with_penalties(experience, config)
        token_kl = losses.kl(experience.old, experience.reference, config.kl_estimator)
        rewards = losses.token_rewards(scores, token_kl, experience.mask, state.coefficient)
        figures |= objective_figures(experience, scores, rewards, token_kl, state.coefficient)
        kl = figures["objective/kl"]

        # 5. The weights that wrote this batch have been measured now: remember the best, stop beyond the budget.
        remember(context, state, config, score=figures["objective/score"], kl=kl, step=step)
        if kl > config.kl_stop:
            state.stopped = f"KL {kl:.1f} went beyond {config.kl_stop:g} nats at step {step + 1}."
            report.metrics(step + 1, figures)
            break

        # 6. Credit each token.
        advantages, returns = losses.gae(
            rewards, experience.values, experience.mask, gamma=config.gamma, lam=config.lam
        )
        explained = losses.explained_variance(experience.values, returns, experience.mask)
        if config.whiten_advantages:
            advantages = losses.whiten(advantages, experience.mask)
        figures |= {"value/explained_variance": explained, "time/scoring": watch.lap()}

        # 7. Learn.
        report.progress(step, f"{where}: learning")
        figures |= learn(
            config,
            context,
            experience,
            advantages=advantages,
            returns=returns,
            optimiser=optimiser,
            critic=critic,
            step=step,
        )
        figures |= {"time/update": watch.lap(), "policy/learning_rate": optimiser.param_groups[0]["lr"]}

        # 8. Steer the leash, write down, checkpoint.
        if config.kl_adaptive:
            state.coefficient = losses.next_kl_coefficient(
                state.coefficient,
                kl,
                target=config.kl_target,
                horizon=config.kl_horizon,
                episodes=len(experience.sequences),
            )
        state.cursor += config.prompts_per_step
        state.step = step + 1
        figures["data/episodes"] = float(state.step * len(experience.sequences))
        state.figures = figures
        report.metrics(state.step, figures)
        if state.step % config.checkpoint_every == 0 or state.step == config.steps:
            context.checkpoints.save(everything(config, context, optimiser), asdict(state))

    # 9. The candidate: the last weights while scores still rose, else the best that were measured.
    report.progress(config.steps, "storing the candidate")
    rose = not state.stopped and (state.smoothed or 0.0) >= state.best - SLACK
    adapter = POLICY if rose else BEST
    digest = store_policy(context, config, prompts, adapter, step=state.step if rose else state.best_step)
    return Trained(digest, adapter, figures, state.stopped)


def prepare_policy(config: PpoConfig, context: Context, start: Path | None, saved: checkpoints.Saved | None) -> None:
    """Put the adapters `policy` and `best` on the trunk. A continued policy keeps its own rank."""
    trunk = context.trunk
    if start is None:
        trunk.add_adapter(POLICY, rank=config.lora_rank, alpha=config.lora_alpha, seed=context.seed)
    else:
        trunk.load_adapter(POLICY, start)
    rank, alpha = trunk.settings[POLICY]
    trunk.copy_adapter(POLICY, BEST)
    if saved is not None:
        for name in (POLICY, BEST):
            checkpoints.unpack_adapter(trunk, name, saved.tensors, rank=rank, alpha=alpha)


@torch.no_grad()
def prepare_critic(
    config: PpoConfig, context: Context, normalisation: Normalisation, saved: checkpoints.Saved | None
) -> list[torch.nn.Parameter]:
    """A critic with an adapter starts as the reward model (N+ detail 19), on the normalised scale; a head alone at 0
    (OAI): on the states within an answer the reward's head explains less than nothing (docs/experiments.md), and it
    could not adapt its states as an adapter can. Returns the critic's parameters."""
    trunk = context.trunk
    value, reward = trunk.add_head(VALUE), trunk.head(REWARD)
    if config.critic == "adapter":
        value.weight.copy_(reward.weight / normalisation.std)
        value.bias.copy_((reward.bias - normalisation.mean) / normalisation.std)
        trunk.copy_adapter(REWARD, VALUE)
    else:
        value.weight.zero_()
        value.bias.zero_()
    if saved is not None:
        checkpoints.unpack_head(value, VALUE, saved.tensors)
        if config.critic == "adapter":
            rank, alpha = trunk.settings[VALUE]
            checkpoints.unpack_adapter(trunk, VALUE, saved.tensors, rank=rank, alpha=alpha)
    return [*value.parameters(), *(trunk.parameters_of(VALUE) if config.critic == "adapter" else [])]


def everything(config: PpoConfig, context: Context, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """All tensors that a resumed run needs."""
    trunk = context.trunk
    tensors = checkpoints.pack_adapter(trunk, POLICY) | checkpoints.pack_adapter(trunk, BEST)
    tensors |= checkpoints.pack_head(trunk.head(VALUE), VALUE) | checkpoints.pack_optimiser(optimiser)
    return tensors | (checkpoints.pack_adapter(trunk, VALUE) if config.critic == "adapter" else {})


def with_penalties(experience: Experience, config: PpoConfig) -> Tensor:
    """(N,) scores as PPO sees them: clipped, and never above `missing_end_score` without an end token (EOS trick).

    OAI and N+ put the constant in place of the score; the smaller of the two never pays an answer for not ending.
    """
    scores = experience.scores.clamp(-config.reward_clip, config.reward_clip)
    return torch.where(experience.finished, scores, scores.clamp(max=config.missing_end_score))


def objective_figures(
    experience: Experience, scores: Tensor, rewards: Tensor, token_kl: Tensor, coefficient: float
) -> dict[str, float]:
    """What the policy that wrote this batch achieved."""
    mask, lengths = experience.mask, experience.lengths
    k3 = losses.kl(experience.old, experience.reference, "k3")
    figures = {
        "objective/score": experience.scores.mean(),
        "objective/rlhf_reward": rewards.sum(1).mean(),
        "objective/non_score_reward": (rewards.sum(1) - scores).mean(),
        "objective/kl": token_kl.sum(1).mean(),
        "objective/kl_k3": torch.where(mask, k3, 0).sum(1).mean(),
        "objective/kl_coefficient": torch.tensor(coefficient),
        "objective/entropy": losses.masked_mean(experience.entropy, mask),
        "answer/length": lengths.float().mean(),
        "answer/end_rate": experience.finished.float().mean(),
    }
    return {name: float(value) for name, value in figures.items()}


def remember(context: Context, state: State, config: PpoConfig, *, score: float, kl: float, step: int) -> None:
    """Copy the policy to `best` when its smoothed score is the highest so far, within the KL budget."""
    state.smoothed = score if state.smoothed is None else (state.smoothed + score) / 2
    if kl <= config.kl_stop and state.smoothed >= state.best:
        state.best, state.best_step = state.smoothed, step
        context.trunk.copy_adapter(POLICY, BEST)
