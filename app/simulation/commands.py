"""`palate simulate` and `palate bench loop`: annotators with a known taste against a running `palate up`."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from app.core.database import UnitOfWork, units_of_work
from app.core.errors import InvalidInput, Problem
from app.core.settings import Settings
from app.simulation.character import Character
from app.simulation.crowd import Crowd
from app.simulation.loop import Plan, run_loop
from app.simulation.tastes import TASTES, Taste
from app.simulation.truth import gains

commands = typer.Typer()
bench = typer.Typer(no_args_is_help=True, help="Measure the whole loop on this machine.")
commands.add_typer(bench, name="bench")

Annotators = Annotated[int, typer.Option(min=1, max=64, help="How many people at once.")]
Labels = Annotated[int, typer.Option(min=1, help="Labels to place (of each round).")]
TasteName = Annotated[str, typer.Option("--taste", help="concise or warm.")]
Noise = Annotated[float, typer.Option(min=0, max=1, help="Probability of the opposite answer.")]
Seed = Annotated[int, typer.Option(help="Of the annotators' coins.")]
ProjectName = Annotated[str, typer.Option(help="The project's short name.")]
Shuffle = Annotated[bool, typer.Option("--shuffle-labels", help="Control: coins answer, the labels say nothing.")]


@commands.command()
def simulate(  # noqa: PLR0917  options of a command, named by who types them
    annotators: Annotators = 4,
    labels: Labels = 300,
    taste: TasteName = "concise",
    noise: Noise = 0.15,
    seed: Seed = 1,
    project: ProjectName = "everyday",
    shuffle_labels: Shuffle = False,
    patience: Annotated[float, typer.Option(help="Seconds to wait for a task before giving up.")] = 600,
) -> None:
    """Place labels: sign in over HTTP like a person, see what a person sees, answer by a known taste."""
    character = Character(_taste(taste), noise, random_answers=shuffle_labels)
    with _work() as (uow, settings):
        crowd = Crowd(uow, settings, project, character, count=annotators, seed=seed)
        try:
            tally = crowd.label(labels, patience=patience)
        finally:
            crowd.close()
    typer.echo(
        f"{tally.placed} of {tally.wanted} labels in {tally.seconds:.0f} s, {tally.rate:.0f} a minute: "
        + ", ".join(f"{choice} {count}" for choice, count in sorted(tally.choices.items()))
    )
    for error in tally.errors:
        typer.echo(error, err=True)
    if tally.placed < tally.wanted:
        raise typer.Exit(1)


@bench.command()
def loop(  # noqa: PLR0917  options of a command, named by who types them
    rounds: Annotated[int, typer.Option(min=1, help="How many rounds.")] = 2,
    annotators: Annotators = 4,
    labels: Labels = 300,
    taste: TasteName = "concise",
    noise: Noise = 0.15,
    seed: Seed = 1,
    project: ProjectName = "everyday",
    shuffle_labels: Shuffle = False,
    requests: Annotated[bool, typer.Option(help="Ask the policy server without pause meanwhile.")] = True,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where the JSON goes.")] = None,
) -> None:
    """Labels, round, swap, again: what the reward model learned and what the policy gained, measured with the taste."""
    _taste(taste)
    plan = Plan(project, rounds, annotators, labels, taste, noise, seed, shuffle_labels, requests)
    with _work() as (uow, settings):
        name = f"loop-{taste}-{seed}{'-shuffled' if shuffle_labels else ''}.json"
        target = output or settings.home / "bench" / name
        run_loop(uow, settings, plan, target, typer.echo)
    typer.echo(f"All figures: {target}")


@bench.command()
def gain(
    samples: Annotated[
        list[Path], typer.Argument(help="Files of `python -m trainer resample`; their answers count together.")
    ],
    taste: Annotated[str, typer.Option(help=", ".join(TASTES))] = "concise",
) -> None:
    """How much of a taste several policies have, from answers that were sampled anew."""
    rows = [json.loads(path.read_text())["samples"] for path in samples]
    merged = [
        {"answers": {name: [text for row in same for text in row["answers"][name]] for name in same[0]["answers"]}}
        for same in zip(*rows, strict=True)
    ]
    for name, found in gains(merged, _taste(taste)).items():
        said = found["gain"]
        shown = f"{said['sd']:+.2f} sd ({said['low']:+.2f} to {said['high']:+.2f})" if said else "not known"
        count = len(merged[0]["answers"][name])
        typer.echo(f"{name:<12} score {found['mean']:+.3f}  gain over base {shown}  {count} answers a prompt")


@bench.callback()
def _bench() -> None:
    """Measure the whole loop on this machine."""


def _taste(name: str) -> Taste:
    if name not in TASTES:
        raise InvalidInput([Problem("taste", f"There is no taste {name!r}; there are {', '.join(TASTES)}.")])
    return TASTES[name]


@contextmanager
def _work() -> Iterator[tuple[UnitOfWork, Settings]]:
    settings = Settings()
    with units_of_work(settings.dsn, pool_size=2) as uow:
        yield uow, settings
