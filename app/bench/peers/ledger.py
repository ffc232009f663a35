"""What was acknowledged against what is stored. The server's own store is read after it has stopped."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Stored:
    """One answer in a server's store."""

    task: str
    person: str
    receipt: str
    """What the server's acknowledgement named: one answer's id, its key, or whatever tells it from the others."""


@dataclass(frozen=True)
class Balance:
    """How the acknowledgements and the store differ."""

    acknowledged: int
    stored: int
    lost: int
    """Acknowledged, and not there."""
    untold: int
    """There, and never acknowledged: the person saw an error, or had to wait too long, and does not know."""
    surplus: int
    """Answers beyond those that a task asked for."""
    doubled: int
    """Answers of somebody to a task that they had answered already; also counted as surplus where the task is full."""

    @property
    def exact(self) -> bool:
        """Whether every acknowledged answer is there, once, and no task has more than it asked for."""
        return not (self.lost or self.surplus or self.doubled)


def balance(receipts: Iterable[str], stored: Iterable[Stored], *, wanted: int) -> Balance:
    """Compare the receipts of all acknowledged answers with the store. `wanted` answers were asked for per task."""
    told, rows = Counter(receipts), list(stored)
    there = Counter(row.receipt for row in rows)
    by_task = Counter(row.task for row in rows)
    by_hand = Counter((row.task, row.person) for row in rows)
    return Balance(
        acknowledged=told.total(),
        stored=len(rows),
        lost=(told - there).total(),
        untold=(there - told).total(),
        surplus=sum(count - wanted for count in by_task.values() if count > wanted),
        doubled=sum(count - 1 for count in by_hand.values()),
    )
