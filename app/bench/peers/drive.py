"""People at full speed: each has a task, answers it, has the next, without a pause, until the time is over."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from app.bench.peers.client import Refused
from app.bench.peers.system import Notes, Seat, System
from app.bench.servers import cpu, machine_busy, memory

AGAIN = 0.2
"""Seconds until somebody who was refused, or for whom there was nothing, tries again."""
GRACE = 60.0
"""Seconds after the end in which an answer that is under way may still be acknowledged."""


@dataclass
class Driven:
    """What the people saw, and what it cost."""

    receipts: list[str] = field(default_factory=list)
    """Of all acknowledged answers, those after the end included."""
    in_time: int = 0
    """Acknowledged before the end."""
    seconds: float = 0.0
    """Until the end, or until the last acknowledgement where nothing was left to do."""
    whole: float = 0.0
    """Seconds with the grace: what the CPU figures are of."""
    times: dict[str, list[float]] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)
    given_up: int = 0
    """People whose last request had no answer within the grace."""
    requests: int = 0
    client_cpu: float = 0.0
    """Seconds of CPU of the load generator."""
    server_cpu: float = 0.0
    other_cpu: float = 0.0
    """Seconds of CPU that neither used, the host's theft included."""
    memory: float = 0.0
    """MiB of the server after the load."""


def drive(system: System, people: int, tasks: int, seconds: float) -> Driven:
    """Seat the people at an open system and let them work. At most `tasks` answers are wanted of all of them."""
    return asyncio.run(_drive(system, people, tasks, seconds))


async def _drive(system: System, people: int, tasks: int, seconds: float) -> Driven:
    seats = [await system.seat(number) for number in range(people)]
    driven, notes = Driven(), Notes()
    before = sum(seat.client.requests for seat in seats)
    client, server, busy, began = time.process_time(), cpu(system.pids), machine_busy(), time.monotonic()
    until = began + seconds
    await _work(seats, driven, notes, until=until, tasks=tasks)
    driven.whole = time.monotonic() - began
    driven.client_cpu = time.process_time() - client
    driven.server_cpu = cpu(system.pids) - server
    driven.other_cpu = max(0.0, machine_busy() - busy - driven.client_cpu - driven.server_cpu)
    driven.requests = sum(seat.client.requests for seat in seats) - before
    driven.memory = memory(system.pids)
    driven.receipts, driven.times = notes.receipts, notes.times
    driven.in_time = sum(at <= until for at in notes.told_at)
    done = len(notes.receipts) >= tasks
    driven.seconds = min(seconds, notes.told_at[-1] - began if done else driven.whole)
    for seat in seats:
        seat.client.close()
    return driven


async def _work(seats: Sequence[Seat], driven: Driven, notes: Notes, *, until: float, tasks: int) -> None:
    """All people at once, until the time is over or as many answers are acknowledged as are wanted."""

    async def work(seat: Seat) -> None:
        while time.monotonic() < until and len(notes.receipts) < tasks:
            try:
                busy = await seat.step(notes)
            except Refused as error:
                driven.refusals.append(str(error))
                busy = False
            if not busy:
                await asyncio.sleep(AGAIN)

    working = [asyncio.create_task(work(seat)) for seat in seats]
    _, late = await asyncio.wait(working, timeout=until + GRACE - time.monotonic())
    for one in late:
        one.cancel()
    for result in await asyncio.gather(*working, return_exceptions=True):
        if isinstance(result, asyncio.CancelledError):
            driven.given_up += 1
        elif isinstance(result, BaseException):
            raise result
