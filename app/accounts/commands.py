"""`palate user …`: people from the command line, for whoever runs the installation."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts import service
from app.core.database import units_of_work
from app.core.errors import InvalidInput, Problem
from app.core.people import make_invite, public_address
from app.core.projects import project_by_slug
from app.core.records import ROLES, Membership, Role, User, record
from app.core.settings import Settings
from app.web.sessions import revoke_sessions

commands = typer.Typer(no_args_is_help=True, help="Invite, list and disable people.")


@contextmanager
def _work(settings: Settings) -> Iterator[Session]:
    with units_of_work(settings.dsn) as uow, uow() as db:
        yield db


@commands.command()
def invite(
    project: Annotated[str, typer.Argument(help="Slug of the project.")],
    role: Annotated[str, typer.Option(help="admin, reviewer, annotator or viewer.")] = "annotator",
) -> None:
    """Print a one-time link that makes a member of a project."""
    settings = Settings()
    known: dict[str, Role] = {one: one for one in ROLES if one != "owner"}
    if role not in known:
        raise InvalidInput([Problem("role", f"There is no role {role!r}; there are {', '.join(known)}.")])
    with _work(settings) as db:
        row = project_by_slug(db, project)
        token = make_invite(db, known[role], project_id=row.id, created_by=None)
        record(db, "invited", f"projects:{row.id}", project_id=row.id, role=role)
    typer.echo(f"{public_address(settings)}/invite/{token}")


@commands.command("owner-link")
def owner_link() -> None:
    """Print a fresh one-time link that makes the owner, while there is none."""
    settings = Settings()
    with _work(settings) as db:
        link = service.first_owner_link(db, settings)
    typer.echo(link or "This installation has an owner.")


@commands.command("list")
def list_people() -> None:
    """Print everybody: e-mail, name, roles."""
    with _work(Settings()) as db:
        for user in db.scalars(select(User).order_by(User.id)).all():
            roles = db.scalars(select(Membership.role).where(Membership.user_id == user.id).distinct()).all()
            words = ["owner"] if user.owner else sorted(roles)
            ended = " (disabled)" if user.disabled_at else ""
            typer.echo(f"{user.email}\t{user.name}\t{', '.join(words)}{ended}")


@commands.command()
def disable(email: Annotated[str, typer.Argument(help="Of the person to cut off.")]) -> None:
    """End a person's sessions and let them in no more. What they answered stays."""
    with _work(Settings()) as db:
        user = service.disable(db, email)
        revoke_sessions(db, user.id)
    typer.echo(f"{user.name} can no longer sign in.")
