"""What people answered: four kinds, append-only. An edit or an undo is a new row that supersedes the old one."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, Float, Index, Integer, SmallInteger
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core.records.base import Created, Id, Json, Record, to


class Preference(Record):
    """A partial order over a task's segments.

    `tiers` lists positions (app.core.records.work.TaskSegment), best first: [[1], [0]] is "second over first",
    [[0, 1]] a tie. `outcome` tells a tie from "all bad", and `best` says that the second tier holds what was not
    chosen, in no order. A row with `withdrawn` takes the one it supersedes back.
    """

    __tablename__ = "preferences"
    __table_args__ = (
        CheckConstraint("outcome in ('prefer', 'best', 'tie', 'all_bad')", "outcome"),
        Index(None, "project_id", "id"),
    )
    id: Mapped[Id]
    project_id: Mapped[int] = to("projects.id", index=False)
    task_id: Mapped[int] = to("tasks.id")
    assignment_id: Mapped[int] = to("assignments.id")
    user_id: Mapped[int] = to("users.id")
    field: Mapped[str]
    outcome: Mapped[str]
    tiers: Mapped[list[list[int]]] = mapped_column(JSONB)
    strength: Mapped[int | None] = mapped_column(SmallInteger)
    note: Mapped[str] = mapped_column(server_default="")
    idempotency_key: Mapped[UUID | None] = mapped_column(unique=True)
    supersedes_id: Mapped[int | None] = to("preferences.id", index=False, unique=True)
    withdrawn: Mapped[bool] = mapped_column(server_default="false")
    created_at: Mapped[Created]


class Rating(Record):
    """A value or a text for one segment, a passage of it, or a whole task, on one criterion.

    `value` is null where the criterion does not apply, or where it asks for a text only.
    """

    __tablename__ = "ratings"
    __table_args__ = (CheckConstraint("(span_start is null) = (span_end is null) and span_start < span_end", "span"),)
    id: Mapped[Id]
    project_id: Mapped[int] = to("projects.id")
    assignment_id: Mapped[int] = to("assignments.id")
    user_id: Mapped[int] = to("users.id", index=False)
    field: Mapped[str]
    position: Mapped[int | None] = mapped_column(SmallInteger)
    """Of the segment; null: the task as a whole."""
    span_start: Mapped[int | None] = mapped_column(Integer)
    """First character of a passage in the segment's text, counted from 0."""
    span_end: Mapped[int | None] = mapped_column(Integer)
    """One after its last."""
    criterion_id: Mapped[int] = to("criteria.id")
    value: Mapped[float | None] = mapped_column(Float)
    text: Mapped[str] = mapped_column(server_default="")
    idempotency_key: Mapped[UUID | None] = mapped_column(unique=True)
    supersedes_id: Mapped[int | None] = to("ratings.id", index=False, unique=True)
    withdrawn: Mapped[bool] = mapped_column(server_default="false")
    created_at: Mapped[Created]


class Signal(Record):
    """A timed key press on a live trajectory."""

    __tablename__ = "signals"
    id: Mapped[Id]
    project_id: Mapped[int] = to("projects.id")
    assignment_id: Mapped[int] = to("assignments.id")
    trajectory_id: Mapped[int] = to("trajectories.id", index=False)
    key: Mapped[str]
    value: Mapped[float] = mapped_column(Float)
    at: Mapped[datetime]
    created_at: Mapped[Created]


class Demonstration(Record):
    """A trajectory that a person wrote or rewrote as an answer to a task."""

    __tablename__ = "demonstrations"
    id: Mapped[Id]
    project_id: Mapped[int] = to("projects.id")
    assignment_id: Mapped[int | None] = to("assignments.id")
    user_id: Mapped[int] = to("users.id", index=False)
    field: Mapped[str] = mapped_column(server_default="")
    trajectory_id: Mapped[int] = to("trajectories.id")
    edited_from_id: Mapped[int | None] = to("trajectories.id", index=False)
    idempotency_key: Mapped[UUID | None] = mapped_column(unique=True)
    supersedes_id: Mapped[int | None] = to("demonstrations.id", index=False, unique=True)
    withdrawn: Mapped[bool] = mapped_column(server_default="false")
    created_at: Mapped[Created]


class Export(Record):
    """A dataset that was written: what was chosen and what came out. Same choices, same labels: same bytes."""

    __tablename__ = "exports"
    id: Mapped[Id]
    project_id: Mapped[int] = to("projects.id")
    user_id: Mapped[int | None] = to("users.id", index=False)
    snapshot_id: Mapped[int] = to("snapshots.id")
    shape: Mapped[str]
    options: Mapped[Json]
    counts: Mapped[Json]
    files: Mapped[list[Json]] = mapped_column(JSONB)
    """[{name, sha256, bytes, rows}, …]"""
    created_at: Mapped[Created]
