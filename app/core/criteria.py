"""Criteria as rows: what ratings are about. A changed scale or name is the next version, so old values keep theirs."""

from collections.abc import Iterable, Sequence

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.core.errors import Conflict
from app.core.forms import CriterionSpec, Field
from app.core.records import Criterion
from app.core.words import gettext

TRIES = 5


def criterion_ids(db: Session, project_id: int, fields: Sequence[Field], keys: Iterable[str]) -> dict[str, int]:
    """The ids of these criteria by key, as the fields describe them; made where they are new."""
    wanted = set(keys)
    specs = [spec for field in fields for spec in field.criteria() if spec.key in wanted]
    return {spec.key: _one(db, project_id, spec) for spec in specs}


def _one(db: Session, project_id: int, spec: CriterionSpec) -> int:
    same = (
        Criterion.project_id == project_id,
        Criterion.key == spec.key,
        Criterion.name == spec.name,
        Criterion.scale == spec.scale,
    )
    newest = select(func.coalesce(func.max(Criterion.version), 0) + 1).where(
        Criterion.project_id == project_id, Criterion.key == spec.key
    )
    for _ in range(TRIES):
        found = db.scalar(select(Criterion.id).where(*same).order_by(Criterion.version.desc()).limit(1))
        if found is not None:
            return found
        made: int | None = db.scalar(
            insert(Criterion)
            .values(
                project_id=project_id,
                key=spec.key,
                name=spec.name,
                scale=spec.scale,
                version=newest.scalar_subquery(),
            )
            .on_conflict_do_nothing(index_elements=["project_id", "key", "version"])
            .returning(Criterion.id)
        )
        if made is not None:
            return made
        # Somebody else made this version at the same moment: theirs may be ours.
    raise Conflict(
        gettext("Many people answer this form for the first time at once. Nothing was stored; send it again.")
    )
