"""Files of a dataset: one per split, written row by row in bounded memory, the same bytes for the same rows."""

import os
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from app.core.artifacts import hash_file
from app.core.records.base import Json
from app.data.forms import Format

ROW_GROUP = 1000
"""Rows that a Parquet file collects before it writes them down."""


class Writer(Protocol):
    """A file that takes rows and is finished when its `with` block ends."""

    rows: int

    def add(self, row: Json) -> None:
        """Append one row."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class JsonLines:
    """One JSON object per line, UTF-8."""

    def __init__(self, path: Path) -> None:
        self.rows = 0
        self._file: BinaryIO = path.open("xb")

    def add(self, row: Json) -> None:
        self._file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        self.rows += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


class Parquet:
    """Row groups of a thousand rows, compressed with Zstandard."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.rows = 0
        self._schema = schema
        self._waiting: list[Json] = []
        self._file = pq.ParquetWriter(path, schema, compression="zstd")

    def add(self, row: Json) -> None:
        self._waiting.append(row)
        self.rows += 1
        if len(self._waiting) == ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._file.write_batch(pa.RecordBatch.from_pylist(self._waiting, schema=self._schema))
            self._waiting.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._flush()
        self._file.close()


def write_splits(
    directory: Path, file_format: Format, schema: pa.Schema, rows: Iterable[tuple[str, Json]]
) -> list[Json]:
    """Write rows to directory/SPLIT.FORMAT; a split without rows has no file.

    Returns [{name, split, rows, bytes, sha256}, …] in the order of the splits' names.
    """
    open_files: dict[str, Writer] = {}
    with ExitStack() as files:
        for split, row in rows:
            if split not in open_files:
                path = directory / f"{split}.{file_format}"
                writer: Writer = Parquet(path, schema) if file_format == "parquet" else JsonLines(path)
                open_files[split] = files.enter_context(writer)
            open_files[split].add(row)
    return [
        described(directory / f"{split}.{file_format}", split, open_files[split].rows) for split in sorted(open_files)
    ]


def described(path: Path, split: str, rows: int) -> Json:
    """Name, hash and size of a finished file, after it has reached the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return {"name": path.name, "split": split, "rows": rows, "bytes": path.stat().st_size, "sha256": hash_file(path)}
