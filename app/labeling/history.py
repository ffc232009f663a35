"""A person's own work: what they answered, searched and filtered, and what became of it.

Lists walk the index (user, project, submitted). Whatever no index answers (a word in a prompt, the kind of preference)
is looked for among the next LOOK acts only, so that a page costs the same after ten answers and after a million; the
page says how far it looked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Select, exists, func, or_, select, tuple_
from sqlalchemy.orm import Session, aliased

from app.core.errors import InvalidInput, NotFound, Problem
from app.core.records import Assignment, Preference, Project, Prompt, Rating, Task, User
from app.core.snapshots import is_current
from app.core.words import N_, gettext
from app.labeling.lines import EPOCH, Line, lines_of

PAGE = 50
LOOK = 5_000
"""Acts that one request looks through for words or kinds of preference."""
MOST_WORDS = 8
MICROSECOND = timedelta(microseconds=1)
KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "preferred": (N_("One is better"), ("prefer", "best")),
    "tie": (N_("Same"), ("tie",)),
    "bad": (N_("None is acceptable"), ("all_bad",)),
}
"""What an answer may say, by the value of the filter: words, and outcomes of preferences."""
ACTS = {"answered": N_("Answered"), "skipped": N_("Skipped"), "reported": N_("Reported")}
CHOICES = [("", N_("Everything")), *ACTS.items(), *((name, words) for name, (words, _) in KINDS.items())]


@dataclass(frozen=True)
class Looked:
    """What somebody looks for in their work. `before` is where the page before this one ended."""

    words: str = ""
    what: str = ""
    before: tuple[datetime, int] | None = None

    @property
    def narrow(self) -> bool:
        """Whether anything is left out."""
        return bool(self.words or self.what)


@dataclass(frozen=True)
class Found:
    """A page of one's work. `older` leads to the next one; `until` is how far a search that found less looked."""

    lines: list[Line]
    older: str = ""
    until: datetime | None = None


def looked(query: Mapping[str, str]) -> Looked:
    """What an address asks for; raises InvalidInput."""
    what = query.get("what", "")
    if what not in dict(CHOICES):
        raise InvalidInput([Problem("what", gettext("Choose one of these."), found=what[:50])])
    return Looked(" ".join(query.get("q", "")[:200].replace("\0", "").split()), what, _place(query.get("before", "")))


def key_of(part: str) -> UUID:
    """The key in an address; raises NotFound, as for a key that nobody has."""
    try:
        return UUID(part)
    except ValueError as error:
        raise NotFound from error


def find(db: Session, project: Project, user: User, sought: Looked) -> Found:
    """A page of the person's acts in this project, newest first."""
    mine = _mine(project, user, sought.before).limit(LOOK if sought.narrow else PAGE + 1).subquery("mine")
    query = select(Assignment).join(mine, mine.c.id == Assignment.id).where(*_matches(sought))
    rows = list(db.scalars(query.order_by(mine.c.submitted_at.desc(), mine.c.id.desc()).limit(PAGE + 1)))
    lines = lines_of(db, project, rows[:PAGE])
    if len(rows) > PAGE:
        return Found(lines, _cursor(rows[PAGE - 1].submitted_at, rows[PAGE - 1].id))
    last = _last_looked(db, project, user, sought) if sought.narrow else None
    return Found(lines, _cursor(*last), last[0]) if last else Found(lines)


def newest(db: Session, project: Project, user: User) -> UUID | None:
    """The key of the act that Undo would take back."""
    rows = db.execute(_mine(project, user, None).limit(1)).all()
    return db.get_one(Assignment, rows[0].id).idempotency_key if rows else None


def _mine(project: Project, user: User, before: tuple[datetime, int] | None) -> Select[int, datetime | None]:
    query = select(Assignment.id, Assignment.submitted_at).where(
        Assignment.user_id == user.id, Assignment.project_id == project.id, Assignment.submitted_at.is_not(None)
    )
    if before is not None:
        # The first condition is implied by the second, but it is the one that bounds the walk along the index.
        query = query.where(
            Assignment.submitted_at <= before[0], tuple_(Assignment.submitted_at, Assignment.id) < tuple_(*before)
        )
    return query.order_by(Assignment.submitted_at.desc(), Assignment.id.desc())


def _last_looked(db: Session, project: Project, user: User, sought: Looked) -> tuple[datetime, int] | None:
    """Where a search stopped that did not come to the end."""
    rows = db.execute(_mine(project, user, sought.before).offset(LOOK - 1).limit(2)).all()
    return (rows[0].submitted_at, rows[0].id) if len(rows) == 2 else None


def _matches(sought: Looked) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    holds = select(Preference.id).where(Preference.assignment_id == Assignment.id, is_current()).correlate(Assignment)
    newer = aliased(Rating)
    noted = (
        select(Rating.id)
        .where(
            Rating.assignment_id == Assignment.id,
            ~Rating.withdrawn,
            ~select(newer.id).where(newer.supersedes_id == Rating.id).exists(),
        )
        .correlate(Assignment)
    )
    if sought.what in ACTS:
        conditions.append(Assignment.outcome == sought.what)
    elif sought.what:
        conditions.append(holds.where(Preference.outcome.in_(KINDS[sought.what][1])).exists())
    for word in sought.words.split()[:MOST_WORDS]:
        turn = func.jsonb_array_elements(Prompt.messages).table_valued("value", name="turn")
        asked = (
            select(Task.id)
            .join(Prompt, Prompt.id == Task.prompt_id)
            .where(
                Task.id == Assignment.task_id,
                exists(
                    select(1)
                    .select_from(turn)
                    .where(turn.c.value.op("->>")("content").icontains(word, autoescape=True))
                ),
            )
            .correlate(Assignment)
        )
        conditions.append(
            or_(
                asked.exists(),
                holds.where(Preference.note.icontains(word, autoescape=True)).exists(),
                noted.where(Rating.text.icontains(word, autoescape=True)).exists(),
            )
        )
    return conditions


def _cursor(at: datetime | None, number: int) -> str:
    return f"{((at or EPOCH) - EPOCH) // MICROSECOND}-{number}"


def _place(cursor: str) -> tuple[datetime, int] | None:
    if not cursor:
        return None
    at, _, number = cursor.partition("-")
    if not (at.isascii() and at.isdigit() and number.isascii() and number.isdigit() and len(cursor) <= 36):
        raise InvalidInput([Problem("before", gettext("This is no place in a list."), found=cursor[:50])])
    try:
        return EPOCH + int(at) * MICROSECOND, int(number)
    except OverflowError as error:
        raise InvalidInput([Problem("before", gettext("This is no place in a list."), found=cursor[:50])]) from error
