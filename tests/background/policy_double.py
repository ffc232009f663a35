"""A test double of the policy server: the documented API over real HTTP, answers from a seeded word list, no model."""

import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WORDS = ("bread", "salt", "water", "time", "oven", "crust", "rise", "cool", "warm", "wait", "fold", "rest", "bake")


@dataclass
class PolicyDouble:
    """What the double says and what it was asked."""

    version: int = 0
    model_id: int = 0
    deployment_id: int = 0
    token: str = "secret"
    status: int = 200
    text: str | None = None
    """The one thing to say; None: words by seed."""
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    pause: float = 0.0
    word_pause: float = 0.0
    """Seconds between two words of a stream."""
    ends: bool = True
    """Whether a stream comes to its end."""
    same: int = 0
    """So many requests get the same text for all their answers."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """The chat answer as the API documents it."""
        choices = []
        with self.lock:
            same, self.same = self.same > 0, max(self.same - 1, 0)
        for index in range(body.get("n", 1)):
            draw = random.Random(f"{body.get('seed')}:{index}:{self.model_id}")  # noqa: S311  (repeatable on purpose)
            text = " ".join(draw.choices(WORDS, k=12)) if self.text is None else self.text
            text = "The same again." if same else text
            choices.append(
                {
                    "index": index,
                    "message": {"role": "assistant", "content": text},
                    "finish_reason": "stop",
                    "palate": {"token_ids": [1, 2, 3], "logprobs": [-0.5, -0.25, -1.0]},
                }
            )
        told = {"deployment_id": self.deployment_id, "model_id": self.model_id, "version": self.version}
        return {"model": f"{body['model']}@v{self.version}", "palate": told, "choices": choices}


@contextmanager
def serve(double: PolicyDouble) -> Iterator[PolicyDouble]:
    """The double on a free port of loopback while the block is open."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(200, {"status": "ok", "base_model": "double", "deployments": {}})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with double.lock:
                double.asked.append(body)
                double.headers.append({name.lower(): value for name, value in self.headers.items()})
                double.in_flight += 1
                double.most_in_flight = max(double.most_in_flight, double.in_flight)
            threading.Event().wait(double.pause)
            if self.headers["authorization"] != f"Bearer {double.token}":
                self._send(401, {"error": {"message": "no"}})
            elif double.status != 200:
                self._send(double.status, {"error": {"message": "The prompt is too long."}})
            elif body.get("stream"):
                self._stream(double.answer(body))
            else:
                self._send(200, double.answer(body))
            with double.lock:
                double.in_flight -= 1

        def _stream(self, answer: dict[str, Any]) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            told = {"model": answer["model"], "palate": answer["palate"]}
            texts = {choice["index"]: choice["message"]["content"].split() for choice in answer["choices"]}
            for number in range(max(map(len, texts.values()))):
                for index, words in texts.items():
                    if number < len(words):
                        self._event({**told, "choices": [{"index": index, "delta": {"content": words[number] + " "}}]})
                threading.Event().wait(double.word_pause)
            for choice in answer["choices"] if double.ends else []:
                ending = {"finish_reason": choice["finish_reason"], "palate": choice["palate"]}
                self._event({**told, "choices": [{"index": choice["index"], "delta": {"content": ""}, **ending}]})
            self.wfile.write(b"data: [DONE]\n\n")

        def _event(self, event: dict[str, Any]) -> None:
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
            self.wfile.flush()

        def _send(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    double.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
