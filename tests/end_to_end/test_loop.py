"""The whole loop, twice over, through `palate up` and HTTP, on the tiny model; and a control that must miss the bar."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.core.database import UnitOfWork
from app.core.records.base import Json
from app.core.registry import ensure_base
from app.simulation import tastes
from app.simulation.loop import Plan, run_loop
from tests.end_to_end.house import settings_of, training_house
from tests.factories import make_project, make_prompt
from tests.faults.house import House

BAR = 0.5
"""Standard deviations of the base policy's own true scores that a first round must gain."""
LABELS = 300
"""Of each round. Two fifths of the prompts are held out, so that a coin seldom reaches ACCURACY on their pairs."""
ACCURACY = 0.6
"""The gate of this test: it lets through every reward model that learned, and hardly ever one that did not."""
TRAINING: dict[str, Any] = {
    "preset": "tiny",
    "overrides": {
        "reward_model": {"batch_size": 4, "learning_rate": 1e-2, "epochs": 8},
        "ppo": {"learning_rate": 4e-3, "kl_stop": 60.0, "kl_target": 20.0, "steps": 6, "samples_per_prompt": 4},
        "evaluate": {"prompts": 20, "samples_per_prompt": 4},
    },
}


def vowels(text: str) -> float:
    """Share of vowels: a taste that the tiny model's letters can follow."""
    letters = [letter for letter in text.lower() if letter.isalpha()]
    return sum(letter in "aeiou" for letter in letters) / max(len(letters), 1)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with training_house(tmp_path_factory.mktemp("model")) as made:
        yield made


def loop(house: House, uow: UnitOfWork, slug: str, output: Path, *, rounds: int, shuffled: bool) -> list[Json]:
    """Make a project, let people with a taste (or coins) label it, and report its rounds."""
    settings = settings_of(house)
    with uow() as db:
        project = make_project(
            db,
            slug=slug,
            training=TRAINING,
            sampling={"max_tokens": 24, "temperature": 1.0},
            gate={"held_out_accuracy": ACCURACY, "win_rate": 0.0, "kl": 40.0},
            pool={"open_tasks": LABELS + 10},
        )
        ensure_base(db, project, settings.base_model)
        for number in range(60):
            split = "validation" if number % 5 in (1, 3) else "train"
            make_prompt(db, project, f"{slug} question {number}", split=split)
    plan = Plan(slug, rounds, 3, LABELS, "vowels", 0.05, 7, shuffle_labels=shuffled, requests=True, hours=0.1)
    return list(run_loop(uow, settings, plan, output / "loop.json", print)["rounds"])


def gain_of_what_is_served(one: Json) -> float:
    """What the round did to the policy that people get: nothing, where the gate stopped the candidate."""
    return float(one["true_score"]["gain_over_base"]["sd"]) if one["state"] == "live" else 0.0


@pytest.mark.timeout(900)
def test_two_rounds_teach_the_taste_and_coins_do_not(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(tastes.TASTES, "vowels", vowels)
    first, second = loop(house, house.uow(), "letters", tmp_path, rounds=2, shuffled=False)
    assert first["state"] == second["state"] == "live", (first["verdict"], second["verdict"])
    assert first["agreement"]["low"] > 0.5, "better than coins"
    assert gain_of_what_is_served(first) >= BAR
    assert gain_of_what_is_served(second) >= BAR
    for one, version in ((first, "v1"), (second, "v2")):
        assert one["requests"]["failures"] == 0, one["requests"]
        assert f"letters@{version}" in one["requests"]["versions"]

    (control,) = loop(house, house.uow(), "coins", tmp_path, rounds=1, shuffled=True)
    assert control["agreement"]["low"] < ACCURACY
    assert gain_of_what_is_served(control) < BAR
