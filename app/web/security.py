"""What every request passes and every response carries: host, origin and CSRF checks, headers, size limits.

Sources: OWASP ASVS 5.0 chapter 3; the origin rule is that of Go's CrossOriginProtection.
"""

import hmac
import ipaddress
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from fastapi import Request
from starlette.datastructures import FormData, Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import Forbidden
from app.core.settings import Settings
from app.core.words import N_, gettext, speaking
from app.web.sessions import csrf_anchor, csrf_of, is_https
from app.web.words import asked_for

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
DOWNLOAD_POLICY = "default-src 'none'; sandbox"
"""For attachments: even when a browser shows one, nothing in it runs."""
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
SAFE = ("GET", "HEAD", "OPTIONS", "TRACE")
MOST_BODY = 2 * 1024 * 1024
"""Bytes of a request. A route that takes files says more with `max_body_size=`."""


class CrossSite(Forbidden):
    """Another site started this request."""

    words = N_("This request came from another site, so nothing was done. Open Palate itself and try again there.")


class FormExpired(Forbidden):
    """The token of the form is not that of the session."""

    words = N_(
        "This page was opened before you signed in or out, so nothing was done. Load it again and repeat what you did."
    )


class Shield:
    """The outermost layer: refuses foreign hosts, adds headers to every response, begins in the browser's language."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.hosts = known_hosts(settings)
        self.any_address = settings.host in ("0.0.0.0", "::")  # noqa: S104  compared with, not bound to
        self.extra = {"Strict-Transport-Security": "max-age=31536000"} if is_https(settings) else {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        host = _host_name(headers.get("host", ""))
        if host not in self.hosts and not (self.any_address and _is_address(host)):
            with speaking(asked_for(headers.get("accept-language", ""))):
                words = gettext("This address is not known here. Set PALATE_PUBLIC_URL to it.")
            await PlainTextResponse(words, status_code=400)(scope, receive, self._sender(send))
            return
        with speaking(asked_for(headers.get("accept-language", ""))):
            await self.app(scope, receive, self._sender(send))

    def _sender(self, send: Send) -> Send:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in {**HEADERS, **self.extra}.items():
                    headers[name] = value
                attached = headers.get("content-disposition", "").startswith("attachment")
                headers["Content-Security-Policy"] = DOWNLOAD_POLICY if attached else POLICY
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        return with_headers


def known_hosts(settings: Settings) -> frozenset[str]:
    """Names under which we answer: loopback, the bound one, the public one. Stops DNS rebinding and forged links."""
    names = {"localhost", "127.0.0.1", "::1", settings.host.lower()}
    if settings.public_url:
        names.add((urlsplit(settings.public_url).hostname or "").lower())
    return frozenset(names - {"", "0.0.0.0", "::"})  # noqa: S104  left out, not bound to


def _host_name(header: str) -> str:
    """The name in a Host header, lower case, without port and brackets; empty when it is malformed."""
    try:
        parts = urlsplit(f"//{header}")
        _ = parts.port
    except ValueError:
        return ""
    clean = parts.netloc == header and "@" not in header and not parts.path
    return (parts.hostname or "").lower() if clean else ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def guard(request: Request) -> AsyncIterator[None]:
    """Runs before every handler: a request that may change something must come from our own page and carry its token.

    The form is read here, so that handlers with forms of many fields find it in `request.state.form`; its files are
    closed when the handler is done.
    """
    request.state.form = FormData()
    try:
        if request.method not in SAFE:
            await check_sender(request)
        yield
    finally:
        await request.state.form.close()


async def check_sender(request: Request) -> None:
    """Origin and token of a request that may change something; reads its form. Raises CrossSite or FormExpired."""
    check_origin(request)
    sent = request.headers.get("x-csrf-token")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("application/x-www-form-urlencoded", "multipart/form-data"):
        request.state.form = await request.form()
        field = request.state.form.get("csrf_token")
        sent = sent or (field if isinstance(field, str) else None)
    anchor = csrf_anchor(request)
    if not sent or not anchor or not hmac.compare_digest(sent.encode(), csrf_of(anchor).encode()):
        raise FormExpired


def check_origin(request: Request) -> None:
    """Refuse what a browser says another site started. Programs send neither header and rely on the token."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        if site not in ("same-origin", "none"):
            raise CrossSite
        return
    origin = request.headers.get("origin")
    if origin is None:
        return
    settings: Settings = request.app.state.settings
    ours = {request.headers.get("host", "").lower()}
    if settings.public_url:
        ours.add(urlsplit(settings.public_url).netloc.lower())
    if urlsplit(origin).netloc.lower() not in ours - {""}:
        raise CrossSite


def client_address(request: Request) -> str:
    """Who is asking, for throttling. Behind the proxy that `public_url` announces, the last address it added; a
    client's own X-Forwarded-For is never believed otherwise."""
    settings: Settings = request.app.state.settings
    forwarded = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
    if settings.public_url and forwarded and _is_address(forwarded):
        return forwarded
    return request.client.host if request.client else "unknown"
