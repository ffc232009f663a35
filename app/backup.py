"""Backups: the database by pg_dump and a copy of the artefacts, into one new directory; and the way back.

The dump is taken first: artefacts never change and only grow, so every row of the dump finds its files in the copy.
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import URL, make_url

from app.core.errors import BadConfiguration, Conflict, Unavailable
from app.core.settings import Settings
from app.postgres_binaries import find_binaries

DUMP = "database.dump"


def back_up(settings: Settings, target: Path) -> None:
    """Write `target`/database.dump and `target`/artifacts. `target` must not exist. Raises Conflict, Unavailable."""
    if target.exists():
        raise Conflict(f"{target} exists already. Name a directory that does not.")
    fresh = target.with_name(target.name + ".unfinished")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True, mode=0o700)
    _run("pg_dump", settings, "--format=custom", f"--file={fresh / DUMP}")
    if settings.artifacts.is_dir():
        shutil.copytree(settings.artifacts, fresh / "artifacts", ignore=shutil.ignore_patterns("staging"))
    fresh.rename(target)


def restore(settings: Settings, source: Path) -> None:
    """Read a backup into an empty database. Raises Conflict when tables exist already: nothing is ever overwritten."""
    if not (source / DUMP).is_file():
        raise BadConfiguration(f"{source} is not a backup: it holds no {DUMP}.")
    with psycopg.connect(**_parts(_url(settings)), autocommit=True) as connection:
        known = connection.execute("select to_regclass('public.users') is not null").fetchone()
        if known and known[0]:
            people = connection.execute(
                "select exists (select 1 from users), exists (select 1 from projects)"
            ).fetchone()
            if people and any(people):
                raise Conflict(
                    "The database is not empty. Restore into a fresh PALATE_HOME started with PALATE_DEMO=false."
                )
            connection.execute("drop schema public cascade")
            connection.execute("create schema public")
    _run("pg_restore", settings, "--no-owner", "--exit-on-error", "--single-transaction", str(source / DUMP))
    if (source / "artifacts").is_dir():
        shutil.copytree(source / "artifacts", settings.artifacts, dirs_exist_ok=True)


def _url(settings: Settings) -> URL:
    return make_url(settings.dsn)


def _parts(url: URL) -> dict[str, Any]:
    given = {
        "host": url.query.get("host") or url.host,
        "port": url.port,
        "user": url.username,
        "password": url.password,
        "dbname": url.database,
    }
    return {name: str(value) for name, value in given.items() if value is not None}


def _run(program: str, settings: Settings, *arguments: str) -> None:
    parts = _parts(_url(settings))
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}
    environment = {**os.environ, **{names[name]: value for name, value in parts.items()}}
    target = ["--dbname", parts["dbname"]] if program == "pg_restore" else []
    command = [find_binaries().path(program), *target, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(f"{program} failed: {done.stderr.strip()[-400:]}")
