"""What an annotator's browser receives: nobody's identity, and nothing that tells a check from a task."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.core import forms, handout, lanes
from app.core.records import Assignment, Membership, Project, Task, User
from tests import factories
from tests.core.luck import Luck
from tests.loop_browser import Person, sign_in

AT = "/projects/everyday/label"
JSON = {"Accept": "application/json"}
FAR = 918_273_000
"""Ids that must stay unseen are moved here, far from every other number."""
HIDDEN = ("users", "models", "deployments", "trajectories", "tasks", "assignments", "prompts", "steps")
SECRETS = ("918273", "deployment", "trajectory", "display_order", "gold", "repeat", "screening", "Zyxwv", "priority")
FORMS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "compare": ({}, {"choice": "a"}),
    "choose": ({}, {"choice": "2"}),
    "rank": ({}, {"order": "2>1=3>4"}),
    "rate": ({"options": [{"value": 1}, {"value": 2}], "of": "task"}, {"value": "1"}),
    "flags": ({"flags": [{"key": "unsafe", "label": "Unsafe"}], "of": "task"}, {"unsafe": "on"}),
    "note": ({"least": 1}, {"text": "Well."}),
    "annotate": ({"labels": [{"key": "wrong", "label": "Wrong"}]}, {"quote_1": "p", "label_1": "wrong"}),
    "edit": ({}, {"text": "Better."}),
    "demonstrate": ({}, {"text": "My own."}),
}
"""For each field type the rest of its JSON, and what is sent."""


def keys_of(page: str) -> dict[str, str]:
    return {name: re.findall(rf'name="{name}" value="([^"]+)"', page)[0] for name in ("key", "token")}


def far_away(db: Session) -> None:
    for table in HIDDEN:
        db.connection().exec_driver_sql(f"alter sequence {table}_id_seq restart with {FAR + 1}")


def send(person: Person, act: str, **fields: str) -> Any:
    return person.client.post(f"{AT}/{act}", data={"csrf_token": person.token, **fields}, headers=JSON)


def test_every_field_type_is_scanned() -> None:
    assert set(FORMS) | {"converse"} == set(forms.TYPES)  # talks have pages of their own: tests/labeling/test_talks.py


@pytest.mark.parametrize("kind", FORMS)
def test_no_response_names_anybody_or_tells_a_check_from_a_task(
    client: TestClient, db: Session, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Gold, a repeat and an ordinary task, each answered, skipped, reported, undone and remembered."""
    person = factories.make_user(db)
    far_away(db)
    other = factories.make_user(db, name="Zyxwv Tsrqp", email="zyxwv@example.org")
    more, given = FORMS[kind]
    asked = {"type": kind, "key": "overall", "question": "Which?", **more}
    project = factories.make_project(
        db,
        slug="everyday",
        members={person: "annotator", other: "annotator"},
        fields=[asked],
        pool={"gold_rate": 0.2, "repeat_rate": 0.2},
    )
    model, deployment = factories.make_policy(db, project, version=918_273_645)
    fields = forms.parse_protocol([asked])
    for number in range(14):
        prompt = factories.make_prompt(db, project, f"Question {number}?")
        texts = [
            factories.make_completion(db, prompt, f"{number} {word}", model=model, deployment=deployment)
            for word in "pqrstuvwx"[: forms.segments_of(fields)]
        ]
        task = factories.make_task(db, prompt, texts, deployment=deployment, answers_needed=9)
        if number < 4:
            task.gold, task.state = {"tiers": [[0], [1]]}, "done"
        elif kind == "compare":
            factories.make_preference(db, task, other)
    assert db.scalars(select(func.min(Task.id))).one() > FAR
    db.commit()
    monkeypatch.setattr(lanes, "REPEAT_AFTER", 0)
    me = sign_in(client, person)
    monkeypatch.setattr(handout, "chance", Luck(0.9))  # ordinary ones first: only such are repeated
    bodies = [send(me, "answer", **keys_of(me.get(AT).text), **given) for _ in range(2)]
    for luck in (0.9, 0.0, 0.3, 0.3):
        monkeypatch.setattr(handout, "chance", Luck(luck))
        page = me.get(AT)
        form = keys_of(page.text)
        bodies += [page, send(me, "answer", **form, **given, have=form["key"])]
        bodies += [send(me, "undo"), send(me, "skip", **keys_of(me.get(AT).text)), me.get(f"{AT}/next")]
        bodies.append(send(me, "report", **keys_of(me.get(AT).text), reason="unsafe"))
        bodies.append(me.get("/projects/everyday/history"))
    kinds = {(task.gold is not None, task.repeat_of is not None) for task in db.scalars(_handed_to(person))}
    assert kinds == {(False, False), (True, False), (False, True)}, "all three kinds were looked at"
    for body in bodies:
        assert body.status_code in (200, 204), body.text[:300]
        said = (body.text + str(body.headers)).lower()
        for secret in SECRETS:
            assert secret.lower() not in said, f"{secret} in {body.url}"


def _handed_to(person: User) -> Any:
    return select(Task).join(Assignment, Assignment.task_id == Task.id).where(Assignment.user_id == person.id)


MASKS = (
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID"),
    (r'(name=\\?"csrf[-_]token\\?" (?:value|content)=\\?)"[^"]*"', r"\1"),
    (r'data-owner="\d+"', ""),
    (r'value="user\d+@example.org"', ""),  # one's own, in the dialog that signs in again
    (r'data-lease=\\?"\d+\\?"', ""),
    (r'(datetime|title)="[^"]*"', r"\1"),
    (r"\d+ seconds? ago|just now", "now"),
)


def masked(body: str) -> str:
    """A response without what differs between any two people."""
    for pattern, instead in MASKS:
        body = re.sub(pattern, instead, body)
    return body


def test_gold_and_repeats_answer_byte_for_byte_like_ordinary_tasks(
    client: TestClient, db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three people in the same place: one goes on with an ordinary task, one with gold, one with a repeat."""
    monkeypatch.setattr(lanes, "REPEAT_AFTER", 0)
    people = [factories.make_user(db) for _ in range(3)]
    project = factories.make_project(
        db, slug="everyday", members=dict.fromkeys(people, "annotator"), pool={"gold_rate": 0.2, "repeat_rate": 0.2}
    )
    prompt = factories.make_prompt(db, project, "The same question?")
    pair = [factories.make_completion(db, prompt, "The same answer.") for _ in range(2)]
    for _ in range(8):
        factories.make_task(db, prompt, pair, answers_needed=3)
        factories.make_gold(db, project, factories.make_user(db), pair)
    db.commit()
    seen: list[list[tuple[int, list[str], str]]] = []
    kinds = []
    for user, luck in zip(people, (0.9, 0.0, 0.3), strict=True):
        monkeypatch.setattr(handout, "chance", Luck(0.9))
        me = sign_in(client, user)
        page = me.get(AT)
        send(me, "answer", **keys_of(page.text), choice="a")
        second = me.get(f"{AT}")  # what was fetched ahead is ordinary as well
        send(me, "answer", **keys_of(second.text), choice="b")
        monkeypatch.setattr(handout, "chance", Luck(luck))
        # Now the one that was fetched ahead of the second, then the first that this person's luck decides.
        send(me, "answer", **keys_of(me.get(AT).text), choice="same")
        responses = [me.get(AT), me.get(f"{AT}/next")]
        form = keys_of(responses[0].text)
        kinds.append(_kind(db, form["key"]))
        responses += [send(me, "answer", **form, choice="a", have=form["key"]), send(me, "undo")]
        responses += [send(me, "skip", **keys_of(me.get(AT).text)), me.get("/projects/everyday/history")]
        seen.append([(one.status_code, sorted(one.headers), masked(one.text)) for one in responses])
    assert kinds == ["ordinary", "gold", "repeat"]
    assert seen[0] == seen[1]
    assert seen[0] == seen[2]


def _kind(db: Session, key: str) -> str:
    db.rollback()
    task = db.scalars(
        select(Task).join(Assignment, Assignment.task_id == Task.id).where(Assignment.idempotency_key == key)
    ).one()
    return "gold" if task.gold is not None else "repeat" if task.repeat_of else "ordinary"


def test_the_cap_is_said_on_the_page_and_to_its_script(
    client: TestClient, db: Session, make_user: Callable[..., User], make_project: Callable[..., Project]
) -> None:
    user = make_user()
    project = make_project(slug="everyday", members={user: "annotator"}, pool={"daily_cap": 1})
    for _ in range(2):
        factories.make_task(db, factories.make_prompt(db, project))
    db.commit()
    me = sign_in(client, user)
    form = keys_of(me.get(AT).text)
    assert me.get(f"{AT}/next", params={"have": form["key"]}).status_code == 204
    send(me, "answer", **form, choice="a")
    for page in (me.get(AT), me.get(f"{AT}/next")):
        assert page.status_code == 200
        assert "That is your 1 for today." in page.text
    assert "<html" not in me.get(f"{AT}/next").text
    db.execute(update(Membership).values(daily_cap=0))
    db.commit()
    assert keys_of(me.get(f"{AT}/next").text)


def test_the_screening_says_what_now(
    client: TestClient, db: Session, make_user: Callable[..., User], make_project: Callable[..., Project]
) -> None:
    user, admin = make_user(), make_user()
    project = make_project(slug="everyday", members={user: "annotator"}, pool={"screening_tasks": 1})
    factories.make_task(db, factories.make_prompt(db, project))
    factories.make_gold(db, project, admin, choice="same")
    db.commit()
    me = sign_in(client, user)
    send(me, "answer", **keys_of(me.get(AT).text), choice="a")
    for page in (me.get(AT), me.get(f"{AT}/next")):
        assert "There are no more tasks for you here for now." in page.text
        assert "An admin of the project can let you in" in page.text
        assert "/projects/everyday/guidelines" in page.text
    db.execute(update(Membership).values(screening="admitted"))
    db.commit()
    assert keys_of(me.get(AT).text)
