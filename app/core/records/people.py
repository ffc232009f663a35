"""People: who they are, what they may do where, how they are signed in."""

from datetime import datetime
from typing import Literal

from sqlalchemy import ARRAY, CheckConstraint, Index, Integer, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.core.records.base import Created, Id, Record, Settings, to

Role = Literal["owner", "admin", "reviewer", "annotator", "viewer"]
ROLES: tuple[Role, ...] = ("owner", "admin", "reviewer", "annotator", "viewer")
SCREENED = ("passed", "failed", "admitted")


class User(Record):
    """A person. `owner` may do everything everywhere; all others act through memberships."""

    __tablename__ = "users"
    __table_args__ = (UniqueConstraint("email"),)
    id: Mapped[Id]
    email: Mapped[str]
    """Stored lower-case."""
    name: Mapped[str]
    password_hash: Mapped[str]
    owner: Mapped[bool] = mapped_column(server_default="false")
    preferences: Mapped[Settings]
    """Their own settings: theme, reading face and size, key layout."""
    created_at: Mapped[Created]
    disabled_at: Mapped[datetime | None]


class Membership(Record):
    """A role in one project."""

    __tablename__ = "memberships"
    __table_args__ = (
        UniqueConstraint("project_id", "user_id"),
        CheckConstraint(f"role in {ROLES}", "role"),
        CheckConstraint(f"screening in {SCREENED}", "screening"),
        CheckConstraint("daily_cap >= 0", "daily_cap"),
    )
    id: Mapped[Id]
    project_id: Mapped[int] = to("projects.id", index=False)
    user_id: Mapped[int] = to("users.id")
    role: Mapped[str]
    daily_cap: Mapped[int | None] = mapped_column(Integer)
    """Answers a day, instead of the project's; 0 is without limit, null as the project says."""
    screening: Mapped[str | None]
    """How the first tasks went, once they are judged: passed | failed → admitted (an admin lets them in)."""
    created_at: Mapped[Created]


class WebSession(Record):
    """A signed-in browser. Only the SHA-256 of the cookie is stored."""

    __tablename__ = "web_sessions"
    id: Mapped[Id]
    token_hash: Mapped[str] = mapped_column(unique=True)
    user_id: Mapped[int] = to("users.id")
    user_agent: Mapped[str] = mapped_column(server_default="")
    created_at: Mapped[Created]
    last_seen_at: Mapped[Created]
    expires_at: Mapped[datetime]


class ApiToken(Record):
    """A key for programs. Shown once; only the SHA-256 is stored."""

    __tablename__ = "api_tokens"
    id: Mapped[Id]
    user_id: Mapped[int] = to("users.id")
    project_id: Mapped[int | None] = to("projects.id")
    name: Mapped[str]
    token_hash: Mapped[str] = mapped_column(unique=True)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    created_at: Mapped[Created]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Invite(Record):
    """A one-time link. Without a project it makes the owner (first start)."""

    __tablename__ = "invites"
    __table_args__ = (CheckConstraint(f"role in {ROLES}", "role"),)
    id: Mapped[Id]
    token_hash: Mapped[str] = mapped_column(unique=True)
    project_id: Mapped[int | None] = to("projects.id")
    role: Mapped[str]
    created_by: Mapped[int | None] = to("users.id")
    created_at: Mapped[Created]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    used_by: Mapped[int | None] = to("users.id")


class SignInAttempt(Record):
    """Failed sign-ins, counted per e-mail and per address so that limits survive restarts and are shared by workers."""

    __tablename__ = "sign_in_attempts"
    __table_args__ = (Index(None, "key", "at"),)
    id: Mapped[Id]
    key: Mapped[str]
    at: Mapped[Created]
