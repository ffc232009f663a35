"""Public data sets of human judgements, read into files that Palate takes: a project, its comparisons, the answers.

One file a data set. The formats of what is written: docs/formats.md.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

from app.core.records.base import Json
from app.data.sources import llmfao, oasst, pandalm
from app.data.sources.files import Dataset

READERS: dict[str, Callable[[Path], list[Dataset]]] = {
    "llmfao": llmfao.read,
    "oasst": oasst.read,
    "pandalm": pandalm.read,
}
"""By the name that `palate convert` takes."""


def write(dataset: Dataset, folder: Path) -> Path:
    """Write project.json, comparisons.jsonl and answers.jsonl into a folder; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "project.json").write_text(json.dumps(dataset.project, indent=1, ensure_ascii=False) + "\n", "utf-8")
    (folder / "comparisons.jsonl").write_text(_lines(dataset.comparisons), "utf-8")
    (folder / "answers.jsonl").write_text(_lines(dataset.answers), "utf-8")
    return folder


def _lines(rows: Iterable[Json]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
