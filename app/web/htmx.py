"""The few words of the htmx protocol that the server speaks."""

from fastapi import Request
from fastapi.responses import RedirectResponse, Response


def is_htmx(request: Request) -> bool:
    """Whether htmx asks for a fragment (a boosted link wants the whole page)."""
    return request.headers.get("hx-request") == "true" and request.headers.get("hx-boosted") != "true"


def wants_json(request: Request) -> bool:
    """Whether a program (the label page's fetch, a test, a script) asks, rather than a person following a link."""
    accept = request.headers.get("accept", "")
    return "application/json" in accept and "text/html" not in accept


def see_other(request: Request, url: str) -> Response:
    """Go to another page of ours after a form: 303 for browsers, HX-Redirect for htmx. `url` must be a path of ours."""
    if is_htmx(request):
        return Response(status_code=200, headers={"HX-Redirect": url})
    return RedirectResponse(url, status_code=303)


def local_path(target: str | None, otherwise: str = "/") -> str:
    """`target` if it is a path on this server, else `otherwise`: `next=` must never lead to another site."""
    if not target or not target.startswith("/") or target.startswith(("//", "/\\")):
        return otherwise
    if any(ord(mark) < 33 or mark == "\\" or ord(mark) == 127 for mark in target):
        return otherwise
    return target
