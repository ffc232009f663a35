"""Who asks, and what they may do. Every handler calls one of these first; a test proves that none forgets."""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, TypeVar

from fastapi import Request
from sqlalchemy import inspect
from sqlalchemy.orm import Session

from app.core.errors import Forbidden, NotFound, SignInNeeded
from app.core.records import Membership, Project, Record, User
from app.core.words import N_, gettext
from app.web.sessions import SignedIn, load_session
from app.web.words import speak_with

Handler = TypeVar("Handler", bound=Callable[..., Any])

ADMINS = (N_("owner"), N_("admin"))
"""Change a project: settings, members, rounds, models, imports, exports."""
READERS = (*ADMINS, N_("reviewer"), N_("viewer"))
"""See a project's figures: overview, rounds, models, data."""
LABELERS = (*ADMINS, "reviewer", N_("annotator"))
"""Answer tasks."""


@dataclass(frozen=True)
class Access:
    """A person in a project. `role` is "owner" for the owner of the installation, in every project."""

    user: User
    project: Project
    role: str
    membership: Membership | None = None
    """None for an owner who is no member."""

    @property
    def may_manage(self) -> bool:
        return self.role in ADMINS

    @property
    def may_read(self) -> bool:
        return self.role in READERS

    @property
    def may_label(self) -> bool:
        return self.role in LABELERS


def public(handler: Handler) -> Handler:
    """Mark a handler that anybody may call, signed in or not."""
    handler.__palate_public__ = True  # type: ignore[attr-defined]
    return handler


def plain_copy(row: Record) -> SimpleNamespace:
    """The columns of a row, for the page's frame: they stay readable when the transaction is rolled back."""
    return SimpleNamespace(**{one.key: getattr(row, one.key) for one in inspect(type(row)).column_attrs})


def visitor(request: Request, db: Session) -> User | None:
    """The signed-in person, or None. Remembered for the page's frame; from here on their language is spoken."""
    if not hasattr(request.state, "user"):
        _remember(request, load_session(db, request))
    user: User | None = request.state.user
    return user


def _remember(request: Request, found: SignedIn | None) -> None:
    request.state.session_id, request.state.user = (found.session.id, found.user) if found else (None, None)
    request.state.shown_user = plain_copy(found.user) if found else None
    if found:
        speak_with(request.headers.get("accept-language", ""), found.user.preferences)


def current_user(request: Request, db: Session) -> User:
    """The signed-in person; raises SignInNeeded."""
    user = visitor(request, db)
    if user is None:
        raise SignInNeeded
    return user


def owner(request: Request, db: Session) -> User:
    """The signed-in owner of the installation; raises SignInNeeded or Forbidden."""
    user = current_user(request, db)
    if not user.owner:
        raise Forbidden(gettext("This page is for the owner of this installation."))
    return user


def member(db: Session, request: Request, slug: str, *roles: str) -> Access:
    """The person's access to a project; with `roles`, only for these (owner always may).

    Raises SignInNeeded; NotFound for a project that is not theirs (its existence is nobody else's business); Forbidden
    for a member with another role.
    """
    found = load_session(db, request, slug)
    _remember(request, found)
    if found is None:
        raise SignInNeeded
    user, project = found.user, found.project
    if project is None or (found.membership is None and not user.owner):
        raise NotFound
    role = "owner" if user.owner or found.membership is None else found.membership.role
    access = Access(user, project, role, found.membership)
    request.state.shown_project, request.state.access = plain_copy(project), access
    if roles and role not in (*roles, "owner"):
        raise Forbidden(
            gettext(
                "This page is for other roles of %(project)s. Yours is %(role)s.",
                project=project.name,
                role=gettext(role),
            )
        )
    return access
