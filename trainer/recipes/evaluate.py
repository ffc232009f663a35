"""The candidate against the live policy and the base model, on held-out prompts, by the reward model.

Left out on purpose: greedy decoding (people are served samples, so samples are judged), a second reward model.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from app.core.recipes import EvaluateConfig
from trainer import losses
from trainer.context import Context, RecipeError
from trainer.data import Prompt
from trainer.evaluate import repetition, win_rate
from trainer.packing import Sequences
from trainer.recipes.reward_model import NAME as REWARD
from trainer.recipes.reward_model import Normalisation
from trainer.rollout import sample
from trainer.scoring import answer_logprobs, rewards


@dataclass(frozen=True)
class Answers:
    """What one policy wrote: parallel lists, by prompt."""

    prompt_index: list[int]
    sequences: Sequences
    finished: list[bool]
    texts: list[str]
    scores: list[float]

    @property
    def length(self) -> float:
        """Mean tokens per answer."""
        return sum(len(answer) for _, answer in self.sequences) / len(self.sequences)


@dataclass(frozen=True)
class Evaluated:
    """The figures of the gate, and the artefact with all samples."""

    metrics: dict[str, float]
    digest: str


def evaluate(
    config: EvaluateConfig,
    prompts: Sequence[Prompt],
    normalisation: Normalisation,
    context: Context,
    *,
    candidate: str | None,
    live: str | None,
) -> Evaluated:
    """Sample, score and compare. `candidate` and `live` are adapters on the trunk; None is the base model.

    The same seed is used for all: two policies that compute alike write alike.
    """
    asked = list(prompts)[: config.prompts]
    if not asked:
        raise RecipeError("There are no held-out prompts to evaluate on.")
    context.report.start(4)
    context.report.progress(0, "sampling the base model")
    base = answer(config, asked, normalisation, context, None)
    context.report.progress(1, "sampling the live policy")
    now = base if live is None else answer(config, asked, normalisation, context, live)
    context.report.progress(2, "sampling the candidate")
    new = answer(config, asked, normalisation, context, candidate)
    context.report.progress(3, "comparing")

    rate, low, high = compare(new, now, normalisation, context.seed)
    against_base, _, _ = compare(new, base, normalisation, context.seed)
    metrics = {
        "evaluate/win_rate": rate,
        "evaluate/win_rate_low": low,
        "evaluate/win_rate_high": high,
        "evaluate/win_rate_base": against_base,
        "evaluate/kl": kl_to_base(config, new, context, candidate),
        "evaluate/score_candidate": mean(new.scores),
        "evaluate/score_live": mean(now.scores),
        "evaluate/score_base": mean(base.scores),
        "evaluate/length_ratio": new.length / now.length,
        "evaluate/end_rate": mean([float(f) for f in new.finished]),
        "evaluate/repetition": repetition(new.texts),
    }
    context.report.metrics(4, metrics)
    return Evaluated(metrics, store_samples(context, asked, {"base": base, "live": now, "candidate": new}))


def answer(
    config: EvaluateConfig, prompts: list[Prompt], normalisation: Normalisation, context: Context, adapter: str | None
) -> Answers:
    """Samples of one policy with their normalised scores."""
    tokenizer = context.tokenizer
    rollout = sample(
        context.trunk,
        [prompt.token_ids for prompt in prompts],
        eos_id=tokenizer.eos_id,
        n=config.samples_per_prompt,
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        seed=context.seed,
        adapter=adapter,
    )
    sequences = [(prompts[i].token_ids, t) for i, t in zip(rollout.prompt_index, rollout.token_ids, strict=True)]
    raw = rewards(context.trunk, REWARD, sequences, pad_id=tokenizer.pad_id, budget=config.micro_batch_tokens)
    texts = [tokenizer.decode(tokens) for tokens in rollout.token_ids]
    return Answers(rollout.prompt_index, sequences, rollout.finished, texts, normalisation.of(raw).tolist())


def compare(ours: Answers, theirs: Answers, normalisation: Normalisation, seed: int) -> tuple[float, float, float]:
    """Calibrated win rate and its interval."""
    return win_rate(
        ours.scores,
        theirs.scores,
        ours.prompt_index,
        theirs.prompt_index,
        temperature=normalisation.temperature,
        seed=seed,
    )


def kl_to_base(config: EvaluateConfig, answers: Answers, context: Context, adapter: str | None) -> float:
    """k1 per answer: sum over its tokens, mean over answers, in nats."""
    policy, base = (
        answer_logprobs(
            context.trunk,
            name,
            answers.sequences,
            pad_id=context.tokenizer.pad_id,
            budget=config.micro_batch_tokens,
            temperature=config.temperature,
        )
        for name in (adapter, None)
    )
    return float(losses.kl(policy.values, base.values).sum(1).mean())


def store_samples(context: Context, prompts: list[Prompt], written: dict[str, Answers]) -> str:
    """samples.json: per prompt what each policy wrote, its scores and lengths. Returns the artefact's hash."""
    rows = []
    for index, prompt in enumerate(prompts):
        row: dict[str, object] = {"prompt_id": prompt.prompt_id, "messages": prompt.messages}
        for name, answers in written.items():
            mine = [i for i, owner in enumerate(answers.prompt_index) if owner == index]
            row[name] = [
                {
                    "text": answers.texts[i],
                    "score": answers.scores[i],
                    "tokens": len(answers.sequences[i][1]),
                    "finished": answers.finished[i],
                }
                for i in mine
            ]
        rows.append(row)
    with context.store.stage() as directory:
        (directory / "samples.json").write_text(json.dumps({"samples": rows}, ensure_ascii=False, indent=1))
        return context.store.commit(directory)


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
