"""Now and then, and at the end: the policy on a few prompts that it does not train on. The best trial is the candidate.

The prompts are taken out of the training prompts: the gate's own must not have chosen what the gate judges.
"""

from collections.abc import Sequence

from app.core.recipes import PolicyConfig
from trainer import losses
from trainer.candidates import State, newest
from trainer.context import Context, RecipeError
from trainer.data import Prompt
from trainer.experience import BEST, as_written, sequences_of
from trainer.recipes.reward_model import NAME as REWARD
from trainer.recipes.reward_model import Normalisation
from trainer.rewards import Rewards
from trainer.rollout import sample
from trainer.scoring import answer_logprobs, rewards

LEAST = 8
"""Prompts that must be left to train on."""


def set_apart(config: PolicyConfig, prompts: list[Prompt]) -> tuple[list[Prompt], list[Prompt]]:
    """(prompts to train on, prompts of trials): the last ones, which are the newest. Raises RecipeError."""
    if config.trial_every == 0:
        return prompts, []
    left = len(prompts) - config.trial_prompts
    if left < LEAST:
        raise RecipeError(
            f"Trials keep {config.trial_prompts} of {len(prompts)} training prompts for themselves, and {max(left, 0)}"
            f" are left to learn from; at least {LEAST} must be. Lower trial_prompts, or set trial_every to 0."
        )
    return prompts[:left], prompts[left:]


def due(config: PolicyConfig, step: int) -> bool:
    """Whether the weights after `step` steps are tried."""
    return config.trial_every > 0 and (step % config.trial_every == 0 or step == config.steps)


def hold_trial(
    config: PolicyConfig,
    context: Context,
    state: State,
    *,
    asked: Sequence[Prompt],
    normalisation: Normalisation,
    terms: Rewards,
) -> dict[str, float]:
    """Score and KL of the weights that would be the candidate now; the best within `kl_stop` are remembered.

    Every trial has the same seed, so that luck of the draw is shared.
    """
    trunk, tokenizer, adapter = context.trunk, context.tokenizer, newest(config)
    rollout = sample(
        trunk,
        [prompt.token_ids for prompt in asked],
        eos_id=tokenizer.eos_id,
        n=config.samples_per_prompt,
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        seed=context.seed * 10_007 - 1,
        adapter=adapter,
    )
    sequences = sequences_of(asked, rollout)
    budget, pad_id = config.micro_batch_tokens, tokenizer.pad_id
    members = None
    if terms.ask_model:
        members = normalisation.of(rewards(trunk, REWARD, sequences, pad_id=pad_id, budget=budget))[:, None]
    scores, _ = terms.of(as_written(context, asked, rollout, members))
    policy, base = (
        answer_logprobs(trunk, name, sequences, pad_id=pad_id, budget=budget, temperature=config.temperature).values
        for name in (adapter, None)
    )
    score, kl = float(scores.mean()), float(losses.kl(policy, base).sum(1).mean())
    if kl <= config.kl_stop and score >= state.best:
        state.best, state.best_step = score, state.step
        trunk.copy_adapter(adapter, BEST)
    return {"trial/score": score, "trial/kl": kl}
