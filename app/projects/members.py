"""Who may do what in a project: members, roles, invitations."""

from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.core.errors import Forbidden, InvalidInput, NotFound, Problem
from app.core.gold import marks
from app.core.people import make_invite
from app.core.projects import settings_of
from app.core.records import Assignment, Invite, Membership, Project, Role, User, record
from app.core.words import N_, gettext, number

GRANTED: dict[str, Role] = {one: one for one in ("annotator", "reviewer", "viewer", "admin")}
"""Roles that an admin gives away, the usual one first."""
MOST_A_DAY = 10_000
ROLE_WORDS = [
    ("annotator", N_("Annotator: answers tasks")),
    ("reviewer", N_("Reviewer: also sees figures and data")),
    ("viewer", N_("Viewer: sees figures and data, answers nothing")),
    ("admin", N_("Admin: may change everything here")),
]


@dataclass(frozen=True)
class Member:
    """A person of a project and how much they did."""

    user: User
    membership: Membership
    answers: int
    screened: tuple[int, int] | None
    """Where the project screens people: how many of their first tasks were right, of how many so far."""

    @property
    def role(self) -> str:
        return self.membership.role


def members_of(db: Session, project: Project) -> list[Member]:
    """Everybody with a role, by name."""
    project_id = project.id
    answers = (
        select(func.count())
        .where(Assignment.project_id == project_id, Assignment.user_id == User.id, Assignment.outcome == "answered")
        .scalar_subquery()
    )
    rows = db.execute(
        select(User, Membership, answers)
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.project_id == project_id)
        .order_by(User.name, User.id)
    )
    first = settings_of(project).pool.screening_tasks
    done = marks(db, project_id, first) if first else {}
    return [
        Member(user, membership, count, _screened(membership, done.get(user.id, [])) if first else None)
        for user, membership, count in rows
    ]


def _screened(membership: Membership, done: list[bool]) -> tuple[int, int] | None:
    return (sum(done), len(done)) if membership.role == "annotator" else None


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


def admit(db: Session, project: Project, by: User, user_id: int) -> None:
    """Let somebody in whom the screening held back. Raises NotFound."""
    membership = _membership(db, project, by, user_id)
    if membership.screening != "admitted":
        membership.screening = "admitted"
        name = _name(db, user_id)
        record(db, "let in", f"users:{user_id}", user_id=by.id, project_id=project.id, name=name)


def change_cap(db: Session, project: Project, by: User, user_id: int, cap: str) -> None:
    """Give a member a daily cap of their own; empty is the project's. Raises InvalidInput or NotFound."""
    cap = cap.strip()
    if cap and not (cap.isascii() and cap.isdigit() and int(cap[:9]) <= MOST_A_DAY):
        raise InvalidInput(
            [
                Problem(
                    "cap", gettext("A whole number from 0 to %(n)s, or nothing.", n=number(MOST_A_DAY)), found=cap[:40]
                )
            ]
        )
    membership = db.scalar(select(Membership).where(Membership.project_id == project.id, Membership.user_id == user_id))
    if membership is None:
        raise NotFound
    old, membership.daily_cap = membership.daily_cap, int(cap) if cap else None
    name = _name(db, user_id)
    record(
        db,
        "changed the daily cap of",
        f"users:{user_id}",
        user_id=by.id,
        project_id=project.id,
        name=name,
        old=old,
        new=membership.daily_cap,
    )


def _name(db: Session, user_id: int) -> str | None:
    return db.scalar(select(User.name).where(User.id == user_id))


def granted(role: str) -> Role:
    """The role, if it can be given away. Raises InvalidInput."""
    if role not in GRANTED:
        raise InvalidInput([Problem("role", gettext("Choose one of the roles."))])
    return GRANTED[role]


def _membership(db: Session, project: Project, by: User, user_id: int) -> Membership:
    membership = db.scalar(select(Membership).where(Membership.project_id == project.id, Membership.user_id == user_id))
    if membership is None:
        raise NotFound
    if user_id == by.id and not by.owner:
        raise Forbidden(
            gettext("Your own role is changed by another admin, so that a project never loses its last one.")
        )
    return membership
