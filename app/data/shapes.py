"""The shapes a dataset can leave in: rows as plain dictionaries, and their Arrow schemas. Fields: docs/formats.md."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
from sqlalchemy.orm import Session

from app.core.records.base import Json
from app.core.snapshots import PreferencePair, pairs_among
from app.data.beside import Beside
from app.data.forms import ExportOptions, Shape
from app.data.native import MESSAGES, NATIVE, native_rows

Shaped = Iterator[tuple[str, Json]]
"""Split and row."""

SCHEMAS: dict[Shape, pa.Schema] = {
    "trl": pa.schema([("prompt", MESSAGES), ("chosen", MESSAGES), ("rejected", MESSAGES)]),
    "trl-plain": pa.schema([("prompt", pa.string()), ("chosen", pa.string()), ("rejected", pa.string())]),
    "native": NATIVE,
}


def rows_of(db: Session, ids: Sequence[int], beside: Beside, options: ExportOptions, *, slug: str, key: str) -> Shaped:
    """The rows of these preferences, in the order they were answered.

    Only native has a place for what stands `beside` them. `key` makes the pseudonyms.
    """
    if options.native:
        yield from native_rows(db, ids, beside, options, slug=slug, key=key)
        return
    for pair in pairs_among(db, ids):
        yield from _trl(pair, options)


def _trl(pair: PreferencePair, options: ExportOptions) -> Shaped:
    orders = [(pair.first, pair.second), (pair.second, pair.first)]
    if pair.target != 0.5:
        orders = orders[:1] if pair.target > 0.5 else orders[1:]
    elif options.ties == "drop":
        orders = []
    for chosen, rejected in orders:
        if options.shape == "trl":
            yield pair.split, {"prompt": pair.messages, "chosen": _said(chosen), "rejected": _said(rejected)}
        else:
            yield pair.split, {"prompt": as_text(pair.messages), "chosen": f" {chosen}", "rejected": f" {rejected}"}


def _said(text: str) -> list[Json]:
    return [{"role": "assistant", "content": text}]


def as_text(messages: Sequence[Json]) -> str:
    """A dialogue as plain text that a completion can be appended to: speakers by name, open at the assistant's turn."""
    turns = [f"{message['role'].capitalize()}: {message['content']}" for message in messages]
    return "\n\n".join([*turns, "Assistant:"])
