"""Who did what. Append-only."""

from datetime import datetime

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.core.records.base import Created, Id, Record, Settings, to


class AuditEvent(Record):
    """One act, as a past-tense verb and the thing it was done to."""

    __tablename__ = "audit_events"
    __table_args__ = (Index(None, "project_id", "id"),)
    id: Mapped[Id]
    at: Mapped[Created]
    user_id: Mapped[int | None] = to("users.id", index=False)
    project_id: Mapped[int | None] = to("projects.id", index=False)
    action: Mapped[str]
    subject: Mapped[str]
    """table:id of the thing, such as models:14."""
    detail: Mapped[Settings]


class WorkerState(Record):
    """The newest sign of life of each process, so that pages can say what is running."""

    __tablename__ = "worker_states"
    name: Mapped[str] = mapped_column(primary_key=True)
    seen_at: Mapped[datetime]
    detail: Mapped[Settings]


def record(
    db: Session,
    action: str,
    subject: str,
    *,
    user_id: int | None = None,
    project_id: int | None = None,
    **detail: object,
) -> None:
    """Write one audit event in the caller's transaction."""
    db.add(AuditEvent(action=action, subject=subject, user_id=user_id, project_id=project_id, detail=detail))
