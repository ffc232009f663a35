"""Intervals against published values and against their own promise."""

import numpy as np
import pytest

from app.core.statistics import clustered_bootstrap, wilson


def test_wilson_equals_the_published_example() -> None:
    """Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)


def test_wilson_stays_inside_and_knows_nothing_without_data() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 10)[0] == 0.0
    assert wilson(10, 10)[1] == pytest.approx(1.0)


def test_clusters_widen_the_interval() -> None:
    rng = np.random.default_rng(1)
    effects = rng.normal(size=40)
    values = [float(effect) for effect in effects for _ in range(10)]
    clusters = [number for number in range(40) for _ in range(10)]
    _, low, high = clustered_bootstrap(values, clusters)
    _, low_alone, high_alone = clustered_bootstrap(values, list(range(400)))
    assert high - low > 2 * (high_alone - low_alone)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    hits = 0
    for trial in range(200):
        values = rng.normal(size=60).tolist()
        _, low, high = clustered_bootstrap(values, list(range(60)), draws=500, seed=trial)
        hits += low <= 0 <= high
    assert 180 <= hits <= 198


def test_nothing_has_no_interval() -> None:
    with pytest.raises(ValueError, match="at least one"):
        clustered_bootstrap([], [])
