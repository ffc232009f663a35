"""How far people agree with each other, and what that leaves for any predictor of a single person's answer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import sqrt

from app.core.statistics import clustered_bootstrap
from trainer.data import Group


@dataclass(frozen=True)
class Agreement:
    """Of answers to the same pair by different people, ties left out."""

    pairs: int
    """Pairs of answers of the model that two people or more decided."""
    share: float
    """How often two people say the same."""
    low: float
    high: float
    """95 % interval, prompts drawn anew."""

    @property
    def ceiling(self) -> float:
        """No predictor can be right about single answers more often than this.

        A pair on which a share p of all people says "first" has agreement p² + (1 − p)² = ½ + 2 (p − ½)², and the best
        guess is right with ½ + |p − ½|. The mean of |p − ½| is at most the root of the mean of (p − ½)² (Jensen), with
        equality where every pair is equally clear. The share itself is the other bound: max(p, 1 − p) ≥ p² + (1 − p)².
        """
        return 0.5 + sqrt(max(self.share - 0.5, 0.0) / 2)


def agreement_of_people(groups: Sequence[Group]) -> Agreement | None:
    """None where no pair was decided by two people. Of one person's answers to the same pair the newest counts."""
    alike: list[float] = []
    prompts: list[int] = []
    shared = 0
    for group, votes in votes_by_pair(groups):
        found = [float(one == other) for one, other in combinations(votes.values(), 2)]
        alike += found
        prompts += [group.prompt_id] * len(found)
        shared += bool(found)
    if not alike:
        return None
    share, low, high = clustered_bootstrap(alike, prompts)
    return Agreement(shared, share, low, high)


def votes_by_pair(groups: Sequence[Group]) -> Iterator[tuple[Group, dict[int, bool]]]:
    """Each pair of answers that somebody decided: annotator → whether the one with the lower row is better."""
    for group in groups:
        votes: dict[tuple[int, int], dict[int, bool]] = {}
        for judged in sorted(group.judged, key=lambda one: one.preference_id):
            if judged.target != 0.5:
                pair = min(judged.first, judged.second), max(judged.first, judged.second)
                upright = judged.first == pair[0]
                votes.setdefault(pair, {})[judged.annotator] = (judged.target > 0.5) == upright
        yield from ((group, found) for found in votes.values())
