"""Style sheets and scripts travel packed; fonts, parts of files and browsers without gzip get them as they are."""

import gzip

from fastapi.testclient import TestClient

from app.core.settings import ROOT

PLAIN = (ROOT / "static/css/palate.css").read_bytes()
AT = "/static/css/palate.css"


def raw(client: TestClient, path: str, **headers: str) -> tuple[bytes, dict[str, str]]:
    with client.stream("GET", path, headers={"accept-encoding": "identity", **headers}) as answer:
        return b"".join(answer.iter_raw()), dict(answer.headers)


def test_text_is_packed_for_who_takes_it(client: TestClient) -> None:
    body, headers = raw(client, AT, **{"accept-encoding": "br, gzip;q=0.8"})
    assert gzip.decompress(body) == PLAIN
    assert len(body) < len(PLAIN) / 3
    assert (headers["content-encoding"], headers["vary"]) == ("gzip", "Accept-Encoding")
    assert headers["content-type"].startswith("text/css")
    assert client.get(AT, headers={"if-none-match": headers["etag"]}).status_code == 304


def test_everything_else_is_sent_as_it_is(client: TestClient) -> None:
    body, headers = raw(client, AT)
    assert body == PLAIN
    assert "content-encoding" not in headers
    assert headers["vary"] == "Accept-Encoding"
    part, _ = raw(client, AT, **{"accept-encoding": "gzip", "range": "bytes=0-9"})
    assert part == PLAIN[:10]
    font, headers = raw(
        client, "/static/vendor/inter-5.3.0/inter-latin-wght-normal.woff2", **{"accept-encoding": "gzip"}
    )
    assert "content-encoding" not in headers
    assert font[:4] == b"wOF2"


def test_pages_are_not_packed(client: TestClient) -> None:
    """They carry a token beside what others wrote: the length of the packed page would tell about it."""
    assert "content-encoding" not in raw(client, "/sign-in", **{"accept-encoding": "gzip"})[1]
