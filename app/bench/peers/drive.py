"""People at full speed: each has a task, answers it, has the next, without a pause, until the time is over."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from app.bench.peers.client import Refused
from app.bench.peers.servers import cpu, machine_busy, memory
from app.bench.peers.system import Notes, Seat, System

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
    last = await _work(seats, driven, notes, until=began + seconds, tasks=tasks)
    driven.whole = time.monotonic() - began
    driven.client_cpu = time.process_time() - client
    driven.server_cpu = cpu(system.pids) - server
    driven.other_cpu = max(0.0, machine_busy() - busy - driven.client_cpu - driven.server_cpu)
    driven.requests = sum(seat.client.requests for seat in seats) - before
    driven.memory = memory(system.pids)
    driven.seconds = min(seconds, (last - began) if len(driven.receipts) >= tasks else driven.whole)
    driven.times = notes.times
    for seat in seats:
        seat.client.close()
    return driven


async def _work(seats: Sequence[Seat], driven: Driven, notes: Notes, *, until: float, tasks: int) -> float:
    """All people at once. Returns when the last acknowledgement came."""
    last = time.monotonic()

    async def work(seat: Seat) -> None:
        nonlocal last
        while time.monotonic() < until and len(driven.receipts) < tasks:
            try:
                receipt = await seat.step(notes)
            except Refused as error:
                driven.refusals.append(str(error))
                await asyncio.sleep(AGAIN)
                continue
            if receipt is None:
                await asyncio.sleep(AGAIN)
                continue
            driven.receipts.append(receipt)
            last = time.monotonic()
            driven.in_time += last <= until

    working = [asyncio.create_task(work(seat)) for seat in seats]
    _, late = await asyncio.wait(working, timeout=until + GRACE - time.monotonic())
    for one in late:
        one.cancel()
    for result in await asyncio.gather(*working, return_exceptions=True):
        if isinstance(result, asyncio.CancelledError):
            driven.given_up += 1
        elif isinstance(result, BaseException):
            raise result
    return last
