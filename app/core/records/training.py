"""What the trainer does: jobs, snapshots, rounds, runs, models, deployments."""

from datetime import datetime

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, Float, Index, Integer, SmallInteger, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.records.base import Created, Id, Json, Record, Settings, to

ROUND_STATES = ("queued", "running", "waiting", "live", "refused", "failed", "cancelled")
RUN_STATES = ("queued", "running", "done", "failed", "cancelled")


class Job(Record):
    """One piece of work for a worker. `fence` grows with every claim; a write with an old fence changes nothing."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint("state in ('queued', 'running', 'done', 'failed', 'cancelled')", "state"),
        Index(
            "ix_jobs_queued", "queue", text("priority desc"), "run_at", "id", postgresql_where=text("state = 'queued'")
        ),
        Index("ix_jobs_running", "queue", "lease_until", postgresql_where=text("state = 'running'")),
        Index("uq_jobs_active_key", "key", unique=True, postgresql_where=text("state in ('queued', 'running')")),
    )
    id: Mapped[Id]
    queue: Mapped[str]
    """trainer or light: which worker takes it."""
    kind: Mapped[str]
    key: Mapped[str | None]
    """At most one waiting or running job per key."""
    payload: Mapped[Settings]
    state: Mapped[str] = mapped_column(server_default="queued")
    """queued → running (claim) → done | failed | cancelled; running → queued (worker lost, retry)."""
    priority: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    run_at: Mapped[Created]
    attempt: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    max_attempts: Mapped[int] = mapped_column(SmallInteger, server_default="3")
    fence: Mapped[int] = mapped_column(Integer, server_default="0")
    lease_owner: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    cancel_requested: Mapped[bool] = mapped_column(server_default="false")
    error: Mapped[str | None]
    created_at: Mapped[Created]
    finished_at: Mapped[datetime | None]


class Snapshot(Record):
    """A frozen, hashed view of feedback: exactly these rows of preferences and demonstrations."""

    __tablename__ = "snapshots"
    id: Mapped[Id]
    project_id: Mapped[int] = to("projects.id")
    filter: Mapped[Settings]
    preference_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), deferred=True)
    demonstration_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), deferred=True, server_default="{}")
    counts: Mapped[Settings]
    """{"train": n, "validation": n, "test": n, "ties": n, "all_bad": n, "annotators": n, "demonstrations": n,
    "demonstrations_held_out": n}"""
    content_hash: Mapped[str]
    created_at: Mapped[Created]


class Round(Record):
    """A pipeline of runs that ends in a candidate policy and a verdict."""

    __tablename__ = "rounds"
    __table_args__ = (
        UniqueConstraint("project_id", "number"),
        CheckConstraint(f"state in {ROUND_STATES}", "state"),
        Index(
            "uq_rounds_active",
            "project_id",
            unique=True,
            postgresql_where=text("state in ('queued', 'running')"),
        ),
    )
    id: Mapped[Id]
    project_id: Mapped[int] = to("projects.id", index=False)
    number: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(server_default="queued")
    """queued → running → waiting (gate passed, an admin decides) → live | refused; or failed | cancelled."""
    trigger: Mapped[str]
    """rule or manual."""
    started_by: Mapped[int | None] = to("users.id", index=False)
    config: Mapped[Settings]
    """Its pipeline, the frozen configs of its recipes and the gate's limits."""
    snapshot_id: Mapped[int] = to("snapshots.id")
    parent_model_id: Mapped[int] = to("models.id", index=False, use_alter=True)
    """The policy that was live when it started, and that its first policy recipe starts from."""
    candidate_model_id: Mapped[int | None] = to("models.id", index=False, use_alter=True)
    verdict: Mapped[Settings]
    """{"passed": bool, "checks": [{name, label, value, low, high, limit, passed, sentence}, …]}"""
    note: Mapped[str] = mapped_column(server_default="")
    created_at: Mapped[Created]
    finished_at: Mapped[datetime | None]


class Run(Record):
    """One recipe, executed once (and resumed as often as needed)."""

    __tablename__ = "runs"
    __table_args__ = (
        UniqueConstraint("round_id", "position"),
        CheckConstraint(f"state in {RUN_STATES}", "state"),
    )
    id: Mapped[Id]
    project_id: Mapped[int] = to("projects.id")
    round_id: Mapped[int] = to("rounds.id", index=False)
    position: Mapped[int] = mapped_column(SmallInteger)
    recipe: Mapped[str]
    config: Mapped[Json]
    seed: Mapped[int]
    state: Mapped[str] = mapped_column(server_default="queued")
    job_id: Mapped[int | None] = to("jobs.id")
    phase: Mapped[str] = mapped_column(server_default="")
    """What it is doing now, in words: "sampling", "step 12 of 30"."""
    step: Mapped[int] = mapped_column(Integer, server_default="0")
    steps: Mapped[int] = mapped_column(Integer, server_default="0")
    checkpoint: Mapped[str | None]
    """Artefact hash of its newest checkpoint."""
    result: Mapped[Settings]
    """Final figures and the ids and hashes of what it made."""
    error: Mapped[str | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class RunMetric(Record):
    """One figure of one step. Names are those of app.core.recipes.METRICS."""

    __tablename__ = "run_metrics"
    run_id: Mapped[int] = to("runs.id", index=False, primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(Integer, primary_key=True)
    value: Mapped[float] = mapped_column(Float)


class Model(Record):
    """An artefact with a role and a parent. Immutable: its files are named by their hash."""

    __tablename__ = "models"
    __table_args__ = (
        UniqueConstraint("project_id", "role", "version"),
        CheckConstraint("role in ('policy', 'reward', 'value')", "role"),
    )
    id: Mapped[Id]
    project_id: Mapped[int] = to("projects.id", index=False)
    role: Mapped[str]
    version: Mapped[int] = mapped_column(Integer)
    """0 is the base model itself (a policy without an adapter)."""
    base_model: Mapped[str]
    parent_id: Mapped[int | None] = to("models.id", index=False)
    run_id: Mapped[int | None] = to("runs.id")
    artifact_hash: Mapped[str | None]
    """Directory under the artefact store; empty for the base model."""
    normalisation: Mapped[Settings]
    """Of a reward model: mean, std, temperature."""
    metrics: Mapped[Settings]
    created_at: Mapped[Created]

    @property
    def name(self) -> str:
        """How pages and the policy server call it: v0, v1, …"""
        return f"v{self.version}"


class Deployment(Record):
    """What is served. The live one of a project is one row; promotion and roll-back insert the next."""

    __tablename__ = "deployments"
    __table_args__ = (
        CheckConstraint("state in ('live', 'retired', 'refused')", "state"),
        Index("uq_deployments_live", "project_id", unique=True, postgresql_where=text("state = 'live'")),
    )
    id: Mapped[Id]
    project_id: Mapped[int] = to("projects.id")
    state: Mapped[str] = mapped_column(server_default="live")
    """live → retired (a newer one) | refused (the policy server could not serve it; the one before is live again)."""
    round_id: Mapped[int | None] = to("rounds.id", index=False)
    reason: Mapped[str] = mapped_column(server_default="")
    activated_by: Mapped[int | None] = to("users.id", index=False)
    activated_at: Mapped[Created]
    serving_at: Mapped[datetime | None]
    """When the policy server first answered with it."""
    retired_at: Mapped[datetime | None]
    error: Mapped[str | None]


class DeploymentPolicy(Record):
    """A policy of a deployment, its share of the requests, and how it decodes."""

    __tablename__ = "deployment_policies"
    deployment_id: Mapped[int] = to("deployments.id", index=False, primary_key=True)
    model_id: Mapped[int] = to("models.id", primary_key=True)
    weight: Mapped[float] = mapped_column(Float, server_default="1")
    decoder: Mapped[Settings]
