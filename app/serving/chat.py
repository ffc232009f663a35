"""What a person may send to the playground: a short conversation, one new message, a version; not too often."""

import json
import time
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

from app.core.errors import InvalidInput, Problem, TooMany
from app.core.projects import Sampling
from app.core.records.base import Json
from app.core.words import figure, gettext, ngettext, number

MOST_MESSAGES = 20
MOST_CHARACTERS = 8_000
"""Of the whole conversation."""
PER_MINUTE = 20


@dataclass(frozen=True)
class Talk:
    """A checked request: the conversation so far with the new message at its end, and whom it goes to."""

    messages: list[Json]
    version: str
    sampling: Sampling

    def model(self, slug: str) -> str:
        """Its name for the policy server."""
        if self.version == "base":
            return "base"
        return slug if self.version == "live" else f"{slug}@v{self.version}"


def parse(form: Mapping[str, Any], usual: Sampling) -> Talk:
    """The checked form; raises InvalidInput."""
    message = str(form.get("message") or "").strip()
    earlier = _earlier(str(form.get("history") or "[]"))
    problems = []
    if not message:
        problems.append(Problem("message", gettext("Write something first.")))
    if len(earlier) + 1 > MOST_MESSAGES:
        problems.append(Problem("message", gettext("This talk has %(n)s messages. Begin a new one.", n=MOST_MESSAGES)))
    if len(message) + sum(len(one["content"]) for one in earlier) > MOST_CHARACTERS:
        problems.append(Problem("message", gettext("At most %(n)s characters in one talk.", n=number(MOST_CHARACTERS))))
    version = str(form.get("version") or "live").strip()
    if version not in ("live", "base") and not version.isdecimal():
        problems.append(Problem("version", gettext("There is no such version.")))
    temperature = _number(form.get("temperature"), usual.temperature)
    if not 0.05 <= temperature <= 2:
        problems.append(Problem("temperature", gettext("Between %(least)s and %(most)s.", least=figure(0.05), most=2)))
    if problems:
        raise InvalidInput(problems)
    messages = [*earlier, {"role": "user", "content": message}]
    return Talk(messages, version, usual.model_copy(update={"temperature": temperature}))


def _earlier(text: str) -> list[Json]:
    try:
        rows = json.loads(text)
        found = [{"role": row["role"], "content": row["content"]} for row in rows]
    except (ValueError, TypeError, KeyError):
        found = None
    if found is None or not all(
        one["role"] in ("user", "assistant") and isinstance(one["content"], str) for one in found
    ):
        raise InvalidInput([Problem("message", gettext("The talk so far could not be read. Begin a new one."))])
    return found


def _number(value: Any, usual: float) -> float:
    try:
        return float(value) if str(value or "").strip() else usual
    except ValueError:
        return -1.0


class Pace:
    """At most `PER_MINUTE` messages per person and minute, counted in this process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._times: dict[int, deque[float]] = defaultdict(deque)

    def take(self, user_id: int) -> None:
        """Count one message; raises TooMany."""
        now = time.monotonic()
        with self._lock:
            times = self._times[user_id]
            while times and times[0] < now - 60:
                times.popleft()
            if len(times) >= PER_MINUTE:
                wait = int(60 - (now - times[0])) + 1
                words = ngettext(
                    "That were %(most)s messages in a minute. Go on in %(n)s second.",
                    "That were %(most)s messages in a minute. Go on in %(n)s seconds.",
                    wait,
                    most=PER_MINUTE,
                )
                raise TooMany(words, wait)
            times.append(now)
