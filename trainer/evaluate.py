"""The named figures of an evaluation: calibrated win rate with its interval, repetition, KL of given answers."""

from collections.abc import Sequence

import torch

from app.core.statistics import clustered_bootstrap


def win_rate(
    candidate: Sequence[float],
    rival: Sequence[float],
    clusters: Sequence[int],
    rival_clusters: Sequence[int],
    *,
    temperature: float,
    seed: int,
) -> tuple[float, float, float]:
    """P(candidate better) by the calibrated reward model, and its 95 % interval.

    Per prompt: the mean of σ((candidate − rival) / T) over all pairs of their answers. Prompts, not answers, are drawn
    anew by the bootstrap, since answers to one prompt are alike. Scores are normalised rewards.
    """
    prompts = sorted(set(clusters))
    values = []
    for prompt in prompts:
        ours = torch.tensor([s for s, c in zip(candidate, clusters, strict=True) if c == prompt])
        theirs = torch.tensor([s for s, c in zip(rival, rival_clusters, strict=True) if c == prompt])
        values.append(float(torch.sigmoid((ours[:, None] - theirs[None]) / temperature).mean()))
    return clustered_bootstrap(values, prompts, seed=seed)


def repetition(texts: Sequence[str], size: int = 4) -> float:
    """Share of `size`-word sequences that stood before in the same text; 0 for texts that are too short to repeat."""
    repeated = whole = 0
    for text in texts:
        words = text.split()
        grams = [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]
        whole += len(grams)
        repeated += len(grams) - len(set(grams))
    return repeated / whole if whole else 0.0
