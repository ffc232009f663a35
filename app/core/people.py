"""Rules about people that several slices share: tokens, e-mail addresses, one-time links."""

import hashlib
import hmac
import re
import secrets
from datetime import timedelta

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.core.errors import Conflict, InvalidInput, Problem
from app.core.records import Invite, Membership, Role, User
from app.core.settings import Settings
from app.core.words import gettext

INVITE_LIFETIME = timedelta(days=7)
EMAIL = re.compile(r"[^\s@<>\"']{1,64}@[^\s@<>\"']{1,190}")


def token_hash(token: str) -> str:
    """What is stored of a session, invite or API token: its SHA-256, hexadecimal."""
    return hashlib.sha256(token.encode()).hexdigest()


def pseudonym(key: str, project_id: int, user_id: int) -> str:
    """A stable name for a person in one project that says nothing about them without the key."""
    return "annotator-" + hmac.new(key.encode(), f"{project_id}:{user_id}".encode(), hashlib.sha256).hexdigest()[:12]


def normal_email(email: str) -> str:
    """An e-mail address as it is stored: trimmed, lower case. Raises InvalidInput."""
    email = email.strip().lower()
    if not EMAIL.fullmatch(email):
        raise InvalidInput([Problem("email", gettext("This does not look like an e-mail address."))])
    return email


def make_invite(db: Session, role: Role, *, project_id: int | None, created_by: int | None) -> str:
    """A one-time token for a role in a project, or without a project for the owner. Only its hash is stored."""
    token = secrets.token_urlsafe(32)
    db.add(
        Invite(
            token_hash=token_hash(token),
            project_id=project_id,
            role=role,
            created_by=created_by,
            expires_at=func.now() + INVITE_LIFETIME,
        )
    )
    db.flush()
    return token


def open_invite(db: Session, token: str) -> Invite | None:
    """The invite of this token while it can still be used."""
    return db.scalar(
        select(Invite).where(
            Invite.token_hash == token_hash(token), Invite.used_at.is_(None), Invite.expires_at > func.now()
        )
    )


def use_invite(db: Session, invite: Invite, user: User) -> None:
    """Spend the invite and give what it promises. Raises Conflict for the slower of two people with one link.

    A membership that is already there keeps the role it has.
    """
    spent = db.scalar(
        update(Invite)
        .where(Invite.id == invite.id, Invite.used_at.is_(None), Invite.expires_at > func.now())
        .values(used_at=func.now(), used_by=user.id)
        .returning(Invite.id)
    )
    if spent is None:
        raise Conflict(gettext("This link was used a moment ago. Ask for a new one."))
    if invite.project_id is None:
        user.owner = True
    elif not is_member(db, invite.project_id, user.id):
        db.add(Membership(project_id=invite.project_id, user_id=user.id, role=invite.role))
    db.flush()


def is_member(db: Session, project_id: int, user_id: int) -> bool:
    """Whether the person has any role in the project."""
    found = select(Membership.id).where(Membership.project_id == project_id, Membership.user_id == user_id)
    return db.scalar(found) is not None


def public_address(settings: Settings) -> str:
    """Where people reach the pages: scheme, host and port, without a slash at the end."""
    if settings.public_url:
        return settings.public_url.rstrip("/")
    host = "localhost" if settings.host in ("0.0.0.0", "::", "127.0.0.1", "::1") else settings.host  # noqa: S104 - compared
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
