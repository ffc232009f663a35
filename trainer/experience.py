"""What PPO and RLOO learn from: a batch of sampled answers, read once by policy, reference, reward model and critic.

The answers are cut into the very micro-batches of the first epoch, so that the policy's forward pass here and there are
the same computation and the first ratio is exactly 1, in every dtype.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from app.core.recipes import PolicyConfig
from trainer.context import Context, RecipeError
from trainer.critics import Critic
from trainer.data import Batch, Prompt, pad, shuffled, token_batches
from trainer.recipes.reward_model import NAME as REWARD
from trainer.recipes.reward_model import Normalisation
from trainer.rewards import Rewards, Written
from trainer.rewards.written import as_text
from trainer.rollout import Rollout, sample

POLICY, BEST, AVERAGE = "policy", "best", "average"
"""Names of the adapters of a run that trains a policy."""


@dataclass(frozen=True)
class Experience:
    """N answers of at most R tokens. Matrices are (N, R) fp32, 0 where `mask` is False."""

    sequences: list[tuple[list[int], list[int]]]
    finished: Tensor  # (N,) bool: ended by itself
    mask: Tensor
    sampled: Tensor  # log-probs that the sampler reported
    old: Tensor  # the same under the trainer's own forward pass: what ratios are measured against
    reference: Tensor
    entropy: Tensor
    values: Tensor  # read before each token; 0 without a critic
    scores: Tensor  # (N,) weighted sums of the reward terms, before penalties
    terms: dict[str, float]  # mean and deviation of every term
    features: Tensor | None  # (N, R, d) hidden states of the reward model, for the critic that reads them

    @property
    def lengths(self) -> Tensor:
        """(N,) tokens per answer."""
        return self.mask.sum(1)


def speak(context: Context, prompts: list[Prompt], config: PolicyConfig, step: int) -> Rollout:
    """Samples of the policy: nothing filtered, so that the log-probs are those of what was sampled."""
    return sample(
        context.trunk,
        [prompt.token_ids for prompt in prompts],
        eos_id=context.tokenizer.eos_id,
        n=config.samples_per_prompt,
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        seed=context.seed * 10_007 + step,
        adapter=POLICY,
    )


def minibatches(config: PolicyConfig, count: int, *seed: int) -> list[list[int]]:
    """A fresh shuffle of all answers, cut into `minibatches` of equal size: one optimiser step each."""
    order, size = shuffled(count, *seed), count // config.minibatches
    return [order[start : start + size] for start in range(0, count, size)]


def cut(
    context: Context, sequences: list[tuple[list[int], list[int]]], rows: list[int], budget: int
) -> list[tuple[list[int], Batch]]:
    """Micro-batches of some sequences, with the row number of each."""
    packed = context.trunk.packs(POLICY)
    return [
        ([rows[i] for i in part], pad([sequences[i] for i in part], context.tokenizer.pad_id, context.trunk.device))
        for part in token_batches(sequences, budget, packed=packed)
    ]


@torch.no_grad()
def judge(
    context: Context,
    prompts: list[Prompt],
    rollout: Rollout,
    normalisation: Normalisation,
    *,
    config: PolicyConfig,
    rewards: Rewards,
    critic: Critic | None,
    step: int,
) -> Experience:
    """One forward pass per adapter over every answer, then the reward terms."""
    trunk = context.trunk
    sequences = sequences_of(prompts, rollout)
    shape = (len(sequences), max(len(answer) for _, answer in sequences))
    sampled, old, reference, entropy, values = torch.zeros(5, *shape, device=trunk.device)
    mask = torch.zeros(shape, dtype=torch.bool, device=trunk.device)
    members = torch.zeros(len(sequences), 1, device=trunk.device)
    keep = critic is not None and critic.kind == "head"
    features = torch.zeros(*shape, trunk.width, device=trunk.device) if keep else None
    for minibatch in minibatches(config, len(sequences), context.seed, step, 0):
        mine = [sequences[row] for row in minibatch]
        for rows, batch in cut(context, mine, minibatch, config.micro_batch_tokens):
            width = batch.mask.shape[1]
            mask[rows, :width] = batch.mask
            with trunk.use(None):
                states = batch.at_answer(trunk.read(batch))
            reference[rows, :width], _ = trunk.token_logprobs(states, batch.targets, batch.mask, config.temperature)
            with trunk.use(POLICY):
                states = batch.at_answer(trunk.read(batch))
            old[rows, :width], entropy[rows, :width] = trunk.token_logprobs(
                states, batch.targets, batch.mask, config.temperature
            )
            judged = None
            if rewards.ask_model or keep:
                with trunk.use(REWARD):
                    hidden = trunk.read(batch)
                members[rows] = normalisation.of(trunk.head(REWARD)(batch.at_end(hidden)))
                judged = batch.at_answer(hidden).float()
            if features is not None and judged is not None:
                features[rows, :width] = judged
            if critic is not None:
                values[rows, :width] = torch.where(batch.mask, critic.read(batch, states, judged), 0)
    for row, logprobs in enumerate(rollout.logprobs):
        sampled[row, : len(logprobs)] = torch.tensor(logprobs)
    scores, terms = rewards.of(as_written(context, prompts, rollout, members.cpu() if rewards.ask_model else None))
    finished, scores = torch.tensor(rollout.finished, device=trunk.device), scores.to(trunk.device)
    return Experience(sequences, finished, mask, sampled, old, reference, entropy, values, scores, terms, features)


def sequences_of(prompts: Sequence[Prompt], rollout: Rollout) -> list[tuple[list[int], list[int]]]:
    """(prompt, answer) tokens of every answer."""
    return [
        (prompts[index].token_ids, tokens)
        for index, tokens in zip(rollout.prompt_index, rollout.token_ids, strict=True)
    ]


def as_written(context: Context, prompts: Sequence[Prompt], rollout: Rollout, members: Tensor | None) -> Written:
    """A rollout as reward terms see it."""
    return Written(
        prompts=[as_text(prompts[index]) for index in rollout.prompt_index],
        texts=[context.tokenizer.decode(tokens) for tokens in rollout.token_ids],
        lengths=torch.tensor([len(tokens) for tokens in rollout.token_ids]),
        finished=torch.tensor(rollout.finished),
        members=members,
    )


def check(experience: Experience, config: PolicyConfig, dtype: torch.dtype, *, fresh: bool) -> float:
    """The invariants that can be seen before learning. Returns the sampler's mean error per token; raises RecipeError.

    `fresh`: the policy is a new adapter that nothing has trained yet, so it must be the reference.
    """
    exact = dtype == torch.float32
    if fresh:
        apart = float((experience.old - experience.reference).abs().max())
        if not apart <= (1e-5 if exact else 1e-2):
            raise RecipeError(
                f"A fresh policy should equal the base model, but their log-probs differ by up to {apart:.4f}."
                " The adapter was not empty, or two forward passes do not compute the same."
            )
    error = float(((experience.sampled - experience.old).abs() * experience.mask).sum() / experience.mask.sum())
    allowed = 1e-3 if exact else config.sampler_tolerance
    if not error <= allowed:
        raise RecipeError(
            f"The sampler and the trainer disagree about the policy: their log-probs differ by {error:.4f} per token"
            f" ({allowed} is allowed). The answers were not drawn from the policy that would learn from them."
        )
    return error
