"""The demo project: prompts of everyday life that we wrote ourselves, so that a first start has something to judge."""

from pathlib import Path

from sqlalchemy import select

from app.core.database import UnitOfWork
from app.core.forms import DEFAULT_PROTOCOL
from app.core.jsonl import lines_of
from app.core.prompts import add_prompts, check_rows
from app.core.records import Guideline, Project, Protocol
from app.core.registry import ensure_base
from app.core.settings import Settings

HERE = Path(__file__).parent
SLUG = "everyday"


def seed(uow: UnitOfWork, settings: Settings) -> bool:
    """Make the project "Everyday assistant" with its prompts, guidelines and base policy. True when it was made.

    Where there is a project already, even an archived one, nothing happens.
    """
    with uow() as db:
        if db.scalar(select(Project.id).limit(1)) is not None:
            return False
        project = Project(
            slug=SLUG,
            name="Everyday assistant",
            settings={"description": "Short answers to small questions of daily life."},
        )
        db.add(project)
        db.flush()
        guidelines = (HERE / "guidelines.md").read_text(encoding="utf-8")
        db.add(Guideline(project_id=project.id, version=1, text=guidelines))
        db.add(Protocol(project_id=project.id, version=1, fields=DEFAULT_PROTOCOL))
        db.flush()
        with (HERE / "prompts.jsonl").open("rb") as file:
            add_prompts(db, project, check_rows(lines_of(file)).good, "demo")
        ensure_base(db, project, settings.base_model)
    return True
