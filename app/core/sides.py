"""Which answer stands where: drawn for every hand-out, balanced for each person, and never to be foreseen."""

import random

REMEMBERED = 16
"""So many of a person's newest hand-outs decide how the next draw leans."""
EVENING = 2 / 3
"""How likely the rarer order of two becomes (a biased coin, Efron 1971): balance without a pattern to learn."""


def draw_order(segments: int, lean: int, chance: random.Random) -> list[int]:
    """A display order: item i is the position of the segment that is shown i-th.

    `lean`: how much more often than the second the first of two segments came first lately. More than two segments are
    in any order alike.
    """
    if segments != 2 or lean == 0:
        return chance.sample(range(segments), segments)
    first_leads = chance.random() < (1 - EVENING if lean > 0 else EVENING)
    return [0, 1] if first_leads else [1, 0]
