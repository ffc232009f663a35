"""The sampler against the real policy server, as a process of its own on the tiny model."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import registry
from app.core.database import UnitOfWork
from app.core.records import Project, Step, Task, Trajectory
from app.core.settings import Settings
from app.sampler import Sampler
from app.web.policy_client import PolicyClient
from tests import factories
from tests.conftest import unused_port
from tests.policy_server import policy_server


@pytest.fixture
def project(db: Session, tiny_model: Path) -> Project:
    project = factories.make_project(
        db,
        slug="bread",
        pool={"open_tasks": 6, "completions_per_prompt": 4},
        sampling={"max_tokens": 12, "temperature": 1.0, "top_p": 1.0},
    )
    for number in range(4):
        factories.make_prompt(db, project, f"Question {number}?")
    registry.ensure_base(db, project, str(tiny_model))
    db.commit()
    return project


@pytest.fixture
def client(settings: Settings, project: Project, tiny_model: Path) -> Iterator[PolicyClient]:
    here = settings.model_copy(update={"policy_port": unused_port(), "policy_token": SecretStr("secret")})
    with policy_server(here, tiny_model), PolicyClient.of(here, bulk=True, timeout=60) as client:
        yield client


def test_real_answers_become_tasks_with_tokens_and_version(
    db: Session, uow: UnitOfWork, project: Project, client: PolicyClient
) -> None:
    until = time.monotonic() + 120
    live = registry.live(db, project.id)
    while live is None or live.serving_at is None:
        assert time.monotonic() < until, "the policy server never answered with the base policy"
        time.sleep(0.3)
        db.rollback()
        db.expire_all()
        live = registry.live(db, project.id)
    sampler = Sampler(uow, client)
    while sampler.fill(project.id):
        pass
    tasks = list(db.scalars(select(Task).where(Task.state == "open")))
    assert len(tasks) >= 6
    assert {task.deployment_id for task in tasks} == {live.deployment_id}
    for step in db.scalars(select(Step)):
        assert (step.model_id, step.deployment_id) == (live.model_id, live.deployment_id)
        assert step.token_ids is not None
        assert step.logprobs is not None
        assert 0 < len(step.token_ids) == len(step.logprobs) <= 12
        assert max(step.logprobs) <= 0
        assert step.finish_reason in ("stop", "length")
    assert {trajectory.author_kind for trajectory in db.scalars(select(Trajectory))} == {"model"}
