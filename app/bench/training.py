"""`palate bench training`: hands over to the trainer, which is where torch is."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from app.core.settings import ROOT


def training(  # noqa: PLR0917  options of a command, named by who types them
    what: Annotated[str, typer.Option(help="Of reward, ppo and rollout, with commas.")] = "reward,ppo,rollout",
    pairs: Annotated[Path | None, typer.Option(help="A PandaLM test set; else words of our own.")] = None,
    trl: Annotated[Path | None, typer.Option(help="A virtual environment with trl 1.16, transformers 5, peft.")] = None,
    trl_ppo: Annotated[Path | None, typer.Option(help="One with trl 0.23.1 and transformers 4.57.6.")] = None,
    repetitions: Annotated[int, typer.Option(min=1, help="Processes of each, in turns.")] = 2,
    steps: Annotated[int, typer.Option(min=2, help="Steps of a process; the first is not counted.")] = 3,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the JSON goes.")] = ROOT
    / "var/bench/training.json",
) -> None:
    """Speed and memory of training and rollout, beside TRL and transformers where their environments are named."""
    command = [sys.executable, "-m", "trainer", "bench-training", "--what", what, "--output", str(output.absolute())]
    command += ["--repetitions", str(repetitions), "--steps", str(steps)]
    for name, path in (("pairs", pairs), ("trl", trl), ("trl-ppo", trl_ppo)):
        command += [f"--{name}", str(path.absolute())] if path else []
    raise typer.Exit(
        subprocess.run(command, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)}, cwd=ROOT).returncode
    )
