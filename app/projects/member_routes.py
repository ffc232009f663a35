"""The members page: who is in, with which role, and links to let others in."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from app.core.people import public_address
from app.core.projects import settings_of
from app.core.words import gettext
from app.projects import members
from app.web.dependencies import ADMINS, Access, member
from app.web.flash import say
from app.web.htmx import see_other
from app.web.templating import render

router = APIRouter(prefix="/projects/{slug}/members")
Text = Annotated[str, Form()]


@router.get("")
def members_page(request: Request, slug: str) -> Response:
    """Everybody with a role here, and the open links."""
    with request.app.state.uow() as db:
        return _page(request, db, member(db, request, slug, *ADMINS))


@router.post("/invite")
def invite(request: Request, slug: str, role: Text = "annotator") -> Response:
    """Make a one-time link. It is on this page only: reading it later is impossible by design."""
    with request.app.state.uow() as db:
        access = member(db, request, slug, *ADMINS)
        token = members.invite(db, access.project, access.user, role)
        db.flush()
        link = f"{public_address(request.app.state.settings)}/invite/{token}"
        return _page(request, db, access, link=link, link_role=role)


@router.post("/invites/{invite_id}/revoke")
def revoke_invite(request: Request, slug: str, invite_id: int) -> Response:
    """Make a link useless."""
    with request.app.state.uow() as db:
        access = member(db, request, slug, *ADMINS)
        members.revoke_invite(db, access.project, access.user, invite_id)
    return say(request, see_other(request, f"/projects/{slug}/members"), gettext("That link no longer works."))


@router.post("/{user_id}/role")
def change_role(request: Request, slug: str, user_id: int, role: Text = "") -> Response:
    """Give a member another role."""
    with request.app.state.uow() as db:
        access = member(db, request, slug, *ADMINS)
        members.change_role(db, access.project, access.user, user_id, role)
    return say(request, see_other(request, f"/projects/{slug}/members"), gettext("The role is changed."))


@router.post("/{user_id}/remove")
def remove(request: Request, slug: str, user_id: int) -> Response:
    """Take a member out of the project."""
    with request.app.state.uow() as db:
        access = member(db, request, slug, *ADMINS)
        members.remove(db, access.project, access.user, user_id)
    return say(
        request, see_other(request, f"/projects/{slug}/members"), gettext("They are out. What they answered stays.")
    )


@router.post("/{user_id}/admit")
def admit(request: Request, slug: str, user_id: int) -> Response:
    """Let somebody in whom the screening held back."""
    with request.app.state.uow() as db:
        access = member(db, request, slug, *ADMINS)
        members.admit(db, access.project, access.user, user_id)
    return say(
        request, see_other(request, f"/projects/{slug}/members"), gettext("They get ordinary tasks from now on.")
    )


@router.post("/{user_id}/cap")
def change_cap(request: Request, slug: str, user_id: int, cap: Text = "") -> Response:
    """Give a member a daily cap of their own."""
    with request.app.state.uow() as db:
        access = member(db, request, slug, *ADMINS)
        members.change_cap(db, access.project, access.user, user_id, cap)
    return say(request, see_other(request, f"/projects/{slug}/members"), gettext("The daily cap is changed."))


def _page(request: Request, db: Session, access: Access, link: str = "", link_role: str = "") -> Response:
    return render(
        request,
        "projects/members.html",
        members=members.members_of(db, access.project),
        invites=members.open_invites(db, access.project.id),
        roles=members.ROLE_WORDS,
        cap=settings_of(access.project).pool.daily_cap,
        link=link,
        link_role=link_role,
    )
