"""The project list: where one worked last, and what waits there."""

from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from sqlalchemy import ColumnElement, Select, any_, exists, func, literal, select
from sqlalchemy.orm import Session

from app.core.records import Assignment, Deployment, DeploymentPolicy, Membership, Model, Project, Round, Task, User

Value = TypeVar("Value")
MOST_COUNTED = 1_000
"""More waiting tasks than this are shown as "1,000 or more"."""


@dataclass(frozen=True)
class Card:
    """One project as its member sees it in the list."""

    project: Project
    role: str
    waiting: int
    """Open tasks this person may still answer, counted up to MOST_COUNTED."""
    decisions: int
    """Rounds that wait for an admin; 0 for everybody else."""
    live: str | None
    people_today: int
    worked: bool
    """Whether the person was ever served a task here."""


def cards(db: Session, user: User) -> list[Card]:
    """The person's projects, the one they worked in last first."""
    mine = select(Project, Membership.role).outerjoin(
        Membership, (Membership.project_id == Project.id) & (Membership.user_id == user.id)
    )
    visible = (
        Project.archived_at.is_(None) if user.owner else Project.archived_at.is_(None) & Membership.id.is_not(None)
    )
    last = _by_project(
        db,
        select(Assignment.project_id, func.max(Assignment.served_at))
        .where(Assignment.user_id == user.id)
        .group_by(Assignment.project_id),
    )
    rows = [(project, "owner" if user.owner else role) for project, role in db.execute(mine.where(visible))]
    rows.sort(key=lambda row: (last[row[0].id].timestamp() if row[0].id in last else 0.0, row[0].id), reverse=True)
    decisions, live, people = _decisions(db), _live(db), _people_today(db)
    return [
        Card(
            project,
            role,
            waiting=waiting(db, project.id, user.id) if role != "viewer" else 0,
            decisions=decisions.get(project.id, 0) if role in ("owner", "admin") else 0,
            live=f"v{live[project.id]}" if project.id in live else None,
            people_today=people.get(project.id, 0),
            worked=project.id in last,
        )
        for project, role in rows
    ]


def archived(db: Session) -> list[Project]:
    """Archived projects, the newest first, for the owner."""
    found = select(Project).where(Project.archived_at.is_not(None)).order_by(Project.archived_at.desc())
    return list(db.scalars(found))


def waiting(db: Session, project_id: int, user_id: int) -> int:
    """Open tasks the person was never served, counted up to MOST_COUNTED."""
    served: ColumnElement[bool] = exists().where(Assignment.task_id == Task.id, Assignment.user_id == user_id)
    theirs = Task.assignees.is_(None) | (literal(user_id) == any_(Task.assignees))
    some = select(Task.id).where(Task.project_id == project_id, Task.state == "open", theirs, ~served)
    some = some.limit(MOST_COUNTED)
    return db.scalar(select(func.count()).select_from(some.subquery())) or 0


def _decisions(db: Session) -> dict[int, int]:
    found = select(Round.project_id, func.count()).where(Round.state == "waiting").group_by(Round.project_id)
    return _by_project(db, found)


def _live(db: Session) -> dict[int, int]:
    return _by_project(
        db,
        select(Deployment.project_id, func.max(Model.version))
        .join(DeploymentPolicy, DeploymentPolicy.deployment_id == Deployment.id)
        .join(Model, Model.id == DeploymentPolicy.model_id)
        .where(Deployment.state == "live")
        .group_by(Deployment.project_id),
    )


def _people_today(db: Session) -> dict[int, int]:
    return _by_project(
        db,
        select(Assignment.project_id, func.count(func.distinct(Assignment.user_id)))
        .where(Assignment.submitted_at > func.now() - timedelta(days=1))
        .group_by(Assignment.project_id),
    )


def _by_project(db: Session, query: Select[int, Value]) -> dict[int, Value]:
    return {row[0]: row[1] for row in db.execute(query)}
