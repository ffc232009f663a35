"""What people answered, as it stands in the tables: storing it, reading it back, taking it back.

Feedback is append-only: nothing here changes or deletes a row of it; a withdrawal is a new row that supersedes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Select, Text, cast, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from app.core.criteria import criterion_ids
from app.core.forms import (
    DemonstrationDraft,
    Draft,
    Field,
    PreferenceDraft,
    RatingDraft,
    sentence_of,
    stored_protocol,
    turn_of,
)
from app.core.records import (
    Assignment,
    Criterion,
    Demonstration,
    Preference,
    Protocol,
    Rating,
    Step,
    Task,
    TaskSegment,
    Trajectory,
    User,
)
from app.core.splits import text_hash
from app.core.turns import steps_before, text_identity
from app.core.words import gettext

Act = Literal["answered", "skipped", "reported"]
Feedback = Preference | Rating | Demonstration
KINDS: tuple[type[Preference] | type[Rating] | type[Demonstration], ...] = (Preference, Rating, Demonstration)


@dataclass(frozen=True)
class Outcome:
    """What was stored for a key. `replayed`: it had been stored before, and this request changed nothing."""

    kind: Act
    sentence: str
    late: bool = False
    replayed: bool = False


def rows_of(
    db: Session, assignment: Assignment, fields: Sequence[Field], drafts: Sequence[Draft], key: UUID
) -> list[Feedback]:
    """Drafts as new rows: slots become positions. The first row carries the key, so that it is stored once."""
    order = assignment.display_order
    criteria = criterion_ids(
        db, assignment.project_id, fields, [draft.criterion for draft in drafts if isinstance(draft, RatingDraft)]
    )
    rows: list[Feedback] = []
    for draft in drafts:
        common: dict[str, Any] = {
            "project_id": assignment.project_id,
            "assignment_id": assignment.id,
            "user_id": assignment.user_id,
            "field": draft.field,
            "idempotency_key": None if rows else key,
        }
        match draft:
            case PreferenceDraft():
                rows.append(
                    Preference(
                        **common,
                        task_id=assignment.task_id,
                        outcome=draft.outcome,
                        tiers=[sorted(order[slot] for slot in tier) for tier in draft.tiers],
                        strength=draft.strength,
                        note=draft.note,
                    )
                )
            case RatingDraft():
                start, end = draft.span or (None, None)
                rows.append(
                    Rating(
                        **common,
                        position=None if draft.slot is None else order[draft.slot],
                        criterion_id=criteria[draft.criterion],
                        value=draft.value,
                        text=draft.text,
                        span_start=start,
                        span_end=end,
                    )
                )
            case DemonstrationDraft():
                trajectory, source = _written(db, assignment, draft)
                rows.append(Demonstration(**common, trajectory_id=trajectory, edited_from_id=source))
    return rows


def _written(db: Session, assignment: Assignment, draft: DemonstrationDraft) -> tuple[int, int | None]:
    """The trajectory that holds what a person wrote, and the one that it was edited from."""
    task = db.get_one(Task, assignment.task_id)
    source = None
    if draft.slot is not None:
        source = db.scalar(
            select(TaskSegment.trajectory_id).where(
                TaskSegment.task_id == task.id, TaskSegment.position == assignment.display_order[draft.slot]
            )
        )
    is_turn = task.parent_id is not None
    identity = {
        "prompt_id": task.prompt_id,
        "user_id": assignment.user_id,
        "content_hash": text_identity(task, draft.text) if is_turn else text_hash(draft.text),
    }
    made = db.scalar(
        insert(Trajectory)
        .values(project_id=assignment.project_id, author_kind="user", **identity)
        .on_conflict_do_nothing(index_elements=["prompt_id", "model_id", "user_id", "source", "content_hash"])
        .returning(Trajectory.id)
    )
    if made is None:  # the same words again, after an undo
        found = db.scalars(select(Trajectory.id).filter_by(**identity, model_id=None, source=None)).one()
        return found, source
    before = steps_before(db, task.id) if is_turn else []
    db.add_all(Step(trajectory_id=made, **step) for step in before)
    db.add(Step(trajectory_id=made, position=len(before), actor="agent", content=draft.text))
    db.flush()
    return made, source


def current(db: Session, assignment: Assignment) -> list[Feedback]:
    """The assignment's feedback that holds now, of all kinds."""
    found: list[Feedback] = []
    for kind in KINDS:
        newer = aliased(kind)
        replaced = select(newer.id).where(newer.supersedes_id == kind.id).exists()
        found += db.scalars(
            select(kind).where(kind.assignment_id == assignment.id, ~kind.withdrawn, ~replaced).order_by(kind.id)
        )
    return found


def stored(db: Session, assignment: Assignment) -> Outcome:
    """What an assignment holds now, as an outcome of a request that changed nothing."""
    if assignment.outcome == "answered":
        task = db.get_one(Task, assignment.task_id)
        said = sentence_for(db, fields_of(db, task), assignment, current(db, assignment))
        return Outcome("answered", said, late=assignment.late, replayed=True)
    if assignment.outcome == "skipped":
        return Outcome("skipped", gettext("Skipped"), late=assignment.late, replayed=True)
    return Outcome("reported", gettext("Reported"), late=assignment.late, replayed=True)


def spent(db: Session, user: User, key: UUID) -> Feedback | None:
    """The row that was stored under a key, whatever became of it since."""
    for kind in KINDS:
        query: Select[Any] = select(kind).where(kind.idempotency_key == key, kind.user_id == user.id)
        row: Feedback | None = db.scalar(query)
        if row is not None:
            return row
    return None


def taken_back(db: Session, user: User, key: UUID) -> Outcome | None:
    """The first result of a key whose answer was undone since: the task has a new key, the old one is spent."""
    row = spent(db, user, key)
    if row is None or row.assignment_id is None:
        return None
    assignment = db.get_one(Assignment, row.assignment_id)
    if assignment.idempotency_key == key:
        return None
    fields = fields_of(db, db.get_one(Task, assignment.task_id))
    return Outcome("answered", sentence_for(db, fields, assignment, [row]), replayed=True)


def sentence_for(db: Session, fields: Sequence[Field], assignment: Assignment, rows: Sequence[Feedback]) -> str:
    """Stored rows as the person would say them, in the letters of the screen they were given on."""
    return sentence_of(fields, drafts_of(assignment, rows, Beside(db, rows)))


class Beside:
    """What rows of feedback only point to: names of criteria, texts that people wrote. Two queries for any number."""

    def __init__(self, db: Session, rows: Sequence[Feedback]) -> None:
        rated = {row.criterion_id for row in rows if isinstance(row, Rating)}
        written = {row.trajectory_id for row in rows if isinstance(row, Demonstration)}
        criteria = select(Criterion.id, Criterion.key).where(Criterion.id.in_(rated))
        # Of a talk the last step, which is what the person wrote: later rows of the same trajectory win.
        texts = (
            select(Step.trajectory_id, Step.content)
            .where(Step.trajectory_id.in_(written))
            .order_by(Step.trajectory_id, Step.position)
        )
        self.criteria: dict[int, str] = dict(iter(db.execute(criteria))) if rated else {}
        self.texts: dict[int, str] = dict(iter(db.execute(texts))) if written else {}


def drafts_of(assignment: Assignment, rows: Sequence[Feedback], beside: Beside) -> list[Draft]:
    """Rows as the drafts they came from: positions become slots."""
    return [_draft(assignment, row, beside) for row in rows]


def _draft(assignment: Assignment, row: Feedback, beside: Beside) -> Draft:
    slot = {position: slot for slot, position in enumerate(assignment.display_order)}
    if isinstance(row, Preference):
        outcome: Any = row.outcome
        tiers = [sorted(slot[position] for position in tier) for tier in row.tiers]
        return PreferenceDraft(row.field, outcome, tiers, row.strength, row.note)
    if isinstance(row, Rating):
        place = None if row.position is None else slot[row.position]
        span = None if row.span_start is None or row.span_end is None else (row.span_start, row.span_end)
        return RatingDraft(row.field, beside.criteria[row.criterion_id], place, row.value, row.text, span)
    return DemonstrationDraft(row.field, beside.texts[row.trajectory_id], None if row.edited_from_id is None else 0)


def fields_of(db: Session, task: Task) -> list[Field]:
    """The fields of a task's protocol; of a turn only what a turn asks."""
    stored = select(cast(Protocol.fields, Text)).where(Protocol.id == task.protocol_id)
    return fields_in(db.scalars(stored).one(), task)


def fields_in(protocol: str, task: Task) -> list[Field]:
    """The same, from the protocol as it is stored."""
    fields = stored_protocol(protocol)
    return list(fields) if task.parent_id is None else [turn_of(fields)]


KEPT = ("id", "created_at", "idempotency_key", "supersedes_id", "withdrawn")
"""Columns that a withdrawing row has of its own."""


def withdraw(db: Session, assignment: Assignment) -> None:
    """Take back everything that the assignment's person said: one superseding row for each."""
    db.add_all(marker(row) for row in current(db, assignment))


def marker(row: Feedback) -> Feedback:
    """The row that takes another one back."""
    kind = type(row)
    same = {column.key: getattr(row, column.key) for column in kind.__table__.columns if column.key not in KEPT}
    return kind(**same, supersedes_id=row.id, withdrawn=True)
