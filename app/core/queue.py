"""Which task next, and what becomes of it: lease, submit, skip, report, undo.

Promises (tests/core/test_queue_machine.py): at the moment a lease is given, a task has no more answers and live leases
than it needs; nobody is asked a task again that they answered, skipped or reported; one key is one stored answer,
however often and from wherever it comes; a late answer is kept and flagged.

Every write locks the task row first, then the assignment, so two of them never wait for each other in a circle.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ARRAY, Uuid, bindparam, func, select, text, update
from sqlalchemy.orm import Session

from app.core.answers import Act, Outcome, fields_of, rows_of, spent, stored, taken_back, withdraw
from app.core.errors import Conflict, NotFound
from app.core.forms import Field, is_alone, lead_of, names_of, parse_answers, parse_protocol, sentence_of
from app.core.projects import settings_of
from app.core.records import Assignment, Guideline, Project, Prompt, Protocol, Step, Task, TaskSegment, User
from app.core.records.audit import record
from app.core.records.base import Json
from app.core.turns import drop_later

MOST_LEASES = 2
"""What one person holds at a time: the task on the screen and the one that is fetched ahead."""
REASONS = ("personal data", "unsafe", "broken", "not my language", "duplicate", "other")
"""Why a task may be reported."""
TRIES = 4
_draw = random.SystemRandom()


@dataclass(frozen=True)
class Served:
    """A task as one person sees it: texts in the order shown, and nothing that says who wrote them."""

    key: UUID
    token: UUID
    messages: list[Json]
    """The prompt's turns, the last one from the user."""
    answers: list[str]
    """Texts by slot."""
    fields: list[Field]
    guideline_version: int | None
    lease_until: datetime | None = None
    """None where the task is only shown, not lent."""

    @property
    def lead(self) -> Field:
        """The field of the dock or of the desk."""
        return lead_of(self.fields)

    @property
    def names(self) -> str:
        """What the answers are called, by slot."""
        return names_of(self.fields)

    @property
    def beside(self) -> bool:
        """Whether questions stand beside the answers."""
        return any(field.place == "panel" for field in self.fields) or bool(getattr(self.lead, "aspects", []))

    @property
    def alone(self) -> bool:
        """Whether the dock's own keys send it: there is nothing else to answer."""
        return is_alone(self.fields)


# One statement finds and locks the task, a second one, which sees everything committed before the lock was given,
# checks the places again and takes one. In a single statement the count could be older than the lock.
# Walks the partial index of open tasks only, so that finished ones cost nothing.
_FIND = """
select t.id, (select count(*) from task_segments s where s.task_id = t.id) as segments
from tasks t
where t.project_id = :project and t.state = 'open' and t.id <> all(:full)
  and not exists (select from assignments a where a.task_id = t.id and a.user_id = :user
                  and (a.outcome is not null or a.lease_until > clock_timestamp() or a.idempotency_key = any(:have)))
  and t.answers + (select count(*) from assignments a where a.task_id = t.id and a.outcome is null
                   and a.lease_until > clock_timestamp()) < t.answers_needed
order by t.priority desc, t.id
limit 1
for update of t"""
_HAVE = bindparam("have", type_=ARRAY(Uuid))
_FIND_FREE = text(_FIND + " skip locked").bindparams(_HAVE)
_FIND_WAITING = text(_FIND).bindparams(_HAVE)
_LEASE = text("""
insert into assignments
  (task_id, project_id, user_id, guideline_id, lease_token, lease_until, display_order, idempotency_key)
select t.id, t.project_id, :user, :guideline, :token, clock_timestamp() + make_interval(mins => :minutes), :shown, :key
from tasks t
where t.id = :task and t.state = 'open'
  and t.answers + (select count(*) from assignments a where a.task_id = t.id and a.outcome is null
                   and a.lease_until > clock_timestamp()) < t.answers_needed
on conflict (task_id, user_id) do update
  set lease_token = excluded.lease_token, lease_until = excluded.lease_until, guideline_id = excluded.guideline_id,
      served_at = clock_timestamp()
  where assignments.outcome is null and assignments.lease_until <= clock_timestamp()
returning id""")


def next_task(db: Session, project: Project, user: User, *, have: Sequence[UUID] = ()) -> Served | None:
    """The person's oldest live lease that the browser does not have yet, else a fresh lease, else None.

    `have` are the keys already on the page. Nobody holds more than MOST_LEASES, so None may also mean "answer first".
    A lease of one's own that ended unanswered is renewed with its old key and order: it may still be on a screen.
    """
    held = list(db.scalars(_live(project, user)))
    for assignment in held:
        if assignment.idempotency_key not in have:
            assignment.guideline_id = _newest_guideline(db, project)
            return _served(db, assignment)
    if project.paused_at is not None or len(held) >= MOST_LEASES:
        return None
    return _lease(db, project, user, have, wait=not held)


def _live(project: Project, user: User) -> Any:
    return (
        select(Assignment)
        .where(
            Assignment.project_id == project.id,
            Assignment.user_id == user.id,
            Assignment.outcome.is_(None),
            Assignment.lease_until > func.clock_timestamp(),
        )
        .order_by(Assignment.served_at, Assignment.id)
    )


def _lease(db: Session, project: Project, user: User, have: Sequence[UUID], *, wait: bool) -> Served | None:
    full: list[int] = []
    for _ in range(TRIES):
        place = {"project": project.id, "user": user.id, "full": full, "have": list(have)}
        found = db.execute(_FIND_FREE, place).one_or_none()
        if found is None and wait and not full:
            # All that is left may be locked for a moment by people who answer it. Waiting is safe only without a lock
            # of our own: whoever leased a task in this same transaction (a page and its prefetch) must not wait.
            found = db.execute(_FIND_WAITING, place).one_or_none()
        if found is None:
            return None
        taken = db.scalar(_LEASE, _terms(db, project, user, found.id, found.segments))
        if taken is not None:
            return _served(db, db.get_one(Assignment, taken, populate_existing=True))
        full.append(found.id)
    return None


def _terms(db: Session, project: Project, user: User, task_id: int, segments: int) -> dict[str, Any]:
    return {
        "task": task_id,
        "user": user.id,
        "guideline": _newest_guideline(db, project),
        "token": uuid4(),
        "key": uuid4(),
        "minutes": settings_of(project).pool.lease_minutes,
        "shown": _draw.sample(range(segments), segments),
    }


def _newest_guideline(db: Session, project: Project) -> int | None:
    newest = select(Guideline.id).where(Guideline.project_id == project.id).order_by(Guideline.version.desc())
    return db.scalar(newest.limit(1))


def _served(db: Session, assignment: Assignment) -> Served:
    prompt, protocol = db.execute(
        select(Prompt, Protocol)
        .join(Task, Task.prompt_id == Prompt.id)
        .join(Protocol, Protocol.id == Task.protocol_id)
        .where(Task.id == assignment.task_id)
    ).one()
    version = db.scalar(select(Guideline.version).where(Guideline.id == assignment.guideline_id))
    texts = _texts(db, assignment.task_id)
    return Served(
        key=assignment.idempotency_key,
        token=assignment.lease_token,
        messages=prompt.messages,
        answers=[texts[position] for position in assignment.display_order],
        fields=parse_protocol(protocol.fields),
        guideline_version=version,
        lease_until=assignment.lease_until,
    )


def _texts(db: Session, task_id: int) -> dict[int, str]:
    rows = db.execute(
        select(TaskSegment.position, Step.content)
        .join(Step, Step.trajectory_id == TaskSegment.trajectory_id)
        .where(TaskSegment.task_id == task_id, Step.position.between(TaskSegment.first_step, TaskSegment.last_step))
        .order_by(TaskSegment.position, Step.position)
    )
    texts: dict[int, str] = {}
    for position, content in rows:
        texts[position] = f"{texts[position]}\n\n{content}" if position in texts else content
    return texts


def submit(
    db: Session,
    user: User,
    key: UUID,
    token: UUID,
    answers: Mapping[str, Any],
    *,
    active_ms: int | None = None,
    input_method: str | None = None,
) -> Outcome:
    """Store an answer: lease check, feedback rows, counters, all in the caller's transaction.

    `answers` maps field keys to what was sent (app.core.forms). The same key again gives the first result, whatever it
    carries. Raises NotFound for a key that is not this person's, InvalidInput for an answer that does not fit the form.
    """
    before = taken_back(db, user, key)
    if before is not None:
        return before
    task, assignment = _locked(db, user, key)
    if assignment.outcome is not None:
        return stored(db, assignment)
    fields = fields_of(db, task)
    drafts = parse_answers(fields, answers, _shown(db, assignment, read=any(field.reads for field in fields)))
    db.add_all(rows_of(db, assignment, fields, drafts, key))
    _close(db, assignment, token, "answered", active_ms=active_ms, input_method=input_method)
    task.answers += 1
    if task.answers >= task.answers_needed and task.state == "open":
        task.state = "done"
    db.flush()
    return Outcome("answered", sentence_of(fields, drafts), late=assignment.late)


def _shown(db: Session, assignment: Assignment, *, read: bool) -> list[str]:
    """The texts of an assignment by slot; empty ones unless they are to be read."""
    if not read:
        return [""] * len(assignment.display_order)
    texts = _texts(db, assignment.task_id)
    return [texts[position] for position in assignment.display_order]


def fields_for(db: Session, user: User, key: UUID) -> list[Field]:
    """The form behind a key, current or taken back; raises NotFound for somebody else's."""
    mine = Assignment.user_id == user.id
    task_id = db.scalar(select(Assignment.task_id).where(mine, Assignment.idempotency_key == key))
    if task_id is None:
        used = spent(db, user, key)
        task_id = db.scalar(select(Assignment.task_id).where(Assignment.id == used.assignment_id)) if used else None
    if task_id is None:
        raise NotFound("This task is not yours, or it was taken back. Nothing was stored.")
    return fields_of(db, db.get_one(Task, task_id))


def skip(db: Session, user: User, key: UUID, token: UUID, reason: str = "", *, active_ms: int | None = None) -> Outcome:
    """Leave a task to others; this person never gets it again. The same key again gives the first result."""
    _, assignment = _locked(db, user, key)
    if assignment.outcome is not None:
        return stored(db, assignment)
    _close(db, assignment, token, "skipped", reason=reason[:500], active_ms=active_ms)
    db.flush()
    return Outcome("skipped", "Skipped", late=assignment.late)


def report(db: Session, user: User, key: UUID, token: UUID, reason: str, *, active_ms: int | None = None) -> Outcome:
    """Hold a task back from everybody, with a reason for the reviewers."""
    task, assignment = _locked(db, user, key)
    if assignment.outcome is not None:
        return stored(db, assignment)
    _close(db, assignment, token, "reported", reason=reason[:500], active_ms=active_ms)
    if task.state == "open":
        task.state = "withdrawn"
    record(db, "task.reported", f"tasks:{task.id}", user_id=user.id, project_id=task.project_id, reason=reason[:500])
    db.flush()
    return Outcome("reported", "Reported", late=assignment.late)


def undo(db: Session, project: Project, user: User) -> tuple[Outcome, Served | None] | None:
    """Take back the person's last act here: what it was, and the task again, with a fresh key. None if nothing is left.

    The old preference stays as history; a new row supersedes and withdraws it. The task itself is None when somebody
    else has its last place meanwhile (after a skip, or a late answer): the act is taken back all the same.
    """
    newest = _newest(db, project, user)
    if newest is None:
        return None
    task, assignment = _locked(db, user, newest)
    if assignment.outcome is None:
        raise Conflict("This answer was taken back a moment ago.")
    before = stored(db, assignment)
    if before.kind == "answered":
        withdraw(db, assignment)
        task.answers -= 1
        if task.state == "done" and task.answers < task.answers_needed:
            task.state = "open"
    elif before.kind == "reported" and task.state == "withdrawn":
        task.state = "open" if task.answers < task.answers_needed else "done"
    db.flush()
    _reopen(db, assignment)
    if task.parent_id is not None:
        drop_later(db, task, user)
        talk = db.scalar(_live(project, user).where(Assignment.task_id == task.parent_id))
        return before, _served(db, talk) if talk else None
    free = _free_places(db, task) > 0
    if free:
        minutes = settings_of(project).pool.lease_minutes
        assignment.lease_until = _now(db) + timedelta(minutes=minutes)
    db.flush()
    return before, _served(db, assignment) if free else None


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
        .with_for_update(skip_locked=True)
    )
    changed = db.execute(
        update(Task).where(Task.id.in_(stale)).values(state="withdrawn").returning(Task.id),
        execution_options={"synchronize_session": False},
    )
    return len(changed.all())


def _locked(db: Session, user: User, key: UUID) -> tuple[Task, Assignment]:
    """The task and the assignment of a key, both locked, in this order everywhere."""
    mine = (Assignment.idempotency_key == key, Assignment.user_id == user.id)
    task_id = db.scalar(select(Assignment.task_id).where(*mine))
    if task_id is None:
        raise NotFound("This task is not yours, or it was taken back. Nothing was stored.")
    task = db.get_one(Task, task_id, with_for_update=True, populate_existing=True)
    assignment = db.scalar(select(Assignment).where(*mine).with_for_update().execution_options(populate_existing=True))
    if assignment is None:
        raise NotFound("This answer was taken back a moment ago, in another window.")
    return task, assignment


def _close(db: Session, assignment: Assignment, token: UUID, act: Act, **details: Any) -> None:
    """Write the act down. It is late when its lease had ended, or had ended once and was given anew."""
    now = _now(db)
    assignment.outcome = act
    assignment.submitted_at = now
    assignment.late = assignment.lease_until < now or assignment.lease_token != token
    assignment.reason = details.get("reason")
    assignment.active_ms = details.get("active_ms")
    assignment.input_method = details.get("input_method")


def _now(db: Session) -> datetime:
    """The database's clock, which all leases are measured by."""
    now: datetime = db.scalars(select(func.clock_timestamp())).one()
    return now


def _free_places(db: Session, task: Task) -> int:
    """Answers that the task still needs and that nobody has under lease. Exact while the caller locks the task."""
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
    assignment.active_ms = assignment.input_method = None
    assignment.late = False
    assignment.lease_token = uuid4()
    assignment.idempotency_key = uuid4()
    assignment.lease_until = _now(db)
    db.flush()
