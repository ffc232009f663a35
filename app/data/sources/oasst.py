"""Open-Assistant trees: several replies to a message, ranked (LAION, Apache-2.0).

Reads every *_tree.jsonl. A message of the person with at least two ranked replies becomes one ranking: the dialogue up
to it, and its ranked replies. Replies without a rank are left out. The ranks are the project's consensus of several
people whom the file does not name, so one worker, "consensus", gives them. A protocol shows a fixed number of answers,
so rankings of each size make a project of their own.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from app.core.errors import InvalidInput, Problem
from app.core.forms import MOST_ANSWERS
from app.core.records.base import Json
from app.data.sources.files import Dataset, answer, json_lines, project_file, rows_of

GUIDELINES = """Rank the replies of the assistant from best to worst, as the last message of the dialogue asks for."""
ROLES = {"prompter": "user", "assistant": "assistant"}


class Message(BaseModel):
    """One message of a tree, with what follows it."""

    message_id: str
    role: Literal["prompter", "assistant"]
    text: str
    rank: int | None = None
    synthetic: bool = False
    model_name: str | None = None
    replies: list["Message"] = []


class Tree(BaseModel):
    """One line of the file."""

    prompt: Message


def read(directory: Path) -> list[Dataset]:
    """One project for each number of ranked replies that occurs, from 2 to 9. Raises InvalidInput."""
    paths = sorted(directory.glob("*_tree.jsonl"))
    if not paths:
        raise InvalidInput([Problem("directory", f"There is no *_tree.jsonl in {directory}.")])
    sizes: dict[int, tuple[list[Json], list[Json]]] = {}
    for path in paths:
        for tree in rows_of(Tree, path, json_lines(path)):
            for dialogue, replies in _ranked(tree.prompt, []):
                comparisons, answers = sizes.setdefault(len(replies), ([], []))
                comparisons.append(_comparison(dialogue, replies))
                answers.append(_answer(dialogue[-1].message_id, replies))
    return [Dataset(f"oasst-{size}", _project(size), *sizes[size]) for size in sorted(sizes)]


def _ranked(message: Message, before: list[Message]) -> Iterator[tuple[list[Message], list[Message]]]:
    """Each message of the person with its dialogue and its ranked replies, as they stand in the file."""
    dialogue = [*before, message]
    if message.role == "prompter":
        ranked = [reply for reply in message.replies if reply.rank is not None]
        if 2 <= len(ranked) <= MOST_ANSWERS:
            yield dialogue, ranked
    for reply in message.replies:
        yield from _ranked(reply, dialogue)


def _comparison(dialogue: list[Message], replies: list[Message]) -> Json:
    return {
        "id": dialogue[-1].message_id,
        "messages": [{"role": ROLES[message.role], "content": message.text} for message in dialogue],
        "completions": [{"text": reply.text, "source": _source(reply)} for reply in replies],
        "answers_needed": 1,
        "metadata": {"message_ids": [reply.message_id for reply in replies]},
    }


def _answer(row_id: str, replies: list[Message]) -> Json:
    ranks = sorted({reply.rank for reply in replies if reply.rank is not None})
    tiers = [[slot for slot, reply in enumerate(replies) if reply.rank == rank] for rank in ranks]
    return answer(row_id, "consensus", "prefer" if len(tiers) > 1 else "tie", tiers)


def _source(reply: Message) -> str:
    return reply.model_name or "a model" if reply.synthetic else "a person"


def _project(size: int) -> Json:
    question = "From best to worst: how do the replies rank?"
    field = {"type": "rank", "key": "order", "question": question, "answers": size, "all_bad": False, "ties": True}
    return project_file(f"Open Assistant, {size} replies", GUIDELINES, field)
