"""The native record: everything about one answer; every other shape can be made from it. Fields: docs/formats.md."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
from sqlalchemy import Row, RowMapping, select
from sqlalchemy.orm import Session, aliased

from app.core.context import ROLES, earlier_steps
from app.core.people import pseudonym
from app.core.records import Assignment, Model, Preference, Step, TaskSegment, Trajectory
from app.core.records.base import Json
from app.core.snapshots import CHUNK, among
from app.data.beside import AROUND, Beside, demonstration_rows, ended_rows, rating_rows, revision, with_surroundings
from app.data.forms import ExportOptions

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
TURNS = pa.list_(
    pa.struct(
        [
            ("role", pa.string()),
            ("content", pa.string()),
            ("policy_version", pa.string()),
            ("finish_reason", pa.string()),
            ("token_ids", pa.list_(pa.int64())),
            ("logprobs", pa.list_(pa.float64())),
        ]
    )
)
COMPLETION = pa.struct(
    [
        ("completion_id", pa.string()),
        ("position", pa.int64()),
        ("messages", TURNS),
        ("author", pa.string()),
        ("policy_version", pa.string()),
        ("deployment_id", pa.int64()),
        ("sampling", pa.string()),
        ("seed", pa.int64()),
        ("generated_at", pa.string()),
    ]
)
NATIVE = pa.schema(
    [
        ("label_id", pa.string()),
        ("revision_of", pa.string()),
        ("withdrawn", pa.bool_()),
        ("project", pa.string()),
        ("task_id", pa.int64()),
        ("strategy", pa.string()),
        ("comparison_id", pa.string()),
        ("comparison_metadata", pa.string()),
        ("field", pa.string()),
        ("outcome", pa.string()),
        ("tiers", pa.list_(pa.list_(pa.int64()))),
        ("strength", pa.int64()),
        ("criterion", pa.string()),
        ("scale", pa.string()),
        ("position", pa.int64()),
        ("value", pa.float64()),
        ("span", pa.list_(pa.int64())),
        ("text", pa.string()),
        ("edited_from", pa.string()),
        ("note", pa.string()),
        ("reason", pa.string()),
        ("annotator", pa.string()),
        ("split", pa.string()),
        ("prompt_id", pa.string()),
        ("prompt_hash", pa.string()),
        ("prompt_source", pa.string()),
        ("prompt_metadata", pa.string()),
        ("prompt_sensitive", pa.bool_()),
        ("prompt_messages", MESSAGES),
        ("context", MESSAGES),
        ("completions", pa.list_(COMPLETION)),
        ("display_order", pa.list_(pa.int64())),
        ("gold", pa.string()),
        ("repeat_of", pa.int64()),
        ("protocol_version", pa.int64()),
        ("guideline_version", pa.int64()),
        ("late", pa.bool_()),
        ("input_method", pa.string()),
        ("active_ms", pa.int64()),
        ("seen_to_end", pa.list_(pa.int64())),
        ("served_at", pa.string()),
        ("created_at", pa.string()),
    ]
)


def native_rows(
    db: Session, ids: Sequence[int], beside: Beside, options: ExportOptions, *, slug: str, key: str
) -> Iterator[tuple[str, Json]]:
    """(split, record) of these preferences, then of ratings, demonstrations, and tasks skipped or reported.

    `key` makes the pseudonyms; tasks are read 500 at a time.
    """
    kinds = (
        (_labels, ids),
        (rating_rows, beside.ratings),
        (demonstration_rows, beside.demonstrations),
        (ended_rows, beside.ended),
    )
    for read, chosen in kinds:
        for start in range(0, len(chosen), CHUNK):
            yield from _records(db, read(db, chosen[start : start + CHUNK]), options, slug, key)


def _labels(db: Session, ids: Sequence[int]) -> Sequence[Row[*tuple[Any, ...]]]:
    older = aliased(Preference)
    query = (
        select(
            *revision(Preference, older),
            Preference.outcome,
            Preference.tiers,
            Preference.strength,
            Preference.note,
            *AROUND,
        )
        .join(Assignment, Assignment.id == Preference.assignment_id)
        .outerjoin(older, older.id == Preference.supersedes_id)
        .where(among(ids))
        .order_by(Preference.id)
    )
    return db.execute(with_surroundings(query)).all()


def _records(
    db: Session, rows: Sequence[Row[*tuple[Any, ...]]], options: ExportOptions, slug: str, key: str
) -> Iterator[tuple[str, Json]]:
    task_ids = {row.task_id for row in rows}
    completions, context = _completions(db, task_ids), earlier_steps(db, task_ids)
    for row in rows:
        found = row._mapping
        yield (
            row.split,
            {
                "label_id": _label_id(found.get("key"), found, row.id),
                "revision_of": _older(found),
                "withdrawn": found.get("withdrawn", False),
                "project": slug,
                "task_id": row.task_id,
                "strategy": row.strategy,
                "comparison_id": row.comparison_id,
                "comparison_metadata": None if row.comparison_metadata is None else canonical(row.comparison_metadata),
                "field": found.get("field", ""),
                "outcome": row.outcome,
                "tiers": found.get("tiers", []),
                "strength": found.get("strength"),
                "criterion": found.get("criterion"),
                "scale": None if found.get("scale") is None else canonical(found["scale"]),
                "position": found.get("position"),
                "value": found.get("value"),
                "span": None if found.get("span_start") is None else [found["span_start"], found["span_end"]],
                "text": found.get("text", ""),
                "edited_from": None if found.get("edited_from_id") is None else str(found["edited_from_id"]),
                "note": found.get("note", ""),
                "reason": row.reason,
                "annotator": pseudonym(key, row.project_id, row.user_id) if options.annotators == "pseudonym" else None,
                "split": row.split,
                "prompt_id": row.external_id,
                "prompt_hash": row.content_hash,
                "prompt_source": row.source,
                "prompt_metadata": canonical(row.extra),
                "prompt_sensitive": row.sensitive,
                "prompt_messages": row.messages,
                "context": context[row.task_id],
                "completions": completions[row.task_id],
                "display_order": row.display_order,
                "gold": None if row.gold is None else canonical(row.gold),
                "repeat_of": row.repeat_of,
                "protocol_version": row.protocol_version,
                "guideline_version": row.guideline_version,
                "late": row.late,
                "input_method": row.input_method,
                "active_ms": row.active_ms,
                "seen_to_end": row.seen_to_end,
                "served_at": row.served_at.isoformat(),
                "created_at": row.created_at.isoformat(),
            },
        )


def _label_id(key: object, found: RowMapping, row_id: int) -> str:
    """The key that a row came with; the further rows of a form have their task's key, their kind and their number."""
    kind = {"rated": "r", "demonstrated": "d"}.get(found["outcome"], "")
    return str(key) if key else f"{found['assignment_key']}-{kind}{row_id}"


def canonical(value: object) -> str:
    """JSON text with sorted keys: objects of free form travel as text, so that a column has one type."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _older(found: RowMapping) -> str | None:
    if found.get("older_id") is None:
        return None
    return _label_id(found["older_key"], found, found["older_id"])


def _completions(db: Session, task_ids: set[int]) -> dict[int, list[Json]]:
    writer = aliased(Model)
    rows = db.execute(
        select(
            TaskSegment.task_id,
            TaskSegment.position,
            Trajectory.id,
            Trajectory.author_kind,
            Trajectory.source,
            Trajectory.sampling,
            Trajectory.seed,
            Trajectory.deployment_id,
            Trajectory.created_at,
            Model.version,
            Step.actor,
            Step.content,
            Step.finish_reason,
            Step.token_ids,
            Step.logprobs,
            writer.version.label("step_version"),
        )
        .join(Trajectory, Trajectory.id == TaskSegment.trajectory_id)
        .join(Step, Step.trajectory_id == Trajectory.id)
        .outerjoin(Model, Model.id == Trajectory.model_id)
        .outerjoin(writer, writer.id == Step.model_id)
        .where(TaskSegment.task_id.in_(task_ids), Step.position.between(TaskSegment.first_step, TaskSegment.last_step))
        .order_by(TaskSegment.task_id, TaskSegment.position, Step.position)
    )
    found: dict[int, list[Json]] = {task_id: [] for task_id in task_ids}
    for row in rows:
        shown = found[row.task_id]
        if not shown or shown[-1]["position"] != row.position:
            shown.append(_completion(row))
        shown[-1]["messages"].append(
            {
                "role": ROLES[row.actor],
                "content": row.content,
                "policy_version": _version(row.step_version),
                "finish_reason": row.finish_reason,
                "token_ids": row.token_ids,
                "logprobs": row.logprobs,
            }
        )
    return found


def _completion(row: Row[*tuple[Any, ...]]) -> Json:
    return {
        "completion_id": str(row.id),
        "position": row.position,
        "messages": [],
        "author": row.source or row.author_kind,
        "policy_version": _version(row.version),
        "deployment_id": row.deployment_id,
        "sampling": canonical(row.sampling),
        "seed": row.seed,
        "generated_at": row.created_at.isoformat(),
    }


def _version(version: int | None) -> str | None:
    return None if version is None else f"v{version}"
