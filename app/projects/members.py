"""Who may do what in a project: members, roles, invitations."""

from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.core.errors import Forbidden, InvalidInput, NotFound, Problem
from app.core.people import make_invite
from app.core.records import Assignment, Invite, Membership, Project, Role, User, record

GRANTED: dict[str, Role] = {one: one for one in ("annotator", "reviewer", "viewer", "admin")}
"""Roles that an admin gives away, the usual one first."""
ROLE_WORDS = [
    ("annotator", "Annotator: answers tasks"),
    ("reviewer", "Reviewer: also sees figures and data"),
    ("viewer", "Viewer: sees figures and data, answers nothing"),
    ("admin", "Admin: may change everything here"),
]


@dataclass(frozen=True)
class Member:
    """A person of a project and how much they did."""

    user: User
    role: str
    answers: int


def members_of(db: Session, project_id: int) -> list[Member]:
    """Everybody with a role, by name."""
    answers = (
        select(func.count())
        .where(Assignment.project_id == project_id, Assignment.user_id == User.id, Assignment.outcome == "answered")
        .scalar_subquery()
    )
    rows = db.execute(
        select(User, Membership.role, answers)
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.project_id == project_id)
        .order_by(User.name, User.id)
    )
    return [Member(user, role, count) for user, role, count in rows]


def open_invites(db: Session, project_id: int) -> list[tuple[Invite, str | None]]:
    """Links that can still be used, with the name of who made them."""
    rows = db.execute(
        select(Invite, User.name)
        .outerjoin(User, User.id == Invite.created_by)
        .where(Invite.project_id == project_id, Invite.used_at.is_(None), Invite.expires_at > func.now())
        .order_by(Invite.id.desc())
    )
    return [(invite, name) for invite, name in rows]


def invite(db: Session, project: Project, by: User, role: str) -> str:
    """A one-time token for a role. It is shown once; only its hash is stored."""
    token = make_invite(db, granted(role), project_id=project.id, created_by=by.id)
    record(db, "invited", f"projects:{project.id}", user_id=by.id, project_id=project.id, role=role)
    return token


def revoke_invite(db: Session, project: Project, by: User, invite_id: int) -> None:
    """Make a link useless. Raises NotFound."""
    gone = db.scalar(
        delete(Invite)
        .where(Invite.id == invite_id, Invite.project_id == project.id, Invite.used_at.is_(None))
        .returning(Invite.id)
    )
    if gone is None:
        raise NotFound
    record(db, "revoked an invitation", f"projects:{project.id}", user_id=by.id, project_id=project.id)


def change_role(db: Session, project: Project, by: User, user_id: int, role: str) -> None:
    """Give a member another role. It holds from their next request on."""
    membership = _membership(db, project, by, user_id)
    old, membership.role = membership.role, granted(role)
    record(db, "changed role", f"users:{user_id}", user_id=by.id, project_id=project.id, old=old, new=role)


def remove(db: Session, project: Project, by: User, user_id: int) -> None:
    """Take a member out. What they answered stays."""
    db.delete(_membership(db, project, by, user_id))
    record(db, "removed", f"users:{user_id}", user_id=by.id, project_id=project.id)


def granted(role: str) -> Role:
    """The role, if it can be given away. Raises InvalidInput."""
    if role not in GRANTED:
        raise InvalidInput([Problem("role", "Choose one of the roles.")])
    return GRANTED[role]


def _membership(db: Session, project: Project, by: User, user_id: int) -> Membership:
    membership = db.scalar(select(Membership).where(Membership.project_id == project.id, Membership.user_id == user_id))
    if membership is None:
        raise NotFound
    if user_id == by.id and not by.owner:
        raise Forbidden("Your own role is changed by another admin, so that a project never loses its last one.")
    return membership
