"""JSONL files as they come in: every line is bounded, parsed and checked, and what does not fit is said in a sentence.

A file is hostile until shown otherwise: lines, depth and sizes are bounded before anything is believed.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, BinaryIO, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from app.core.errors import Problem
from app.core.records.base import Json
from app.core.words import N_, gettext
from app.core.words import number as written

MAX_LINE = 1_000_000
"""Bytes of one line."""
MAX_DEPTH = 20
NOT_JSON = (
    N_("expecting value"),
    N_("expecting ',' delimiter"),
    N_("expecting ':' delimiter"),
    N_("expecting property name enclosed in double quotes"),
    N_("extra data"),
    N_("unterminated string starting at"),
    N_("invalid control character at"),
    N_("illegal trailing comma before end of object"),
    N_("illegal trailing comma before end of array"),
)
"""What Python's parser says, for the catalogues."""
Row = TypeVar("Row", bound=BaseModel)
Checked = TypeVar("Checked")


@dataclass
class Report(Generic[Checked]):
    """What a file holds. `problems` name rows that do not fit, `duplicates` rows that fit but are there already."""

    rows: int = 0
    good: list[Checked] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    duplicates: list[Problem] = field(default_factory=list)

    @property
    def bad_rows(self) -> int:
        """Rows with at least one problem."""
        return len({problem.row for problem in self.problems})


@dataclass(frozen=True)
class Words:
    """How the problems of one kind of row are said."""

    fields: tuple[str, ...]
    """Names that may have been meant by a misspelled one."""
    sentences: Mapping[str, str]
    """By pydantic's kind of error, or by `field.kind` where one field has a sentence of its own."""
    places: Mapping[str, str]
    """The field that a rule about the whole row belongs to, by kind."""
    values: Mapping[str, object] = field(default_factory=dict)
    """What the sentences name."""


class Figure(int):
    """A number of a sentence, written as the language of now has it."""

    def __str__(self) -> str:
        return written(int(self))


class BadLine(ValueError):
    """This line is not one JSON object."""


def lines_of(file: BinaryIO, limit: int = MAX_LINE) -> Iterator[bytes]:
    """The lines of a file in bounded memory: of a line that is too long only the first limit + 1 bytes come."""
    while line := file.readline(limit + 1):
        tail = line
        while len(tail) > limit and not tail.endswith(b"\n"):
            tail = file.readline(limit + 1)
        yield line


def numbered(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers from 1, without the mark at a file's start; empty ones are passed over."""
    for place, raw in enumerate(lines, start=1):
        line = raw.removeprefix(b"\xef\xbb\xbf") if place == 1 else raw
        if line.strip():
            yield place, line


def read_row(kind: type[Row], number: int, line: bytes, words: Words) -> tuple[Row | None, list[Problem]]:
    """One line as a row of this kind, or what is wrong with it."""
    try:
        return kind.model_validate(_parse(line)), []
    except BadLine as error:
        return None, [Problem("row", str(error), number, _excerpt(line[:200].decode("utf-8", "replace")))]
    except ValidationError as error:
        return None, [_problem(number, detail, words) for detail in error.errors(include_url=False)]


def _parse(line: bytes) -> Json:
    """One JSON object that Postgres can hold; raises BadLine with a sentence."""
    if len(line) > MAX_LINE:
        raise BadLine(gettext("Longer than %(n)s MB.", n=MAX_LINE // 1_000_000))
    try:
        value = json.loads(line.decode("utf-8"), object_pairs_hook=_no_key_twice, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise BadLine(gettext("Not UTF-8. Save the file as UTF-8.")) from error
    except RecursionError as error:
        raise BadLine(gettext("Nested deeper than %(n)s levels.", n=MAX_DEPTH)) from error
    except json.JSONDecodeError as error:
        raise BadLine(
            gettext("Not JSON: %(what)s at character %(n)s.", what=gettext(error.msg.lower()), n=error.pos + 1)
        ) from error
    except BadLine:
        raise
    except ValueError as error:
        raise BadLine(gettext("Holds a number that is too long.")) from error
    if not isinstance(value, dict):
        raise BadLine(gettext("A row must be an object such as %(row)s.", row='{"prompt": "…"}'))
    _check_value(value, 1)
    return value


def _no_key_twice(pairs: list[tuple[str, Any]]) -> Json:
    found: Json = {}
    for key, value in pairs:
        if key in found:
            raise BadLine(gettext("The key %(key)s is there twice.", key=_excerpt(key)))
        found[key] = value
    return found


def _no_constant(name: str) -> None:
    raise BadLine(gettext("%(name)s is not a number in JSON.", name=name))


def _check_value(value: object, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise BadLine(gettext("Nested deeper than %(n)s levels.", n=MAX_DEPTH))
    if isinstance(value, str):
        if "\0" in value:
            raise BadLine(gettext("Holds a NUL character, which no text has."))
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise BadLine(gettext("Holds half a character (a lone surrogate)."))
    elif isinstance(value, float) and not math.isfinite(value):
        raise BadLine(gettext("Holds a number that is too large."))
    elif isinstance(value, list):
        for item in value:
            _check_value(item, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_value(key, depth + 1)
            _check_value(item, depth + 1)


def _problem(number: int, detail: ErrorDetails, words: Words) -> Problem:
    kind = detail["type"]
    # The place of a union's member is no field of the row.
    parts = [str(part) for part in detail["loc"] if part not in ("str", "int")]
    place = ".".join(parts) or words.places.get(kind, "row")
    found = (
        ""
        if kind in ("missing", "either")
        else _excerpt(json.dumps(detail["input"], ensure_ascii=False, default=_plain))
    )
    ours = words.sentences.get(f"{place.partition('.')[0]}.{kind}") or words.sentences.get(kind)
    message = gettext(ours) % words.values if ours else detail["msg"]
    if kind == "extra_forbidden" and (meant := get_close_matches(parts[-1], words.fields, 1)):
        message = gettext("There is no such field. Perhaps %(name)s was meant.", name=meant[0])
    return Problem(place, message, number, found)


def _plain(value: object) -> object:
    return value.model_dump(exclude_none=True) if isinstance(value, BaseModel) else str(value)


def _excerpt(text: str, length: int = 60) -> str:
    """The start of what was there, fit for one cell of a table."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= length else text[: length - 1] + "…"
