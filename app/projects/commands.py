"""`palate project`: make a project from a file."""

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.core.database import units_of_work
from app.core.errors import InvalidInput, Problem
from app.core.forms import DEFAULT_PROTOCOL, parse_protocol
from app.core.projects import ProjectSettings
from app.core.settings import Settings
from app.projects.forms import read_name
from app.projects.service import create_project

commands = typer.Typer()


class ProjectFile(BaseModel):
    """What the file holds. Everything but the name may be left out."""

    model_config = ConfigDict(extra="forbid")

    name: str
    guidelines: str = ""
    protocol: list[dict[str, Any]] = Field(default_factory=lambda: list(DEFAULT_PROTOCOL))
    settings: ProjectSettings = ProjectSettings()


@commands.command("project")
def make_project(
    slug: Annotated[str, typer.Argument(help="The new project's short name, as in its address.")],
    file: Annotated[Path, typer.Argument(help="JSON: name, guidelines, protocol, settings.", dir_okay=False)],
) -> None:
    """Make a project from a file. The owner sees it at once; others are invited."""
    described = _read(file)
    name, slug = read_name(described.name, slug)
    fields = [field.model_dump() for field in parse_protocol(described.protocol)]
    settings = Settings()
    with units_of_work(settings.dsn) as uow, uow() as db:
        create_project(
            db,
            None,
            name=name,
            slug=slug,
            guidelines=described.guidelines,
            fields=fields,
            base_model=settings.base_model,
            settings=described.settings.model_dump(),
        )
    typer.echo(f"Project {slug} is there.")


def _read(file: Path) -> ProjectFile:
    try:
        return ProjectFile.model_validate_json(file.read_bytes())
    except OSError as error:
        raise InvalidInput([Problem(str(file), f"Cannot be read: {error.strerror}.")]) from error
    except ValidationError as error:
        problems = [
            Problem(".".join(str(part) for part in one["loc"]) or "file", one["msg"])
            for one in error.errors(include_url=False)
        ]
        raise InvalidInput(problems) from error
