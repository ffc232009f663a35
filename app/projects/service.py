"""What happens to projects: made, changed, paused, archived; guidelines and protocols get their next version."""

from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.core.errors import Conflict, InvalidInput, NotFound, Problem
from app.core.projects import ProjectSettings, protocol_of
from app.core.records import Guideline, Membership, Project, Protocol, User, record
from app.core.records.base import Json
from app.core.registry import ensure_base
from app.core.words import gettext, number

MOST_GUIDELINES = 100_000
"""Characters."""


def create_project(
    db: Session,
    user: User | None,
    *,
    name: str,
    slug: str,
    guidelines: str,
    fields: list[Json],
    base_model: str,
    settings: Json | None = None,
) -> Project:
    """A project with its first guidelines, protocol and live base policy; its maker, if known, becomes its admin."""
    if db.scalar(select(Project.id).where(Project.slug == slug)) is not None:
        raise InvalidInput([Problem("slug", gettext("Another project has this address."))])
    maker = None if user is None else user.id
    project = Project(slug=slug, name=name, settings=settings or {}, created_by=maker)
    db.add(project)
    db.flush()
    db.add(Guideline(project_id=project.id, version=1, text=checked_text(guidelines), author_id=maker))
    db.add(Protocol(project_id=project.id, version=1, fields=fields))
    if user is not None:
        db.add(Membership(project_id=project.id, user_id=user.id, role="admin"))
    db.flush()
    ensure_base(db, project, base_model)
    record(db, "created", f"projects:{project.id}", user_id=maker, project_id=project.id)
    return project


def save_settings(db: Session, project: Project, user: User, *, name: str, settings: ProjectSettings) -> None:
    """Store name and settings; the audit log keeps what changed, old and new."""
    new = settings.model_dump()
    old = ProjectSettings.model_validate(project.settings).model_dump()
    changed = {key: [old[key], new[key]] for key in new if old[key] != new[key]}
    if name != project.name:
        changed["name"] = [project.name, name]
    if changed:
        project.name, project.settings = name, new
        record(db, "changed settings", f"projects:{project.id}", user_id=user.id, project_id=project.id, **changed)


def save_protocol(db: Session, project: Project, user: User, fields: list[Json]) -> int:
    """Make these fields the next version, unless nothing changed. Returns the version in force."""
    if protocol_of(db, project).fields == fields:
        return project.protocol_version
    _lock(db, project)
    newest = db.scalar(select(func.max(Protocol.version)).where(Protocol.project_id == project.id)) or 0
    db.add(Protocol(project_id=project.id, version=newest + 1, fields=fields))
    project.protocol_version = newest + 1
    record(db, "changed protocol", f"projects:{project.id}", user_id=user.id, project_id=project.id, version=newest + 1)
    db.flush()
    return newest + 1


def guidelines_of(db: Session, project_id: int) -> list[tuple[Guideline, str | None]]:
    """All versions with their authors' names, the newest first."""
    rows = db.execute(
        select(Guideline, User.name)
        .outerjoin(User, User.id == Guideline.author_id)
        .where(Guideline.project_id == project_id)
        .order_by(Guideline.version.desc())
    )
    return [(guideline, name) for guideline, name in rows]


def save_guidelines(db: Session, project: Project, user: User, text: str, based_on: int) -> int:
    """Store the next version. Raises Conflict when somebody stored one since version `based_on` was opened."""
    text = checked_text(text)
    _lock(db, project)
    newest = db.scalars(
        select(Guideline).where(Guideline.project_id == project.id).order_by(Guideline.version.desc()).limit(1)
    ).first()
    version = newest.version if newest else 0
    if version != based_on:
        raise Conflict(
            gettext(
                "Version %(n)s was stored while you wrote. Your text is kept below; compare, then save again.",
                n=version,
            )
        )
    if newest is not None and newest.text == text:
        return version
    db.add(Guideline(project_id=project.id, version=version + 1, text=text, author_id=user.id))
    record(
        db, "changed guidelines", f"projects:{project.id}", user_id=user.id, project_id=project.id, version=version + 1
    )
    db.flush()
    return version + 1


def checked_text(text: str) -> str:
    """Guidelines as they are stored. Raises InvalidInput when they are too long."""
    text = text.replace("\r\n", "\n").strip()
    if len(text) > MOST_GUIDELINES:
        raise InvalidInput(
            [Problem("text", gettext("Guidelines have at most %(n)s characters.", n=number(MOST_GUIDELINES)))]
        )
    return text.replace("\0", "")


def set_paused(db: Session, project: Project, user: User, paused: bool) -> None:
    """Stop or go on handing out tasks. Saying it twice changes nothing."""
    if (project.paused_at is not None) != paused:
        project.paused_at = db.scalar(select(func.now())) if paused else None
        word = "paused labeling" if paused else "resumed labeling"
        record(db, word, f"projects:{project.id}", user_id=user.id, project_id=project.id)


def archive(db: Session, project: Project, user: User) -> None:
    """Take the project away from everybody's pages. Nothing is deleted; the owner can bring it back."""
    project.archived_at = db.scalar(select(func.now()))
    record(db, "archived", f"projects:{project.id}", user_id=user.id, project_id=project.id)


def restore(db: Session, slug: str, user: User) -> Project:
    """Bring an archived project back. Raises NotFound."""
    project: Any = db.scalar(
        update(Project)
        .where(Project.slug == slug, Project.archived_at.is_not(None))
        .values(archived_at=None)
        .returning(Project)
    )
    if project is None:
        raise NotFound
    record(db, "restored", f"projects:{project.id}", user_id=user.id, project_id=project.id)
    return db.get_one(Project, project.id)


def _lock(db: Session, project: Project) -> None:
    """One writer of versions at a time."""
    db.execute(select(Project.id).where(Project.id == project.id).with_for_update())
