"""Chance that falls as a test wants it."""

import random


class Luck(random.Random):
    """Every draw from 0 to 1 gives `always`; choices among several follow from it."""

    def __init__(self, always: float) -> None:
        super().__init__(7)
        self.always = always

    def random(self) -> float:
        """The same, again and again."""
        return self.always
