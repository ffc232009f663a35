"""Client of the policy server's OpenAI-style API, for the sampler and the pages. Errors are sentences for people."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

import httpx

from app.core.errors import AppError, Unavailable
from app.core.projects import Sampling
from app.core.records.base import Json
from app.core.settings import Settings
from app.core.words import N_, gettext

NOT_THERE = N_("The model is starting. Comparisons go on; try again in about 20 seconds.")


class Refused(AppError):
    """The policy server did not accept the request."""

    words = N_("The policy server did not accept the request.")
    status = 422


@dataclass(frozen=True)
class Completion:
    """One sampled answer with what is needed to store it."""

    text: str
    finish_reason: str
    token_ids: list[int] | None
    logprobs: list[float] | None


@dataclass(frozen=True)
class Answer:
    """What the server wrote for one request, and the version that wrote it."""

    model: str
    version: int
    model_id: int | None
    deployment_id: int | None
    completions: list[Completion]


class PolicyClient:
    """One connection pool to the policy server. `bulk` requests give way to people's."""

    def __init__(
        self, address: str, token: str, *, bulk: bool = False, timeout: float = 120, connections: int = 8
    ) -> None:
        headers = {"Authorization": f"Bearer {token}"} | ({"X-Palate-Priority": "bulk"} if bulk else {})
        self._http = httpx.Client(
            base_url=address,
            headers=headers,
            timeout=httpx.Timeout(timeout, connect=3),
            limits=httpx.Limits(max_connections=connections),
            trust_env=False,
        )

    @classmethod
    def of(cls, settings: Settings, **options: Any) -> Self:
        """The client for these settings."""
        return cls(settings.policy_address, settings.secret("policy_token"), **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; requests in flight end with Unavailable."""
        self._http.close()

    def health(self) -> Json:
        """{"status", "base_model", "deployments": {slug: {"version", "deployment_id", "model_id"}}}; or Unavailable."""
        return self._json("GET", "/health")

    def chat(
        self,
        model: str,
        messages: Sequence[Json],
        *,
        sampling: Sampling,
        n: int = 1,
        seed: int | None = None,
        logprobs: bool = False,
    ) -> Answer:
        """n answers to a message list. `model`: a project's slug (its live policy), "slug@v3", or "base".

        Raises Unavailable (not there, not ready, too slow) or Refused (it does not accept the request).
        """
        body = chat_request(model, messages, sampling, n=n, seed=seed, logprobs=logprobs)
        return read_answer(self._json("POST", "/v1/chat/completions", body))

    def _json(self, method: str, path: str, body: Json | None = None) -> Json:
        try:
            response = self._http.request(method, path, json=body)
            explain(response)
            found: Json = response.json()
        except httpx.TimeoutException as error:
            raise Unavailable(
                gettext("The model took too long to answer. It is busy; try again in a minute.")
            ) from error
        except (httpx.HTTPError, RuntimeError, ValueError) as error:
            raise Unavailable(gettext(NOT_THERE)) from error
        return found


def chat_request(
    model: str,
    messages: Sequence[Json],
    sampling: Sampling,
    *,
    n: int = 1,
    seed: int | None = None,
    logprobs: bool = False,
    stream: bool = False,
) -> Json:
    """The body of a chat request, every sampling setting spelled out."""
    body: Json = {"model": model, "messages": list(messages), "n": n, **sampling.model_dump()}
    if seed is not None:
        body["seed"] = seed
    if logprobs:
        body["logprobs"] = True
    if stream:
        body["stream"] = True
    return body


def read_answer(body: Json) -> Answer:
    """An Answer from the server's JSON; raises Unavailable when it is not of the documented form."""
    try:
        told = body["palate"]
        choices = [
            Completion(
                text=choice["message"]["content"],
                finish_reason=choice["finish_reason"],
                token_ids=(choice.get("palate") or {}).get("token_ids"),
                logprobs=(choice.get("palate") or {}).get("logprobs"),
            )
            for choice in body["choices"]
        ]
        return Answer(body["model"], told["version"], told["model_id"], told["deployment_id"], choices)
    except (KeyError, TypeError, AttributeError) as error:
        raise Unavailable(gettext("The policy server answered in a form that this version does not know.")) from error


def explain(response: httpx.Response) -> None:
    """Raise Unavailable or Refused for an answer that is not a success. The body must have been read."""
    if response.is_success:
        return
    if response.status_code in (401, 403):
        raise Unavailable(
            gettext("The policy server does not know our token. Are both started with the same PALATE_HOME?")
        )
    if response.status_code >= 500 or response.status_code == 429:
        raise Unavailable(gettext(NOT_THERE))
    raise Refused(_message(response))


@asynccontextmanager
async def stream(settings: Settings, body: Json) -> AsyncIterator[AsyncIterator[bytes]]:
    """The server-sent events of a chat request with `stream`, as bytes, while the block is open.

    Raises Unavailable or Refused before the first byte.
    """
    headers = {"Authorization": f"Bearer {settings.secret('policy_token')}"}
    timeout = httpx.Timeout(120, connect=3)
    async with httpx.AsyncClient(base_url=settings.policy_address, timeout=timeout, trust_env=False) as client:
        request = client.build_request("POST", "/v1/chat/completions", json=body, headers=headers)
        try:
            response = await client.send(request, stream=True)
        except httpx.HTTPError as error:
            raise Unavailable(gettext(NOT_THERE)) from error
        try:
            if not response.is_success:
                await response.aread()
                explain(response)
            yield response.aiter_bytes()
        finally:
            await response.aclose()


def _message(response: httpx.Response) -> str:
    try:
        error = response.json().get("error")
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, AttributeError):
        return gettext("The policy server refused the request (%(n)s).", n=response.status_code)
