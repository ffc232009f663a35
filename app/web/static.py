"""Style sheets, scripts, fonts, under an address that names their content, so that browsers may keep them for ever."""

import gzip
import hashlib
from functools import cache
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app.core.settings import ROOT

DIRECTORY = ROOT / "static"
PACKED = (".css", ".js", ".svg")
"""Sent as gzip to whoever takes it; fonts are packed already. Pages are not: they carry secrets beside text that others
wrote, and their packed length would tell about both (BREACH)."""


def version_of(directory: Path = DIRECTORY) -> str:
    """One short hash over the names and bytes of all static files."""
    digest = hashlib.sha256()
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            digest.update(str(path.relative_to(directory)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


class VersionedFiles(StaticFiles):
    """`/static/VERSION/css/x.css` and, for what cannot know the version, `/static/css/x.css`.

    The version stands in the path, so relative links between files (modules, fonts) stay inside it.
    """

    def __init__(self, directory: Path = DIRECTORY) -> None:
        super().__init__(directory=directory)
        self.version = version_of(directory)

    def address(self, path: str) -> str:
        """The address of a file that browsers may keep."""
        return f"/static/{self.version}/{path}"

    async def get_response(self, path: str, scope: Scope) -> Response:
        named = path.startswith(f"{self.version}/")
        response = await super().get_response(path.removeprefix(f"{self.version}/"), scope)
        if isinstance(response, FileResponse) and path.endswith(PACKED):
            response = packed(response, Headers(scope=scope))
        if response.status_code in (200, 206, 304):
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if named else "no-cache"
        return response


def packed(response: FileResponse, asked: Headers) -> Response:
    """The same file as gzip, where the browser takes it and wants the whole of it."""
    response.headers["Vary"] = "Accept-Encoding"
    takes = {one.strip().partition(";")[0] for one in asked.get("accept-encoding", "").split(",")}
    if "gzip" not in takes or "range" in asked:
        return response
    path = Path(response.path)
    body = _gzip(path, path.stat().st_mtime_ns)
    kept = {name: response.headers[name] for name in ("etag", "last-modified", "vary")}
    kept["etag"] = f"W/{kept['etag']}"
    return Response(body, media_type=response.media_type, headers={**kept, "Content-Encoding": "gzip"})


@cache
def _gzip(path: Path, _changed: int) -> bytes:
    return gzip.compress(path.read_bytes(), 9, mtime=0)
