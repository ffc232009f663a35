"""The schema's version: bring a database to the newest one, or tell whether it is there already.

Alembic is configured here in code, so there is no alembic.ini and no logging side effect.
"""

from functools import cache

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.orm import Session

from app.core.settings import ROOT

LOCK = 7_041_776_001
"""The advisory lock that makes two starting processes migrate one after the other."""


def configuration() -> Config:
    """What Alembic needs to know. `attributes["connection"]` carries the connection to migrations/env.py."""
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.set_main_option("file_template", "%%(year)d-%%(month).2d-%%(day).2d-%%(hour).2d%%(minute).2d_%%(slug)s")
    return config


def migrate(dsn: str, target: str = "head") -> None:
    """Bring the database to `target` ("head", a revision, or "base" for empty). Waits for another migrating process."""
    engine = create_engine(dsn, poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text("select pg_advisory_lock(:key)"), {"key": LOCK})
        connection.commit()
        config = configuration()
        config.attributes["connection"] = connection
        if target in ("base",) or target.startswith("-"):
            command.downgrade(config, target)
        else:
            command.upgrade(config, target)
        connection.commit()
        connection.execute(text("select pg_advisory_unlock(:key)"), {"key": LOCK})
        connection.commit()
    engine.dispose()


@cache
def newest() -> str | None:
    """The revision this code was written for."""
    return ScriptDirectory.from_config(configuration()).get_current_head()


def is_current(db: Session) -> bool:
    """Whether the database has the schema this code was written for. Asks the database, changes nothing."""
    return MigrationContext.configure(db.connection()).get_current_revision() == newest()
