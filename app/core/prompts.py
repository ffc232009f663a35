"""Prompts as they come in: a JSONL file is checked row by row, every bad row is named, then all good ones are added.

The file is hostile until shown otherwise: lines, depth and sizes are bounded before anything is believed.
"""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, BinaryIO, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.core.errors import Problem
from app.core.records import Project, Prompt
from app.core.records.base import Json
from app.core.splits import content_hash, origin_of, split_of

MAX_LINE = 1_000_000
"""Bytes of one line."""
MAX_TEXT = 32_000
"""Characters of one message: far above what any served model reads."""
MAX_MESSAGES = 200
MAX_DEPTH = 20
CHUNK = 1000


class Message(BaseModel):
    """One turn."""

    model_config = ConfigDict(extra="forbid", strict=True)

    role: Literal["system", "user", "assistant"]
    content: str = Field(min_length=1, max_length=MAX_TEXT)

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.content.strip():
            raise PydanticCustomError("blank", "Only blanks. A message needs words.")
        return self


class PromptRow(BaseModel):
    """One row of a prompt file: `prompt` or `messages`, and if wished `id` and `metadata`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prompt: str | None = Field(default=None, min_length=1, max_length=MAX_TEXT)
    messages: list[Message] | None = Field(default=None, min_length=1, max_length=MAX_MESSAGES)
    id: str | int | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_one_prompt(self) -> Self:
        if (self.prompt is None) == (self.messages is None):
            raise PydanticCustomError("either", "A row has either prompt or messages.")
        if self.prompt is not None and not self.prompt.strip():
            raise PydanticCustomError("blank_prompt", "Only blanks. A prompt needs words.")
        if self.messages is not None:
            if self.messages[-1].role != "user":
                raise PydanticCustomError("last", "The last message must be from the user.")
            if any(message.role == "system" for message in self.messages[1:]):
                raise PydanticCustomError("system", "A system message can only be the first.")
        return self


@dataclass(frozen=True)
class CheckedPrompt:
    """A row that fits."""

    line: int
    messages: list[Json]
    external_id: str | None
    extra: Json
    content_hash: str


@dataclass
class PromptReport:
    """What a file holds. `problems` name rows that do not fit, `duplicates` rows that fit but are there already."""

    rows: int = 0
    good: list[CheckedPrompt] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    duplicates: list[Problem] = field(default_factory=list)

    @property
    def bad_rows(self) -> int:
        """Rows with at least one problem."""
        return len({problem.row for problem in self.problems})


class BadLine(ValueError):
    """This line is not one JSON object."""


def lines_of(file: BinaryIO, limit: int = MAX_LINE) -> Iterator[bytes]:
    """The lines of a file in bounded memory: of a line that is too long only the first limit + 1 bytes come."""
    while line := file.readline(limit + 1):
        tail = line
        while len(tail) > limit and not tail.endswith(b"\n"):
            tail = file.readline(limit + 1)
        yield line


def check_rows(lines: Iterable[bytes]) -> PromptReport:
    """Check every line of a JSONL file. Empty lines are passed over; nothing is stored; never raises for content."""
    report = PromptReport()
    by_content: dict[str, int] = {}
    by_id: dict[str, int] = {}
    for number, raw in enumerate(lines, start=1):
        line = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
        if not line.strip():
            continue
        report.rows += 1
        checked, problems = _check_line(number, line)
        if checked is None:
            report.problems += problems
        elif checked.content_hash in by_content:
            twin = by_content[checked.content_hash]
            report.duplicates.append(Problem("prompt", f"The same prompt as in row {twin}.", number))
        elif checked.external_id in by_id:
            twin = by_id[checked.external_id]
            report.problems.append(
                Problem("id", f"Row {twin} has this id and another prompt.", number, checked.external_id)
            )
        else:
            by_content[checked.content_hash] = number
            if checked.external_id is not None:
                by_id[checked.external_id] = number
            report.good.append(checked)
    return report


def check_against(db: Session, project_id: int, report: PromptReport) -> PromptReport:
    """The same report with rows set aside that the project has already, or whose id it uses for another prompt."""
    kept: list[CheckedPrompt] = []
    known, ids = _known(db, project_id, report.good)
    for row in report.good:
        if row.content_hash in known:
            report.duplicates.append(Problem("prompt", "The project has this prompt already.", row.line))
        elif row.external_id in ids:
            report.problems.append(
                Problem("id", "The project uses this id for another prompt.", row.line, row.external_id or "")
            )
        else:
            kept.append(row)
    report.good = kept
    report.problems.sort(key=lambda problem: problem.row or 0)
    report.duplicates.sort(key=lambda problem: problem.row or 0)
    return report


def add_prompts(
    db: Session, project: Project, rows: Sequence[CheckedPrompt], source: str, *, split: str | None = None
) -> dict[str, int]:
    """Add prompts in the caller's transaction: all or none. Returns {"added": n, "duplicates": n}.

    A row that came in by another way since it was checked is passed over and counted. Without `split` the fixed hash
    of its origin decides.
    """
    added = 0
    for start in range(0, len(rows), CHUNK):
        values = [
            {
                "project_id": project.id,
                "external_id": row.external_id,
                "messages": row.messages,
                "content_hash": row.content_hash,
                "source": source,
                "split": split or split_of(origin_of(row.messages)),
                "extra": row.extra,
            }
            for row in rows[start : start + CHUNK]
        ]
        added += len(db.scalars(insert(Prompt).values(values).on_conflict_do_nothing().returning(Prompt.id)).all())
    return {"added": added, "duplicates": len(rows) - added}


def _known(db: Session, project_id: int, rows: Sequence[CheckedPrompt]) -> tuple[set[str], set[str]]:
    hashes: set[str] = set()
    ids: set[str] = set()
    mine = Prompt.project_id == project_id
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        wanted = [row.external_id for row in chunk if row.external_id is not None]
        hashes |= set(
            db.scalars(
                select(Prompt.content_hash).where(mine, Prompt.content_hash.in_([r.content_hash for r in chunk]))
            )
        )
        ids |= {
            found
            for found in db.scalars(select(Prompt.external_id).where(mine, Prompt.external_id.in_(wanted)))
            if found
        }
    return hashes, ids


def _check_line(number: int, line: bytes) -> tuple[CheckedPrompt | None, list[Problem]]:
    try:
        value = _parse(line)
        row = PromptRow.model_validate(value)
    except BadLine as error:
        return None, [Problem("row", str(error), number, _excerpt(line[:200].decode("utf-8", "replace")))]
    except ValidationError as error:
        return None, [_problem(number, detail) for detail in error.errors(include_url=False)]
    turns = row.messages or [Message(role="user", content=row.prompt or "")]
    messages = [turn.model_dump() for turn in turns]
    external_id = None if row.id is None else str(row.id)
    return CheckedPrompt(number, messages, external_id, row.metadata, content_hash(messages)), []


def _parse(line: bytes) -> Json:
    """One JSON object that Postgres can hold; raises BadLine with a sentence."""
    if len(line) > MAX_LINE:
        raise BadLine(f"Longer than {MAX_LINE // 1_000_000} MB.")
    try:
        value = json.loads(line.decode("utf-8"), object_pairs_hook=_no_key_twice, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise BadLine("Not UTF-8. Save the file as UTF-8.") from error
    except RecursionError as error:
        raise BadLine(f"Nested deeper than {MAX_DEPTH} levels.") from error
    except json.JSONDecodeError as error:
        raise BadLine(f"Not JSON: {error.msg.lower()} at character {error.pos + 1}.") from error
    except BadLine:
        raise
    except ValueError as error:
        raise BadLine("Holds a number that is too long.") from error
    if not isinstance(value, dict):
        raise BadLine('A row must be an object such as {"prompt": "…"}.')
    _check_value(value, 1)
    return value


def _no_key_twice(pairs: list[tuple[str, Any]]) -> Json:
    found: Json = {}
    for key, value in pairs:
        if key in found:
            raise BadLine(f"The key {_excerpt(key)} is there twice.")
        found[key] = value
    return found


def _no_constant(name: str) -> None:
    raise BadLine(f"{name} is not a number in JSON.")


def _check_value(value: object, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise BadLine(f"Nested deeper than {MAX_DEPTH} levels.")
    if isinstance(value, str):
        if "\0" in value:
            raise BadLine("Holds a NUL character, which no text has.")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise BadLine("Holds half a character (a lone surrogate).")
    elif isinstance(value, float) and not math.isfinite(value):
        raise BadLine("Holds a number that is too large.")
    elif isinstance(value, list):
        for item in value:
            _check_value(item, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_value(key, depth + 1)
            _check_value(item, depth + 1)


SENTENCES = {
    "string_type": "Must be text.",
    "string_too_short": "Empty. A prompt needs words.",
    "string_too_long": f"Longer than {MAX_TEXT:,} characters.",
    "list_type": "Must be a list of messages.",
    "too_short": "Empty. A prompt needs at least one message.",
    "too_long": f"More than {MAX_MESSAGES} messages.",
    "literal_error": "Must be system, user or assistant.",
    "missing": "Missing.",
    "extra_forbidden": "There is no such field. Put what else you know into metadata.",
    "dict_type": "Must be an object.",
    "int_type": "Must be text or a whole number.",
    "model_type": "Must be an object with role and content.",
}
"""What pydantic found, as a person would say it."""
FIELDS = ("prompt", "messages", "id", "metadata", "role", "content")
WHERE = {"either": "prompt", "blank_prompt": "prompt", "last": "messages", "system": "messages"}


def _problem(number: int, detail: ErrorDetails) -> Problem:
    kind = detail["type"]
    # The place of a union's member is no field of the row.
    place = ".".join(str(part) for part in detail["loc"] if part not in ("str", "int")) or WHERE.get(kind, "row")
    found = (
        ""
        if kind in ("missing", "either")
        else _excerpt(json.dumps(detail["input"], ensure_ascii=False, default=_plain))
    )
    words = SENTENCES.get(kind, detail["msg"])
    if kind == "extra_forbidden" and (meant := get_close_matches(place, FIELDS, 1)):
        words = f"There is no such field. Perhaps {meant[0]} was meant."
    return Problem(place, words, number, found)


def _plain(value: object) -> object:
    return value.model_dump(exclude_none=True) if isinstance(value, BaseModel) else str(value)


def _excerpt(text: str, length: int = 60) -> str:
    """The start of what was there, fit for one cell of a table."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= length else text[: length - 1] + "…"
