"""A project with answers of every kind, and a browser that is signed in."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update
from sqlalchemy.orm import Session

from app.core.records import Assignment, Preference, Project, Prompt, Task, User
from tests import factories


@dataclass
class World:
    """Two annotators' answers in one project: 3 decided, 1 tie, 1 both bad, 1 late, 1 taken back, 1 gold, 1 skipped."""

    project: Project
    admin: User
    kim: User


@pytest.fixture
def world(db: Session) -> World:
    admin, kim, lee = (factories.make_user(db, name=name) for name in ("Ada Admin", "Kim Doe", "Lee Roe"))
    project = factories.make_project(db, slug="kitchen", members={admin: "admin", kim: "annotator", lee: "annotator"})
    model, deployment = factories.make_policy(db, project)

    def answer(text: str, user: User, split: str = "train", **said: object) -> Preference:
        prompt = factories.make_prompt(db, project, text, split=split)
        pair = [
            factories.make_completion(db, prompt, f"{text} {words}", model=model, deployment=deployment)
            for words in ("one.", "two é 🙂.")
        ]
        return factories.make_preference(db, factories.make_task(db, prompt, pair), user, **said)  # type: ignore[arg-type]

    first = answer("First", kim)
    answer("Second", lee, tiers=[[1], [0]])
    answer("Held", lee, split="validation")
    answer("Tie", kim, outcome="tie")
    answer("Bad", kim, outcome="all_bad")
    late = answer("Late", lee)
    back = answer("Back", kim)
    gold = answer("Gold", kim)
    db.execute(update(Assignment).where(Assignment.id == late.assignment_id).values(late=True))
    db.execute(update(Assignment).where(Assignment.id == first.assignment_id).values(seen_to_end=[1]))
    db.execute(update(Prompt).where(Prompt.messages[0]["content"].astext == "First").values(sensitive=True))
    db.execute(update(Task).where(Task.id == gold.task_id).values(gold={"tiers": [[0], [1]]}))
    taken_back = {name: getattr(back, name) for name in ("project_id", "task_id", "assignment_id", "user_id", "field")}
    db.add(Preference(**taken_back, outcome="prefer", tiers=back.tiers, supersedes_id=back.id, withdrawn=True))
    skipped = factories.make_task(db, factories.make_prompt(db, project, "Skipped"))
    factories.make_assignment(db, skipped, kim, outcome="skipped")
    db.commit()
    return World(project, admin, kim)


@pytest.fixture
def sign_in(client: TestClient) -> Callable[[User], TestClient]:
    """`sign_in(user)` gives the browser, signed in as them, its CSRF token sent with every request."""

    def sign(user: User) -> TestClient:
        client.cookies.clear()
        client.headers.pop("X-CSRF-Token", None)
        token = csrf(client, "/sign-in")
        form = {"csrf_token": token, "email": user.email, "password": factories.PASSWORD}
        assert client.post("/sign-in", data=form).status_code == 303
        client.headers["X-CSRF-Token"] = csrf(client, "/")
        return client

    return sign


def csrf(client: TestClient, path: str) -> str:
    """The token of a page, as its scripts read it."""
    page = client.get(path, follow_redirects=True)
    found = re.search(r'name="csrf-token" content="([^"]+)"', page.text)
    assert found, page.text[:500]
    return found[1]
