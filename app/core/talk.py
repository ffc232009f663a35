"""Where a person's talk stands, read from its turns."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, aliased

from app.core.answers import fields_of
from app.core.errors import NotFound
from app.core.forms import Converse, Field
from app.core.records import Assignment, Demonstration, Preference, Project, Prompt, Step, Task, TaskSegment, User
from app.core.records.base import Json
from app.core.sensitive import is_sensitive
from app.core.turns import Copied, steps_before, steps_of, turns_of
from app.core.words import N_, gettext

GONE = N_("This talk is not yours, or it was taken back. Nothing was stored.")


@dataclass(frozen=True)
class Turn:
    """One turn as its person sees it: texts by slot, and nothing that says who wrote them."""

    key: UUID
    token: UUID
    message: str
    """What the person said before it; empty where the replies answer what stands above already."""
    replies: list[str]
    chosen: int | None
    """The slot that the talk goes on with."""
    own: str
    """The reply that the person wrote instead."""
    answered: bool

    @property
    def others(self) -> list[str]:
        """The replies that the talk does not go on with."""
        return [reply for slot, reply in enumerate(self.replies) if slot != self.chosen]


@dataclass(frozen=True)
class Talk:
    """A person's talk as it stands now."""

    key: UUID
    token: UUID
    lease_until: datetime
    prompt: list[Json]
    field: Converse
    """The field that says how this talk goes."""
    fields: list[Field]
    """The whole form: what stands beside the talk is asked at its end."""
    turns: list[Turn]
    steps: list[Copied]
    """Everything said so far in the talk itself, without the replies that wait for a choice."""
    ended: bool
    sensitive: bool
    """Its texts are hidden until the person asks for them, unless they chose otherwise."""

    @property
    def beside(self) -> bool:
        """Whether questions are asked at its end."""
        return len(self.fields) > 1

    @property
    def open(self) -> Turn | None:
        """The turn whose replies wait for a choice."""
        return self.turns[-1] if self.turns and not self.turns[-1].answered else None

    @property
    def scenario(self) -> bool:
        """Whether the person speaks first."""
        return self.field.opening == "scenario" or self.prompt[-1]["role"] != "user"

    @property
    def owed(self) -> bool:
        """Whether the person has spoken and no reply is there yet."""
        spoken = self.steps[-1]["actor"] == "user" if self.steps else not self.scenario
        return spoken and self.open is None

    @property
    def state(self) -> str:
        """What comes next: a choice ("open"), the model's reply ("owed"), a word of the person ("ready"), or nothing
        ("ended")."""
        if self.ended:
            return "ended"
        return "open" if self.open else "owed" if self.owed else "ready"

    @property
    def settled(self) -> int:
        """Turns that have a reply with which the talk went on."""
        return sum(turn.chosen is not None or bool(turn.own) for turn in self.turns)

    @property
    def may_end(self) -> bool:
        """Whether it has as many turns as it needs."""
        return self.settled >= self.field.turns_least


def talk_of(db: Session, user: User, key: UUID) -> Talk:
    """The talk behind a key, as it stands; raises NotFound for somebody else's and for what is no talk."""
    row = found(db, user, key)
    if row is None:
        raise NotFound(gettext(GONE))
    return read_talk(db, user, *row)


def found(db: Session, user: User, key: UUID) -> tuple[Task, Assignment] | None:
    """The task and the assignment of a talk's key."""
    row = db.execute(
        select(Task, Assignment)
        .join(Assignment, Assignment.task_id == Task.id)
        .where(Assignment.idempotency_key == key, Assignment.user_id == user.id, Task.parent_id.is_(None))
    ).one_or_none()
    return None if row is None else (row[0], row[1])


def read_talk(db: Session, user: User, task: Task, assignment: Assignment) -> Talk:
    """The talk of an assignment; raises NotFound for what is no talk."""
    fields = fields_of(db, task)
    if not isinstance(fields[0], Converse):
        raise NotFound(gettext(GONE))
    rows = turns_of(db, task, user.id)
    turns = _read(db, fields[0].key, rows)
    prompt = db.get_one(Prompt, task.prompt_id)
    return Talk(
        key=assignment.idempotency_key,
        token=assignment.lease_token,
        lease_until=assignment.lease_until,
        prompt=prompt.messages,
        field=fields[0],
        fields=fields,
        turns=[turn for turn, _ in turns],
        steps=_steps(db, rows[-1][0], turns[-1][1]) if rows else [],
        ended=assignment.outcome is not None,
        sensitive=is_sensitive(db.get_one(Project, task.project_id), prompt.sensitive),
    )


def _steps(db: Session, turn: Task, went_on: int | None) -> list[Copied]:
    """What was said when the last turn was over: with its reply where there is one to go on with."""
    return steps_before(db, turn.id) if went_on is None else steps_of(db, went_on)


def _read(db: Session, field: str, rows: Sequence[tuple[Task, Assignment]]) -> list[tuple[Turn, int | None]]:
    """Turns, each with the trajectory that the talk went on with."""
    shown = _replies(db, [task.id for task, _ in rows])
    said = _said(db, field, [assignment.id for _, assignment in rows])
    found: list[tuple[Turn, int | None]] = []
    for task, assignment in rows:
        replies, message = shown[task.id]
        order = assignment.display_order
        chosen, own, went_on = None, "", None
        match said.get(assignment.id):
            case Preference(outcome=outcome, tiers=tiers) if outcome != "all_bad":
                # After "the same" the talk goes on with the one shown first: which that is was drawn by lot.
                chosen = 0 if outcome == "tie" else order.index(tiers[0][0])
                went_on = replies[order[chosen]][0]
            case Demonstration(trajectory_id=trajectory_id):
                went_on = trajectory_id
                own = steps_of(db, trajectory_id)[-1]["content"]
        again = bool(found) and found[-1][1] is None
        turn = Turn(
            key=assignment.idempotency_key,
            token=assignment.lease_token,
            message="" if again else message,
            replies=[replies[position][1] for position in order],
            chosen=chosen,
            own=own,
            answered=assignment.outcome is not None,
        )
        found.append((turn, went_on))
    return found


def _replies(db: Session, turn_ids: Sequence[int]) -> dict[int, tuple[dict[int, tuple[int, str]], str]]:
    """By turn: its replies by position (trajectory and text), and what the person said right before them."""
    rows = db.execute(
        select(TaskSegment.task_id, TaskSegment.position, TaskSegment.trajectory_id, Step.actor, Step.content)
        .join(Step, Step.trajectory_id == TaskSegment.trajectory_id)
        .where(
            TaskSegment.task_id.in_(turn_ids),
            Step.position.between(TaskSegment.first_step - 1, TaskSegment.first_step),
        )
        .order_by(TaskSegment.task_id, TaskSegment.position, Step.position)
    )
    found: dict[int, tuple[dict[int, tuple[int, str]], str]] = {turn_id: ({}, "") for turn_id in turn_ids}
    for turn_id, position, trajectory_id, actor, content in rows:
        replies, message = found[turn_id]
        if actor == "user":
            message = content
        else:
            replies[position] = (trajectory_id, content)
        found[turn_id] = (replies, message)
    return found


def _said(db: Session, field: str, assignment_ids: Sequence[int]) -> dict[int, Preference | Demonstration]:
    """What holds now for each turn: a choice, or a reply of one's own."""
    kinds: tuple[type[Preference] | type[Demonstration], ...] = (Preference, Demonstration)
    found: dict[int, Preference | Demonstration] = {}
    for kind in kinds:
        newer = aliased(kind)
        replaced = select(newer.id).where(newer.supersedes_id == kind.id).exists()
        held = kind.assignment_id.in_(assignment_ids), kind.field == field, ~kind.withdrawn, ~replaced
        query: Select[Any] = select(kind).where(*held)
        found |= {row.assignment_id: row for row in db.scalars(query)}
    return found
