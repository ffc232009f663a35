"""kill -9 of every process, each once, while people label and a round trains: no label is lost, the round finishes."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from app.core import registry, runs
from app.core.database import UnitOfWork
from app.core.records import Deployment, Round, Run
from tests import factories
from tests.end_to_end.house import settings_of, training_house
from tests.faults.house import Annotator, House, check
from tests.loop_rows import make_labels
from trainer.rounds import patiently

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
VICTIMS = {2: "policy", 5: "postgres", 8: "web", 11: "trainer", 14: "background"}
"""Who dies at which step of PPO."""
SMALL: dict[str, dict[str, Any]] = {
    "reward_model": {"epochs": 1},
    "ppo": {"steps": 40, "prompts_per_step": 8, "learning_rate": 1e-3, "kl_stop": 1000.0},
    "evaluate": {"prompts": 6},
}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with training_house(tmp_path) as made:
        yield made


def furnish(house: House, uow: UnitOfWork) -> tuple[int, list[Annotator]]:
    """A round that waits for the trainer, and two people with plenty to label."""
    with uow() as db:
        people = [factories.make_user(db, email=f"a{n}@example.org") for n in range(2)]
        project = factories.make_project(
            db,
            slug="p",
            members=dict.fromkeys(people, "annotator"),
            training={"preset": "tiny"},
            sampling={"max_tokens": 16},
            rounds={"automatic": False},
            gate={"held_out_accuracy": 0.0, "win_rate": 0.0, "kl": 1000.0},
        )
        registry.ensure_base(db, project, settings_of(house).base_model)
        make_labels(db, project)
        prompt = factories.make_prompt(db, project)
        for _ in range(600):
            factories.make_task(db, prompt)
        started = runs.start_round(db, project, trigger="manual", overrides=SMALL, seed=3)
        return started.id, [Annotator(house.url, "p", f"a{n}@example.org", pause=0.15) for n in range(2)]


def progress(uow: UnitOfWork, round_id: int) -> tuple[str, int]:
    """The round's state, and the step that its PPO has reached."""
    with uow() as db:
        state = db.scalars(select(Round.state).where(Round.id == round_id)).one()
        return state, db.scalars(select(Run.step).where(Run.round_id == round_id, Run.recipe == "ppo")).one()


@pytest.mark.timeout(300)
def test_a_round_finishes_whoever_is_killed(house: House) -> None:
    uow = house.uow()
    round_id, annotators = furnish(house, uow)
    for annotator in annotators:
        annotator.start()
    waiting, killed, until = dict(VICTIMS), set(), time.monotonic() + 240
    state = "queued"
    while state in ("queued", "running"):
        assert time.monotonic() < until, f"the round did not finish: {state}\n{house.text()[-3000:]}"
        state, step = patiently(lambda: progress(uow, round_id))
        for due in [due for due in waiting if due <= step]:
            victim = waiting.pop(due)
            before = house.pids()[victim]
            house.kill(victim)
            killed.add(before)
            break
        time.sleep(0.1)
    assert waiting == {}, "the round was over before everyone had been killed"
    for annotator in annotators:
        annotator.enough.set()
        annotator.join(60)
    assert [a.problem for a in annotators if a.problem] == []
    assert sum(a.failures for a in annotators) > 0, "no kill was felt"
    assert sum(len(a.acknowledged) for a in annotators) > 50
    check(house, annotators, earlier=13)

    assert state == "live"
    with uow() as db:
        found = db.get_one(Round, round_id)
        assert found.verdict["passed"]
        steps = db.scalars(select(Run.steps).where(Run.round_id == round_id, Run.recipe == "ppo")).one()
        assert steps == SMALL["ppo"]["steps"]
    serves(house, uow)
    assert not killed & set(house.pids().values())
    assert house.pids().keys() == {"web", "background", "postgres", "policy", "trainer"}


def serves(house: House, uow: UnitOfWork) -> None:
    """The policy server, itself killed once, answers with what the round made."""
    until = time.monotonic() + 60
    while True:
        with uow() as db:
            if db.scalars(select(Deployment.serving_at).where(Deployment.state == "live")).one() is not None:
                break
        assert time.monotonic() < until, house.text()[-3000:]
        time.sleep(0.2)
    settings = settings_of(house)
    answer = httpx.post(
        f"{settings.policy_address}/v1/chat/completions",
        headers={"Authorization": f"Bearer {settings.secret('policy_token')}"},
        json={"model": "p", "messages": [{"role": "user", "content": "ask"}], "max_tokens": 4},
        timeout=60,
    )
    assert answer.json()["model"] == "p@v1"
