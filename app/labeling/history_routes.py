"""One's own work: the list, and an answer opened again."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.core import edits
from app.labeling import history, service
from app.web.dependencies import LABELERS, member
from app.web.templating import render

router = APIRouter()


@router.get("/history", name="history")
def show_history(request: Request, slug: str) -> Response:
    """What this person answered, as sentences, with search, filter and a way to change each."""
    sought = history.looked(request.query_params)
    with request.app.state.uow() as db:
        access = member(db, request, slug, *LABELERS)
        found = history.find(db, access.project, access.user, sought)
        newest = history.newest(db, access.project, access.user)
        progress = service.progress(db, access.project, access.user)
    return render(
        request,
        "labeling/history.html",
        found=found,
        sought=sought,
        newest=newest,
        choices=history.CHOICES,
        reading=True,
        progress=progress,
    )


@router.get("/history/{key}")
def show_again(request: Request, slug: str, key: str) -> Response:
    """A task answered before, with its sides as they were shown and the old answer; sent to label/edit."""
    with request.app.state.uow() as db:
        access = member(db, request, slug, *LABELERS)
        opened = edits.reopen(db, access.project, access.user, history.key_of(key))
        progress = service.progress(db, access.project, access.user)
        guideline = service.newest_guideline(db, access.project)
        keys = service.key_sheet(access.project, access.user)
    return render(
        request, "labeling/edit.html", opened=opened, task=opened.task, progress=progress, guideline=guideline, **keys
    )
