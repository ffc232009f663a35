"""Child processes: dying with the parent, telling a zombie from the living, passing log lines on."""

import contextlib
import ctypes
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from app.core.settings import ROOT

PR_SET_PDEATHSIG = 1


@dataclass
class Child:
    """One process: how to start it, and how its restarts go."""

    name: str
    arguments: list[str]
    nice: int = 0
    once: bool = False
    """Runs to its end once; its failure ends everything."""
    process: "subprocess.Popen[bytes] | None" = None
    started: float = 0.0
    pause: float = 0.0
    due: float = 0.0
    last_line: str = field(default="", repr=False)

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def launch(self, environment: Mapping[str, str]) -> None:
        """Start `python -m …` in a process group of its own, its output passed on line by line."""
        command = [sys.executable, "-P", "-m", *self.arguments]
        if self.nice:
            command = ["nice", "-n", str(self.nice), *command]
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            command,
            env={**os.environ, **environment, "PALATE_PROCESS": self.name},
            cwd=ROOT,
            process_group=0,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509 - one system call, made before exec
        )
        threading.Thread(target=self._relay, args=(self.process,), daemon=True).start()

    def _relay(self, process: "subprocess.Popen[bytes]") -> None:
        """Pass the lines on; those that are not of our own shape get time and name in front."""
        if process.stdout is None:
            return
        for raw in process.stdout:
            line = raw.decode(errors="replace").rstrip()
            if not line:
                continue
            self.last_line = line.partition(" error ")[2].strip() or line
            if line[2:3] == ":" == line[5:6] or line.startswith("    "):
                print(line, flush=True)
            else:
                print(f"{time.strftime('%H:%M:%S')} {self.name:<10} {'says':<7} {line}", flush=True)
        process.stdout.close()

    def end_group(self) -> None:
        """Kill whatever is left of the process and its own children, and collect it."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def die_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    """For Popen(preexec_fn=…): on Linux the child gets this signal when the parent's thread ends, however it ends.

    Must run after a change of user (Popen does), because the kernel forgets the wish then. None on other systems.
    """
    if platform.system() != "Linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def wish() -> None:
        prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return wish


def is_zombie(pid: int) -> bool:
    """Whether a process has ended and only waits to be collected. False where the system does not say."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[:1] == ["Z"]


def end_leftovers(home: Path) -> int:
    """Kill supervised processes of this home that outlived their supervisor; only its new lock holder may call this.

    They are known by their environment (PALATE_SUPERVISED and this PALATE_HOME). Returns how many; Linux only.
    """
    ended = 0
    wanted = {b"PALATE_SUPERVISED=1", b"PALATE_HOME=" + os.fsencode(home)}
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            environment = set(entry.read_bytes().split(b"\0"))
        except OSError:
            continue
        pid = int(entry.parent.name)
        if wanted <= environment and pid != os.getpid() and not is_zombie(pid):
            os.kill(pid, signal.SIGKILL)
            ended += 1
    return ended
