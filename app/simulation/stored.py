"""What is stored after a replay, held against the file: by row, worker and text, tie for tie."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.projects import project_by_slug
from app.core.records import Preference, Prompt, Task, User
from app.core.records.base import Json
from app.core.snapshots import is_current, segments_of
from app.simulation.recorded import Recorded

CHUNK = 500
OUTCOMES = ("prefer", "best", "tie", "all_bad")
Said = tuple[str, str, tuple[tuple[str, ...], ...], int | None]
"""The prompt's messages, the outcome, its tiers as texts, the strength."""


@dataclass
class Compared:
    """How the stored answers and the file agree, counted by outcome in the file."""

    recorded: Counter[str] = field(default_factory=Counter)
    equal: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    differing: Counter[str] = field(default_factory=Counter)
    surplus: int = 0
    """Stored answers to tasks of the project that the file does not have."""
    examples: list[str] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """Whether exactly the file is stored."""
        return self.equal == self.recorded and not self.surplus

    def table(self) -> str:
        """The counts as a person reads them."""
        columns = (self.recorded, self.equal, self.missing, self.differing)
        lines = [f"{'':<10}{'in the file':>12}{'stored equal':>14}{'missing':>9}{'differing':>11}"]
        met = (outcome for outcome in OUTCOMES if self.recorded[outcome])
        lines += [_line(outcome, [column[outcome] for column in columns]) for outcome in met]
        lines.append(_line("all", [column.total() for column in columns]))
        lines.append(f"stored, but not in the file: {self.surplus:,}")
        return "\n".join(lines + self.examples)


def compare(db: Session, project: str, recorded: Sequence[Recorded], emails: Mapping[str, str]) -> Compared:
    """Read the project's answers back. `emails` say who stood for which worker."""
    workers = {email: worker for worker, email in emails.items()}
    stored = _stored(db, project_by_slug(db, project).id, workers)
    compared = Compared()
    for one in recorded:
        compared.recorded[one.outcome] += 1
        found = stored.pop((one.name, one.worker), [])
        if not found:
            kind, count = "missing", compared.missing
        elif found == [_said(one)]:
            kind, count = "equal", compared.equal
        else:
            kind, count = "differing", compared.differing
            compared.surplus += len(found) - 1
        count[one.outcome] += 1
        if kind != "equal" and len(compared.examples) < 5:
            compared.examples.append(f"{kind}: row {one.name}, worker {one.worker}, {one.outcome}")
    compared.surplus += sum(len(found) for found in stored.values())
    return compared


def _said(one: Recorded) -> Said:
    texts = [completion.text for completion in one.row.completions]
    tiers = tuple(tuple(sorted(texts[position] for position in tier)) for tier in one.tiers)
    return _dialogue(one.row.messages), one.outcome, tiers, one.strength


def _stored(db: Session, project_id: int, workers: Mapping[str, str]) -> dict[tuple[str, str], list[Said]]:
    """Current answers by row and worker. Who is no worker of the replay has an e-mail address for a name."""
    found: dict[tuple[str, str], list[Said]] = {}
    last = 0
    while rows := _after(db, project_id, last):
        shown = segments_of(db, [row.task_id for row in rows])
        for row in rows:
            texts = {segment.position: segment.text for segment in shown[row.task_id]}
            tiers = tuple(tuple(sorted(texts[position] for position in tier)) for tier in row.tiers)
            said = _dialogue(row.messages), row.outcome, tiers, row.strength
            who = workers.get(row.email, row.email)
            found.setdefault((row.external_id or f"task {row.task_id}", who), []).append(said)
        last = rows[-1].id
    return found


def _after(db: Session, project_id: int, last: int) -> Sequence[Any]:
    return db.execute(
        select(
            Preference.id,
            Preference.task_id,
            Preference.outcome,
            Preference.tiers,
            Preference.strength,
            Task.external_id,
            Prompt.messages,
            User.email,
        )
        .join(Task, Task.id == Preference.task_id)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .join(User, User.id == Preference.user_id)
        .where(Preference.project_id == project_id, Preference.id > last, is_current())
        .order_by(Preference.id)
        .limit(CHUNK)
    ).all()


def _dialogue(messages: Sequence[Json]) -> str:
    return "\n".join(f"{message['role']}: {message['content']}" for message in messages)


def _line(name: str, counts: Sequence[int]) -> str:
    widths = (12, 14, 9, 11)
    cells = (f"{count:>{width},}" for count, width in zip(counts, widths, strict=True))
    return f"{name:<10}" + "".join(cells)
