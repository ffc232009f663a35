"""Pages around a project: the list, a new one, settings, pause, archive. Guidelines and members stand beside it."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from app.core.errors import InvalidInput, Problem
from app.core.forms import parse_protocol
from app.core.projects import protocol_of, settings_of
from app.core.recipes import PIPELINES, PRESETS
from app.core.words import gettext
from app.projects import forms, guideline_routes, listing, member_routes, protocol_routes, service
from app.web.dependencies import ADMINS, Access, current_user, member, owner
from app.web.errors import messages
from app.web.flash import say
from app.web.htmx import see_other
from app.web.templating import render

router = APIRouter()
router.include_router(guideline_routes.router)
router.include_router(member_routes.router)
router.include_router(protocol_routes.router)
Text = Annotated[str, Form()]


@router.get("/")
def project_list(request: Request) -> Response:
    """The person's projects, the one they worked in last first."""
    with request.app.state.uow() as db:
        user = current_user(request, db)
        archived = listing.archived(db) if user.owner else []
        return render(request, "projects/list.html", cards=listing.cards(db, user), archived=archived)


@router.get("/projects/new")
def new_project(request: Request, start: str = "empty") -> Response:
    """The form of a new project. Its first guidelines can wait."""
    with request.app.state.uow() as db:
        owner(request, db)
        return _new(request, {"start": start, "tie": "on", "both_bad": "on"})


@router.post("/projects/new")
def create_project(request: Request) -> Response:
    """Make the project and lead to its prompts."""
    form = _form(request)
    with request.app.state.uow() as db:
        user = owner(request, db)
        try:
            name, slug = forms.read_name(form.get("name", ""), form.get("slug", ""))
            project = service.create_project(
                db,
                user,
                name=name,
                slug=slug,
                guidelines=form.get("guidelines", ""),
                fields=forms.read_protocol(form),
                base_model=request.app.state.settings.base_model,
            )
        except InvalidInput as error:
            return _new(request, form, 422, errors=messages(error))
    goal = f"/projects/{project.slug}/prompts/import"
    return say(
        request, see_other(request, goal), gettext("%(project)s is there. Now its prompts.", project=project.name)
    )


@router.get("/projects/{slug}/settings")
def settings_page(request: Request, slug: str) -> Response:
    """Everything the project decides for itself, in words."""
    with request.app.state.uow() as db:
        access = member(db, request, slug, *ADMINS)
        return _settings(request, db, access, forms.values_of(settings_of(access.project)))


@router.post("/projects/{slug}/settings")
def save_settings(request: Request, slug: str) -> Response:
    """Store the settings; what does not fit is named beside its field."""
    form = _form(request)
    with request.app.state.uow() as db:
        access = member(db, request, slug, *ADMINS)
        try:
            name, _ = forms.read_name(form.get("name", ""), access.project.slug)
            service.save_settings(db, access.project, access.user, name=name, settings=forms.read_settings(form))
        except InvalidInput as error:
            return _settings(request, db, access, form, 422, errors=messages(error))
    return say(request, see_other(request, f"/projects/{slug}/settings"), gettext("Saved."))


@router.post("/projects/{slug}/pause")
def pause(request: Request, slug: str) -> Response:
    """Hand out no more tasks."""
    with request.app.state.uow() as db:
        access = member(db, request, slug, *ADMINS)
        service.set_paused(db, access.project, access.user, True)
    text = gettext("Labeling is paused. Answers on their way are still taken.")
    return say(request, see_other(request, f"/projects/{slug}"), text)


@router.post("/projects/{slug}/resume")
def resume(request: Request, slug: str) -> Response:
    """Hand out tasks again."""
    with request.app.state.uow() as db:
        access = member(db, request, slug, *ADMINS)
        service.set_paused(db, access.project, access.user, False)
    return say(request, see_other(request, f"/projects/{slug}"), gettext("Labeling goes on."))


@router.post("/projects/{slug}/archive")
def archive(request: Request, slug: str, typed: Text = "") -> Response:
    """Put the project away, once its name was typed."""
    with request.app.state.uow() as db:
        access = member(db, request, slug, *ADMINS)
        if typed.strip() != access.project.name:
            error = InvalidInput(
                [Problem("typed", gettext("Type %(project)s to archive it.", project=access.project.name))]
            )
            values = forms.values_of(settings_of(access.project))
            return _settings(request, db, access, values, 422, errors=messages(error))
        service.archive(db, access.project, access.user)
    words = gettext("%(project)s is archived. The owner can bring it back.", project=access.project.name)
    return say(request, see_other(request, "/"), words)


@router.post("/projects/{slug}/restore")
def restore(request: Request, slug: str) -> Response:
    """Bring an archived project back."""
    with request.app.state.uow() as db:
        project = service.restore(db, slug, owner(request, db))
    return say(request, see_other(request, "/"), gettext("%(project)s is back.", project=project.name))


def _form(request: Request) -> dict[str, str]:
    """The text fields of the form that the guard has read."""
    return {name: value for name, value in request.state.form.items() if isinstance(value, str)}


def _new(request: Request, form: dict[str, str], status: int = 200, **context: Any) -> Response:
    return render(request, "projects/new.html", status=status, form=form, **{"errors": {}, **context})


def _settings(
    request: Request, db: Session, access: Access, values: dict[str, Any], status: int = 200, **context: Any
) -> Response:
    return render(
        request,
        "projects/settings.html",
        status=status,
        values={"name": access.project.name, **values},
        sections=forms.SECTIONS,
        presets=[(name, name) for name in PRESETS],
        pipelines=[(one.name, gettext(one.title)) for one in PIPELINES.values()],
        protocol=(protocol := protocol_of(db, access.project)),
        asked=[field.asked for field in parse_protocol(protocol.fields)],
        **{"errors": {}, **context},
    )
