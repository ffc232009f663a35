"""What a simulated annotator likes, and what it says about texts: an order, a grade, a step of a scale."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from app.simulation.tastes import Taste


@dataclass(frozen=True)
class Character:
    """What an annotator likes and how reliably it says so."""

    taste: Taste
    noise: float = 0.0
    """Probability of the opposite answer, of another choice, or that two neighbours of a ranking change places."""
    random_answers: bool = False
    """A control: a coin decides every answer, so that the labels carry no information."""

    def choice(self, first: str, second: str, draw: random.Random) -> str:
        """a, b or same, for the texts as they stand from left to right."""
        if self.random_answers:
            return draw.choice("ab")
        difference = self.taste(first) - self.taste(second)
        if difference == 0:
            return "same"
        better, worse = ("a", "b") if difference > 0 else ("b", "a")
        return worse if draw.random() < self.noise else better

    def best(self, texts: list[str], draw: random.Random) -> str:
        """The number of the best text, counted from 1; the first one where several are."""
        numbers = [str(number + 1) for number in range(len(texts))]
        if self.random_answers:
            return draw.choice(numbers)
        best = max(numbers, key=lambda number: self.taste(texts[int(number) - 1]))
        return draw.choice([n for n in numbers if n != best]) if draw.random() < self.noise else best

    def order(self, texts: list[str], draw: random.Random) -> str:
        """All numbers from best to worst, as the ranking form writes them: 3>1=2."""
        numbers = list(range(len(texts)))
        if self.random_answers:
            draw.shuffle(numbers)
            return ">".join(str(number + 1) for number in numbers)
        numbers.sort(key=lambda number: -self.taste(texts[number]))
        for place in range(len(numbers) - 1):
            if draw.random() < self.noise:
                numbers[place], numbers[place + 1] = numbers[place + 1], numbers[place]
        said = str(numbers[0] + 1)
        for before, number in pairwise(numbers):
            said += f"{'=' if self.taste(texts[before]) == self.taste(texts[number]) else '>'}{number + 1}"
        return said

    def grade(self, first: str, second: str, grades: int, seen: Sequence[float], draw: random.Random) -> int:
        """How clearly two texts differ, 1 to `grades`, beside the widest difference among what was `seen`."""
        if self.random_answers:
            return draw.randint(1, grades)
        width = max(seen, default=0) - min(seen, default=0)
        share = abs(self.taste(first) - self.taste(second)) / width if width else 0
        return 1 + min(grades - 1, int(share * grades))

    def step(self, text: str, steps: int, seen: Sequence[float], draw: random.Random) -> int:
        """The step of a scale, from 0: where the text lies between the worst and the best that was `seen`."""
        if self.random_answers:
            return draw.randrange(steps)
        low, high = min(seen, default=0), max(seen, default=0)
        share = (self.taste(text) - low) / (high - low) if high > low else 0.5
        step = max(0, min(steps - 1, int(share * steps)))
        return steps - 1 - step if draw.random() < self.noise else step

    def favourite(self, texts: Sequence[str], draw: random.Random) -> str:
        """The dearest of some texts."""
        return draw.choice(texts) if self.random_answers else max(texts, key=self.taste)
