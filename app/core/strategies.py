"""Which completions go together into tasks, and which prompts come first: one strategy is one entry of STRATEGIES.

A strategy sees ids and counts, never texts. It is chosen in a project's settings and stored with each task it proposed.
Left out: pairing by the disagreement of several reward models, as long as no scores of completions are stored.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from app.core.words import N_

StrategyName = Literal["uniform", "least_labelled", "live_vs_candidate"]


@dataclass(frozen=True)
class Pool:
    """What is known of one prompt's completions. Both lists are in the order in which they should be used."""

    prompt_id: int
    fresh: Sequence[int] = ()
    """Of the live policy, and in no task yet."""
    others: Sequence[int] = ()
    """Of other versions: first those that never stood beside one of the live policy, the newest version first."""
    tasks: int = 0
    """Tasks with completions of the live policy."""
    labels: int = 0
    """Answers that tasks on this prompt have, or still wait for, whichever version wrote them."""


@dataclass(frozen=True)
class Strategy:
    """`turn`: the prompts with the smallest are next. `groups`: which completions each task of K answers shows."""

    name: StrategyName
    title: str
    says: str
    turn: Callable[[Pool], int]
    groups: Callable[[Pool, int], list[tuple[int, ...]]]
    needs_labels: bool = False
    """Whether `turn` looks at labels: they are counted only then."""
    needs_others: bool = False
    """Whether `groups` looks at other versions' completions: they are read only then."""


def neighbours(pool: Pool, size: int) -> list[tuple[int, ...]]:
    """For two answers a ring of pairs, for more groups in which each completion stands once.

    A group already compares each text with `size` − 1 others. What is left over waits for the next completions.
    """
    fresh = pool.fresh
    if size == 0:
        return [()]
    if size == 2:
        return list(ring(fresh))
    return [tuple(fresh[start : start + size]) for start in range(0, len(fresh) - size + 1, size)]


def ring(completions: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of neighbours on a ring, every other one first: each completion stands in two pairs (of two: in one).

    Writing costs a model seconds, judging costs a person seconds: so each text is judged twice, against two others.
    """
    count = len(completions)
    if count <= 2:
        return [(completions[0], completions[1])] if count == 2 else []
    turns = [*range(0, count, 2), *range(1, count, 2)]
    return [(completions[i], completions[(i + 1) % count]) for i in turns]


def against_others(pool: Pool, size: int) -> list[tuple[int, ...]]:
    """One completion of another version and `size` − 1 of the live policy; neighbours where no other version wrote.

    The other version's place among the positions goes round, so that no position stands for a version.
    """
    if not pool.others or size < 2:
        return neighbours(pool, size)
    made: list[tuple[int, ...]] = []
    for start in range(0, len(pool.fresh) - size + 2, size - 1):
        group = list(pool.fresh[start : start + size - 1])
        group.insert((pool.prompt_id + len(made)) % size, pool.others[len(made) % len(pool.others)])
        made.append(tuple(group))
    return made


STRATEGIES: dict[str, Strategy] = {
    one.name: one
    for one in (
        Strategy(
            "uniform",
            N_("Uniform"),
            N_("Answers of the live policy against each other; prompts with the fewest tasks come first."),
            turn=lambda pool: pool.tasks,
            groups=neighbours,
        ),
        Strategy(
            "least_labelled",
            N_("Least labelled"),
            N_("The same pairs, but prompts with the fewest labels of any version come first."),
            turn=lambda pool: pool.labels,
            groups=neighbours,
            needs_labels=True,
        ),
        Strategy(
            "live_vs_candidate",
            N_("Live against another version"),
            N_("One answer of the live policy, one of another version. Uniform where no other version answered."),
            turn=lambda pool: pool.tasks,
            groups=against_others,
            needs_others=True,
        ),
    )
}
"""Every strategy by its name. A further one joins here and in StrategyName."""
