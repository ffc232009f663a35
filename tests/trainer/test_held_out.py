"""The figures of held-out pairs against what is known of them, and what people's agreement allows."""

import random

import pytest
import torch

from trainer import held_out
from trainer.agreement import agreement_of_people
from trainer.data import Group, Judged


def made_groups(shares: list[float], people: int, *, seed: int = 0) -> list[Group]:
    """One pair a prompt; person after person says "first" with the pair's own share."""
    draw = random.Random(seed)  # noqa: S311 - made-up answers
    groups = []
    for number, share in enumerate(shares):
        judged = [
            Judged(number * people + person, 0, 1, float(draw.random() < share), person) for person in range(people)
        ]
        groups.append(Group(number, "validation", [1], [0, 1], [[2], [3, 4]], judged))
    return groups


@pytest.mark.parametrize("shares", [[0.8, 0.2] * 4000, [1.0, 0.0, 0.5, 0.5] * 2000, [0.95, 0.3, 0.6, 0.1] * 2000])
def test_the_best_possible_predictor_lies_between_agreement_and_ceiling(shares: list[float]) -> None:
    """It says what most people would: right with max(p, 1 − p). Where all pairs are as clear, that is the ceiling."""
    groups = made_groups(shares, 2)
    people = agreement_of_people(groups)
    assert people is not None
    best = sum(max(share, 1 - share) for share in shares) / len(shares)
    assert people.low <= sum(p * p + (1 - p) ** 2 for p in shares) / len(shares) <= people.high
    assert people.share - 0.01 <= best <= people.ceiling + 0.01
    if shares[0] == 0.8:
        assert people.ceiling == pytest.approx(best, abs=0.01)


def test_agreement_is_of_different_people_on_the_same_pair_whatever_its_order() -> None:
    judged = [Judged(1, 0, 1, 1.0, 7), Judged(2, 1, 0, 0.0, 8), Judged(3, 1, 2, 1.0, 9)]
    judged += [Judged(4, 0, 1, 0.0, 7), Judged(5, 0, 1, 0.5, 9)]
    group = Group(1, "validation", [1], [0, 1, 2], [[2], [3], [4]], judged)
    people = agreement_of_people([group])
    assert people is not None
    assert (people.pairs, people.share) == (1, 0.0), "7 changed their mind, 9 called it a tie"
    assert agreement_of_people([Group(1, "validation", [1], [0, 1], [[2], [3]], judged[:1])]) is None


def drawn(scale: float, pairs: int = 4000) -> tuple[held_out.HeldOut, list[Group]]:
    """Labels by Bradley–Terry; the model's differences are `scale` times the true ones."""
    generator = torch.Generator().manual_seed(1)
    truth = torch.randn(pairs, generator=generator, dtype=torch.float64) * 2
    target = torch.bernoulli(torch.sigmoid(truth), generator=generator)
    groups = [
        Group(n, "validation", [1], [0, 1], [[2], [3, 4]], [Judged(n, 0, 1, float(t), n % 2)])
        for n, t in enumerate(target)
    ]
    scores = [value for d in truth for value in (float(d) * scale, 0.0)]
    return held_out.held_out(groups, scores), groups


def test_a_model_that_is_too_sure_is_told_so_and_put_right() -> None:
    made, groups = drawn(3.0)
    found = held_out.figures(made, groups)
    assert found["reward/temperature"] == pytest.approx(3, rel=0.1)
    assert found["reward/calibration_error_before"] > 0.08
    assert found["reward/calibration_error"] < 0.03
    assert found["reward/calibration_error_chance"] < 0.03
    honest = held_out.figures(*drawn(1.0))
    assert found["reward/brier"] == pytest.approx(honest["reward/brier"], abs=1e-3)
    probability = torch.sigmoid(drawn(1.0)[0].difference)
    entropy = -(probability * probability.log() + (1 - probability) * (1 - probability).log()).mean()
    assert found["reward/held_out_loss"] == pytest.approx(float(entropy), abs=0.02)
    assert "reward/ceiling" not in found, "nobody was asked twice"


def test_few_pairs_look_dishonest_by_luck_alone() -> None:
    made, _ = drawn(1.0, pairs=40)
    assert held_out.chance(torch.sigmoid(made.difference)) > 0.08


def test_the_temperature_of_a_pair_is_not_fitted_on_it() -> None:
    """Four prompts of two kinds: odd ones say that the model is right, even ones that it is wrong."""
    groups = [Group(n, "validation", [1], [0, 1], [[2], [3]], [Judged(n, 0, 1, float(n % 2), 1)]) for n in range(4)]
    made = held_out.held_out(groups, [1.0, 0.0] * 4)
    probability = held_out.out_of_sample(made)
    assert probability[0] > 0.99, "the other half was always right"
    assert probability[1] == pytest.approx(0.5, abs=0.02), "the other half was always wrong"


def test_every_decided_pair_stands_once_in_each_table() -> None:
    made, groups = drawn(1.0, pairs=300)
    groups[0].judged[0] = Judged(0, 0, 1, 0.5, 0)
    made = held_out.held_out(groups, [1.0, 0.0] * 300)
    found = held_out.tables(made, groups)
    assert found["all"]["of"] == 299
    for name in ("sure", "annotators", "lengths"):
        assert sum(row["of"] for row in found[name]) == 299
        assert sum(row["right"] for row in found[name]) == found["all"]["right"]
    lengths = {row["name"]: row for row in found["lengths"]}
    assert lengths["shorter"]["right"] == lengths["shorter"]["of"] > 0, "first is shorter, and always ahead"
    assert lengths["far_longer"]["right"] == 0 < lengths["far_longer"]["of"]
