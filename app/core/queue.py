"""Which task next, and what becomes of it: lease, submit, skip, report, undo.

Promises (tests/core/test_queue_machine.py): at the moment a lease is given, a task has no more answers and live leases
than it needs, except gold, which everybody may answer once; nobody is asked a task again that they answered, skipped or
reported; one key is one stored answer, however often and from wherever it comes; a late answer is kept and flagged.
Leases are given in app.core.handout; here is what becomes of them.

Every write locks the task row first, then the assignment, so two of them never wait for each other in a circle.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Text, bindparam, cast, func, select, text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from app.core.answers import Act, Outcome, fields_in, fields_of, rows_of, spent, stored, taken_back, withdraw
from app.core.errors import Conflict, NotFound
from app.core.forms import Field, parse_answers, sentence_of
from app.core.handout import MOST_LEASES, go_on, live, next_task
from app.core.projects import settings_of
from app.core.records import Assignment, Preference, Project, Protocol, Task, User
from app.core.records.audit import record
from app.core.seen import seen_to_end
from app.core.served import Served, served, texts_of
from app.core.turns import drop_later
from app.core.words import N_, gettext

__all__ = [
    "MOST_LEASES",
    "REASONS",
    "Served",
    "clock",
    "fields_for",
    "go_on",
    "locked",
    "next_task",
    "report",
    "skip",
    "submit",
    "undo",
    "withdraw_stale",
]

NOT_YOURS = N_("This task is not yours, or it was taken back. Nothing was stored.")
REASONS = (N_("personal data"), N_("unsafe"), N_("broken"), N_("not my language"), N_("duplicate"), N_("other"))
"""Why a task may be reported."""


Answers = Mapping[str, Any]
"""What was sent, by field."""


def submit(
    db: Session,
    user: User,
    key: UUID,
    token: UUID,
    answers: Answers | Callable[[Sequence[Field]], Answers],
    *,
    active_ms: int | None = None,
    input_method: str | None = None,
    seen: Sequence[int] | None = None,
) -> Outcome:
    """Store an answer: lease check, feedback rows, counters, all in the caller's transaction.

    `answers` maps field keys to what was sent (app.core.forms), or reads it once the fields are known; `seen` are slots
    (app.core.seen). The same key again gives the first result, whatever it carries. Raises NotFound for a key that is
    not this person's, InvalidInput for an answer that does not fit the form.
    """
    found = _locked(db, user, key)
    if found is None:
        before = taken_back(db, user, key)
        if before is None:
            raise NotFound(gettext(NOT_YOURS))
        return before
    task, assignment, protocol = found
    if assignment.outcome is not None:
        return stored(db, assignment)
    fields = fields_in(protocol, task)
    given = answers(fields) if callable(answers) else answers
    drafts = parse_answers(fields, given, _shown(db, assignment, read=any(field.reads for field in fields)))
    read = seen_to_end(assignment.display_order, seen)
    rows = rows_of(db, assignment, fields, drafts, key)
    preferences = [row for row in rows if isinstance(row, Preference)]
    db.add_all(row for row in rows if not isinstance(row, Preference))
    db.flush()
    late = _close(
        db,
        task,
        assignment,
        token,
        "answered",
        preferences=preferences,
        active_ms=active_ms,
        input_method=input_method,
        seen=read,
    )
    return Outcome("answered", sentence_of(fields, drafts), late=late)


def _shown(db: Session, assignment: Assignment, *, read: bool) -> list[str]:
    """The texts of an assignment by slot; empty ones unless they are to be read."""
    if not read:
        return [""] * len(assignment.display_order)
    texts = texts_of(db, assignment.task_id)
    return [texts[position] for position in assignment.display_order]


def fields_for(db: Session, user: User, key: UUID) -> list[Field]:
    """The form behind a key, current or taken back; raises NotFound for somebody else's."""
    mine = Assignment.user_id == user.id
    task_id = db.scalar(select(Assignment.task_id).where(mine, Assignment.idempotency_key == key))
    if task_id is None:
        used = spent(db, user, key)
        task_id = db.scalar(select(Assignment.task_id).where(Assignment.id == used.assignment_id)) if used else None
    if task_id is None:
        raise NotFound(gettext(NOT_YOURS))
    return fields_of(db, db.get_one(Task, task_id))


def skip(db: Session, user: User, key: UUID, token: UUID, reason: str = "", *, active_ms: int | None = None) -> Outcome:
    """Leave a task to others; this person never gets it again. The same key again gives the first result."""
    task, assignment = locked(db, user, key)
    if assignment.outcome is not None:
        return stored(db, assignment)
    late = _close(db, task, assignment, token, "skipped", reason=reason[:500], active_ms=active_ms)
    if task.repeat_of is not None:
        task.state = "withdrawn"  # it is for nobody else
    db.flush()
    return Outcome("skipped", gettext("Skipped"), late=late)


def report(db: Session, user: User, key: UUID, token: UUID, reason: str, *, active_ms: int | None = None) -> Outcome:
    """Hold a task back from everybody, with a reason for the reviewers."""
    task, assignment = locked(db, user, key)
    if assignment.outcome is not None:
        return stored(db, assignment)
    late = _close(db, task, assignment, token, "reported", reason=reason[:500], active_ms=active_ms)
    if task.state == "open" or task.gold is not None:
        task.state = "withdrawn"
    record(db, "task.reported", f"tasks:{task.id}", user_id=user.id, project_id=task.project_id, reason=reason[:500])
    db.flush()
    return Outcome("reported", gettext("Reported"), late=late)


def undo(db: Session, project: Project, user: User) -> tuple[Outcome, Served | None] | None:
    """Take back the person's last act here: what it was, and the task again, with a fresh key. None if nothing is left.

    The old preference stays as history; a new row supersedes and withdraws it. The task itself is None when somebody
    else has its last place meanwhile (after a skip, or a late answer): the act is taken back all the same.
    """
    newest = _newest(db, project, user)
    if newest is None:
        return None
    task, assignment = locked(db, user, newest)
    if assignment.outcome is None:
        raise Conflict(gettext("This answer was taken back a moment ago."))
    before = stored(db, assignment)
    if before.kind == "answered":
        withdraw(db, assignment)
        task.answers -= 1
    if _theirs_to_settle(task, before.kind):
        enough = task.gold is not None or task.answers >= task.answers_needed
        task.state = "done" if enough else "open"
    db.flush()
    _reopen(db, assignment)
    if task.parent_id is not None:
        drop_later(db, task, user)
        talk = db.scalar(live(project, user).where(Assignment.task_id == task.parent_id))
        return before, served(db, talk) if talk else None
    free = _free_places(db, task) > 0
    if free:
        minutes = settings_of(project).pool.lease_minutes
        assignment.lease_until = clock(db) + timedelta(minutes=minutes)
    db.flush()
    return before, served(db, assignment) if free else None


def withdraw_stale(db: Session, project: Project, deployment_id: int | None) -> int:
    """Hold back open tasks of other deployments than this one that nobody has begun; how many."""
    begun = (
        select(Assignment.id)
        .where(
            Assignment.task_id == Task.id, Assignment.outcome.is_(None), Assignment.lease_until > func.clock_timestamp()
        )
        .exists()
    )
    stale = (
        select(Task.id)
        .where(
            Task.project_id == project.id,
            Task.state == "open",
            Task.answers == 0,
            Task.gold.is_(None),
            Task.deployment_id.is_not(None),
            Task.deployment_id.is_distinct_from(deployment_id),
            ~begun,
        )
        .with_for_update(skip_locked=True, key_share=True)
    )
    changed = db.execute(
        update(Task).where(Task.id.in_(stale)).values(state="withdrawn").returning(Task.id),
        execution_options={"synchronize_session": False},
    )
    return len(changed.all())


_LOCKED = (
    select(Task, Assignment, cast(Protocol.fields, Text))
    .join_from(Task, Assignment, Assignment.task_id == Task.id)
    .join(Protocol, Protocol.id == Task.protocol_id)
    .where(Assignment.idempotency_key == bindparam("key"), Assignment.user_id == bindparam("user"))
    .with_for_update(of=[Task, Assignment], key_share=True)
    .execution_options(populate_existing=True)
)


def locked(db: Session, user: User, key: UUID) -> tuple[Task, Assignment]:
    """The task and the assignment of a key, both locked, in this order everywhere."""
    found = _locked(db, user, key)
    if found is None:
        raise NotFound(gettext(NOT_YOURS))
    return found[0], found[1]


def _locked(db: Session, user: User, key: UUID) -> tuple[Task, Assignment, str] | None:
    """The same, and the form of the task; None when the key is not, or is no more, one of this person's.

    One statement: its rows are locked in the order in which they are named, and read as they are after the wait.
    """
    row = db.execute(_LOCKED, {"key": key, "user": user.id}).one_or_none()
    return (row[0], row[1], row[2]) if row is not None else None


_CLOSE = text("""
with closed as (
    update assignments
    set outcome = :act, submitted_at = clock_timestamp(), reason = :reason, active_ms = :active_ms,
        input_method = :input_method, seen_to_end = cast(:seen as smallint[]),
        late = lease_until < clock_timestamp() or lease_token <> :token
    where id = :assignment returning id, task_id, project_id, user_id, outcome, late),
  said as (
    insert into preferences
      (project_id, task_id, assignment_id, user_id, field, outcome, tiers, strength, note, idempotency_key)
    select c.project_id, c.task_id, c.id, c.user_id, p.field, p.outcome, p.tiers, p.strength, p.note, p.idempotency_key
    from closed c, jsonb_to_recordset(:preferences)
      as p (field text, outcome text, tiers jsonb, strength smallint, note text, idempotency_key uuid)),
  counted as (
    update tasks t
    set answers = t.answers + 1,
        state = case when t.state = 'open' and t.answers + 1 >= t.answers_needed then 'done' else t.state end
    from closed where t.id = closed.task_id and closed.outcome = 'answered')
select late from closed""").bindparams(bindparam("preferences", type_=JSONB))
_SAID = ("field", "outcome", "tiers", "strength", "note")


def _close(
    db: Session,
    task: Task,
    assignment: Assignment,
    token: UUID,
    act: Act,
    *,
    preferences: Sequence[Preference] = (),
    reason: str | None = None,
    active_ms: int | None = None,
    input_method: str | None = None,
    seen: list[int] | None = None,
) -> bool:
    """Write the act down with its preferences, and count an answer; both rows are locked by the caller. Whether it is
    late: its lease had ended, or had ended once and was given anew."""
    told = {"act": act, "token": token, "reason": reason, "active_ms": active_ms, "input_method": input_method}
    said = [
        {"idempotency_key": row.idempotency_key and str(row.idempotency_key)}
        | {name: getattr(row, name) for name in _SAID}
        for row in preferences
    ]
    late: bool = db.execute(
        _CLOSE, {"assignment": assignment.id, "seen": seen, "preferences": said, **told}
    ).scalar_one()
    db.expire(assignment)
    db.expire(task)
    return late


def clock(db: Session) -> datetime:
    """The database's clock, which all leases are measured by."""
    now: datetime = db.scalars(select(func.clock_timestamp())).one()
    return now


def _theirs_to_settle(task: Task, taken_back: Act) -> bool:
    """Whether taking an act back says anew how a task stands. What somebody else held back stays held back."""
    if taken_back == "answered":
        return task.state != "withdrawn"
    return task.state == "withdrawn" and (taken_back == "reported" or task.repeat_of is not None)


def _free_places(db: Session, task: Task) -> int:
    """Answers that the task still needs and that nobody has under lease. Exact while the caller locks the task."""
    if task.gold is not None:
        return 1
    leased = db.scalars(
        select(func.count()).where(
            Assignment.task_id == task.id, Assignment.outcome.is_(None), Assignment.lease_until > func.clock_timestamp()
        )
    ).one()
    return task.answers_needed - task.answers - leased


def _newest(db: Session, project: Project, user: User) -> UUID | None:
    return db.scalar(
        select(Assignment.idempotency_key)
        .where(Assignment.user_id == user.id, Assignment.project_id == project.id, Assignment.submitted_at.is_not(None))
        .order_by(Assignment.submitted_at.desc(), Assignment.id.desc())
        .limit(1)
    )


def _reopen(db: Session, assignment: Assignment) -> None:
    """Unanswered again, with a fresh key and no lease. `served_at` stays, so it comes before what is fetched ahead."""
    assignment.outcome = assignment.reason = assignment.submitted_at = None
    assignment.active_ms = assignment.input_method = assignment.seen_to_end = None
    assignment.late = False
    assignment.lease_token = uuid4()
    assignment.idempotency_key = uuid4()
    assignment.lease_until = clock(db)
    db.flush()
