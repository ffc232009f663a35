"""URLs of the overview and of the audit log."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.insights import audit as log
from app.insights import service, views
from app.web.dependencies import ADMINS, READERS, member
from app.web.htmx import see_other
from app.web.templating import render

router = APIRouter(prefix="/projects/{slug}")


@router.get("")
def overview(request: Request, slug: str) -> Response:
    """The overview; annotators are taken to their work."""
    with request.app.state.uow() as db:
        access = member(db, request, slug)
        if not access.may_read:
            return see_other(request, f"/projects/{slug}/label")
        now = service.overview(db, access.project)
        return render(
            request,
            "insights/overview.html",
            **_loop(now),
            needs=views.needs(now),
            tiles=views.tiles(db, now),
            wins=service.wins_against_base(db, access.project.id),
        )


@router.get("/_loop")
def loop(request: Request, slug: str) -> Response:
    """The live part of the overview, which asks for itself while something moves."""
    with request.app.state.uow() as db:
        access = member(db, request, slug, *READERS)
        return render(request, "insights/_loop.html", **_loop(service.overview(db, access.project)))


@router.get("/audit")
def audit(request: Request, slug: str, before: int | None = None) -> Response:
    """Who did what."""
    with request.app.state.uow() as db:
        project = member(db, request, slug, *ADMINS).project
        rows = log.events(db, project.id, before)
        events = [(event, log.said(event, who), log.why(event)) for event, who in rows]
        older = rows[-1][0].id if len(rows) == log.PAGE else None
        return render(request, "insights/audit.html", events=events, older=older, before=before)


def _loop(now: service.Overview) -> dict[str, Any]:
    return {
        "now": now,
        "headline": views.headline(now),
        "stations": views.stations(now),
        "edges": views.edges(now),
        "poll": views.poll_seconds(now),
    }
