"""Pages of models: who may look, roll back, promote; and what is told."""

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import registry
from app.core.records import AuditEvent, Project, Round, User
from tests import factories, loop_rows
from tests.loop_browser import Person, sign_in


@pytest.fixture
def people(db: Session) -> dict[str, User]:
    return {role: factories.make_user(db, name=role.title()) for role in ("admin", "viewer", "annotator", "stranger")}


@pytest.fixture
def project(db: Session, people: dict[str, User]) -> Project:
    """v0, v1 and v2; v2 is live."""
    members = {people[role]: role for role in ("admin", "viewer", "annotator")}
    project = factories.make_project(db, slug="bread", members=members)
    registry.ensure_base(db, project, "tiny")
    for state in ("live", "live"):
        loop_rows.make_labels(db, project)
        loop_rows.make_round(db, project, state=state)
    db.commit()
    return project


@pytest.fixture
def admin(client: TestClient, people: dict[str, User], project: Project) -> Person:
    return sign_in(client, people["admin"])


def live_name(db: Session, project: Project) -> str:
    db.rollback()
    live = registry.live(db, project.id)
    assert live is not None
    return live.name


@pytest.mark.parametrize(
    ("role", "page", "act"), [("viewer", 200, 403), ("annotator", 403, 403), ("stranger", 404, 404)]
)
def test_who_may_see_and_act(
    client: TestClient, db: Session, people: dict[str, User], project: Project, role: str, page: int, act: int
) -> None:
    person = sign_in(client, people[role])
    assert person.get("/projects/bread/models").status_code == page
    assert person.post("/projects/bread/models/roll-back", reason="mine").status_code == act
    assert person.post("/projects/bread/models/1/promote", reason="mine").status_code == act
    assert live_name(db, project) == "v2"


def test_the_page_names_what_is_live_and_where_each_came_from(admin: Person, project: Project) -> None:
    page = admin.get("/projects/bread/models").text
    assert "<strong>v2</strong> went live" in page
    assert "Roll back to v1…" in page
    assert "Ready to roll back" in page
    assert 'href="/projects/bread/rounds/2"' in page
    assert "71.8" in page


def test_roll_back_needs_a_reason_and_is_one_step(admin: Person, db: Session, project: Project) -> None:
    assert admin.post("/projects/bread/models/roll-back").status_code == 422
    assert live_name(db, project) == "v2"
    assert admin.post("/projects/bread/models/roll-back", reason="worse").status_code == 303
    assert live_name(db, project) == "v1"
    assert "Rolled back" in admin.get("/projects/bread/models").text
    event = db.scalars(select(AuditEvent).where(AuditEvent.action == "rolled back")).one()
    assert event.detail["reason"] == "worse"
    assert event.user_id is not None


def test_any_version_can_be_promoted_but_not_what_is_live(admin: Person, db: Session, project: Project) -> None:
    assert admin.post("/projects/bread/models/0/promote", reason="compare").status_code == 303
    assert live_name(db, project) == "v0"
    assert admin.post("/projects/bread/models/0/promote", reason="again").status_code == 409
    assert admin.post("/projects/bread/models/77/promote", reason="?").status_code == 404


def test_promoting_a_waiting_candidate_here_ends_its_round(admin: Person, db: Session, project: Project) -> None:
    loop_rows.make_labels(db, project)
    waiting = loop_rows.make_round(db, project, state="waiting")
    db.commit()
    assert "Candidate" in admin.get("/projects/bread/models").text
    assert admin.post("/projects/bread/models/3/promote", reason="good").status_code == 303
    db.rollback()
    db.refresh(waiting)
    assert db.get_one(Round, waiting.id).state == "live"


def test_a_refused_deployment_says_why(admin: Person, db: Session, project: Project) -> None:
    live = registry.live(db, project.id)
    assert live is not None
    registry.refuse(db, live.deployment_id, "its files are missing")
    db.commit()
    page = admin.get("/projects/bread/models").text
    assert "its files are missing" in page
    assert "Could not be served" in page
