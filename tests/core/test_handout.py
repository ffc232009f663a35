"""Who gets which task: priorities, named people, own work, gold, repeats, caps, screening."""

import random
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest
from scipy.stats import binomtest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.core import gold, handout, lanes, queue, runs
from app.core.errors import Conflict, InvalidInput
from app.core.records import Assignment, Membership, Preference, Project, Task, User
from app.core.snapshots import take_snapshot
from app.core.standing import standing
from tests import factories
from tests.core.luck import Luck

A = {"overall": {"choice": "a"}}
MIXED = {"gold_rate": 0.2, "repeat_rate": 0.2}
GOLD, REPEAT, ORDINARY = 0.0, 0.3, 0.9
"""What the draw of a hand-out may give at these rates."""


@pytest.fixture
def luck(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """`luck(GOLD)`: every draw from now on gives gold, where there is one."""
    return lambda always: monkeypatch.setattr(handout, "chance", Luck(always))


@pytest.fixture
def person(db: Session) -> User:
    return factories.make_user(db)


@pytest.fixture
def admin(db: Session) -> User:
    return factories.make_user(db)


@pytest.fixture
def project(db: Session, person: User, admin: User) -> Project:
    return factories.make_project(db, members={person: "annotator", admin: "admin"}, pool=MIXED)


def tasks(db: Session, project: Project, count: int, *, needed: int = 1) -> list[Task]:
    return [factories.make_task(db, factories.make_prompt(db, project), answers_needed=needed) for _ in range(count)]


def given(db: Session, project: Project, user: User) -> Task | None:
    """The task that the person gets now."""
    served = queue.next_task(db, project, user)
    return task_of(db, served) if served else None


def task_of(db: Session, served: queue.Served) -> Task:
    return db.scalars(
        select(Task).join(Assignment, Assignment.task_id == Task.id).where(Assignment.idempotency_key == served.key)
    ).one()


def answer(db: Session, project: Project, user: User, said: dict[str, dict[str, str]] = A) -> Task:
    """Take the next task, answer it, and say which it was."""
    served = queue.next_task(db, project, user)
    assert served is not None
    queue.submit(db, user, served.key, served.token, said)
    return task_of(db, served)


def answer_truly(db: Session, project: Project, user: User, *, right: bool) -> Task:
    """Answer a gold task as its gold says, or the other way round."""
    served = queue.next_task(db, project, user)
    assert served is not None
    assignment = db.scalars(select(Assignment).where(Assignment.idempotency_key == served.key)).one()
    task = db.get_one(Task, assignment.task_id)
    assert task.gold is not None
    slot = assignment.display_order.index(task.gold["tiers"][0][0])
    queue.submit(db, user, served.key, served.token, {"overall": {"choice": "ab"[slot if right else 1 - slot]}})
    return task


def test_priority_comes_before_age(db: Session, project: Project, person: User) -> None:
    first, second, third = tasks(db, project, 3)
    second.priority, third.priority = 5, -1
    assert [answer(db, project, person).id for _ in range(3)] == [second.id, first.id, third.id]


def test_a_named_task_comes_first_for_its_people_and_never_for_others(
    db: Session, project: Project, person: User, admin: User
) -> None:
    [anyone] = tasks(db, project, 1, needed=2)
    anyone.priority = 9
    named = factories.make_task(db, factories.make_prompt(db, project), people=[admin], answers_needed=2)
    assert answer(db, project, person).id == anyone.id
    assert given(db, project, person) is None, "what is left is for somebody else"
    assert [answer(db, project, admin).id for _ in range(2)] == [named.id, anyone.id]
    assert given(db, project, admin) is None


def test_nobody_judges_what_they_wrote(db: Session, project: Project, person: User, admin: User) -> None:
    prompt = factories.make_prompt(db, project)
    own = factories.make_completion(db, prompt, "I would say so.", user=person)
    pair = [factories.make_completion(db, prompt, "The model's."), own]
    plain = factories.make_task(db, prompt, pair)
    named = factories.make_task(db, prompt, pair, people=[person])
    factories.make_gold(db, project, admin, pair)
    assert given(db, project, person) is None
    named.assignees = [admin.id]
    assert [answer(db, project, admin).id for _ in range(2)] == [named.id, plain.id]


def test_gold_is_answered_by_everybody_once_and_taught_to_nobody(
    db: Session, project: Project, person: User, admin: User, luck: Callable[[float], None]
) -> None:
    tasks(db, project, 3, needed=9)
    task = factories.make_gold(db, project, admin)
    luck(GOLD)
    people = [person, *(factories.make_user(db) for _ in range(3))]
    assert {answer(db, project, one).id for one in people} == {task.id}
    assert task.id not in {answer(db, project, one).id for one in people}, "never twice"
    assert task.id not in {answer(db, project, admin).id for _ in range(3)}, "who made it knows it"
    db.refresh(task)
    assert (task.state, task.answers) == ("done", 4)
    on_gold = set(db.scalars(select(Preference.id).where(Preference.task_id == task.id)))
    assert len(on_gold) == 4
    kept = set(take_snapshot(db, project.id).preference_ids)
    assert len(kept) == 7
    assert not kept & on_gold
    assert runs.labels_since_last_round(db, project.id) == 7
    assert runs.pair_counts(db, project.id)["train"] == 7
    assert on_gold < set(take_snapshot(db, project.id, {"gold": True}).preference_ids)


def test_gold_comes_only_in_place_of_another_task(
    db: Session, project: Project, person: User, admin: User, luck: Callable[[float], None]
) -> None:
    """Otherwise somebody who has finished would be dripped gold."""
    factories.make_gold(db, project, admin)
    luck(GOLD)
    assert given(db, project, person) is None


def test_undo_and_report_of_gold(
    db: Session, project: Project, person: User, admin: User, luck: Callable[[float], None]
) -> None:
    tasks(db, project, 2)
    task = factories.make_gold(db, project, admin)
    luck(GOLD)
    assert answer(db, project, person).id == task.id
    undone = queue.undo(db, project, person)
    assert undone is not None
    assert undone[1] is not None, "there is always a place in gold"
    db.refresh(task)
    assert (task.state, task.answers) == ("done", 0)
    queue.report(db, person, undone[1].key, undone[1].token, "broken")
    db.refresh(task)
    assert task.state == "withdrawn"
    assert given(db, project, factories.make_user(db)) != task, "held back from everybody"
    assert queue.undo(db, project, person) is not None
    db.refresh(task)
    assert task.state == "done"


def test_right_is_what_the_gold_says_in_whatever_order(
    db: Session, project: Project, person: User, admin: User
) -> None:
    project.settings = {"pool": {"screening_tasks": 12}}
    for choice in ("a", "b") * 6:
        factories.make_gold(db, project, admin, choice=choice)
    said = [number % 3 != 0 for number in range(12)]
    for right in said:
        answer_truly(db, project, person, right=right)
    assert gold.marks(db, project.id, 50) == {person.id: said}
    assert {tuple(order) for order in db.scalars(select(Assignment.display_order))} == {(0, 1), (1, 0)}


@pytest.mark.parametrize("said", ["same", "both_bad"])
def test_a_tie_is_not_both_bad(db: Session, project: Project, person: User, admin: User, said: str) -> None:
    """Both have one tier; only the outcome tells them apart."""
    project.settings = {"pool": {"screening_tasks": 1}}
    factories.make_gold(db, project, admin, choice="same")
    answer(db, project, person, {"overall": {"choice": said}})
    assert gold.marks(db, project.id, 1) == {person.id: [said == "same"]}


def test_answers_from_before_the_gold_prove_nothing(db: Session, project: Project, person: User, admin: User) -> None:
    [task] = tasks(db, project, 1)
    answer(db, project, person)
    gold.make_gold_as_agreed(db, task.id, admin)
    assert gold.marks(db, project.id, 9) == {}
    gold.unmake_gold(db, task.id, admin)
    db.refresh(task)
    assert (task.state, task.gold) == ("done", None)
    assert db.scalars(select(Task.id).where(Task.gold.is_(None))).all() == [task.id], "SQL null, not JSON's"


def test_what_cannot_be_gold_is_refused(db: Session, project: Project, person: User, admin: User) -> None:
    [task] = tasks(db, project, 1, needed=2)
    with pytest.raises(InvalidInput, match="not one of the answers"):
        gold.make_gold(db, task.id, {"choice": "maybe"}, admin)
    for user, tiers in ((person, [[0], [1]]), (admin, [[1], [0]])):
        factories.make_preference(db, task, user, tiers=tiers)
    with pytest.raises(Conflict, match="did not agree"):
        gold.make_gold_as_agreed(db, task.id, admin)
    with pytest.raises(Conflict, match="not gold any more"):
        gold.unmake_gold(db, task.id, admin)


def test_a_repeat_is_an_old_task_of_ones_own_in_a_new_copy(
    db: Session, project: Project, person: User, luck: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "REPEAT_AFTER", 3)
    tasks(db, project, 9, needed=2)
    luck(REPEAT)
    first = [answer(db, project, person) for _ in range(4)]
    assert all(task.repeat_of is None for task in first), "three others lie between a task and its repeat"
    again = answer(db, project, person)
    assert again.repeat_of == first[0].id
    assert (again.prompt_id, again.protocol_id, again.assignees) == (
        first[0].prompt_id,
        first[0].protocol_id,
        [person.id],
    )
    db.refresh(again)
    assert (again.state, again.answers) == ("done", 1)
    told = Counter(answer(db, project, person).repeat_of for _ in range(5))
    assert told.pop(None, 0) >= 1
    assert max(told.values(), default=1) == 1, "each is repeated once at most"
    other = factories.make_user(db)
    assert all(answer(db, project, other).repeat_of is None for _ in range(3)), "nobody gets somebody else's repeat"
    ordinary = set(
        db.scalars(select(Preference.id).join(Task, Task.id == Preference.task_id).where(Task.repeat_of.is_(None)))
    )
    assert set(take_snapshot(db, project.id).preference_ids) == ordinary
    assert runs.labels_since_last_round(db, project.id) == len(ordinary)
    assert len(take_snapshot(db, project.id, {"repeats": True}).preference_ids) > len(ordinary)


def test_a_skipped_repeat_waits_for_nobody(
    db: Session, project: Project, person: User, luck: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "REPEAT_AFTER", 1)
    tasks(db, project, 4)
    for _ in range(2):
        answer(db, project, person)
    luck(REPEAT)
    served = queue.next_task(db, project, person)
    assert served is not None
    task = task_of(db, served)
    assert task.repeat_of is not None
    queue.skip(db, person, served.key, served.token)
    db.refresh(task)
    assert task.state == "withdrawn"
    undone = queue.undo(db, project, person)
    assert undone is not None
    assert undone[1] is not None
    db.refresh(task)
    assert task.state == "open"


def test_gold_and_repeats_come_at_their_rates(
    db: Session, project: Project, person: User, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handout, "chance", random.Random(5))  # noqa: S311  (repeatable)
    monkeypatch.setattr(lanes, "REPEAT_AFTER", 0)
    tasks(db, project, 300)
    for _ in range(80):
        factories.make_gold(db, project, admin)
    served = [answer(db, project, person) for _ in range(300)]
    for count in (sum(task.gold is not None for task in served), sum(task.repeat_of is not None for task in served)):
        assert binomtest(count, 300, 0.2).pvalue > 0.01


def test_the_cap_is_the_projects_or_ones_own(db: Session, project: Project, person: User) -> None:
    project.settings = {"pool": {"daily_cap": 3}}
    tasks(db, project, 9)
    for _ in range(3):
        answer(db, project, person)
    assert given(db, project, person) is None
    place = standing(db, project, person)
    assert (place.why, place.cap) == ("cap", 3)
    mine = update(Membership).where(Membership.user_id == person.id)
    db.execute(mine.values(daily_cap=5))
    answer(db, project, person)
    served = queue.next_task(db, project, person)
    assert served is not None
    assert queue.next_task(db, project, person, have=[served.key]) is None, "what is on the screen counts"
    assert standing(db, project, person).why == "", "but nobody is told so before they answered it"
    queue.skip(db, person, served.key, served.token)
    assert given(db, project, person) is not None, "a skipped task is no answer"
    db.execute(mine.values(daily_cap=0))
    answer(db, project, person)
    assert given(db, project, person) is not None, "0 is without limit"


def test_the_cap_begins_anew_with_the_day(db: Session, project: Project, person: User) -> None:
    project.settings = {"pool": {"daily_cap": 1}}
    tasks(db, project, 3)
    answer(db, project, person)
    assert given(db, project, person) is None
    db.execute(update(Assignment).values(submitted_at=Assignment.submitted_at - timedelta(days=1)))
    assert given(db, project, person) is not None


@pytest.mark.parametrize(("right", "passes"), [(3, True), (2, False)])
def test_screening_comes_first_and_decides_once(
    db: Session, project: Project, person: User, admin: User, right: int, passes: bool
) -> None:
    project.settings = {"pool": {"screening_tasks": 4, "screening_accuracy": 0.75}}
    tasks(db, project, 9)
    for _ in range(6):
        factories.make_gold(db, project, admin)
    for number in range(4):
        assert answer_truly(db, project, person, right=number < right).gold is not None
    task = given(db, project, person)
    member = db.scalars(select(Membership).where(Membership.user_id == person.id)).one()
    assert member.screening == ("passed" if passes else "failed")
    assert standing(db, project, person).why == ("" if passes else "screening")
    if passes:
        assert task is not None
        assert task.gold is None
        return
    assert task is None
    queue.undo(db, project, person)
    assert standing(db, project, person).why == "screening", "trying again does not help"
    member.screening = "admitted"
    db.flush()
    assert standing(db, project, person).lane == "any"


def test_the_last_screening_task_is_waited_for(db: Session, project: Project, person: User, admin: User) -> None:
    project.settings = {"pool": {"screening_tasks": 1}}
    tasks(db, project, 2)
    for _ in range(2):
        factories.make_gold(db, project, admin)
    served = queue.next_task(db, project, person)
    assert served is not None
    assert queue.next_task(db, project, person, have=[served.key]) is None
    assert standing(db, project, person).why == ""


def test_a_skipped_screening_task_was_not_right(db: Session, project: Project, person: User, admin: User) -> None:
    project.settings = {"pool": {"screening_tasks": 2, "screening_accuracy": 0.6}}
    tasks(db, project, 2)
    for _ in range(3):
        factories.make_gold(db, project, admin)
    served = queue.next_task(db, project, person)
    assert served is not None
    queue.skip(db, person, served.key, served.token)
    answer_truly(db, project, person, right=True)
    assert given(db, project, person) is None


def test_screening_with_less_gold_than_asked_for(db: Session, project: Project, person: User, admin: User) -> None:
    project.settings = {"pool": {"screening_tasks": 5}}
    tasks(db, project, 9)
    assert given(db, project, person) is not None, "without any gold nobody could get in"
    newcomer = factories.make_user(db)
    factories.add_member(db, project, newcomer)
    factories.make_gold(db, project, admin)
    answer_truly(db, project, newcomer, right=True)
    task = given(db, project, newcomer)
    assert task is not None
    assert task.gold is None


def test_who_worked_before_and_who_reviews_is_not_screened(
    db: Session, project: Project, person: User, admin: User
) -> None:
    tasks(db, project, 9)
    answer(db, project, person)
    project.settings = {"pool": {"screening_tasks": 2}}
    other = factories.make_user(db)
    for _ in range(3):
        factories.make_gold(db, project, other)
    for one in (person, admin):
        task = given(db, project, one)
        assert task is not None
        assert task.gold is None
