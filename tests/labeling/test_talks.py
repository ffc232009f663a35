"""The pages of talks over HTTP, against a double of the policy server that speaks real HTTP."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.core.records import Assignment, Preference, Project, Step, Task, User
from app.core.settings import Settings
from tests import factories
from tests.background.policy_double import PolicyDouble, serve
from tests.labeling.test_blind import SECRETS, far_away
from tests.loop_browser import Person, sign_in

AT = "/projects/bergen/label"
CONVERSE = {"type": "converse", "key": "overall", "question": "Which?", "turns_least": 2}
JSON = {"Accept": "application/json"}


@pytest.fixture
def double() -> Iterator[PolicyDouble]:
    with serve(PolicyDouble()) as double:
        yield double


@pytest.fixture
def settings(settings: Settings, double: PolicyDouble) -> Settings:
    return settings.model_copy(update={"policy_url": double.url, "policy_token": SecretStr("secret")})


@pytest.fixture
def people(db: Session) -> list[User]:
    return [factories.make_user(db) for _ in range(2)]


@pytest.fixture
def project(db: Session, people: list[User], double: PolicyDouble) -> Project:
    project = factories.make_project(db, slug="bergen", fields=[CONVERSE], members=dict.fromkeys(people, "annotator"))
    model, deployment = factories.make_policy(db, project, version=7)
    double.version, double.model_id, double.deployment_id = 7, model.id, deployment.id
    for number in range(2):
        factories.make_task(db, factories.make_prompt(db, project, f"Where to? {number}"), [])
    db.commit()
    return project


@pytest.fixture
def person(client: TestClient, people: list[User], project: Project) -> Person:
    return sign_in(client, people[0])


def about(page: str) -> dict[str, str]:
    """Key and token of the talk on a page."""
    found = re.search(r'data-key="([^"]+)" data-token="([^"]+)" data-state="([^"]+)"', page)
    assert found is not None
    return {"key": found[1], "token": found[2]}


def turn(page: str) -> dict[str, str]:
    """What the form of the open turn sends."""
    form = page[page.index('id="answer"') : page.index('id="say"')]
    return {name: re.findall(f'name="{name}" value="([^"]+)"', form)[0] for name in ("key", "token", "talk")}


def streamed(person: Person, **fields: str) -> list[dict[str, object]]:
    answer = person.post(f"{AT}/talk/stream", **fields)
    assert answer.status_code == 200
    return [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]


def test_a_turn_streams_by_slot_and_is_stored(person: Person, db: Session, double: PolicyDouble) -> None:
    talk = about(person.get(AT).text)
    events = streamed(person, **talk)
    assert events[-1] == {"done": True}
    assert [event["slot"] for event in events[:4]] in ([0, 1, 0, 1], [1, 0, 1, 0]), "both at the same pace"
    assert {key for event in events for key in event} <= {"slot", "text", "done"}
    shown = ["".join(str(one["text"]) for one in events[:-1] if one["slot"] == slot) for slot in (0, 1)]
    order = db.scalars(select(Assignment.display_order).order_by(Assignment.id.desc()).limit(1)).one()
    written = db.scalars(select(Step.content).order_by(Step.id)).all()
    assert shown == [written[position] for position in order]
    assert (double.asked[0]["model"], double.asked[0]["n"], double.asked[0]["stream"]) == ("bergen", 2, True)
    assert {(step.model_id, step.deployment_id) for step in db.scalars(select(Step))} == {
        (double.model_id, double.deployment_id)
    }


def test_choosing_goes_on_and_a_key_counts_once(person: Person, db: Session) -> None:
    streamed(person, **about(person.get(AT).text))
    sent = turn(person.get(AT).text)
    for choice in ("a", "b"):
        answer = person.client.post(
            f"{AT}/talk/pick", data={"csrf_token": person.token, **sent, "choice": choice}, headers=JSON
        )
        assert answer.status_code == 200
        assert answer.json()["sentence"] == "A is better"
    assert 'data-state="ready"' in answer.json()["html"]
    assert db.scalar(select(func.count(Preference.id))) == 1


def test_a_stream_that_breaks_stores_nothing(person: Person, db: Session, double: PolicyDouble) -> None:
    double.ends = False
    talk = about(person.get(AT).text)
    events = streamed(person, **talk)
    assert "stopped in the middle" in str(events[-1]["error"])
    assert db.scalar(select(func.count(Task.id)).where(Task.parent_id.is_not(None))) == 0
    assert db.scalar(select(func.count(Step.id))) == 0
    double.ends = True
    assert streamed(person, **talk)[-1] == {"done": True}


def test_a_model_that_is_not_there_is_said(person: Person, double: PolicyDouble) -> None:
    double.status = 503
    talk = about(person.get(AT).text)
    assert "The model is starting" in str(streamed(person, **talk)[-1]["error"])
    page = person.post(f"{AT}/talk/ask", **talk)
    assert page.status_code == 503
    assert "Comparisons go on" in page.text


def test_without_a_script_the_text_is_kept(person: Person, double: PolicyDouble) -> None:
    person.post(f"{AT}/talk/ask", **about(person.get(AT).text))
    person.post(f"{AT}/talk/pick", **turn(person.get(AT).text), choice="same")
    double.status = 503
    page = person.post(f"{AT}/talk/ask", **about(person.get(AT).text), text="How <far> is it?")
    assert (page.status_code, "How &lt;far&gt; is it?</textarea>" in page.text) == (503, True)


def test_only_the_person_of_a_talk_reaches_it(
    client: TestClient, person: Person, people: list[User], db: Session
) -> None:
    talk = about(person.get(AT).text)
    streamed(person, **talk)
    sent = turn(person.get(AT).text)
    other = sign_in(client, people[1])
    page = other.get(AT).text
    assert about(page)["key"] != talk["key"]
    assert 'data-state="owed"' in page
    assert other.get(f"{AT}/talk/{talk['key']}").status_code == 404
    for act in ("stream", "ask", "pick", "end"):
        assert other.post(f"{AT}/talk/{act}", **{**sent, "key": talk["key"]}, choice="a").status_code == 404
    assert other.post(f"{AT}/answer", **sent, choice="a").status_code == 404
    assert db.scalar(select(func.count(Preference.id))) == 0


def test_too_few_turns_are_said(person: Person) -> None:
    person.post(f"{AT}/talk/ask", **about(person.get(AT).text))
    person.post(f"{AT}/talk/pick", **turn(person.get(AT).text), choice="a")
    page = person.get(AT).text
    assert "End the talk" not in page
    refused = person.post(f"{AT}/talk/end", **about(page))
    assert refused.status_code == 422
    assert "This talk has 1 turn so far. It needs 2 turns." in refused.text
    person.post(f"{AT}/talk/ask", **about(page), text="And?")
    person.post(f"{AT}/talk/pick", **turn(person.get(AT).text), choice="b")
    assert person.post(f"{AT}/talk/end", **about(person.get(AT).text)).status_code == 303
    assert "1 today" in person.get(AT).text


def test_the_page_of_comparisons_leaves_talks_to_theirs(person: Person) -> None:
    assert person.client.get(f"{AT}/next").status_code == 205
    person.post(f"{AT}/talk/ask", **about(person.get(AT).text))
    person.post(f"{AT}/talk/pick", **turn(person.get(AT).text), choice="a")
    undone = person.client.post(f"{AT}/undo", data={"csrf_token": person.token}, headers=JSON).json()
    page = person.get(AT).text
    assert undone["said"] == "Taken back: A is better. The task is open again."
    assert undone["elsewhere"] == about(page)["key"]
    assert 'data-state="open"' in page


def test_a_choice_after_the_lease_is_kept_and_marked_late(person: Person, db: Session) -> None:
    person.post(f"{AT}/talk/ask", **about(person.get(AT).text))
    sent = turn(person.get(AT).text)
    db.execute(update(Assignment).values(lease_until=func.now() - func.make_interval(0, 0, 0, 0, 1)))
    db.commit()
    person.post(f"{AT}/talk/pick", **sent, choice="a")
    assert db.scalars(select(Assignment.late).where(Assignment.outcome == "answered")).one()


def test_no_response_of_a_talk_names_anybody(client: TestClient, db: Session, double: PolicyDouble) -> None:
    """From the first word to the history, without the script and with it: nothing says what wrote a reply."""
    user = factories.make_user(db)
    far_away(db)
    other = factories.make_user(db, name="Zyxwv Tsrqp", email="zyxwv@example.org")
    rate = {"type": "rate", "key": "well", "question": "Well?", "of": "task", "options": [{"value": 1}, {"value": 2}]}
    asked: list[dict[str, Any]] = [{**CONVERSE, "turns_least": 1, "own_reply": True, "strength": 2}, rate]
    members = dict.fromkeys((user, other), "annotator")
    project = factories.make_project(db, slug="bergen", fields=asked, members=members)
    model, deployment = factories.make_policy(db, project, version=918_273_645)
    double.version, double.model_id, double.deployment_id = model.version or 0, model.id, deployment.id
    for number in range(3):
        prompt = factories.make_prompt(db, project, f"Where to? {number}")
        task = factories.make_task(db, prompt, [], deployment=deployment, answers_needed=2)
    db.commit()
    me = sign_in(client, user)
    page = me.get(AT)
    bodies = [page, me.post(f"{AT}/talk/stream", **about(page.text)), me.get(f"{AT}/talk/{about(page.text)['key']}")]

    def act(name: str, **fields: str) -> None:
        bodies.append(me.client.post(f"{AT}/{name}", data={"csrf_token": me.token, **fields}, headers=JSON))

    sent = turn(me.get(AT).text)
    act("talk/pick", **sent, choice="a", strength="1")
    act("talk/pick", **sent, choice="a", strength="1")
    act("undo")
    bodies += [me.get(AT), me.post(f"{AT}/talk/pick", **turn(me.get(AT).text), own="My own.")]
    act("talk/ask", **about(me.get(AT).text), text="And?")
    bodies += [me.get(AT), me.post(f"{AT}/talk/pick", **turn(me.get(AT).text), choice="same")]
    double.status = 503
    act("talk/stream", **about(me.get(AT).text), text="Are you there?")
    double.status = 200
    bodies.append(me.get(f"{AT}?end=1"))
    act("talk/end", **about(bodies[-1].text), **{"well.value": "2"})
    act("pause", key=about(me.get(AT).text)["key"])
    act("skip", **about(me.get(AT).text))
    act("report", **about(me.get(AT).text), reason="unsafe")
    bodies += [me.get(AT), me.get("/projects/bergen/history")]
    assert task.id > 918_273_000
    assert [body.status_code for body in bodies if body.status_code not in (200, 303)] == []
    for body in bodies:
        said = (body.text + str(body.headers)).lower()
        for secret in (*SECRETS, "token_ids", "logprob", "@v"):
            assert secret.lower() not in said, f"{secret} in {body.url}"
