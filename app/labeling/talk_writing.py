"""The model's replies to one turn of a talk: asked for, passed on as they come, and stored when all are there.

A turn is written to its end whether or not a browser listens. Who comes back while it is written hears it from its
beginning; what a lost process had begun is not stored at all, and is asked for again.
"""

import asyncio
import json
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import httpx

from app.core.errors import AppError, Unavailable
from app.core.records.base import Json
from app.core.settings import Settings
from app.core.talks import Asked
from app.core.turns import Reply
from app.core.words import gettext
from app.web import policy_client
from app.web.policy_client import NOT_THERE, PolicyClient, chat_request

log = logging.getLogger(__name__)
Tell = Callable[[Json], Awaitable[None]]
"""Called with each event of a turn."""


def write_at_once(settings: Settings, slug: str, asked: Asked) -> list[Reply]:
    """All replies of a turn, without a stream. Raises Unavailable or Refused."""
    with PolicyClient.of(settings) as client:

        def more(model: str, count: int, seed: int) -> list[Reply]:
            answer = client.chat(model, asked.messages, sampling=asked.sampling, n=count, seed=seed, logprobs=True)
            versions.append(f"{slug}@v{answer.version}")
            return [
                Reply(
                    text=one.text,
                    model_id=answer.model_id,
                    deployment_id=answer.deployment_id,
                    seed=seed,
                    index=index,
                    finish_reason=one.finish_reason,
                    token_ids=one.token_ids,
                    logprobs=one.logprobs,
                )
                for index, one in enumerate(answer.completions)
            ]

        versions: list[str] = []
        replies = more(slug, asked.replies, asked.seed)
        for again in repeated(replies):
            replies[again] = more(versions[0], 1, secrets.randbits(31))[0]
        return replies


def repeated(replies: Sequence[Reply]) -> list[int]:
    """The replies that say nothing, or the same as one before them: each is asked for once more."""
    texts = [reply.text.strip() for reply in replies]
    return [number for number, said in enumerate(texts) if not said or said in texts[:number]]


@dataclass
class Sample:
    """One reply as it comes."""

    text: str = ""
    ending: Json = field(default_factory=dict)


async def write_streamed(settings: Settings, slug: str, asked: Asked, tell: Tell) -> list[Reply]:
    """The same, telling each piece as {"slot", "text"}; {"slot", "again"} where a reply begins anew."""
    slot_of = {position: slot for slot, position in enumerate(asked.order)}

    async def more(model: str, seed: int, positions: Sequence[int]) -> tuple[str, list[Reply]]:
        samples = {position: Sample() for position in positions}
        told: Json = {}
        body = chat_request(
            model, asked.messages, asked.sampling, n=len(positions), seed=seed, logprobs=True, stream=True
        )
        async for event in _events(settings, body):
            told = event.get("palate") or told
            for choice in event.get("choices", []):
                position = positions[choice["index"]]
                piece = choice["delta"].get("content") or ""
                samples[position].text += piece
                if choice.get("finish_reason"):
                    samples[position].ending = {
                        "finish_reason": choice["finish_reason"],
                        **(choice.get("palate") or {}),
                    }
                if piece:
                    await tell({"slot": slot_of[position], "text": piece})
        if not all(sample.ending for sample in samples.values()):
            raise Unavailable(gettext("The model stopped in the middle of its replies. Nothing is stored; ask again."))
        ids: Json = {"model_id": told.get("model_id"), "deployment_id": told.get("deployment_id"), "seed": seed}
        replies = [
            Reply(text=sample.text, index=index, **ids, **sample.ending)
            for index, sample in enumerate(samples.values())
        ]
        return f"{slug}@v{told.get('version')}", replies

    version, replies = await more(slug, asked.seed, range(asked.replies))
    for position in repeated(replies):
        await tell({"slot": slot_of[position], "again": True})
        _, found = await more(version, secrets.randbits(31), [position])
        replies[position] = replace(found[0], index=0)
    return replies


async def _events(settings: Settings, body: Json) -> AsyncIterator[Json]:
    """The events of a stream as JSON; an error among them is raised."""
    rest = b""
    try:
        async with policy_client.stream(settings, body) as pieces:
            async for piece in pieces:
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    if line.startswith(b"data: {"):
                        event: Json = json.loads(line[6:])
                        if "error" in event:
                            raise Unavailable(gettext(NOT_THERE))
                        yield event
    except (httpx.HTTPError, ValueError) as error:
        raise Unavailable(gettext(NOT_THERE)) from error


@dataclass
class Running:
    """A turn that is being written. Any number of pages may listen; each hears everything."""

    news: list[Json] = field(default_factory=list)
    over: bool = False
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    task: asyncio.Task[None] | None = None

    async def tell(self, event: Json, *, last: bool = False) -> None:
        """One more event for everybody who listens."""
        async with self.changed:
            self.news.append(event)
            self.over = last
            self.changed.notify_all()

    async def events(self) -> AsyncIterator[bytes]:
        """All events, from the first one, as server-sent events."""
        heard = 0
        while heard < len(self.news) or not self.over:
            async with self.changed:
                if heard == len(self.news):
                    await self.changed.wait()
            for event in self.news[heard:]:
                heard += 1
                yield f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode()


class Desk:
    """The turns that this process writes now, by the key of their talk."""

    def __init__(self) -> None:
        self._running: dict[UUID, Running] = {}

    def listen(self, key: UUID) -> Running | None:
        """The turn that is being written for this talk."""
        return self._running.get(key)

    def begin(self, key: UUID, work: Callable[[Tell], Awaitable[Any]]) -> Running:
        """Start a turn. `work` tells its events, and has stored the turn when it returns."""
        running = Running()
        self._running[key] = running
        running.task = asyncio.create_task(self._run(key, running, work))
        return running

    async def _run(self, key: UUID, running: Running, work: Callable[[Tell], Awaitable[Any]]) -> None:
        event: Json = {"error": gettext("The replies were lost on our side. Nothing is stored; ask again.")}
        try:
            await work(running.tell)
            event = {"done": True}
        except AppError as error:
            event = {"error": str(error)}
        except Exception:
            log.exception("a turn was lost", extra={"action": "turn_lost"})
        finally:
            self._running.pop(key, None)
            await running.tell(event, last=True)
