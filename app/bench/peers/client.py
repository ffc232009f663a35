"""A browser's network half, and no more: one connection, cookies, HTTP/1.1. Cheap, so that it is not what is measured.

httpx was measured at ten times the CPU for each request. The same client drives every server.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

PATIENCE = 120.0
"""Seconds that a browser waits for an answer."""
MOST_REDIRECTS = 5


class Refused(Exception):
    """The server answered with an error, or not at all."""


@dataclass
class Answer:
    """What a server said."""

    status: int
    headers: dict[str, str]
    """Names in lower case; of several with one name the last. Cookies are in the client."""
    body: bytes

    @property
    def text(self) -> str:
        """The body as a page."""
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """The body as JSON. Raises Refused where it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise Refused(f"No JSON: {self.text[:200]}") from None


@dataclass
class Client:
    """One person's connection to a server. `async with Client(address) as client: await client.get("/")`."""

    address: str
    cookies: dict[str, str] = field(default_factory=dict)
    requests: int = 0
    _pair: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.address)
        self._host, self._port = str(parts.hostname), int(parts.port or 80)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        if self._pair is not None:
            self._pair[1].close()
            self._pair = None

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Read a page; redirects are followed."""
        answer = await self.send("GET", path, headers=headers)
        for _ in range(MOST_REDIRECTS):
            if answer.status not in (301, 302, 303, 307):
                break
            goal = urlsplit(answer.headers["location"])
            answer = await self.send("GET", f"{goal.path}?{goal.query}" if goal.query else goal.path, headers=headers)
        return answer

    async def post_form(
        self, path: str, fields: Mapping[str, str] | Sequence[tuple[str, str]], headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a form. Redirects are not followed: they say that it was taken."""
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return await self.send("POST", path, body=urlencode(fields).encode(), headers={**kind, **(headers or {})})

    async def post_json(self, path: str, value: Any, headers: Mapping[str, str] | None = None) -> Answer:
        """Send JSON."""
        kind = {"Content-Type": "application/json"}
        return await self.send("POST", path, body=json.dumps(value).encode(), headers={**kind, **(headers or {})})

    async def send(
        self, method: str, path: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request and its answer. Raises Refused when the connection fails or the patience ends."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._host}:{self._port}"]
        if self.cookies:
            lines.append("Cookie: " + "; ".join(f"{name}={value}" for name, value in self.cookies.items()))
        if method != "GET":
            lines += [f"Origin: {self.address}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        message = "\r\n".join([*lines, "", ""]).encode() + body
        self.requests += 1
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._exchange(message)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            self.close()
            raise Refused(f"{method} {path}: {type(error).__name__} {error}") from error
        except asyncio.CancelledError:
            self.close()  # half an answer may stand in the line
            raise

    async def _exchange(self, message: bytes) -> Answer:
        kept = self._pair is not None
        try:
            return await self._once(message)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            # A kept connection that the server closed meanwhile, before a byte of an answer: browsers ask again too.
            if not kept or (isinstance(error, asyncio.IncompleteReadError) and error.partial):
                raise
            self.close()
            return await self._once(message)

    async def _once(self, message: bytes) -> Answer:
        if self._pair is None:
            self._pair = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._pair
        writer.write(message)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(head[0].split(" ", 2)[1])
        headers: dict[str, str] = {}
        for line in head[1:-2]:
            name, _, value = line.partition(":")
            name, value = name.lower(), value.strip()
            if name == "set-cookie":
                self._keep_cookie(value)
            headers[name] = value
        body = b""
        if "content-length" in headers:
            body = await reader.readexactly(int(headers["content-length"]))
        elif headers.get("transfer-encoding", "").lower() == "chunked":
            body = await _chunks(reader)
        elif status not in (204, 304):
            body = await reader.read()
            self.close()
        if headers.get("connection", "").lower() == "close" or head[0].startswith("HTTP/1.0"):
            self.close()
        return Answer(status, headers, body)

    def _keep_cookie(self, line: str) -> None:
        name, _, value = line.partition(";")[0].partition("=")
        if value in ("", '""'):
            self.cookies.pop(name, None)
        else:
            self.cookies[name] = value


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    found = []
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        found.append(await reader.readexactly(size))
        await reader.readexactly(2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass  # trailers
    return b"".join(found)


def checked(answer: Answer, *expected: int) -> Answer:
    """The answer, if its status is among these. Raises Refused."""
    if answer.status not in expected:
        raise Refused(f"HTTP {answer.status}: {' '.join(answer.text.split())[:200]}")
    return answer
