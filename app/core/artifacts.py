"""The content-addressed store of models and checkpoints: a directory named by the hash of its manifest, never changed.

Writing is stage → fsync → rename, so a half-written artefact is never visible under its name.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.core.errors import AppError

MANIFEST = "manifest.json"


class BrokenArtifact(AppError):
    """The files of this artefact are missing or not what was written."""

    words = "The files of this artefact are missing or not what was written."


@dataclass(frozen=True)
class ArtifactStore:
    """Artefacts under one directory; `root`/ab/abcdef…/ holds files and a manifest with their SHA-256."""

    root: Path

    def path(self, digest: str) -> Path:
        """Where the artefact with this hash lies (whether or not it exists)."""
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise BrokenArtifact(f"{digest!r} is not the hash of an artefact.")
        return self.root / digest[:2] / digest

    @contextmanager
    def stage(self) -> Iterator[Path]:
        """A fresh directory on the same file system, removed afterwards if nobody committed it."""
        staging = self.root / "staging"
        staging.mkdir(parents=True, exist_ok=True)
        directory = Path(tempfile.mkdtemp(dir=staging))
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def commit(self, directory: Path) -> str:
        """Make a staged directory permanent. Returns its hash; the same content twice is one artefact."""
        files = {
            str(file.relative_to(directory)): hash_file(file) for file in sorted(directory.rglob("*")) if file.is_file()
        }
        text = json.dumps({"files": files}, indent=1, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        (directory / MANIFEST).write_text(text)
        for file in [*directory.rglob("*"), directory]:
            _sync(file)
        target = self.path(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(directory, target)
        except OSError:
            if not (target / MANIFEST).is_file():
                raise
        _sync(target.parent)
        return digest

    def verify(self, digest: str) -> Path:
        """The directory of an artefact, after reading every byte and comparing hashes."""
        directory = self.path(digest)
        manifest = directory / MANIFEST
        if not manifest.is_file():
            raise BrokenArtifact(f"Artefact {digest[:12]} is not on this machine (looked in {directory}).")
        text = manifest.read_text()
        if hashlib.sha256(text.encode()).hexdigest() != digest:
            raise BrokenArtifact(f"The manifest of artefact {digest[:12]} was changed.")
        for name, expected in json.loads(text)["files"].items():
            file = directory / name
            if not file.is_file() or hash_file(file) != expected:
                raise BrokenArtifact(f"{name} of artefact {digest[:12]} is missing or was changed.")
        return directory

    def drop(self, digest: str) -> None:
        """Remove an artefact that nothing points to any more (old checkpoints)."""
        shutil.rmtree(self.path(digest), ignore_errors=True)


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
