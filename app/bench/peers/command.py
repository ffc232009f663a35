"""`palate bench peers`."""

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from app.bench.peers.report import report
from app.bench.peers.rounds import NAMES, Plan, run, store
from app.core.errors import InvalidInput, Problem
from app.core.settings import ROOT, Settings


def peers(  # noqa: PLR0917  options of a command, named by who types them
    systems: Annotated[str, typer.Option("--with", help="Which ones, with commas.")] = ",".join(NAMES),
    people: Annotated[str, typer.Option(help="How many at once, with commas: a round for each.")] = "1,10,50",
    tasks: Annotated[int, typer.Option(min=1, help="Most tasks of a round; each wants one answer.")] = 6000,
    each: Annotated[int, typer.Option(min=1, help="Most tasks of a round for each person.")] = 400,
    seconds: Annotated[float, typer.Option(min=1, help="How long a round is, if the tasks last.")] = 30,
    repetitions: Annotated[int, typer.Option(min=1, help="How often all of it; every other time backwards.")] = 2,
    pairs: Annotated[Path | None, typer.Option(help="A PandaLM test set; texts of our own without.")] = None,
    environments: Annotated[
        Path | None,
        typer.Option(help="Holds a virtual environment for each peer, by its name; else cache/peers in PALATE_HOME."),
    ] = None,
    web_workers: Annotated[int, typer.Option(min=1, help="Processes that serve Palate's pages.")] = 1,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the JSON goes.")] = ROOT
    / "var/bench/peers.json",
) -> None:
    """Palate beside Label Studio, potato and feedloop: the same people, the same tasks, at full speed."""
    plan = Plan(
        systems=tuple(systems.split(",")),
        people=tuple(_numbers(people)),
        tasks=tasks,
        each=each,
        seconds=seconds,
        repetitions=repetitions,
        pairs=pairs,
        environments=environments or Settings().home / "cache/peers",
        web_workers=web_workers,
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no server is left behind
    found = run(plan, typer.echo)
    store(found, output)
    typer.echo(report(found))
    typer.echo(f"All figures: {output}")
    if not all(one["exact"] for one in found["rounds"] if one["system"] == "palate"):
        raise typer.Exit(1)


def _numbers(written: str) -> list[int]:
    try:
        return [int(part) for part in written.split(",")]
    except ValueError:
        raise InvalidInput([Problem("--people", "Numbers with commas, as in 1,10,50.", found=written)]) from None
