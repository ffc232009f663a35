"""The light worker: rounds by rule, signs of life, tidying, and patience while the policy server is away."""

import logging
import os
import signal
import subprocess
import sys
import threading
from datetime import timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.background import Background, tidy
from app.core import registry
from app.core.database import UnitOfWork
from app.core.records import Deployment, Job, Project, Round, SignInAttempt, WebSession, WorkerState
from app.core.settings import ROOT, Settings
from app.web.policy_client import PolicyClient
from tests import factories


@pytest.fixture
def worker(settings: Settings, uow: UnitOfWork) -> Background:
    """A worker whose policy server is not there: nothing listens on port 9 (discard)."""
    return Background(settings, uow, PolicyClient("http://127.0.0.1:9", "secret"))


def project_with_labels(db: Session, train: int, validation: int) -> Project:
    project = factories.make_project(db, rounds={"new_preferences": 10})
    user = factories.make_user(db)
    for split, count in (("train", train), ("validation", validation)):
        for _ in range(count):
            factories.make_preference(
                db, factories.make_task(db, factories.make_prompt(db, project, split=split)), user
            )
    registry.ensure_base(db, project, "tiny")
    db.commit()
    return project


def test_a_round_starts_by_itself_once(db: Session, worker: Background) -> None:
    project = project_with_labels(db, 8, 2)
    worker.look_after()
    worker.look_after()
    started = db.scalars(select(Round)).one()
    assert (started.project_id, started.trigger, started.state) == (project.id, "rule", "queued")
    assert db.scalars(select(Job)).one().payload == {"round_id": started.id}


def test_no_round_before_its_time(db: Session, worker: Background) -> None:
    project_with_labels(db, 8, 1)
    worker.look_after()
    assert db.scalars(select(Round)).all() == []


def test_new_projects_get_their_base_policy(db: Session, worker: Background, settings: Settings) -> None:
    project = factories.make_project(db)
    db.commit()
    worker.look_after()
    assert db.scalars(select(Deployment)).one().project_id == project.id


def test_the_heart_beats(db: Session, worker: Background) -> None:
    worker.look_after()
    assert db.get_one(WorkerState, "background").detail == {"trouble": None}


def test_tidy_removes_only_what_has_ended(db: Session) -> None:
    user = factories.make_user(db)
    for name, age in (("old", timedelta(days=-1)), ("new", timedelta(days=1))):
        db.add(WebSession(token_hash=name, user_id=user.id, expires_at=func.now() + age))
    db.add_all([SignInAttempt(key="a", at=func.now() - timedelta(days=2)), SignInAttempt(key="b")])
    db.flush()
    tidy(db)
    assert list(db.scalars(select(WebSession.token_hash))) == ["new"]
    assert list(db.scalars(select(SignInAttempt.key))) == ["b"]


def test_without_a_policy_server_it_waits_and_says_so_once(
    db: Session, worker: Background, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = factories.make_project(db)
    factories.make_prompt(db, project)
    registry.ensure_base(db, project, "tiny")
    db.commit()
    monkeypatch.setattr("app.background.EVERY", 0.05)
    with caplog.at_level(logging.INFO):
        running = threading.Thread(target=worker.run)
        running.start()
        worker.stop.wait(1.0)
        worker.stop.set()
        running.join(10)
    assert not running.is_alive()
    assert [line for line in caplog.messages if line.startswith("filling waits")] == [
        "filling waits: The model is starting. Comparisons go on; try again in about 20 seconds."
    ]
    assert db.get_one(WorkerState, "background").detail["trouble"].startswith("The model is starting")


def test_the_process_stops_cleanly_on_sigterm(dsn: str, settings: Settings) -> None:
    environment = os.environ | {"PALATE_DATABASE_URL": dsn, "PALATE_HOME": str(settings.home)}
    process = subprocess.Popen(
        [sys.executable, "-m", "app.background"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert "background works" in process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "background stopped" in said
