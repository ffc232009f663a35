"""Several simulated annotators at work at once."""

import secrets
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from app.core.database import UnitOfWork
from app.core.people import make_invite
from app.core.projects import project_by_slug
from app.core.settings import Settings
from app.simulation.annotator import Annotator
from app.simulation.character import Character


@dataclass
class Tally:
    """What a crowd did."""

    wanted: int
    choices: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    errors: list[str] = field(default_factory=list)

    @property
    def placed(self) -> int:
        """Acknowledged labels."""
        return sum(self.choices.values())

    @property
    def rate(self) -> float:
        """Labels per minute."""
        return 60 * self.placed / self.seconds if self.seconds else 0.0


def server_address(settings: Settings) -> str:
    """Where the pages of a running `palate up` answer."""
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104  compared with only
    return f"http://{host}:{settings.port}"


class Crowd:
    """Annotators of one project. They join through invite links, which is the only thing done past the pages."""

    def __init__(
        self, uow: UnitOfWork, settings: Settings, project: str, character: Character, *, count: int, seed: int
    ) -> None:
        batch = secrets.token_hex(3)
        self.annotators: list[Annotator] = []
        for number in range(1, count + 1):
            with uow() as db:
                invite = make_invite(db, "annotator", project_id=project_by_slug(db, project).id, created_by=None)
            annotator = Annotator(
                server_address(settings),
                project,
                character,
                seed=seed * 1000 + number,
                name=f"Simulated {batch} {number}",
            )
            annotator.join(invite, f"simulated-{batch}-{number}@example.org")
            self.annotators.append(annotator)

    def label(self, labels: int, *, patience: float = 600) -> Tally:
        """Place this many labels together. Gives up when no task was to be had for `patience` seconds."""
        tally, lock, began = Tally(labels), threading.Lock(), time.monotonic()
        left = labels

        def take() -> bool:
            nonlocal left
            with lock:
                left -= 1
                return left >= 0

        def give_back() -> None:
            nonlocal left
            with lock:
                left += 1

        def work(annotator: Annotator) -> None:
            until = time.monotonic() + patience
            while time.monotonic() < until:
                tasks, csrf = annotator.tasks()
                for task in tasks:
                    if not take():
                        return
                    choice = annotator.answer(task, csrf)
                    until = time.monotonic() + patience
                    with lock:
                        tally.choices[choice] += 1
                if not tasks:
                    if not take():
                        return
                    give_back()
                    time.sleep(1)

        def work_and_tell(annotator: Annotator) -> None:
            try:
                work(annotator)
            except Exception as error:  # noqa: BLE001  a thread has nobody else to tell
                with lock:
                    tally.errors.append(f"{annotator.name}: {error}")

        threads = [threading.Thread(target=work_and_tell, args=(annotator,)) for annotator in self.annotators]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        tally.seconds = time.monotonic() - began
        return tally

    def close(self) -> None:
        """Close all browsers."""
        for annotator in self.annotators:
            annotator.close()
