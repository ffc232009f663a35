"""The embedded Postgres: what it refuses, where it lies, and that it comes back."""

import os
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import postgres_binaries
from app.core import schema
from app.core.errors import Unavailable
from app.postgres import Cluster
from app.postgres_binaries import place_for


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster with a name that has a space in it. (pytest's own directories are closed to the database's account.)"""
    directory = Path(tempfile.mkdtemp(prefix="palate data "))
    cluster = Cluster(directory, {"fsync": "off"})
    cluster.prepare()
    cluster.start()
    yield cluster
    cluster.stop()
    shutil.rmtree(directory)


def test_only_we_can_enter_and_no_port_is_open(cluster: Cluster) -> None:
    assert stat.S_IMODE(cluster.socket.stat().st_mode) == 0o700
    assert stat.S_IMODE(cluster.data.stat().st_mode) == 0o700
    assert stat.S_IMODE((cluster.directory / "password").stat().st_mode) == 0o600
    with cluster.connect("postgres") as connection:
        shown = {
            name: (connection.execute(f"show {name}").fetchone() or ("",))[0]
            for name in ("listen_addresses", "data_checksums", "password_encryption", "synchronous_commit")
        }
        methods = connection.execute("select distinct auth_method from pg_hba_file_rules").fetchall()
    assert shown == {
        "listen_addresses": "",
        "data_checksums": "on",
        "password_encryption": "scram-sha-256",
        "synchronous_commit": "on",
    }
    assert methods == [("scram-sha-256",)]


def test_a_postgres_of_the_system_serves_where_the_wheel_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [one for one in postgres_binaries.installed() if postgres_binaries.version(one) >= postgres_binaries.OLDEST]
    if not found:
        pytest.skip(f"no Postgres of the system, {postgres_binaries.OLDEST} or newer, is installed here")
    monkeypatch.setattr(postgres_binaries, "packaged", list)
    directory = Path(tempfile.mkdtemp(prefix="palate-system-"))
    cluster = Cluster(directory, {"fsync": "off"})
    try:
        cluster.prepare()
        cluster.start()
        assert cluster.binaries.directory == found[0]
        with cluster.connect("postgres") as connection:
            running = connection.info.server_version
            connection.autocommit = True
            connection.execute("create database migrated")
        assert running // 10_000 == postgres_binaries.version(found[0])
        schema.migrate(cluster.dsn("migrated"))
        schema.migrate(cluster.dsn("migrated"), "base")
    finally:
        cluster.stop()
        shutil.rmtree(directory)


def test_a_wrong_password_is_refused(cluster: Cluster) -> None:
    (cluster.directory / "password").write_text("wrong")
    assert not cluster.answers()


def test_it_comes_back_after_kill_9_with_everything_committed(cluster: Cluster) -> None:
    cluster.create_database("palate")
    with cluster.connect("palate") as connection:
        connection.execute("create table kept (n int)")
    for number in range(3):
        with cluster.connect("palate") as connection:
            connection.execute("insert into kept values (%s)", (number,))
        assert cluster.process is not None
        cluster.process.kill()
        cluster.process.wait()
        cluster.start()
    with cluster.connect("palate") as connection:
        assert connection.execute("select count(*) from kept").fetchone() == (3,)


def test_an_orphan_is_ended_and_a_stale_pid_file_ignored(cluster: Cluster) -> None:
    assert cluster.process is not None
    second = Cluster(cluster.directory, {"fsync": "off"})
    second.prepare()
    second.start()  # the first one still runs: it must end, not share the data
    assert second.answers()
    assert cluster.process.wait(10) is not None
    second.stop()
    (cluster.data / "postmaster.pid").write_text(f"{os.getpid()}\n{cluster.data}\n")
    second.start()
    assert second.answers()
    second.stop()


def test_a_half_made_data_directory_is_made_again(cluster: Cluster) -> None:
    cluster.stop()
    other = Cluster(cluster.directory / "half", {"fsync": "off"})
    other.directory.mkdir(mode=0o755)
    (other.directory / "data.new").mkdir()
    (other.directory / "data.new" / "PG_VERSION").write_text("1\n")
    other.prepare()
    assert (other.data / "PG_VERSION").exists()


def test_a_server_that_cannot_start_says_why(cluster: Cluster) -> None:
    cluster.stop()
    broken = Cluster(cluster.directory, {"shared_buffers": "much"})
    with pytest.raises(Unavailable, match="shared_buffers"):
        broken.start(patience=1)


def test_it_ends_with_its_parent(cluster: Cluster) -> None:
    """A child starts the server and is killed; the kernel ends the server."""
    cluster.stop()
    pid = os.fork()
    if pid == 0:
        Cluster(cluster.directory, {"fsync": "off"}).start()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    deadline = time.monotonic() + 10
    while (cluster.data / "postmaster.pid").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not (cluster.data / "postmaster.pid").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs Postgres as somebody else")
def test_as_root_a_closed_home_is_left_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_binaries, "SYSTEM_STATE", Path("/var/lib/palate-test"))
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    assert place_for(closed).parent == Path("/var/lib/palate-test")
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
