"""`palate test`: format, lint, types, templates, tests, in this order. Everything runs even if an early check fails."""

import os
import shutil
import subprocess
import sys
import time

from app.core.settings import ROOT

SOURCES = ["app", "trainer", "tests", "migrations"]


def run(words: list[str], *, quick: bool = False) -> int:
    """Run all checks, then pytest with `words`, whose closing line comes last. 0 when all is well."""
    failed = [name for name, command in _checks() if not _passes(name, command)]
    _find_chromium()
    chosen = (
        []
        if any(word.startswith("-m") for word in words)
        else ["-m", "not slow and not browser" if quick else "not slow"]
    )
    workers = [] if any(word.startswith(("-n", "--pdb")) for word in words) else ["-n", "2", "--dist", "worksteal"]
    if failed:
        _say(f"FAILED before the tests: {', '.join(failed)}")
    code = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *workers, *chosen, *words], cwd=ROOT, check=False
    ).returncode
    return code or (1 if failed else 0)


def _checks() -> list[tuple[str, list[str]]]:
    python = sys.executable
    there = [name for name in SOURCES if (ROOT / name).is_dir()]
    return [
        ("ruff format", [python, "-m", "ruff", "format", "--check", "--quiet", *there]),
        ("ruff check", [python, "-m", "ruff", "check", "--quiet", *there]),
        ("mypy", [python, "-m", "mypy"]),
        ("djlint", [python, "-m", "djlint", "--lint", "--quiet", "templates"]),
    ]


def _passes(name: str, command: list[str]) -> bool:
    began = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    _say(f"{name}: {'ok' if done.returncode == 0 else 'FAILED'} ({time.monotonic() - began:.0f} s)")
    if done.returncode != 0:
        _say((done.stdout + done.stderr).strip())
    return done.returncode == 0


def _find_chromium() -> None:
    """Browser tests need Chromium. As root on Debian it is installed; elsewhere the gap is named loudly."""
    if any(shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")):
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        _say("Installing Chromium for the browser tests")
        subprocess.run(["apt-get", "update", "-qq"], check=False, stdout=sys.stderr)
        subprocess.run(
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"], check=False, stdout=sys.stderr
        )
    if not shutil.which("chromium"):
        _say("!!! No Chromium was found: ALL BROWSER TESTS ARE SKIPPED. Install it (apt-get install chromium) !!!")


def _say(text: str) -> None:
    print(text, flush=True)
