"""The policy server as a process: loads the model in the background, listens, stops when it is told to."""

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator

import uvicorn

from app.core.artifacts import ArtifactStore
from app.core.database import connect, unit_of_work
from app.core.errors import AppError, BadConfiguration
from app.core.settings import Settings
from trainer.base_model import ensure_base_model, load_tokenizer
from trainer.modeling import load_trunk
from trainer.serving.engine import Engine
from trainer.serving.server import Service, create_server
from trainer.serving.swap import Watcher

log = logging.getLogger(__name__)
NICE = 5
"""The web answers people; generation takes what it leaves."""
GRACE_SECONDS = 30
MAX_ROWS = {"cpu": 32, "cuda": 128}


class _Uvicorn(uvicorn.Server):
    """uvicorn, but a SIGTERM that was obeyed ends the process with code 0 instead of being raised again."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.handle_exit)
        yield


class PolicyServer:
    """Everything that one process holds."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.service = Service(settings.base_model, settings.secret("policy_token"))
        self.http = _Uvicorn(
            uvicorn.Config(
                create_server(self.service),
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )
        self.engine: Engine | None = None
        self.watcher: Watcher | None = None
        self.failure: Exception | None = None

    def run(self) -> None:
        """Serve until a signal comes. Raises AppError when the port is taken or the model cannot be loaded."""
        listener = listen(self.settings)
        loading = threading.Thread(target=self._load, name="loading", daemon=True)
        loading.start()
        self.http.run(sockets=[listener])
        if self.watcher is not None:
            self.watcher.stop()
        if self.engine is not None:
            self.engine.stop(GRACE_SECONDS)
        if self.failure is not None:
            raise self.failure

    def _load(self) -> None:
        try:
            path = ensure_base_model(self.settings)
            trunk = load_trunk(self.settings, path)
            rows = MAX_ROWS[trunk.device.type] if trunk.device.type in MAX_ROWS else MAX_ROWS["cpu"]
            self.engine = Engine(trunk, load_tokenizer(path), max_rows=rows)
            self.engine.start()
            database = connect(self.settings.dsn, pool_size=2)
            store = ArtifactStore(self.settings.artifacts)
            self.watcher = Watcher(self.engine, store, unit_of_work(database), self.settings.dsn)
            self.watcher.start()
            self.watcher.looked.wait()
            self.service.engine = self.engine
            log.info("The policy server answers", extra={"base_model": self.settings.base_model, "dtype": trunk.dtype})
        except Exception as error:  # noqa: BLE001  # raised again by run() in the main thread
            self.failure = error
            self.http.should_exit = True


def listen(settings: Settings) -> socket.socket:
    """The listening socket, or BadConfiguration saying which port is taken."""
    try:
        return socket.create_server((settings.policy_host, settings.policy_port), backlog=256)
    except OSError as error:
        raise BadConfiguration(
            f"The policy server cannot listen on {settings.policy_host}:{settings.policy_port} ({error.strerror})."
            " Something else uses it; set PALATE_POLICY_PORT to another one."
        ) from error


def serve(settings: Settings, _arguments: list[str]) -> int:
    """`python -m trainer serve`. Returns the exit code."""
    with contextlib.suppress(OSError):
        os.nice(NICE)
    try:
        PolicyServer(settings).run()
    except AppError as error:
        log.error("%s", error)
        return 1
    return 0
