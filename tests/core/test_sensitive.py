"""Marks on prompts and tasks, and the lanes that hand nothing marked to who asked for none."""

import threading
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import handout, lanes, queue, sensitive
from app.core.database import UnitOfWork
from app.core.records import Assignment, Project, Prompt, Task, User
from app.core.standing import standing
from tests import factories
from tests.core.luck import Luck

A = {"overall": {"choice": "a"}}


@pytest.fixture
def person(db: Session) -> User:
    """Who wants nothing sensitive."""
    user = factories.make_user(db)
    user.preferences = {"sensitive": "never"}
    db.flush()
    return user


@pytest.fixture
def project(db: Session, person: User) -> Project:
    return factories.make_project(db, members={person: "annotator"})


def task_of(db: Session, project: Project, *, sensitive: bool, **options: Any) -> Task:
    return factories.make_task(db, factories.make_prompt(db, project, sensitive=sensitive), **options)


def handed(db: Session, project: Project, person: User, **options: Any) -> int | None:
    """The task of the next hand-out."""
    served = queue.next_task(db, project, person, **options)
    if served is None:
        return None
    return db.scalars(select(Assignment.task_id).where(Assignment.idempotency_key == served.key)).one()


def test_an_open_task_is_passed_over_and_others_get_it(db: Session, project: Project, person: User) -> None:
    marked = task_of(db, project, sensitive=True, priority=9)
    calm = task_of(db, project, sensitive=False)
    assert handed(db, project, person) == calm.id
    assert handed(db, project, factories.make_user(db)) == marked.id


def test_a_named_task_is_passed_over(db: Session, project: Project, person: User) -> None:
    task_of(db, project, sensitive=True, people=[person])
    assert handed(db, project, person) is None


def test_screening_hands_out_no_sensitive_gold(db: Session, person: User) -> None:
    project = factories.make_project(db, members={person: "annotator"}, pool={"screening_tasks": 2})
    gold = factories.make_gold(db, project, factories.make_user(db))
    sensitive.mark(db, project, [gold.prompt_id], None, sensitive=True)
    calm = task_of(db, project, sensitive=False)
    assert handed(db, project, person) == calm.id, "judged on the gold there is: none"
    other = factories.make_user(db)
    factories.add_member(db, project, other)
    assert handed(db, project, other) == gold.id


@pytest.mark.parametrize("lane", ["gold", "repeat"])
def test_chance_draws_nothing_sensitive(db: Session, person: User, lane: str, monkeypatch: pytest.MonkeyPatch) -> None:
    project = factories.make_project(db, members={person: "annotator"}, pool={"gold_rate": 0.2, "repeat_rate": 0.2})
    if lane == "gold":
        special = factories.make_gold(db, project, factories.make_user(db))
    else:
        special = task_of(db, project, sensitive=False)
        factories.make_preference(db, special, person)
        for _ in range(lanes.REPEAT_AFTER):
            factories.make_preference(db, task_of(db, project, sensitive=False), person)
    sensitive.mark(db, project, [special.prompt_id], None, sensitive=True)
    calm = task_of(db, project, sensitive=False)
    monkeypatch.setattr(handout, "chance", Luck(0.1 if lane == "gold" else 0.3))
    assert handed(db, project, person) == calm.id
    sensitive.mark(db, project, [special.prompt_id], None, sensitive=False)
    task_of(db, project, sensitive=False)
    held = db.scalars(select(Assignment.idempotency_key).where(Assignment.outcome.is_(None))).all()
    drawn = handed(db, project, person, have=held)
    assert drawn is not None
    assert special.id in (drawn, db.get_one(Task, drawn).repeat_of)


def test_a_repeat_has_the_mark_of_its_task(db: Session, project: Project, person: User) -> None:
    task = task_of(db, project, sensitive=True)
    factories.make_preference(db, task, person)
    for _ in range(lanes.REPEAT_AFTER):
        factories.make_preference(db, task_of(db, project, sensitive=False), person)
    found = lanes.copy_old(db, project.id, person.id)
    assert found is not None
    assert db.get_one(Task, found.task_id).sensitive
    assert lanes.copy_old(db, project.id, person.id, calm=True) is None


def test_a_project_may_treat_everything_as_sensitive(db: Session, project: Project, person: User) -> None:
    task = task_of(db, project, sensitive=False)
    project.settings = {"all_sensitive": True}
    assert handed(db, project, person) is None
    assert sensitive.only_these_left(db, project, person)
    other = factories.make_user(db)
    served = queue.next_task(db, project, other)
    assert served is not None
    assert served.sensitive
    assert db.get_one(Task, task.id).sensitive is False


def test_what_is_held_goes_back_when_somebody_opts_out_or_it_is_marked(
    db: Session, project: Project, person: User
) -> None:
    task = task_of(db, project, sensitive=False)
    served = queue.next_task(db, project, person)
    assert served is not None
    sensitive.mark(db, project, [task.prompt_id], None, sensitive=True)
    assert queue.next_task(db, project, person, have=[served.key]) is None, "it is on the screen and stays there"
    held = db.scalars(select(Assignment)).one()
    assert held.lease_until > queue.clock(db)
    assert queue.next_task(db, project, person) is None
    db.refresh(held)
    assert held.lease_until <= queue.clock(db)
    late = queue.submit(db, person, served.key, served.token, A)
    assert late.late, "kept all the same"
    task_of(db, project, sensitive=True)
    person.preferences = {}
    assert queue.next_task(db, project, person) is not None
    assert sensitive.give_back_all(db, person) == 1


def test_the_mark_moves_to_all_tasks_of_the_prompt_and_to_no_other_project(db: Session, project: Project) -> None:
    task, other = task_of(db, project, sensitive=False), task_of(db, project, sensitive=False)
    foreign = task_of(db, factories.make_project(db), sensitive=False)
    admin = factories.make_user(db)
    assert sensitive.mark(db, project, [task.prompt_id, foreign.prompt_id], admin, sensitive=True) == 1
    db.expire_all()
    assert [one.sensitive for one in (task, other, foreign)] == [True, False, False]
    assert db.get_one(Prompt, task.prompt_id).sensitive
    assert sensitive.mark(db, project, [task.prompt_id], admin, sensitive=True) == 0
    assert sensitive.mark(db, project, [task.prompt_id], admin, sensitive=False) == 1
    db.expire_all()
    assert not task.sensitive


def test_a_task_made_while_its_prompt_is_marked_has_the_mark(db: Session, uow: UnitOfWork, project: Project) -> None:
    """Who makes tasks and who marks wait for each other: neither order leaves a task without its mark."""
    prompt = factories.make_prompt(db, project)
    db.commit()
    begun, marked = threading.Event(), threading.Event()

    def mark() -> None:
        with uow() as other:
            begun.set()
            sensitive.mark(other, other.get_one(Project, project.id), [prompt.id], None, sensitive=True)
        marked.set()

    marking = threading.Thread(target=mark)
    with uow() as making:
        assert sensitive.marked_among(making, [prompt.id]) == set()
        marking.start()
        begun.wait(10)
        assert not marked.wait(0.3)
        task = factories.make_task(making, making.get_one(Prompt, prompt.id))
        number = task.id
    marking.join(10)
    db.expire_all()
    assert db.get_one(Task, number).sensitive


def test_only_these_are_left(db: Session, project: Project, person: User) -> None:
    assert not sensitive.only_these_left(db, project, person)
    task_of(db, project, sensitive=True)
    assert sensitive.only_these_left(db, project, person)
    calm = task_of(db, project, sensitive=False)
    assert not sensitive.only_these_left(db, project, person)
    queue.next_task(db, project, person)
    assert sensitive.only_these_left(db, project, person), "the other one is on the screen"
    assert calm.sensitive is False
    assert standing(db, project, person).why == ""
    person.preferences = {"sensitive": "blur"}
    assert not sensitive.only_these_left(db, project, person)


def test_undo_may_open_ones_own_again(db: Session, project: Project, person: User) -> None:
    task_of(db, project, sensitive=True)
    person.preferences = {}
    served = queue.next_task(db, project, person)
    assert served is not None
    queue.submit(db, person, served.key, served.token, A)
    person.preferences = {"sensitive": "never"}
    undone = queue.undo(db, project, person)
    assert undone is not None
    assert undone[1] is not None
    assert undone[1].sensitive
    assert queue.next_task(db, project, person) is None, "but it is not handed out"
