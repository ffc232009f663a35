"""Signed-in browsers: a random cookie, of which the database keeps only the hash.

Times are the database's own. A session ends after 12 hours without a request and after 14 days in any case.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import timedelta

from fastapi import Request
from fastapi.responses import Response
from sqlalchemy import and_, bindparam, delete, func, select, update
from sqlalchemy.orm import Session

from app.core.people import token_hash
from app.core.records import Membership, Project, User, WebSession
from app.core.settings import Settings

IDLE = timedelta(hours=12)
ABSOLUTE = timedelta(days=14)
TOUCH_EVERY = timedelta(minutes=5)
VISITOR = "palate-visitor"
"""Cookie of somebody who is not signed in; it only carries the anchor of the CSRF token."""


def is_https(settings: Settings) -> bool:
    """Whether browsers reach us over TLS (a proxy ends it; public_url says so)."""
    return bool(settings.public_url and settings.public_url.lower().startswith("https://"))


def cookie_name(settings: Settings) -> str:
    """`__Host-` binds the cookie to this very host, but browsers accept it over https only."""
    return "__Host-palate" if is_https(settings) else "palate"


def csrf_of(anchor: str) -> str:
    """The CSRF token that belongs to a cookie. Nobody who cannot read the (HttpOnly) cookie can compute it."""
    return hmac.new(anchor.encode(), b"palate csrf", hashlib.sha256).hexdigest()


def session_token(request: Request) -> str | None:
    """The session cookie as the browser sent it, checked by nobody yet."""
    return request.cookies.get(cookie_name(request.app.state.settings)) or None


def csrf_anchor(request: Request) -> str | None:
    """The cookie that the CSRF token of this request is derived from: the session's, else the visitor's."""
    return session_token(request) or request.cookies.get(VISITOR) or None


def csrf_token(request: Request) -> str:
    """The token for forms of this page. Makes a visitor cookie (set by `render`) where there is no cookie yet."""
    anchor = getattr(request.state, "csrf_anchor", None) or csrf_anchor(request)
    if anchor is None:
        anchor = request.state.csrf_anchor = secrets.token_urlsafe(32)
        request.state.new_visitor = anchor
    return csrf_of(anchor)


def set_cookie(settings: Settings, response: Response, name: str, value: str, *, seconds: int | None = None) -> None:
    """Set a cookie that scripts cannot read and other sites cannot send along with a POST."""
    response.set_cookie(
        name, value, max_age=seconds, path="/", httponly=True, samesite="lax", secure=is_https(settings)
    )


def give_visitor_cookie(request: Request, response: Response) -> None:
    """Set the cookie that `csrf_token` made up for somebody who had none."""
    visitor = getattr(request.state, "new_visitor", None)
    if visitor:
        set_cookie(request.app.state.settings, response, VISITOR, visitor)


def start_session(db: Session, request: Request, response: Response, user: User) -> str:
    """Sign `user` in with a fresh token and end the session the browser came with, so that none can be fixed before.

    Returns the CSRF token that belongs to it.
    """
    settings: Settings = request.app.state.settings
    old = session_token(request)
    if old is not None:
        db.execute(delete(WebSession).where(WebSession.token_hash == token_hash(old)))
    token = secrets.token_urlsafe(32)
    db.add(
        WebSession(
            token_hash=token_hash(token),
            user_id=user.id,
            user_agent=request.headers.get("user-agent", "")[:300],
            expires_at=func.now() + ABSOLUTE,
        )
    )
    db.flush()
    set_cookie(settings, response, cookie_name(settings), token, seconds=int(ABSOLUTE.total_seconds()))
    response.delete_cookie(VISITOR, path="/")
    return csrf_of(token)


def end_session(db: Session, request: Request, response: Response) -> None:
    """Sign out: the session is gone on the server, whatever the browser keeps."""
    settings: Settings = request.app.state.settings
    token = session_token(request)
    if token is not None:
        db.execute(delete(WebSession).where(WebSession.token_hash == token_hash(token)))
    response.delete_cookie(cookie_name(settings), path="/", httponly=True, samesite="lax", secure=is_https(settings))


@dataclass(frozen=True)
class SignedIn:
    """A live session, whose it is, and what this person is in the project that was asked for."""

    session: WebSession
    user: User
    project: Project | None
    membership: Membership | None


_SIGNED_IN = (
    select(WebSession, User, Project, Membership, WebSession.last_seen_at < func.now() - TOUCH_EVERY)
    .join(User, User.id == WebSession.user_id)
    .outerjoin(Project, and_(Project.slug == bindparam("slug"), Project.archived_at.is_(None)))
    .outerjoin(Membership, and_(Membership.project_id == Project.id, Membership.user_id == User.id))
    .where(
        WebSession.token_hash == bindparam("token"),
        WebSession.expires_at > func.now(),
        WebSession.last_seen_at > func.now() - IDLE,
        User.disabled_at.is_(None),
    )
)


def load_session(db: Session, request: Request, slug: str = "") -> SignedIn | None:
    """The live session of this request, or None when it ended or the user was disabled.

    With `slug` also the project at this address, unless it is archived, and the person's place in it: one statement for
    all, because every answer of an annotator begins with it.
    """
    token = session_token(request)
    if token is None:
        return None
    row = db.execute(_SIGNED_IN, {"token": token_hash(token), "slug": slug}).one_or_none()
    if row is None:
        return None
    session, user, project, membership, stale = row
    if stale:
        db.execute(update(WebSession).where(WebSession.id == session.id).values(last_seen_at=func.now()))
    return SignedIn(session, user, project, membership)


def sessions_of(db: Session, user_id: int) -> list[WebSession]:
    """The person's live sessions, the newest sign of life first."""
    alive = WebSession.expires_at > func.now(), WebSession.last_seen_at > func.now() - IDLE
    return list(
        db.scalars(
            select(WebSession).where(WebSession.user_id == user_id, *alive).order_by(WebSession.last_seen_at.desc())
        )
    )


def revoke_sessions(db: Session, user_id: int, *, only: int | None = None, keep: int | None = None) -> int:
    """End sessions of a person: all, `only` the one with this id, or all but `keep`. Returns how many ended."""
    ended = delete(WebSession).where(WebSession.user_id == user_id)
    if only is not None:
        ended = ended.where(WebSession.id == only)
    if keep is not None:
        ended = ended.where(WebSession.id != keep)
    return len(db.execute(ended.returning(WebSession.id)).all())
