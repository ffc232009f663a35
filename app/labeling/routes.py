"""The label page and what it posts. Every act works as a plain form; the page's script asks for JSON instead."""

from collections.abc import Callable
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from sqlalchemy.orm import Session

from app.core import edits, leases, queue, talks
from app.core.answers import Outcome
from app.core.errors import InvalidInput, Problem
from app.core.forms import Converse
from app.core.forms.write import MOST_TEXT
from app.core.pauses import give_back
from app.core.records import User
from app.core.standing import Standing, hold, tasks_today
from app.core.words import gettext
from app.labeling import service, talk_routes
from app.labeling.history_routes import router as history_router
from app.web.dependencies import LABELERS, Access, member
from app.web.flash import say
from app.web.htmx import see_other, wants_json
from app.web.markdown import to_html
from app.web.templating import left, render

router = APIRouter(prefix="/projects/{slug}")
router.include_router(history_router)
router.include_router(talk_routes.router)

Have = Annotated[list[UUID], Query(max_length=16)]


@router.get("/label", name="label")
def show_label(request: Request, slug: str) -> Response:
    """The page: a task, and the next one already in it."""
    with request.app.state.uow() as db:
        access = member(db, request, slug, *LABELERS)
        talks.resume(db, access.project, access.user)
        task = queue.next_task(db, access.project, access.user)
        if task is not None and isinstance(task.lead, Converse):
            return talk_routes.page(request, db, access, task.key)
        ahead = queue.next_task(db, access.project, access.user, have=[task.key]) if task else None
        context = service.around(db, access.project, access.user)
        if task is None:
            context["place"] = service.place_of(db, access.project, access.user)
    return render(request, "labeling/page.html", task=task, ahead=ahead, **context)


@router.get("/label/next")
def next_fragment(request: Request, slug: str, have: Have = []) -> Response:  # noqa: B006  FastAPI copies it
    """A task that the page does not have yet, as a fragment; 204 when there is none, 205 for a talk: it has its own.

    Where there is none for a reason, the fragment says it instead.
    """
    with request.app.state.uow() as db:
        access = member(db, request, slug, *LABELERS)
        task = queue.next_task(db, access.project, access.user, have=have, membership=access.membership)
        if task is None:
            place = service.place_of(db, access.project, access.user)
            return _nothing(request, place) if place.why else Response(status_code=204)
        number = tasks_today(db, access.project, access.user) + 1 + len(have)
    if isinstance(task.lead, Converse):
        return Response(status_code=205)
    return render(request, "labeling/_task.html", task=task, number=number)


@router.post("/label/answer")
def answer(request: Request, slug: str) -> Response:
    """Store one answer."""
    posted = _posted(request)
    sent = service.sent(posted)

    def store(db: Session, user: User) -> Outcome:
        return queue.submit(
            db,
            user,
            sent.key,
            sent.token,
            lambda fields: service.answers_of(posted, fields),
            active_ms=sent.active_ms,
            input_method=sent.input_method,
            seen=sent.seen,
        )

    return _acted(request, slug, store)


@router.post("/label/skip")
def skip(request: Request, slug: str) -> Response:
    """Leave this task to others."""
    sent = service.sent(_posted(request))

    def store(db: Session, user: User) -> Outcome:
        return queue.skip(db, user, sent.key, sent.token, sent.reason, active_ms=sent.active_ms)

    return _acted(request, slug, store)


@router.post("/label/report")
def report(request: Request, slug: str) -> Response:
    """Hold this task back, with a reason."""
    sent = service.sent(_posted(request))
    if sent.reason not in queue.REASONS:
        raise InvalidInput([Problem("reason", gettext("Choose one of the reasons."), found=sent.reason[:50])])

    def store(db: Session, user: User) -> Outcome:
        return queue.report(db, user, sent.key, sent.token, sent.reason, active_ms=sent.active_ms)

    return _acted(request, slug, store)


@router.post("/label/keep")
def keep(request: Request, slug: str) -> Response:
    """Lend a task for longer to somebody who works on it."""
    sent = service.sent(_posted(request))
    with request.app.state.uow() as db:
        access = member(db, request, slug, *LABELERS)
        until = leases.keep(db, access.project, access.user, sent.key, sent.token)
    if not wants_json(request):
        return say(request, see_other(request, f"/projects/{slug}/label"), gettext("The task stays with you."), "info")
    return JSONResponse({"left": left(until)})


@router.post("/label/pause")
def pause(request: Request, slug: str) -> Response:
    """Give back the tasks of this page, so that others can have them at once."""
    keys = service.keys_of(request.state.form.getlist("key"))
    with request.app.state.uow() as db:
        access = member(db, request, slug, *LABELERS)
        count = give_back(db, access.user, keys)
    if not wants_json(request):
        words = gettext("Paused. Your task went back to the pile, where others can have it.")
        return say(request, see_other(request, f"/projects/{slug}/history"), words, "info")
    return JSONResponse({"given_back": count})


@router.post("/label/undo")
def undo(request: Request, slug: str) -> Response:
    """Take back the person's last act and show its task again."""
    with request.app.state.uow() as db:
        access = member(db, request, slug, *LABELERS)
        undone = queue.undo(db, access.project, access.user)
        today = tasks_today(db, access.project, access.user)
    words = _taken_back(undone)
    if not wants_json(request):
        return say(request, see_other(request, f"/projects/{slug}/label"), words, "info")
    task = undone[1] if undone else None
    if task is not None and isinstance(task.lead, Converse):
        return JSONResponse({"said": words, "task": None, "today": today, "elsewhere": str(task.key)})
    html = _fragment(request, task, today + 1) if task else None
    return JSONResponse({"said": words, "task": html, "today": today})


@router.post("/label/preview")
def preview(request: Request, slug: str) -> Response:
    """A text that somebody writes, as it would be shown. Nothing is stored."""
    with request.app.state.uow() as db:
        member(db, request, slug, *LABELERS)
    return Response(to_html(_posted(request).get("text", "")[:MOST_TEXT]), media_type="text/html")


@router.post("/label/edit")
def edit(request: Request, slug: str) -> Response:
    """Replace an answer given before; `token` is the key of its task (app.core.edits)."""
    sent = service.sent(_posted(request))

    def store(db: Session, user: User) -> Outcome:
        answers = service.answers_of(_posted(request), queue.fields_for(db, user, sent.token))
        return edits.edit(db, user, sent.key, sent.token, answers)

    return _acted(request, slug, store, back="history")


def _nothing(request: Request, place: Standing) -> Response:
    return render(request, "labeling/_nothing.html", place=place, begun=True)


def _acted(request: Request, slug: str, store: Callable[[Session, User], Outcome], *, back: str = "label") -> Response:
    """Do what was posted, and acknowledge it once it is committed.

    A page that names the tasks it has (`have`) gets the next one along with the acknowledgement: in one transaction, so
    that an answer costs one request and one write to disk. If that fails, nothing is stored and the page sends the
    answer again, then without asking for more.
    """
    by_script = wants_json(request)
    have = service.keys_of(request.state.form.getlist("have")) if by_script else []
    with request.app.state.uow() as db:
        access = member(db, request, slug, *LABELERS)
        if have:
            hold(db, access.project, access.user)
        outcome = store(db, access.user)
        today, ahead = _ahead(db, access, have) if by_script else (0, None)
    if not by_script:
        return say(request, see_other(request, f"/projects/{slug}/{back}"), service.saved(outcome))
    told = {
        "kind": outcome.kind,
        "sentence": outcome.sentence,
        "late": outcome.late,
        "replayed": outcome.replayed,
        "today": today,
    }
    if ahead is not None:
        told["next"] = _fragment(request, ahead, today + 1 + len(have))
    return JSONResponse(told)


def _ahead(db: Session, access: Access, have: list[UUID]) -> tuple[int, queue.Served | None]:
    """How many were answered today, and a task to send along, for a page that names those it has.

    None where the page has to ask for it itself: a talk, or a reason why there is none.
    """
    if not have:
        return tasks_today(db, access.project, access.user), None
    today, task = queue.go_on(db, access.project, access.user, have=have, membership=access.membership)
    return today, None if task is None or isinstance(task.lead, Converse) else task


def _fragment(request: Request, task: queue.Served, number: int) -> str:
    return bytes(render(request, "labeling/_task.html", task=task, number=number).body).decode()


def _taken_back(undone: tuple[Outcome, queue.Served | None] | None) -> str:
    if undone is None:
        return gettext("There is nothing to take back here.")
    if undone[1] is None:
        return gettext("Taken back: %(answer)s. Somebody else has the task now.", answer=undone[0].sentence)
    return gettext("Taken back: %(answer)s. The task is open again.", answer=undone[0].sentence)


def _posted(request: Request) -> dict[str, str]:
    return {name: value for name, value in request.state.form.items() if isinstance(value, str)}
