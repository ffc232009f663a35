"""The policy server's HTTP as a client sees it, and as a process that is told to stop."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from app.core import registry
from app.core.artifacts import ArtifactStore
from app.core.database import UnitOfWork
from app.core.projects import Sampling
from app.core.settings import Settings
from app.web.policy_client import PolicyClient
from tests.factories import make_project
from tests.serving.conftest import MakePolicy
from trainer.serving.engine import Engine, Version
from trainer.serving.server import Service, create_server
from trainer.serving.swap import install

HELLO = [{"role": "user", "content": "Hello"}]
TOKEN = {"Authorization": "Bearer secret"}


@pytest.fixture
def service(engine_: Engine, store: ArtifactStore, make_policy_files: MakePolicy) -> Service:
    install(engine_, store, Version("kitchen", 3, 30, 300, make_policy_files(1)))
    service = Service("tiny-llama", "secret")
    service.engine = engine_
    return service


@pytest.fixture
def http(service: Service) -> Iterator[TestClient]:
    with TestClient(create_server(service), headers=TOKEN) as client:
        yield client


def chat(http: TestClient, **asked: Any) -> Any:
    return http.post("/v1/chat/completions", json={"model": "kitchen", "messages": HELLO, "max_tokens": 16, **asked})


def test_an_answer_has_the_documented_form(http: TestClient, engine_: Engine) -> None:
    body = chat(http, n=3, seed=5, logprobs=True).json()
    assert body["object"] == "chat.completion"
    assert body["model"] == "kitchen@v3"
    assert body["palate"] == {"deployment_id": 300, "model_id": 30, "version": 3}
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    written = 0
    for choice in body["choices"]:
        ids = choice["palate"]["token_ids"]
        written += len(ids)
        assert choice["message"] == {"role": "assistant", "content": engine_.tokenizer.decode(ids)}
        assert choice["finish_reason"] == ("stop" if ids[-1] == engine_.tokenizer.eos_id else "length")
        assert [entry["logprob"] for entry in choice["logprobs"]["content"]] == choice["palate"]["logprobs"]
    prompt = len(engine_.tokenizer.encode_chat(HELLO))
    assert body["usage"] == {
        "prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written
    }  # fmt: skip


def test_the_same_seed_gives_the_same_answer_and_none_a_new_one(http: TestClient) -> None:
    def text(**asked: Any) -> str:
        return str(chat(http, **asked).json()["choices"][0]["message"]["content"])

    assert text(seed=1) == text(seed=1)
    assert len({text() for _ in range(4)}) > 1
    assert text(temperature=0) == text(temperature=0)


def test_a_stream_says_the_same_as_a_whole_answer(http: TestClient) -> None:
    whole = chat(http, n=2, seed=7).json()
    response = chat(http, n=2, seed=7, stream=True, stream_options={"include_usage": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    events = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    texts, endings = {0: "", 1: ""}, {}
    for chunk in chunks[:-1]:
        assert (chunk["object"], chunk["model"]) == ("chat.completion.chunk", "kitchen@v3")
        (choice,) = chunk["choices"]
        texts[choice["index"]] += choice["delta"].get("content", "")
        if choice["finish_reason"]:
            endings[choice["index"]] = (choice["finish_reason"], choice["palate"])
    assert chunks[-1]["usage"] == whole["usage"]
    for choice in whole["choices"]:
        assert texts[choice["index"]] == choice["message"]["content"]
        assert endings[choice["index"]] == (choice["finish_reason"], choice["palate"])
    assert len(chunks) > 10


@pytest.mark.parametrize(
    ("asked", "status", "word"),
    [
        ({"model": "nobody"}, 404, "nobody"),
        ({"model": "kitchen@v9"}, 404, "kitchen@v3"),
        ({"messages": []}, 422, "messages"),
        ({"temperature": -1}, 422, "temperature"),
        ({"top_k": 50}, 422, "top_k"),
        ({"messages": [{"role": "user", "content": "x" * 2000}]}, 422, "tokens"),
    ],
)
def test_mistakes_are_told_in_the_openai_form(http: TestClient, asked: Any, status: int, word: str) -> None:
    response = chat(http, **asked)
    assert response.status_code == status
    error = response.json()["error"]
    assert word in error["message"]
    assert error["type"] == "invalid_request_error"


def test_a_full_queue_is_429_with_retry_after(http: TestClient, engine_: Engine) -> None:
    engine_.max_waiting = 0
    response = chat(http)
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) > 0
    engine_.max_waiting = 10
    assert chat(http).status_code == 200


def test_only_the_token_opens_and_health_is_open(service: Service) -> None:
    with TestClient(create_server(service)) as nobody:
        assert nobody.get("/v1/models").status_code == 401
        assert nobody.get("/v1/models", headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert nobody.post("/v1/chat/completions", json={}).status_code == 401
        health = nobody.get("/health").json()
        assert health["status"] == "ready"
        assert health["deployments"] == {"kitchen": {"version": 3, "deployment_id": 300, "model_id": 30}}
        names = [model["id"] for model in nobody.get("/v1/models", headers=TOKEN).json()["data"]]
        assert names == ["base", "kitchen", "kitchen@v3"]


def test_before_the_model_is_there_it_says_starting() -> None:
    with TestClient(create_server(Service("tiny-llama", "secret")), headers=TOKEN) as http:
        assert http.get("/health").json() == {"status": "starting", "base_model": "tiny-llama", "deployments": {}}
        response = chat(http)
        assert response.status_code == 503
        assert "starting" in response.json()["error"]["message"]


@pytest.fixture
def process(
    settings: Settings, tiny_model: Path, free_port: int, uow: UnitOfWork
) -> Iterator[tuple[subprocess.Popen[bytes], Settings]]:
    """`python -m trainer serve` on the tiny model, ready, with one project."""
    with uow() as db:
        registry.ensure_base(db, make_project(db, slug="kitchen"), str(tiny_model))
    settings = settings.model_copy(update={"policy_port": free_port, "base_model": str(tiny_model)})
    environment = {
        **os.environ,
        "PALATE_HOME": str(settings.home),
        "PALATE_DATABASE_URL": settings.dsn,
        "PALATE_BASE_MODEL": str(tiny_model),
        "PALATE_POLICY_PORT": str(free_port),
        "PALATE_THREADS": "1",
    }
    child = subprocess.Popen([sys.executable, "-m", "trainer", "serve"], env=environment)
    try:
        _wait_ready(settings.policy_address)
        yield child, settings
    finally:
        child.kill()
        child.wait()


def _wait_ready(address: str) -> None:
    end = time.monotonic() + 90
    while time.monotonic() < end:
        try:
            if httpx.get(f"{address}/health", trust_env=False).json()["status"] == "ready":
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise AssertionError("the policy server did not become ready")


def test_sigterm_finishes_running_requests_and_exits_zero(
    process: tuple[subprocess.Popen[bytes], Settings],
) -> None:
    child, settings = process
    with PolicyClient.of(settings) as client, ThreadPoolExecutor(1) as pool:
        quick = client.chat("kitchen", HELLO, sampling=Sampling(max_tokens=4), seed=1, logprobs=True)
        assert (quick.model, quick.version) == ("kitchen@v0", 0)
        running = pool.submit(client.chat, "kitchen", HELLO, sampling=Sampling(max_tokens=300), n=16, seed=2)
        time.sleep(0.3)
        child.send_signal(signal.SIGTERM)
        answer = running.result(60)
    assert len(answer.completions) == 16
    assert child.wait(30) == 0


def test_a_taken_port_is_a_sentence(
    process: tuple[subprocess.Popen[bytes], Settings],
) -> None:
    _, settings = process
    environment = {**os.environ, "PALATE_HOME": str(settings.home), "PALATE_POLICY_PORT": str(settings.policy_port)}
    second = subprocess.run(
        [sys.executable, "-m", "trainer", "serve"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert second.returncode == 1
    assert "PALATE_POLICY_PORT" in second.stdout + second.stderr
    assert "Traceback" not in second.stdout + second.stderr
