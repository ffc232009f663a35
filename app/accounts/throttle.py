"""Failed sign-ins are slowed down per e-mail and per address, never locked out. The counts live in the database,
so that a restart or a second web process forgets nothing (limits: PyPI's)."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, func, select, text
from sqlalchemy.orm import Session

from app.core.errors import TooMany
from app.core.records import SignInAttempt
from app.core.words import ngettext

MOST = 10
WINDOW = timedelta(minutes=5)


@dataclass(frozen=True)
class Attempt:
    """The rows that stand for one try until it turns out to be right."""

    ids: tuple[int, ...]


def attempt(db: Session, email: str, address: str) -> Attempt:
    """Count one try before the password is looked at. Raises TooMany, which itself does not count.

    One try per key at a time (advisory locks, taken in a fixed order), so that parallel requests cannot slip through.
    """
    keys = sorted((f"address:{address}", f"email:{email}"))
    for key in keys:
        db.execute(text("select pg_advisory_xact_lock(hashtextextended(:key, 7))"), {"key": key})
        _refuse(db, key)
    db.execute(delete(SignInAttempt).where(SignInAttempt.at < func.now() - 12 * WINDOW))
    rows = [SignInAttempt(key=key) for key in keys]
    db.add_all(rows)
    db.flush()
    return Attempt(tuple(row.id for row in rows))


def forgive(db: Session, tried: Attempt) -> None:
    """The password was right: this try does not count."""
    db.execute(delete(SignInAttempt).where(SignInAttempt.id.in_(tried.ids)))


def _refuse(db: Session, key: str) -> None:
    recent = SignInAttempt.key == key, SignInAttempt.at > func.now() - WINDOW
    newest = select(SignInAttempt.at).where(*recent).order_by(SignInAttempt.at.desc()).limit(MOST).subquery()
    count, wait = db.execute(
        select(func.count(), func.extract("epoch", func.min(newest.c.at) + WINDOW - func.now())).select_from(newest)
    ).one()
    if count >= MOST:
        minutes = max(1, round(float(wait) / 60 + 0.5))
        text_ = ngettext(
            "Too many tries. Try again in %(n)s minute.", "Too many tries. Try again in %(n)s minutes.", minutes
        )
        raise TooMany(text_, retry_after=max(1, int(wait)))
