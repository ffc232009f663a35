"""What the first page says about this machine: database, model, trainer, address, disk."""

import shutil
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.core.people import public_address
from app.core.records import WorkerState
from app.core.settings import Settings
from app.core.words import gettext

FRESH = timedelta(seconds=60)
LEAST_FREE = 5 * 10**9
"""Bytes; a round of the default model needs about 2 GB."""


@dataclass(frozen=True)
class Check:
    """One line: what, whether it is fine, and a sentence."""

    name: str
    good: bool
    says: str


def machine(db: Session, settings: Settings) -> list[Check]:
    """The state of every part, as far as the web process can tell."""
    address = public_address(settings)
    local = not settings.public_url and "//localhost:" in address and settings.host not in ("0.0.0.0", "::")  # noqa: S104 - compared
    home = settings.home if settings.home.exists() else settings.home.parent
    free = shutil.disk_usage(home if home.exists() else "/").free
    version = str(db.scalar(text("show server_version"))).split()[0]
    only_here = gettext("Only this machine reaches it.") if local else ""
    return [
        Check(gettext("Database"), True, gettext("Postgres %(version)s, ready", version=version)),
        _process(db, "policy", gettext("Model"), gettext("%(model)s, ready", model=settings.base_model)),
        _process(db, "trainer", gettext("Trainer"), gettext("Ready")),
        Check(gettext("Address"), not local, f"{address}. {only_here}"),
        Check(
            gettext("Disk"),
            free >= LEAST_FREE,
            gettext("%(n)s GB free. A round needs about 2 GB.", n=f"{free / 10**9:.0f}"),
        ),
    ]


def _process(db: Session, process: str, name: str, words: str) -> Check:
    """Whether a process has said something in the last minute."""
    alive = db.scalar(
        select(WorkerState.name).where(WorkerState.name.startswith(process), WorkerState.seen_at > func.now() - FRESH)
    )
    return Check(name, alive is not None, words if alive else gettext("Starting, or not running yet"))
