"""The order of sides: uniform, balanced for each person, not to be foreseen. What is otherwise fails the same tests."""

import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from itertools import cycle, pairwise
from uuid import uuid4

import pytest
from scipy.stats import binomtest, chisquare
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.core import handout, lanes, served, sides
from app.core.records import Assignment
from tests import factories

Draw = Callable[[int, random.Random], Sequence[int]]
"""An order of two from the lean of the last hand-outs."""


def drawn(draw: Draw, count: int, seed: int) -> list[tuple[int, ...]]:
    """What one person would see, with the memory that the queue has."""
    chance = random.Random(seed)  # noqa: S311  (repeatable)
    lately: deque[int] = deque(maxlen=sides.REMEMBERED)
    orders = []
    for _ in range(count):
        order = tuple(draw(sum(lately), chance))
        lately.append(1 if order == (0, 1) else -1)
        orders.append(order)
    return orders


def uniformity(orders: Sequence[tuple[int, ...]], kinds: int = 2) -> float:
    """p of a chi-square test that all orders are alike frequent."""
    counts = Counter(orders)
    return float(chisquare([*counts.values(), *[0] * (kinds - len(counts))]).pvalue)


def foreseen(orders: Sequence[tuple[int, ...]]) -> float:
    """How often the better of two bets is right: on the side that came less often among the last 16, on the other one
    than last time."""
    signs = [1 if order == (0, 1) else -1 for order in orders]
    rarer = sum(sum(signs[max(0, at - 16) : at]) * sign < 0 for at, sign in enumerate(signs))
    other = sum(first != second for first, second in pairwise(signs))
    return max(rarer, other) / len(signs)


def queues(lean: int, chance: random.Random) -> Sequence[int]:
    """The draw of the queue."""
    return sides.draw_order(2, lean, chance)


def coin(lean: int, chance: random.Random) -> Sequence[int]:
    """Without balance."""
    return chance.sample(range(2), 2)


def leaning(lean: int, chance: random.Random) -> Sequence[int]:
    """Three in a hundred too often the first side."""
    return [0, 1] if chance.random() < 0.53 else [1, 0]


def constant(lean: int, chance: random.Random) -> Sequence[int]:
    """As stored."""
    return [0, 1]


def alternate() -> Draw:
    """Balanced, and a pattern that anybody sees."""
    turn = cycle([[0, 1], [1, 0]])

    def draw(lean: int, chance: random.Random) -> Sequence[int]:
        return next(turn)

    return draw


def test_orders_are_uniform_and_what_leans_is_seen() -> None:
    assert uniformity(drawn(queues, 10_000, 1)) > 0.01
    for control in (leaning, constant):
        assert uniformity(drawn(control, 10_000, 1)) < 0.01


def test_each_person_is_balanced_better_than_a_coin_would() -> None:
    def worst(draw: Draw) -> int:
        return max(abs(2 * Counter(drawn(draw, 200, seed))[0, 1] - 200) for seed in range(100))

    assert worst(queues) <= 24
    assert worst(coin) > 24, "the bound tells the two apart"


def test_nobody_can_foresee_the_next_side() -> None:
    assert foreseen(drawn(queues, 10_000, 3)) < 0.7
    assert foreseen(drawn(alternate(), 10_000, 3)) > 0.9, "a pattern would be seen"
    orders = drawn(queues, 10_000, 4)
    same = sum(first == second for first, second in pairwise(orders))
    assert 0.35 < same / len(orders) < 0.5


@pytest.mark.parametrize("segments", [3, 4])
def test_orders_of_several_are_uniform(segments: int) -> None:
    chance = random.Random(2)  # noqa: S311  (repeatable)
    orders = [tuple(sides.draw_order(segments, 5, chance)) for _ in range(10_000)]
    assert uniformity(orders, {3: 6, 4: 24}[segments]) > 0.01
    firsts = Counter(order[0] for order in orders)
    assert all(binomtest(count, 10_000, 1 / segments).pvalue > 0.001 for count in firsts.values())


@pytest.mark.parametrize("persons", [5, pytest.param(50, marks=pytest.mark.slow)])
def test_hand_outs_of_the_queue_are_uniform_and_stored(
    db: Session, monkeypatch: pytest.MonkeyPatch, persons: int
) -> None:
    """10,000 (1,000 in short) by the queue's own statements, its memory in the database; texts are left out."""
    project = factories.make_project(db)
    people = [factories.make_user(db) for _ in range(persons)]
    for _ in range(200):
        factories.make_task(db, factories.make_prompt(db, project), answers_needed=persons)
    monkeypatch.setattr(handout, "chance", random.Random(11))  # noqa: S311  (repeatable)
    close = text(
        "update assignments set outcome = 'answered', submitted_at = clock_timestamp() where idempotency_key = :key"
    )
    for user in people:
        for _ in range(200):
            found = lanes.find_next(db, project.id, user.id, have=[])
            assert found is not None
            order = sides.draw_order(found.segments, found.lean, handout.chance)
            terms = {
                "user": user.id,
                "token": uuid4(),
                "key": uuid4(),
                "minutes": 30,
                "shown": order,
            }
            taken = served.lend(db, project, found.task_id, terms)
            assert taken is not None
            db.execute(close, {"key": taken.key})
    stored = db.execute(select(Assignment.user_id, Assignment.display_order)).all()
    assert len(stored) == 200 * persons
    assert uniformity([tuple(order) for _, order in stored]) > 0.01
    first = Counter(user for user, order in stored if order == [0, 1])
    assert max(abs(2 * first[user.id] - 200) for user in people) <= 24
