"""A House on the tiny model, with policy server and trainer, for tests of the whole loop."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.core.settings import Settings
from tests.conftest import unused_port
from tests.faults.house import House
from tests.tiny_model import make_tiny_model


@contextmanager
def training_house(directory: Path) -> Iterator[House]:
    """`palate up` with everything it has, on a tiny model written into `directory`."""
    house = House(
        unused_port(),
        train=True,
        PALATE_POLICY_PORT=str(unused_port()),
        PALATE_BASE_MODEL=str(make_tiny_model(directory / "tiny")),
        PALATE_DTYPE="float32",
        PALATE_THREADS="1",
    )
    try:
        house.start()
        yield house
    finally:
        house.remove()


def settings_of(house: House) -> Settings:
    """The settings that its processes have."""
    return Settings(
        home=house.home,
        port=house.port,
        policy_port=int(house.environment["PALATE_POLICY_PORT"]),
        base_model=house.environment["PALATE_BASE_MODEL"],
    )
