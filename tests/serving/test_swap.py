"""The watcher: live rows become what is served; a policy that cannot be trusted is refused and the old one stays."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from app.core import registry
from app.core.artifacts import ArtifactStore
from app.core.database import UnitOfWork
from app.core.records import Deployment, Project
from tests.factories import make_project
from tests.serving.conftest import MakePolicy
from tests.serving.test_engine import ask
from trainer.serving.engine import Engine, wait_for
from trainer.serving.swap import Watcher


@pytest.fixture
def watcher(engine_: Engine, store: ArtifactStore, uow: UnitOfWork, dsn: str) -> Watcher:
    return Watcher(engine_, store, uow, dsn)


@pytest.fixture
def project(uow: UnitOfWork) -> Project:
    with uow() as db:
        project = make_project(db, slug="kitchen")
        registry.ensure_base(db, project, "tiny-llama")
        return project


@pytest.fixture
def promote(uow: UnitOfWork, project: Project) -> Callable[[str], int]:
    """promote(hash) → deployment id."""

    def do(digest: str) -> int:
        with uow() as db:
            model = registry.register(db, project.id, "policy", None, None, digest, "tiny-llama")
            return registry.promote(db, project.id, model.id).id

    return do


def serving(db: Session, deployment_id: int) -> Deployment:
    deployment = db.get(Deployment, deployment_id)
    assert deployment is not None
    return deployment


def test_promotion_swaps_and_marks_serving(
    watcher: Watcher, engine_: Engine, promote: Callable[[str], int], make_policy_files: MakePolicy, uow: UnitOfWork
) -> None:
    watcher.look()
    assert engine_.live["kitchen"].version == 0
    before = wait_for(engine_, ask(1), "kitchen")
    deployment_id = promote(make_policy_files(1))
    watcher.look()
    after = wait_for(engine_, ask(1), "kitchen")
    assert (before.version.name, after.version.name) == ("kitchen@v0", "kitchen@v1")
    assert after.version.deployment_id == deployment_id
    assert before.rows[0].token_ids != after.rows[0].token_ids
    with uow() as db:
        assert serving(db, deployment_id).serving_at is not None


@pytest.mark.parametrize("damage", ["nan", "shape", "bytes", "canary", "no canary", "base"])
def test_a_policy_that_cannot_be_trusted_is_refused(
    damage: str,
    watcher: Watcher,
    engine_: Engine,
    project: Project,
    promote: Callable[[str], int],
    make_policy_files: MakePolicy,
    uow: UnitOfWork,
) -> None:
    promote(make_policy_files(1))
    watcher.look()
    good = wait_for(engine_, ask(5), "kitchen")
    bad = promote(make_policy_files(2, damage))
    watcher.look()
    watcher.look()
    again = wait_for(engine_, ask(5), "kitchen")
    assert again.version.model_id == good.version.model_id
    assert again.rows[0].token_ids == good.rows[0].token_ids
    with uow() as db:
        refused = serving(db, bad)
        assert (refused.state, refused.serving_at) == ("refused", None)
        assert refused.error
        live = registry.live(db, project.id)
        assert live is not None
        assert live.model_id == good.version.model_id
        assert live.serving_at is not None
    assert len(engine_.call(lambda: set(engine_.trunk.settings)).result()) == 1


def test_a_restarted_server_serves_the_stored_pointer(
    tiny_model: Path, store: ArtifactStore, promote: Callable[[str], int], make_policy_files: MakePolicy,
    uow: UnitOfWork, dsn: str, watcher: Watcher, engine_: Engine,
) -> None:  # fmt: skip
    from trainer.base_model import load_tokenizer
    from trainer.modeling import Trunk

    promote(make_policy_files(3))
    watcher.look()
    fresh = Engine(Trunk.load(tiny_model), load_tokenizer(tiny_model), max_rows=4)
    fresh.start()
    Watcher(fresh, store, uow, dsn).look()
    assert fresh.live == engine_.live
    assert (
        wait_for(fresh, ask(8), "kitchen").rows[0].token_ids == wait_for(engine_, ask(8), "kitchen").rows[0].token_ids
    )
    fresh.stop()


def test_roll_back_needs_no_reading(
    watcher: Watcher, engine_: Engine, project: Project, promote: Callable[[str], int],
    make_policy_files: MakePolicy, uow: UnitOfWork,
) -> None:  # fmt: skip
    watcher.look()
    promote(make_policy_files(1))
    watcher.look()
    promote(make_policy_files(2))
    watcher.look()
    with uow() as db:
        registry.roll_back(db, project.id, user_id=None, reason="worse")
    watcher.look()
    assert engine_.live["kitchen"].version == 1


def test_a_notification_swaps_within_the_poll(
    watcher: Watcher, engine_: Engine, promote: Callable[[str], int], make_policy_files: MakePolicy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("trainer.serving.swap.POLL_SECONDS", 20.0)
    watcher.start()
    assert watcher.looked.wait(10)
    promote(make_policy_files(1))
    end = time.monotonic() + 8
    while engine_.live["kitchen"].version != 1 and time.monotonic() < end:
        time.sleep(0.02)
    assert engine_.live["kitchen"].version == 1
    watcher._stop.set()
