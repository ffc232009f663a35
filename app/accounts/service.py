"""What accounts can do: sign in, make the first account, take an invitation, change one's own settings."""

from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.accounts import passwords, throttle
from app.core.errors import Conflict, InvalidInput, NotFound, Problem
from app.core.people import make_invite, normal_email, open_invite, public_address, use_invite
from app.core.records import Invite, Project, User, record
from app.core.settings import Settings
from app.core.words import gettext


@dataclass(frozen=True)
class Tried:
    """A sign-in between counting it and looking at the password, for which no transaction is held open."""

    user_id: int | None
    password_hash: str | None
    attempt: throttle.Attempt


def begin_sign_in(db: Session, email: str, address: str) -> Tried:
    """Count the try and find the account. Unknown and disabled people look the same as a wrong password."""
    email = email.strip().lower()[:255]
    attempt = throttle.attempt(db, email, address)
    user = db.scalar(select(User).where(User.email == email, User.disabled_at.is_(None)))
    return Tried(user.id if user else None, user.password_hash if user else None, attempt)


def finish_sign_in(db: Session, tried: Tried, password: str) -> User:
    """The password was right: forgive the try, renew an outdated hash. Raises NotFound if disabled meanwhile."""
    throttle.forgive(db, tried.attempt)
    user = db.get(User, tried.user_id)
    if user is None or user.disabled_at is not None:
        raise NotFound
    if passwords.is_outdated(user.password_hash):
        user.password_hash = passwords.hash_password(password)
    return user


def has_owner(db: Session) -> bool:
    """Whether somebody owns this installation."""
    return db.scalar(select(User.id).where(User.owner).limit(1)) is not None


def first_owner_link(db: Session, settings: Settings) -> str | None:
    """A fresh one-time link that makes the owner, or None when there is one. Earlier unused links stop working."""
    if has_owner(db):
        return None
    db.execute(delete(Invite).where(Invite.project_id.is_(None), Invite.role == "owner", Invite.used_at.is_(None)))
    token = make_invite(db, "owner", project_id=None, created_by=None)
    return f"{public_address(settings)}/welcome/{token}"


def invite_for(db: Session, token: str, *, first: bool) -> Invite:
    """The open invite of a link: to own the installation (`first`) or to join a project. Raises NotFound."""
    invite = open_invite(db, token)
    if invite is None or (invite.project_id is None) != first:
        raise NotFound(gettext("This link was used before or is too old. Ask whoever sent it for a new one."))
    return invite


def invited_to(db: Session, invite: Invite) -> Project:
    """The project an invite leads to."""
    project = db.get(Project, invite.project_id) if invite.project_id else None
    if project is None or project.archived_at is not None:
        raise NotFound(gettext("The project of this link is no longer there."))
    return project


def check_account(name: str, email: str, password: str) -> tuple[str, str]:
    """Name and e-mail as they will be stored. Raises InvalidInput naming every field that does not fit."""
    problems: list[Problem] = []
    name = " ".join(name.split())
    if not 1 <= len(name) <= 80:
        problems.append(Problem("name", gettext("A name has 1 to 80 characters.")))
    try:
        email = normal_email(email)
    except InvalidInput as error:
        problems += error.problems
    problems += password_problems(password, "password")
    if problems:
        raise InvalidInput(problems)
    return name, email


def password_problems(password: str, field: str) -> list[Problem]:
    """What is wrong with a new password: only its length."""
    if len(password) < passwords.LEAST:
        return [Problem(field, gettext("A password has at least %(n)s characters.", n=passwords.LEAST))]
    if len(password) > passwords.MOST:
        return [Problem(field, gettext("A password has at most %(n)s characters.", n=passwords.MOST))]
    return []


def make_account(db: Session, name: str, email: str, password_hash: str) -> User:
    """A new person. Raises InvalidInput when the e-mail is taken."""
    if db.scalar(select(User.id).where(User.email == email)) is not None:
        problem = gettext("This e-mail has an account here. Sign in with it, then open the link again.")
        raise InvalidInput([Problem("email", problem)])
    user = User(name=name, email=email, password_hash=password_hash, preferences={})
    db.add(user)
    db.flush()
    return user


def accept(db: Session, invite: Invite, user: User) -> None:
    """Spend the invite for this person and write it into the audit log."""
    if invite.project_id is None and has_owner(db):
        raise Conflict(gettext("This installation has an owner by now."))
    use_invite(db, invite, user)
    record(
        db,
        "became owner" if invite.project_id is None else "joined",
        f"users:{user.id}",
        user_id=user.id,
        project_id=invite.project_id,
        role=invite.role,
    )


def first_project(db: Session) -> Project | None:
    """The project that was there first: the demo, on a fresh installation."""
    return db.scalar(select(Project).where(Project.archived_at.is_(None)).order_by(Project.id).limit(1))


def change_password(db: Session, user: User, new_hash: str) -> None:
    """Store the new hash. The caller ends the other sessions."""
    user.password_hash = new_hash
    record(db, "changed password", f"users:{user.id}", user_id=user.id)


def disable(db: Session, email: str) -> User:
    """Cut a person off at once; what they answered stays. Raises NotFound."""
    user = db.scalar(select(User).where(User.email == normal_email(email)))
    if user is None:
        raise NotFound(gettext("Nobody here has the e-mail %(email)s.", email=email))
    user.disabled_at = db.scalar(select(func.now()))
    record(db, "disabled", f"users:{user.id}")
    return user
