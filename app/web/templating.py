"""Templates: one environment, escaping everywhere, a few filters, and what every page needs."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Undefined

from app.core import words
from app.core.keys import key_map
from app.core.settings import ROOT
from app.core.told import told
from app.web import words as spoken
from app.web.flash import forget, heard
from app.web.markdown import plain, to_html
from app.web.sessions import csrf_token, give_visitor_cookie
from app.web.static import VersionedFiles


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
    environment.add_extension("jinja2.ext.i18n")
    translated: Any = environment  # with what the extension adds to it
    translated.install_gettext_callables(words.gettext, _plural, newstyle=True)
    # For most sentences, without the extension's detour: plain text, which is escaped where it is written out. What has
    # tags stands in {% trans %}, which knows it as markup.
    environment.globals["_"] = words.gettext
    environment.policies |= {"ext.i18n.trimmed": True, "json.dumps_kwargs": {"ensure_ascii": False, "sort_keys": True}}
    environment.filters |= {
        "ago": spoken.ago,
        "browser": browser,
        "figure": spoken.figure,
        "left": left,
        "moment": spoken.moment,
        "named": named,
        "number": spoken.number,
        "percent": spoken.percent,
        "size": spoken.size,
        "told": told,
        "upfirst": upfirst,
    }
    environment.globals |= {
        "static": files.address,
        "to_html": to_html,
        "plain": plain,
        "script_words": spoken.script_words,
    }
    return environment


def render(request: Request, template: str, /, status: int = 200, **context: Any) -> HTMLResponse:
    """A page or fragment with everything the frame needs: user, keys, csrf_token, project, role, theme,
    language, path, flash.

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
    """What base.html reads. A page's own context goes before it.

    `sides`: the arrow keys of the first and the second answer, which stand where the language begins and where it ends.
    """
    user = getattr(request.state, "shown_user", None)
    access = getattr(request.state, "access", None)
    preferences: Mapping[str, Any] = user.preferences if user else {}
    language = words.spoken()
    return {
        "request": request,
        "user": user,
        "preferences": preferences,
        "keys": key_map(preferences),
        "theme": preferences.get("theme", "auto"),
        "language": language,
        "sides": ("left", "right") if language.direction == "ltr" else ("right", "left"),
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


def _plural(one: str, many: str, n: int) -> str:
    """For the extension, which fills in the values itself and escapes them."""
    return words.spoken().translations.ngettext(one, many, n)


def named(choices: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Choices whose words were marked with N_, in the language of now."""
    return [(key, words.gettext(said)) for key, said in choices]


def upfirst(text: str) -> str:
    """The words of a list as they begin a line: all but the first letter as they are."""
    return text[:1].upper() + text[1:]


def left(until: datetime | None, now: datetime | None = None) -> int:
    """Whole seconds from now, at least 0."""
    return max(0, int((until - (now or datetime.now(UTC))).total_seconds())) if until else 0


def browser(user_agent: str) -> str:
    """`Firefox on Linux`, as far as a user agent tells."""
    programs = ("Edg", "OPR", "Firefox", "Chrome", "Safari", "curl", "python-httpx")
    systems = ("Android", "iPhone", "iPad", "Windows", "Mac OS", "Linux")
    names = {"Edg": "Edge", "OPR": "Opera", "python-httpx": words.gettext("A program")}
    program = next((one for one in programs if one in user_agent), None)
    system = next((one for one in systems if one in user_agent), None)
    name = names.get(program or "", program) or words.gettext("A browser")
    return words.gettext("%(browser)s on %(system)s", browser=name, system=system) if system else name
