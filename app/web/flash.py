"""One sentence for the next page ("Saved."), carried by a cookie that is read once: no query string, no state."""

import base64
import binascii
import json
from typing import Literal, NamedTuple

from fastapi import Request
from fastapi.responses import Response

from app.web.sessions import set_cookie

COOKIE = "palate-said"
Kind = Literal["good", "info", "warn", "bad"]


class Flash(NamedTuple):
    """A notice: its kind and its sentence, plain text."""

    kind: str
    text: str


def say(request: Request, response: Response, text: str, kind: Kind = "good") -> Response:
    """Let the next page show `text` once. Returns the response, for `return say(request, see_other(...), "Saved.")`."""
    value = base64.urlsafe_b64encode(json.dumps([kind, text[:500]]).encode()).decode()
    set_cookie(request.app.state.settings, response, COOKIE, value, seconds=60)
    return response


def heard(request: Request) -> Flash | None:
    """What the last page wanted said, if it is well formed."""
    value = request.cookies.get(COOKIE)
    if not value:
        return None
    try:
        kind, text = json.loads(base64.urlsafe_b64decode(value))
    except (ValueError, TypeError, binascii.Error):
        return None
    if kind not in ("good", "info", "warn", "bad") or not isinstance(text, str):
        return None
    return Flash(kind, text[:500])


def forget(response: Response) -> None:
    """The sentence was shown; the cookie goes."""
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax")
