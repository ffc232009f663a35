"""Checked comparisons become prompts, trajectories and open tasks.

Such tasks belong to no deployment, so no swap withdraws them and the sampler neither counts nor pairs their texts.
"""

from collections.abc import Sequence

from sqlalchemy import Row, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.core.comparisons import CheckedComparison, ComparisonReport, Written
from app.core.errors import Conflict, Problem
from app.core.forms import parse_protocol, segments_of
from app.core.projects import protocol_of, settings_of
from app.core.prompts import CHUNK, CheckedPrompt, add_prompts
from app.core.records import Project, Prompt, Step, Task, TaskSegment, Trajectory
from app.core.sensitive import mark, marked_among
from app.core.words import gettext

STRATEGY = "imported"


def check_against(db: Session, project_id: int, report: ComparisonReport) -> ComparisonReport:
    """The same report with rows set aside whose id the project has: for this comparison, or for another one."""
    known = _known(db, project_id, report.good)
    kept: list[CheckedComparison] = []
    for row in report.good:
        stored = None if row.external_id is None else known.get(row.external_id)
        if stored is None:
            kept.append(row)
        elif stored == (row.content_hash, row.written):
            report.duplicates.append(Problem("id", gettext("The project has this comparison already."), row.line))
        else:
            words = gettext("The project uses this id for another comparison.")
            report.problems.append(Problem("id", words, row.line, row.external_id or ""))
    report.good = kept
    report.problems.sort(key=lambda problem: problem.row or 0)
    return report


def segments_in_force(db: Session, project: Project) -> int:
    """How many answers a task shows under the protocol that new tasks use."""
    return segments_of(parse_protocol(protocol_of(db, project).fields))


def add_comparisons(db: Session, project: Project, rows: Sequence[CheckedComparison], source: str) -> dict[str, int]:
    """Add rows as open tasks in the caller's transaction, in their order: all or none.

    Returns {"added": tasks, "prompts": new prompts, "duplicates": rows that came in by another way since the check}.
    Raises Conflict where the protocol changed since then.
    """
    db.execute(select(Project.id).where(Project.id == project.id).with_for_update())
    db.refresh(project)
    protocol = protocol_of(db, project)
    segments = segments_of(parse_protocol(protocol.fields))
    needed = settings_of(project).pool.answers_per_task
    if any(len(row.completions) != segments for row in rows):
        raise Conflict(gettext("The project's protocol changed a moment ago. Look at the rows once more."))
    known = _known(db, project.id, rows)
    fresh = [row for row in rows if row.external_id is None or row.external_id not in known]
    counts = {"added": len(fresh), "prompts": 0, "duplicates": len(rows) - len(fresh)}
    for start in range(0, len(fresh), CHUNK):
        chunk = fresh[start : start + CHUNK]
        counts["prompts"] += _add_prompts(db, project, chunk, source)
        prompts = _prompt_ids(db, project.id, chunk)
        mark(db, project, [prompts[row.content_hash] for row in chunk if row.sensitive], None, sensitive=True)
        marked = marked_among(db, prompts.values())
        trajectories = _add_trajectories(db, project.id, chunk, prompts)
        tasks = [
            Task(
                project_id=project.id,
                prompt_id=prompts[row.content_hash],
                protocol_id=protocol.id,
                strategy=STRATEGY,
                answers_needed=row.answers_needed or needed,
                external_id=row.external_id,
                extra=row.extra,
                sensitive=prompts[row.content_hash] in marked,
            )
            for row in chunk
        ]
        db.add_all(tasks)
        db.flush()
        db.add_all(
            TaskSegment(task_id=task.id, position=position, trajectory_id=trajectories[task.prompt_id, written])
            for task, row in zip(tasks, chunk, strict=True)
            for position, written in enumerate(row.written)
        )
        db.flush()
    return counts


def _known(db: Session, project_id: int, rows: Sequence[CheckedComparison]) -> dict[str, tuple[str, list[Written]]]:
    """Of these rows' ids that the project has: the hashes of its prompt and of what it shows."""
    found: dict[str, tuple[str, list[Written]]] = {}
    for start in range(0, len(rows), CHUNK):
        ids = [row.external_id for row in rows[start : start + CHUNK] if row.external_id is not None]
        stored = db.execute(
            select(Task.external_id, Prompt.content_hash, Trajectory.source, Trajectory.content_hash)
            .join(Prompt, Prompt.id == Task.prompt_id)
            .join(TaskSegment, TaskSegment.task_id == Task.id)
            .join(Trajectory, Trajectory.id == TaskSegment.trajectory_id)
            .where(Task.project_id == project_id, Task.external_id.in_(ids))
            .order_by(Task.id, TaskSegment.position)
        )
        for name, prompt, author, digest in stored:
            found.setdefault(str(name), (prompt, []))[1].append((author, digest))
    return found


def _add_prompts(db: Session, project: Project, rows: Sequence[CheckedComparison], source: str) -> int:
    """Prompts that are not there yet; many rows may share one. Metadata is the task's, not the prompt's."""
    wanted = {row.content_hash: CheckedPrompt(row.line, row.messages, None, {}, row.content_hash) for row in rows}
    return add_prompts(db, project, list(wanted.values()), source)["added"]


def _prompt_ids(db: Session, project_id: int, rows: Sequence[CheckedComparison]) -> dict[str, int]:
    hashes = {row.content_hash for row in rows}
    found = select(Prompt.content_hash, Prompt.id).where(
        Prompt.project_id == project_id, Prompt.content_hash.in_(hashes)
    )
    return dict(iter(db.execute(found)))


def _add_trajectories(
    db: Session, project_id: int, rows: Sequence[CheckedComparison], prompts: dict[str, int]
) -> dict[tuple[int, Written], int]:
    """One trajectory for each prompt, source and text; ids by all three."""
    wanted = {
        (prompts[row.content_hash], written): one.text
        for row in rows
        for written, one in zip(row.written, row.completions, strict=True)
    }
    made = db.execute(
        insert(Trajectory)
        .on_conflict_do_nothing(index_elements=["prompt_id", "model_id", "user_id", "source", "content_hash"])
        .returning(Trajectory.id, Trajectory.prompt_id, Trajectory.source, Trajectory.content_hash),
        [
            {
                "project_id": project_id,
                "prompt_id": prompt_id,
                "author_kind": "source",
                "source": source,
                "sampling": {},
                "content_hash": digest,
            }
            for prompt_id, (source, digest) in wanted
        ],
    )
    db.add_all(Step(trajectory_id=one.id, position=0, actor="agent", content=wanted[_key(one)]) for one in made.all())
    db.flush()
    there = db.execute(
        select(Trajectory.id, Trajectory.prompt_id, Trajectory.source, Trajectory.content_hash).where(
            Trajectory.prompt_id.in_({prompt_id for prompt_id, _ in wanted}),
            Trajectory.content_hash.in_({digest for _, (_, digest) in wanted}),
            Trajectory.author_kind == "source",
        )
    )
    return {_key(one): one.id for one in there}


def _key(row: Row[int, int, str | None, str]) -> tuple[int, Written]:
    return row.prompt_id, (row.source, row.content_hash)
