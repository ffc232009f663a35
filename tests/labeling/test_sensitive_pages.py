"""Sensitive texts over HTTP: who sees them, what the pages say, and what settings change."""

import re

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.core import queue
from app.core.records import Assignment, Project, Prompt, Task, User
from tests import factories
from tests.loop_browser import Person, sign_in

AT = "/projects/everyday"
LOOK = {"name": "Kim Doe", "theme": "auto", "face": "serif", "size": "17"}


@pytest.fixture
def annotator(db: Session) -> User:
    return factories.make_user(db, email="mara@example.org")


@pytest.fixture
def project(db: Session, annotator: User) -> Project:
    """Three tasks, all marked."""
    project = factories.make_project(db, slug="everyday", members={annotator: "annotator"})
    for number in range(3):
        factories.make_task(db, factories.make_prompt(db, project, f"Secret {number}?", sensitive=True))
    db.commit()
    return project


@pytest.fixture
def person(client: TestClient, annotator: User, project: Project) -> Person:
    return sign_in(client, annotator)


def choose(person: Person, value: str) -> int:
    return person.post("/settings", **LOOK, sensitive=value).status_code


def veils(page: str) -> int:
    return len(re.findall(r'<input class="reveal[^>]* form="answer"[^>]* required', page))


def test_a_text_is_hidden_unless_the_person_chose_otherwise(person: Person, db: Session) -> None:
    page = person.get(f"{AT}/label").text
    assert veils(page) == 2, "the task and the one behind it, each with a box of its own"
    assert page.count('class="task veiled"') == 2
    assert choose(person, "show") == 303
    shown = person.get(f"{AT}/label").text
    assert veils(shown) == 0
    assert "veiled" not in shown
    db.execute(update(Prompt).values(sensitive=False))
    db.commit()
    assert choose(person, "blur") == 303
    assert veils(person.get(f"{AT}/label").text) == 0


def test_who_wants_none_gives_back_what_is_held_and_is_told_why(person: Person, db: Session) -> None:
    person.get(f"{AT}/label")
    held = db.scalars(select(Assignment).where(Assignment.lease_until > queue.clock(db))).all()
    assert len(held) == 2
    assert choose(person, "never") == 303
    db.expire_all()
    assert all(one.lease_until <= queue.clock(db) for one in held)
    words = "The tasks that are left are marked sensitive, and you asked not to get such."
    assert words in person.get(f"{AT}/label").text
    assert words in person.get(f"{AT}/label/next").text
    db.execute(update(Task).values(state="withdrawn"))
    db.commit()
    assert words not in person.get(f"{AT}/label").text
    assert person.get(f"{AT}/label/next").status_code == 204


@pytest.mark.parametrize("value", ["", "yes", "Never"])
def test_a_wish_that_is_none_is_refused(person: Person, db: Session, annotator: User, value: str) -> None:
    assert choose(person, value) == 422
    db.refresh(annotator)
    assert annotator.preferences == {}


def test_an_old_page_leaves_the_wish_alone(person: Person, db: Session, annotator: User) -> None:
    choose(person, "never")
    assert person.post("/settings", **{**LOOK, "theme": "dark"}).status_code == 303
    db.refresh(annotator)
    assert (annotator.preferences["sensitive"], annotator.preferences["theme"]) == ("never", "dark")


def test_history_hides_the_text_until_it_is_opened(person: Person, db: Session, annotator: User) -> None:
    task = db.scalars(select(Task).order_by(Task.id)).first()
    assert task is not None
    factories.make_preference(db, task, annotator)
    db.commit()
    page = person.get(f"{AT}/history").text
    folded = re.search(r'<details class="fold small">.*?</details>', page, re.DOTALL)
    assert folded
    assert "Marked sensitive: show the text" in folded[0]
    assert "Secret 0?" in folded[0]
    assert page.count("Secret 0?") == 1, "nor in the words that only screen readers get"
    key = db.scalars(select(Assignment.idempotency_key).where(Assignment.outcome == "answered")).one()
    assert veils(person.get(f"{AT}/history/{key}").text) == 1
    choose(person, "show")
    page = person.get(f"{AT}/history").text
    assert "Marked sensitive" not in page
    assert page.count("Secret 0?") == 2


def test_what_is_not_an_answer_needs_no_look_at_the_text(person: Person) -> None:
    page = person.get(f"{AT}/label").text
    for act in ("undo", "skip", "report", "pause"):
        buttons = re.findall(rf'<button[^>]*formaction="{AT}/label/{act}"[^>]*>', page)
        assert buttons
        assert all("formnovalidate" in button for button in buttons), act
    assert "formnovalidate" not in str(re.findall(r'<button[^>]*name="choice"[^>]*>', page))


def test_an_admin_marks_prompts_and_takes_it_back(client: TestClient, db: Session, project: Project) -> None:
    admin = factories.make_user(db)
    factories.add_member(db, project, admin, "admin")
    fresh = factories.make_prompt(db, project, "Fresh one?")
    task = factories.make_task(db, fresh)
    foreign = factories.make_prompt(db, factories.make_project(db), "Elsewhere?")
    db.commit()
    person = sign_in(client, admin)
    assert person.get(f"{AT}/prompts").text.count(">Sensitive<") == 3
    ticked = {"prompt": [str(fresh.id), str(foreign.id), "x", "9" * 30], "q": "one", "split": "train"}
    done = person.post(f"{AT}/prompts/sensitive", **ticked, sensitive="yes")
    assert (done.status_code, done.headers["location"]) == (303, f"{AT}/prompts?split=train&q=one")
    assert "1 prompt is marked sensitive now." in person.get(f"{AT}/prompts").text
    db.expire_all()
    assert (fresh.sensitive, task.sensitive, foreign.sensitive) == (True, True, False)
    person.post(f"{AT}/prompts/sensitive", **ticked, sensitive="no")
    db.expire_all()
    assert (fresh.sensitive, task.sensitive) == (False, False)
    person.post(f"{AT}/prompts/sensitive", sensitive="yes")
    assert "Tick the prompts first." in person.get(f"{AT}/prompts").text


def test_only_admins_mark_prompts(person: Person, db: Session) -> None:
    number = db.scalars(select(Prompt.id)).first()
    assert person.post(f"{AT}/prompts/sensitive", prompt=str(number), sensitive="no").status_code == 403


def test_a_project_that_is_sensitive_as_a_whole(person: Person, db: Session, project: Project) -> None:
    db.execute(update(Prompt).values(sensitive=False))
    db.execute(update(Task).values(sensitive=False))
    project.settings = {"all_sensitive": True}
    db.commit()
    assert veils(person.get(f"{AT}/label").text) == 2
    choose(person, "never")
    assert "marked sensitive" in person.get(f"{AT}/label").text
