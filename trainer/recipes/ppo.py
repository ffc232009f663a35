"""PPO on the policy adapter, against a frozen reward model, with the base model as the leash's other end.

Schulman et al. 2017; details after Ziegler et al. 2019 ("OAI") and Huang et al. 2024 ("N+"), each listed with its place
in docs/training.md. One trunk: no adapter = reference, `policy`, `reward` + head, `value` head (and adapter).

Left out on purpose: several machines, gradient checkpointing, whitening of rewards.
"""

from dataclasses import asdict
from pathlib import Path

from app.core.recipes import PpoConfig
from trainer import losses, trials
from trainer.candidates import (
    State,
    Trained,
    everything,
    hand_over,
    make_optimiser,
    objective_figures,
    penalty,
    prepare_policy,
    remember,
    set_rates,
    steer,
    with_penalties,
)
from trainer.context import Context, Stopwatch
from trainer.critics import prepare_critic
from trainer.data import Prompt, next_prompts
from trainer.experience import POLICY, check, judge, speak
from trainer.mix import make_mix
from trainer.recipes.reward_model import Normalisation
from trainer.rewards import make_rewards
from trainer.updates import learn, ppo_teaching


def train_policy(  # noqa: PLR0915 - the recipe, read top to bottom
    config: PpoConfig,
    prompts: list[Prompt],
    normalisation: Normalisation,
    context: Context,
    *,
    start: Path | None,
) -> Trained:
    """Train the policy on these prompts. The reward model is on the trunk; `start` is the live policy's adapter.

    Raises RecipeError when an invariant does not hold or a number is none.
    """
    trunk, report = context.trunk, context.report
    report.start(config.steps)
    terms, mix = make_rewards(config.reward_terms, context.reward_modules), make_mix(config, context)
    prompts, held_out = trials.set_apart(config, prompts)

    # 1. Policy (the live one's adapter, or a fresh one that changes nothing), critic, optimiser; or the checkpoint's.
    saved = context.checkpoints.load()
    state = State(config.kl_coefficient) if saved is None else State(**saved.state)
    prepare_policy(config, context, start, saved)
    critic = prepare_critic(config, context, normalisation, saved)
    rates = [config.learning_rate, config.value_learning_rate]
    groups = [{"params": trunk.parameters_of(POLICY)}, {"params": critic.parameters()}]
    optimiser = make_optimiser(config, groups, saved)

    while state.step < config.steps and not state.stopped:
        step, watch, where = state.step, Stopwatch(), f"step {state.step + 1} of {config.steps}"
        set_rates(config, optimiser, rates, step)

        # 2. Speak.
        report.progress(step, f"{where}: sampling")
        picked = next_prompts(prompts, state.cursor, config.prompts_per_step, context.seed)
        rollout = speak(context, picked, config, step)
        figures = {"time/sampling": watch.lap()}

        # 3. Judge: one pass each of policy, reference, reward model and critic. Check before anything is learned.
        report.progress(step, f"{where}: judging")
        experience = judge(
            context, picked, rollout, normalisation, config=config, rewards=terms, critic=critic, step=step
        )
        figures["policy/sampler_error"] = check(experience, config, trunk.dtype, fresh=step == 0 and start is None)

        # 4. Reward: the score once, at the end, and a leash at every token.
        scores, penalties = with_penalties(experience, config), penalty(config, experience, state.coefficient)
        rewards = losses.token_rewards(scores, penalties, experience.mask, 1.0)
        figures |= objective_figures(experience, scores, penalties, state.coefficient)
        kl = figures["objective/kl"]

        # 5. The weights that wrote this batch have been measured now: remember the best, stop beyond the budget.
        remember(context, state, config, score=figures["objective/score"], kl=kl)
        if kl > config.kl_stop:
            state.stopped = f"KL {kl:.1f} went beyond {config.kl_stop:g} nats at step {step + 1}."
            state.figures = figures
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
        teach = ppo_teaching(
            config, experience, critic, advantages=advantages, returns=returns, coefficient=state.coefficient
        )
        figures |= learn(
            config, context, experience, teach, optimiser=optimiser, critic=critic.parameters(), mix=mix, step=step
        )
        figures |= {"time/update": watch.lap(), "policy/learning_rate": optimiser.param_groups[0]["lr"]}

        # 8. Steer the leash, try the new weights, write down, checkpoint.
        steer(config, state, kl, len(experience.sequences))
        state.cursor += config.prompts_per_step
        state.step = step + 1
        if trials.due(config, state.step):
            report.progress(step, f"{where}: on trial")
            figures |= trials.hold_trial(
                config, context, state, asked=held_out, normalisation=normalisation, terms=terms
            )
        figures["data/episodes"] = float(state.step * len(experience.sequences))
        state.figures = figures
        report.metrics(state.step, figures)
        if state.step % config.checkpoint_every == 0 or state.step == config.steps:
            context.checkpoints.save(everything(config, context, optimiser) | critic.tensors(), asdict(state))

    # 9. The candidate: the last weights while scores still rose, else the best that were measured.
    report.progress(config.steps, "storing the candidate")
    return hand_over(config, context, state, prompts)
