"""Feedback as a run sees it: a frozen, hashed list of preference rows, and the pairs they stand for.

A row of `preferences` never changes, so the list of ids is the whole snapshot: whatever people answer, edit or take
back afterwards, the same ids give the same pairs.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Row,
    Select,
    String,
    any_,
    case,
    cast,
    distinct,
    func,
    literal,
    select,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session, aliased

from app.core.context import earlier_steps, told
from app.core.demonstrations import demonstration_lines, matching_demonstrations, split_counts
from app.core.errors import NotFound
from app.core.records import SPLITS, Assignment, Preference, Prompt, Snapshot, Step, Task, TaskSegment
from app.core.records.base import Json

CHUNK = 500
"""Rows whose texts are in memory at once."""


class SnapshotFilter(BaseModel):
    """Which preferences take part. The empty filter is every current answer to an ordinary task."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    late: bool = True
    """Keep answers that came after their lease had ended."""
    gold: bool = False
    """Keep answers to tasks whose right answer was known before."""
    repeats: bool = False
    """Keep answers to tasks that the same person had answered before."""
    history: bool = False
    """Keep replaced and withdrawn rows and those on single aspects as well, for an export without loss."""
    demonstrations: bool = True
    """Freeze what people wrote and rewrote as well."""


@dataclass(frozen=True)
class PreferencePair:
    """Two completions of one prompt and which of them one person found better."""

    preference_id: int
    prompt_id: int
    split: str
    messages: list[Json]
    """Everything before the completions: the prompt, and in a talk its turns so far."""
    first: str
    """Text of the completion at the lower position (0 of two); never the order on the screen."""
    second: str
    first_trajectory_id: int
    second_trajectory_id: int
    target: float
    """1.0: first is better, 0.0: second is better, 0.5: the same."""
    outcome: str
    strength: int | None
    user_id: int


@dataclass(frozen=True)
class Segment:
    """One judged completion: where it stands in its task and what it says."""

    position: int
    trajectory_id: int
    text: str


def is_overall() -> ColumnElement[bool]:
    """True for preferences on the whole; those on one aspect ("overall.tone") are another instrument."""
    return ~Preference.field.contains(".")


def is_current() -> ColumnElement[bool]:
    """True for overall preferences that hold now: not withdrawn, and no other row supersedes them."""
    newer = aliased(Preference)
    replaced = select(newer.id).where(newer.supersedes_id == Preference.id).exists()
    return ~Preference.withdrawn & ~replaced & is_overall()


def is_ordinary() -> ColumnElement[bool]:
    """True for tasks that are asked in order to learn from them: neither gold nor a repeat."""
    return Task.gold.is_(None) & Task.repeat_of.is_(None)


def matching(project_id: int, chosen: SnapshotFilter) -> Select[int]:
    """The ids of a project's preferences that a filter lets through, oldest first."""
    query = (
        select(Preference.id)
        .join(Assignment, Assignment.id == Preference.assignment_id)
        .join(Task, Task.id == Preference.task_id)
        .where(Preference.project_id == project_id)
        .order_by(Preference.id)
    )
    if not chosen.history:
        query = query.where(is_current())
    if not chosen.late:
        query = query.where(~Assignment.late)
    if not chosen.gold:
        query = query.where(Task.gold.is_(None))
    if not chosen.repeats:
        query = query.where(Task.repeat_of.is_(None))
    return query


def take_snapshot(db: Session, project_id: int, filter: dict[str, Any] | None = None) -> Snapshot:
    """Freeze the project's preferences and demonstrations as they are now, and flush the row.

    Counts are of preference rows: by split without "all bad" ones (those make no pairs), and ties, all_bad, annotators;
    and of demonstrations, on training and on held-out prompts.
    """
    chosen = SnapshotFilter.model_validate(filter or {})
    ids = list(db.scalars(matching(project_id, chosen)))
    written: list[int] = []
    if chosen.demonstrations:
        kinds = chosen.model_dump(include={"late", "gold", "repeats", "history"})
        written = list(db.scalars(matching_demonstrations(project_id, **kinds)))
    by_split = split_counts(db, written)
    snapshot = Snapshot(
        project_id=project_id,
        filter=chosen.model_dump(),
        preference_ids=ids,
        demonstration_ids=written,
        counts=_counts(db, ids)
        | {"demonstrations": by_split["train"], "demonstrations_held_out": by_split["validation"]},
        content_hash=_hash(db, ids, written),
    )
    db.add(snapshot)
    db.flush()
    return snapshot


def pairs_of(db: Session, snapshot_id: int) -> Iterator[PreferencePair]:
    """The snapshot's pairs in the order they were answered; "all bad" rows make none, a ranking makes all its pairs.

    Texts are read 500 rows at a time, so memory does not grow with the snapshot. Raises NotFound.
    """
    return pairs_among(db, preference_ids(db, snapshot_id))


def pairs_among(db: Session, ids: Sequence[int]) -> Iterator[PreferencePair]:
    """The pairs of these preference rows, as `pairs_of` gives them."""
    for start in range(0, len(ids), CHUNK):
        rows = db.execute(
            select(
                Preference.id,
                Preference.task_id,
                Task.parent_id,
                Preference.tiers,
                Preference.outcome,
                Preference.strength,
                Preference.user_id,
                Prompt.id.label("prompt_id"),
                Prompt.split,
                Prompt.messages,
            )
            .join(Task, Task.id == Preference.task_id)
            .join(Prompt, Prompt.id == Task.prompt_id)
            .where(among(ids[start : start + CHUNK]), Preference.outcome != "all_bad", ~Preference.withdrawn)
            .order_by(Preference.id)
        ).all()
        shown = segments_of(db, [row.task_id for row in rows])
        earlier = earlier_steps(db, [row.task_id for row in rows if row.parent_id is not None])
        for row in rows:
            yield from _pairs(row, shown[row.task_id], told(row.messages, earlier.get(row.task_id, [])))


def preference_ids(db: Session, snapshot_id: int) -> list[int]:
    """The ids that a snapshot froze, in order."""
    ids = db.scalar(select(Snapshot.preference_ids).where(Snapshot.id == snapshot_id))
    if ids is None:
        raise NotFound(f"There is no snapshot {snapshot_id}.")
    return ids


def among(ids: Sequence[int]) -> ColumnElement[bool]:
    """True for these preference rows. One array parameter, however many ids there are."""
    return Preference.id == any_(cast(list(ids), ARRAY(BigInteger)))


def segments_of(db: Session, task_ids: Sequence[int]) -> dict[int, list[Segment]]:
    """The completions of some tasks, by task, in the order of their positions."""
    text = func.string_agg(Step.content, aggregate_order_by(literal("\n\n"), Step.position)).label("text")
    rows = db.execute(
        select(TaskSegment.task_id, TaskSegment.position, TaskSegment.trajectory_id, text)
        .join(Step, Step.trajectory_id == TaskSegment.trajectory_id)
        .where(
            TaskSegment.task_id.in_(set(task_ids)),
            Step.actor == "agent",
            Step.position.between(TaskSegment.first_step, TaskSegment.last_step),
        )
        .group_by(TaskSegment.task_id, TaskSegment.position, TaskSegment.trajectory_id)
        .order_by(TaskSegment.task_id, TaskSegment.position)
    )
    found: dict[int, list[Segment]] = {task_id: [] for task_id in task_ids}
    for task_id, position, trajectory_id, content in rows:
        found[task_id].append(Segment(position, trajectory_id, content))
    return found


def _pairs(row: Row[*tuple[Any, ...]], shown: list[Segment], messages: list[Json]) -> Iterator[PreferencePair]:
    tier_of = {position: tier for tier, positions in enumerate(row.tiers) for position in positions}
    for first, second in combinations([segment for segment in shown if segment.position in tier_of], 2):
        better = tier_of[second.position] - tier_of[first.position]
        if better == 0 and row.outcome == "best":
            continue  # neither was chosen, and nobody said which of them is better
        yield PreferencePair(
            preference_id=row.id,
            prompt_id=row.prompt_id,
            split=row.split,
            messages=messages,
            first=first.text,
            second=second.text,
            first_trajectory_id=first.trajectory_id,
            second_trajectory_id=second.trajectory_id,
            target=0.5 if better == 0 else float(better > 0),
            outcome=row.outcome,
            strength=row.strength,
            user_id=row.user_id,
        )


def _counts(db: Session, ids: list[int]) -> Json:
    """Counted from narrow columns only: no text is read."""
    decided = Preference.outcome != "all_bad"
    row = db.execute(
        select(
            *(func.count(case((decided & (Prompt.split == split), 1))).label(split) for split in SPLITS),
            func.count(case((Preference.outcome == "tie", 1))).label("ties"),
            func.count(case((~decided, 1))).label("all_bad"),
            func.count(distinct(Preference.user_id)).label("annotators"),
        )
        .join(Task, Task.id == Preference.task_id)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .where(among(ids), ~Preference.withdrawn)
    ).one()
    return dict(row._mapping)


def _hash(db: Session, ids: list[int], written: list[int]) -> str:
    """SHA-256 over one line per row: its lasting identity, what was said, and hashes of every text it was said about.

    Serial numbers of this database are left out, so that the same feedback brought into another one hashes the same.
    Demonstrations add their lines after those of the preferences; without any the hash is that of the preferences.
    """
    digest = hashlib.sha256(b"palate snapshot 1\n")
    text_hash = func.encode(func.sha256(func.convert_to(Step.content, "UTF8")), "hex")
    piece = cast(TaskSegment.position, String) + ":" + text_hash
    completions = (
        select(func.string_agg(piece, aggregate_order_by(literal(" "), TaskSegment.position, Step.position)))
        .join(Step, Step.trajectory_id == TaskSegment.trajectory_id)
        .where(
            TaskSegment.task_id == Preference.task_id,
            Step.position <= TaskSegment.last_step,  # of a talk, all that was said before as well
        )
        .scalar_subquery()
    )
    query = (
        select(
            Assignment.idempotency_key,
            Preference.field,
            Preference.outcome,
            cast(Preference.tiers, String),
            Preference.strength,
            Preference.withdrawn,
            Prompt.content_hash,
            Prompt.split,
            completions,
        )
        .join(Assignment, Assignment.id == Preference.assignment_id)
        .join(Task, Task.id == Preference.task_id)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .where(among(ids))
        .order_by(Assignment.idempotency_key, Preference.field, Preference.id)
        .execution_options(yield_per=CHUNK)
    )
    for row in db.execute(query):
        digest.update(("\t".join(map(str, row)) + "\n").encode())
    for line in demonstration_lines(db, written):
        digest.update(line.encode())
    return digest.hexdigest()
