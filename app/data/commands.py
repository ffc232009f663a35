"""`palate import` and `palate export`: the same as the pages do, for files of any size and for scripts."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from app.core.database import units_of_work
from app.core.errors import InvalidInput
from app.core.jsonl import lines_of
from app.core.projects import project_by_slug
from app.core.prompts import add_prompts, check_against, check_rows
from app.core.records import record
from app.core.settings import Settings
from app.data import exports
from app.data.forms import options_of

commands = typer.Typer()


@contextmanager
def _work() -> Iterator[tuple[Session, Settings]]:
    """One transaction of a command."""
    settings = Settings()
    with units_of_work(settings.dsn) as uow, uow() as db:
        yield db, settings


@commands.command("import")
def import_prompts(
    project: Annotated[str, typer.Argument(help="The project's short name, as in its address.")],
    file: Annotated[Path, typer.Argument(help="JSONL: one prompt on each line.", exists=True, dir_okay=False)],
    good_ones: Annotated[bool, typer.Option("--good-ones", help="Leave out rows that do not fit.")] = False,
) -> None:
    """Bring prompts into a project. Every row that does not fit is named; then nothing is stored."""
    with _work() as (db, _):
        target = project_by_slug(db, project)
        with file.open("rb") as lines:
            report = check_against(db, target.id, check_rows(lines_of(lines)))
        for problem in report.problems:
            typer.echo(f"Row {problem.row}, {problem.field}: {problem.message} {problem.found}".rstrip(), err=True)
        if report.problems and not good_ones:
            raise InvalidInput(
                [],
                f"{report.bad_rows} of {report.rows} rows do not fit. Nothing is stored. --good-ones leaves them out.",
            )
        counts = add_prompts(db, target, report.good, f"import:{file.name}")
        record(db, "imported prompts", f"projects:{target.id}", project_id=target.id, file=file.name, **counts)
    here = counts["duplicates"] + len(report.duplicates)
    left_out = f", {report.bad_rows} left out" if report.problems else ""
    typer.echo(f"{counts['added']} prompts added, {here} were here already{left_out}.")


@commands.command("export")
def export_labels(  # noqa: PLR0917  options of a command, named by who types them
    project: Annotated[str, typer.Argument(help="The project's short name, as in its address.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory for the files; made when missing.")],
    shape: Annotated[str, typer.Option(help="trl, trl-plain or native.")] = "trl",
    file_format: Annotated[str, typer.Option("--format", help="jsonl or parquet.")] = "parquet",
    ties: Annotated[str, typer.Option(help="drop, or both: one row in each order.")] = "drop",
    late: Annotated[str, typer.Option(help="keep or drop answers that came late.")] = "keep",
    annotators: Annotated[str, typer.Option(help="Native only: pseudonym or drop.")] = "pseudonym",
) -> None:
    """Write a dataset. Same choices on the same labels: the same bytes."""
    choices = {"shape": shape, "format": file_format, "ties": ties, "late": late, "annotators": annotators}
    options = options_of(choices)
    with _work() as (db, settings):
        target = project_by_slug(db, project)
        export = exports.create_export(db, settings, target, options, user_id=None)
    output.mkdir(parents=True, exist_ok=True)
    for file in export.files:
        shutil.copy2(exports.directory_of(settings, export) / file["name"], output / file["name"])
        typer.echo(f"{output / file['name']}  {file['bytes']} bytes  sha256 {file['sha256']}")
