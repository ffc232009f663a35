"""Which side a prompt is on, and when two prompts are the same: pure functions of the text, so neither ever moves."""

import hashlib
import json
from collections.abc import Mapping, Sequence

TRAIN_SHARE = 0.8
"""The rest is held out for validation. Test stays empty unless an importer names it."""


def origin_of(messages: Sequence[Mapping[str, str]]) -> str:
    """What a prompt goes back to: its first user message, without case and spacing.

    Two dialogues that open alike share their origin, so that they can never stand on both sides of the split.
    """
    opening = next((message["content"] for message in messages if message["role"] == "user"), "")
    return " ".join(opening.casefold().split())


def split_of(origin: str) -> str:
    """train (80 %) or validation (20 %), by a hash of the origin that no setting and no seed enters."""
    digest = hashlib.sha256(b"palate split 1\n" + origin.encode()).digest()
    return "train" if int.from_bytes(digest[:8]) < TRAIN_SHARE * 2**64 else "validation"


def content_hash(messages: Sequence[Mapping[str, str]]) -> str:
    """SHA-256 in hex of the roles and contents, in order, and of nothing else."""
    canonical = [[message["role"], message["content"]] for message in messages]
    return hashlib.sha256(json.dumps(canonical, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


def text_hash(text: str) -> str:
    """SHA-256 in hex of what was written: with its author, the identity of a completion."""
    return hashlib.sha256(text.encode()).hexdigest()
