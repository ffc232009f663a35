"""One place that turns errors into answers: a page for people, a fragment for htmx, JSON for programs."""

import logging
import secrets
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from app.core.errors import AppError, InvalidInput, NotFound, Problem, SignInNeeded, TooMany, Unavailable
from app.core.words import N_, gettext
from app.web.htmx import is_htmx, wants_json
from app.web.templating import render

log = logging.getLogger(__name__)

TITLES = {
    400: N_("That request does not fit"),
    401: N_("Sign in to go on"),
    403: N_("Not for your role"),
    404: N_("Nothing here"),
    405: N_("Nothing here"),
    409: N_("Somebody was faster"),
    413: N_("That is too much at once"),
    422: N_("Something does not fit"),
    429: N_("A little too often"),
    503: N_("Not ready yet"),
}


def add_error_handlers(app: FastAPI) -> None:
    """Let `app` answer every error through this module."""
    app.add_exception_handler(AppError, _app_error)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    for database_away in (OperationalError, InterfaceError, PoolTimeout):
        app.add_exception_handler(database_away, _database)
    app.add_exception_handler(Exception, _unexpected)


def messages(error: InvalidInput) -> dict[str, str]:
    """The problems of a form by field name, for the page that shows the form again."""
    return {problem.field: problem.message for problem in reversed(error.problems)}


def _app_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, AppError):
        raise error
    if isinstance(error, SignInNeeded) and not wants_json(request):
        return _to_sign_in(request)
    if error.status >= 500:
        log.error("request failed: %s", error, extra={"action": "error", "status": error.status})
    problems = error.problems if isinstance(error, InvalidInput) else []
    response = answer(request, error.status, type(error).__name__, str(error), problems=problems)
    if isinstance(error, TooMany):
        response.headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, Unavailable):
        response.headers["Retry-After"] = "5"
    return response


def _to_sign_in(request: Request) -> Response:
    """Ask to sign in and come back; an htmx request cannot be repeated, so its page is where one comes back to."""
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    goal = f"/sign-in?next={quote(here, safe='/')}" if request.method == "GET" and not is_htmx(request) else "/sign-in"
    if is_htmx(request):
        return Response(status_code=401, headers={"HX-Redirect": goal})
    return RedirectResponse(goal, status_code=303)


def _validation(request: Request, error: Exception) -> Response:
    """A request whose fields have other names or types than the page sends."""
    if not isinstance(error, RequestValidationError):
        raise error
    problems = [Problem(str(one["loc"][-1]), str(one["msg"])) for one in error.errors()[:20]]
    if any(one["loc"][0] == "path" for one in error.errors()):
        return _app_error(request, NotFound())
    text = gettext("Something in the request does not fit. Nothing is stored.")
    return answer(request, 422, "InvalidInput", text, problems=problems)


def _http(request: Request, error: Exception) -> Response:
    """Errors of the framework itself: unknown address, wrong method, a body that is too large."""
    if not isinstance(error, HTTPException):
        raise error
    words = {
        404: gettext(NotFound.words),
        405: gettext("This address does not take that kind of request."),
        413: gettext("The server does not take that much in one request. Nothing is stored."),
    }
    response = answer(request, error.status_code, "Refused", words.get(error.status_code, str(error.detail)))
    response.headers.update(error.headers or {})
    return response


def _database(request: Request, error: Exception) -> Response:
    """The database is away, too slow or full. Nothing of this request is stored; the same request may be sent again."""
    log.error("database unavailable: %s", type(error).__name__, exc_info=error, extra={"action": "database_away"})
    text = gettext("The database does not answer. Nothing was stored; try again in a moment.")
    return _app_error(request, Unavailable(text))


def _unexpected(request: Request, error: Exception) -> Response:
    """A fault of ours: the person gets a number to tell, the log has the number and the traceback."""
    reference = secrets.token_hex(4)
    log.error("unexpected error %s", reference, exc_info=error, extra={"action": "error", "reference": reference})
    text = gettext("Something went wrong on our side. What was saved before is safe.")
    return answer(request, 500, "Unexpected", text, reference=reference)


def answer(
    request: Request,
    status: int,
    name: str,
    message: str,
    *,
    problems: list[Problem] | None = None,
    reference: str | None = None,
) -> Response:
    """The error in the form the asker can use. JSON: {error, message, problems?, reference?}."""
    if wants_json(request):
        body: dict[str, Any] = {"error": name, "message": message}
        if problems:
            body["problems"] = [{"field": p.field, "message": p.message, "row": p.row} for p in problems]
        if reference:
            body["reference"] = reference
        return JSONResponse(body, status_code=status)
    template = "errors/_error.html" if is_htmx(request) else "errors/error.html"
    return render(
        request,
        template,
        status=status,
        heading=gettext(TITLES.get(status, N_("Something went wrong"))),
        message=message,
        problems=problems or [],
        reference=reference,
    )
