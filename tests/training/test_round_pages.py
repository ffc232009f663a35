"""Pages of rounds: for whom, in which state, and what their buttons do."""

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import registry
from app.core.artifacts import ArtifactStore
from app.core.records import Project, Round, Run, User
from app.core.settings import Settings
from tests import factories, loop_rows
from tests.loop_browser import Person, sign_in

People = dict[str, User]


@pytest.fixture
def people(db: Session) -> People:
    return {role: factories.make_user(db, name=role.title()) for role in ("admin", "viewer", "annotator", "stranger")}


@pytest.fixture
def project(db: Session, people: People) -> Project:
    """Bread, with enough labels for a round and a live base policy."""
    members = {people[role]: role for role in ("admin", "viewer", "annotator")}
    project = factories.make_project(db, slug="bread", members=members)
    registry.ensure_base(db, project, "tiny")
    loop_rows.make_labels(db, project)
    db.commit()
    return project


@pytest.fixture
def admin(client: TestClient, people: People, project: Project) -> Person:
    return sign_in(client, people["admin"])


def make_round(db: Session, project: Project, state: str, settings: Settings | None = None) -> Round:
    store = ArtifactStore(settings.artifacts) if settings else None
    made = loop_rows.make_round(db, project, state=state, store=store)
    db.commit()
    return made


PAGES = ("/projects/bread/rounds", "/projects/bread/rounds/1", "/projects/bread/rounds/1/_progress")
FORMS = ("/projects/bread/rounds/new", "/projects/bread/rounds/_ready")


@pytest.mark.parametrize(
    ("role", "page", "form"), [("viewer", 200, 403), ("annotator", 403, 403), ("stranger", 404, 404)]
)
def test_who_may_see_what(
    client: TestClient, db: Session, people: People, project: Project, role: str, page: int, form: int
) -> None:
    make_round(db, project, "waiting")
    person = sign_in(client, people[role])
    assert {person.get(path).status_code for path in PAGES} == {page}
    assert {person.get(path).status_code for path in FORMS} == {form}
    for act in ("", "/1/cancel", "/1/resume", "/1/promote", "/1/refuse"):
        assert person.post(f"/projects/bread/rounds{act}", reason="mine").status_code == form
    assert db.scalars(select(Round.state)).all() == ["waiting"]


def test_nobody_sees_anything_without_signing_in(client: TestClient, project: Project) -> None:
    response = client.get("/projects/bread/rounds")
    assert (response.status_code, response.headers["location"]) == (303, "/sign-in?next=/projects/bread/rounds")


@pytest.mark.parametrize("state", ["queued", "running", "waiting", "live", "refused", "failed", "cancelled"])
def test_every_state_has_a_page(admin: Person, db: Session, project: Project, settings: Settings, state: str) -> None:
    make_round(db, project, state, settings)
    page = admin.get("/projects/bread/rounds/1")
    assert page.status_code == 200
    polls = "hx-trigger" in page.text
    assert polls == (state in ("queued", "running"))
    assert ('/1/cancel"' in page.text) == (state in ("queued", "running"))
    assert ('/1/promote"' in page.text) == (state == "waiting")
    assert ('/1/resume"' in page.text) == (state == "failed")
    listed = admin.get("/projects/bread/rounds").text
    assert "Round 1" in listed


def test_a_running_round_shows_its_figures_and_a_fragment_of_the_same(
    admin: Person, db: Session, project: Project
) -> None:
    make_round(db, project, "running")
    fragment = admin.get("/projects/bread/rounds/1/_progress", headers={"HX-Request": "true"}).text
    assert "step 212 of 300" in fragment
    assert "<polyline" in fragment
    assert "limit 12" in fragment
    assert "<!doctype" not in fragment


def test_samples_gate_and_provenance_are_shown(
    admin: Person, db: Session, project: Project, settings: Settings
) -> None:
    made = make_round(db, project, "refused", settings)
    page = admin.get("/projects/bread/rounds/1").text
    assert "My sourdough is flat and sticky" in page
    assert "<strong>18 °C</strong>" in page
    assert "at most 12.0 nats" in page
    assert "Passed 2 of 3" in page
    assert "v1 does not go live." in page
    assert "ppo 1001" in page
    assert made.number == 1


def test_a_failed_round_says_why_and_resumes(admin: Person, db: Session, project: Project) -> None:
    make_round(db, project, "failed")
    page = admin.get("/projects/bread/rounds/1").text
    assert "PPO stopped at step 61: the loss is not a number. v0 stays live." in page
    assert admin.post("/projects/bread/rounds/1/resume").status_code == 303
    assert db.scalars(select(Round.state)).all() == ["queued"]
    assert admin.post("/projects/bread/rounds/1/resume").status_code == 409


def test_start_by_hand_with_changed_values(admin: Person, db: Session, project: Project) -> None:
    page = admin.get("/projects/bread/rounds/new").text
    assert "<strong>10</strong> pairs to learn from" in page
    values = {"preset": "tiny", "ppo.steps": "3", "reward_model.learning_rate": "0.001", "seed": "7", "note": "a try"}
    response = admin.post("/projects/bread/rounds", **values)
    assert response.headers["location"] == "/projects/bread/rounds/1"
    made = db.scalars(select(Round)).one()
    configs = {run.recipe: run.config for run in db.scalars(select(Run))}
    assert (made.trigger, made.note, made.config["preset"]) == ("manual", "a try", "tiny")
    assert (configs["ppo"]["steps"], configs["reward_model"]["learning_rate"]) == (3, 0.001)
    assert sorted(db.scalars(select(Run.seed))) == [7, 8, 9]
    again = admin.post("/projects/bread/rounds", preset="tiny")
    assert again.status_code == 409


def test_start_another_pipeline(admin: Person, db: Session, project: Project) -> None:
    page = admin.get("/projects/bread/rounds/new").text
    assert "straight from the comparisons" in page
    refused = admin.post("/projects/bread/rounds", pipeline="sft")
    assert refused.status_code == 422
    assert "8 answers that they wrote or rewrote on training prompts, so far 0" in refused.text
    assert admin.post("/projects/bread/rounds", **{"pipeline": "dpo", "dpo.beta": "0.2"}).status_code == 303
    made = db.scalars(select(Round)).one()
    configs = {run.recipe: run.config for run in db.scalars(select(Run).order_by(Run.position))}
    assert (made.config["pipeline"], list(configs)) == ("dpo", ["reward_model", "dpo", "evaluate"])
    assert (configs["dpo"]["beta"], configs["dpo"]["max_tokens"]) == (0.2, configs["evaluate"]["max_tokens"])
    page = admin.get("/projects/bread/rounds/1").text
    assert "DPO, margin" in page
    assert "Clip fraction" not in page


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"pipeline": "guess"}, "Choose one of these"),
        ({"pipeline": "dpo", "ppo.steps": "3"}, "A round of this kind has no such part"),
        ({"ppo.steps": "many"}, "many is not a whole number"),
        ({"ppo.steps": "0"}, "steps must be above 0"),
        ({"preset": "huge"}, "There are laptop"),
        ({"seed": "-1"}, "A whole number below"),
    ],
)
def test_a_form_that_does_not_fit_comes_back_with_its_values(
    admin: Person, db: Session, project: Project, fields: dict[str, str], said: str
) -> None:
    response = admin.post("/projects/bread/rounds", **fields)
    assert response.status_code == 422
    assert said in response.text
    assert db.scalars(select(Round)).all() == []


def test_too_few_labels_are_said_before_and_after(client: TestClient, db: Session, people: People) -> None:
    members = {people["admin"]: "admin"}
    empty = factories.make_project(db, slug="empty", members=members)
    registry.ensure_base(db, empty, "tiny")
    db.commit()
    admin = sign_in(client, people["admin"])
    assert "A round cannot start now." in admin.get("/projects/empty/rounds/new").text
    response = admin.post("/projects/empty/rounds")
    assert response.status_code == 422
    assert "8 pairs on training prompts, so far 0" in response.text


def test_cancel_and_cancel_again(admin: Person, db: Session, project: Project) -> None:
    make_round(db, project, "queued")
    assert admin.post("/projects/bread/rounds/1/cancel").status_code == 303
    assert db.scalars(select(Round.state)).all() == ["cancelled"]
    assert admin.post("/projects/bread/rounds/1/cancel").status_code == 409


def test_a_waiting_candidate_is_promoted_once(
    admin: Person, db: Session, project: Project, make_user: Callable[..., User]
) -> None:
    made = make_round(db, project, "waiting")
    assert admin.post("/projects/bread/rounds/1/promote").status_code == 303
    live = registry.live(db, project.id)
    assert live is not None
    assert live.model_id == made.candidate_model_id
    db.refresh(made)
    assert made.state == "live"
    assert admin.post("/projects/bread/rounds/1/promote").status_code == 409


def test_refusing_needs_a_reason(admin: Person, db: Session, project: Project) -> None:
    made = make_round(db, project, "waiting")
    assert admin.post("/projects/bread/rounds/1/refuse").status_code == 422
    assert admin.post("/projects/bread/rounds/1/refuse", reason="Too short").status_code == 303
    db.refresh(made)
    assert (made.state, made.note) == ("refused", "Too short")


def test_numbers_that_do_not_exist(admin: Person, project: Project) -> None:
    assert admin.get("/projects/bread/rounds/99").status_code == 404
    assert admin.post("/projects/bread/rounds/99/cancel").status_code == 404


HELD_OUT = {
    "all": {"right": 9, "of": 12, "low": 0.47, "high": 0.91},
    "sure": [
        {"name": "50–60 %", "right": 0, "of": 0, "low": 0, "high": 1},
        {"name": "90–100 %", "right": 9, "of": 12, "low": 0.47, "high": 0.91},
    ],
    "lengths": [{"name": "far_longer", "right": 9, "of": 12, "low": 0.47, "high": 0.91}],
    "annotators": [{"annotator": "annotator-00ff", "right": 9, "of": 12, "low": 0.47, "high": 0.91}],
    "people": {"pairs": 31, "share": 0.62, "low": 0.5, "high": 0.73, "ceiling": 0.745},
}
FOUND = ("calibration_error", "calibration_error_before", "calibration_error_chance", "brier", "held_out_loss")


@pytest.mark.parametrize("asked_twice", [True, False])
def test_a_round_says_how_its_reward_model_did(
    admin: Person, db: Session, project: Project, settings: Settings, asked_twice: bool
) -> None:
    made = make_round(db, project, "waiting", settings)
    run = db.scalars(select(Run).where(Run.round_id == made.id, Run.recipe == "reward_model")).one()
    metrics = {f"reward/{name}": 0.1234 for name in FOUND} | {"reward/longer_is_better": 0.8}
    run.result = {"metrics": metrics, "held_out": HELD_OUT if asked_twice else {**HELD_OUT, "people": None}}
    db.commit()
    page = " ".join(admin.get("/projects/bread/rounds/1").text.split())
    assert "annotator-00ff" in page
    assert "47 % – 91 %" in page
    assert "0.123" in page
    assert "50–60 %" not in page, "nothing was in that bucket"
    assert ("Two people say the same" in page) == asked_twice
    assert ("No held-out pair was decided by two people" in page) == (not asked_twice)
