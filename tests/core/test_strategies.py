"""Strategies: from what is known of a prompt's completions to what tasks show."""

from collections import Counter
from itertools import pairwise
from typing import get_args

import pytest

from app.core.projects import ProjectSettings
from app.core.strategies import STRATEGIES, Pool, StrategyName


def test_every_name_has_its_strategy() -> None:
    assert set(STRATEGIES) == set(get_args(StrategyName))
    assert ProjectSettings().pool.strategy == "uniform"
    assert all(one.says.endswith(".") for one in STRATEGIES.values())


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("others", [(), (90, 91)])
def test_every_group_is_of_different_completions(name: str, size: int, others: tuple[int, ...]) -> None:
    for fresh in range(9):
        pool = Pool(7, fresh=range(fresh), others=others)
        for group in STRATEGIES[name].groups(pool, size):
            assert len(set(group)) == len(group) == size
            assert set(group) <= {*range(fresh), *others}


def test_uniform_uses_each_completion_twice_and_fewest_tasks_first() -> None:
    uniform = STRATEGIES["uniform"]
    pairs = uniform.groups(Pool(1, fresh=range(4), others=(90,)), 2)
    assert set(Counter(one for pair in pairs for one in pair).values()) == {2}
    assert not any(90 in pair for pair in pairs)
    assert uniform.turn(Pool(1, tasks=1, labels=50)) < uniform.turn(Pool(2, tasks=2, labels=0))


def test_least_labelled_takes_prompts_with_few_labels_first() -> None:
    turn = STRATEGIES["least_labelled"].turn
    assert turn(Pool(1, tasks=9, labels=1)) < turn(Pool(2, tasks=0, labels=2))


def test_live_vs_candidate_pairs_each_with_another_version() -> None:
    groups = STRATEGIES["live_vs_candidate"].groups
    pairs = groups(Pool(1, fresh=range(4), others=(90, 91)), 2)
    assert [sorted(pair)[0] for pair in pairs] == [0, 1, 2, 3]
    assert [max(pair) for pair in pairs] == [90, 91, 90, 91]
    places = [pair.index(max(pair)) for pair in pairs]
    assert all(first != second for first, second in pairwise(places)), "no position stands for a version"
    triples = groups(Pool(1, fresh=range(4), others=(90, 91)), 3)
    assert [sum(one >= 90 for one in group) for group in triples] == [1, 1]
    assert groups(Pool(1, fresh=range(4)), 2) == STRATEGIES["uniform"].groups(Pool(1, fresh=range(4)), 2)
