"""Comparisons that come in with their texts: a JSONL file is checked row by row, and every bad row is named."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app.core.errors import Problem
from app.core.forms import MOST_ANSWERS
from app.core.jsonl import Figure, Report, Words, numbered, read_row
from app.core.projects import MOST_PEOPLE
from app.core.prompts import MAX_TEXT, PROMPT_WORDS, PromptRow
from app.core.records.base import Json
from app.core.splits import content_hash, text_hash
from app.core.words import N_, gettext, ngettext

Written = tuple[str | None, str]
"""Source and hash of a text: the same words of two sources are two answers."""


class Completion(BaseModel):
    """One answer of a row. It may be empty: some models say nothing, and people judged that."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: str = Field(max_length=MAX_TEXT)
    source: str | None = Field(default=None, min_length=1, max_length=200)
    """Who wrote it, for admins and exports. Annotators never see it."""


def _plain_text(value: Any) -> Any:
    return {"text": value} if isinstance(value, str) else value


class ComparisonRow(PromptRow):
    """One row of a comparison file: a prompt row with `completions`, and if wished `answers_needed`."""

    completions: list[Annotated[Completion, BeforeValidator(_plain_text)]] = Field(
        min_length=1, max_length=MOST_ANSWERS
    )
    answers_needed: int | None = Field(default=None, ge=1, le=MOST_PEOPLE)


COMPARISON_WORDS = Words(
    (*PROMPT_WORDS.fields, "completions", "answers_needed", "text", "source"),
    {
        **PROMPT_WORDS.sentences,
        "completions.list_type": N_("Must be a list of answers."),
        "completions.too_short": N_("Empty. A row brings as many answers as the protocol shows."),
        "completions.too_long": N_("A task shows at most %(answers)s answers."),
        "completions.model_type": N_("Must be text, or an object with text and source."),
        "completions.string_too_short": N_("Empty. Leave source out where it is not known."),
        "completions.string_too_long": N_("Longer than %(text)s characters (of a source: 200)."),
        "answers_needed.int_type": N_("Must be a whole number."),
        "answers_needed.greater_than_equal": N_("At least one person must answer."),
        "answers_needed.less_than_equal": N_("At most %(people)s people answer a task."),
    },
    PROMPT_WORDS.places,
    {**PROMPT_WORDS.values, "answers": MOST_ANSWERS, "people": MOST_PEOPLE},
)


@dataclass(frozen=True)
class CheckedComparison:
    """A row that fits."""

    line: int
    messages: list[Json]
    content_hash: str
    """Of the prompt."""
    completions: list[Completion]
    external_id: str | None
    answers_needed: int | None
    """None: as many as the project's settings say."""
    extra: Json
    sensitive: bool
    """Marks the prompt, and with it every task of the prompt."""

    @property
    def written(self) -> list[Written]:
        """What tells its completions apart, in order."""
        return [(one.source, text_hash(one.text)) for one in self.completions]


ComparisonReport = Report[CheckedComparison]


def check_comparisons(lines: Iterable[bytes], segments: int) -> ComparisonReport:
    """Check every line of a JSONL file for a protocol that shows this many answers. Never raises for content.

    Rows without an id may repeat each other: the same texts judged twice are two comparisons.
    """
    report = ComparisonReport()
    by_id: dict[str, int] = {}
    for number, line in numbered(lines):
        report.rows += 1
        row, problems = _check_line(number, line, segments)
        if row is None:
            report.problems += problems
        elif row.external_id in by_id:
            twin = by_id[row.external_id]
            report.problems.append(
                Problem("id", gettext("Row %(n)s has this id already.", n=Figure(twin)), number, row.external_id)
            )
        else:
            if row.external_id is not None:
                by_id[row.external_id] = number
            report.good.append(row)
    return report


def _check_line(number: int, line: bytes, segments: int) -> tuple[CheckedComparison | None, list[Problem]]:
    row, problems = read_row(ComparisonRow, number, line, COMPARISON_WORDS)
    if row is None:
        return None, problems
    if len(row.completions) != segments:
        words = ngettext(
            "This project's protocol shows %(n)s answer.", "This project's protocol shows %(n)s answers.", segments
        )
        return None, [Problem("completions", words, number, _answers(len(row.completions)))]
    return CheckedComparison(
        line=number,
        messages=row.turns,
        content_hash=content_hash(row.turns),
        completions=row.completions,
        external_id=row.name,
        answers_needed=row.answers_needed,
        extra=row.metadata,
        sensitive=row.sensitive,
    ), []


def _answers(count: int) -> str:
    return ngettext("%(n)s answer", "%(n)s answers", count)
