"""The policy server's HTTP: OpenAI-style chat completions from the live policies, on loopback behind a token."""

import asyncio
import hmac
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse

from app.core.errors import AppError, InvalidConfig, TooMany, Unavailable
from trainer.rollout import Row
from trainer.serving.engine import Engine, Job, Version
from trainer.serving.protocol import Answer, ChatRequest, error_body

log = logging.getLogger(__name__)
GONE_CHECK_SECONDS = 0.5
Next = Callable[[HttpRequest], Awaitable[Response]]


class NotAllowed(AppError):
    """The bearer token is missing or wrong."""

    words = "The bearer token is missing or wrong."
    status = 401


class Service:
    """What the routes share. `engine` is None until the model is loaded and the first policies are in place."""

    def __init__(self, base_model: str, token: str) -> None:
        self.base_model = base_model
        self.token = token
        self.engine: Engine | None = None

    def ready(self) -> Engine:
        """The engine, or Unavailable while it starts."""
        if self.engine is None:
            raise Unavailable("The model is starting. Try again in a few seconds.")
        return self.engine

    def health(self) -> dict[str, Any]:
        """State for supervisors and pages; told without a token, so it holds nothing secret."""
        if self.engine is None:
            return {"status": "starting", "base_model": self.base_model, "deployments": {}}
        deployments = {
            slug: {"version": v.version, "deployment_id": v.deployment_id, "model_id": v.model_id}
            for slug, v in sorted(self.engine.live.copy().items())
        }
        return {
            "status": "ready",
            "base_model": self.base_model,
            "deployments": deployments,
            "load": self.engine.load(),
        }


def create_server(service: Service) -> FastAPI:
    """The ASGI app. No documentation pages: what it speaks is documented by OpenAI and docs/formats.md."""
    app = FastAPI(title="Palate policy server", docs_url=None, redoc_url=None, openapi_url=None)

    @app.middleware("http")
    async def check_token(request: HttpRequest, call_next: Next) -> Response:
        given = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
        if request.url.path != "/health" and not hmac.compare_digest(given, service.token.encode()):
            return _error(NotAllowed())
        return await call_next(request)

    @app.exception_handler(AppError)
    async def app_error(_request: HttpRequest, error: AppError) -> Response:
        return _error(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: HttpRequest, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return _error(InvalidConfig(f"{'.'.join(map(str, first['loc'][1:]))}: {first['msg']}"))

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return service.health()

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        engine = service.ready()
        names = ["base", *(name for v in engine.live.copy().values() for name in (v.slug, v.name))]
        return {"object": "list", "data": [{"id": n, "object": "model", "owned_by": "palate"} for n in names]}

    @app.post("/v1/chat/completions", response_model=None)
    async def chat(asked: ChatRequest, request: HttpRequest) -> Response:
        engine = service.ready()
        prompt = await asyncio.to_thread(_prompt, engine, asked)
        version = engine.lease(asked.model)
        bulk = request.headers.get("x-palate-priority") == "bulk"
        call = Call(engine, asked, version, prompt, bulk=bulk)
        call.submit()
        if asked.stream:
            return StreamingResponse(call.events(), media_type="text/event-stream")
        return JSONResponse(await call.answer(request))

    return app


class Call:
    """One chat request between the event loop and the generation thread."""

    def __init__(self, engine: Engine, asked: ChatRequest, version: Version, prompt: list[int], *, bulk: bool) -> None:
        self.engine = engine
        self.asked = asked
        self.written = Answer(engine.tokenizer, asked, version, len(prompt))
        self.loop = asyncio.get_running_loop()
        self.news: asyncio.Queue[tuple[int, list[int], Row | None] | Job] = asyncio.Queue()
        self.job = Job(version, asked.to_request(prompt), self._token if asked.stream else None, self._done, bulk)

    def submit(self) -> None:
        """Queue it; the lease is given back where that is refused."""
        try:
            self.engine.submit(self.job)
        except AppError:
            self.engine.release(self.job.version)
            raise

    async def answer(self, request: HttpRequest) -> dict[str, Any]:
        """The whole response. When the client leaves, the job is cancelled."""
        waiting = asyncio.ensure_future(self.news.get())
        try:
            while not (await asyncio.wait({waiting}, timeout=GONE_CHECK_SECONDS))[0]:
                if await request.is_disconnected():
                    self.job.cancelled = True
        finally:
            if not waiting.done():
                waiting.cancel()
                self.job.cancelled = True
        if self.job.cancelled:
            raise Unavailable("The client left.")
        if self.job.error:
            raise self.job.error
        return self.written.whole(self.job)

    async def events(self) -> AsyncIterator[str]:
        """Server-sent events: chunks as they come, then [DONE]. Leaving early cancels the job."""
        try:
            for chunk in self.written.opening():
                yield _event(chunk)
            while not isinstance(news := await self.news.get(), Job):
                delta = self.written.delta(*news)
                if delta is not None:
                    yield _event(delta)
            if news.error:
                yield _event(error_body(news.error))
            elif self.asked.stream_options.include_usage:
                yield _event(self.written.last(news.rows))
            yield "data: [DONE]\n\n"
        finally:
            self.job.cancelled = True

    def _token(self, row: Row) -> None:
        self._put((row.sample, list(row.token_ids), row if row.finish else None))

    def _done(self, job: Job) -> None:
        self._put(job)

    def _put(self, news: tuple[int, list[int], Row | None] | Job) -> None:
        """From the generation thread; a loop that closed meanwhile has nobody left to tell."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.news.put_nowait, news)


def _prompt(engine: Engine, asked: ChatRequest) -> list[int]:
    messages = [{"role": m.role, "content": m.content} for m in asked.messages]
    try:
        prompt = engine.tokenizer.encode_chat(messages)
    except Exception as error:  # a chat template raises what it likes about roles it does not know
        raise InvalidConfig(f"The model's chat template does not accept these messages: {error}") from error
    if len(prompt) >= engine.trunk.max_length:
        raise InvalidConfig(f"The messages have {len(prompt)} tokens; the model takes {engine.trunk.max_length}.")
    return prompt


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"


def _error(error: AppError) -> JSONResponse:
    headers = {}
    if isinstance(error, TooMany):
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, NotAllowed):
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(error_body(error), status_code=error.status, headers=headers)
