"""A client that asks the policy server without pause: a swap drops nothing, and every answer names its version."""

import threading
from collections import Counter
from typing import Self

import httpx

from app.core.records.base import Json
from app.core.settings import Settings


class Requests:
    """`with Requests(settings, "everyday") as requests:` asks from a thread, from `start` until the block ends."""

    def __init__(self, settings: Settings, project: str, *, max_tokens: int = 12) -> None:
        self.versions: Counter[str] = Counter()
        self.failures: list[str] = []
        self._question: Json = {
            "model": project,
            "messages": [{"role": "user", "content": "Name one fruit."}],
            "max_tokens": max_tokens,
        }
        self._http = httpx.Client(
            base_url=settings.policy_address,
            headers={"Authorization": f"Bearer {settings.secret('policy_token')}"},
            timeout=120,
            trust_env=False,
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def summary(self) -> Json:
        """Counts so far: {"requests", "failures", "versions", "first_failures"}."""
        answered = sum(self.versions.values())
        return {
            "requests": answered + len(self.failures),
            "failures": len(self.failures),
            "versions": dict(sorted(self.versions.items())),
            "first_failures": self.failures[:5],
        }

    @property
    def started(self) -> bool:
        """Whether it asks already."""
        return self._thread.ident is not None

    def start(self) -> None:
        """Begin to ask; again changes nothing."""
        if not self.started:
            self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self.started:
            self._thread.join()
        self._http.close()

    def _ask(self) -> None:
        while not self._stop.is_set():
            try:
                response = self._http.post("/v1/chat/completions", json=self._question)
                if response.status_code == 200 and "@v" in response.json()["model"]:
                    self.versions[response.json()["model"]] += 1
                    continue
                self.failures.append(f"{response.status_code}: {response.text[:200]}")
            except (httpx.HTTPError, ValueError, KeyError) as error:
                self.failures.append(f"{type(error).__name__}: {error}")
            self._stop.wait(1)
