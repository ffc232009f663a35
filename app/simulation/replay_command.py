"""`palate replay`: real workers' recorded answers through the pages of a running `palate up`."""

from pathlib import Path
from typing import Annotated

import typer

from app.core.database import units_of_work
from app.core.imported import segments_in_force
from app.core.projects import project_by_slug
from app.core.settings import Settings
from app.simulation.recorded import read_recorded
from app.simulation.replay import replay
from app.simulation.stored import compare

commands = typer.Typer()


@commands.command("replay")
def replay_answers(
    project: Annotated[str, typer.Argument(help="The project's short name; its tasks are those of the folder.")],
    folder: Annotated[Path, typer.Argument(help="Holds comparisons.jsonl and answers.jsonl.", file_okay=False)],
) -> None:
    """Give recorded answers once more, by one simulated annotator for each worker, and compare what is stored."""
    settings = Settings()
    with units_of_work(settings.dsn, pool_size=2) as uow:
        with uow() as db:
            segments = segments_in_force(db, project_by_slug(db, project))
        rows, recorded = read_recorded(folder, segments)
        played = replay(uow, settings, project, rows, recorded, say=typer.echo)
        with uow() as db:
            compared = compare(db, project, recorded, played.emails)
    rate = 60 * played.answered / played.seconds if played.seconds else 0
    typer.echo(
        f"{played.handed_out:,} tasks handed out, {played.answered:,} answered, {played.skipped:,} skipped, "
        f"{len(played.not_offered):,} not offered; {played.seconds:.0f} s, {rate:.0f} answers a minute."
    )
    typer.echo(compared.table())
    if not compared.same:
        raise typer.Exit(1)
