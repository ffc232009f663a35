"""Templates: one environment, escaping everywhere, a few filters, and what every page needs."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Undefined

from app.core.keys import key_map
from app.core.settings import ROOT
from app.web.flash import forget, heard
from app.web.markdown import plain, to_html
from app.web.sessions import csrf_token, give_visitor_cookie
from app.web.static import VersionedFiles

NBSP = "\u00a0"


def make_environment(files: VersionedFiles, *, strict: bool = False) -> Environment:
    """The environment of all pages. `strict` makes a misspelt variable an error, for tests."""
    environment = Environment(
        loader=FileSystemLoader(ROOT / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined if strict else Undefined,
        auto_reload=False,  # it would look at the disk for each of the twenty files of a task
    )
    environment.filters |= {
        "ago": ago,
        "browser": browser,
        "left": left,
        "moment": moment,
        "number": number,
        "percent": percent,
        "size": size,
    }
    environment.globals |= {"static": files.address, "to_html": to_html, "plain": plain}
    return environment


def render(request: Request, template: str, /, status: int = 200, **context: Any) -> HTMLResponse:
    """A page or fragment with everything the frame needs: user, keys, csrf_token, project, role, theme,
    path, flash.

    Looks nothing up: who asks was found by current_user or member before.
    """
    environment: Environment = request.app.state.templates
    whole = not template.rpartition("/")[2].startswith("_")
    flash = heard(request) if whole else None
    html = environment.get_template(template).render({**frame(request), "flash": flash, **context})
    response = HTMLResponse(html, status_code=status)
    _cookies(request, response, flash is not None)
    return response


def frame(request: Request) -> dict[str, Any]:
    """What base.html reads. A page's own context goes before it."""
    user = getattr(request.state, "shown_user", None)
    access = getattr(request.state, "access", None)
    preferences: Mapping[str, Any] = user.preferences if user else {}
    return {
        "request": request,
        "user": user,
        "preferences": preferences,
        "keys": key_map(preferences),
        "theme": preferences.get("theme", "auto"),
        "csrf_token": csrf_token(request),
        "project": getattr(request.state, "shown_project", None),
        "access": access,
        "role": access.role if access else None,
        "path": request.url.path,
        "url_for": address_of(request.app),
    }


def address_of(app: FastAPI) -> Any:
    """`url_for("route_name", slug="x")` as a path: never with a host that a request could forge."""

    def url_for(name: str, /, **parameters: Any) -> str:
        return str(app.url_path_for(name, **parameters))

    return url_for


def _cookies(request: Request, response: HTMLResponse, said: bool) -> None:
    give_visitor_cookie(request, response)
    if said:
        forget(response)


def ago(when: datetime | None, now: datetime | None = None) -> str:
    """`4 minutes ago`. The template shows the exact time beside it (`moment`)."""
    if when is None:
        return "never"
    seconds = int(((now or datetime.now(UTC)) - when).total_seconds())
    if seconds < 45:
        return "just now" if seconds > -45 else f"in {_span(-seconds)}"
    return f"{_span(seconds)} ago"


def left(until: datetime | None, now: datetime | None = None) -> int:
    """Whole seconds from now, at least 0."""
    return max(0, int((until - (now or datetime.now(UTC))).total_seconds())) if until else 0


def _span(seconds: int) -> str:
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        count = round(seconds / length)
        if count >= 1:
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{seconds} seconds"


def moment(when: datetime | None) -> str:
    """The exact time, for `datetime=` and on hover: 2026-11-22 16:04 UTC."""
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC") if when else ""


def number(value: float | None, digits: int = 0) -> str:
    """12,480 or 0.52; a dash for a figure that is not known."""
    return "–" if value is None else f"{value:,.{digits}f}"


def percent(value: float | None, digits: int = 0) -> str:
    """A share of 1 as `71.8 %`."""
    return "–" if value is None else f"{value * 100:.{digits}f}{NBSP}%"


def browser(user_agent: str) -> str:
    """`Firefox on Linux`, as far as a user agent tells."""
    programs = ("Edg", "OPR", "Firefox", "Chrome", "Safari", "curl", "python-httpx")
    systems = ("Android", "iPhone", "iPad", "Windows", "Mac OS", "Linux")
    names = {"Edg": "Edge", "OPR": "Opera", "python-httpx": "A program"}
    program = next((one for one in programs if one in user_agent), None)
    system = next((one for one in systems if one in user_agent), None)
    return " on ".join(filter(None, (names.get(program or "", program) or "A browser", system)))


def size(octets: float | None) -> str:
    """Bytes in the unit a person would choose: 58 MB."""
    if octets is None:
        return "–"
    for unit in ("bytes", "kB", "MB", "GB"):
        if octets < 1000:
            return f"{octets:.0f}{NBSP}{unit}"
        octets /= 1000
    return f"{octets:.1f}{NBSP}TB"
