"""The figures of the overview. Counts only; no query touches a text that people or models wrote."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Integer, case, cast, distinct, func, select
from sqlalchemy.orm import Session, aliased

from app.core import registry, runs
from app.core.gold import answered_right, handed_out_as_gold
from app.core.projects import ProjectSettings, settings_of
from app.core.records import (
    Assignment,
    Model,
    Preference,
    Project,
    Prompt,
    Round,
    Run,
    RunMetric,
    Task,
    WorkerState,
)
from app.core.snapshots import is_current, is_ordinary

SILENT = timedelta(seconds=30)
"""A worker that gave no sign of life for so long is said to be away."""
FEWEST_SHARED = 40
"""Tasks seen by two people, below which agreement is not shown."""


@dataclass(frozen=True)
class Labels:
    """Answers that hold now."""

    total: int
    today: int
    people_today: int
    week: int
    newest: datetime | None
    new: int
    """Pairs since the last round's snapshot."""


@dataclass(frozen=True)
class Overview:
    """Everything the overview says, as numbers and rows."""

    project: Project
    settings: ProjectSettings
    now: datetime
    prompts: dict[str, int]
    sources: int
    open_tasks: int
    labels: Labels
    pairs: dict[str, int]
    live: registry.LivePolicy | None
    round: Round | None
    runs: list[Run]
    candidate: Model | None
    reward: list[tuple[int, float]]
    """(round number, held-out accuracy) of the two newest reward models, newest first."""
    reports: int
    workers: dict[str, WorkerState]

    def silent(self, name: str) -> bool:
        """Whether this worker is known and gave no sign of life lately."""
        state = self.workers.get(name)
        return state is not None and self.now - state.seen_at > SILENT


def overview(db: Session, project: Project) -> Overview:
    """The state of a project at this moment."""
    newest = db.scalar(select(Round).where(Round.project_id == project.id).order_by(Round.number.desc()).limit(1))
    prompts = dict(
        iter(
            db.execute(
                select(Prompt.split, func.count(Prompt.id))
                .where(Prompt.project_id == project.id, Prompt.archived_at.is_(None))
                .group_by(Prompt.split)
            )
        )
    )
    return Overview(
        project=project,
        settings=settings_of(project),
        now=db.execute(select(func.now())).scalar_one(),
        prompts=prompts,
        sources=db.scalar(select(func.count(distinct(Prompt.source))).where(Prompt.project_id == project.id)) or 0,
        open_tasks=db.scalar(select(func.count(Task.id)).where(Task.project_id == project.id, Task.state == "open"))
        or 0,
        labels=_labels(db, project.id),
        pairs=runs.pair_counts(db, project.id),
        live=registry.live(db, project.id),
        round=newest,
        runs=list(db.scalars(select(Run).where(Run.round_id == newest.id).order_by(Run.position))) if newest else [],
        candidate=db.get(Model, newest.candidate_model_id) if newest and newest.candidate_model_id else None,
        reward=_reward(db, project.id),
        reports=_reports(db, project.id),
        workers={state.name: state for state in db.scalars(select(WorkerState))},
    )


def _labels(db: Session, project_id: int) -> Labels:
    day = func.date_trunc("day", func.now())
    today = Preference.created_at >= day
    row = db.execute(
        select(
            func.count(Preference.id),
            func.count(case((today, 1))),
            func.count(distinct(case((today, Preference.user_id)))),
            func.count(case((Preference.created_at >= func.now() - timedelta(days=7), 1))),
            func.max(Preference.created_at),
        ).where(Preference.project_id == project_id, is_current())
    ).one()
    return Labels(row[0], row[1], row[2], row[3], row[4], runs.labels_since_last_round(db, project_id))


def _reward(db: Session, project_id: int) -> list[tuple[int, float]]:
    newest = func.row_number().over(partition_by=Run.id, order_by=RunMetric.step.desc())
    last = (
        select(Round.number, RunMetric.value, newest.label("place"))
        .join(Run, Run.id == RunMetric.run_id)
        .join(Round, Round.id == Run.round_id)
        .where(Round.project_id == project_id, RunMetric.name == "reward/held_out_accuracy")
        .subquery()
    )
    rows = db.execute(
        select(last.c.number, last.c.value).where(last.c.place == 1).order_by(last.c.number.desc()).limit(2)
    )
    return [(number, value) for number, value in rows]


def _reports(db: Session, project_id: int) -> int:
    query = select(func.count(Assignment.id)).where(
        Assignment.project_id == project_id, Assignment.outcome == "reported"
    )
    return db.scalar(query) or 0


def left_chosen(db: Session, project_id: int) -> tuple[int, int]:
    """How often the answer shown on the left was preferred, of how many decided comparisons."""
    best = cast(Preference.tiers[0][0].astext, Integer)
    row = db.execute(
        select(func.count(case((best == Assignment.display_order[1], 1))), func.count(Preference.id))
        .join(Assignment, Assignment.id == Preference.assignment_id)
        .where(
            Preference.project_id == project_id,
            Preference.outcome == "prefer",
            func.cardinality(Assignment.display_order) == 2,
            is_current(),
        )
    ).one()
    return row[0], row[1]


def agreement(db: Session, project_id: int) -> tuple[int, int, int]:
    """Pairs of people who answered one ordinary task alike, all such pairs, and the tasks they are from."""
    other = aliased(Preference)
    replaced = aliased(Preference)
    row = db.execute(
        select(
            func.count(case((Preference.tiers == other.tiers, 1))),
            func.count(Preference.id),
            func.count(distinct(Preference.task_id)),
        )
        .join(
            other,
            (other.task_id == Preference.task_id)
            & (other.field == Preference.field)
            & (other.user_id > Preference.user_id),
        )
        .join(Task, Task.id == Preference.task_id)
        .where(
            Preference.project_id == project_id,
            is_ordinary(),
            is_current(),
            ~other.withdrawn,
            ~select(replaced.id).where(replaced.supersedes_id == other.id).exists(),
        )
    ).one()
    return row[0], row[1], row[2]


def gold(db: Session, project_id: int) -> tuple[int, int]:
    """Answers to tasks whose right answer was known when they were handed out: how many were right, of how many."""
    row = db.execute(
        select(func.count(case((answered_right(), 1))), func.count(Assignment.id))
        .join(Task, Task.id == Assignment.task_id)
        .where(Assignment.project_id == project_id, Assignment.outcome == "answered", handed_out_as_gold())
    ).one()
    return row[0], row[1]


def wins_against_base(db: Session, project_id: int) -> list[tuple[str, float]]:
    """(version, win rate against the base as the reward model estimates it) of each candidate, oldest first."""
    rows = db.execute(
        select(Model.version, RunMetric.value)
        .join(Round, Round.candidate_model_id == Model.id)
        .join(Run, Run.round_id == Round.id)
        .join(RunMetric, RunMetric.run_id == Run.id)
        .where(Round.project_id == project_id, RunMetric.name == "evaluate/win_rate_base")
        .order_by(Model.version, RunMetric.step)
    )
    return [(f"v{version}", value) for version, value in dict(iter(rows)).items()][-12:]
