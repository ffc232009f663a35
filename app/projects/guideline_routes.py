"""Writing guidelines: an editor with preview, and every version that was ever in force."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from app.core.errors import Conflict, InvalidInput, NotFound
from app.core.words import gettext
from app.projects import service
from app.web.dependencies import ADMINS, READERS, Access, member
from app.web.errors import messages
from app.web.flash import say
from app.web.htmx import see_other
from app.web.templating import render

router = APIRouter(prefix="/projects/{slug}/guidelines")
Text = Annotated[str, Form()]


@router.get("", name="guidelines")
def guidelines_page(request: Request, slug: str) -> Response:
    """What is in force, for everybody who works here."""
    with request.app.state.uow() as db:
        access = member(db, request, slug)
        versions = service.guidelines_of(db, access.project.id)
        return render(request, "projects/guidelines_read.html", shown=versions[0][0] if versions else None)


@router.get("/edit")
def editor(request: Request, slug: str) -> Response:
    """The newest version, ready to be changed."""
    with request.app.state.uow() as db:
        return _editor(request, db, member(db, request, slug, *ADMINS))


@router.post("/edit")
def save(
    request: Request, slug: str, text: Text = "", based_on: Annotated[int, Form()] = 0, act: Text = "save"
) -> Response:
    """Store the next version, or show how it will look."""
    with request.app.state.uow() as db:
        access = member(db, request, slug, *ADMINS)
        if act == "preview":
            return _editor(request, db, access, text=text, based_on=based_on)
        try:
            version = service.save_guidelines(db, access.project, access.user, text, based_on)
        except (InvalidInput, Conflict) as error:
            errors = messages(error) if isinstance(error, InvalidInput) else {"text": str(error)}
            return _editor(request, db, access, error.status, text=text, errors=errors)
    said = gettext("Version %(n)s is in force. People see it with their next task.", n=version)
    return say(request, see_other(request, f"/projects/{slug}/guidelines/edit"), said)


@router.post("/_preview")
def preview(request: Request, slug: str, text: Text = "") -> Response:
    """How a text will look, as a fragment."""
    with request.app.state.uow() as db:
        member(db, request, slug, *ADMINS)
    return render(request, "projects/_preview.html", text=text[: service.MOST_GUIDELINES])


@router.get("/versions/{version}")
def version_page(request: Request, slug: str, version: int) -> Response:
    """One version as people read it."""
    with request.app.state.uow() as db:
        access = member(db, request, slug, *READERS)
        versions = service.guidelines_of(db, access.project.id)
        shown = next((row for row, _ in versions if row.version == version), None)
        if shown is None:
            raise NotFound
        return render(request, "projects/guideline.html", shown=shown, versions=versions)


def _editor(request: Request, db: Session, access: Access, status: int = 200, **form: Any) -> Response:
    versions = service.guidelines_of(db, access.project.id)
    newest = versions[0][0] if versions else None
    context = {"text": newest.text if newest else "", "based_on": newest.version if newest else 0, "errors": {}}
    return render(request, "projects/guidelines.html", status=status, versions=versions, **{**context, **form})
