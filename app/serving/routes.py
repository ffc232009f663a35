"""URLs of models, deployments and the playground."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.core import registry
from app.core.errors import AppError, InvalidInput, Problem
from app.core.projects import settings_of
from app.core.words import gettext
from app.serving import chat, service
from app.web import policy_client
from app.web.dependencies import ADMINS, READERS, Access, member
from app.web.errors import messages
from app.web.flash import say
from app.web.htmx import see_other
from app.web.templating import render

router = APIRouter(prefix="/projects/{slug}")
PACE = chat.Pace()


@router.get("/models")
def models(request: Request, slug: str) -> Response:
    """What is live, every policy, and the history."""
    with request.app.state.uow() as db:
        project = member(db, request, slug, *READERS).project
        live = registry.live(db, project.id)
        return render(
            request,
            "serving/models.html",
            live=live,
            before=registry.previous(db, project.id),
            rows=service.policies(db, project.id),
            history=service.history(db, project.id),
            written=service.written_by(db, live.model_id) if live else 0,
            sampling=settings_of(project).sampling,
        )


@router.post("/models/roll-back")
def roll_back(request: Request, slug: str) -> Response:
    """Serve the policy before the live one again."""
    reason = _reason(request)
    with request.app.state.uow() as db:
        access = member(db, request, slug, *ADMINS)
        registry.roll_back(db, access.project.id, user_id=access.user.id, reason=reason)
        return say(
            request, see_other(request, f"/projects/{slug}/models"), gettext("Rolled back. New requests use it now.")
        )


@router.post("/models/{version:int}/promote")
def promote(request: Request, slug: str, version: int) -> Response:
    """Make any stored policy the live one."""
    reason = _reason(request)
    with request.app.state.uow() as db:
        access = member(db, request, slug, *ADMINS)
        model = service.policy_of(db, access.project.id, version)
        registry.promote(
            db,
            access.project.id,
            model.id,
            user_id=access.user.id,
            round_id=service.waiting_round(db, model.id),
            reason=reason,
        )
        return say(
            request, see_other(request, f"/projects/{slug}/models"), gettext("%(name)s goes live now.", name=model.name)
        )


@router.get("/playground")
def playground(request: Request, slug: str, version: str = "live") -> Response:
    """Talk with a policy."""
    with request.app.state.uow() as db:
        access = member(db, request, slug, *READERS)
        return render(request, "serving/playground.html", **_playground(db, access, version=version))


@router.post("/playground")
def talk(request: Request, slug: str) -> Response:
    """One message and its answer as a page, for browsers without JavaScript."""
    form = request.state.form
    with request.app.state.uow() as db:
        access = member(db, request, slug, *READERS)
        context = _playground(db, access, version=str(form.get("version") or "live"))
    try:
        asked = chat.parse(form, settings_of(access.project).sampling)
        PACE.take(access.user.id)
        with policy_client.PolicyClient.of(request.app.state.settings) as client:
            answer = client.chat(asked.model(slug), asked.messages, sampling=asked.sampling)
    except InvalidInput as error:
        context |= {"errors": messages(error), "written": str(form.get("message") or "")}
        return render(request, "serving/playground.html", status=422, **context)
    except AppError as error:
        context |= {"trouble": str(error), "written": str(form.get("message") or "")}
        return render(request, "serving/playground.html", status=error.status, **context)
    said = {"role": "assistant", "content": answer.completions[0].text, "model": answer.model}
    return render(request, "serving/playground.html", **(context | {"talk": [*asked.messages, said]}))


@router.post("/playground/stream")
async def streamed(request: Request, slug: str) -> Response:
    """The same as server-sent events, passed on from the policy server as they come."""

    def check() -> chat.Talk:
        with request.app.state.uow() as db:
            access = member(db, request, slug, *READERS)
            asked = chat.parse(request.state.form, settings_of(access.project).sampling)
            PACE.take(access.user.id)
            return asked

    asked = await run_in_threadpool(check)
    body = policy_client.chat_request(asked.model(slug), asked.messages, asked.sampling, stream=True)
    stack = AsyncExitStack()
    events = await stack.enter_async_context(policy_client.stream(request.app.state.settings, body))

    async def passed_on() -> AsyncIterator[bytes]:
        async with stack:
            async for piece in events:
                yield piece

    return StreamingResponse(passed_on(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


def _playground(db: Session, access: Access, *, version: str) -> dict[str, Any]:
    live = registry.live(db, access.project.id)
    versions = [("live", gettext("%(name)s, live", name=live.name) if live else gettext("live"))]
    versions += [
        (str(row.model.version), row.model.name if row.model.version else gettext("v0, the base model"))
        for row in service.policies(db, access.project.id)
        if live is None or row.model.id != live.model_id
    ]
    if live is not None and version == str(live.version):
        version = "live"
    return {
        "live": live,
        "versions": versions,
        "version": version,
        "sampling": settings_of(access.project).sampling,
        "talk": [],
        "errors": {},
        "written": "",
        "trouble": "",
    }


def _reason(request: Request) -> str:
    reason = str(request.state.form.get("reason") or "").strip()[:500]
    if not reason:
        raise InvalidInput([Problem("reason", gettext("Say in a few words why. It is kept in the audit log."))])
    return reason
