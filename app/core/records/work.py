"""What people work on: projects, prompts, what was written from them, and the tasks that wait for an answer."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ARRAY, REAL, BigInteger, CheckConstraint, Index, Integer, SmallInteger, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core.records.base import Created, Id, Json, Record, Settings, to

SPLITS = ("train", "validation", "test")


class Project(Record):
    """One labeling and training effort. `settings` is read through app.core.projects.ProjectSettings only."""

    __tablename__ = "projects"
    id: Mapped[Id]
    slug: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    protocol_version: Mapped[int] = mapped_column(server_default="1")
    """The version of its protocol that new tasks use."""
    settings: Mapped[Settings]
    created_by: Mapped[int | None] = to("users.id")
    created_at: Mapped[Created]
    paused_at: Mapped[datetime | None]
    archived_at: Mapped[datetime | None]


class Guideline(Record):
    """One version of a project's guidelines, in Markdown. Never edited; a change is the next version."""

    __tablename__ = "guidelines"
    __table_args__ = (UniqueConstraint("project_id", "version"),)
    id: Mapped[Id]
    project_id: Mapped[int] = to("projects.id", index=False)
    version: Mapped[int]
    text: Mapped[str]
    author_id: Mapped[int | None] = to("users.id")
    created_at: Mapped[Created]


class Prompt(Record):
    """Where a trajectory starts. The split is fixed by a hash of its origin and never moves."""

    __tablename__ = "prompts"
    __table_args__ = (
        UniqueConstraint("project_id", "external_id"),
        UniqueConstraint("project_id", "content_hash"),
        CheckConstraint(f"split in {SPLITS}", "split"),
        Index(None, "project_id", "split", "id"),
    )
    id: Mapped[Id]
    project_id: Mapped[int] = to("projects.id", index=False)
    external_id: Mapped[str | None]
    messages: Mapped[list[Json]] = mapped_column(JSONB)
    """[{role, content}, …], the last one from the user."""
    content_hash: Mapped[str]
    source: Mapped[str] = mapped_column(server_default="")
    split: Mapped[str]
    extra: Mapped[Settings]
    """The importer's `metadata`, as it came."""
    sensitive: Mapped[bool] = mapped_column(server_default="false")
    """People see it only after they ask to, or are not given it. Changed by app.core.sensitive alone."""
    created_at: Mapped[Created]
    archived_at: Mapped[datetime | None]


class Trajectory(Record):
    """Everything that was written from one prompt by one author. A completion is a trajectory of one step."""

    __tablename__ = "trajectories"
    __table_args__ = (
        UniqueConstraint(
            *("prompt_id", "model_id", "user_id", "source", "content_hash"), postgresql_nulls_not_distinct=True
        ),
        CheckConstraint("author_kind in ('model', 'user', 'source')", "author_kind"),
    )
    id: Mapped[Id]
    project_id: Mapped[int] = to("projects.id")
    prompt_id: Mapped[int] = to("prompts.id", index=False)
    author_kind: Mapped[str]
    model_id: Mapped[int | None] = to("models.id")
    deployment_id: Mapped[int | None] = to("deployments.id")
    user_id: Mapped[int | None] = to("users.id")
    source: Mapped[str | None]
    """A named outside author, where it is neither a model of ours nor a user."""
    sampling: Mapped[Settings]
    """temperature, top_p, max_tokens … as they were asked for."""
    seed: Mapped[int | None]
    content_hash: Mapped[str]
    created_at: Mapped[Created]


class Step(Record):
    """One message of a trajectory, with the version that wrote it and, where we sampled it, its tokens."""

    __tablename__ = "steps"
    __table_args__ = (
        UniqueConstraint("trajectory_id", "position"),
        CheckConstraint("actor in ('agent', 'user', 'tool', 'env')", "actor"),
    )
    id: Mapped[Id]
    trajectory_id: Mapped[int] = to("trajectories.id", index=False)
    position: Mapped[int] = mapped_column(SmallInteger)
    actor: Mapped[str]
    content: Mapped[str]
    model_id: Mapped[int | None] = to("models.id")
    deployment_id: Mapped[int | None] = to("deployments.id", index=False)
    token_ids: Mapped[list[int] | None] = mapped_column(ARRAY(Integer))
    logprobs: Mapped[list[float] | None] = mapped_column(ARRAY(REAL))
    finish_reason: Mapped[str | None]
    """stop or length."""
    created_at: Mapped[Created]


class Criterion(Record):
    """Something a segment can be rated on, with ordered, anchored options."""

    __tablename__ = "criteria"
    __table_args__ = (UniqueConstraint("project_id", "key", "version"),)
    id: Mapped[Id]
    project_id: Mapped[int] = to("projects.id", index=False)
    key: Mapped[str]
    version: Mapped[int]
    name: Mapped[str]
    scale: Mapped[Json]
    created_at: Mapped[Created]


class Protocol(Record):
    """A versioned form: what is asked of a person. Immutable once a task uses it."""

    __tablename__ = "protocols"
    __table_args__ = (UniqueConstraint("project_id", "version"),)
    id: Mapped[Id]
    project_id: Mapped[int] = to("projects.id", index=False)
    version: Mapped[int]
    fields: Mapped[list[Json]] = mapped_column(JSONB)
    """Read through app.core.forms only."""
    created_at: Mapped[Created]


_OPEN = "state = 'open' and assignees"


class Task(Record):
    """One filled form waiting for people; or one turn of a talk, which waits for the person of the talk alone.

    A gold task has a known right answer. It is never open: whoever draws it may answer it, however many did before,
    so that `answers_needed` says only what it would need without its gold.
    """

    __tablename__ = "tasks"
    __table_args__ = (
        CheckConstraint("state in ('open', 'done', 'withdrawn')", "state"),
        CheckConstraint("gold is null or state <> 'open'", "gold_closed"),
        CheckConstraint("parent_id is null or state <> 'open' and answers_needed = 0", "turn"),
        Index("ix_tasks_parent_id", "parent_id", postgresql_where=text("parent_id is not null")),
        Index("ix_tasks_open", "project_id", text("priority desc"), "id", postgresql_where=text("state = 'open'")),
        Index(
            "ix_tasks_external_id",
            "project_id",
            "external_id",
            unique=True,
            postgresql_where=text("external_id is not null"),
        ),
        Index("ix_tasks_anyone", "project_id", text("priority desc"), "id", postgresql_where=text(f"{_OPEN} is null")),
        Index(
            "ix_tasks_named",
            "assignees",
            postgresql_using="gin",
            postgresql_with={"fastupdate": "off"},
            postgresql_where=text(f"{_OPEN} is not null"),
        ),
        Index(
            "ix_tasks_calm",
            "project_id",
            text("priority desc"),
            "id",
            postgresql_where=text(f"{_OPEN} is null and not sensitive"),
        ),
        Index("ix_tasks_gold", "project_id", postgresql_where=text("gold is not null")),
        Index("ix_tasks_repeat_of", "repeat_of", postgresql_where=text("repeat_of is not null")),
    )
    id: Mapped[Id]
    project_id: Mapped[int] = to("projects.id")
    prompt_id: Mapped[int] = to("prompts.id")
    protocol_id: Mapped[int] = to("protocols.id", index=False)
    parent_id: Mapped[int | None] = to("tasks.id", index=False)
    """The talk that this is a turn of. A turn is never open and needs nobody, so that the queue cannot hand it out."""
    strategy: Mapped[str] = mapped_column(server_default="uniform")
    deployment_id: Mapped[int | None] = to("deployments.id")
    """The deployment whose pool this task belongs to."""
    state: Mapped[str] = mapped_column(server_default="open")
    """open → done (enough answers) | withdrawn (stale or reported); done → open (undo)."""
    priority: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    answers_needed: Mapped[int] = mapped_column(SmallInteger, server_default="1")
    answers: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    assignees: Mapped[list[int] | None] = mapped_column(ARRAY(BigInteger))
    """The only people who get this task, by user id; null: anybody."""
    gold: Mapped[Json | None] = mapped_column(JSONB(none_as_null=True))
    """The right answer by position, as a preference holds it: {"field", "outcome", "tiers"} (app.core.gold)."""
    gold_at: Mapped[datetime | None]
    """Since when: what was served before says nothing about the person."""
    gold_by: Mapped[int | None] = to("users.id", index=False)
    """Who said so, and is never asked it."""
    sensitive: Mapped[bool] = mapped_column(server_default="false")
    """The mark of its prompt, copied so that the queue needs no join."""
    repeat_of: Mapped[int | None] = to("tasks.id", index=False)
    """The task that its one assignee answered before and is asked again."""
    external_id: Mapped[str | None]
    """The importer's `id` of a comparison that came in with its texts."""
    extra: Mapped[Json | None]
    """The importer's `metadata`, as it came."""
    created_at: Mapped[Created]


class TaskSegment(Record):
    """Steps first…last of a trajectory, at a position of a task. Positions are storage order, never display order."""

    __tablename__ = "task_segments"
    task_id: Mapped[int] = to("tasks.id", index=False, primary_key=True)
    position: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    trajectory_id: Mapped[int] = to("trajectories.id")
    first_step: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    last_step: Mapped[int] = mapped_column(SmallInteger, server_default="0")


class Assignment(Record):
    """A task handed to one person, under a lease. One row per task and person, for ever."""

    __tablename__ = "assignments"
    __table_args__ = (
        UniqueConstraint("task_id", "user_id"),
        CheckConstraint("outcome in ('answered', 'skipped', 'reported')", "outcome"),
        Index("ix_assignments_leased", "task_id", "lease_until", postgresql_where=text("outcome is null")),
        Index("ix_assignments_mine", "user_id", "project_id", "submitted_at"),
    )
    id: Mapped[Id]
    task_id: Mapped[int] = to("tasks.id", index=False)
    project_id: Mapped[int] = to("projects.id", index=False)
    user_id: Mapped[int] = to("users.id", index=False)
    guideline_id: Mapped[int | None] = to("guidelines.id", index=False)
    """The guideline version this person could see."""
    lease_token: Mapped[UUID]
    lease_until: Mapped[datetime]
    display_order: Mapped[list[int]] = mapped_column(ARRAY(SmallInteger))
    """display_order[i] is the position of the segment that was shown i-th."""
    idempotency_key: Mapped[UUID] = mapped_column(unique=True)
    """Minted when the task is served; an answer that carries it twice is one answer."""
    served_at: Mapped[Created]
    outcome: Mapped[str | None]
    reason: Mapped[str | None]
    submitted_at: Mapped[datetime | None]
    late: Mapped[bool] = mapped_column(server_default="false")
    """The lease had ended before the answer came. Late answers count, and are marked."""
    active_ms: Mapped[int | None] = mapped_column(Integer)
    input_method: Mapped[str | None]
    """key or pointer."""
    seen_to_end: Mapped[list[int] | None] = mapped_column(ARRAY(SmallInteger))
    """Positions of the segments whose end was on the screen, in order; null where no script could tell."""


class Import(Record):
    """A file of prompts that was looked at, and what was decided about it."""

    __tablename__ = "imports"
    id: Mapped[Id]
    project_id: Mapped[int] = to("projects.id")
    user_id: Mapped[int | None] = to("users.id", index=False)
    file_name: Mapped[str]
    sha256: Mapped[str]
    state: Mapped[str] = mapped_column(server_default="checked")
    """checked → imported | discarded"""
    report: Mapped[Settings]
    """rows, good, duplicates and the first problems."""
    created_at: Mapped[Created]
