"""kill -9 of the database, the pages, the background worker and the whole group while people label: nothing is lost."""

import sys
from collections.abc import Iterator

import pytest

from tests import factories
from tests.faults.house import Annotator, House, check, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")


@pytest.fixture
def house(free_port: int) -> Iterator[House]:
    """A running Palate without a trainer."""
    house = House(free_port)
    house.start()
    yield house
    house.remove()


def _furnish(house: House, tasks: int, people: int) -> list[Annotator]:
    with house.uow()() as db:
        users = [factories.make_user(db, email=f"a{n}@example.org") for n in range(people)]
        project = factories.make_project(db, slug="p", members=dict.fromkeys(users, "annotator"))
        prompt = factories.make_prompt(db, project)
        for _ in range(tasks):
            factories.make_task(db, prompt)
    return [Annotator(house.url, "p", f"a{n}@example.org") for n in range(people)]


def test_no_acknowledged_label_is_lost(house: House) -> None:
    annotators = _furnish(house, tasks=150, people=2)
    for annotator in annotators:
        annotator.start()
    goal = 10
    for victim in ("web", "postgres", "background", "postgres", "web"):
        until(annotators, goal)
        house.kill(victim)
        goal += 10
    until(annotators, goal)
    house.kill_all()
    house.start()
    until(annotators, goal + 20)
    for annotator in annotators:
        annotator.enough.set()
        annotator.join(30)
    assert [a.problem for a in annotators if a.problem] == []
    assert sum(a.failures for a in annotators) > 0, "no kill was felt: the test killed nothing"
    check(house, annotators)
    assert house.pids().keys() == {"web", "background", "postgres"}
    assert house.stop() == 0


@pytest.mark.slow
def test_twenty_kills_in_a_row(house: House) -> None:
    annotators = _furnish(house, tasks=2000, people=4)
    for annotator in annotators:
        annotator.start()
    for number in range(20):
        until(annotators, 20 * number + 20, patience=120)
        house.kill(("web", "postgres", "background")[number % 3])
    until(annotators, 440, patience=120)
    for annotator in annotators:
        annotator.enough.set()
        annotator.join(30)
    check(house, annotators)
