"""Talks: what their page shows and posts. Every act works as a plain form; only streaming needs the page's script."""

from dataclasses import asdict
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.core import talks
from app.core.answers import Outcome
from app.core.errors import AppError, Conflict
from app.core.forms import turn_of
from app.core.standing import tasks_today
from app.core.talk import talk_of
from app.core.turns import Reply
from app.core.words import gettext
from app.labeling import service
from app.labeling.talk_writing import Desk, Tell, write_at_once, write_streamed
from app.web.dependencies import LABELERS, Access, member
from app.web.flash import say
from app.web.htmx import see_other, wants_json
from app.web.templating import render

router = APIRouter(prefix="/label/talk")
DESK = Desk()


def page(
    request: Request, db: Session, access: Access, key: UUID, *, status: int = 200, trouble: str = "", written: str = ""
) -> Response:
    """The page of a talk. `trouble`: why the model gave no reply to what was `written`."""
    talk = talk_of(db, access.user, key)
    ending = request.query_params.get("end") == "1" and talk.may_end
    return render(
        request,
        "labeling/talk.html",
        status=status,
        talk=talk,
        task=talk,
        ahead=None,
        ending=ending,
        trouble=trouble,
        written=written,
        writing=DESK.listen(key) is not None,
        **service.around(db, access.project, access.user),
    )


@router.get("/{key}")
def fragment(request: Request, slug: str, key: str) -> Response:
    """The talk as it stands, for the page that is open."""
    with request.app.state.uow() as db:
        access = member(db, request, slug, *LABELERS)
        return _fragment(request, db, access, _talk_key({"talk": key, "token": key}))


@router.post("/ask")
def ask(request: Request, slug: str) -> Response:
    """Say something and wait for all replies: for browsers without JavaScript."""
    form = _posted(request)
    sent = service.sent(form)
    with request.app.state.uow() as db:
        access = member(db, request, slug, *LABELERS)
        asked = talks.ask(db, access.project, access.user, key=sent.key, token=sent.token, message=form.get("text", ""))
    try:
        replies = write_at_once(request.app.state.settings, slug, asked)
    except AppError as error:
        with request.app.state.uow() as db:
            return page(
                request, db, access, sent.key, status=error.status, trouble=str(error), written=form.get("text", "")
            )
    _store(request, slug, asked, replies)
    return see_other(request, f"/projects/{slug}/label")


@router.post("/stream")
async def stream(request: Request, slug: str) -> Response:
    """The same as server-sent events: {"slot", "text"} as it is written, then {"done"} or {"error"}."""
    form = _posted(request)
    sent = service.sent(form)

    def check() -> talks.Asked | None:
        with request.app.state.uow() as db:
            access = member(db, request, slug, *LABELERS)
            if DESK.listen(talk_of(db, access.user, sent.key).key) is not None:
                return None
            return talks.ask(
                db, access.project, access.user, key=sent.key, token=sent.token, message=form.get("text", "")
            )

    async def work(tell: Tell) -> None:
        if asked is not None:
            replies = await write_streamed(request.app.state.settings, slug, asked, tell)
            await run_in_threadpool(_store, request, slug, asked, replies)

    asked = await run_in_threadpool(check)
    running = DESK.listen(sent.key)
    if running is not None and form.get("text"):
        raise Conflict(gettext("The replies to your last message are still being written."))
    if running is None and asked is None:
        raise Conflict(gettext("The replies have just been written. Load this page again."))
    running = running or DESK.begin(sent.key, work)
    return StreamingResponse(running.events(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


@router.post("/pick")
def pick(request: Request, slug: str) -> Response:
    """Choose the reply that the talk goes on with, or send one's own in its place."""
    form = _posted(request)
    sent = service.sent(form)
    with request.app.state.uow() as db:
        access = member(db, request, slug, *LABELERS)
        asked = turn_of(talk_of(db, access.user, _talk_key(form)).fields)
        outcome = talks.pick(
            db,
            access.user,
            sent.key,
            sent.token,
            service.answers_of(form, [asked]),
            active_ms=sent.active_ms,
            input_method=sent.input_method,
            seen=sent.seen,
        )
        told = _told(db, access, outcome)
        if wants_json(request):
            told["html"] = bytes(_fragment(request, db, access, _talk_key(form)).body).decode()
    return JSONResponse(told) if wants_json(request) else see_other(request, f"/projects/{slug}/label")


@router.post("/end")
def end(request: Request, slug: str) -> Response:
    """End the talk, with the answers about it as a whole."""
    form = _posted(request)
    sent = service.sent(form)
    with request.app.state.uow() as db:
        access = member(db, request, slug, *LABELERS)
        fields = talk_of(db, access.user, sent.key).fields
        outcome: Outcome = talks.finish(
            db,
            access.user,
            sent.key,
            sent.token,
            service.answers_of(form, fields),
            active_ms=sent.active_ms,
            input_method=sent.input_method,
        )
        told = _told(db, access, outcome)
    if wants_json(request):
        return JSONResponse(told)
    return say(request, see_other(request, f"/projects/{slug}/label"), service.saved(outcome))


def _told(db: Session, access: Access, outcome: Outcome) -> dict[str, Any]:
    """The acknowledgement of an act, as every label page reads it."""
    return {**asdict(outcome), "today": tasks_today(db, access.project, access.user)}


def _fragment(request: Request, db: Session, access: Access, key: UUID) -> Response:
    return render(
        request,
        "labeling/_talk_both.html",
        talk=talk_of(db, access.user, key),
        number=service.progress(db, access.project, access.user).today + 1,
        ending=False,
        trouble="",
        written="",
        writing=DESK.listen(key) is not None,
    )


def _store(request: Request, slug: str, asked: talks.Asked, replies: list[Reply]) -> None:
    with request.app.state.uow() as db:
        access = member(db, request, slug, *LABELERS)
        talks.store(db, access.project, access.user, asked, replies)


def _talk_key(form: dict[str, str]) -> UUID:
    return service.sent({"key": form.get("talk", ""), "token": form.get("token", "")}).key


def _posted(request: Request) -> dict[str, str]:
    return {name: value for name, value in request.state.form.items() if isinstance(value, str)}
