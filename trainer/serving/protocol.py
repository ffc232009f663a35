"""The OpenAI chat-completions format: what a request may say, and how answers, chunks and errors are written."""

import secrets
import time
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.core.errors import AppError
from trainer.base_model import Tokenizer
from trainer.rollout import Request, Row
from trainer.serving.engine import Job, Version

Json = dict[str, Any]


class Message(BaseModel):
    """One turn of a chat; text only."""

    model_config = ConfigDict(extra="ignore")
    role: Literal["system", "user", "assistant"]
    content: str = Field(max_length=200_000)


class StreamOptions(BaseModel):
    """Whether a last chunk tells the usage."""

    include_usage: bool = False


class ChatRequest(BaseModel):
    """A request. Settings that this server does not have are refused, never silently ignored."""

    model_config = ConfigDict(extra="forbid")
    model: str
    messages: list[Message] = Field(min_length=1, max_length=1000)
    max_tokens: int = Field(256, ge=1, le=8192)
    max_completion_tokens: int | None = Field(None, ge=1, le=8192)
    temperature: float = Field(1.0, ge=0, le=5)
    top_p: float = Field(1.0, gt=0, le=1)
    n: int = Field(1, ge=1, le=64)
    seed: int | None = None
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    logprobs: bool = False
    user: str | None = None

    def to_request(self, prompt: list[int]) -> Request:
        """The engine's request; without a seed one is drawn."""
        return Request(
            prompt=prompt,
            n=self.n,
            max_tokens=self.max_completion_tokens or self.max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=secrets.randbits(62) if self.seed is None else self.seed,
        )


class Answer:
    """Writes one job's answer in the OpenAI format, whole or as chunks."""

    def __init__(self, tokenizer: Tokenizer, asked: ChatRequest, version: Version, prompt_tokens: int) -> None:
        self.tokenizer = tokenizer
        self.asked = asked
        self.version = version
        self.prompt_tokens = prompt_tokens
        self.id = f"chatcmpl-{secrets.token_hex(12)}"
        self.created = int(time.time())
        self.sent: dict[int, str] = {}
        """Text of each sample that chunks have told so far."""

    def whole(self, job: Job) -> Json:
        """The response to a request without streaming."""
        rows = sorted(job.rows, key=lambda row: row.sample)
        choices = [
            {
                "index": row.sample,
                "message": {"role": "assistant", "content": self.text(row)},
                **self._ending(row),
            }
            for row in rows
        ]
        return {**self._head("chat.completion"), "choices": choices, "usage": self.usage(rows)}

    def opening(self) -> list[Json]:
        """The first chunk of every sample: who speaks."""
        return [self._chunk(sample, {"role": "assistant", "content": ""}) for sample in range(self.asked.n)]

    def delta(self, sample: int, token_ids: list[int], ending: Row | None) -> Json | None:
        """The chunk for what a sample has new; None while its last character is still incomplete."""
        text = self.tokenizer.decode(token_ids)
        before = self.sent.get(sample, "")
        if ending is None and (text.endswith("\ufffd") or len(text) <= len(before)):
            return None
        self.sent[sample] = text
        new: Json = {"content": text[len(before) :]} if len(text) > len(before) else {}
        return self._chunk(sample, new, self._ending(ending) if ending else None)

    def last(self, rows: list[Row]) -> Json:
        """The chunk that tells the usage."""
        return {**self._head("chat.completion.chunk"), "choices": [], "usage": self.usage(rows)}

    def usage(self, rows: list[Row]) -> Json:
        """Token counts of prompt and answers."""
        written = sum(len(row.token_ids) for row in rows)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": written,
            "total_tokens": self.prompt_tokens + written,
        }

    def text(self, row: Row) -> str:
        """What a sample says, without special tokens."""
        return self.tokenizer.decode(row.token_ids)

    def _head(self, kind: str) -> Json:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.version.name,
            "palate": {
                "deployment_id": self.version.deployment_id,
                "model_id": self.version.model_id,
                "version": self.version.version,
            },
        }

    def _chunk(self, sample: int, delta: Json, ending: Json | None = None) -> Json:
        choice = {"index": sample, "delta": delta, "finish_reason": None, **(ending or {})}
        return {**self._head("chat.completion.chunk"), "choices": [choice]}

    def _ending(self, row: Row) -> Json:
        """Reason, exact token ids and log-probs, and the OpenAI log-prob list where it was asked for."""
        content = [
            {
                "token": self.tokenizer.inner.decode([token]),
                "logprob": logprob,
                "bytes": None,
                "top_logprobs": [],
            }
            for token, logprob in zip(row.token_ids, row.logprobs, strict=True)
            if self.asked.logprobs
        ]
        return {
            "finish_reason": row.finish,
            "logprobs": {"content": content, "refusal": None} if self.asked.logprobs else None,
            "palate": {"token_ids": row.token_ids, "logprobs": row.logprobs},
        }


def error_body(error: AppError) -> Json:
    """An error as OpenAI clients read it."""
    kind = "server_error" if error.status >= 500 else "invalid_request_error"
    return {"error": {"message": str(error), "type": kind, "param": None, "code": type(error).__name__}}
