"""The queue under chance: hypothesis drives several people through leases, answers, undo and ended leases.

Among the tasks are gold ones, one for a single person, one that a person wrote part of; old ones are repeated.
"""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.core import handout, lanes, queue
from app.core.records import Assignment, Preference, Project, Task, User
from app.core.standing import hold
from tests import factories
from tests.core.luck import Luck

PEOPLE = st.integers(0, 2)
AFTER = 1
"""How many others lie between a task and its repeat."""
CHOICES = st.sampled_from(["a", "b", "same", "both_bad"])


class Queue(RuleBasedStateMachine):
    """The model: who answered which task how, and which keys were ever stored."""

    db: Session
    luck: Luck

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[int, list[queue.Served]] = defaultdict(list)
        self.spent: dict[int, list[queue.Served]] = defaultdict(list)
        self.closed: set[tuple[int, int]] = set()
        self.late = False

    @initialize(needed=st.lists(st.integers(1, 2), min_size=3, max_size=6), cap=st.sampled_from([0, 0, 4]))
    def begin(self, needed: list[int], cap: int) -> None:
        self.people: list[User] = [factories.make_user(self.db) for _ in range(3)]
        pool = {"gold_rate": 0.2, "repeat_rate": 0.2, "daily_cap": cap}
        self.project: Project = factories.make_project(self.db, pool=pool)
        self.cap = cap
        for places in needed:
            factories.make_task(self.db, factories.make_prompt(self.db, self.project), answers_needed=places)
        prompt = factories.make_prompt(self.db, self.project)
        self.named = factories.make_task(self.db, prompt, people=[self.people[0]], answers_needed=2).id
        pair = [factories.make_completion(self.db, prompt, "Mine.", user=self.people[1])]
        pair.append(factories.make_completion(self.db, prompt, "Not mine."))
        self.written = factories.make_task(self.db, prompt, pair, answers_needed=2, priority=1).id
        self.gold = {factories.make_gold(self.db, self.project, factories.make_user(self.db)).id for _ in range(2)}

    def task_of(self, served: queue.Served) -> int:
        return self.db.scalars(select(Assignment.task_id).where(Assignment.idempotency_key == served.key)).one()

    @rule(who=PEOPLE, luck=st.sampled_from([0.0, 0.3, 0.9, 0.9]))
    def take(self, who: int, luck: float) -> None:
        self.luck.always = luck
        self.take_one(who)

    def take_one(self, who: int, *, with_locks: bool = False) -> None:
        have = [served.key for served in self.held[who]]
        served = queue.next_task(self.db, self.project, self.people[who], have=have, with_locks=with_locks)
        if served is None:
            return
        task = self.task_of(served)
        assert (who, task) not in self.closed, "asked again"
        assert task != self.named or who == 0, "meant for somebody else"
        assert task != self.written or who != 1, "one's own words"
        self.repeats_are_ones_own(who, task)
        assert self.late or not self.cap or self.load(who) <= self.cap, "more than the day's cap"
        self.held[who].append(served)

    def repeats_are_ones_own(self, who: int, number: int) -> None:
        task = self.db.get_one(Task, number)
        if task.repeat_of is None:
            return
        assert task.assignees == [self.people[who].id]
        assert (who, task.repeat_of) in self.closed
        assert task.repeat_of not in self.gold
        copies = select(func.count()).where(Task.repeat_of == task.repeat_of, Task.assignees == task.assignees)
        assert self.db.scalars(copies).one() == 1

    def load(self, who: int) -> int:
        """What the person answered and holds."""
        mine = Assignment.user_id == self.people[who].id, Assignment.project_id == self.project.id
        lives = Assignment.outcome.is_(None) & (Assignment.lease_until > func.clock_timestamp())
        return self.db.scalars(select(func.count()).where(*mine, (Assignment.outcome == "answered") | lives)).one()

    @precondition(lambda self: any(self.held.values()))
    @rule(who=PEOPLE, choice=CHOICES, last=st.booleans(), go_on=st.booleans())
    def answer(self, who: int, choice: str, last: bool, go_on: bool) -> None:
        if not self.held[who]:
            return
        served = self.held[who].pop(-1 if last else 0)
        task = self.task_of(served)
        given = {"overall": {"choice": choice}}
        before = self.rows()
        if go_on:
            hold(self.db, self.project, self.people[who])
        outcome = queue.submit(self.db, self.people[who], served.key, served.token, given)
        assert outcome.kind == "answered"
        assert not outcome.replayed
        assert self.rows() == before + 1
        self.late = self.late or outcome.late
        self.closed.add((who, task))
        self.spent[who].append(served)
        if go_on:  # the next task comes with the acknowledgement
            self.take_one(who, with_locks=True)

    @precondition(lambda self: any(self.spent.values()))
    @rule(who=PEOPLE, data=st.data())
    def repeat(self, who: int, data: Any) -> None:
        if not self.spent[who]:
            return
        served = data.draw(st.sampled_from(self.spent[who]))
        before = self.rows()
        given = {"overall": {"choice": "b"}}
        assert queue.submit(self.db, self.people[who], served.key, served.token, given).replayed
        assert self.rows() == before

    @rule(who=PEOPLE, reported=st.booleans())
    def leave(self, who: int, reported: bool) -> None:
        if not self.held[who]:
            return
        served = self.held[who].pop(0)
        self.closed.add((who, self.task_of(served)))
        act = queue.report if reported else queue.skip
        act(self.db, self.people[who], served.key, served.token, "other")

    @rule(who=PEOPLE)
    def undo(self, who: int) -> None:
        undone = queue.undo(self.db, self.project, self.people[who])
        if undone is None:
            assert not any(person == who for person, _ in self.closed)
            return
        newest = self.db.scalars(
            select(Assignment.task_id).where(Assignment.user_id == self.people[who].id, Assignment.outcome.is_(None))
        ).all()
        self.closed -= {(who, task) for task in newest}
        if undone[1] is not None:
            self.held[who].append(undone[1])

    @rule()
    def leases_end(self) -> None:
        past = datetime.now(UTC) - timedelta(minutes=1)
        self.db.execute(update(Assignment).where(Assignment.outcome.is_(None)).values(lease_until=past))
        self.db.expire_all()
        self.late = True  # from here on answers may exceed what was asked
        # A browser that comes back asks anew; what it still shows may be sent late.

    def rows(self) -> int:
        return self.db.scalars(
            select(func.count()).select_from(Preference).where(Preference.project_id == self.project.id)
        ).one()

    @invariant()
    def places_are_kept(self) -> None:
        if not hasattr(self, "project"):
            return
        live = (
            select(func.count())
            .where(
                Assignment.task_id == Task.id,
                Assignment.outcome.is_(None),
                Assignment.lease_until > func.clock_timestamp(),
            )
            .scalar_subquery()
        )
        current = (
            select(func.count())
            .where(Assignment.task_id == Task.id, Assignment.outcome == "answered")
            .scalar_subquery()
        )
        states = self.db.execute(
            select(Task.id, Task.state, Task.answers, Task.answers_needed, live, current).where(
                Task.project_id == self.project.id
            )
        )
        for task, state, answers, needed, leases, stored in states:
            assert answers == stored, "the counter tells what is stored"
            if task in self.gold:
                assert state in ("done", "withdrawn")
                continue
            assert self.late or answers + leases <= needed
            assert state != "done" or answers >= needed
            assert state != "open" or answers < needed


def test_the_queue_keeps_its_promises(db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    Queue.db, Queue.luck = db, Luck(0.9)
    monkeypatch.setattr(handout, "chance", Queue.luck)
    monkeypatch.setattr(lanes, "REPEAT_AFTER", AFTER)
    run_state_machine_as_test(
        Queue,
        settings=settings(
            max_examples=40,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
