"""What is served: register, promote, roll back, refuse. One live deployment per project, held by an index."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.core.errors import Conflict, NotFound
from app.core.gate import gate
from app.core.records import Deployment, DeploymentPolicy, Model, Project, Round, record
from app.core.records.base import Json
from app.core.told import Stored
from app.core.words import gettext

__all__ = [
    "CHANNEL",
    "LivePolicy",
    "ensure_base",
    "gate",
    "live",
    "lock_project",
    "mark_serving",
    "previous",
    "promote",
    "refuse",
    "register",
    "roll_back",
    "step_back",
]

CHANNEL = "palate_deployments"
"""NOTIFY channel that tells policy servers to look at the live rows now."""


@dataclass(frozen=True)
class LivePolicy:
    """What a project serves: its live deployment and the model in it."""

    deployment_id: int
    model_id: int
    version: int
    artifact_hash: str | None
    base_model: str
    activated_at: datetime
    serving_at: datetime | None
    error: str | None

    @property
    def name(self) -> str:
        """v0, v1, …"""
        return f"v{self.version}"


def ensure_base(db: Session, project: Project, base_model: str) -> Model:
    """The project's policy version 0 (the base model without an adapter), made and deployed on first use."""
    lock_project(db, project.id)
    base = db.scalar(select(Model).where(Model.project_id == project.id, Model.role == "policy", Model.version == 0))
    if base is None:
        base = Model(project_id=project.id, role="policy", version=0, base_model=base_model)
        db.add(base)
        db.flush()
    if live(db, project.id) is None:
        _activate(db, project.id, base.id, reason=Stored.BASE.of())
    return base


def register(  # noqa: PLR0917  (nine facts make one row; callers name them)
    db: Session,
    project_id: int,
    role: str,
    run_id: int | None,
    parent_id: int | None,
    artifact_hash: str | None,
    base_model: str,
    normalisation: Json | None = None,
    metrics: Json | None = None,
) -> Model:
    """Store a model as the next version of its role. A run that registers again (after a resume) gets the same row."""
    lock_project(db, project_id)
    if run_id is not None:
        again = db.scalar(
            select(Model).where(
                Model.run_id == run_id, Model.role == role, Model.artifact_hash.is_not_distinct_from(artifact_hash)
            )
        )
        if again is not None:
            return again
    newest = db.scalar(select(func.max(Model.version)).where(Model.project_id == project_id, Model.role == role))
    model = Model(
        project_id=project_id,
        role=role,
        version=1 if newest is None else newest + 1,
        base_model=base_model,
        parent_id=parent_id,
        run_id=run_id,
        artifact_hash=artifact_hash,
        normalisation=normalisation or {},
        metrics=metrics or {},
    )
    db.add(model)
    db.flush()
    return model


def live(db: Session, project_id: int) -> LivePolicy | None:
    """What the project serves now (its heaviest policy), or None before the base model is deployed."""
    row = db.execute(
        select(Deployment, Model)
        .join(DeploymentPolicy, DeploymentPolicy.deployment_id == Deployment.id)
        .join(Model, Model.id == DeploymentPolicy.model_id)
        .where(Deployment.project_id == project_id, Deployment.state == "live")
        .order_by(DeploymentPolicy.weight.desc(), Model.id)
        .limit(1)
    ).first()
    if row is None:
        return None
    deployment, model = row
    return LivePolicy(
        deployment_id=deployment.id,
        model_id=model.id,
        version=model.version,
        artifact_hash=model.artifact_hash,
        base_model=model.base_model,
        activated_at=deployment.activated_at,
        serving_at=deployment.serving_at,
        error=deployment.error,
    )


def promote(
    db: Session,
    project_id: int,
    model_id: int,
    *,
    user_id: int | None = None,
    round_id: int | None = None,
    reason: str = "",
) -> Deployment:
    """Make a policy the live one. Raises NotFound (no such policy here) or Conflict (already live, or a lost race)."""
    model = _policy(db, project_id, model_id)
    now = live(db, project_id)
    if now is not None and now.model_id == model_id:
        raise Conflict(gettext("%(name)s is live already.", name=model.name))
    deployment = _activate(db, project_id, model_id, user_id=user_id, round_id=round_id, reason=reason)
    if round_id is not None:
        db.execute(update(Round).where(Round.id == round_id).values(state="live", finished_at=func.now()))
    record(
        db,
        "promoted",
        f"models:{model_id}",
        user_id=user_id,
        project_id=project_id,
        version=model.name,
        instead_of=now.name if now else None,
        round_id=round_id,
        reason=reason,
    )
    return deployment


def roll_back(db: Session, project_id: int, *, user_id: int | None, reason: str) -> Deployment:
    """Serve the policy that was live before this one again. Raises Conflict when there was none."""
    now = live(db, project_id)
    before = previous(db, project_id)
    if now is None or before is None:
        raise Conflict(gettext("There is no earlier policy to roll back to."))
    deployment = _activate(db, project_id, before.id, user_id=user_id, reason=reason)
    record(
        db,
        "rolled back",
        f"models:{before.id}",
        user_id=user_id,
        project_id=project_id,
        version=before.name,
        instead_of=now.name,
        reason=reason,
    )
    return deployment


def previous(db: Session, project_id: int) -> Model | None:
    """The policy that a roll-back would serve."""
    model_id = step_back(_history(db, project_id))
    return None if model_id is None else db.get(Model, model_id)


def step_back(history: Iterable[int]) -> int | None:
    """Where a roll-back goes, from the model ids that were live in order: a return undoes the step it returns from."""
    stack: list[int] = []
    for model_id in history:
        if stack and stack[-1] == model_id:
            continue
        if len(stack) > 1 and stack[-2] == model_id:
            stack.pop()
        else:
            stack.append(model_id)
    return stack[-2] if len(stack) > 1 else None


def mark_serving(db: Session, deployment_id: int) -> None:
    """The policy server answers with this deployment now."""
    db.execute(
        update(Deployment)
        .where(Deployment.id == deployment_id, Deployment.serving_at.is_(None))
        .values(serving_at=func.now(), error=None)
    )


def refuse(db: Session, deployment_id: int, error: str) -> Deployment | None:
    """The policy server cannot serve this: record why, and make the policy before it live again as a new row.

    Returns the new deployment; None when another one is live already, or nothing came before (then the row stays
    live with its error, so that pages can say it).
    """
    deployment = db.scalars(select(Deployment).where(Deployment.id == deployment_id).with_for_update()).one_or_none()
    if deployment is None:
        raise NotFound
    deployment.error = error
    history = _history(db, deployment.project_id, but=deployment_id)
    if deployment.state != "live" or not history:
        db.flush()
        return None
    deployment.state = "refused"
    deployment.retired_at = db.scalar(select(func.now()))
    db.flush()
    restored = _activate(db, deployment.project_id, history[-1], reason=Stored.RESTORED.of(why=error))
    _tell_round(db, deployment, error)
    record(
        db,
        "refused to serve",
        f"deployments:{deployment_id}",
        project_id=deployment.project_id,
        error=error,
        restored_model_id=history[-1],
    )
    return restored


def lock_project(db: Session, project_id: int) -> None:
    """Serialise what counts upwards per project (versions, round numbers). Does not stop anybody from labeling."""
    db.execute(select(Project.id).where(Project.id == project_id).with_for_update(key_share=True))


def _activate(
    db: Session,
    project_id: int,
    model_id: int,
    *,
    user_id: int | None = None,
    round_id: int | None = None,
    reason: str = "",
) -> Deployment:
    db.execute(
        update(Deployment)
        .where(Deployment.project_id == project_id, Deployment.state == "live")
        .values(state="retired", retired_at=func.now())
    )
    deployment = Deployment(project_id=project_id, round_id=round_id, reason=reason, activated_by=user_id)
    try:
        with db.begin_nested():
            db.add(deployment)
            db.flush()
            db.add(DeploymentPolicy(deployment_id=deployment.id, model_id=model_id))
            db.flush()
    except IntegrityError as error:
        if "uq_deployments_live" not in str(error.orig):
            raise
        raise Conflict(
            gettext("Somebody else changed what is live a moment ago. Look at it, then decide again.")
        ) from error
    db.refresh(deployment)
    db.execute(text("select pg_notify(:channel, :project)"), {"channel": CHANNEL, "project": str(project_id)})
    return deployment


def _policy(db: Session, project_id: int, model_id: int) -> Model:
    model = db.get(Model, model_id)
    if model is None or model.project_id != project_id or model.role != "policy":
        raise NotFound(gettext("There is no such policy in this project."))
    return model


def _history(db: Session, project_id: int, but: int | None = None) -> list[int]:
    """Model ids of every deployment that was ever served here, oldest first."""
    query = (
        select(DeploymentPolicy.model_id)
        .join(Deployment, Deployment.id == DeploymentPolicy.deployment_id)
        .where(Deployment.project_id == project_id, Deployment.state != "refused")
        .order_by(Deployment.id)
    )
    return list(db.scalars(query if but is None else query.where(Deployment.id != but)))


def _tell_round(db: Session, deployment: Deployment, error: str) -> None:
    if deployment.round_id is not None:
        db.execute(
            update(Round)
            .where(Round.id == deployment.round_id, Round.state == "live")
            .values(state="refused", note=Stored.UNSERVED.of(why=error))
        )
