"""The queue's promises one by one; the same under chance in test_queue_machine.py, under threads at the end."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from scipy.stats import chisquare
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.core import lanes, queue
from app.core.answers import Outcome
from app.core.database import UnitOfWork
from app.core.errors import InvalidInput, NotFound
from app.core.records import Assignment, Preference, Project, Task, User
from app.core.standing import hold
from tests import factories

A = {"overall": {"choice": "a"}}
B = {"overall": {"choice": "b"}}


@pytest.fixture
def person(db: Session) -> User:
    return factories.make_user(db)


@pytest.fixture
def project(db: Session, person: User) -> Project:
    return factories.make_project(db, members={person: "annotator"})


def tasks(db: Session, project: Project, count: int = 1, *, needed: int = 1) -> list[Task]:
    made = [factories.make_task(db, factories.make_prompt(db, project), answers_needed=needed) for _ in range(count)]
    db.commit()
    return made


def lease(db: Session, project: Project, user: User) -> queue.Served:
    served = queue.next_task(db, project, user)
    assert served is not None
    return served


def expire(db: Session, *, user: User | None = None) -> None:
    past = datetime.now(UTC) - timedelta(minutes=1)
    statement = update(Assignment).where(Assignment.outcome.is_(None)).values(lease_until=past)
    db.execute(statement.where(Assignment.user_id == user.id) if user else statement)


def rows(db: Session) -> int:
    return db.scalars(select(func.count()).select_from(Preference)).one()


def test_oldest_task_first_and_never_more_than_two(db: Session, project: Project, person: User) -> None:
    made = tasks(db, project, 3)
    first = lease(db, project, person)
    assert queue.next_task(db, project, person) == first, "a reload shows the same task"
    second = queue.next_task(db, project, person, have=[first.key])
    assert second is not None
    assert queue.next_task(db, project, person, have=[first.key, second.key]) is None
    leased = db.scalars(select(Assignment.task_id).order_by(Assignment.id)).all()
    assert leased == [made[0].id, made[1].id]


def test_an_answer_is_stored_by_position_not_by_slot(db: Session, project: Project, person: User) -> None:
    tasks(db, project, 8)
    for _ in range(8):
        served = lease(db, project, person)
        outcome = queue.submit(db, person, served.key, served.token, A, active_ms=900, input_method="key")
        assert (outcome.kind, outcome.sentence, outcome.late, outcome.replayed) == (
            "answered",
            "A is better",
            False,
            False,
        )
    for preference, order in db.execute(
        select(Preference.tiers, Assignment.display_order).join(Assignment, Assignment.id == Preference.assignment_id)
    ):
        assert preference == [[order[0]], [order[1]]]
    assert db.scalars(select(Task.state).distinct()).all() == ["done"]
    assert queue.next_task(db, project, person) is None


def test_the_same_key_twice_is_one_answer(db: Session, project: Project, person: User) -> None:
    tasks(db, project)
    served = lease(db, project, person)
    queue.submit(db, person, served.key, served.token, A)
    again = queue.submit(db, person, served.key, served.token, B)
    assert again.replayed
    assert again.sentence == "A is better"
    assert rows(db) == 1


def test_somebody_elses_key_is_nobodys(db: Session, project: Project, person: User) -> None:
    tasks(db, project)
    served = lease(db, project, person)
    other = factories.make_user(db)
    with pytest.raises(NotFound):
        queue.submit(db, other, served.key, served.token, A)
    with pytest.raises(NotFound):
        queue.submit(db, person, uuid4(), served.token, A)


def test_an_answer_that_does_not_fit_changes_nothing(db: Session, project: Project, person: User) -> None:
    tasks(db, project)
    served = lease(db, project, person)
    with pytest.raises(InvalidInput):
        queue.submit(db, person, served.key, served.token, {"overall": {"choice": "maybe"}})
    assert rows(db) == 0
    assert not queue.submit(db, person, served.key, served.token, B).replayed


def test_a_late_answer_is_kept_and_flagged_even_when_the_task_is_done(
    db: Session, project: Project, person: User
) -> None:
    [task] = tasks(db, project)
    served = lease(db, project, person)
    expire(db)
    other = factories.make_user(db)
    theirs = lease(db, project, other)
    queue.submit(db, other, theirs.key, theirs.token, B)
    outcome = queue.submit(db, person, served.key, served.token, A)
    assert outcome.late
    assert rows(db) == 2
    db.refresh(task)
    assert (task.state, task.answers) == ("done", 2)


def test_undo_of_a_surplus_answer_leaves_the_task_done(db: Session, project: Project, person: User) -> None:
    [task] = tasks(db, project)
    served = lease(db, project, person)
    expire(db)
    other = factories.make_user(db)
    theirs = lease(db, project, other)
    queue.submit(db, other, theirs.key, theirs.token, B)
    queue.submit(db, person, served.key, served.token, A)
    undone = queue.undo(db, project, person)
    assert undone is not None
    assert undone[1] is None
    db.refresh(task)
    assert (task.state, task.answers) == ("done", 1)


def test_ones_own_ended_lease_is_renewed_with_the_same_key(db: Session, project: Project, person: User) -> None:
    tasks(db, project)
    served = lease(db, project, person)
    expire(db)
    renewed = lease(db, project, person)
    assert renewed.key == served.key
    assert renewed.answers == served.answers
    assert queue.submit(db, person, served.key, served.token, A).late, "it was given under the lease that ended"


def test_skipped_and_reported_never_come_again(db: Session, project: Project, person: User) -> None:
    made = tasks(db, project, 2)
    first = lease(db, project, person)
    queue.skip(db, person, first.key, first.token, "too long")
    second = lease(db, project, person)
    queue.report(db, person, second.key, second.token, "unsafe")
    assert queue.next_task(db, project, person) is None
    other = factories.make_user(db)
    assert lease(db, project, other), "a skipped task waits for others"
    db.refresh(made[1])
    assert made[1].state == "withdrawn"


def test_undo_takes_back_and_gives_the_task_again_with_a_fresh_key(db: Session, project: Project, person: User) -> None:
    [first_task, _] = tasks(db, project, 2)
    first = lease(db, project, person)
    ahead = queue.next_task(db, project, person, have=[first.key])
    assert ahead
    queue.submit(db, person, first.key, first.token, A)
    undone = queue.undo(db, project, person)
    assert undone
    before, again = undone
    assert before.sentence == "A is better"
    assert again
    assert again.key != first.key
    assert again.answers == first.answers
    assert queue.next_task(db, project, person) == again, "it comes before what was fetched ahead"
    db.refresh(first_task)
    assert (first_task.state, first_task.answers) == ("open", 0)
    replay = queue.submit(db, person, first.key, first.token, A)
    assert replay.replayed, "the old key is spent"
    queue.submit(db, person, again.key, again.token, B)
    kept = db.execute(select(Preference.withdrawn, Preference.supersedes_id).order_by(Preference.id)).all()
    assert [row.withdrawn for row in kept] == [False, True, False]
    assert kept[1].supersedes_id is not None


def test_undo_reaches_back_answer_by_answer(db: Session, project: Project, person: User) -> None:
    tasks(db, project, 5)
    said = []
    for choice in (A, B, A, B, A):
        served = lease(db, project, person)
        said.append(queue.submit(db, person, served.key, served.token, choice).sentence)
    back = []
    while (undone := queue.undo(db, project, person)) is not None:
        back.append(undone[0].sentence)
    assert back == said[::-1]


def test_undo_of_a_skip_gives_nothing_when_somebody_took_the_place(db: Session, project: Project, person: User) -> None:
    tasks(db, project)
    served = lease(db, project, person)
    queue.skip(db, person, served.key, served.token)
    other = factories.make_user(db)
    lease(db, project, other)
    undone = queue.undo(db, project, person)
    assert undone == (Outcome("skipped", "Skipped", replayed=True), None)


def test_stale_tasks_are_held_back_unless_begun(db: Session, project: Project, person: User) -> None:
    _, old = factories.make_policy(db, project, version=1, live=False)
    _, new = factories.make_policy(db, project, version=2)
    made = [factories.make_task(db, factories.make_prompt(db, project), deployment=one) for one in (old, old, new)]
    db.commit()
    lease(db, project, person)
    assert queue.withdraw_stale(db, project, new.id) == 1
    for task in made:
        db.refresh(task)
    assert [task.state for task in made] == ["open", "withdrawn", "open"]


def test_a_paused_project_gives_nothing_new(db: Session, project: Project, person: User) -> None:
    tasks(db, project)
    project.paused_at = datetime.now(UTC)
    assert queue.next_task(db, project, person) is None


def test_the_display_order_is_drawn_uniformly(db: Session, project: Project) -> None:
    tasks(db, project, needed=600)
    people = [factories.make_user(db) for _ in range(600)]
    for one in people:
        lease(db, project, one)
    orders = Counter(tuple(order) for order in db.scalars(select(Assignment.display_order)))
    assert sum(orders.values()) == 600
    assert chisquare([orders[0, 1], orders[1, 0]]).pvalue > 1e-4


def answer_and_go_on(
    db: Session, project: Project, user: User, served: queue.Served
) -> tuple[bool, queue.Served | None]:
    """As the page does it: an answer and the next task in one transaction. Whether it was new, and the next one."""
    hold(db, project, user)
    fresh = not queue.submit(db, user, served.key, served.token, A).replayed
    return fresh, queue.next_task(db, project, user, have=[served.key], with_locks=True)


@pytest.mark.parametrize("together", [False, True], ids=["apart", "together"])
def test_64_threads_never_give_a_place_twice(
    db: Session, uow: UnitOfWork, make_project: Callable[..., Project], together: bool
) -> None:
    project = make_project()
    people = [factories.make_user(db) for _ in range(16)]
    tasks(db, project, 20, needed=3)

    def work(number: int) -> int:
        user, stored = people[number % len(people)], 0
        while True:
            with uow() as one:
                served = queue.next_task(one, project, user)
            if served is None:
                return stored
            while served is not None:
                with uow() as one:
                    if together:
                        fresh, served = answer_and_go_on(one, project, user, served)
                    else:
                        fresh, served = not queue.submit(one, user, served.key, served.token, A).replayed, None
                stored += fresh

    with ThreadPoolExecutor(64) as pool:
        stored = sum(pool.map(work, range(64)))
    per_task = Counter(db.scalars(select(Preference.task_id)))
    assert stored == 60
    assert set(per_task.values()) == {3}
    assert len(per_task) == 20
    assert db.scalars(select(func.count()).select_from(Assignment)).one() == 60, "nobody held a place for nothing"


def test_64_threads_keep_every_rule_of_the_hand_out(
    db: Session, uow: UnitOfWork, make_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Overlap, named people, own words, gold once, repeats of one's own, a cap that parallel requests cannot pass."""
    monkeypatch.setattr(lanes, "REPEAT_AFTER", 2)
    cap = 9
    project = make_project(pool={"gold_rate": 0.2, "repeat_rate": 0.2, "daily_cap": cap})
    people = [factories.make_user(db) for _ in range(16)]
    plain = {task.id for task in tasks(db, project, 20, needed=3)}
    prompt = factories.make_prompt(db, project)
    named = {factories.make_task(db, prompt, people=people[:2]).id for _ in range(4)}
    pair = [
        factories.make_completion(db, prompt, "Mine.", user=people[3]),
        factories.make_completion(db, prompt, "No."),
    ]
    written = {factories.make_task(db, prompt, pair, answers_needed=3).id for _ in range(4)}
    gold = {factories.make_gold(db, project, factories.make_user(db)).id for _ in range(3)}
    db.commit()

    def work(number: int) -> None:
        user, misses = people[number % len(people)], 0
        while misses < 3:
            with uow() as one:
                served = queue.next_task(one, project, user)
            misses += served is None
            while served is not None:
                with uow() as one:
                    _, served = answer_and_go_on(one, project, user, served)

    with ThreadPoolExecutor(64) as pool:
        list(pool.map(work, range(64)))
    done = db.execute(
        select(Assignment.task_id, Assignment.user_id, Task.repeat_of, Task.assignees).join(
            Task, Task.id == Assignment.task_id
        )
    ).all()
    per_task, per_person = Counter(row.task_id for row in done), Counter(row.user_id for row in done)
    assert {per_task[task] for task in plain | written} == {3}
    assert {per_task[task] for task in named} == {1}
    assert max(per_person.values()) <= cap
    assert all(row.user_id in row.assignees for row in done if row.assignees)
    assert not [row for row in done if row.task_id in written and row.user_id == people[3].id]
    assert any(row.task_id in gold for row in done)
    repeats = Counter((row.repeat_of, row.user_id) for row in done if row.repeat_of)
    assert set(repeats.values()) <= {1}
    assert not gold & {task for task, _ in repeats}
    said = Counter((row.task_id, row.user_id) for row in db.scalars(select(Preference)))
    assert set(said.values()) == {1}
    assert len(said) == len(done), "nobody holds a place for nothing"


def test_pages_that_lease_two_tasks_at_once_do_not_block_each_other(
    db: Session, uow: UnitOfWork, make_project: Callable[..., Project]
) -> None:
    people = [factories.make_user(db) for _ in range(16)]
    leased = 0
    for _ in range(6):
        project = make_project()
        tasks(db, project, 20, needed=1)

        def open_page(user: User, project: Project = project) -> int:
            with uow() as one:
                first = queue.next_task(one, project, user)
                second = queue.next_task(one, project, user, have=[first.key]) if first else None
            return (first is not None) + (second is not None)

        with ThreadPoolExecutor(16) as pool:
            leased += sum(pool.map(open_page, people))
    assert leased == db.scalars(select(func.count()).select_from(Assignment)).one()


def test_50_parallel_posts_of_one_key_store_one_answer(
    db: Session, uow: UnitOfWork, make_project: Callable[..., Project]
) -> None:
    project, person = make_project(), factories.make_user(db)
    tasks(db, project)
    with uow() as one:
        served = lease(one, project, person)

    def post(number: int) -> bool:
        with uow() as one:
            return queue.submit(one, person, served.key, served.token, A if number % 2 else B).replayed

    with ThreadPoolExecutor(50) as pool:
        replayed = list(pool.map(post, range(50)))
    assert replayed.count(False) == 1
    assert rows(db) == 1
