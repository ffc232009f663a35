"""How people did where it can be told: on tasks with a known right answer, and on tasks that they answered twice."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.orm import Session, aliased

from app.core.gold import answered_right, handed_out_as_gold
from app.core.records import Assignment, Preference, Prompt, Task, User
from app.core.snapshots import is_current
from app.core.statistics import wilson
from app.core.words import gettext, number, percent
from app.insights.tasks import excerpt, sentence

MOST_SHOWN = 200


@dataclass(frozen=True)
class Share:
    """How many of how many, and the 95 % interval of the share."""

    count: int
    of: int

    def __str__(self) -> str:
        return percent(self.count / self.of) if self.of else "–"

    @property
    def interval(self) -> str:
        """ "55 to 61", in percent; empty where nothing was tried."""
        low, high = wilson(self.count, self.of)
        return gettext("%(low)s to %(high)s", low=number(100 * low), high=number(100 * high)) if self.of else ""


@dataclass(frozen=True)
class GoldTask:
    """One task with a known right answer, in words that name answers by position."""

    id: int
    prompt: str
    answer: str
    right: Share


@dataclass(frozen=True)
class Quality:
    """How one person did where it can be told: gold tasks, and tasks that they answered twice."""

    name: str
    gold: Share
    repeats: Share


def gold_tasks(db: Session, project_id: int) -> list[GoldTask]:
    """The newest gold tasks, and how people did on each since it is gold."""
    rows = db.execute(
        select(Task, Prompt.messages[-1]["content"].astext, func.count(Assignment.id), _count(answered_right()))
        .join(Prompt, Prompt.id == Task.prompt_id)
        .outerjoin(
            Assignment,
            (Assignment.task_id == Task.id) & (Assignment.outcome == "answered") & handed_out_as_gold(),
        )
        .where(Task.project_id == project_id, Task.gold.is_not(None), Task.state == "done")
        .group_by(Task.id, Prompt.id)
        .order_by(Task.gold_at.desc().nulls_last(), Task.id.desc())
        .limit(MOST_SHOWN)
    )
    return [
        GoldTask(task.id, excerpt(prompt), sentence(db, task, task.gold or {}), Share(right, of))
        for task, prompt, of, right in rows.all()
    ]


def people(db: Session, project_id: int) -> list[Quality]:
    """Everybody who answered gold or repeated tasks, by name."""
    gold = {
        user: Share(right, of)
        for user, right, of in db.execute(
            select(Assignment.user_id, _count(answered_right()), func.count(Assignment.id))
            .join(Task, Task.id == Assignment.task_id)
            .where(Assignment.project_id == project_id, Assignment.outcome == "answered", handed_out_as_gold())
            .group_by(Assignment.user_id)
        )
    }
    repeats = {user: Share(same, of) for user, same, of in db.execute(_repeats(project_id))}
    names = db.execute(select(User.id, User.name).where(User.id.in_({*gold, *repeats})).order_by(User.name, User.id))
    nothing = Share(0, 0)
    return [Quality(name, gold.get(user, nothing), repeats.get(user, nothing)) for user, name in names]


def _repeats(project_id: int) -> Any:
    """By person: tasks that they answered twice alike, and all that they answered twice."""
    first, replaced = aliased(Preference), aliased(Preference)
    same = (first.outcome == Preference.outcome) & (first.tiers == Preference.tiers)
    return (
        select(Preference.user_id, _count(same), func.count(Preference.id))
        .join(Task, Task.id == Preference.task_id)
        .join(
            first,
            (first.task_id == Task.repeat_of)
            & (first.user_id == Preference.user_id)
            & (first.field == Preference.field),
        )
        .where(
            Preference.project_id == project_id,
            Task.repeat_of.is_not(None),
            is_current(),
            ~first.withdrawn,
            ~select(replaced.id).where(replaced.supersedes_id == first.id).exists(),
        )
        .group_by(Preference.user_id)
    )


def _count(condition: ColumnElement[bool]) -> Any:
    return func.count(case((condition, 1)))
