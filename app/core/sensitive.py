"""Sensitive texts: which prompts are marked, and who is handed none of their tasks.

The mark is the prompt's; each task has a copy of it (`tasks.sensitive`), so that the queue reads tasks only. A project
may also treat everything as sensitive: that is looked up where it matters, and copied nowhere.
"""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, bindparam, or_, select, text, update
from sqlalchemy.orm import Session

from app.core.lanes import PARTS
from app.core.pauses import give_back
from app.core.projects import settings_of
from app.core.records import Assignment, Project, Prompt, Task, User, record
from app.core.told import Stored

MOST_AT_ONCE = 1_000
"""Prompts that one act may mark."""
_LEFT = f"""(
  select from tasks t where t.project_id = :project and t.state = 'open'
    and (t.assignees is null or :user = any(t.assignees)) and {PARTS["fits"]} and {PARTS["has a place"]} and """
_SOME_LEFT = text(
    f"select exists {_LEFT} (t.sensitive or :all)) and not exists {_LEFT} not t.sensitive and not :all)"
).bindparams(bindparam("have", [], type_=ARRAY(Uuid)))


def avoids(user: User) -> bool:
    """Whether this person asked to get no sensitive tasks."""
    return user.preferences.get("sensitive") == "never"


def is_sensitive(project: Project, marked: bool) -> bool:
    """Whether the texts to a prompt that is marked, or not, are hidden from people until they ask for them."""
    return marked or settings_of(project).all_sensitive


def marked_among(db: Session, prompt_ids: Iterable[int]) -> set[int]:
    """Of these prompts those that are marked. Until the caller has committed its tasks nobody changes the marks."""
    asked = select(Prompt.id, Prompt.sensitive).where(Prompt.id.in_(set(prompt_ids)))
    return {row.id for row in db.execute(asked.order_by(Prompt.id).with_for_update(read=True)) if row.sensitive}


def mark(db: Session, project: Project, prompt_ids: Sequence[int], by: User | None, *, sensitive: bool) -> int:
    """Mark prompts of this project and all their tasks, or take the mark away; how many prompts changed.

    Ids of other projects change nothing. What is on somebody's screen stays there as it is.
    """
    wanted = Prompt.project_id == project.id, Prompt.id.in_(prompt_ids), Prompt.sensitive.is_distinct_from(sensitive)
    changed = list(db.scalars(select(Prompt.id).where(*wanted).order_by(Prompt.id).with_for_update(key_share=True)))
    quietly: Any = {"synchronize_session": False}
    db.execute(update(Prompt).where(Prompt.id.in_(changed)).values(sensitive=sensitive), execution_options=quietly)
    # Tasks are locked in the order in which others lock several of them.
    tasks = select(Task.id).where(Task.prompt_id.in_(changed)).order_by(Task.id).with_for_update(key_share=True)
    db.execute(
        update(Task).where(Task.id.in_(db.scalars(tasks).all())).values(sensitive=sensitive), execution_options=quietly
    )
    if changed and by is not None:
        word = "marked sensitive" if sensitive else "took the sensitive mark from"
        name = (Stored.PROMPT if len(changed) == 1 else Stored.PROMPTS).of(n=len(changed))
        record(
            db, word, f"projects:{project.id}", user_id=by.id, project_id=project.id, prompts=changed[:50], name=name
        )
    return len(changed)


def keep_calm(
    db: Session, project: Project, user: User, held: list[Assignment], have: Sequence[UUID], *, give: bool = True
) -> list[Assignment]:
    """What a person holds who wants nothing sensitive, after the rest went back; what is on their page stays.

    Without `give`, for who holds locks and must not wait, the rest is left to a later hand-out.
    """
    asked = select(Task.id, Task.sensitive).where(Task.id.in_([assignment.task_id for assignment in held]))
    unwanted = {row.id for row in db.execute(asked) if is_sensitive(project, row.sensitive)}
    back = [one for one in held if one.task_id in unwanted and one.idempotency_key not in have]
    if back and give:
        give_back(db, user, [one.idempotency_key for one in back])
    return [one for one in held if one not in back]


def give_back_all(db: Session, user: User) -> int:
    """Give back every sensitive task that a person holds, in all projects; how many there were."""
    everything = Project.settings["all_sensitive"].as_boolean()
    held = (
        select(Assignment.idempotency_key)
        .join(Task, Task.id == Assignment.task_id)
        .join(Project, Project.id == Assignment.project_id)
        .where(Assignment.user_id == user.id, Assignment.submitted_at.is_(None), or_(Task.sensitive, everything))
    )
    return give_back(db, user, db.scalars(held).all())


def only_these_left(db: Session, project: Project, user: User) -> bool:
    """Whether tasks wait that this person could have if they had not asked to get nothing sensitive, and no others."""
    if not avoids(user) or project.paused_at is not None:
        return False
    place = {"project": project.id, "user": user.id, "all": settings_of(project).all_sensitive}
    return bool(db.scalar(_SOME_LEFT, place))
