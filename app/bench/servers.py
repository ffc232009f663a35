"""Processes of a server under test: started, awaited, weighed, ended."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from app.core.errors import Unavailable

START = 180.0
"""Seconds a server may take until its first page."""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without what is meant for Palate or for this Python, and with `more`."""
    own = ("PALATE_", "PYTHON", "VIRTUAL_ENV", "LABEL_STUDIO", "DJANGO", "FLASK")
    return {name: value for name, value in os.environ.items() if not name.startswith(own)} | more


@dataclass
class Server:
    """A running server and all that it started. Its output is in `log`."""

    process: "subprocess.Popen[bytes]"
    log: Path

    @classmethod
    def start(cls, command: Sequence[str], *, directory: Path, environment: Mapping[str, str], ready: str) -> "Server":
        """Start it and wait until `ready`, an address, answers. Raises Unavailable with its last words."""
        log = directory / "server.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                command, cwd=directory, env=dict(environment), stdout=output, stderr=output, start_new_session=True
            )
        server = cls(process, log)
        until = time.monotonic() + START
        while time.monotonic() < until and process.poll() is None:
            try:
                if httpx.get(ready, timeout=10, trust_env=False).status_code < 500:
                    return server
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        words = log.read_text(errors="replace")[-2000:]
        server.stop()
        raise Unavailable(f"{command[0]} does not come up.\n{words}")

    @property
    def pids(self) -> list[int]:
        """It and its descendants."""
        return family(self.process.pid)

    def stop(self) -> None:
        """End it and what it started: asked first, then killed."""
        for sent in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, sent)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(20)


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue  # ended meanwhile
        children.setdefault(parent, []).append(int(path.parent.name))
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    return found


def memory(pids: Sequence[int]) -> float:
    """MiB of these processes; memory that several share is counted once (proportional set size)."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def cpu(pids: Sequence[int]) -> float:
    """CPU seconds of these processes and of their ended children."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(int(value) for value in fields[11:15])
    return total / os.sysconf("SC_CLK_TCK")


def machine_busy() -> float:
    """CPU seconds that this machine, or its host in its place, was not idle since it started."""
    values = [int(value) for value in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(values) - values[3] - values[4]) / os.sysconf("SC_CLK_TCK")
