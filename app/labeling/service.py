"""What the label pages show beside the task (progress, guidelines), and what they send."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import leases
from app.core.answers import Outcome
from app.core.errors import InvalidInput, Problem
from app.core.forms import Field, segments_of
from app.core.keys import COMMANDS, LAYOUTS
from app.core.projects import settings_of
from app.core.queue import REASONS
from app.core.records import Assignment, Guideline, Project, Task, User
from app.core.sensitive import only_these_left
from app.core.standing import Standing, standing, tasks_today
from app.core.words import N_, gettext

MOST_KEYS = 16
"""Tasks that one page may name in a request."""
GROUPS = (("around", N_("Around it")), ("reading", N_("Reading")), ("palate", "Palate"))
"""Headings of the key sheet; the keys that answer stand before them, as the form on the screen has them."""
LONGEST = 24 * 60 * 60 * 1000
"""Milliseconds; a longer active time is a broken clock."""


@dataclass(frozen=True)
class Progress:
    """Answers since midnight (UTC). `goal` 0: none is set."""

    today: int
    goal: int


def progress(db: Session, project: Project, user: User) -> Progress:
    """What the top bar shows."""
    return Progress(tasks_today(db, project, user), settings_of(project).daily_goal)


def newest_guideline(db: Session, project: Project) -> Guideline | None:
    """The guidelines as they are now."""
    return db.scalar(
        select(Guideline).where(Guideline.project_id == project.id).order_by(Guideline.version.desc()).limit(1)
    )


@dataclass(frozen=True)
class Changes:
    """How the guidelines differ from those a person last answered under, line by line of their Markdown."""

    since: int
    """The version that the person knows."""
    lines: list[tuple[Literal["added", "removed"], str]]


def guideline_changes(db: Session, project: Project, user: User) -> Changes | None:
    """What is new in the guidelines since this person's last answer; None where nothing is, or there was no answer."""
    newest = newest_guideline(db, project)
    known = db.scalar(
        select(Guideline)
        .join(Assignment, Assignment.guideline_id == Guideline.id)
        .where(
            Assignment.project_id == project.id,
            Assignment.user_id == user.id,
            Assignment.submitted_at.is_not(None),
        )
        .order_by(Assignment.submitted_at.desc())
        .limit(1)
    )
    if newest is None or known is None or known.version >= newest.version:
        return None
    signs: dict[str, Literal["added", "removed"]] = {"+ ": "added", "- ": "removed"}
    compared = difflib.ndiff(known.text.splitlines(), newest.text.splitlines())
    lines = [(signs[line[:2]], line[2:]) for line in compared if line[:2] in signs and line[2:].strip()]
    return Changes(known.version, lines)


def key_sheet(project: Project, user: User) -> dict[str, Any]:
    """What the sheet of keys tells: every command by group, the layout, and whether one key sends."""
    return {
        "asks_first": asks_first(project, user),
        "commands": COMMANDS,
        "key_groups": GROUPS,
        "layout": gettext(dict(LAYOUTS).get(user.preferences.get("keys", ""), LAYOUTS[0][1])).partition(":")[0],
    }


def asks_first(project: Project, user: User) -> bool:
    """Whether an answer is marked first and sent with Enter: the person's choice, else the project's."""
    chosen = user.preferences.get("sending", "project")
    return settings_of(project).ask_before_sending if chosen == "project" else chosen == "ask"


def around(db: Session, project: Project, user: User) -> dict[str, Any]:
    """What a label page shows around its task."""
    return {
        "progress": progress(db, project, user),
        "guideline": newest_guideline(db, project),
        "changes": guideline_changes(db, project, user),
        "begun": anything_yet(db, project),
        "reasons": REASONS,
        "lease_seconds": leases.length(project).seconds,
        **key_sheet(project, user),
    }


def place_of(db: Session, project: Project, user: User) -> Standing:
    """Where a person stands for whom there is no task."""
    place = standing(db, project, user)
    return replace(place, why="sensitive") if not place.why and only_these_left(db, project, user) else place


def saved(outcome: Outcome) -> str:
    """What the next page says of an answer that is committed by now."""
    said = gettext("Saved. %(answer)s.", answer=outcome.sentence)
    late = gettext("It came after its lease had ended, and is marked late.") if outcome.late else ""
    return f"{said} {late}".rstrip()


def anything_yet(db: Session, project: Project) -> bool:
    """Whether the project ever had a task: an empty pool means something else before the first one."""
    return db.scalar(select(Task.id).where(Task.project_id == project.id).limit(1)) is not None


def answers_of(form: Mapping[str, str], fields: Sequence[Field]) -> dict[str, dict[str, str]]:
    """A posted form as answers by field. The first field's inputs have plain names; others begin with their key."""
    segments = segments_of(fields)
    answers = {}
    for index, field in enumerate(fields):
        before = f"{field.key}." if index else ""
        sent = {name: form.get(before + name, "") for name in field.inputs(segments)}
        answers[field.key] = {name: value for name, value in sent.items() if value}
    return answers


@dataclass(frozen=True)
class Sent:
    """What every act of the label page carries: which task under which lease, why, and how it was done."""

    key: UUID
    token: UUID
    reason: str
    active_ms: int | None
    input_method: str | None
    seen: list[int] | None
    """Slots of the answers whose end was on the screen; None where no script could tell."""


def sent(form: Mapping[str, str]) -> Sent:
    """Read a posted act; raises InvalidInput."""
    method = form.get("input_method")
    return Sent(
        key=_uuid(form, "key"),
        token=_uuid(form, "token"),
        reason=form.get("reason", ""),
        active_ms=_milliseconds(form.get("active_ms", "")),
        input_method=method if method in ("key", "pointer") else None,
        seen=_slots(form.get("seen")),
    )


def keys_of(given: Sequence[object]) -> list[UUID]:
    """The keys that a posted form carries, one for each task on its page; raises InvalidInput."""
    return [_uuid({"key": str(one)}, "key") for one in given[:MOST_KEYS]]


def _uuid(form: Mapping[str, str], name: str) -> UUID:
    value = form.get(name, "")
    try:
        return UUID(value)
    except ValueError as error:
        raise InvalidInput(
            [Problem(name, gettext("This task cannot be told apart from others."), found=value[:50])]
        ) from error


def _slots(value: str | None) -> list[int] | None:
    """Slots as the page sends them, such as "0,2"; empty where none was read to its end."""
    if value is None:
        return None
    slots = value.split(",") if value else []
    if not all(len(slot) == 1 and slot.isascii() and slot.isdigit() for slot in slots):
        raise InvalidInput([Problem("seen", gettext("This is not a list of places, such as 0,1."), found=value[:50])])
    return [int(slot) for slot in slots]


def _milliseconds(value: str) -> int | None:
    """The active time that the page measured; empty without JavaScript."""
    if not value:
        return None
    if not (value.isascii() and value.isdigit() and len(value) < 12):
        raise InvalidInput([Problem("active_ms", gettext("This is not a number of milliseconds."), found=value[:50])])
    return min(int(value), LONGEST)
