"""Prompts as they come in: a JSONL file is checked row by row, every bad row is named, then all good ones are added."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.core.errors import Problem
from app.core.jsonl import Figure, Report, Words, numbered, read_row
from app.core.records import Project, Prompt
from app.core.records.base import Json
from app.core.splits import content_hash, origin_of, split_of
from app.core.words import N_, gettext

MAX_TEXT = 32_000
"""Characters of one message: far above what any served model reads."""
MAX_MESSAGES = 200
CHUNK = 1000


class Message(BaseModel):
    """One turn."""

    model_config = ConfigDict(extra="forbid", strict=True)

    role: Literal["system", "user", "assistant"]
    content: str = Field(min_length=1, max_length=MAX_TEXT)

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.content.strip():
            raise PydanticCustomError("blank", N_("Only blanks. A message needs words."))
        return self


class PromptRow(BaseModel):
    """One row of a prompt file: `prompt` or `messages`, and if wished `id`, `metadata` and `sensitive`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prompt: str | None = Field(default=None, min_length=1, max_length=MAX_TEXT)
    messages: list[Message] | None = Field(default=None, min_length=1, max_length=MAX_MESSAGES)
    id: str | int | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    sensitive: bool = False

    @model_validator(mode="after")
    def _is_one_prompt(self) -> Self:
        if (self.prompt is None) == (self.messages is None):
            raise PydanticCustomError("either", N_("A row has either prompt or messages."))
        if self.prompt is not None and not self.prompt.strip():
            raise PydanticCustomError("blank_prompt", N_("Only blanks. A prompt needs words."))
        if self.messages is not None:
            if self.messages[-1].role != "user":
                raise PydanticCustomError("last", N_("The last message must be from the user."))
            if any(message.role == "system" for message in self.messages[1:]):
                raise PydanticCustomError("system", N_("A system message can only be the first."))
        return self

    @property
    def turns(self) -> list[Json]:
        """The prompt as messages, the last one from the user."""
        return [turn.model_dump() for turn in self.messages or [Message(role="user", content=self.prompt or "")]]

    @property
    def name(self) -> str | None:
        """Its id as it is stored."""
        return None if self.id is None else str(self.id)


SENTENCES = {
    "string_type": N_("Must be text."),
    "string_too_short": N_("Empty. A prompt needs words."),
    "string_too_long": N_("Longer than %(text)s characters."),
    "list_type": N_("Must be a list of messages."),
    "too_short": N_("Empty. A prompt needs at least one message."),
    "too_long": N_("More than %(messages)s messages."),
    "literal_error": N_("Must be system, user or assistant."),
    "missing": N_("Missing."),
    "extra_forbidden": N_("There is no such field. Put what else you know into metadata."),
    "dict_type": N_("Must be an object."),
    "int_type": N_("Must be text or a whole number."),
    "model_type": N_("Must be an object with role and content."),
    "bool_type": N_("Must be true or false."),
}
"""What pydantic found, as a person would say it."""
PROMPT_WORDS = Words(
    ("prompt", "messages", "id", "metadata", "sensitive", "role", "content"),
    SENTENCES,
    {"either": "prompt", "blank_prompt": "prompt", "last": "messages", "system": "messages"},
    {"text": Figure(MAX_TEXT), "messages": Figure(MAX_MESSAGES)},
)


@dataclass(frozen=True)
class CheckedPrompt:
    """A row that fits."""

    line: int
    messages: list[Json]
    external_id: str | None
    extra: Json
    content_hash: str
    sensitive: bool = False


PromptReport = Report[CheckedPrompt]


def check_rows(lines: Iterable[bytes]) -> PromptReport:
    """Check every line of a JSONL file. Empty lines are passed over; nothing is stored; never raises for content."""
    report = PromptReport()
    by_content: dict[str, int] = {}
    by_id: dict[str, int] = {}
    for number, line in numbered(lines):
        report.rows += 1
        checked, problems = _check_line(number, line)
        if checked is None:
            report.problems += problems
        elif checked.content_hash in by_content:
            twin = by_content[checked.content_hash]
            report.duplicates.append(
                Problem("prompt", gettext("The same prompt as in row %(n)s.", n=Figure(twin)), number)
            )
        elif checked.external_id in by_id:
            twin = by_id[checked.external_id]
            report.problems.append(
                Problem(
                    "id",
                    gettext("Row %(n)s has this id and another prompt.", n=Figure(twin)),
                    number,
                    checked.external_id,
                )
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
            report.duplicates.append(Problem("prompt", gettext("The project has this prompt already."), row.line))
        elif row.external_id in ids:
            report.problems.append(
                Problem("id", gettext("The project uses this id for another prompt."), row.line, row.external_id or "")
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
                "sensitive": row.sensitive,
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
    row, problems = read_row(PromptRow, number, line, PROMPT_WORDS)
    if row is None:
        return None, problems
    digest = content_hash(row.turns)
    return CheckedPrompt(number, row.turns, row.name, row.metadata, digest, row.sensitive), []
