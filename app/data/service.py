"""Prompts of a project: browsing them, and bringing a file of rows in after every row of it was looked at."""

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import orjson
from sqlalchemy import Row, func, select, update
from sqlalchemy.orm import Session

from app.core.errors import Conflict, InvalidInput, NotFound, Problem
from app.core.jsonl import Report, lines_of
from app.core.records import Import, Preference, Project, Prompt, Task, Trajectory, record
from app.core.settings import Settings
from app.core.snapshots import is_current
from app.core.told import Stored
from app.core.words import figure, gettext, ngettext, number
from app.data.incoming import Rows, added, checked

PAGE = 50
UNDECIDED = timedelta(days=7)
"""A checked file that nobody decided about is dropped after this."""
PROBLEMS_KEPT = 50
"""Problems that the import's row remembers; the page shows them all from the file itself."""


@dataclass(frozen=True)
class PromptList:
    """One page of prompts and where the next one starts."""

    rows: list[Row[int, str, str, str | None, str, bool, int, int]]
    next_before: int | None


def prompts_of(
    db: Session, project_id: int, *, split: str = "", words: str = "", before: int | None = None
) -> PromptList:
    """A project's prompts, newest first, with how many completions and labels each has."""
    text = Prompt.messages[-1]["content"].astext
    completions = select(func.count()).where(Trajectory.prompt_id == Prompt.id).scalar_subquery()
    labels = (
        select(func.count())
        .select_from(Preference)
        .join(Task, Task.id == Preference.task_id)
        .where(Task.prompt_id == Prompt.id, is_current())
        .scalar_subquery()
    )
    query = select(
        Prompt.id,
        func.left(text, 300).label("text"),
        Prompt.split,
        Prompt.external_id,
        Prompt.source,
        Prompt.sensitive,
        completions.label("completions"),
        labels.label("labels"),
    ).where(Prompt.project_id == project_id, Prompt.archived_at.is_(None))
    if split:
        query = query.where(Prompt.split == split)
    if words:
        query = query.where(text.icontains(words, autoescape=True))
    if before is not None:
        query = query.where(Prompt.id < before)
    rows = list(db.execute(query.order_by(Prompt.id.desc()).limit(PAGE + 1)))
    return PromptList(rows[:PAGE], rows[PAGE - 1].id if len(rows) > PAGE else None)


def prompt_counts(db: Session, project_id: int) -> dict[str, int]:
    """How many prompts stand in each split."""
    query = (
        select(Prompt.split, func.count().label("n"))
        .where(Prompt.project_id == project_id, Prompt.archived_at.is_(None))
        .group_by(Prompt.split)
    )
    return {row.split: row.n for row in db.execute(query)}


def start_import(
    db: Session,
    settings: Settings,
    project: Project,
    file: BinaryIO,
    *,
    name: str,
    user_id: int | None,
    kind: Rows = "prompts",
) -> Import:
    """Keep a file under home/uploads and look at every row of it. No row is stored. Raises InvalidInput."""
    _drop_forgotten(db, settings, project.id)
    raw = file.read(settings.upload_limit + 1)
    if len(raw) > settings.upload_limit:
        words = gettext(
            "Larger than %(n)s MB. The command palate import takes files of any size.",
            n=figure(settings.upload_limit / 1e6),
        )
        raise InvalidInput([Problem("file", words)])
    report = checked(db, project, kind, lines_of(io.BytesIO(raw)))
    if report.rows == 0:
        raise InvalidInput([Problem("file", gettext("Empty. A file of rows has one JSON object on each line."))])
    row = Import(
        project_id=project.id,
        user_id=user_id,
        file_name=name[:200] or Stored.PASTED.of(),
        sha256=hashlib.sha256(raw).hexdigest(),
        report={"kind": kind, **summary(report)},
    )
    db.add(row)
    db.flush()
    path = path_of(settings, row)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)
    return row


def kind_of(row: Import) -> Rows:
    """What the rows of a kept file are."""
    return "comparisons" if row.report.get("kind") == "comparisons" else "prompts"


def summary(report: Report[Any]) -> dict[str, object]:
    """The counts of a report, and where its first problems lie: how one says them depends on who reads."""
    return {
        "rows": report.rows,
        "good": len(report.good),
        "bad": report.bad_rows,
        "duplicates": len(report.duplicates),
        "problems": [
            {"row": one.row, "field": one.field, "found": one.found} for one in report.problems[:PROBLEMS_KEPT]
        ],
    }


def import_of(db: Session, project_id: int, import_id: int) -> Import:
    """A file of this project that was looked at, or NotFound."""
    row = db.get(Import, import_id)
    if row is None or row.project_id != project_id:
        raise NotFound
    return row


def look_again(db: Session, settings: Settings, row: Import) -> Report[Any]:
    """The report of a kept file against the project as it is now. Raises Conflict when the file was decided about."""
    with _kept(settings, row) as file:
        return checked(db, db.get_one(Project, row.project_id), kind_of(row), lines_of(file))


def kept_text(settings: Settings, row: Import, limit: int = 100_000) -> str:
    """The kept file as text to mend by hand; empty when it is too long for that."""
    with _kept(settings, row) as file:
        raw = file.read(limit + 1)
    return "" if len(raw) > limit else raw.decode("utf-8", "replace").replace("\0", "\ufffd")


def problem_lines(report: Report[Any]) -> bytes:
    """All problems as JSONL: row, field, message, found."""
    lines = [{"row": p.row, "field": p.field, "message": p.message, "found": p.found} for p in report.problems]
    return b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines)


def finish_import(
    db: Session, settings: Settings, project: Project, row: Import, *, leave_out_bad: bool, user_id: int | None
) -> dict[str, int]:
    """Add the good rows of a kept file, all in this transaction. Returns {"added", "duplicates", "left_out"}.

    Raises InvalidInput when there are bad rows and nobody said to leave them out.
    """
    report = look_again(db, settings, row)
    if report.problems and not leave_out_bad:
        raise InvalidInput(report.problems[:PROBLEMS_KEPT], _refusal(report.bad_rows))
    _decide(db, row, "imported")
    counts = added(db, project, report, f"import:{row.id}")
    counts = {"added": counts["added"], "duplicates": counts["duplicates"] + len(report.duplicates)}
    counts["left_out"] = report.bad_rows
    record(
        db,
        f"imported {kind_of(row)}",
        f"imports:{row.id}",
        user_id=user_id,
        project_id=project.id,
        file=row.file_name,
        **counts,
    )
    return counts


def _refusal(count: int) -> str:
    return ngettext(
        "%(n)s row does not fit. Nothing is stored.",
        "%(n)s rows do not fit. Nothing is stored.",
        count,
        n=number(count),
    )


def discard_import(db: Session, row: Import) -> None:
    """Decide against a kept file."""
    _decide(db, row, "discarded")


def drop_file(settings: Settings, row: Import) -> None:
    """Remove the kept file of an import that was decided about; call it after the commit."""
    path_of(settings, row).unlink(missing_ok=True)


def path_of(settings: Settings, row: Import) -> Path:
    """Where a file waits until it was decided about."""
    return settings.home / "uploads" / f"{row.id}.jsonl"


@contextmanager
def _kept(settings: Settings, row: Import) -> Iterator[BinaryIO]:
    path = path_of(settings, row)
    if row.state != "checked" or not path.is_file():
        raise Conflict(gettext("This file was decided about already. Choose it again to look at it once more."))
    with path.open("rb") as file:
        yield file


def _decide(db: Session, row: Import, state: str) -> None:
    """Exactly one of two people who decide at once wins."""
    decided = (
        update(Import).where(Import.id == row.id, Import.state == "checked").values(state=state).returning(Import.id)
    )
    if db.scalar(decided) is None:
        raise Conflict(gettext("Somebody else has just decided about this file."))


def _drop_forgotten(db: Session, settings: Settings, project_id: int) -> None:
    forgotten = select(Import).where(
        Import.project_id == project_id, Import.state == "checked", Import.created_at < func.now() - UNDECIDED
    )
    for row in db.scalars(forgotten):
        row.state = "discarded"
        path_of(settings, row).unlink(missing_ok=True)
