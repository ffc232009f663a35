"""PandaLM's test set: three annotators compared two models' answers to an instruction (Apache-2.0).

Reads testset-v1.json. `cmp_key` names the two models in the order of the responses. Six responses are the JSON value
true, where the models had written the word: they are read as "True".
"""

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator

from app.core.errors import InvalidInput, Problem
from app.data.sources.files import Dataset, answer, project_file, read_text, rows_of

FIELD = {"type": "compare", "key": "overall", "question": "Which response is better?", "tie": True, "both_bad": False}
GUIDELINES = """Compare two responses to an instruction. Look at correctness, conciseness, whether the instruction is
followed, clarity and comprehensiveness. Choose *Same* where neither is better."""
Text = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, bool) else value)]
Verdict = Literal[0, 1, 2]


class Item(BaseModel):
    """One element of the list."""

    idx: int
    cmp_key: str
    motivation_app: str
    instruction: Text
    input: Text
    response1: Text
    response2: Text
    annotator1: Verdict
    annotator2: Verdict
    annotator3: Verdict


def read(directory: Path) -> list[Dataset]:
    """One project: every item with three places. Raises InvalidInput."""
    path = directory / "testset-v1.json"
    try:
        values = json.loads(read_text(path))
    except ValueError as error:
        raise InvalidInput([Problem(path.name, "Not JSON.")]) from error
    if not isinstance(values, list):
        raise InvalidInput([Problem(path.name, "Must be a list of items.")])
    items = rows_of(Item, path, values)
    comparisons, answers = [], []
    for item in items:
        names = item.cmp_key.split("_")
        if len(names) != 2:
            raise InvalidInput([Problem("cmp_key", "Must name two models.", item.idx, item.cmp_key)])
        comparisons.append(
            {
                "id": str(item.idx),
                "prompt": "\n\n".join(text for text in (item.instruction, item.input) if text.strip()),
                "completions": [
                    {"text": item.response1, "source": names[0]},
                    {"text": item.response2, "source": names[1]},
                ],
                "answers_needed": 3,
                "metadata": {"motivation_app": item.motivation_app},
            }
        )
        for number, verdict in enumerate((item.annotator1, item.annotator2, item.annotator3), start=1):
            tiers = [[0, 1]] if verdict == 0 else [[verdict - 1], [2 - verdict]]
            answers.append(answer(str(item.idx), str(number), "prefer" if verdict else "tie", tiers))
    return [Dataset("pandalm", project_file("PandaLM", GUIDELINES, FIELD), comparisons, answers)]
