"""Exports: the files that a choice of options becomes. Same choices on the same labels: the same bytes."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.core.errors import InvalidInput, NotFound, Problem
from app.core.records import Export, Guideline, Project, Protocol, Snapshot, record
from app.core.records.base import Json
from app.core.settings import Settings
from app.core.snapshots import matching, preference_ids, take_snapshot
from app.core.words import gettext
from app.data.beside import Beside, beside_of
from app.data.forms import ExportOptions
from app.data.shapes import SCHEMAS, rows_of
from app.data.writers import described, write_splits

CARD = "export.json"
PREVIEWED = 20
"""Labels that a preview looks at, at most."""


def preview(db: Session, settings: Settings, project: Project, options: ExportOptions, rows: int = 2) -> list[str]:
    """The first rows as they will be in the file, from the project's first labels: JSON with its long texts cut."""
    ids = list(db.scalars(matching(project.id, options.filter).limit(PREVIEWED)))
    key = settings.secret("pseudonym_key")
    found = islice(rows_of(db, ids, Beside(), options, slug=project.slug, key=key), rows)
    return [_on_lines(_cut(row)) for _, row in found]


def _on_lines(row: Json) -> str:
    """A row as JSON with one field on each line, and texts where a narrow column shows them."""
    fields = [f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in row.items()]
    return "{" + ",\n ".join(fields).replace(', "content": ', ',\n  "content": ') + "}"


def _cut(value: Any, length: int = 48) -> Any:
    """The same JSON with long texts and long lists of numbers cut short, to be looked at."""
    if isinstance(value, str):
        return value if len(value) <= length else value[: length - 1] + "…"
    if isinstance(value, dict):
        return {key: _cut(item) for key, item in value.items()}
    if isinstance(value, list):
        some = value if len(value) <= 6 or not isinstance(value[0], (int, float)) else [*value[:3], "…"]
        return [_cut(item) for item in some]
    return value


def create_export(
    db: Session, settings: Settings, project: Project, options: ExportOptions, *, user_id: int | None
) -> Export:
    """Freeze a snapshot, write the files and their card under home/exports, and record both. Raises InvalidInput."""
    db.execute(text("set local statement_timeout = '10min'"))
    snapshot = take_snapshot(db, project.id, options.filter.model_dump())
    export = Export(
        project_id=project.id,
        user_id=user_id,
        snapshot_id=snapshot.id,
        shape=options.shape,
        options=options.card(),
        counts={},
        files=[],
    )
    db.add(export)
    db.flush()
    key = settings.secret("pseudonym_key")
    with _staging(directory_of(settings, export)) as directory:
        rows = rows_of(
            db,
            preference_ids(db, snapshot.id),
            beside_of(db, project.id, options),
            options,
            slug=project.slug,
            key=key,
        )
        files = write_splits(directory, options.format, SCHEMAS[options.shape], rows)
        if not files:
            raise InvalidInput([Problem("labels", gettext("These choices leave no rows. Nothing was written."))])
        export.counts = {file["split"]: file["rows"] for file in files} | {"labels": snapshot.counts}
        card = _card(db, project, options, files, snapshot)
        (directory / CARD).write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        export.files = [*files, described(directory / CARD, "", 0)]
    record(db, "created export", f"exports:{export.id}", user_id=user_id, project_id=project.id, shape=options.shape)
    db.flush()
    return export


def loading_line(export: Export) -> str:
    """The line of Python that loads the files as they are."""
    data = [file for file in export.files if file["split"]]
    kind = "parquet" if data[0]["name"].endswith(".parquet") else "json"
    files = ", ".join(f'"{file["split"]}": "{file["name"]}"' for file in data)
    return f'load_dataset("{kind}", data_files={{{files}}})'


def directory_of(settings: Settings, export: Export) -> Path:
    """Where an export's files lie."""
    return settings.home / "exports" / f"{export.id:06}"


def export_of(db: Session, project_id: int, export_id: int) -> Export:
    """An export of this project, or NotFound."""
    export = db.get(Export, export_id)
    if export is None or export.project_id != project_id:
        raise NotFound
    return export


def exports_of(db: Session, project_id: int, limit: int = 50) -> list[Export]:
    """The newest exports of a project."""
    return list(
        db.scalars(select(Export).where(Export.project_id == project_id).order_by(Export.id.desc()).limit(limit))
    )


def file_of(settings: Settings, export: Export, name: str) -> Path:
    """The path of one file of an export; NotFound for any name that its row does not list."""
    if name not in {file["name"] for file in export.files}:
        raise NotFound
    path = directory_of(settings, export) / name
    if not path.is_file():
        raise NotFound(
            gettext("This file is no longer on the server. A new export with the same choices gives the same bytes.")
        )
    return path


@contextmanager
def _staging(target: Path) -> Iterator[Path]:
    """A directory that takes its name only when everything in it is written."""
    target.parent.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(dir=target.parent, prefix="staging-"))
    try:
        yield directory
        if target.exists():
            # Left by an export whose transaction never committed: its number is free again.
            shutil.rmtree(target)
        directory.rename(target)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _card(db: Session, project: Project, options: ExportOptions, files: list[Json], snapshot: Snapshot) -> Json:
    """Everything needed to read the files and to make them again; nothing that changes from one time to the next."""
    card: Json = {
        "format": "palate-export",
        "format_version": 1,
        "project": {"slug": project.slug, "name": project.name},
        "options": options.card(),
        "snapshot": {"hash": snapshot.content_hash, "filter": snapshot.filter, "counts": snapshot.counts},
        "files": files,
    }
    if options.native:
        guidelines = select(Guideline.version, Guideline.text).where(Guideline.project_id == project.id)
        protocols = select(Protocol.version, Protocol.fields).where(Protocol.project_id == project.id)
        card["guidelines"] = {str(v): words for v, words in db.execute(guidelines.order_by(Guideline.version))}
        card["protocols"] = {str(v): fields for v, fields in db.execute(protocols.order_by(Protocol.version))}
    return card


def snapshot_hash(db: Session, export: Export) -> str:
    """The hash of the labels that an export was made from."""
    return db.scalars(select(Snapshot.content_hash).where(Snapshot.id == export.snapshot_id)).one()
