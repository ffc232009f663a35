"""What the page of models shows: every policy with its state, where it comes from, and what was live when."""

from dataclasses import dataclass

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from app.core import registry
from app.core.errors import NotFound
from app.core.records import Deployment, DeploymentPolicy, Model, Round, Run, Trajectory, User
from app.core.records.base import Json
from app.core.told import told
from app.core.words import N_

HISTORY = 30


@dataclass(frozen=True)
class ModelRow:
    """One policy: its state as a pill, its round, and the figures it was judged by."""

    model: Model
    state: str
    """One of PILLS."""
    pill: tuple[str, str]
    round: Round | None
    reward: str | None
    checks: dict[str, Json]
    why: str


@dataclass(frozen=True)
class DeploymentRow:
    """One line of the history of what was live."""

    deployment: Deployment
    name: str
    by: str | None


def policies(db: Session, project_id: int) -> list[ModelRow]:
    """All policies of a project, newest first."""
    live, before = registry.live(db, project_id), registry.previous(db, project_id)
    rewards = dict(iter(db.execute(_reward_versions(project_id))))
    refused = dict(
        iter(
            db.execute(
                select(DeploymentPolicy.model_id, Deployment.error)
                .join(Deployment, Deployment.id == DeploymentPolicy.deployment_id)
                .where(Deployment.project_id == project_id, Deployment.state == "refused")
                .order_by(Deployment.id)
            )
        )
    )
    rows = db.execute(
        select(Model, Round)
        .outerjoin(Run, Run.id == Model.run_id)
        .outerjoin(Round, Round.id == Run.round_id)
        .where(Model.project_id == project_id, Model.role == "policy")
        .order_by(Model.version.desc())
    )
    found = []
    for model, made_by in rows:
        state = _state(model, made_by, live.model_id if live else None, before.id if before else None, refused)
        verdict = made_by.verdict if made_by else {}
        why = told(refused.get(model.id) or "")
        if made_by is not None and made_by.state == "refused" and not why:
            why = told(made_by.note or verdict.get("sentence", ""))
        reward = rewards.get(made_by.id) if made_by else None
        found.append(
            ModelRow(
                model=model,
                state=state,
                pill=PILLS[state],
                round=made_by,
                reward=None if reward is None else f"r{reward}",
                checks={check["name"]: check for check in verdict.get("checks", [])},
                why=why,
            )
        )
    return found


PILLS = {
    "live": ("good", N_("Live")),
    "unserved": ("bad", N_("Could not be served")),
    "candidate": ("wait", N_("Candidate")),
    "refused": ("bad", N_("Refused")),
    "before": ("", N_("Ready to roll back")),
    "base": ("", N_("Base")),
    "retired": ("", N_("Retired")),
}
"""What a policy's state looks like."""


def _state(
    model: Model, made_by: Round | None, live: int | None, before: int | None, refused: dict[int, str | None]
) -> str:
    if model.id == live:
        return "live"
    if model.id in refused:
        return "unserved"
    if made_by is not None and made_by.state in ("waiting", "refused"):
        return "candidate" if made_by.state == "waiting" else "refused"
    if model.id == before:
        return "before"
    return "base" if model.version == 0 else "retired"


def _reward_versions(project_id: int) -> Select[int, int]:
    return (
        select(Run.round_id, Model.version)
        .join(Run, Run.id == Model.run_id)
        .where(Model.project_id == project_id, Model.role == "reward")
    )


def history(db: Session, project_id: int) -> list[DeploymentRow]:
    """What was live, newest first."""
    rows = db.execute(
        select(Deployment, Model.version, User.name)
        .join(DeploymentPolicy, DeploymentPolicy.deployment_id == Deployment.id)
        .join(Model, Model.id == DeploymentPolicy.model_id)
        .outerjoin(User, User.id == Deployment.activated_by)
        .where(Deployment.project_id == project_id)
        .order_by(Deployment.id.desc())
        .limit(HISTORY)
    )
    return [DeploymentRow(deployment, f"v{version}", name) for deployment, version, name in rows]


def written_by(db: Session, model_id: int) -> int:
    """How many completions of this policy are stored (counted up to 100,000)."""
    some = select(Trajectory.id).where(Trajectory.model_id == model_id).limit(100_000).subquery()
    return db.scalar(select(func.count()).select_from(some)) or 0


def policy_of(db: Session, project_id: int, version: int) -> Model:
    """The policy with this version; raises NotFound."""
    found = db.scalar(
        select(Model).where(Model.project_id == project_id, Model.role == "policy", Model.version == version)
    )
    if found is None:
        raise NotFound
    return found


def waiting_round(db: Session, model_id: int) -> int | None:
    """The round that waits for a decision about this candidate, if one does."""
    return db.scalar(select(Round.id).where(Round.candidate_model_id == model_id, Round.state == "waiting"))
