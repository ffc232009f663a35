"""Tasks as admins see them: what is asked, what was said, which answer is right, and who may answer."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from app.core.answers import fields_of
from app.core.errors import InvalidInput, NotFound, Problem
from app.core.forms import Choose, Compare, Field, PreferenceDraft, Rank, names_of, sentence_of
from app.core.gold import ORDERING
from app.core.lanes import NO_KEY
from app.core.records import Assignment, Membership, Preference, Project, Prompt, Task, User, record
from app.core.records.base import Json
from app.core.served import texts_of
from app.core.snapshots import is_current, is_ordinary
from app.core.strategies import STRATEGIES
from app.core.words import N_, gettext, number

PAGE = 50
Show = Literal["open", "agreed", "done", "withdrawn"]
MOST_PRIORITY = 1_000
EXCERPT = 100
MADE = {"imported": N_("imported"), "talk": N_("talk")}


@dataclass(frozen=True)
class Line:
    """One task of the list."""

    task: Task
    prompt: str
    agreed: str
    """What all who answered said; empty where that is not asked for."""
    names: list[str]

    @property
    def strategy(self) -> str:
        """How it was made, in words."""
        return strategy_of(self.task)


@dataclass(frozen=True)
class Opened:
    """One task with everything an admin may see of it: texts by position, and what was said, without names."""

    task: Task
    messages: list[Json]
    texts: list[str]
    names: str
    choices: list[tuple[str, str]]
    """What the right answer may be: (value, words)."""
    by_order: bool
    """The right answer is written as an order, such as 3>1=2."""
    said: list[tuple[str, int]]
    gold: str
    people: list[tuple[User, bool]]
    """Who may label here, and whether the task is kept for them."""
    unread: list[tuple[str, int]]
    """Answers, by name, whose end some did not see who answered, and how many."""
    known: int
    """Answers of which it is known what was read."""

    @property
    def strategy(self) -> str:
        """How it was made, in words."""
        return strategy_of(self.task)


def strategy_of(task: Task) -> str:
    """How a task was made: by one of the strategies, or brought in with its texts, in words for gettext."""
    known = STRATEGIES.get(task.strategy)
    return known.title if known else MADE.get(task.strategy, task.strategy.replace("_", " "))


def lines(db: Session, project_id: int, show: str, before: int | None = None) -> list[Line]:
    """Tasks of one kind, the newest first, PAGE at a time. Raises NotFound for a kind that there is not."""
    if show not in get_args(Show):
        raise NotFound
    query = (
        select(Task, Prompt.messages[-1]["content"].astext)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .where(Task.project_id == project_id, is_ordinary(), Task.state == ("done" if show == "agreed" else show))
        .order_by(Task.id.desc())
        .limit(PAGE)
    )
    if before is not None:
        query = query.where(Task.id < before)
    if show == "agreed":
        query = query.where(_agreed())
    rows = db.execute(query).all()
    everybody = {user for task, _ in rows for user in task.assignees or ()}
    names = dict(iter(db.execute(select(User.id, User.name).where(User.id.in_(everybody)))))
    said = _said(db, [task.id for task, _ in rows]) if show == "agreed" else {}
    return [
        Line(
            task,
            excerpt(prompt),
            sentence(db, task, said[task.id][0]) if task.id in said else "",
            [names[user] for user in task.assignees or ()],
        )
        for task, prompt in rows
    ]


def _agreed() -> ColumnElement[bool]:
    """Everybody who answered said the same about the first field that was answered."""
    said = (
        select(func.count(func.distinct(func.concat(Preference.field, Preference.outcome, Preference.tiers))))
        .where(Preference.task_id == Task.id, is_current())
        .correlate(Task)
        .scalar_subquery()
    )
    return said == 1


def _said(db: Session, task_ids: list[int]) -> dict[int, list[Json]]:
    found: dict[int, list[Json]] = {}
    for row in db.scalars(
        select(Preference).where(Preference.task_id.in_(task_ids), is_current()).order_by(Preference.id)
    ):
        found.setdefault(row.task_id, []).append(
            {"field": row.field, "outcome": row.outcome, "tiers": row.tiers, "strength": row.strength}
        )
    return found


def opened(db: Session, project: Project, task_id: int) -> Opened:
    """One task. Raises NotFound for one of another project."""
    task = task_of(db, project, task_id)
    texts = texts_of(db, task.id)
    people = db.scalars(
        select(User)
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.project_id == project.id, Membership.role != "viewer")
        .order_by(User.name, User.id)
    )
    field = next((one for one in fields_of(db, task) if isinstance(one, ORDERING)), None)
    answers = _said(db, [task.id]).get(task.id, [])
    said = Counter(sentence(db, task, one) for one in answers if field is None or one["field"] == field.key)
    names = names_of(fields_of(db, task))
    read = [seen for seen in db.scalars(_answered(task, Assignment.seen_to_end)) if seen is not None]
    unread = {position: sum(position not in seen for seen in read) for position in texts}
    return Opened(
        task=task,
        messages=db.get_one(Prompt, task.prompt_id).messages,
        texts=[texts[position] for position in sorted(texts)],
        names=names,
        choices=_choices(field),
        by_order=isinstance(field, Rank),
        said=said.most_common(),
        gold=sentence(db, task, task.gold) if task.gold else "",
        people=[(user, user.id in (task.assignees or ())) for user in people],
        unread=[(names[position], count) for position, count in sorted(unread.items()) if count],
        known=len(read),
    )


def _answered(task: Task, column: Any) -> Any:
    return select(column).where(Assignment.task_id == task.id, Assignment.outcome == "answered")


def _choices(field: Field | None) -> list[tuple[str, str]]:
    nothing = [field.nothing_good] if field is not None and field.nothing_good else []
    if isinstance(field, Compare):
        same = [("same", gettext("Same"))] if field.tie else []
        return [*((one.lower(), gettext("%(name)s is better", name=one)) for one in "AB"), *same, *nothing]
    if isinstance(field, Choose):
        return [(name, gettext("%(name)s is the best", name=name)) for name in field.names[: field.segments]] + nothing
    return []


def task_of(db: Session, project: Project, task_id: int) -> Task:
    """A task of this project, or NotFound."""
    task = db.scalar(select(Task).where(Task.id == task_id, Task.project_id == project.id))
    if task is None:
        raise NotFound
    return task


def next_for_gold(db: Session, project_id: int) -> int | None:
    """The oldest open task that nobody was handed yet."""
    handed = select(Assignment.id).where(Assignment.task_id == Task.id).exists()
    waiting = select(Task.id).where(Task.project_id == project_id, Task.state == "open", is_ordinary(), ~handed)
    return db.scalar(waiting.order_by(Task.priority.desc(), Task.id).limit(1))


def keep_for(
    db: Session, project: Project, task_id: int, by: User, *, form: Mapping[str, str], chosen: set[int]
) -> Task:
    """Say who may answer a task (nobody chosen: everybody) and how early it comes. Raises InvalidInput."""
    given = form.get("priority", "0").strip()
    digits = given.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and int(digits[:9]) <= MOST_PRIORITY):
        raise InvalidInput(
            [Problem("priority", gettext("A whole number from −%(n)s to %(n)s.", n=number(MOST_PRIORITY)))]
        )
    members = set(db.scalars(select(Membership.user_id).where(Membership.project_id == project.id)))
    if chosen - members:
        raise InvalidInput([Problem("people", gettext("Only members of this project can be chosen."))])
    task = db.get_one(Task, task_of(db, project, task_id).id, with_for_update=NO_KEY, populate_existing=True)
    if task.repeat_of is not None:
        raise InvalidInput([Problem("people", gettext("A repeated task stays with its person."))])
    task.priority, task.assignees = int(given), sorted(chosen) or None
    record(
        db,
        "changed",
        f"tasks:{task.id}",
        user_id=by.id,
        project_id=project.id,
        priority=int(given),
        people=sorted(chosen),
    )
    return task


def sentence(db: Session, task: Task, said: Json) -> str:
    """An answer in words, as somebody would say it who sees position 0 first."""
    fields = fields_of(db, task)
    outcome: Any = said.get("outcome", "prefer")
    draft = PreferenceDraft(said.get("field", fields[0].key), outcome, said["tiers"], said.get("strength"))
    return sentence_of(fields, [draft])


def excerpt(text: str) -> str:
    """The first words of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= EXCERPT else line[:EXCERPT].rsplit(" ", 1)[0] + "…"
