"""Engine and unit of work. Only the boundary (a handler, a job step, a command) opens one; functions below it flush."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import psycopg
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

UnitOfWork = Callable[[], AbstractContextManager[Session]]
"""`with uow() as db:` is one transaction: committed at the end of the block, rolled back on any exception."""
REST = 1.0
"""Seconds that a connection may lie unused before it is asked whether it still stands."""


def connect(dsn: str, *, pool_size: int = 4) -> Engine:
    """An engine whose every connection has sane time limits. `pool_size` is also the most that is ever open."""
    engine = create_engine(
        dsn,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=30,
        connect_args={
            "connect_timeout": 10,
            "options": "-c timezone=UTC -c statement_timeout=15s -c lock_timeout=5s"
            " -c idle_in_transaction_session_timeout=30s",
        },
    )
    _ask_after_rest(engine)
    return engine


def _ask_after_rest(engine: Engine) -> None:
    """What `pool_pre_ping` does, but only after REST: under load it would be a question before every request.

    A connection that broke within that time fails one request, of which nothing is stored, and then all are made anew.
    """

    def came_back(_: Any, entry: ConnectionPoolEntry) -> None:
        entry.info["used"] = time.monotonic()

    def goes_out(connection: Any, entry: ConnectionPoolEntry, _: Any) -> None:
        if time.monotonic() - entry.info.get("used", time.monotonic()) < REST:
            return
        try:
            engine.dialect.do_ping(connection)
        except psycopg.Error as error:
            raise InvalidatePoolError from error

    event.listen(engine, "checkin", came_back)
    event.listen(engine, "checkout", goes_out)


def close(engine: Engine) -> None:
    """Close every connection: idle ones now, one that a thread still holds as soon as it comes back.

    `Engine.dispose` alone forgets what is still held, and the garbage collector would find it open.
    """
    event.listen(engine.pool, "checkin", lambda connection, _: connection and connection.close())
    engine.dispose()


def unit_of_work(engine: Engine) -> UnitOfWork:
    """The factory that handlers and jobs call: one call, one transaction."""
    make = sessionmaker(engine, expire_on_commit=False)

    @contextmanager
    def begin() -> Iterator[Session]:
        with make.begin() as session:
            try:
                yield session
            except BaseException:
                # A roll-back would empty loaded rows, and the error page still names who asks and where.
                session.expunge_all()
                raise

    return begin


@contextmanager
def units_of_work(dsn: str, *, pool_size: int = 1) -> Iterator[UnitOfWork]:
    """`unit_of_work` on a pool of its own, closed at the end of the block: what commands and processes open."""
    engine = connect(dsn, pool_size=pool_size)
    try:
        yield unit_of_work(engine)
    finally:
        close(engine)
