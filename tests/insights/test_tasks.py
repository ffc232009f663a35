"""The admins' pages about tasks and gold."""

import re

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.core import queue
from app.core.records import Assignment, Preference, Project, Prompt, Protocol, Task, User
from app.insights import quality
from tests import factories
from tests.loop_browser import Person, sign_in

AT = "/projects/bread"


@pytest.fixture
def people(db: Session) -> dict[str, User]:
    return {role: factories.make_user(db, name=role.title()) for role in ("admin", "reviewer", "annotator", "stranger")}


@pytest.fixture
def project(db: Session, people: dict[str, User]) -> Project:
    members = {people[role]: role for role in ("admin", "reviewer", "annotator")}
    project = factories.make_project(db, slug="bread", members=members)
    db.commit()
    return project


@pytest.fixture
def admin(client: TestClient, people: dict[str, User], project: Project) -> Person:
    return sign_in(client, people["admin"])


def task_of(db: Session, project: Project) -> Task:
    task = factories.make_task(db, factories.make_prompt(db, project, "How is bread made?"), answers_needed=2)
    db.commit()
    return task


def test_only_admins_see_tasks_and_gold(
    client: TestClient, db: Session, people: dict[str, User], project: Project
) -> None:
    task = task_of(db, project)
    pages = (f"{AT}/tasks", f"{AT}/tasks/{task.id}", f"{AT}/gold", f"{AT}/gold/new")
    acts = (f"{AT}/tasks/{task.id}/gold", f"{AT}/tasks/{task.id}/gold/remove", f"{AT}/tasks/{task.id}/people")
    for role, status in (("reviewer", 403), ("annotator", 403), ("stranger", 404)):
        person = sign_in(client, people[role])
        assert {person.get(page).status_code for page in pages} == {status}
        assert {person.post(act, answer="a").status_code for act in acts} == {status}
    other = factories.make_project(db, slug="cake", members={people["stranger"]: "admin"})
    db.commit()
    person = sign_in(client, people["stranger"])
    assert person.get(f"/projects/{other.slug}/tasks").status_code == 200
    assert person.get(f"/projects/{other.slug}/tasks/{task.id}").status_code == 404
    assert person.post(f"/projects/{other.slug}/tasks/{task.id}/gold", answer="a").status_code == 404
    assert db.scalar(select(Task.gold).where(Task.id == task.id)) is None


@pytest.mark.parametrize(
    ("read", "words"),
    [
        ([None, None], ""),
        ([[1]], "The end of A was not seen."),
        ([[0, 1]], "Who answered saw every answer to its end."),
        ([[], [0, 1], None], "The end of A was not seen by 1 of 2. The end of B was not seen by 1 of 2."),
        ([[0], [0]], "The end of B was not seen by 2 of 2."),
        ([[0, 1], [0, 1]], "Everybody who answered saw every answer to its end."),
    ],
)
def test_a_task_says_whose_end_was_not_seen(
    admin: Person, db: Session, project: Project, read: list[list[int] | None], words: str
) -> None:
    task = task_of(db, project)
    for seen in read:
        person = factories.make_user(db)
        factories.make_preference(db, task, person)
        db.execute(update(Assignment).where(Assignment.user_id == person.id).values(seen_to_end=seen))
    db.commit()
    said = re.search(r'<p class="muted small read">(.*?)</p>', admin.get(f"{AT}/tasks/{task.id}").text)
    assert (said[1] if said else "") == words


def test_an_admin_answers_a_task_as_gold_and_takes_it_back(admin: Person, db: Session, project: Project) -> None:
    assert "No gold yet." in admin.get(f"{AT}/gold").text
    assert admin.get(f"{AT}/gold/new").headers["location"] == f"{AT}/gold"
    task = task_of(db, project)
    assert admin.get(f"{AT}/gold/new").headers["location"] == f"{AT}/tasks/{task.id}"
    page = admin.get(f"{AT}/tasks/{task.id}").text
    assert "How is bread made?" in page
    assert "B is better" in page
    assert admin.post(f"{AT}/tasks/{task.id}/gold", answer="b").status_code == 303
    db.refresh(task)
    assert (task.state, task.gold) == ("done", {"field": "overall", "outcome": "prefer", "tiers": [[1], [0]]})
    page = admin.get(f"{AT}/gold").text
    assert "How is bread made?" in page
    assert "Nobody meets them yet." in page
    assert admin.post(f"{AT}/tasks/{task.id}/gold/remove").status_code == 303
    db.refresh(task)
    assert (task.state, task.gold, task.gold_by) == ("open", None, None)
    refused = admin.post(f"{AT}/tasks/{task.id}/gold", answer="c")
    assert refused.status_code == 422
    assert "This is not one of the answers of this task." in refused.text
    assert admin.post(f"{AT}/tasks/{task.id}/gold", agreed="yes").status_code == 409


def test_what_everybody_said_becomes_gold(
    admin: Person, db: Session, project: Project, people: dict[str, User]
) -> None:
    agreed, split = task_of(db, project), factories.make_task(db, factories.make_prompt(db, project), answers_needed=2)
    for user, tiers in ((people["annotator"], [[0], [1]]), (people["reviewer"], [[1], [0]])):
        factories.make_preference(db, agreed, user)
        factories.make_preference(db, split, user, tiers=tiers)
    db.commit()
    page = admin.get(f"{AT}/tasks?show=agreed").text
    assert f"/tasks/{agreed.id}/gold" in page
    assert "A is better" in page
    assert f"/tasks/{split.id}" not in page
    assert admin.post(f"{AT}/tasks/{agreed.id}/gold", agreed="yes").status_code == 303
    db.refresh(agreed)
    assert agreed.gold == {"field": "overall", "outcome": "prefer", "tiers": [[0], [1]]}
    assert admin.post(f"{AT}/tasks/{split.id}/gold", agreed="yes").status_code == 409
    assert f"/tasks/{split.id}" in admin.get(f"{AT}/tasks?show=done").text
    assert admin.get(f"{AT}/tasks?show=nonsense").status_code == 404


@pytest.mark.parametrize(
    ("asked", "given", "tiers"),
    [
        ({"type": "choose", "answers": 3}, "2", [[1], [0, 2]]),
        ({"type": "rank", "answers": 3}, "3>1=2", [[2], [0, 1]]),
        ({"type": "compare", "strength": 4}, "b", [[1], [0]]),
    ],
)
def test_gold_of_every_ordering_field(
    admin: Person, db: Session, project: Project, asked: dict[str, object], given: str, tiers: list[list[int]]
) -> None:
    db.query(Protocol).update({"fields": [{"key": "overall", "question": "Which?", **asked}]})
    prompt = factories.make_prompt(db, project)
    texts = [factories.make_completion(db, prompt, f"Text {n}") for n in range(2 if asked["type"] == "compare" else 3)]
    task = factories.make_task(db, prompt, texts)
    db.commit()
    assert admin.get(f"{AT}/tasks/{task.id}").status_code == 200
    assert admin.post(f"{AT}/tasks/{task.id}/gold", answer=given).status_code == 303
    db.refresh(task)
    assert task.gold is not None
    assert task.gold["tiers"] == tiers
    assert admin.get(f"{AT}/gold").status_code == 200


def test_people_and_priority_of_a_task(admin: Person, db: Session, project: Project, people: dict[str, User]) -> None:
    task = task_of(db, project)
    kim = people["annotator"]
    assert admin.post(f"{AT}/tasks/{task.id}/people", people=str(kim.id), priority="3").status_code == 303
    db.refresh(task)
    assert (task.assignees, task.priority) == ([kim.id], 3)
    assert "Annotator" in admin.get(f"{AT}/tasks").text
    for wrong in ({"priority": "many"}, {"people": str(people["stranger"].id)}):
        assert admin.post(f"{AT}/tasks/{task.id}/people", **{"priority": "0", **wrong}).status_code == 422
    assert admin.post(f"{AT}/tasks/{task.id}/people", priority="-2").status_code == 303
    db.refresh(task)
    assert (task.assignees, task.priority) == (None, -2)


def test_accuracy_and_consistency_of_each_person(
    db: Session, admin: Person, project: Project, people: dict[str, User]
) -> None:
    kim, lee = people["annotator"], people["reviewer"]
    for number in range(4):
        task = factories.make_gold(db, project, people["admin"])
        factories.make_preference(db, task, kim, tiers=[[0], [1]] if number else [[1], [0]])
        factories.make_preference(db, task, lee)
    for same in (True, False):
        old = factories.make_task(db, factories.make_prompt(db, project))
        factories.make_preference(db, old, lee)
        again = factories.make_task(db, db.get_one(Prompt, old.prompt_id), people=[lee])
        again.repeat_of = old.id
        factories.make_preference(db, again, lee, tiers=[[0], [1]] if same else [[1], [0]])
    db.query(Task).update({"gold_at": None})
    db.commit()
    assert [
        (one.name, one.gold.count, one.gold.of, one.repeats.count, one.repeats.of)
        for one in quality.people(db, project.id)
    ] == [
        ("Annotator", 3, 4, 0, 0),
        ("Reviewer", 4, 4, 1, 2),
    ]
    page = admin.get(f"{AT}/gold").text
    assert "75\u00a0%" in page
    assert "30 to 95" in page, "Wilson's interval of 3 in 4"
    assert "50\u00a0%" in page


def test_the_overview_judges_only_what_was_handed_out_as_gold(
    admin: Person, db: Session, project: Project, people: dict[str, User]
) -> None:
    task = task_of(db, project)
    factories.make_preference(db, task, people["annotator"])
    factories.make_preference(db, task, people["reviewer"])
    db.commit()
    admin.post(f"{AT}/tasks/{task.id}/gold", agreed="yes")
    assert "No task has a known right answer yet." in admin.get(AT).text
    assert db.scalars(select(Assignment)).first() is not None
    assert db.scalars(select(Preference)).first() is not None


def test_members_page_lets_in_and_caps(admin: Person, db: Session, project: Project, people: dict[str, User]) -> None:
    kim = people["annotator"]
    project.settings = {"pool": {"screening_tasks": 2, "daily_cap": 200}}
    for _ in range(2):
        factories.make_gold(db, project, people["admin"])
    factories.make_task(db, factories.make_prompt(db, project))
    db.commit()
    assert "In screening" not in admin.get(f"{AT}/members").text
    for _ in range(2):
        served = queue.next_task(db, project, kim)
        assert served is not None
        queue.submit(db, kim, served.key, served.token, {"overall": {"choice": "same"}})
        db.commit()
    assert "In screening: 2 so far" in admin.get(f"{AT}/members").text
    assert queue.next_task(db, project, kim) is None
    db.commit()
    page = admin.get(f"{AT}/members").text
    assert "Screening: 0 of 2 right" in page
    assert "Let in" in page
    assert admin.post(f"{AT}/members/{kim.id}/admit").status_code == 303
    assert "Let in, 0 of 2 right" in admin.get(f"{AT}/members").text
    db.expire_all()
    assert queue.next_task(db, project, kim) is not None
    db.commit()
    for cap, status in (("5", 303), ("", 303), ("0", 303), ("-1", 422), ("many", 422), ("10001", 422)):
        assert admin.post(f"{AT}/members/{kim.id}/cap", cap=cap).status_code == status
    assert admin.post(f"{AT}/members/{people['stranger'].id}/cap", cap="5").status_code == 404
    assert "let in Annotator" in admin.get(f"{AT}/audit").text
