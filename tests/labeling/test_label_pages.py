"""The label pages over HTTP, as a browser without a script sees them, and as the page's script does."""

import re
from collections.abc import Callable
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import DataError
from sqlalchemy.orm import Session

from app.core import lanes
from app.core.records import Assignment, Guideline, Preference, Project, Task, Trajectory, User
from tests import factories

JSON = {"Accept": "application/json"}


@pytest.fixture
def annotator(db: Session) -> User:
    return factories.make_user(db)


@pytest.fixture
def project(db: Session, annotator: User) -> Project:
    project = factories.make_project(db, slug="everyday", members={annotator: "annotator"})
    model, deployment = factories.make_policy(db, project, version=77)
    for number in range(4):
        prompt = factories.make_prompt(db, project, f"Question {number}?")
        texts = [
            factories.make_completion(db, prompt, f"{number} {word}", model=model, deployment=deployment)
            for word in ("one", "two")
        ]
        factories.make_task(db, prompt, texts, deployment=deployment)
    db.commit()
    return project


@pytest.fixture
def browser(client: TestClient, project: Project, annotator: User) -> TestClient:
    """Signed in."""
    page = client.get("/sign-in")
    form = {"csrf_token": hidden(page.text, "csrf_token"), "email": annotator.email, "password": factories.PASSWORD}
    assert client.post("/sign-in", data=form).status_code == 303
    return client


def hidden(html: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]+)"', html)
    assert found, f"{name} is not on the page"
    return found[1]


def form_of(html: str) -> dict[str, str]:
    return {name: hidden(html, name) for name in ("csrf_token", "key", "token")}


def stored(db: Session) -> list[tuple[str, list[list[int]]]]:
    return [(row.outcome, row.tiers) for row in db.scalars(select(Preference).order_by(Preference.id))]


def test_the_next_task_comes_along_with_an_answer(browser: TestClient, db: Session) -> None:
    page = browser.get("/projects/everyday/label").text
    first, second = re.findall(r'data-key="([^"]+)"', page)
    told = browser.post(
        "/projects/everyday/label/answer", data={**form_of(page), "choice": "a", "have": [first, second]}, headers=JSON
    ).json()
    (third,) = re.findall(r'data-key="([^"]+)"', told["next"])
    assert third not in (first, second)
    held = select(Assignment.idempotency_key).where(Assignment.outcome.is_(None))
    assert {str(key) for key in db.scalars(held)} == {second, third}, "it is lent like any other"
    again = browser.post(
        "/projects/everyday/label/answer", data={**form_of(page), "choice": "b", "have": [first, second]}, headers=JSON
    ).json()
    assert again["replayed"]
    assert third in again["next"], "what the page does not have yet, not one more"
    assert len(stored(db)) == 1
    apart = browser.post("/projects/everyday/label/answer", data={**form_of(told["next"]), "choice": "a"}, headers=JSON)
    assert "next" not in apart.json(), "who does not ask is not lent anything"


def test_an_answer_whose_next_task_fails_is_not_half_stored(
    browser: TestClient, db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is acknowledged that is not stored; sent again, as the page does then, it is."""
    page = browser.get("/projects/everyday/label").text
    form = {**form_of(page), "choice": "a"}
    both = re.findall(r'data-key="([^"]+)"', page)
    with monkeypatch.context() as broken:
        broken.setattr(lanes, "NEXT_FREE", text("select 1/0"))
        with pytest.raises(DataError):  # in service: a page that says 500
            browser.post("/projects/everyday/label/answer", data={**form, "have": both}, headers=JSON)
    assert stored(db) == []
    assert browser.post("/projects/everyday/label/answer", data=form, headers=JSON).status_code == 200
    assert len(stored(db)) == 1


def test_without_a_script_a_form_answers_and_undo_takes_back(browser: TestClient, db: Session) -> None:
    page = browser.get("/projects/everyday/label")
    form = form_of(page.text)
    done = browser.post("/projects/everyday/label/answer", data={**form, "choice": "a", "note": "clear"})
    assert (done.status_code, done.headers["location"]) == (303, "/projects/everyday/label")
    page = browser.get("/projects/everyday/label")
    assert "Saved. A is better." in page.text
    assert "1 today" in page.text
    assert hidden(page.text, "key") != form["key"]
    assert [outcome for outcome, _ in stored(db)] == ["prefer"]
    history = browser.get("/projects/everyday/history")
    assert "A is better" in history.text
    browser.post("/projects/everyday/label/undo", data={"csrf_token": form["csrf_token"]})
    page = browser.get("/projects/everyday/label")
    assert "Taken back: A is better." in page.text
    assert "Question 0?" in page.text.split('id="ahead"')[0]


def test_the_script_gets_json_and_a_repeat_is_the_same_answer(browser: TestClient, db: Session) -> None:
    form = form_of(browser.get("/projects/everyday/label").text)
    sent = {**form, "choice": "both_bad", "active_ms": "1234", "input_method": "key"}
    first = browser.post("/projects/everyday/label/answer", data=sent, headers=JSON).json()
    again = browser.post("/projects/everyday/label/answer", data={**sent, "choice": "a"}, headers=JSON).json()
    assert first == {"kind": "answered", "sentence": "Both bad", "late": False, "replayed": False, "today": 1}
    assert again == {**first, "replayed": True}
    assert stored(db) == [("all_bad", [[0, 1]])]
    kept = db.scalars(select(Assignment).where(Assignment.outcome.is_not(None))).one()
    assert (kept.active_ms, kept.input_method) == (1234, "key")


def test_what_was_read_is_kept_in_the_order_of_the_task(browser: TestClient, db: Session) -> None:
    for slots, positions in (("1", [0]), ("0", [1]), ("1,0", [0, 1]), ("", []), (None, None)):
        form = form_of(browser.get("/projects/everyday/label").text)
        db.execute(update(Assignment).values(display_order=[1, 0]))
        db.commit()
        sent = {**form, "choice": "a", **({} if slots is None else {"seen": slots})}
        assert browser.post("/projects/everyday/label/answer", data=sent, headers=JSON).status_code == 200
        db.expire_all()
        kept = db.scalars(select(Assignment).where(Assignment.idempotency_key == form["key"])).one()
        assert kept.seen_to_end == positions
        browser.post("/projects/everyday/label/undo", data=form)
        db.expire_all()
        assert db.get_one(Assignment, kept.id).seen_to_end is None, "taken back, so it is read anew"


def test_what_is_fetched_ahead_is_another_task_and_then_nothing(browser: TestClient) -> None:
    page = browser.get("/projects/everyday/label").text
    keys = re.findall(r'name="key" value="([^"]+)"', page)
    assert len(set(keys)) == 2, "the page carries the next task"
    both = browser.get("/projects/everyday/label/next", params={"have": keys})
    assert both.status_code == 204
    one = browser.get("/projects/everyday/label/next", params={"have": keys[:1]})
    assert hidden(one.text, "key") == keys[1]
    assert "<html" not in one.text


def test_skip_and_report(browser: TestClient, db: Session) -> None:
    form = form_of(browser.get("/projects/everyday/label").text)
    skipped = browser.post("/projects/everyday/label/skip", data=form, headers=JSON).json()
    assert (skipped["kind"], skipped["today"]) == ("skipped", 0)
    form = form_of(browser.get("/projects/everyday/label").text)
    refused = browser.post("/projects/everyday/label/report", data={**form, "reason": "boring"}, headers=JSON)
    assert refused.status_code == 422
    browser.post("/projects/everyday/label/report", data={**form, "reason": "unsafe"}, headers=JSON)
    assert db.scalars(select(func.count()).where(Task.state == "withdrawn")).one() == 1


@pytest.mark.parametrize(
    "broken",
    [{"key": "x"}, {"token": ""}, {"choice": "c"}, {"active_ms": "-4"}, {"choice": "a", "strength": "2"}]
    + [{"seen": slots} for slots in ("2", "0,0", "a", "-1", "0,", "1;0", "10")],
)
def test_what_does_not_fit_stores_nothing(browser: TestClient, db: Session, broken: dict[str, str]) -> None:
    form = form_of(browser.get("/projects/everyday/label").text)
    response = browser.post("/projects/everyday/label/answer", data={**form, "choice": "a", **broken}, headers=JSON)
    assert response.status_code == 422
    assert not stored(db)


def test_a_foreign_key_and_a_stranger_are_not_found(
    browser: TestClient, db: Session, make_project: Callable[..., Project]
) -> None:
    form = {**form_of(browser.get("/projects/everyday/label").text), "choice": "a"}
    foreign = browser.post("/projects/everyday/label/answer", data={**form, "key": str(uuid4())}, headers=JSON)
    assert foreign.status_code == 404
    elsewhere = make_project()
    assert browser.get(f"/projects/{elsewhere.slug}/label").status_code == 404
    assert browser.post(f"/projects/{elsewhere.slug}/label/answer", data=form).status_code == 404
    assert not stored(db)


def test_changed_guidelines_are_told_until_the_next_answer(browser: TestClient, db: Session) -> None:
    at, told = "/projects/everyday/label", "The guidelines changed since your last answer."
    page = browser.get(at).text
    assert told not in page
    browser.post(f"{at}/answer", data={**form_of(page), "choice": "a"})
    assert told not in browser.get(at).text
    project = db.scalars(select(Project)).one()
    db.add(Guideline(project_id=project.id, version=2, text="Prefer the answer that helps.\n\nThen the <short> one."))
    db.commit()
    page = browser.get(at).text
    assert told in page
    assert "Changed since version 1" in page
    assert "Then the &lt;short&gt; one.</span></ins>" in page
    assert "<del>" not in page
    browser.post(f"{at}/answer", data={**form_of(page), "choice": "a"})
    assert told not in browser.get(at).text


def test_empty_pool(browser: TestClient, db: Session) -> None:
    db.query(Task).update({"state": "withdrawn"})
    db.commit()
    assert "That is all for now." in browser.get("/projects/everyday/label").text


def test_annotators_are_blind_on_the_wire(browser: TestClient, db: Session) -> None:
    """Ids of models, deployments and trajectories are moved far away from all other numbers, then searched for."""
    for table in ("models", "deployments", "trajectories"):
        db.connection().exec_driver_sql(f"alter sequence {table}_id_seq restart with 918273001")
    project = db.scalars(select(Project)).one()
    model, deployment = factories.make_policy(db, project, version=918273645, live=False)
    prompt = factories.make_prompt(db, project, "A marked question?")
    texts = [factories.make_completion(db, prompt, word, model=model, deployment=deployment) for word in ("yes", "no")]
    factories.make_task(db, prompt, texts, deployment=deployment).priority = 9
    db.commit()
    assert db.scalars(select(func.max(Trajectory.id))).one() >= 918273001
    page = browser.get("/projects/everyday/label")
    assert "A marked question?" in page.text
    form = form_of(page.text)
    bodies = [page, browser.post("/projects/everyday/label/answer", data={**form, "choice": "same"}, headers=JSON)]
    bodies += [browser.get("/projects/everyday/history"), browser.get("/projects/everyday/label/next")]
    bodies.append(browser.post("/projects/everyday/label/undo", data={"csrf_token": form["csrf_token"]}, headers=JSON))
    for body in bodies:
        assert body.status_code == 200, body.text[:300]
        said = body.text + str(body.headers)
        for secret in ("918273", "deployment", "trajectory", "display_order", model.base_model + "@"):
            assert secret not in said, f"{secret} in {body.url}"
