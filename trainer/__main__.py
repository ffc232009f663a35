"""python -m trainer COMMAND: the processes and tools that need torch."""

import argparse
import importlib
import os
import sys
from collections.abc import Callable

from app.core import logs
from app.core.errors import AppError
from app.core.settings import Settings

COMMANDS = {
    "serve": ("trainer.serving.serve", "serve", "the policy server"),
    "base-model": ("trainer.base_model", "print_base_model", "prepare the base model and print its directory"),
    "bench-generate": ("trainer.bench", "bench_generate", "tokens per second, ours and transformers'"),
    "bench-training": ("trainer.benching.command", "bench_training", "speed and memory beside TRL and transformers"),
    "resample": ("trainer.resample", "resample", "more answers of several policies to an evaluation's prompts"),
    "work": ("trainer.worker", "work", "the worker: claims rounds and trains"),
    "run": ("trainer.worker", "run", "one round in this process (the worker starts it)"),
}
"""name → (module, function, help). A function takes settings and the other arguments and returns the exit code."""

PLAIN = {"serve", "base-model", "work"}
"""Commands without arguments: what they do is configured by PALATE_ variables."""


def main() -> int:
    """Parse, set up logging, and hand over; only the named command's modules are imported."""
    parser = argparse.ArgumentParser(prog="python -m trainer", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (_, _, help_text) in COMMANDS.items():
        commands.add_parser(name, help=help_text, add_help=False)
    asked, rest = parser.parse_known_args()
    if {"-h", "--help"} & set(rest) and asked.command in PLAIN:
        commands.choices[asked.command].print_help()
        return 0
    settings = Settings()
    logs.setup(settings.process if settings.process != "palate" else asked.command, settings.log_level)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    module, function, _ = COMMANDS[asked.command]
    run: Callable[[Settings, list[str]], int] = getattr(importlib.import_module(module), function)
    try:
        return run(settings, rest)
    except AppError as error:
        print(error, file=sys.stderr)  # noqa: T201  # a command answers
        return 1


if __name__ == "__main__":
    sys.exit(main())
