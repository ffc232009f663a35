"""Where the next task comes from: tasks for named people, tasks for anybody, gold, and repeats of one's own.

Each lane is one statement on an index of its own, so that a claim reads a few rows however many tasks wait
(tests/core/test_queue_plan.py). One statement finds and locks a task, a second one, which sees everything committed
before the lock was given, checks the places again and takes one. In a single statement the count could be older than
the lock. Tasks are locked "for no key update", so that nobody who only refers to one (a repeat, an assignment) waits.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BindParameter, TextClause, Uuid, bindparam, text
from sqlalchemy.orm import Session

from app.core import sides

NO_KEY = {"key_share": True}
"""How a task is locked through the ORM: for no key update."""
REPEAT_AFTER = 20
"""A task is repeated when the person has answered at least so many others since."""
REPEAT_AMONG = 500
"""… and among so many of their answers before those."""

PARTS = {
    # Not answered, skipped or reported by this person, not on their screen, nothing in it that they wrote themselves.
    "fits": """not exists (select from assignments a where a.task_id = t.id and a.user_id = :user
        and (a.outcome is not null or a.lease_until > clock_timestamp() or a.idempotency_key = any(:have)))
      and not exists (select from task_segments s join trajectories w on w.id = s.trajectory_id
        where s.task_id = t.id and w.user_id = :user)""",
    "has a place": """t.answers + (select count(*) from assignments a where a.task_id = t.id and a.outcome is null
        and a.lease_until > clock_timestamp()) < t.answers_needed""",
    # What a draw of sides needs: how many segments, and which of two came first more often lately.
    "shown": """(select count(*) from task_segments s where s.task_id = c.id) as segments,
  (select coalesce(sum(case when r.display_order = '{0,1}' then 1 when r.display_order = '{1,0}' then -1 end), 0)
   from (select display_order from assignments where user_id = :user and project_id = :project
         order by submitted_at desc limit :remembered) r) as lean""",
}
_NEXT = """
with named as materialized (
    select t.id from tasks t
    where t.project_id = :project and t.state = 'open' and t.assignees @> cast(array[:user] as bigint[])
      and t.id <> all(:full){calm} and {fits} and {has a place}
    order by t.priority desc, t.id limit 1 for no key update of t {lock}),
  anyone as materialized (
    select t.id from tasks t
    where not exists (select from named) and t.project_id = :project and t.state = 'open' and t.assignees is null
      and t.id <> all(:full){calm} and {fits} and {has a place}
    order by t.priority desc, t.id limit 1 for no key update of t {lock})
select c.id, {shown}
from (select id from named union all select id from anyone) c"""
_GOLD = """
select c.id, {shown}
from (
    select t.id from tasks t
    where t.project_id = :project and t.gold is not null and t.state = 'done'
      and t.gold_by is distinct from :user and (t.assignees is null or :user = any(t.assignees)){calm} and {fits}
    order by random() limit 1) c"""
_OLD = """
select c.id, {shown}
from (
    select t.id from (
        select task_id from assignments
        where user_id = :user and project_id = :project and outcome = 'answered' and submitted_at is not null
        order by submitted_at desc offset :after limit :among) a
    join tasks t on t.id = a.task_id
    where t.gold is null and t.repeat_of is null and t.parent_id is null and t.state <> 'withdrawn'{calm}
      and not exists (select from tasks c where c.repeat_of = t.id and :user = any(c.assignees))
    order by random() limit 1) c"""
_COPY = text("""
insert into tasks
  (project_id, prompt_id, protocol_id, strategy, priority, answers_needed, assignees, repeat_of, sensitive)
select project_id, prompt_id, protocol_id, strategy, priority, 1, cast(array[:user] as bigint[]), id, sensitive
from tasks where id = :task returning id""")
_COPY_SEGMENTS = text("""
insert into task_segments (task_id, position, trajectory_id, first_step, last_step)
select :copy, position, trajectory_id, first_step, last_step from task_segments where task_id = :task""")
_LEASE = """
insert into assignments
  (task_id, project_id, user_id, guideline_id, lease_token, lease_until, display_order, idempotency_key,
   served_at)
select t.id, t.project_id, :user,
  (select g.id from guidelines g where g.project_id = t.project_id order by g.version desc limit 1),
  :token, clock_timestamp() + make_interval(mins => :minutes), :shown, :key, clock_timestamp()
from tasks t
where t.id = :task and (t.gold is not null and t.state = 'done' or t.state = 'open' and {has a place})
on conflict (task_id, user_id) do update
  set lease_token = excluded.lease_token, lease_until = excluded.lease_until, guideline_id = excluded.guideline_id,
      served_at = clock_timestamp()
  where assignments.outcome is null and assignments.lease_until <= clock_timestamp()
returning *"""


def _statement(words: str, *, lock: str = "", calm: bool = False) -> TextClause:
    # Written out, not bound: so the planner knows that ix_tasks_calm has all that is asked for.
    for name, part in (PARTS | {"lock": lock, "calm": " and not t.sensitive" if calm else ""}).items():
        words = words.replace("{" + name + "}", part)
    return text(words)


def _both(words: str, *params: BindParameter[Any], lock: str = "", **bound: int) -> tuple[TextClause, TextClause]:
    """For everybody, and for people who want no sensitive tasks (app.core.sensitive)."""
    usual, calm = (_statement(words, lock=lock, calm=calm).bindparams(*params, **bound) for calm in (False, True))
    return usual, calm


_HAVE = bindparam("have", type_=ARRAY(Uuid))
NEXT_FREE, NEXT_FREE_CALM = _both(_NEXT, _HAVE, lock="skip locked", remembered=sides.REMEMBERED)
NEXT_WAITING, NEXT_WAITING_CALM = _both(_NEXT, _HAVE, remembered=sides.REMEMBERED)
GOLD, GOLD_CALM = _both(_GOLD, _HAVE, remembered=sides.REMEMBERED)
OLD, OLD_CALM = _both(_OLD, remembered=sides.REMEMBERED, among=REPEAT_AMONG)
LEASE = _statement(_LEASE)
"""Leases a task; its row of assignments comes back, unless the places went meanwhile."""


class Found:
    """A task that fits a person, and what the draw of its sides needs."""

    def __init__(self, row: Any) -> None:
        self.task_id: int = row.id
        self.segments: int = row.segments
        self.lean: int = row.lean


def find_next(
    db: Session,
    project_id: int,
    user_id: int,
    *,
    have: Sequence[UUID],
    full: Sequence[int] = (),
    wait: bool = False,
    calm: bool = False,
) -> Found | None:
    """The first task that is named for this person, else the first for anybody, locked. `full` are passed over.

    With `calm`, here and below, nothing that is marked sensitive. With `wait`, what others have locked for a moment is
    waited for; safe only for who has locked nothing.
    """
    place = {"project": project_id, "user": user_id, "full": list(full), "have": list(have)}
    # A row that changed while it was being locked is passed over and stays locked. Who then waits for others must let
    # go of these first: the others may wait for them.
    savepoint = db.connection().begin_nested() if wait else None
    row = db.execute((NEXT_FREE, NEXT_FREE_CALM)[calm], place).one_or_none()
    if row is None and savepoint is not None:
        savepoint.rollback()
        row = db.execute((NEXT_WAITING, NEXT_WAITING_CALM)[calm], place).one_or_none()
    elif savepoint is not None:
        savepoint.commit()
    return Found(row) if row is not None else None


def find_gold(db: Session, project_id: int, user_id: int, *, have: Sequence[UUID], calm: bool = False) -> Found | None:
    """A gold task that this person never saw, any of them alike."""
    place = {"project": project_id, "user": user_id, "have": list(have)}
    row = db.execute((GOLD, GOLD_CALM)[calm], place).one_or_none()
    return Found(row) if row is not None else None


def copy_old(db: Session, project_id: int, user_id: int, *, calm: bool = False) -> Found | None:
    """A copy, for this person alone, of a task that they answered long enough ago; each is copied once at most."""
    place = {"project": project_id, "user": user_id, "after": REPEAT_AFTER}
    row = db.execute((OLD, OLD_CALM)[calm], place).one_or_none()
    if row is None:
        return None
    found = Found(row)
    copy = db.execute(_COPY, {"task": found.task_id, "user": user_id}).scalar_one()
    db.execute(_COPY_SEGMENTS, {"copy": copy, "task": found.task_id})
    found.task_id = copy
    return found
