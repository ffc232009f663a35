"""What real workers answered: a file of it, and one worker's memory, which knows tasks by what the page shows."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.core.comparisons import CheckedComparison, check_comparisons
from app.core.errors import InvalidInput, Problem
from app.core.jsonl import Words, lines_of, numbered, read_row
from app.simulation.page import ShownTask, plain_words
from app.web.markdown import to_html

LETTERS = "ab"
Shown = tuple[str, tuple[str, ...]]
"""What tells two tasks apart for a person: the last message as it is shown, and the answers' texts in no order."""


class AnswerRow(BaseModel):
    """One line of answers.jsonl: what one worker said about one row of comparisons.jsonl."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: str
    worker: Annotated[str, Field(min_length=1, max_length=60)]
    outcome: Literal["prefer", "best", "tie", "all_bad"]
    tiers: list[list[Annotated[int, Field(ge=0, le=8)]]]
    """Positions of the row's completions, best first."""
    strength: int | None = None


ANSWER_WORDS = Words(
    ("id", "worker", "outcome", "tiers", "strength"),
    {"missing": "Missing.", "extra_forbidden": "There is no such field.", "string_type": "Must be text."},
    {},
)


@dataclass(frozen=True)
class Recorded:
    """One answer with the row it is about."""

    row: CheckedComparison
    worker: str
    outcome: str
    tiers: list[list[int]]
    strength: int | None

    @property
    def shown(self) -> Shown:
        """How its task looks on the page."""
        texts = tuple(sorted(one.text for one in self.row.completions))
        return plain_words(to_html(self.row.messages[-1]["content"])), texts

    @property
    def name(self) -> str:
        """The row's id."""
        return self.row.external_id or ""

    def form(self, task: ShownTask) -> dict[str, str]:
        """What the worker sends for this task, whatever order its answers stand in. Equal texts are one to a person."""
        slots = _slots([one.text for one in self.row.completions], task.answers)
        tiers = [sorted(slots[position] for position in tier) for tier in self.tiers]
        if task.field == "compare":
            return self._side(tiers)
        if self.outcome == "all_bad":
            return {"choice": "all_bad"}
        if task.field == "choose":
            return {"choice": str(tiers[0][0] + 1)}
        return {"order": ">".join("=".join(str(slot + 1) for slot in tier) for tier in tiers)}

    def _side(self, tiers: list[list[int]]) -> dict[str, str]:
        if self.outcome in ("tie", "all_bad"):
            return {"choice": "same" if self.outcome == "tie" else "both_bad"}
        strength = {} if self.strength is None else {"strength": str(self.strength)}
        return {"choice": LETTERS[tiers[0][0]]} | strength


class Memory:
    """What one worker remembers having answered. Each answer is given once."""

    def __init__(self, recorded: Iterable[Recorded]) -> None:
        self._waiting: dict[Shown, list[Recorded]] = defaultdict(list)
        for one in recorded:
            self._waiting[one.shown].append(one)
        self.given: set[str] = set()
        """Ids of rows whose answer was given."""
        self.next: str | None = None
        """The row that the worker is about to meet: it decides between rows that look the same on the page."""

    def take(self, task: ShownTask) -> Recorded | None:
        """The recorded answer to what is shown, which then counts as given; None for a task that is not remembered."""
        waiting = self._waiting.get(_seen(task), [])
        found = next((one for one in waiting if one.name == self.next), waiting[0] if waiting else None)
        if found is not None:
            waiting.remove(found)
            self.given.add(found.name)
        return found


def _seen(task: ShownTask) -> Shown:
    return task.prompt, tuple(sorted(task.answers))


def read_recorded(folder: Path, segments: int) -> tuple[list[CheckedComparison], list[Recorded]]:
    """The rows of comparisons.jsonl in their order, and the answers of answers.jsonl.

    Raises InvalidInput that names file, line and field of what does not fit.
    """
    with _opened(folder / "comparisons.jsonl") as file:
        report = check_comparisons(lines_of(file), segments)
    if report.problems:
        raise InvalidInput([_in("comparisons.jsonl", problem) for problem in report.problems[:10]])
    rows = {row.external_id: row for row in report.good if row.external_id is not None}
    if len(rows) < len(report.good):
        raise InvalidInput([Problem("comparisons.jsonl", "Every row needs an id, so that answers can name it.")])
    recorded: list[Recorded] = []
    problems: list[Problem] = []
    with _opened(folder / "answers.jsonl") as file:
        for number, line in numbered(lines_of(file)):
            answer, wrong = read_row(AnswerRow, number, line, ANSWER_WORDS)
            problems += wrong
            if answer is not None:
                found = rows.get(answer.id)
                wrong = _misfits(answer, found, number)
                problems += wrong
                if found is not None and not wrong:
                    one = Recorded(found, answer.worker, answer.outcome, answer.tiers, answer.strength)
                    recorded.append(one)
    problems += _twice(recorded)
    if problems:
        raise InvalidInput([_in("answers.jsonl", problem) for problem in problems[:10]])
    return report.good, recorded


def _misfits(answer: AnswerRow, row: CheckedComparison | None, number: int) -> list[Problem]:
    if row is None:
        return [Problem("id", "comparisons.jsonl has no such row.", number, answer.id)]
    if sorted(position for tier in answer.tiers for position in tier) != list(range(len(row.completions))):
        return [Problem("tiers", "Must name each position once.", number, str(answer.tiers))]
    return []


def _twice(recorded: Sequence[Recorded]) -> list[Problem]:
    times = Counter((one.name, one.worker) for one in recorded)
    words = "One person answers a task once; this worker answers row {} more often."
    return [Problem("worker", words.format(name), found=worker) for (name, worker), n in times.items() if n > 1]


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise InvalidInput([Problem(str(path), f"Cannot be read: {error.strerror}.")]) from error
    with file:
        yield file


def _in(file: str, problem: Problem) -> Problem:
    where = f"{file}, row {problem.row}, {problem.field}" if problem.row else f"{file}, {problem.field}"
    return Problem(where, f"{problem.message} {problem.found}".rstrip(), problem.row)


def _slots(texts: Sequence[str], shown: Sequence[str]) -> dict[int, int]:
    """Which slot shows the completion at each position."""
    free = list(range(len(shown)))
    slots: dict[int, int] = {}
    for position, text in enumerate(texts):
        slots[position] = next(slot for slot in free if shown[slot] == text)
        free.remove(slots[position])
    return slots
