"""Is the process alive, and can it serve?"""

import shutil

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.core import schema
from app.core.errors import BadConfiguration
from app.web.dependencies import public

router = APIRouter()
LEAST_DISK = 200 * 1024 * 1024
"""Bytes; with less, Postgres and checkpoints are close to failing."""


@router.get("/healthz")
@public
def healthz() -> JSONResponse:
    """The process answers."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz")
@public
def readyz(request: Request) -> JSONResponse:
    """Database reachable, schema current, disk not full. 503 with the failing check otherwise."""
    checks = {"database": False, "schema": False, "disk": False}
    try:
        with request.app.state.uow() as db:
            checks["database"] = db.scalar(text("select 1")) == 1
            checks["schema"] = schema.is_current(db)
    except (SQLAlchemyError, BadConfiguration):
        checks["database"] = False
    home = request.app.state.settings.home
    while not home.exists():
        home = home.parent
    checks["disk"] = shutil.disk_usage(home).free >= LEAST_DISK
    ready = all(checks.values())
    return JSONResponse({"status": "ok" if ready else "not ready", **checks}, status_code=200 if ready else 503)
