"""The web application: the only place that knows every slice."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from anyio.to_thread import current_default_thread_limiter
from fastapi import Depends, FastAPI
from starlette.types import ASGIApp

from app.accounts import routes as accounts
from app.core.database import close, connect, unit_of_work
from app.core.settings import Settings
from app.data import routes as data
from app.insights import routes as insights
from app.insights import task_routes as tasks
from app.labeling import routes as labeling
from app.projects import routes as projects
from app.serving import routes as serving
from app.training import routes as training
from app.web import health
from app.web.errors import add_error_handlers
from app.web.security import MOST_BODY, Shield, guard
from app.web.static import VersionedFiles
from app.web.templating import make_environment

SLICES = (accounts, projects, labeling, data, training, serving, insights, tasks)


class Palate(FastAPI):
    """FastAPI inside the shield, so that even its own error pages carry the security headers."""

    def build_middleware_stack(self) -> ASGIApp:
        return Shield(super().build_middleware_stack(), self.state.settings)


def create_app(settings: Settings) -> FastAPI:
    """The application for these settings. Nothing is opened before it starts."""
    app = Palate(
        title="Palate",
        lifespan=resources,
        openapi_url=None,
        dependencies=[Depends(guard)],
        max_body_size=MOST_BODY,
    )
    files = VersionedFiles()
    app.state.settings = settings
    app.state.templates = make_environment(files)
    app.mount("/static", files, name="static")
    app.include_router(health.router)
    for routes in SLICES:
        app.include_router(routes.router)
    add_error_handlers(app)
    return app


def resources(app: FastAPI) -> AbstractAsyncContextManager[None]:
    """Open the database pool for the life of the process. As many threads as connections: nobody waits for the pool."""

    @asynccontextmanager
    async def life() -> AsyncIterator[None]:
        settings: Settings = app.state.settings
        engine = connect(settings.dsn, pool_size=settings.pool_size)
        app.state.engine, app.state.uow = engine, unit_of_work(engine)
        current_default_thread_limiter().total_tokens = settings.pool_size
        yield
        close(engine)

    return life()
