"""The real policy server as a process of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.core.settings import ROOT, Settings


@contextmanager
def policy_server(settings: Settings, model: Path) -> Iterator[None]:
    """`python -m trainer serve` on this model, at the port and with the token of these settings."""
    environment = os.environ | {
        "PALATE_DATABASE_URL": settings.dsn,
        "PALATE_HOME": str(settings.home),
        "PALATE_BASE_MODEL": str(model),
        "PALATE_POLICY_PORT": str(settings.policy_port),
        "PALATE_POLICY_TOKEN": settings.secret("policy_token"),
        "PALATE_THREADS": "1",
    }
    process = subprocess.Popen([sys.executable, "-m", "trainer", "serve"], cwd=ROOT, env=environment)
    try:
        yield
    finally:
        process.terminate()
        process.wait(120)
