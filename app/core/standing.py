"""What one person may be handed now: their daily cap, and the screening that comes before ordinary tasks."""

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from app.core.gold import marks
from app.core.projects import Pool, settings_of
from app.core.records import Assignment, Membership, Project, Task, User, record
from app.core.told import Stored

Lane = Literal["any", "gold", "none"]
Why = Literal["", "cap", "screening", "sensitive"]

# Turns of a talk are looked for in an index of their own, which most installations have nothing in.
TASKS_TODAY = """
select count(*) from assignments a
where a.user_id = :user and a.project_id = :project and a.outcome = 'answered'
  and a.submitted_at >= date_trunc('day', now())
  and not exists (select from tasks t where t.id = a.task_id and t.parent_id is not null)"""
"""How many tasks a person answered in a project since midnight (UTC); a talk is one, however many turns it has."""
_TASKS_TODAY = text(TASKS_TODAY)


@dataclass(frozen=True)
class Standing:
    """`lane`: any task, gold only (screening), or none; `why` there is none, where it is not "answer first".

    `sensitive`: what is left is marked so, and the person asked to get none of it (app.core.sensitive says whether).
    """

    lane: Lane
    why: Why = ""
    cap: int = 0
    """How many answers they may give in a day; 0 is without limit."""


def hold(db: Session, project: Project, user: User) -> None:
    """One hand-out to a person at a time: what they hold and did today is counted, and must not change meanwhile.

    Taken before any row is locked: whoever waits here has nothing that somebody else could wait for.
    """
    lock = text("select pg_advisory_xact_lock(hashtextextended(:key, 3))")
    db.execute(lock, {"key": f"hand-out:{project.id}:{user.id}"})


def standing(
    db: Session,
    project: Project,
    user: User,
    *,
    held: int = 0,
    more_gold: bool = True,
    membership: Membership | None = None,
) -> Standing:
    """Where a person stands who holds `held` tasks. A screening is judged here, once, when its last task is answered.

    With `more_gold` off it is judged by what was answered so far: there is no gold task left for them. `membership`
    saves a query where it was read in this transaction already; a screening reads it anew.
    """
    pool = settings_of(project).pool
    member = membership
    if member is None or pool.screening_tasks:
        member = _membership(db, project, user)
    cap = pool.daily_cap if member is None or member.daily_cap is None else member.daily_cap
    if cap:
        today = answered_today(db, project, user)
        if today + held >= cap:
            return Standing("none", "cap" if today >= cap else "", cap)
    if member is None or member.role != "annotator" or not pool.screening_tasks:
        return Standing("any", cap=cap)
    if member.screening == "failed":
        return Standing("none", "screening", cap)
    if member.screening is not None or _worked_before(db, project, user):
        return Standing("any", cap=cap)
    return Standing(*_screen(db, project, user, pool, held=held, more_gold=more_gold), cap=cap)


def _membership(db: Session, project: Project, user: User) -> Membership | None:
    mine = Membership.project_id == project.id, Membership.user_id == user.id
    return db.scalar(select(Membership).where(*mine).execution_options(populate_existing=True))


def tasks_today(db: Session, project: Project, user: User) -> int:
    """How many tasks this person answered here since midnight (UTC); a talk is one, however many turns it has."""
    count: int = db.scalars(_TASKS_TODAY, {"project": project.id, "user": user.id}).one()
    return count


def answered_today(db: Session, project: Project, user: User) -> int:
    """Tasks and turns this person answered here since midnight (UTC)."""
    return db.scalars(
        select(func.count()).where(
            Assignment.user_id == user.id,
            Assignment.project_id == project.id,
            Assignment.outcome == "answered",
            Assignment.submitted_at >= func.date_trunc("day", func.now()),
        )
    ).one()


def _worked_before(db: Session, project: Project, user: User) -> bool:
    """Whether they answered an ordinary task here: a screening that is asked for later is for those who come later."""
    ordinary = (
        select(Assignment.id)
        .join(Task, Task.id == Assignment.task_id)
        .where(
            Assignment.user_id == user.id,
            Assignment.project_id == project.id,
            Assignment.outcome == "answered",
            Task.gold.is_(None),
        )
    )
    return db.scalar(ordinary.limit(1)) is not None


def _screen(db: Session, project: Project, user: User, pool: Pool, *, held: int, more_gold: bool) -> tuple[Lane, Why]:
    done = marks(db, project.id, pool.screening_tasks, user.id).get(user.id, [])
    missing = pool.screening_tasks - len(done)
    if missing > 0 and more_gold:
        # The last ones may be on the screen still; they are judged when they come back.
        return ("gold" if held < missing else "none"), ""
    if missing > 0 and held:
        return "none", ""
    if not done:
        return "any", ""  # without any gold nobody could ever get in; the Gold page says so
    passed = sum(done) >= pool.screening_accuracy * len(done)
    db.execute(
        update(Membership)
        .where(Membership.project_id == project.id, Membership.user_id == user.id, Membership.screening.is_(None))
        .values(screening="passed" if passed else "failed")
    )
    record(
        db,
        "passed the screening" if passed else "did not pass the screening",
        f"users:{user.id}",
        user_id=user.id,
        project_id=project.id,
        right=sum(done),
        of=len(done),
        name=Stored.SCREENED.of(n=sum(done), all=len(done)),
    )
    return ("any", "") if passed else ("none", "screening")
