"""LLMFAO: crowd workers compared two models' answers (D. Ustalov, CC BY 4.0).

Reads pairs-crowd.jsonl (texts), models.jsonl (names), crowd-comparisons.csv (who said what) and crowd-instruction.md
(what the workers read). Items whose texts are equal stay separate items, and empty answers stay answers.
"""

import csv
import io
from collections import Counter
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from app.core.errors import InvalidInput, Problem
from app.data.sources.files import Dataset, answer, json_lines, project_file, read_text, rows_of

FIELD = {
    "type": "compare",
    "key": "overall",
    "question": "Which system produced the better output?",
    "tie": True,
    "both_bad": False,
}
"""The workers were told to choose Tie where both are wrong as well."""


class Pair(BaseModel):
    """One item of pairs-crowd.jsonl."""

    id: int
    text: str
    type: str
    slug: str
    model_x: int
    result_x: str
    model_y: int
    result_y: str


class Model(BaseModel):
    """One line of models.jsonl."""

    id: int
    name: str


class Judgement(BaseModel):
    """One line of crowd-comparisons.csv."""

    id: int
    worker: str
    winner: Literal["left", "right", "tie"]
    left: str
    right: str


def read(directory: Path) -> list[Dataset]:
    """One project: every pair with as many places as it has answers. Raises InvalidInput."""
    models = directory / "models.jsonl"
    names = {model.id: model.name for model in rows_of(Model, models, json_lines(models))}
    texts = directory / "pairs-crowd.jsonl"
    pairs = {pair.id: pair for pair in rows_of(Pair, texts, json_lines(texts))}
    said = directory / "crowd-comparisons.csv"
    judgements = rows_of(Judgement, said, csv.DictReader(io.StringIO(read_text(said), newline="")))
    answers = [_answer(judgement, pairs, names) for judgement in judgements]
    people = Counter(judgement.id for judgement in judgements)
    comparisons = [
        {
            "id": str(pair.id),
            "prompt": pair.text,
            "completions": [
                {"text": pair.result_x, "source": names[pair.model_x]},
                {"text": pair.result_y, "source": names[pair.model_y]},
            ],
            "answers_needed": people[pair.id],
            "metadata": {"type": pair.type, "slug": pair.slug},
        }
        for pair in pairs.values()
        if people[pair.id]
    ]
    guidelines = read_text(directory / "crowd-instruction.md")
    return [Dataset("llmfao", project_file("LLMFAO", guidelines, FIELD), comparisons, answers)]


def _answer(said: Judgement, pairs: dict[int, Pair], names: dict[int, str]) -> dict[str, object]:
    pair = pairs.get(said.id)
    shown = [] if pair is None else [names.get(pair.model_x), names.get(pair.model_y)]
    if sorted(filter(None, shown)) != sorted((said.left, said.right)):
        raise InvalidInput([Problem("crowd-comparisons.csv", "No pair of these two models has this id.", said.id)])
    if said.winner == "tie":
        return answer(str(said.id), said.worker, "tie", [[0, 1]])
    best = shown.index(said.left if said.winner == "left" else said.right)
    return answer(str(said.id), said.worker, "prefer", [[best], [1 - best]])
