"""The embedded Postgres: binaries from a wheel (or the system's), one data directory, one direct child process.

No TCP: a socket in a directory only its owner may enter, a random password, checksums on. The wheel's own
`get_server()` is not used: it opens parent directories to everybody and takes a zombie for a living server. Here
nothing we did not make is ever chmod-ed; started by root, Postgres runs as an existing unprivileged account.
"""

import hashlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from app.core.errors import BadConfiguration, Unavailable
from app.postgres_binaries import (
    Account,
    Binaries,
    copied,
    find_account,
    find_binaries,
    installed,
    packaged,
    reachable,
    version,
)
from app.processes import die_with_parent, is_zombie

LONGEST_SOCKET = 100  # bytes; macOS stops at 103, and the file name adds to the directory
SETTINGS = {
    "listen_addresses": "",
    "max_connections": "80",
    "shared_buffers": "128MB",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "fatal",
    "log_min_error_statement": "panic",
    "log_checkpoints": "off",
    "log_startup_progress_interval": "10s",
}


@dataclass
class Cluster:
    """One data directory and the server that runs on it.

    `directory` is made and owned by us; `data` and `socket` inside it belong to the server's account.
    `settings` are added to SETTINGS (tests turn fsync off there).
    """

    directory: Path
    settings: dict[str, str]
    process: "subprocess.Popen[bytes] | None" = None
    log: Callable[[str], None] | None = None
    """Told in a sentence when something takes long."""

    @cached_property
    def account(self) -> Account:
        return find_account()

    @cached_property
    def binaries(self) -> Binaries:
        found = find_binaries()
        if self.account.uid is None or reachable(found.directory):
            return found
        return copied(found)

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @cached_property
    def socket(self) -> Path:
        """The directory of the socket: beside the data, or in the temporary directory when that name is too long."""
        beside = self.directory / "socket"
        if len(os.fsencode(beside)) <= LONGEST_SOCKET - len("/.s.PGSQL.5432"):
            return beside
        digest = hashlib.sha256(str(self.directory).encode()).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"palate-{os.geteuid()}-{digest}"

    @property
    def password(self) -> str:
        path = self.directory / "password"
        if not path.exists():
            _write_private(path, secrets.token_urlsafe(32))
        return path.read_text().strip()

    def dsn(self, database: str = "palate") -> str:
        """The SQLAlchemy address of one database of this cluster."""
        return f"postgresql+psycopg://palate:{quote(self.password)}@/{database}?host={quote(str(self.socket))}"

    def prepare(self) -> None:
        """Make the directories and, the first time, the data directory. A half-made one is made again."""
        self.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        if self.account.uid is not None and not os.stat(self.directory).st_mode & 0o001:
            os.chmod(self.directory, 0o711)  # noqa: S103 - ours, and its account must pass through
        self._own_directory(self.socket)
        if (self.data / "PG_VERSION").exists():
            self._check_version()
            return
        fresh = self.directory / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        self._own_directory(fresh)
        secret = self.directory / "password.initdb"
        _write_private(secret, self.password)
        self._chown(secret)
        try:
            self._run("initdb", "-D", str(fresh), f"--pwfile={secret}", *self._initdb_options())
        finally:
            secret.unlink(missing_ok=True)
        os.rename(fresh, self.data)

    def _initdb_options(self) -> list[str]:
        options = [
            "--username=palate",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--data-checksums",
            "--no-instructions",
        ]
        if self.binaries.version >= 17:
            return [*options, "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        return [*options, "--locale=C"]

    def _check_version(self) -> None:
        written = int((self.data / "PG_VERSION").read_text())
        if written == self.binaries.version:
            return
        for directory in [*packaged(), *installed()]:
            if version(directory) == written:
                found = Binaries(directory, written)
                usable = self.account.uid is None or reachable(directory)
                self.__dict__["binaries"] = found if usable else copied(found)
                return
        raise BadConfiguration(f"{self.data} was made by Postgres {written}, which is not installed any more.")

    def start(self, patience: float = 120) -> None:
        """Launch the server as our child and wait until it answers: crash recovery may take a while.

        Raises Unavailable with the server's last words when it does not come up within `patience` seconds.
        """
        self._end_orphan()
        deadline = time.monotonic() + patience
        said = time.monotonic()
        self._launch()
        while not self.answers():
            if self.process is not None and self.process.poll() is not None:
                # An old backend may still hold the shared memory for a moment after its postmaster was killed.
                if time.monotonic() > deadline:
                    raise Unavailable(f"Postgres does not start. Its last words: {self.last_words()}")
                time.sleep(0.5)
                self._launch()
            elif time.monotonic() > deadline:
                self.stop()
                raise Unavailable(f"Postgres did not answer within {patience:.0f} s: {self.last_words()}")
            if time.monotonic() - said > 5:
                said = time.monotonic()
                self._say("The database is still recovering")
            time.sleep(0.05)

    def _launch(self) -> None:
        options = {**SETTINGS, **self.settings, "unix_socket_directories": str(self.socket)}
        arguments = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with open(self.directory / "log", "ab") as log:
            log.truncate(0)
            self.process = subprocess.Popen(
                [self.binaries.path("postgres"), "-D", str(self.data), *arguments],
                user=self.account.uid,
                group=self.account.gid,
                extra_groups=[] if self.account.uid is not None else None,
                process_group=0,
                cwd=self.data if self.account.uid is None else "/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
                preexec_fn=die_with_parent(signal.SIGINT),  # noqa: PLW1509 - it calls one system call and allocates nothing
            )

    def answers(self) -> bool:
        """Whether a connection with our password succeeds now."""
        try:
            with self.connect("postgres"):
                return True
        except psycopg.OperationalError:
            return False

    def connect(self, database: str) -> "psycopg.Connection[tuple[object, ...]]":
        """An autocommit connection for administration."""
        return psycopg.connect(
            host=str(self.socket),
            dbname=database,
            user="palate",
            password=self.password,
            autocommit=True,
            connect_timeout=5,
        )

    def create_database(self, name: str = "palate", template: str | None = None) -> None:
        """Create a database unless it exists."""
        with self.connect("postgres") as connection:
            known = connection.execute("select 1 from pg_database where datname = %s", (name,)).fetchone()
            if known is None:
                copy = (
                    sql.SQL(" template {} strategy file_copy").format(sql.Identifier(template))
                    if template
                    else sql.SQL("")
                )
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)) + copy)

    def stop(self, patience: float = 30) -> None:
        """Fast shutdown: disconnect everybody, write everything. Kills it when that takes longer than `patience`."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(10)

    def _say(self, line: str) -> None:
        if self.log is not None:
            self.log(line)

    def last_words(self) -> str:
        """The end of the server's log, for error messages."""
        path = self.directory / "log"
        lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
        return " / ".join(lines[-3:]) or "none"

    def _end_orphan(self) -> None:
        """Stop a server that outlived its supervisor, and remove a pid file that names some other process."""
        path = self.data / "postmaster.pid"
        try:
            pid = int(path.read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            deadline = time.monotonic() + 10
            if not _is_server(pid, self.data):
                break
            self._say("Ending a database server that outlived its supervisor")
            os.kill(pid, number)
            while _is_server(pid, self.data) and time.monotonic() < deadline:
                time.sleep(0.1)
        if path.exists() and not _is_server(pid, self.data):
            path.unlink()

    def _own_directory(self, path: Path) -> None:
        path.mkdir(mode=0o700, exist_ok=True)
        owner = self.account.uid if self.account.uid is not None else os.geteuid()
        if path.stat().st_uid not in (owner, os.geteuid()):
            raise BadConfiguration(f"{path} belongs to somebody else.")
        self._chown(path)

    def _chown(self, path: Path) -> None:
        if self.account.uid is not None and self.account.gid is not None:
            os.chown(path, self.account.uid, self.account.gid)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self.binaries.path(program), *arguments],
            user=self.account.uid,
            group=self.account.gid,
            extra_groups=[] if self.account.uid is not None else None,
            cwd="/",
            capture_output=True,
            text=True,
            env=_environment(),
            check=False,
        )
        if done.returncode != 0:
            raise Unavailable(f"{program} failed: {done.stderr.strip()[-600:]}")


def _is_server(pid: int, data: Path) -> bool:
    """Whether this process is a living Postgres on this data directory (a zombie is not)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    if is_zombie(pid):
        return False
    if Path("/proc/self").exists():
        try:
            return str(data) in Path(f"/proc/{pid}/cmdline").read_text()
        except OSError:
            return False
    shown = subprocess.run(["ps", "-p", str(pid), "-o", "command="], capture_output=True, text=True, check=False)
    return str(data) in shown.stdout


def _environment() -> dict[str, str]:
    """Nothing of ours reaches the server: PG* variables of the person's shell would change what it does."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "TMPDIR", "LD_LIBRARY_PATH")}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
