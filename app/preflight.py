"""What `palate up` checks before it starts anything. Each problem is one sentence that says what to do."""

import errno
import fcntl
import logging
import os
import shutil
import socket
import time
from pathlib import Path
from typing import IO

from app.core.errors import BadConfiguration
from app.core.settings import Settings
from app.processes import end_leftovers

log = logging.getLogger("palate.supervisor")

LOW_DISK = 1 << 30
PORT_PATIENCE = 5.0
"""Seconds that a port may still belong to a process that is ending."""


def take_home(home: Path) -> IO[str]:
    """Make the home directory and lock it. Keep the returned file open for as long as the home is in use."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = (home / "lock").open("a+")
    except OSError as problem:
        raise BadConfiguration(sentence(problem, home)) from problem
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        owner = lock.read().strip() or "unknown"
        lock.close()
        raise BadConfiguration(
            f"Palate already runs on {home} (process {owner}). Stop that one, or choose another PALATE_HOME."
        ) from None
    try:
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
    except OSError as problem:
        raise BadConfiguration(sentence(problem, home)) from problem
    ended = end_leftovers(home)
    if ended:
        log.warning("Ended processes that outlived a killed supervisor", extra={"count": ended})
    free = shutil.disk_usage(home).free
    if free < LOW_DISK:
        log.warning("Little room is left on the disk of the home directory", extra={"free_mib": free >> 20})
    return lock


def check_ports(settings: Settings, *, policy: bool) -> None:
    """Raise BadConfiguration when a port we need is taken, naming the setting that changes it."""
    wanted = [("PALATE_PORT", settings.host, settings.port)]
    if policy:
        wanted.append(("PALATE_POLICY_PORT", settings.policy_host, settings.policy_port))
    for name, host, port in wanted:
        until = time.monotonic() + PORT_PATIENCE
        while (problem := _bind(host, port)) is not None:
            taken = problem.errno == errno.EADDRINUSE
            if taken and time.monotonic() < until:
                time.sleep(0.1)
                continue
            reason = "is used by another program" if taken else f"cannot be used ({problem.strerror})"
            raise BadConfiguration(f"Port {port} on {host} {reason}. Set {name} to a free one.")


def _bind(host: str, port: int) -> OSError | None:
    """What stands in the way of listening there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as problem:
            return problem
    return None


def check_model(settings: Settings) -> None:
    """Raise BadConfiguration when the base model is meant to be a directory and there is no model in it."""
    wanted = settings.base_model
    if wanted.startswith(("/", "./", "../", "~")) and not (Path(wanted).expanduser() / "config.json").is_file():
        raise BadConfiguration(
            f"PALATE_BASE_MODEL names {wanted}, but there is no model (no config.json) in that directory."
        )


def sentence(problem: OSError, home: Path) -> str:
    """What a failed write means to the person who started us."""
    if problem.errno == errno.ENOSPC:
        return f"The disk of {home} is full. Make room (about 2 GiB) and start again; nothing is lost."
    if problem.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"Palate cannot write to {problem.filename or home}. Choose another PALATE_HOME or change its owner."
    if problem.errno in (errno.ENOTDIR, errno.EEXIST):
        return f"{home} is not a directory. Choose another PALATE_HOME."
    return f"The system refused: {problem}"
