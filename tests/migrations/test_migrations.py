"""The migrations build exactly the schema of app.core.records, both ways, under the names we promise."""

import re
import threading
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, NullPool, create_engine, inspect, text

from app.core import schema
from app.core.records import Record
from app.core.settings import ROOT


def _engine(dsn: str) -> Engine:
    return create_engine(dsn, poolclass=NullPool)


def _differences(dsn: str) -> list[Any]:
    with _engine(dsn).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return list(compare_metadata(context, Record.metadata))


def test_up_down_up_leaves_the_schema_of_the_records(empty_dsn: str) -> None:
    schema.migrate(empty_dsn)
    assert _differences(empty_dsn) == []
    schema.migrate(empty_dsn, "base")
    with _engine(empty_dsn).connect() as connection:
        assert inspect(connection).get_table_names() == ["alembic_version"]
    schema.migrate(empty_dsn)
    assert _differences(empty_dsn) == []


def test_every_constraint_of_the_records_exists_under_its_name(template_dsn: str) -> None:
    """compare_metadata looks at neither check constraints nor names, so this does."""
    expected = {
        str(constraint.name)
        for table in Record.metadata.tables.values()
        for constraint in table.constraints
        if constraint.name is not None
    }
    expected |= {str(index.name) for table in Record.metadata.tables.values() for index in table.indexes}
    with _engine(template_dsn).connect() as connection:
        found = set(
            connection.scalars(text("select conname from pg_constraint where connamespace = 'public'::regnamespace"))
        )
        found |= set(connection.scalars(text("select indexname from pg_indexes where schemaname = 'public'")))
    assert {name for name in expected if name[:63] not in found} == set()
    unnamed = {n for n in found if not re.match(r"(pk|fk|uq|ck|ix)_", n) and not n.endswith("_not_null")}
    assert unnamed <= {"alembic_version_pkc"}


def test_a_drift_would_be_seen(dsn: str) -> None:
    with _engine(dsn).begin() as connection:
        connection.execute(text("alter table users add column shoe_size int"))
    assert [difference[0] for difference in _differences(dsn)] == ["remove_column"]


def test_two_processes_may_migrate_at_once(empty_dsn: str) -> None:
    problems: list[BaseException] = []

    def run() -> None:
        try:
            schema.migrate(empty_dsn)
        except Exception as problem:  # noqa: BLE001 - handed to the assertion below
            problems.append(problem)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert _differences(empty_dsn) == []


@pytest.mark.parametrize("path", sorted((ROOT / "migrations" / "versions").glob("*.py")), ids=lambda p: p.stem)
def test_a_migration_is_named_by_its_date_and_never_waits_long_for_a_lock(path: Any) -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\d-\d{4}_[a-z0-9_]+\.py", path.name)
    assert path.read_text().count("set local lock_timeout") == 2
