"""Intervals for the figures that pages show: Wilson's for shares, a clustered bootstrap for everything else."""

from collections.abc import Sequence
from math import sqrt

import numpy as np

Z_95 = 1.959963984540054


def wilson(successes: float, trials: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927); (0, 1) when nothing was tried. Half successes are ties."""
    if trials <= 0:
        return 0.0, 1.0
    share = successes / trials
    centre = share + z * z / (2 * trials)
    spread = z * sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    below = 1 + z * z / trials
    return max(0.0, (centre - spread) / below), min(1.0, (centre + spread) / below)


def clustered_bootstrap(
    values: Sequence[float], clusters: Sequence[int], *, draws: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean and 95 % percentile interval, drawing whole clusters (prompts, annotators) with replacement.

    values, clusters: (n,), clusters[i] is the cluster of values[i]. Returns (mean, low, high) of the values.
    Raises ValueError when there are none. Source: Cameron, Gelbach & Miller 2008, section II.
    """
    if not values or len(values) != len(clusters):
        raise ValueError("Every value needs a cluster, and there must be at least one.")
    _, member = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.bincount(member, weights=np.asarray(values, dtype=np.float64))  # (clusters,)
    sizes = np.bincount(member)  # (clusters,)
    drawn = np.random.default_rng(seed).integers(0, len(sums), size=(draws, len(sums)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)  # (draws,)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(sums.sum() / sizes.sum()), float(low), float(high)
