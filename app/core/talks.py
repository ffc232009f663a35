"""A talk with the served policy: where it stands, what the model is asked next, and what becomes of its replies.

A talk is a task that shows no answer; each turn is a task of its own under it, with one assignment of the same person,
so that a choice between replies is an ordinary preference. A turn has no lease of its own: it stands under the talk's.
Every write locks the talk's task first. Nothing is stored of a turn before all its replies are there.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, func, select, text
from sqlalchemy.orm import Session, aliased

from app.core import queue
from app.core.answers import Outcome
from app.core.context import ROLES, told
from app.core.errors import Conflict, InvalidInput, NotFound, Problem
from app.core.forms.converse import MOST_MESSAGE, MOST_TURNS
from app.core.projects import Sampling, settings_of
from app.core.records import (
    Assignment,
    Project,
    Task,
    User,
)
from app.core.records.base import Json
from app.core.talk import GONE, Talk, found, read_talk
from app.core.turns import Reply, add_reply
from app.core.words import gettext

_draw = random.SystemRandom()
# The lease goes on while the person talks. With `again` one that has ended is given once more, as long as nobody else
# took the place.
_RENEW = text("""
update assignments a set lease_until = clock_timestamp() + make_interval(mins => :minutes)
from tasks t
where a.id = :assignment and t.id = a.task_id and a.outcome is null
  and (a.lease_until > clock_timestamp() or :again and t.state = 'open' and t.answers + (
         select count(*) from assignments o
         where o.task_id = t.id and o.outcome is null and o.lease_until > clock_timestamp()) < t.answers_needed)""")


@dataclass(frozen=True)
class Asked:
    """A request to the model: what it is told, and where its replies belong."""

    key: UUID
    at: int
    """Steps that the talk had. A turn is stored only where it has as many still."""
    message: str
    messages: list[Json]
    sampling: Sampling
    replies: int
    seed: int
    order: list[int]
    """order[i] is the position of the reply shown i-th."""


def resume(db: Session, project: Project, user: User) -> None:
    """Lease the newest talk again that the person began and left, unless somebody else has its place by now."""
    turn = aliased(Task)
    left = db.execute(
        select(Assignment.id, Assignment.task_id)
        .join(Task, Task.id == Assignment.task_id)
        .where(
            Assignment.user_id == user.id,
            Assignment.project_id == project.id,
            Assignment.submitted_at.is_(None),
            Assignment.lease_until <= func.clock_timestamp(),
            Task.state == "open",
            select(turn.id).where(turn.parent_id == Task.id).exists(),
        )
        .order_by(Assignment.id.desc())
        .limit(1)
    ).one_or_none()
    if left is not None:
        _lock(db, left.task_id)
        _renew(db, project, left.id)


def ask(db: Session, project: Project, user: User, *, key: UUID, token: UUID, message: str) -> Asked:
    """What to ask the model after this message; an empty one asks for the reply that is owed. The lease goes on.

    Raises Conflict while replies wait for a choice, InvalidInput for a message that does not fit.
    """
    task, assignment = _locked(db, user, key)
    if assignment.lease_token != token:
        raise Conflict(gettext("This talk was opened again in another window. Go on there, or load this page again."))
    talk = read_talk(db, user, task, assignment)
    message = message.replace("\r\n", "\n").replace("\0", "").strip()
    _check(talk, message)
    _renew(db, project, assignment.id)
    said = [{"role": ROLES[step["actor"]], "content": step["content"]} for step in talk.steps]
    if message:
        said.append({"role": "user", "content": message})
    return Asked(
        key=key,
        at=len(talk.steps),
        message=message,
        messages=told(talk.prompt, said),
        sampling=settings_of(project).sampling,
        replies=talk.field.replies,
        seed=_draw.getrandbits(31),
        order=_draw.sample(range(talk.field.replies), talk.field.replies),
    )


def _check(talk: Talk, message: str) -> None:
    if talk.ended:
        raise Conflict(gettext("This talk has ended. Undo opens it again."))
    if talk.open is not None:
        raise Conflict(gettext("Choose a reply first, then write the next message."))
    problem = ""
    if talk.owed and message:
        problem = gettext("The model has not replied to what was said before.")
    elif not talk.owed and not message:
        problem = gettext("Write something first.")
    elif len(message) > MOST_MESSAGE:
        problem = gettext("A message has at most %(n)s characters.", n=f"{MOST_MESSAGE:,}")
    elif len(talk.turns) >= MOST_TURNS:
        problem = gettext("This talk has %(n)s turns. End it; the next one begins afresh.", n=MOST_TURNS)
    if problem:
        raise InvalidInput([Problem("text", problem)], problem)


def store(db: Session, project: Project, user: User, asked: Asked, replies: Sequence[Reply]) -> bool:
    """Make the turn, all of it. False where the talk has gone on meanwhile: then nothing is stored."""
    task, assignment = _locked(db, user, asked.key)
    talk = read_talk(db, user, task, assignment)
    if talk.ended or talk.open is not None or len(talk.steps) != asked.at:
        return False
    before = list(talk.steps)
    if asked.message:
        before.append({"position": len(before), "actor": "user", "content": asked.message})
    turn = Task(
        project_id=task.project_id,
        prompt_id=task.prompt_id,
        protocol_id=task.protocol_id,
        parent_id=task.id,
        strategy="talk",
        state="done",
        answers_needed=0,
        sensitive=task.sensitive,
    )
    db.add(turn)
    db.flush()
    sampling = asked.sampling.model_dump() | {"n": asked.replies}
    for position, reply in enumerate(replies):
        add_reply(db, turn, position, reply, before, sampling=sampling)
    db.add(
        Assignment(
            task_id=turn.id,
            project_id=turn.project_id,
            user_id=user.id,
            guideline_id=assignment.guideline_id,
            lease_token=uuid4(),
            lease_until=assignment.served_at,  # ended: what is leased is the talk
            display_order=asked.order,
            idempotency_key=uuid4(),
        )
    )
    _renew(db, project, assignment.id, again=False)  # who paused while the replies were written gave it back
    db.flush()
    return True


def pick(db: Session, user: User, key: UUID, token: UUID, answers: Mapping[str, Any], **details: Any) -> Outcome:
    """Store a choice between the replies of a turn. Like `queue.submit`, under the lease of the talk."""
    mine = (Assignment.idempotency_key == key, Assignment.user_id == user.id)
    turn_task = db.scalar(select(Task).join(Assignment, Assignment.task_id == Task.id).where(*mine))
    if turn_task is None or turn_task.parent_id is None:
        return queue.submit(db, user, key, token, answers, **details)
    _lock(db, turn_task.parent_id)
    _lock(db, turn_task.id)
    talk = _assignment(db, Assignment.task_id == turn_task.parent_id, Assignment.user_id == user.id)
    turn = _assignment(db, *mine)
    if talk is None or turn is None:
        raise NotFound(gettext(GONE))
    if turn.outcome is None and talk.outcome is not None:
        raise Conflict(gettext("This talk has ended. Undo opens it again."))
    if turn.outcome is None:
        turn.lease_until = talk.lease_until
        db.flush()
    outcome = queue.submit(db, user, key, token, answers, **details)
    _renew(db, db.get_one(Project, talk.project_id), talk.id)
    return outcome


def finish(db: Session, user: User, key: UUID, token: UUID, answers: Mapping[str, Any], **details: Any) -> Outcome:
    """End a talk with what was answered about it as a whole. Raises InvalidInput while it has too few turns."""
    row = found(db, user, key)
    if row is None:
        return queue.submit(db, user, key, token, answers, **details)
    _lock(db, row[0].id)
    talk = read_talk(db, user, *row)
    counted = {**answers, talk.field.key: {"turns": talk.settled}}
    return queue.submit(db, user, key, token, counted, **details)


def _locked(db: Session, user: User, key: UUID) -> tuple[Task, Assignment]:
    row = found(db, user, key)
    if row is None:
        raise NotFound(gettext(GONE))
    _lock(db, row[0].id)
    db.refresh(row[1])
    if row[1].idempotency_key != key:
        raise NotFound(gettext(GONE))
    return row


def _assignment(db: Session, *which: ColumnElement[bool]) -> Assignment | None:
    return db.scalar(select(Assignment).where(*which).execution_options(populate_existing=True))


def _lock(db: Session, task_id: int) -> None:
    db.get_one(Task, task_id, with_for_update=True, populate_existing=True)


def _renew(db: Session, project: Project, assignment_id: int, *, again: bool = True) -> None:
    minutes = settings_of(project).pool.lease_minutes
    db.flush()
    db.execute(_RENEW, {"assignment": assignment_id, "minutes": minutes, "again": again})
    db.expire(db.get_one(Assignment, assignment_id), ["lease_until"])
