"""URLs of rounds."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from app.core import registry, runs
from app.core.demonstrations import demonstration_counts
from app.core.errors import Conflict, InvalidInput, Problem
from app.core.projects import settings_of
from app.core.recipes import PIPELINES, PRESETS
from app.core.told import Stored
from app.core.words import gettext
from app.training import forms, held_out, service, views
from app.web.dependencies import ADMINS, READERS, Access, member
from app.web.errors import messages
from app.web.flash import say
from app.web.htmx import see_other
from app.web.templating import render

router = APIRouter(prefix="/projects/{slug}/rounds")


@router.get("")
def rounds(request: Request, slug: str, before: int | None = None) -> Response:
    """The table of rounds."""
    with request.app.state.uow() as db:
        project = member(db, request, slug, *READERS).project
        rows = service.rounds(db, project.id, before)
        return render(
            request,
            "training/rounds.html",
            rows=rows,
            pills=views.PILLS,
            new=runs.labels_since_last_round(db, project.id),
            rule=settings_of(project).rounds,
            older=rows[-1].round.number if len(rows) == service.PAGE else None,
        )


@router.get("/new")
def new(request: Request, slug: str, preset: str = "") -> Response:
    """The form that starts a round."""
    with request.app.state.uow() as db:
        access = member(db, request, slug, *ADMINS)
        return render(request, "training/start.html", **_form(db, access, preset=preset))


@router.get("/_ready")
def ready(request: Request, slug: str) -> Response:
    """The count of pairs, and why a round cannot start; asks again by itself."""
    with request.app.state.uow() as db:
        access = member(db, request, slug, *ADMINS)
        return render(request, "training/_ready.html", **_readiness(db, access))


@router.post("")
def start(request: Request, slug: str) -> Response:
    """Start a round by hand."""
    with request.app.state.uow() as db:
        access = member(db, request, slug, *ADMINS)
        sent = request.state.form
        try:
            form = forms.parse(access.project, sent)
            made = runs.start_round(
                db,
                access.project,
                trigger="manual",
                user_id=access.user.id,
                overrides=form.overrides,
                preset=form.preset,
                pipeline=form.pipeline,
                seed=form.seed,
                note=form.note,
            )
        except InvalidInput as error:
            context = _form(db, access, preset=str(sent.get("preset") or ""), errors=messages(error), sent=sent)
            return render(request, "training/start.html", status=422, **context)
        return say(
            request,
            see_other(request, f"/projects/{slug}/rounds/{made.number}"),
            gettext("Round %(n)s is queued.", n=made.number),
        )


@router.get("/{number:int}")
def show(request: Request, slug: str, number: int) -> Response:
    """One round."""
    return _round(request, slug, number, "training/round.html")


@router.get("/{number:int}/_progress")
def progress(request: Request, slug: str, number: int) -> Response:
    """The live part of a round's page, which asks for itself until the round is over."""
    return _round(request, slug, number, "training/_round.html")


@router.post("/{number:int}/cancel")
def cancel(request: Request, slug: str, number: int) -> Response:
    """Stop a round."""
    with request.app.state.uow() as db:
        access = member(db, request, slug, *ADMINS)
        found = service.find(db, access.project.id, number)
        state = runs.cancel_round(db, found.id, user_id=access.user.id)
        stops = state in runs.OPEN_STATES
        words = gettext("It stops at its next step.") if stops else gettext("Round %(n)s is cancelled.", n=number)
        return say(request, see_other(request, f"/projects/{slug}/rounds/{number}"), words)


@router.post("/{number:int}/resume")
def resume(request: Request, slug: str, number: int) -> Response:
    """Let a failed round go on from its last checkpoint."""
    with request.app.state.uow() as db:
        access = member(db, request, slug, *ADMINS)
        runs.resume_round(db, service.find(db, access.project.id, number).id, user_id=access.user.id)
        words = gettext("Round %(n)s goes on from its last checkpoint.", n=number)
        return say(request, see_other(request, f"/projects/{slug}/rounds/{number}"), words)


@router.post("/{number:int}/promote")
def promote(request: Request, slug: str, number: int) -> Response:
    """Let a waiting candidate go live."""
    with request.app.state.uow() as db:
        access = member(db, request, slug, *ADMINS)
        found = service.find(db, access.project.id, number)
        if found.state != "waiting" or found.candidate_model_id is None:
            raise Conflict(gettext("This round does not wait for a decision any more."))
        reason = str(request.state.form.get("reason") or "").strip()[:500]
        registry.promote(
            db,
            access.project.id,
            found.candidate_model_id,
            user_id=access.user.id,
            round_id=found.id,
            reason=reason or Stored.ROUND.of(n=number),
        )
        return say(request, see_other(request, f"/projects/{slug}/rounds/{number}"), gettext("It goes live now."))


@router.post("/{number:int}/refuse")
def refuse(request: Request, slug: str, number: int) -> Response:
    """Decide against a waiting candidate, with a reason."""
    with request.app.state.uow() as db:
        access = member(db, request, slug, *ADMINS)
        found = service.find(db, access.project.id, number)
        reason = str(request.state.form.get("reason") or "").strip()[:500]
        if not reason:
            raise InvalidInput([Problem("reason", gettext("Say in a few words why."))])
        runs.refuse_round(db, found.id, user_id=access.user.id, reason=reason)
        return say(
            request,
            see_other(request, f"/projects/{slug}/rounds/{number}"),
            gettext("Refused. What is live stays live."),
        )


def _round(request: Request, slug: str, number: int, template: str) -> Response:
    with request.app.state.uow() as db:
        project = member(db, request, slug, *READERS).project
        page = service.page(db, project.id, number)
        return render(
            request,
            template,
            page=page,
            pill=views.PILLS[page.round.state],
            sentence=views.sentence(page),
            steps=views.timeline(page),
            charts=views.charts(page),
            held_out=held_out.held_out(page),
            bullets=views.bullets(page.round.verdict),
            passed=views.passed(page.round.verdict),
            took=views.duration(page),
            samples=[] if page.active else service.samples(page, request.app.state.settings.artifacts),
        )


def _form(db: Session, access: Access, *, preset: str = "", errors: Any = None, sent: Any = None) -> dict[str, Any]:
    chosen = preset if preset in PRESETS else settings_of(access.project).training.preset
    return {
        "fields": forms.FIELDS,
        "defaults": forms.defaults(access.project, chosen),
        "presets": [(name, name) for name in PRESETS],
        "preset": chosen,
        "pipelines": PIPELINES.values(),
        "pipeline": str((sent or {}).get("pipeline") or settings_of(access.project).training.pipeline),
        "written": demonstration_counts(db, access.project.id),
        "errors": errors or {},
        "sent": sent or {},
        "gate": settings_of(access.project).gate,
        "asks": not settings_of(access.project).rounds.promote_automatically,
        **_readiness(db, access),
    }


def _readiness(db: Session, access: Access) -> dict[str, Any]:
    project_id = access.project.id
    counts = runs.pair_counts(db, project_id)
    active = service.rounds(db, project_id)[:1]
    busy = active[0].round.number if active and active[0].round.state in runs.OPEN_STATES else None
    live = registry.live(db, project_id)
    reason = runs.too_few(counts)
    if live is None:
        reason = gettext("No policy is live yet. The model is still being prepared.")
    if busy is not None:
        reason = gettext("Round %(n)s is still at work. The next one can start when it is over.", n=busy)
    return {"pairs": counts, "new": runs.labels_since_last_round(db, project_id), "reason": reason, "live": live}
