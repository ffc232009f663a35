"""What every test may ask for: settings, a migrated database of its own, the app, a client, people and projects.

One Postgres runs per test run, shared by all xdist workers; a migrated template is cloned for each test that asks.
"""

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from fastapi.testclient import TestClient
from jinja2 import FileSystemBytecodeCache
from pydantic import SecretStr
from sqlalchemy import Engine, make_url
from sqlalchemy.orm import Session

from app.core import database, schema
from app.core.records import Project, Prompt, User
from app.core.settings import Settings
from app.postgres import Cluster
from tests import factories

if TYPE_CHECKING:
    from fastapi import FastAPI

TEMPLATE = f"palate_template_{os.getpid()}"
ADMIN = pytest.StashKey[str]()
CLUSTER = pytest.StashKey[Cluster]()
NUMBERS = count(1)
SERVERS: dict[str, psycopg.Connection] = {}


def pytest_configure() -> None:
    """Settings of the person's shell must not reach the tests; what is meant for tests may."""
    for name in [name for name in os.environ if name.startswith("PALATE_") and not name.startswith("PALATE_TEST_")]:
        del os.environ[name]
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """The xdist controller starts the server once and tells every worker where it is."""
    node.workerinput["template"] = _template(node.config)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the server that this process started."""
    for connection in SERVERS.values():
        connection.close()
    cluster = config.stash.get(CLUSTER, None)
    if cluster is not None:
        cluster.stop()
        shutil.rmtree(cluster.directory, ignore_errors=True)


def _template(config: pytest.Config) -> str:
    """Address of the migrated template. Starts the server on first use in the controlling process."""
    given = getattr(config, "workerinput", {}).get("template")
    if given:
        return str(given)
    if ADMIN not in config.stash:
        url = os.environ.get("PALATE_TEST_DATABASE_URL")
        if url is None:
            cluster = Cluster(
                Path(tempfile.mkdtemp(prefix="palate-test-", dir=_memory())),
                {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "autovacuum": "off"},
            )
            cluster.prepare()
            config.stash[CLUSTER] = cluster
            cluster.start()
            url = cluster.dsn("postgres")
        _create(url, TEMPLATE)
        config.stash[ADMIN] = _address(url, TEMPLATE)
        schema.migrate(config.stash[ADMIN])
    return config.stash[ADMIN]


def _memory() -> str | None:
    """A file system in memory with room for the databases: cloning is 20 times as fast there as on a busy disk."""
    shared = Path("/dev/shm")  # noqa: S108 - mkdtemp makes a directory that only this user can enter
    return str(shared) if os.access(shared, os.W_OK) and shutil.disk_usage(shared).free > 2 << 30 else None


def _address(url: str, name: str) -> str:
    return make_url(url).set(database=name, drivername="postgresql+psycopg").render_as_string(hide_password=False)


def _statement(url: str, statement: str) -> None:
    """Run it on a connection that this process keeps: making a new one each time took longer than the cloning."""
    if url not in SERVERS or SERVERS[url].closed:
        bare = make_url(url).set(database="postgres", drivername="postgresql").render_as_string(hide_password=False)
        SERVERS[url] = psycopg.connect(bare, autocommit=True)
    SERVERS[url].execute(statement)  # names are made here


def _create(url: str, name: str, template: str | None = None) -> None:
    _statement(url, f'create database "{name}"' + (f' template "{template}" strategy file_copy' if template else ""))


@pytest.fixture(scope="session")
def template_dsn(request: pytest.FixtureRequest) -> str:
    """The migrated template. Clone it, never write to it."""
    return _template(request.config)


@pytest.fixture
def empty_dsn(template_dsn: str) -> Iterator[str]:
    """A database without a schema, for tests of migrations."""
    name = f"palate_empty_{os.getpid()}_{next(NUMBERS)}"
    _create(template_dsn, name)
    yield _address(template_dsn, name)
    _statement(template_dsn, f'drop database "{name}" with (force)')


@pytest.fixture
def dsn(template_dsn: str) -> Iterator[str]:
    """A fresh, migrated database for this test alone."""
    name = f"palate_test_{os.getpid()}_{next(NUMBERS)}"
    _create(template_dsn, name, make_url(template_dsn).database)
    yield _address(template_dsn, name)
    _statement(template_dsn, f'drop database "{name}" with (force)')


@pytest.fixture
def settings(dsn: str, tmp_path: Path) -> Settings:
    """Settings with an empty home and this test's database. No demo."""
    return Settings(home=tmp_path / "home", database_url=SecretStr(dsn), demo=False, pool_size=4)


def unused_port() -> int:
    """A TCP port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody uses now."""
    return unused_port()


@pytest.fixture
def engine(dsn: str) -> Iterator[Engine]:
    """A pool of up to 16 connections, so that tests with threads do not wait for each other."""
    engine = database.connect(dsn, pool_size=16)
    yield engine
    database.close(engine)


@pytest.fixture
def uow(engine: Engine) -> database.UnitOfWork:
    """`with uow() as db:` is one committed transaction."""
    return database.unit_of_work(engine)


@pytest.fixture
def db(engine: Engine) -> Iterator[Session]:
    """One session. Commit what other connections (the app, another thread) must see."""
    with Session(engine, expire_on_commit=False) as session:
        yield session
        session.rollback()


@pytest.fixture(scope="session")
def compiled_templates(tmp_path_factory: pytest.TempPathFactory) -> FileSystemBytecodeCache:
    """Templates as Python's byte code: each app would compile its pages anew, a tenth of a second for the first."""
    return FileSystemBytecodeCache(str(tmp_path_factory.mktemp("templates")))


@pytest.fixture
def app(settings: Settings, compiled_templates: FileSystemBytecodeCache) -> "FastAPI":
    """The whole web application on this test's database."""
    from app.main import create_app

    made = create_app(settings)
    made.state.templates.bytecode_cache = compiled_templates
    return made


@pytest.fixture
def client(app: "FastAPI") -> Iterator[TestClient]:
    """A browser without a session. Redirects are not followed, so that tests see them."""
    with TestClient(app, base_url="http://localhost", follow_redirects=False, raise_server_exceptions=True) as client:
        yield client


@pytest.fixture
def make_user(db: Session) -> Callable[..., User]:
    """`make_user(email=…, password=…, owner=…)`, committed."""
    return partial(_committed, db, factories.make_user)


@pytest.fixture
def make_project(db: Session) -> Callable[..., Project]:
    """`make_project(members={user: "admin"}, …)` with guidelines and a protocol, committed."""
    return partial(_committed, db, factories.make_project)


@pytest.fixture
def make_prompt(db: Session) -> Callable[..., Prompt]:
    """`make_prompt(project, text)`, committed."""
    return partial(_committed, db, factories.make_prompt)


def _committed(db: Session, make: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    made = make(db, *arguments, **options)
    db.commit()
    return made


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the tiny random model with seed 0 (see tests/tiny_model.py)."""
    from tests.tiny_model import make_tiny_model

    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "tiny-llama")
