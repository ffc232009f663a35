"""The rounds of `palate bench peers`: every system in turn, same people, same tasks; then in the opposite order."""

import json
import os
import platform
import shutil
import statistics
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.bench.peers.drive import Driven, drive
from app.bench.peers.feedloop import Feedloop
from app.bench.peers.label_studio import LabelStudio
from app.bench.peers.ledger import Balance, balance
from app.bench.peers.palate import Palate
from app.bench.peers.potato import Potato
from app.bench.peers.system import Say, System
from app.bench.peers.tasks import Pair, pairs_from
from app.core.errors import InvalidInput, Problem
from app.core.settings import release

WANTED = 1
"""Answers that each task asks for."""
PEERS: dict[str, type[LabelStudio | Potato | Feedloop]] = {
    "label-studio": LabelStudio,
    "potato": Potato,
    "feedloop": Feedloop,
}
NAMES = ("palate", *PEERS)


@dataclass(frozen=True)
class Plan:
    """What is compared."""

    systems: tuple[str, ...]
    people: tuple[int, ...]
    tasks: int
    """Most tasks of a round."""
    seconds: float
    repetitions: int
    pairs: Path | None
    environments: Path
    """Holds a virtual environment for each peer, by its name; made where missing."""
    each: int = 400
    """Most tasks of a round for each person: some systems deal them in advance, and many slow them down."""
    web_workers: int = 1

    def tasks_for(self, people: int) -> int:
        """How many tasks a round with this many people has."""
        return min(self.tasks, self.each * people)

    def validate(self) -> None:
        """Raises InvalidInput."""
        for name in self.systems:
            if name not in NAMES:
                raise InvalidInput([Problem("--with", f"There is no {name!r}; there are {', '.join(NAMES)}.")])
        if not self.systems or len(set(self.systems)) < len(self.systems):
            raise InvalidInput([Problem("--with", "Name every system once.")])
        if not self.people or min(self.people) < 1:
            raise InvalidInput([Problem("--people", "Say how many people, as in 1,10,50.")])
        if self.tasks < max(self.people):
            raise InvalidInput([Problem("--tasks", "There must be a task for each person at least.")])


def run(plan: Plan, say: Say) -> dict[str, Any]:
    """Every round, its figures, and what the machine was."""
    plan.validate()
    pairs = pairs_from(plan.pairs, plan.tasks)
    home = Path(tempfile.mkdtemp(prefix="palate-peers-"))
    home.chmod(0o711)
    rounds: list[dict[str, Any]] = []
    try:
        systems = [_made(name, plan, home) for name in plan.systems]
        for system in systems:
            system.prepare(say)
        for repetition in range(plan.repetitions):
            for people in plan.people:
                for system in systems if repetition % 2 == 0 else systems[::-1]:
                    directory = Path(tempfile.mkdtemp(prefix=f"{system.name}-", dir=home))
                    found = one_round(system, pairs[: plan.tasks_for(people)], people, plan.seconds, directory)
                    rounds.append(
                        {
                            "repetition": repetition + 1,
                            "people": people,
                            "tasks": plan.tasks_for(people),
                            "system": system.name,
                        }
                        | found
                    )
                    say(f"{people} people at {system.name}: {_briefly(found)}")
                    shutil.rmtree(directory, ignore_errors=True)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return {"plan": asdict(plan), "machine": _machine(), "versions": _versions(plan), "rounds": rounds}


def one_round(system: System, pairs: list[Pair], people: int, seconds: float, directory: Path) -> dict[str, Any]:
    """Open, drive, stop, and compare what was said with what is stored."""
    try:
        system.open(pairs, people, directory)
        driven = drive(system, people, len(pairs) * WANTED, seconds)
        system.stop()
        return figures(driven, balance(driven.receipts, system.stored(), wanted=WANTED))
    finally:
        system.stop()
        system.clean()


def figures(driven: Driven, kept: Balance) -> dict[str, Any]:
    """One round as JSON."""
    rate = driven.in_time / (driven.seconds or 1.0)
    cores = (os.cpu_count() or 1) * (driven.whole or 1.0)
    return {
        "labels_per_second": rate,
        "kept_per_second": rate * (1 - kept.lost / max(1, kept.acknowledged)),
        "next_ms": _spread(driven.times.get("next", [])),
        "submit_ms": _spread(driven.times.get("submit", [])),
        **asdict(kept),
        "exact": kept.exact,
        "refusals": len(driven.refusals),
        "first_refusals": driven.refusals[:5],
        "given_up": driven.given_up,
        "seconds": driven.seconds,
        "requests": driven.requests,
        "client_ms_per_request": 1000 * driven.client_cpu / max(1, driven.requests),
        "client_share": driven.client_cpu / cores,
        "server_ms_per_label": 1000 * driven.server_cpu / max(1, len(driven.receipts)),
        "other_share": driven.other_cpu / cores,
        "memory_mib": driven.memory,
    }


def _made(name: str, plan: Plan, home: Path) -> System:
    directory = home / name
    directory.mkdir()
    if name == "palate":
        return Palate(directory, web_workers=plan.web_workers)
    return PEERS[name](directory, plan.environments / name)


def _spread(values: list[float]) -> dict[str, float] | None:
    if not values:
        return None
    cuts = statistics.quantiles(values, n=20, method="inclusive") if len(values) > 1 else values * 19
    return {"p50": statistics.median(values), "p95": cuts[18], "max": max(values), "requests": len(values)}


def _briefly(found: dict[str, Any]) -> str:
    kept = f"{found['acknowledged']} acknowledged, {found['stored']} stored, {found['lost']} lost"
    return f"{found['labels_per_second']:.1f} labels/s, {kept}, {found['surplus']} surplus, {found['doubled']} doubled"


def _machine() -> dict[str, Any]:
    return {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()}


def _versions(plan: Plan) -> dict[str, str]:
    ours = {"palate": release()} if "palate" in plan.systems else {}
    return ours | {name: peer.requirement for name, peer in PEERS.items() if name in plan.systems}


def store(found: dict[str, Any], path: Path) -> None:
    """Write all figures as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1, default=str) + "\n")
