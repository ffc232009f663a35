"""What the readers of public data sets share: files whose rows are checked, and the answers they become."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from app.core.errors import InvalidInput, Problem
from app.core.records.base import Json

Row = TypeVar("Row", bound=BaseModel)


@dataclass(frozen=True)
class Dataset:
    """One project to be."""

    name: str
    project: Json
    """name, guidelines, protocol, settings: what `palate project` takes."""
    comparisons: list[Json]
    answers: list[Json]
    """{id, worker, outcome, tiers}: what `palate replay` gives."""


def project_file(name: str, guidelines: str, field: Json) -> Json:
    """A project with one question. Rounds wait for an admin: replayed answers are there to be compared first."""
    settings = {"rounds": {"automatic": False}}
    return {"name": name, "guidelines": guidelines, "protocol": [field], "settings": settings}


def answer(row_id: str, worker: str, outcome: str, tiers: Sequence[Sequence[int]]) -> Json:
    """One line of answers.jsonl. Tiers hold positions of the row's completions, best first."""
    return {"id": row_id, "worker": worker, "outcome": outcome, "tiers": [list(tier) for tier in tiers]}


def read_text(path: Path) -> str:
    """A file of the data set; raises InvalidInput that names it."""
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise InvalidInput([Problem(path.name, f"Cannot be read: {error.strerror}.")]) from error
    except UnicodeDecodeError as error:
        raise InvalidInput([Problem(path.name, "Not UTF-8.")]) from error


def json_lines(path: Path) -> Iterator[Any]:
    """The values of a JSONL file; raises InvalidInput that names file and line."""
    # Not splitlines(): a text may hold other separators of lines.
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        try:
            if line.strip():
                yield json.loads(line)
        except ValueError as error:
            raise InvalidInput([Problem(path.name, f"Line {number} is not JSON.", row=number)]) from error


def rows_of(kind: type[Row], path: Path, values: Iterable[Any]) -> list[Row]:
    """Values as rows of this kind; raises InvalidInput that names the file, the row and the field."""
    rows = []
    for number, value in enumerate(values, start=1):
        try:
            rows.append(kind.model_validate(value))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"]) or "row"
            raise InvalidInput([Problem(f"{path.name}, row {number}, {place}", first["msg"], row=number)]) from error
    return rows
