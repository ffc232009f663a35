"""The two kinds of rows that a file may bring: prompts, and comparisons with their texts. Both go the same way."""

from collections.abc import Iterable
from typing import Any, Literal, get_args

from sqlalchemy.orm import Session

from app.core import imported, prompts
from app.core.comparisons import CheckedComparison, check_comparisons
from app.core.jsonl import Report
from app.core.records import Project

Rows = Literal["prompts", "comparisons"]
ROWS: tuple[Rows, ...] = get_args(Rows)


def checked(db: Session, project: Project, kind: Rows, lines: Iterable[bytes]) -> Report[Any]:
    """Every line of a file looked at, against what the project has. Nothing is stored; never raises for content."""
    if kind == "comparisons":
        segments = imported.segments_in_force(db, project)
        return imported.check_against(db, project.id, check_comparisons(lines, segments))
    return prompts.check_against(db, project.id, prompts.check_rows(lines))


def added(db: Session, project: Project, report: Report[Any], source: str) -> dict[str, int]:
    """Add a report's good rows in the caller's transaction: all or none. Returns at least {"added", "duplicates"}."""
    if any(isinstance(row, CheckedComparison) for row in report.good):
        return imported.add_comparisons(db, project, report.good, source)
    return prompts.add_prompts(db, project, report.good, source)
