"""The engine: swaps under load, leases, priorities, cancelling, limits."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.core.artifacts import ArtifactStore
from app.core.errors import NotFound, TooMany, Unavailable
from tests.serving.conftest import MakePolicy
from trainer.modeling import Trunk
from trainer.rollout import DecodeBatch, Request, Row
from trainer.serving.engine import BASE, Engine, Job, Version, wait_for
from trainer.serving.swap import install

PROMPT = [5, 40, 77, 12, 90, 33]


def ask(seed: int, **options: int) -> Request:
    return Request(prompt=PROMPT, n=options.pop("n", 1), max_tokens=options.pop("max_tokens", 12), seed=seed)


def test_twenty_swaps_under_load_drop_and_mix_nothing(
    engine_: Engine, store: ArtifactStore, make_policy_files: MakePolicy, scorer: Trunk
) -> None:
    digests = [make_policy_files(seed) for seed in range(4)]
    versions = [Version("loop", i, 100 + i, 1000 + i, digest) for i, digest in enumerate([None, *digests])]
    install(engine_, store, versions[0])
    swapping = threading.Event()
    swapping.set()

    answers: list[tuple[Version, int, list[int], list[int]]] = []

    def client(number: int) -> None:
        turn = 0
        while swapping.is_set():
            turn += 1
            seed = number * 10_000 + turn
            job = wait_for(engine_, ask(seed, n=2), "loop", bulk=number % 2 == 0)
            assert job.error is None
            first, second = sorted(job.rows, key=lambda row: row.sample)
            answers.append((job.version, seed, first.token_ids, second.token_ids))

    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(client, number) for number in range(4)]
        for turn in range(24):
            install(engine_, store, versions[turn % len(versions)])
            _wait_until(lambda: engine_.live["loop"] in [version for version, *_ in answers[-4:]])
        swapping.clear()
        for future in clients:
            future.result()
    assert len({version.version for version, *_ in answers}) == len(versions)
    for version in versions:
        name = None
        if version.artifact_hash is not None:
            name = f"check {version.version}"
            scorer.load_adapter(name, store.verify(version.artifact_hash))
        for _, seed, *texts in [answer for answer in answers if answer[0] == version]:
            request = ask(seed, n=2)
            alone = _alone(scorer, engine_.tokenizer.eos_id, request, name)
            assert texts == alone
        if name:
            scorer.drop_adapter(name)


def _wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true() and time.monotonic() < end:
        time.sleep(0.01)


def _alone(trunk: Trunk, eos_id: int, request: Request, adapter: str | None) -> list[list[int]]:
    batch = DecodeBatch(trunk, eos_id=eos_id, adapter=adapter)
    rows = batch.admit([request])
    while batch.rows:
        batch.step()
    return [row.token_ids for row in rows]


def test_weights_stay_for_leases_and_the_version_before_and_then_go(
    engine_: Engine, store: ArtifactStore, make_policy_files: MakePolicy
) -> None:
    one, two, three = (Version("loop", i, i, i, make_policy_files(i)) for i in (1, 2, 3))
    install(engine_, store, one)
    held = engine_.lease("loop")
    install(engine_, store, two)
    install(engine_, store, three)
    assert _attached(engine_) == {v.artifact_hash for v in (one, two, three)}
    assert engine_.lease("loop@v2") == two
    with pytest.raises(NotFound, match="v3 and loop@v2"):
        engine_.lease("loop@v1")
    engine_.release(held)
    assert _attached(engine_) == {two.artifact_hash, three.artifact_hash}
    engine_.forget("loop")
    engine_.release(two)
    assert _attached(engine_) == set()


def _attached(engine: Engine) -> set[str | None]:
    engine.call(lambda: None).result()
    return set(engine.call(lambda: set(engine.trunk.settings)).result())


def test_more_samples_than_rows_are_answered_in_turns(engine_: Engine, scorer: Trunk) -> None:
    job = wait_for(engine_, ask(4, n=40, max_tokens=8), "base")
    drawn = sorted(job.rows, key=lambda row: row.sample)
    assert [row.sample for row in drawn] == list(range(40))
    expected = _alone(scorer, engine_.tokenizer.eos_id, ask(4, n=32, max_tokens=8), None)
    assert [row.token_ids for row in drawn[:32]] == expected


def test_people_overtake_bulk_requests(engine_: Engine) -> None:
    order: list[str] = []
    done = threading.Event()

    def finished(job: Job) -> None:
        order.append("bulk" if job.bulk else "person")
        if len(order) == 7:
            done.set()

    def queue_all() -> None:
        for seed in range(6):
            engine_.submit(Job(engine_.lease("base"), ask(seed, n=12, max_tokens=40), None, finished, bulk=True))
        engine_.submit(Job(engine_.lease("base"), ask(99, max_tokens=5), None, finished))

    engine_.call(queue_all).result()
    assert done.wait(60)
    assert order.index("person") == 0


def test_a_cancelled_job_frees_its_rows(engine_: Engine) -> None:
    done = threading.Event()
    started = threading.Event()

    def token(_row: Row) -> None:
        started.set()

    endless = Request(prompt=PROMPT, n=16, max_tokens=1000, seed=1, temperature=0.01)
    job = Job(engine_.lease("base"), endless, token, lambda _job: done.set())
    engine_.submit(job)
    assert started.wait(30)
    job.cancelled = True
    assert done.wait(30)
    assert engine_.load() == {"rows": 0, "waiting": 0}


def test_too_many_waiting_are_turned_away(engine_: Engine) -> None:
    engine_.max_waiting = 2
    outcome: Counter[str] = Counter()

    def flood() -> None:
        for seed in range(5):
            try:
                engine_.submit(Job(engine_.lease("base"), ask(seed), None, lambda _job: None))
                outcome["taken"] += 1
            except TooMany as error:
                outcome["turned away" if error.retry_after > 0 else "no hint"] += 1

    engine_.call(flood).result()
    assert outcome == {"taken": 2, "turned away": 3}


def test_a_broken_step_fails_its_requests_and_nobody_elses(engine_: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_hidden: object) -> None:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(engine_.trunk, "logits", broken)
        assert wait_for(engine_, ask(1), "base").error is not None
    assert wait_for(engine_, ask(1), "base").error is None


def test_stopping_finishes_what_runs_and_takes_nothing_new(engine_: Engine) -> None:
    done = threading.Event()
    job = Job(engine_.lease("base"), ask(1, n=4, max_tokens=60), None, lambda _job: done.set())
    engine_.submit(job)
    engine_.stop()
    assert done.is_set()
    assert job.answered
    with pytest.raises(Unavailable):
        engine_.submit(Job(BASE, ask(2), None, lambda _job: None))
