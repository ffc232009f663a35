"""What the operating system knows about child processes: dying with the parent, telling a zombie from the living."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

PR_SET_PDEATHSIG = 1


def die_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    """For Popen(preexec_fn=…): on Linux the child gets this signal when the parent's thread ends, however it ends.

    Must run after a change of user (Popen does), because the kernel forgets the wish then. None on other systems.
    """
    if sys.platform != "linux":
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
