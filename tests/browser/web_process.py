"""The pages as a process of their own on a test's database, so that a test can kill -9 it."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx

from app.core.settings import ROOT

PATIENCE = 200
"""Seconds until it must answer on a machine that has much else to do; two are usual."""


class WebProcess:
    """`palate web` on a fixed port."""

    def __init__(self, dsn: str, port: int, home: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.log = home.with_suffix(".log")
        self.environment = {
            **os.environ,
            "PALATE_HOME": str(home),
            "PALATE_DATABASE_URL": dsn,
            "PALATE_PORT": str(port),
            "PYTHONPATH": str(ROOT),
        }
        self.start()

    def start(self) -> None:
        """Start and wait until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "app.cli", "web"],
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + PATIENCE
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"the server did not start: {self.log.read_text()}")
            time.sleep(0.05)

    def answers(self) -> bool:
        """Whether it takes requests."""
        try:
            return httpx.get(f"{self.url}/healthz", timeout=2).is_success
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        """SIGKILL, in the middle of whatever it does."""
        self.process.kill()
        self.process.wait()

    def outage(self, seconds: float) -> threading.Thread:
        """Kill it now and start it again after so long, beside the test."""
        self.kill()
        gone = threading.Timer(seconds, self.start)
        gone.start()
        return gone
