"""`palate bench labeling`, `peers` and `training`, beside `palate bench loop`."""

from pathlib import Path
from typing import Annotated

import typer

from app.bench.labeling import Load, report, run, store
from app.bench.peers.command import peers
from app.bench.training import training
from app.core.settings import ROOT
from app.simulation.commands import bench

commands = typer.Typer()
commands.add_typer(bench, name="bench")
bench.command()(peers)
bench.command()(training)


@bench.command()
def labeling(  # noqa: PLR0917  options of a command, named by who types them
    people: Annotated[int, typer.Option(min=1, max=500, help="How many people at once.")] = 50,
    seconds: Annotated[float, typer.Option(min=1, help="How long, after a warm-up of 3 seconds.")] = 60,
    think: Annotated[float, typer.Option(min=0, help="Mean seconds a person thinks; 0 is full speed.")] = 8,
    tasks: Annotated[int, typer.Option(min=1, help="Open tasks.")] = 100_000,
    labels: Annotated[int, typer.Option(min=0, help="Labels that are there already.")] = 1_000_000,
    seed: Annotated[int, typer.Option(help="Of the people's pauses.")] = 1,
    web_workers: Annotated[int, typer.Option(min=1, help="Processes that serve the pages.")] = 1,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the JSON goes.")] = ROOT
    / "var/bench/labeling.json",
) -> None:
    """How long people wait for an answer to be stored and for the next task, on a server and database of its own."""
    figures = run(Load(people, seconds, think, tasks, labels, seed, web_workers), typer.echo)
    store(figures, output)
    typer.echo(report(figures))
    typer.echo(f"All figures: {output}")
    if figures["errors"] or figures["acknowledged"] != figures["stored"] or figures["surplus"]:
        raise typer.Exit(1)
