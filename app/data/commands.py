"""`palate import`, `convert` and `export`: what the pages do, for files of any size and for scripts."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from app.core.database import units_of_work
from app.core.errors import InvalidInput, Problem
from app.core.jsonl import lines_of
from app.core.projects import project_by_slug
from app.core.records import record
from app.core.settings import Settings
from app.data import exports
from app.data.forms import options_of
from app.data.incoming import Rows, added, checked
from app.data.sources import READERS, write

commands = typer.Typer()


@contextmanager
def _work() -> Iterator[tuple[Session, Settings]]:
    """One transaction of a command."""
    settings = Settings()
    with units_of_work(settings.dsn) as uow, uow() as db:
        yield db, settings


@commands.command("import")
def import_rows(
    project: Annotated[str, typer.Argument(help="The project's short name, as in its address.")],
    file: Annotated[Path, typer.Argument(help="JSONL: one row on each line.", exists=True, dir_okay=False)],
    rows_as: Annotated[Rows, typer.Option("--as", help="What a row is: a prompt, or answers to compare.")] = "prompts",
    good_ones: Annotated[bool, typer.Option("--good-ones", help="Leave out rows that do not fit.")] = False,
) -> None:
    """Bring prompts or comparisons into a project. Every row that does not fit is named; then nothing is stored."""
    with _work() as (db, _):
        target = project_by_slug(db, project)
        with file.open("rb") as raw:
            report = checked(db, target, rows_as, lines_of(raw))
        for problem in report.problems:
            typer.echo(f"Row {problem.row}, {problem.field}: {problem.message} {problem.found}".rstrip(), err=True)
        if report.problems and not good_ones:
            raise InvalidInput(
                [],
                f"{report.bad_rows} of {report.rows} rows do not fit. Nothing is stored. --good-ones leaves them out.",
            )
        counts = added(db, target, report, f"import:{file.name}")
        record(db, f"imported {rows_as}", f"projects:{target.id}", project_id=target.id, file=file.name, **counts)
    here = counts["duplicates"] + len(report.duplicates)
    left_out = f", {report.bad_rows} left out" if report.problems else ""
    typer.echo(f"{counts['added']} {rows_as} added, {here} were here already{left_out}.")


@commands.command()
def convert(
    source: Annotated[str, typer.Argument(help=f"Whose files these are: {', '.join(READERS)}.")],
    directory: Annotated[Path, typer.Argument(help="Where they lie.", exists=True, file_okay=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where a folder for each project goes.")],
) -> None:
    """Turn a public data set into project files: texts to compare, and who answered what."""
    if source not in READERS:
        raise InvalidInput([Problem("source", f"There is no {source!r}; there are {', '.join(READERS)}.")])
    for dataset in READERS[source](directory):
        folder = write(dataset, output / dataset.name)
        typer.echo(f"{folder}: {len(dataset.comparisons):,} comparisons, {len(dataset.answers):,} answers")


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
