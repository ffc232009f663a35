"""`palate words …`: keep the catalogues of the interface in step with its sentences (docs/languages.md)."""

from pathlib import Path
from typing import Annotated, Any

import typer
from babel import Locale, UnknownLocaleError
from babel.messages import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import write_po

from app.core.settings import ROOT
from app.web.words import CATALOGUES, read_catalogue

commands = typer.Typer(no_args_is_help=True, help="The languages of the interface.")
METHODS: list[tuple[str, Any]] = [
    ("app/**.py", "python"),
    ("templates/**.html", "jinja2.ext:babel_extract"),
    ("static/js/**.js", "javascript"),
]
OPTIONS = {
    "templates/**.html": {"trimmed": "true", "silent": "false", "trim_blocks": "true", "lstrip_blocks": "true"},
    "static/js/**.js": {"parse_template_string": "true"},
}
KEYWORDS: dict[str, tuple[int, ...] | None] = {"_": None, "gettext": None, "N_": None, "ngettext": (1, 2)}


def extracted() -> Catalog:
    """Every sentence of the code, each with the files that say it."""
    found = Catalog(project="Palate", header_comment="# Palate's interface. How to work on it: docs/languages.md")
    for file, _, message, _, _ in extract_from_dir(ROOT, METHODS, OPTIONS, KEYWORDS, directory_filter=_is_ours):
        found.add(message, locations=[(file, 0)])
    return found


def _is_ours(directory: str) -> bool:
    return Path(directory).relative_to(ROOT).parts[0] in ("app", "templates", "static")


def catalogue_path(code: str) -> Path:
    """Where the catalogue of a language lies."""
    return CATALOGUES / code / "LC_MESSAGES" / "palate.po"


def updated(path: Path, code: str, sentences: Catalog) -> Catalog:
    """A catalogue with exactly these sentences: what is new has no words yet, what is gone is gone."""
    catalogue = read_catalogue(path, code)
    sentences.creation_date = catalogue.creation_date
    catalogue.update(sentences, no_fuzzy_matching=True)
    catalogue.obsolete.clear()
    return catalogue


def wordless(catalogue: Catalog) -> list[str]:
    """The sentences that a catalogue has no words for."""
    said: list[tuple[Any, Any]] = [(one.id, one.string) for one in catalogue if one.id]
    return [str(key) for key, words in said if not (words if isinstance(words, str) else words and all(words))]


def _store(path: Path, catalogue: Catalog) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        write_po(file, catalogue, width=120, sort_by_file=True, include_lineno=False)
    typer.echo(f"{path.relative_to(ROOT)}: {len(catalogue)} sentences, {len(wordless(catalogue))} without words.")


@commands.command()
def update() -> None:
    """Bring all catalogues up to date with the code: add what is new, drop what is gone."""
    sentences = extracted()
    for path in sorted(CATALOGUES.glob("*/LC_MESSAGES/palate.po")):
        _store(path, updated(path, path.parts[-3], sentences))


@commands.command()
def add(code: Annotated[str, typer.Argument(help="Its code, such as fr or pt-BR.")]) -> None:
    """Begin a language: an empty catalogue with every sentence in it."""
    try:
        locale = Locale.parse(code, sep="-")
    except (UnknownLocaleError, ValueError) as error:
        raise typer.BadParameter(f"{code} is no language that Babel knows.") from error
    if catalogue_path(code).exists():
        raise typer.BadParameter(f"{code} is there already.")
    sentences = extracted()
    sentences.locale, sentences.fuzzy = locale, False
    _store(catalogue_path(code), sentences)
