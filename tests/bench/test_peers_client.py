"""The load generator's HTTP, against servers that answer in every way that the real ones do."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from app.bench.peers.client import Client, Refused, checked
from app.bench.peers.palate import PalateSeat
from app.bench.peers.system import Notes

Talk = Callable[[Client], Awaitable[None]]


def talk(answers: list[bytes], then: Talk, *, hang_up_after: int = 99) -> list[bytes]:
    """Serve these answers, one for each request; returns the heads of the requests, by connection marked with |."""
    heard: list[bytes] = []
    serving: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(b"|")
        for _ in range(hang_up_after):
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
            heard.append(head + await reader.readexactly(length))
            answer = answers.pop(0)
            writer.write(answer)
            await writer.drain()
            if b"onnection: close" in answer or not (b"ength" in answer or b"chunked" in answer):
                break
        writer.close()
        await writer.wait_closed()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.create_task(serve(reader, writer)))

    async def play() -> None:
        server = await asyncio.start_server(begin, "127.0.0.1", 0)
        try:
            async with Client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
                await then(client)
        finally:
            await asyncio.gather(*serving)
            server.close()

    asyncio.run(play())
    return heard


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def test_one_connection_carries_everything_and_cookies_come_back() -> None:
    async def then(client: Client) -> None:
        assert (await client.get("/a")).text == "first"
        found = await client.post_form("/b?c=d", {"choice": "a b"}, {"X-CSRF-Token": "t"})
        assert checked(found, 201).json() == {"id": 1}

    heard = talk(
        [answer(b"first", "Set-Cookie: s=1; Path=/", "Set-Cookie:  t=2"), answer(b'{"id": 1}', status="201 Created")],
        then,
    )
    assert heard.count(b"|") == 1
    assert b"Cookie: s=1; t=2\r\n" in heard[2]
    assert b"X-CSRF-Token: t\r\n" in heard[2]
    assert heard[2].startswith(b"POST /b?c=d HTTP/1.1\r\n")
    assert heard[2].endswith(b"\r\n\r\nchoice=a+b")


def test_chunks_bodies_without_a_length_and_none_at_all() -> None:
    async def then(client: Client) -> None:
        assert (await client.get("/")).body == b"abcdef"
        assert (await client.get("/")).body == b""
        assert (await client.get("/")).body == b"to the end"

    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3;x=y\r\ndef\r\n0\r\n\r\n"
    talk([chunked, answer(b"", status="204 No Content"), b"HTTP/1.1 200 OK\r\n\r\nto the end"], then)


def test_a_server_that_closes_each_time_is_called_again() -> None:
    async def then(client: Client) -> None:
        for _ in range(2):
            assert (await client.get("/")).text == "x"

    assert talk([answer(b"x", "Connection: close"), answer(b"x", "Connection: close")], then).count(b"|") == 2


def test_a_kept_connection_that_has_ended_is_made_anew() -> None:
    async def then(client: Client) -> None:
        for _ in range(2):
            assert (await client.get("/")).text == "x"
            await asyncio.sleep(0.05)

    assert talk([answer(b"x"), answer(b"x")], then, hang_up_after=1).count(b"|") == 2


def test_redirects_are_followed_on_reading_only() -> None:
    moved = answer(b"", "Location: /there", status="302 Found")

    async def then(client: Client) -> None:
        assert (await client.get("/here")).text == "there"
        assert (await client.post_json("/here", {})).status == 302

    heard = talk([moved, answer(b"there"), moved], then)
    assert heard[2].startswith(b"GET /there ")


def test_half_an_answer_and_an_error_are_refusals() -> None:
    async def then(client: Client) -> None:
        with pytest.raises(Refused, match="IncompleteRead"):
            await client.get("/")
        with pytest.raises(Refused, match="HTTP 500: database is locked"):
            checked(await client.get("/"), 200)

    half = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 10\r\n\r\nhalf"
    talk([half, answer(b"database is locked", status="500 Server Error")], then)


def test_nobody_there_is_a_refusal() -> None:
    async def then() -> None:
        async with Client("http://127.0.0.1:9") as client:
            await client.get("/")

    with pytest.raises(Refused, match="GET /"):
        asyncio.run(then())


def seated(client: Client) -> PalateSeat:
    seat = PalateSeat(client)
    seat.csrf, seat.ready = "token", [("key-1", "lease-1"), ("key-2", "lease-2")]
    return seat


def test_what_was_acknowledged_counts_even_when_the_next_task_does_not_come() -> None:
    notes = Notes()

    async def then(client: Client) -> None:
        seat = seated(client)
        with pytest.raises(Refused, match="HTTP 503"):
            await seat.step(notes)
        assert await seat.step(notes)
        assert not await seat.step(notes)

    busy, none = answer(b"", status="503 Busy"), answer(b"", status="204 No Content")
    heard = talk([answer(b"{}"), busy, answer(b"{}"), none, none], then)
    assert notes.receipts == ["key-1", "key-2"]
    assert (len(notes.times["submit"]), len(notes.times["next"])) == (2, 1)
    assert b"key=key-1&token=lease-1&choice=a" in heard[1]
    assert heard[1].endswith(b"&have=key-2&have=key-1")
    assert heard[2].startswith(b"GET /projects/peers/label/next?have=key-2 ")


def test_an_answer_is_sent_again_after_an_error_and_dropped_where_that_is_no_use() -> None:
    notes = Notes()

    async def then(client: Client) -> None:
        seat = seated(client)
        for _ in range(2):
            with pytest.raises(Refused):
                await seat.step(notes)
        assert await seat.step(notes)

    gone, error = answer(b"", status="409 Conflict"), answer(b"", status="500 Error")
    heard = talk([error, gone, answer(b"{}"), answer(b"", status="204 No Content")], then)
    assert [b"key=key-1" in head for head in heard[1:4]] == [True, True, False]
    assert [b"have=" in head for head in heard[1:4]] == [True, False, True]
    assert notes.receipts == ["key-2"]


def test_the_next_task_may_come_with_the_acknowledgement() -> None:
    notes = Notes()
    form = '<input type="hidden" name="key" value="key-3">\n<input type="hidden" name="token" value="lease-3">'

    async def then(client: Client) -> None:
        seat = seated(client)
        assert await seat.step(notes)
        assert seat.ready == [("key-2", "lease-2"), ("key-3", "lease-3")]

    heard = talk([answer(json.dumps({"next": form}).encode())], then)
    assert len(heard) == 2
    assert notes.times["next"] == []
