"""A project's settings, checked: sampling, pool, round rule, gate. Stored as JSON in projects.settings."""

from functools import lru_cache
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.errors import NotFound
from app.core.records import Project, Protocol
from app.core.strategies import StrategyName

MOST_PEOPLE = 25
"""Answers that one task may need."""


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Sampling(Part):
    """How the served policy is sampled for the pool. No hidden defaults: what is not named here is off."""

    temperature: float = Field(0.7, gt=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int = Field(96, ge=1, le=2048)


class Pool(Part):
    """How many tasks wait for people, and how they are made."""

    completions_per_prompt: int = Field(4, ge=2, le=16)
    open_tasks: int = Field(80, ge=1, le=100_000)
    """The sampler refills the pool up to this many open tasks."""
    answers_per_task: int = Field(1, ge=1, le=MOST_PEOPLE)
    lease_minutes: int = Field(30, ge=1, le=240)
    strategy: StrategyName = "uniform"
    """What goes together into a task, and for which prompts first (app.core.strategies)."""
    gold_rate: float = Field(0, ge=0, le=0.2)
    """Share of hand-outs that are a task with a known right answer instead of an ordinary one."""
    repeat_rate: float = Field(0, ge=0, le=0.2)
    """Share of hand-outs that are a task that the person answered before."""
    screening_tasks: int = Field(0, ge=0, le=50)
    """Gold tasks that a new annotator answers before ordinary ones. 0: nobody is screened."""
    screening_accuracy: float = Field(0.7, ge=0, le=1)
    """Share of them that must be right."""
    daily_cap: int = Field(0, ge=0, le=10_000)
    """Answers of one person in a day (UTC); 0 is without limit. A member may have a cap of their own."""


class RoundRule(Part):
    """When a round starts by itself."""

    automatic: bool = True
    new_preferences: int = Field(50, ge=2)
    promote_automatically: bool = True
    """A candidate that passes the gate goes live without asking. Off: it waits for an admin."""


class GateLimits(Part):
    """What a candidate must fulfil before it may go live."""

    held_out_accuracy: float = Field(0.6, ge=0, le=1)
    """The reward model's accuracy on held-out pairs must be at least this."""
    win_rate: float = Field(0.5, ge=0, le=1)
    """The low end of the candidate's win-rate interval against the live policy must be above this."""
    kl: float = Field(12.0, gt=0)
    """Nats per answer between candidate and base, at most."""


class Training(Part):
    """The pipeline and preset its rounds use, with single values changed by name: {"ppo": {"steps": 20}}."""

    pipeline: str = "ppo"
    preset: str = "laptop"
    overrides: dict[str, dict[str, bool | int | float | str | list[Any]]] = Field(default_factory=dict)


class ProjectSettings(Part):
    """Everything a project decides for itself."""

    description: str = ""
    sampling: Sampling = Sampling()
    pool: Pool = Pool()
    rounds: RoundRule = RoundRule()
    gate: GateLimits = GateLimits()
    training: Training = Training()
    daily_goal: int = Field(0, ge=0)
    ask_before_sending: bool = False
    """What people do who have not chosen for themselves: one key marks an answer, Enter sends it."""
    all_sensitive: bool = False
    """All its prompts are treated as if they were marked sensitive (app.core.sensitive)."""


def settings_of(project: Project) -> ProjectSettings:
    """The checked settings of a project row. Equal ones are checked once: an answer reads them several times."""
    return _checked(orjson.dumps(project.settings))


@lru_cache(maxsize=500)
def _checked(settings: bytes) -> ProjectSettings:
    return ProjectSettings.model_validate_json(settings)


def project_by_slug(db: Session, slug: str) -> Project:
    """The project at this address, or NotFound."""
    project = db.scalar(select(Project).where(Project.slug == slug, Project.archived_at.is_(None)))
    if project is None:
        raise NotFound
    return project


def protocol_of(db: Session, project: Project) -> Protocol:
    """The version of the protocol that new tasks use."""
    return db.scalars(
        select(Protocol).where(Protocol.project_id == project.id, Protocol.version == project.protocol_version)
    ).one()
