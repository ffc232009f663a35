"""Promotion, roll-back and refusal on a real Postgres, with real races."""

import threading
from collections.abc import Callable

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.core import registry
from app.core.database import UnitOfWork
from app.core.errors import Conflict, NotFound
from app.core.projects import GateLimits
from app.core.records import AuditEvent, Deployment, Project

GOOD = {
    "reward/held_out_accuracy": 0.71,
    "evaluate/win_rate": 0.61,
    "evaluate/win_rate_low": 0.55,
    "evaluate/win_rate_high": 0.66,
    "evaluate/kl": 6.4,
    "evaluate/end_rate": 0.99,
    "evaluate/length_ratio": 0.8,
}


@pytest.fixture
def project(make_project: Callable[..., Project]) -> Project:
    return make_project()


def policies(uow: UnitOfWork, project: Project, count: int) -> list[int]:
    """The base policy, live, and `count` trained ones; their model ids in order."""
    with uow() as db:
        ids = [registry.ensure_base(db, db.get_one(Project, project.id), "tiny").id]
        for number in range(count):
            ids.append(registry.register(db, project.id, "policy", None, ids[-1], f"{number:064d}", "tiny").id)
    return ids


def live_name(uow: UnitOfWork, project: Project) -> str:
    with uow() as db:
        live = registry.live(db, project.id)
        assert live is not None
        return live.name


def test_the_base_is_made_and_deployed_once(uow: UnitOfWork, project: Project) -> None:
    assert policies(uow, project, 0) == policies(uow, project, 0)
    with uow() as db:
        assert len(db.scalars(select(Deployment)).all()) == 1
    assert live_name(uow, project) == "v0"


def test_versions_count_per_project_and_role(
    uow: UnitOfWork, project: Project, make_project: Callable[..., Project]
) -> None:
    policies(uow, project, 2)
    other = make_project()
    with uow() as db:
        assert registry.register(db, project.id, "policy", None, None, "a", "tiny").version == 3
        assert registry.register(db, project.id, "reward", None, None, "b", "tiny").version == 1
        assert registry.register(db, other.id, "policy", None, None, "c", "tiny").version == 1


def test_versions_stay_distinct_when_many_register_at_once(uow: UnitOfWork, project: Project) -> None:
    versions: list[int] = []

    def work(number: int) -> None:
        with uow() as db:
            versions.append(registry.register(db, project.id, "reward", None, None, str(number), "tiny").version)

    in_parallel(work, 8)
    assert sorted(versions) == list(range(1, 9))


def test_promote_retires_the_old_row_and_writes_down_who(
    uow: UnitOfWork, project: Project, make_user: Callable[..., object]
) -> None:
    ids = policies(uow, project, 1)
    with uow() as db:
        registry.promote(db, project.id, ids[1], reason="better")
    with uow() as db:
        states = list(db.scalars(select(Deployment.state).order_by(Deployment.id)))
        event = db.scalars(select(AuditEvent).where(AuditEvent.action == "promoted")).one()
    assert states == ["retired", "live"]
    assert event.detail["version"] == "v1"
    assert event.detail["instead_of"] == "v0"


def test_what_is_live_cannot_be_promoted_and_strangers_are_not_found(
    uow: UnitOfWork, project: Project, make_project: Callable[..., Project]
) -> None:
    ids = policies(uow, project, 0)
    with uow() as db, pytest.raises(Conflict, match="live already"):
        registry.promote(db, project.id, ids[0])
    with uow() as db, pytest.raises(NotFound):
        registry.promote(db, make_project().id, ids[0])


def test_racing_promotions_leave_one_live_row_and_clean_losers(uow: UnitOfWork, project: Project) -> None:
    ids = policies(uow, project, 6)
    won: list[int] = []
    lost: list[Exception] = []
    together = threading.Barrier(6)

    def work(number: int) -> None:
        together.wait(10)
        try:
            with uow() as db:
                registry.promote(db, project.id, ids[1 + number])
            won.append(number)
        except Conflict as error:
            lost.append(error)

    in_parallel(work, 6)
    with uow() as db:
        rows = list(db.scalars(select(Deployment.state)))
    assert rows.count("live") == 1
    assert len(won) + len(lost) == 6
    assert len(rows) == 1 + len(won)


def test_a_promotion_is_told_to_whoever_listens(uow: UnitOfWork, project: Project, db: Session) -> None:
    ids = policies(uow, project, 1)
    raw = db.connection().connection.driver_connection
    assert raw is not None
    db.execute(text("listen palate_deployments"))
    db.commit()
    with uow() as other:
        registry.promote(other, project.id, ids[1])
    heard = list(db.connection().connection.driver_connection.notifies(timeout=5, stop_after=1))  # type: ignore[union-attr]
    assert [note.payload for note in heard] == [str(project.id)]


def test_roll_back_walks_back_and_a_promotion_after_it_counts_again(uow: UnitOfWork, project: Project) -> None:
    ids = policies(uow, project, 2)
    names = []
    with uow() as db:
        registry.promote(db, project.id, ids[1])
        registry.promote(db, project.id, ids[2])
    for _ in range(2):
        with uow() as db:
            registry.roll_back(db, project.id, user_id=None, reason="worse answers")
        names.append(live_name(uow, project))
    assert names == ["v1", "v0"]
    with uow() as db, pytest.raises(Conflict, match="no earlier policy"):
        registry.roll_back(db, project.id, user_id=None, reason="again")


@pytest.mark.parametrize(
    ("history", "expected"),
    [([], None), ([7], None), ([7, 8], 7), ([7, 8, 7], None), ([7, 8, 9, 8], 7), ([7, 8, 8, 9], 8), ([7, 8, 9, 7], 9)],
)
def test_step_back(history: list[int], expected: int | None) -> None:
    assert registry.step_back(history) == expected


def test_a_refused_deployment_brings_the_one_before_back(uow: UnitOfWork, project: Project) -> None:
    ids = policies(uow, project, 2)
    with uow() as db:
        registry.promote(db, project.id, ids[1])
        bad = registry.promote(db, project.id, ids[2]).id
    with uow() as db:
        assert registry.refuse(db, bad, "the hash does not match") is not None
    with uow() as db:
        assert registry.refuse(db, bad, "said twice") is None
        assert db.get_one(Deployment, bad).state == "refused"
        before = registry.previous(db, project.id)
        assert before is not None
        assert before.name == "v0"
    assert live_name(uow, project) == "v1"


def test_a_base_that_cannot_be_served_stays_with_its_error_until_it_serves(uow: UnitOfWork, project: Project) -> None:
    policies(uow, project, 0)
    with uow() as db:
        live = registry.live(db, project.id)
        assert live is not None
        assert registry.refuse(db, live.deployment_id, "no such directory") is None
    with uow() as db:
        again = registry.live(db, project.id)
        assert again is not None
        assert again.error == "no such directory"
        registry.mark_serving(db, again.deployment_id)
    with uow() as db:
        serving = registry.live(db, project.id)
        assert serving is not None
        assert serving.serving_at is not None
        assert serving.error is None


def test_the_gate_passes_good_figures() -> None:
    verdict = registry.gate(GateLimits(), GOOD)
    assert verdict["passed"]
    assert all(check["passed"] for check in verdict["checks"])


@pytest.mark.parametrize(
    ("name", "value", "stopped_by"),
    [
        ("reward/held_out_accuracy", 0.599, "held_out_accuracy"),
        ("evaluate/win_rate_low", 0.5, "win_rate"),
        ("evaluate/kl", 12.01, "kl"),
        ("evaluate/kl", float("nan"), "kl"),
        ("evaluate/win_rate", None, "win_rate"),
    ],
)
def test_the_gate_stops_at_each_limit(name: str, value: float | None, stopped_by: str) -> None:
    verdict = registry.gate(GateLimits(), {**GOOD, name: value})
    assert not verdict["passed"]
    assert [check["name"] for check in verdict["checks"] if not check["passed"]] == [stopped_by]


def test_warnings_do_not_stop_a_candidate() -> None:
    verdict = registry.gate(GateLimits(), {**GOOD, "evaluate/end_rate": 0.1, "evaluate/length_ratio": 9.0})
    assert verdict["passed"]
    assert [check["name"] for check in verdict["checks"] if not check["passed"]] == ["end_rate", "length_ratio"]


def in_parallel(work: Callable[[int], None], count: int) -> None:
    """Run work(0) … work(count − 1) in threads; an exception in one fails the test."""
    errors: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001  (handed to the test's own thread)
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not errors, errors
