"""A claim reads a few rows however many tasks wait: asked of Postgres itself, on the benchmark's 100,000 open tasks."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import TextClause, select, text
from sqlalchemy.orm import Session

from app.bench.labeling import Load, seed
from app.core import lanes
from app.core.database import UnitOfWork
from app.core.records import Project, Task, User
from app.core.settings import Settings
from tests import factories

TABLES = {"tasks", "assignments", "task_segments", "trajectories"}
OTHERS = 20_000
"""Open tasks that come first by priority and are for somebody else."""


@pytest.fixture
def large(db: Session, uow: UnitOfWork, settings: Settings) -> Project:
    """100,000 tasks for anybody, before them OTHERS for one person, and 1,000 finished ones of which some are gold."""
    seed(uow, settings, Load(people=1, seconds=1, think=0, tasks=100_000, labels=10_000, seed=1))
    project = db.scalars(select(Project)).one()
    busy = factories.make_user(db)
    db.execute(
        text(
            "update tasks set assignees = array[cast(:user as bigint)], priority = 5 where id in"
            " (select id from tasks where state = 'open' order by id limit :many)"
        ),
        {"user": busy.id, "many": OTHERS},
    )
    db.execute(text("""update tasks set gold = '{"tiers": [[0], [1]]}' where state = 'done' and id % 10 = 0"""))
    db.commit()
    db.connection(execution_options={"isolation_level": "AUTOCOMMIT"}).execute(text("analyze"))
    db.commit()
    return project


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", []):
        yield from nodes(inner)


def plan_of(db: Session, statement: TextClause, project: Project, user: User) -> dict[str, Any]:
    place = {"project": project.id, "user": user.id, "full": [], "have": [], "after": lanes.REPEAT_AFTER}
    names = statement._bindparams
    asked = text(f"explain (analyze, format json) {statement.text}").bindparams(*names.values())
    found: Any = db.execute(asked, {name: value for name, value in place.items() if name in names}).scalar_one()
    plan: dict[str, Any] = found[0]["Plan"]
    return plan


def rows_read(plan: dict[str, Any]) -> int:
    """Rows that the plan took from tables, those included that a filter threw away."""
    return sum(
        int(node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)))
        for node in nodes(plan)
        if node.get("Relation Name") in TABLES
    )


def whole_tables(plan: dict[str, Any]) -> set[str]:
    """Tables that the plan reads from end to end."""
    return {node["Relation Name"] for node in nodes(plan) if node["Node Type"] == "Seq Scan" and node["Actual Loops"]}


def test_a_claim_reads_few_rows_and_many_without_its_index(db: Session, large: Project) -> None:
    busy = db.scalars(select(User).order_by(User.id.desc()).limit(1)).one()
    newcomer = factories.make_user(db)
    veteran = db.scalars(select(User).where(User.name == "Past 7")).one()
    for user in (newcomer, veteran, busy):
        for statement in (lanes.NEXT_FREE, lanes.NEXT_WAITING):
            plan = plan_of(db, statement, large, user)
            assert not whole_tables(plan) & TABLES, plan
            assert rows_read(plan) < 100, plan
    # Who wants nothing sensitive walks past none of it, although it comes first.
    db.execute(
        text(
            "update tasks set sensitive = true, priority = 4 where id in"
            " (select id from tasks where state = 'open' and assignees is null order by id limit :many)"
        ),
        {"many": OTHERS},
    )
    db.commit()
    db.connection(execution_options={"isolation_level": "AUTOCOMMIT"}).execute(text("analyze tasks"))
    db.commit()
    for user in (newcomer, veteran):
        for statement in (lanes.NEXT_FREE_CALM, lanes.NEXT_WAITING_CALM, lanes.NEXT_FREE):
            plan = plan_of(db, statement, large, user)
            assert not whole_tables(plan) & TABLES, plan
            assert rows_read(plan) < 100, plan
    plan = plan_of(db, lanes.GOLD, large, newcomer)
    gold = db.query(Task).filter(Task.gold.is_not(None)).count()
    assert not whole_tables(plan) & (TABLES - {"task_segments"}), plan
    assert rows_read(plan) < 10 * gold, "the gold itself, but no ordinary task"
    plan = plan_of(db, lanes.OLD, large, veteran)
    assert not whole_tables(plan) & TABLES, plan
    assert rows_read(plan) < 10 * lanes.REPEAT_AMONG
    # The negative control, in the same database because it takes long to fill.
    db.execute(text("drop index ix_tasks_calm"))
    plan = plan_of(db, lanes.NEXT_FREE_CALM, large, newcomer)
    assert rows_read(plan) > 10_000
    for name in ("ix_tasks_anyone", "ix_tasks_open"):
        db.execute(text(f"drop index {name}"))
    plan = plan_of(db, lanes.NEXT_FREE, large, newcomer)
    assert rows_read(plan) > 10_000
