"""Acts of one person as lines to read: what was said, about what, what was changed, what became of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from app.core.answers import KINDS, Beside, Feedback, drafts_of
from app.core.forms import Converse, Field, lead_of, parse_protocol, sentence_of, turn_of
from app.core.records import Assignment, Demonstration, Preference, Project, Prompt, Protocol, Task
from app.core.sensitive import is_sensitive
from app.core.words import gettext
from app.labeling.fates import Fates

EXCERPT = 160
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Line:
    """One act as it stands now."""

    key: UUID
    kind: str
    sentence: str
    prompt: str
    at: datetime
    late: bool
    note: str
    written: str
    """The text that the person wrote or rewrote."""
    edited_at: datetime | None
    before: str
    """What was said first, where that was changed later."""
    fate: str
    """What became of it, in a sentence; empty where nothing is known."""
    sensitive: bool = False
    """Its texts are hidden until the person asks for them, unless they chose otherwise."""
    fixed: bool = False
    """Whether it cannot be changed any more: later turns of a talk were written after it."""


def excerpt(text: str) -> str:
    """The first words of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= EXCERPT else line[:EXCERPT].rsplit(" ", 1)[0] + "…"


def lines_of(db: Session, project: Project, rows: Sequence[Assignment]) -> list[Line]:
    """Acts as lines, in the same order: a handful of queries, however many there are."""
    about = {
        row.id: row
        for row in db.execute(
            select(
                Task.id,
                Task.state,
                Task.protocol_id,
                Task.parent_id,
                (Task.gold.is_not(None) | Task.repeat_of.is_not(None)).label("hidden"),
                func.left(Prompt.messages[-1]["content"].astext, 2 * EXCERPT).label("prompt"),
                Prompt.sensitive,
            )
            .join(Prompt, Prompt.id == Task.prompt_id)
            .where(Task.id.in_([row.task_id for row in rows]))
        )
    }
    forms = {
        row.id: parse_protocol(row.fields)
        for row in db.execute(
            select(Protocol.id, Protocol.fields).where(Protocol.id.in_({task.protocol_id for task in about.values()}))
        )
    }
    said: dict[int, list[Feedback]] = {row.id: [] for row in rows}
    for kind in KINDS:
        query: Select[Any] = select(kind).where(kind.assignment_id.in_(said)).order_by(kind.id)
        for one in db.scalars(query):
            said[one.assignment_id].append(one)
    every = [one for many in said.values() for one in many]
    beside = Beside(db, every)
    compared = [one for one in every if isinstance(one, Preference)]
    fates = Fates(db, project, compared, {task.id for task in about.values() if task.hidden})
    lines = [
        _line(row, said[row.id], _asked(about[row.task_id], forms), fates, beside, prompt=about[row.task_id].prompt)
        if row.outcome == "answered"
        else _left(row, about[row.task_id].prompt, held=about[row.task_id].state == "withdrawn")
        for row in rows
    ]
    return [
        replace(line, sensitive=is_sensitive(project, about[row.task_id].sensitive))
        for line, row in zip(lines, rows, strict=True)
    ]


def _asked(task: Any, forms: Mapping[int, list[Field]]) -> tuple[list[Field], bool]:
    """The fields that an act answered, and whether the answer is fixed since, as everything of a talk is."""
    fields = forms[task.protocol_id]
    return ([turn_of(fields)] if task.parent_id else fields), isinstance(lead_of(fields), Converse)


def _line(
    row: Assignment,
    said: list[Feedback],
    asked: tuple[list[Field], bool],
    fates: Fates,
    beside: Beside,
    *,
    prompt: str,
) -> Line:
    fields, fixed = asked
    at = row.submitted_at or EPOCH
    replaced = {(type(one), one.supersedes_id) for one in said}
    spoken = [one for one in said if not one.withdrawn]
    holding = [one for one in spoken if (type(one), one.id) not in replaced]
    # All rows of one act have the moment its transaction began: the newest one up to the submission is the answer
    # itself, later ones are edits of it.
    first = max((one.created_at for one in said if one.created_at <= at), default=at)
    edits = [one.created_at for one in said if one.created_at > at]
    given = [one for one in spoken if one.created_at == first]
    return Line(
        key=row.idempotency_key,
        kind="answered",
        sentence=sentence_of(fields, drafts_of(row, holding, beside)),
        prompt=excerpt(prompt),
        at=at,
        late=row.late,
        note=next((one.note for one in holding if isinstance(one, Preference) and one.note), ""),
        written=next((beside.texts[one.trajectory_id] for one in holding if isinstance(one, Demonstration)), ""),
        edited_at=max(edits, default=None),
        before=sentence_of(fields, drafts_of(row, given, beside)) if edits else "",
        fate=fates.of(_compared(holding), _compared([one for one in spoken if one not in holding])),
        fixed=fixed,
    )


def _compared(rows: Sequence[Feedback]) -> list[Preference]:
    """Comparisons on the whole, which rounds learn from."""
    return [one for one in rows if isinstance(one, Preference) and "." not in one.field]


def _left(row: Assignment, prompt: str, *, held: bool) -> Line:
    """A task that was left to others, or reported."""
    reported = row.outcome == "reported"
    words = gettext("Reported") if reported else gettext("Skipped")
    if reported and row.reason:
        words = gettext("Reported: %(reason)s", reason=gettext(row.reason))
    return Line(
        key=row.idempotency_key,
        kind=row.outcome or "",
        sentence=words,
        prompt=excerpt(prompt),
        at=row.submitted_at or EPOCH,
        late=row.late,
        note="" if reported else row.reason or "",
        written="",
        edited_at=None,
        before="",
        fate=gettext("Held back from everybody until a reviewer looks at it.") if reported and held else "",
    )
