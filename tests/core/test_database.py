"""Engine and unit of work: what is opened is closed."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from app.core import database


def test_a_connection_that_comes_back_late_is_closed_too(dsn: str) -> None:
    engine = database.connect(dsn, pool_size=2)
    early, late = engine.connect(), engine.connect()
    early.execute(text("select 1"))
    late.execute(text("select 1"))
    held, idle = late.connection.dbapi_connection, early.connection.dbapi_connection
    assert held is not None
    assert idle is not None
    early.close()
    database.close(engine)
    assert idle.closed
    assert not held.closed
    late.close()
    assert held.closed


def test_a_command_closes_its_pool_even_when_it_fails(dsn: str) -> None:
    opened = []
    try:
        with database.units_of_work(dsn) as uow, uow() as db:
            opened.append(db.connection().connection.dbapi_connection)
            raise KeyError
    except KeyError:
        pass
    assert opened[0] is not None
    assert opened[0].closed


def test_a_connection_that_broke_while_it_rested_is_replaced_and_one_in_use_is_not_asked(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = database.connect(dsn, pool_size=1)
    killer = database.connect(dsn, pool_size=1)

    def backend() -> int:
        with engine.connect() as connection:
            pid: int = connection.execute(text("select pg_backend_pid()")).scalar_one()
            return pid

    def end(pid: int) -> None:
        with killer.connect() as connection:
            connection.execute(text("select pg_terminate_backend(:pid, 5000)"), {"pid": pid})

    try:
        first = backend()
        assert backend() == first
        end(first)
        monkeypatch.setattr(database, "REST", 0.0)
        second = backend()
        assert second != first
        monkeypatch.setattr(database, "REST", 60.0)
        end(second)
        with pytest.raises(OperationalError):
            backend()
        assert backend() not in (first, second), "one request fails, the next one has a new connection"
    finally:
        database.close(engine)
        database.close(killer)
