"""RLOO on the policy adapter: REINFORCE on whole answers, each measured against the others to the same prompt.

Ahmadian et al. 2024, "Back to Basics: Revisiting REINFORCE Style Optimization for Learning from Human Feedback";
the baseline after Kool et al. 2019. An answer is one action with one reward, R = score − β · log π(y)/π_ref(y), and

    gradient = mean over answers of (R_i − mean of the others' R) · ∇ log π(y_i).

No critic and no credit to single tokens, so an update costs one pass of the policy. Sampling, judging, the leash, what
is checked and which weights become the candidate are PPO's (trainer/recipes/ppo.py).
"""

from dataclasses import asdict
from pathlib import Path

from app.core.recipes import RlooConfig
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
from trainer.data import Prompt, next_prompts
from trainer.experience import POLICY, check, judge, speak
from trainer.mix import make_mix
from trainer.recipes.reward_model import Normalisation
from trainer.rewards import make_rewards
from trainer.updates import learn, rloo_teaching


def train_policy_rloo(
    config: RlooConfig,
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

    # 1. Policy and optimiser, fresh or the checkpoint's.
    saved = context.checkpoints.load()
    state = State(config.kl_coefficient) if saved is None else State(**saved.state)
    prepare_policy(config, context, start, saved)
    optimiser = make_optimiser(config, [{"params": trunk.parameters_of(POLICY)}], saved)

    while state.step < config.steps and not state.stopped:
        step, watch, where = state.step, Stopwatch(), f"step {state.step + 1} of {config.steps}"
        set_rates(config, optimiser, [config.learning_rate], step)

        # 2. Speak: k answers to every prompt.
        report.progress(step, f"{where}: sampling")
        picked = next_prompts(prompts, state.cursor, config.prompts_per_step, context.seed)
        rollout = speak(context, picked, config, step)
        figures = {"time/sampling": watch.lap()}

        # 3. Judge, and check before anything is learned.
        report.progress(step, f"{where}: judging")
        experience = judge(
            context, picked, rollout, normalisation, config=config, rewards=terms, critic=None, step=step
        )
        figures["policy/sampler_error"] = check(experience, config, trunk.dtype, fresh=step == 0 and start is None)

        # 4. One reward an answer, the leash in it (unless it is a loss).
        scores, penalties = with_penalties(experience, config), penalty(config, experience, state.coefficient)
        rewards = scores - penalties.sum(1)
        figures |= objective_figures(experience, scores, penalties, state.coefficient)
        kl = figures["objective/kl"]

        # 5. The weights that wrote this batch have been measured now: remember the best, stop beyond the budget.
        remember(context, state, config, score=figures["objective/score"], kl=kl)
        if kl > config.kl_stop:
            state.stopped = f"KL {kl:.1f} went beyond {config.kl_stop:g} nats at step {step + 1}."
            state.figures = figures
            report.metrics(step + 1, figures)
            break

        # 6. Credit: better or worse than the other answers to the same prompt.
        advantages = losses.leave_one_out(rewards, config.samples_per_prompt)
        if config.normalise_advantages:
            advantages = advantages / advantages.std(correction=0).clamp(min=1e-8)
        figures["time/scoring"] = watch.lap()

        # 7. Learn.
        report.progress(step, f"{where}: learning")
        teach = rloo_teaching(config, experience, advantages=advantages, coefficient=state.coefficient)
        figures |= learn(config, context, experience, teach, optimiser=optimiser, critic=[], mix=mix, step=step)
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
            context.checkpoints.save(everything(config, context, optimiser), asdict(state))

    # 9. The candidate.
    report.progress(config.steps, "storing the candidate")
    return hand_over(config, context, state, prompts)
