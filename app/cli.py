"""The command line: `palate up | test | user | import | export | simulate | …`. Commands import what they need."""

import importlib
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from sqlalchemy.exc import OperationalError
from typer.core import TyperGroup

from app.core import database, logs, schema
from app.core.errors import AppError, BadConfiguration
from app.core.settings import Settings, release

ELSEWHERE = {
    "import": "app.data.commands",
    "convert": "app.data.commands",
    "export": "app.data.commands",
    "project": "app.projects.commands",
    "replay": "app.simulation.replay_command",
    "simulate": "app.simulation.commands",
    "bench": "app.bench.commands",
    "user": "app.accounts.commands",
    "words": "app.catalogues",
}
"""Commands of other modules: each has a Typer named `commands` that holds them. Imported when asked for."""


class LazyGroup(TyperGroup):
    """Finds the commands of ELSEWHERE without importing all of them at each start."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All names, for the help page."""
        return sorted({*super().list_commands(ctx), *ELSEWHERE})

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of this name, imported now if it lives elsewhere."""
        if cmd_name not in ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        group: Any = typer.main.get_group(importlib.import_module(ELSEWHERE[cmd_name]).commands)
        return group.get_command(ctx, cmd_name) or group


cli = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Palate teaches a language model people's taste. Start with: palate up",
)


def read_settings(**changes: Any) -> Settings:
    """Settings from the environment, with the options of this command on top. Raises BadConfiguration."""
    try:
        return Settings(**{name: value for name, value in changes.items() if value is not None})
    except ValidationError as problem:
        first = problem.errors()[0]
        name = "PALATE_" + "_".join(str(part) for part in first["loc"]).upper()
        raise BadConfiguration(f"{name} is not right: {first['msg']}.") from problem


@cli.command()
def up(
    host: Annotated[str | None, typer.Option(help="Address to listen on (PALATE_HOST).")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the pages (PALATE_PORT).")] = None,
    train: Annotated[bool, typer.Option("--train/--no-train", help="Also run policy server and trainer.")] = True,
) -> None:
    """Start everything: database, pages, policy server, trainer. Ctrl-C stops it."""
    from app.supervisor import Supervisor

    settings = read_settings(host=host, port=port)
    logs.setup("palate", settings.log_level)
    raise typer.Exit(Supervisor(settings, train=train).run())


@cli.command()
def web() -> None:
    """Serve the pages (one process of `up`)."""
    import uvicorn

    from app.main import create_app

    settings = read_settings()
    logs.setup("web", settings.log_level)
    common: dict[str, Any] = {
        "host": settings.host,
        "port": settings.port,
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "timeout_graceful_shutdown": 10,
    }
    if settings.web_workers > 1:
        uvicorn.run("app.cli:web_application", factory=True, workers=settings.web_workers, **common)
    else:
        uvicorn.run(create_app(settings), **common)


def web_application() -> Any:
    """The application of one of several web workers, which uvicorn imports by this name."""
    from app.main import create_app

    settings = read_settings()
    logs.setup("web", settings.log_level)
    return create_app(settings)


@cli.command()
def migrate() -> None:
    """Bring the database to the newest schema."""
    settings = read_settings()
    schema.migrate(settings.dsn)
    print("The database has the newest schema.")


@cli.command()
def seed() -> None:
    """Make the demo project, unless there is a project already."""
    from app.demo import seed as seed_demo

    settings = read_settings()
    logs.setup("seed", settings.log_level)
    with database.units_of_work(settings.dsn) as uow:
        seed_demo(uow, settings)


@cli.command()
def prepare() -> None:
    """Migrate, seed the demo project, print the owner's one-time link (what containers run before the rest)."""
    from app.accounts.service import first_owner_link
    from app.demo import seed as seed_demo

    settings = read_settings()
    logs.setup("prepare", settings.log_level)
    schema.migrate(settings.dsn)
    with database.units_of_work(settings.dsn) as uow:
        if settings.demo:
            seed_demo(uow, settings)
        with uow() as db:
            link = first_owner_link(db, settings)
    if link:
        print(f"Nobody owns this Palate yet. This link works once and makes you its owner: {link}")


@cli.command()
def alive(process: Annotated[str, typer.Argument(help="background or trainer.")]) -> None:
    """Exit with 0 when this process gave a sign of life within the last minute (a container's health check)."""
    from sqlalchemy import func, select

    from app.core.records import WorkerState

    with database.units_of_work(read_settings().dsn) as uow, uow() as db:
        fresh = WorkerState.seen_at > func.now() - timedelta(minutes=1)
        seen = db.scalar(select(WorkerState.name).where(WorkerState.name.startswith(process), fresh))
    raise typer.Exit(0 if seen else 1)


@cli.command()
def version() -> None:
    """Print the version."""
    print(release())


@cli.command("test", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def check(
    context: typer.Context,
    quick: Annotated[bool, typer.Option("--quick", help="Only the fast tests.")] = False,
) -> None:
    """Run every check. Further words go to pytest. The last line is pytest's."""
    from app.checks import run

    raise typer.Exit(run(context.args, quick=quick))


@cli.command()
def backup(target: Annotated[Path, typer.Argument(help="A directory to make.")]) -> None:
    """Write the database and every artefact to a new directory."""
    from app.backup import back_up

    settings = read_settings()
    back_up(settings, target)
    print(f"Everything is in {target}.")


@cli.command()
def restore(source: Annotated[Path, typer.Argument(help="A directory made by `palate backup`.")]) -> None:
    """Read a backup into this empty database and home."""
    from app.backup import restore as restore_backup

    settings = read_settings()
    restore_backup(settings, source)
    print("The backup is restored.")


def main() -> None:
    """Run a command; what goes wrong is one sentence and exit code 1."""
    try:
        cli(prog_name="palate")
    except AppError as problem:
        sys.exit(f"palate: {problem}")
    except OperationalError as problem:
        reason = str(problem.orig).splitlines()[0] if problem.orig else "no reason given"
        sys.exit(f"palate: The database does not answer ({reason}). Is `palate up` running?")
    except BrokenPipeError:
        sys.exit(1)


if __name__ == "__main__":
    main()
