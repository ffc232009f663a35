"""Engine and unit of work: what is opened is closed."""

from sqlalchemy import text

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
