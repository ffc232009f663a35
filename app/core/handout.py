"""Which task a person gets next: theirs that is open still, else a fresh lease.

Ordinary tasks come by priority, those that name the person first. At the project's rates one of them is replaced by a
gold task or by a repeat of the person's own, drawn anew for each hand-out. Who is being screened gets gold only.
"""

import random
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.core import lanes
from app.core.projects import Pool, settings_of
from app.core.records import Assignment, Guideline, Membership, Project, User
from app.core.sensitive import avoids, keep_calm
from app.core.served import Served, lend, served
from app.core.sides import draw_order
from app.core.standing import TASKS_TODAY, hold, standing

MOST_LEASES = 2
"""What one person holds at a time: the task on the screen and the one that is fetched ahead."""
TRIES = 4
chance: random.Random = random.SystemRandom()
"""Every draw of a hand-out comes from here."""


def next_task(
    db: Session,
    project: Project,
    user: User,
    *,
    have: Sequence[UUID] = (),
    membership: Membership | None = None,
    with_locks: bool = False,
) -> Served | None:
    """The person's oldest live lease that the browser does not have yet, else a fresh lease, else None.

    `have` are the keys already on the page. Nobody holds more than MOST_LEASES, so None may also mean "answer first";
    app.core.standing says whether it means more. A lease of one's own that ended unanswered is renewed with its old key
    and order: it may still be on a screen.

    `with_locks`: the transaction holds locks, and took `standing.hold` before them. Then nothing is waited for, and
    None may also mean that others work on all that is left at this moment.
    """
    if not with_locks:
        hold(db, project, user)
    held = list(db.scalars(live(project, user)))
    calm = avoids(user)
    if calm:
        held = keep_calm(db, project, user, held, have, give=not with_locks)
    for assignment in held:
        if assignment.idempotency_key not in have:
            assignment.guideline_id = _newest_guideline(db, project)
            db.flush()
            return served(db, assignment)
    return _fresh(db, project, user, len(held), have=have, membership=membership, wait=not held and not with_locks)


_DESK = text(
    """
select ({today}) as today,
  array(select idempotency_key from assignments
        where project_id = :project and user_id = :user and submitted_at is null and outcome is null
          and lease_until > clock_timestamp()) as held""".replace("{today}", TASKS_TODAY)
)


def go_on(
    db: Session, project: Project, user: User, *, have: Sequence[UUID], membership: Membership | None
) -> tuple[int, Served | None]:
    """After an act: how many tasks the person answered today, and the next one, as `next_task` with locks finds it.

    Where the page has all that the person holds, as it nearly always has, what they hold and did is one statement.
    """
    desk = db.execute(_DESK, {"project": project.id, "user": user.id}).one()
    if avoids(user) or not set(desk.held) <= set(have):
        return desk.today, next_task(db, project, user, have=have, membership=membership, with_locks=True)
    return desk.today, _fresh(db, project, user, len(desk.held), have=have, membership=membership, wait=False)


def _fresh(
    db: Session,
    project: Project,
    user: User,
    held: int,
    *,
    have: Sequence[UUID],
    membership: Membership | None,
    wait: bool,
) -> Served | None:
    """A fresh lease for a person who has `held` others."""
    calm = avoids(user)
    if project.paused_at is not None or held >= MOST_LEASES or (calm and settings_of(project).all_sensitive):
        return None
    hands = _Hands(db, project, user, have)
    place = standing(db, project, user, held=held, membership=membership)
    if place.lane == "gold":
        found = hands.lease(lanes.find_gold(db, project.id, user.id, have=have, calm=calm))
        if found is not None:
            return found
        place = standing(db, project, user, held=held, more_gold=False)
    return hands.mixed(wait=wait) if place.lane == "any" else None


def live(project: Project, user: User) -> Any:
    """The person's leases that hold, oldest first."""
    return (
        select(Assignment)
        .where(
            Assignment.project_id == project.id,
            Assignment.user_id == user.id,
            Assignment.submitted_at.is_(None),  # says the same as the next line, and the index knows it
            Assignment.outcome.is_(None),
            Assignment.lease_until > func.clock_timestamp(),
        )
        .order_by(Assignment.served_at, Assignment.id)
    )


class _Hands:
    """One hand-out: who gets it, and the project's rules for it."""

    def __init__(self, db: Session, project: Project, user: User, have: Sequence[UUID]) -> None:
        self.db, self.project, self.user, self.have = db, project, user, have
        self.pool: Pool = settings_of(project).pool
        self.calm = avoids(user)

    def mixed(self, *, wait: bool) -> Served | None:
        """The next ordinary task, or at the project's rates a gold task or a repeat in its place."""
        db, project_id, user_id = self.db, self.project.id, self.user.id
        full: list[int] = []
        for _ in range(TRIES):
            # All that is left may be locked for a moment by people who answer it. Waiting is safe only without a lock
            # of our own: whoever leased a task in this same transaction (a page and its prefetch) must not wait.
            now = wait and not full
            found = lanes.find_next(db, project_id, user_id, have=self.have, full=full, wait=now, calm=self.calm)
            if found is None:
                return None
            instead = None if full else self._instead()
            given = self.lease(instead) or self.lease(found)
            if given is not None:
                return given
            full.append(found.task_id)
        return None

    def _instead(self) -> lanes.Found | None:
        luck = chance.random()
        if luck < self.pool.gold_rate:
            return lanes.find_gold(self.db, self.project.id, self.user.id, have=self.have, calm=self.calm)
        if luck < self.pool.gold_rate + self.pool.repeat_rate:
            return lanes.copy_old(self.db, self.project.id, self.user.id, calm=self.calm)
        return None

    def lease(self, found: lanes.Found | None) -> Served | None:
        """Take a place in what was found, with a fresh draw of sides."""
        if found is None:
            return None
        terms = {
            "user": self.user.id,
            "token": uuid4(),
            "key": uuid4(),
            "minutes": self.pool.lease_minutes,
            "shown": draw_order(found.segments, found.lean, chance),
        }
        return lend(self.db, self.project, found.task_id, terms)


def _newest_guideline(db: Session, project: Project) -> int | None:
    newest = select(Guideline.id).where(Guideline.project_id == project.id).order_by(Guideline.version.desc())
    return db.scalar(newest.limit(1))
