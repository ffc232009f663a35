"""The overview says what is true, for whom it is meant, and stops asking when nothing moves."""

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core import registry
from app.core.records import Assignment, Project, User
from app.insights import service, views
from tests import factories, loop_rows
from tests.loop_browser import Person, sign_in

AT = "/projects/bread"


@pytest.fixture
def people(db: Session) -> dict[str, User]:
    return {role: factories.make_user(db, name=role.title()) for role in ("admin", "viewer", "annotator", "stranger")}


@pytest.fixture
def project(db: Session, people: dict[str, User]) -> Project:
    members = {people[role]: role for role in ("admin", "viewer", "annotator")}
    project = factories.make_project(db, slug="bread", members=members, rounds={"new_preferences": 20})
    registry.ensure_base(db, project, "tiny")
    db.commit()
    return project


@pytest.fixture
def admin(client: TestClient, people: dict[str, User], project: Project) -> Person:
    return sign_in(client, people["admin"])


def test_annotators_are_taken_to_their_work_and_strangers_nowhere(
    client: TestClient, people: dict[str, User], project: Project
) -> None:
    person = sign_in(client, people["annotator"])
    response = person.get(AT)
    assert (response.status_code, response.headers["location"]) == (303, f"{AT}/label")
    assert person.get(f"{AT}/_loop").status_code == 403
    assert person.get(f"{AT}/audit").status_code == 403
    stranger = sign_in(client, people["stranger"])
    assert {stranger.get(f"{AT}{page}").status_code for page in ("", "/_loop", "/audit")} == {404}
    viewer = sign_in(client, people["viewer"])
    assert viewer.get(AT).status_code == 200
    assert viewer.get(f"{AT}/audit").status_code == 403


def test_a_project_without_prompts_says_what_comes_first(admin: Person) -> None:
    page = admin.get(AT).text
    assert "No prompts yet." in page
    assert "Import prompts" in page


def test_counts_and_the_way_to_the_next_round(admin: Person, db: Session, project: Project) -> None:
    loop_rows.make_labels(db, project)
    factories.make_task(db, factories.make_prompt(db, project))
    db.commit()
    page = admin.get(AT).text
    assert "Round 1 starts by itself in 7 labels." in page
    assert "13 of 20" in page
    assert 'stroke-dasharray="65.0 200"' in page
    assert "Needs 40 tasks seen by two people, so far 0." in page


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("running", "Round 1 is at work."),
        ("waiting", "v1 is ready. It goes live when you say so."),
        ("failed", "Round 1 stopped."),
        ("live", "No pairs wait yet."),
    ],
)
def test_the_sentence_follows_the_round(admin: Person, db: Session, project: Project, state: str, said: str) -> None:
    loop_rows.make_labels(db, project)
    loop_rows.make_round(db, project, state=state)
    db.commit()
    assert said in admin.get(AT).text


def test_the_page_asks_again_only_while_something_moves(db: Session, project: Project) -> None:
    assert views.poll_seconds(service.overview(db, project)) == 3, "the policy server has not answered yet"
    live = registry.live(db, project.id)
    assert live is not None
    registry.mark_serving(db, live.deployment_id)
    assert views.poll_seconds(service.overview(db, project)) is None
    factories.make_prompt(db, project)
    assert views.poll_seconds(service.overview(db, project)) == 3, "the pool is being filled"
    project.paused_at = db.scalar(select(func.now()))
    assert views.poll_seconds(service.overview(db, project)) is None


def test_sides_are_counted_by_what_was_shown(db: Session, project: Project) -> None:
    user = factories.make_user(db)
    for best, order in ((0, [0, 1]), (0, [1, 0]), (1, [1, 0])):
        task = factories.make_task(db, factories.make_prompt(db, project))
        preference = factories.make_preference(db, task, user, tiers=[[best], [1 - best]])
        assignment = db.get_one(Assignment, preference.assignment_id)
        assignment.display_order = order
    db.flush()
    assert service.left_chosen(db, project.id) == (2, 3)


def test_agreement_counts_pairs_of_people_on_one_task(db: Session, project: Project) -> None:
    task = factories.make_task(db, factories.make_prompt(db, project), answers_needed=3)
    for tiers in ([[0], [1]], [[0], [1]], [[1], [0]]):
        factories.make_preference(db, task, factories.make_user(db), tiers=tiers)
    assert service.agreement(db, project.id) == (1, 3, 1)


def test_the_audit_log_speaks_in_sentences(
    admin: Person, db: Session, project: Project, people: dict[str, User]
) -> None:
    model = registry.register(db, project.id, "policy", None, None, "a" * 64, "tiny")
    registry.promote(db, project.id, model.id, user_id=people["admin"].id, reason="it reads better")
    db.commit()
    page = admin.get(f"{AT}/audit").text
    assert "Admin promoted v1" in page
    assert "it reads better" in page
