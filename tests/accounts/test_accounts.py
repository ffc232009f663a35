"""Signing in and out, sessions, throttling, one-time links, own settings."""

import re
import statistics
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from argon2 import extract_parameters
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.accounts import passwords, service, throttle
from app.core.database import UnitOfWork
from app.core.errors import TooMany
from app.core.keys import STANDARD
from app.core.people import make_invite, token_hash
from app.core.records import Membership, SignInAttempt, User, WebSession
from app.core.settings import Settings
from tests.factories import PASSWORD
from tests.web.browser import post, sign_in, token_of

Make = Callable[..., Any]
NEW = {"name": "Ines Kovač", "email": "Ines@Example.org", "password": "a long password"}


@pytest.fixture
def other(app: FastAPI, client: TestClient) -> TestClient:
    """A second browser at the application that `client` started."""
    assert client.app is app
    return TestClient(app, base_url="http://localhost", follow_redirects=False)


def test_hashes_cost_what_we_decided() -> None:
    for stored in (passwords.hash_password("x"), passwords.NOBODY):
        cost = extract_parameters(stored)
        assert (cost.type.name, cost.memory_cost, cost.time_cost, cost.parallelism) == ("ID", 19 * 1024, 2, 1)
    assert passwords.matches(passwords.hash_password("right"), "right")
    assert not passwords.matches(passwords.hash_password("right"), "wrong")
    assert not passwords.matches(None, "right")
    assert not passwords.matches("not a hash", "right")


def test_an_unknown_person_takes_as_long_as_a_wrong_password() -> None:
    stored = passwords.hash_password("right")

    def seconds(hashed: str | None) -> float:
        """Of this thread's own work: what others do on the machine does not count."""
        start = time.thread_time()
        passwords.matches(hashed, "wrong")
        return time.thread_time() - start

    assert statistics.median(seconds(None) for _ in range(7)) > statistics.median(seconds(stored) for _ in range(7)) / 2


def test_the_first_link_makes_the_owner_once(client: TestClient, db: Session, settings: Settings) -> None:
    old, new = (service.first_owner_link(db, settings) for _ in range(2))
    db.commit()
    assert old
    assert new
    gone, path = ("/welcome/" + link.rpartition("/")[2] for link in (old, new))
    assert client.get(gone).status_code == 404
    assert "Make the first account" in client.get(path).text
    short = post(client, path, **{**NEW, "password": "1234567", "email": "no"})
    assert short.status_code == 422
    assert "at least 8 characters" in short.text
    assert "does not look like an e-mail" in short.text
    assert post(client, path, **NEW).status_code == 303
    assert client.get("/").status_code == 200
    user = db.scalars(select(User)).one()
    assert (user.owner, user.email) == (True, "ines@example.org")
    assert user.password_hash.startswith("$argon2id$")
    client.cookies.clear()
    assert post(client, path, **NEW).status_code in (404, 422)
    db.rollback()
    assert service.first_owner_link(db, settings) is None


def test_an_invitation_works_once(client: TestClient, db: Session, make_project: Make) -> None:
    project = make_project(slug="kitchen")
    token = make_invite(db, "annotator", project_id=project.id, created_by=None)
    db.commit()
    assert project.name in client.get(f"/invite/{token}").text
    assert post(client, f"/invite/{token}", **NEW).headers["location"] == "/projects/kitchen"
    assert db.scalars(select(Membership.role)).all() == ["annotator"]
    client.cookies.clear()
    again = post(client, f"/invite/{token}", **{**NEW, "email": "other@example.org"})
    assert again.status_code == 404
    assert client.get("/invite/wrong").status_code == 404
    assert client.get(f"/welcome/{token}").status_code == 404


def test_somebody_with_an_account_joins_with_it(
    client: TestClient, db: Session, make_user: Make, make_project: Make
) -> None:
    token = make_invite(db, "reviewer", project_id=make_project(slug="kitchen").id, created_by=None)
    db.commit()
    ann = sign_in(client, make_user(email="ann@example.org"))
    assert "ann@example.org" in ann.get(f"/invite/{token}").text
    assert post(ann, f"/invite/{token}/join", page="/settings").status_code == 303
    assert db.scalars(select(Membership.role)).all() == ["reviewer"]


def test_an_old_invitation_is_gone(client: TestClient, db: Session, make_project: Make) -> None:
    from app.core.records import Invite

    token = make_invite(db, "annotator", project_id=make_project().id, created_by=None)
    db.execute(update(Invite).values(expires_at=datetime.now(UTC) - timedelta(seconds=1)))
    db.commit()
    assert client.get(f"/invite/{token}").status_code == 404


def test_signing_in_starts_a_new_session_whatever_the_browser_brought(
    client: TestClient, db: Session, make_user: Make
) -> None:
    user = make_user()
    client.cookies.set("palate", "chosen-by-an-attacker", domain="localhost.local")
    first = sign_in(client, user).cookies["palate"]
    assert first != "chosen-by-an-attacker"
    response = post(client, "/sign-in", page="/settings", email=user.email, password=PASSWORD)
    second = response.cookies["palate"]
    assert second != first
    hashes = db.scalars(select(WebSession.token_hash)).all()
    assert hashes == [token_hash(second)]


def test_signing_out_ends_the_session_on_the_server(other: TestClient, client: TestClient, make_user: Make) -> None:
    sign_in(client, make_user())
    cookie = client.cookies["palate"]
    assert post(client, "/sign-out", page="/settings").status_code == 303
    other.cookies.set("palate", cookie)
    assert other.get("/settings").status_code == 303


@pytest.mark.parametrize(
    ("column", "age"), [("expires_at", timedelta(seconds=1)), ("last_seen_at", timedelta(hours=12, seconds=1))]
)
def test_a_session_ends_by_itself(
    client: TestClient, db: Session, make_user: Make, column: str, age: timedelta
) -> None:
    sign_in(client, make_user())
    assert client.get("/settings").status_code == 200
    db.execute(update(WebSession).values({column: datetime.now(UTC) - age}))
    db.commit()
    assert client.get("/settings").status_code == 303
    assert client.get("/settings", headers={"Accept": "application/json"}).json()["error"] == "SignInNeeded"
    assert client.get("/settings", headers={"HX-Request": "true"}).headers["hx-redirect"] == "/sign-in"


def test_use_keeps_a_session_alive(client: TestClient, db: Session, make_user: Make) -> None:
    sign_in(client, make_user())
    db.execute(update(WebSession).values(last_seen_at=datetime.now(UTC) - timedelta(hours=11)))
    db.commit()
    client.get("/settings")
    assert db.scalars(select(WebSession.last_seen_at)).one() > datetime.now(UTC) - timedelta(minutes=1)


def test_a_disabled_person_is_out_at_once(client: TestClient, db: Session, make_user: Make) -> None:
    user = make_user()
    sign_in(client, user)
    db.execute(update(User).where(User.id == user.id).values(disabled_at=datetime.now(UTC)))
    db.commit()
    assert client.get("/settings").status_code == 303
    client.cookies.clear()
    assert post(client, "/sign-in", email=user.email, password=PASSWORD).status_code == 422


def test_ten_wrong_tries_slow_down_one_e_mail_and_forget_after_five_minutes(
    client: TestClient, db: Session, make_user: Make
) -> None:
    user = make_user()
    token = token_of(client)
    data = {"csrf_token": token, "email": user.email, "password": "wrong"}
    for _ in range(10):
        wrong = client.post("/sign-in", data=data)
        assert "E-mail and password do not match." in wrong.text
    refused = client.post("/sign-in", data={**data, "password": PASSWORD})
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= 300
    spoofed = client.post("/sign-in", data=data, headers={"X-Forwarded-For": "203.0.113.9"})
    assert spoofed.status_code == 429
    assert len(db.scalars(select(SignInAttempt)).all()) == 20
    db.execute(update(SignInAttempt).values(at=datetime.now(UTC) - timedelta(minutes=6)))
    db.commit()
    assert client.post("/sign-in", data={**data, "password": PASSWORD}).status_code == 303


def test_ten_people_from_one_address_are_slowed_down_too(db: Session) -> None:
    for number in range(10):
        throttle.attempt(db, f"person{number}@example.org", "192.0.2.1")
    with pytest.raises(TooMany):
        throttle.attempt(db, "another@example.org", "192.0.2.1")
    throttle.attempt(db, "another@example.org", "192.0.2.2")


def test_right_passwords_do_not_count(db: Session) -> None:
    for _ in range(12):
        throttle.forgive(db, throttle.attempt(db, "ann@example.org", "192.0.2.1"))
    assert db.scalars(select(SignInAttempt)).all() == []


def test_parallel_tries_cannot_slip_through(uow: UnitOfWork) -> None:
    outcomes: list[bool] = []

    def once() -> None:
        try:
            with uow() as db:
                throttle.attempt(db, "ann@example.org", "192.0.2.1")
            outcomes.append(True)
        except TooMany:
            outcomes.append(False)

    threads = [threading.Thread(target=once) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False] * 6 + [True] * 10


def test_a_new_password_ends_the_other_sessions(other: TestClient, client: TestClient, make_user: Make) -> None:
    user = make_user()
    sign_in(other, user)
    sign_in(client, user)
    wrong = post(client, "/settings/password", page="/settings", current="wrong", password="another password")
    assert "not your present password" in wrong.text
    before = client.cookies["palate"]
    changed = post(client, "/settings/password", page="/settings", current=PASSWORD, password="another password")
    assert changed.status_code == 303
    assert client.cookies["palate"] != before
    assert client.get("/settings").status_code == 200
    assert other.get("/settings").status_code == 303
    sign_in(client, user, "another password")


def test_sessions_are_listed_and_ended_but_only_ones_own(
    other: TestClient, client: TestClient, db: Session, make_user: Make
) -> None:
    ann, ben = make_user(), make_user()
    sign_in(other, ann)
    sign_in(client, ben)
    theirs = db.scalars(select(WebSession.id).where(WebSession.user_id == ann.id)).one()
    assert post(client, f"/settings/sessions/{theirs}/end", page="/settings").status_code == 404
    assert other.get("/settings").status_code == 200
    sign_in(client, ann)
    assert client.get("/settings").text.count("just now") >= 4
    assert post(client, "/settings/sessions/others/end", page="/settings").status_code == 303
    assert other.get("/settings").status_code == 303


def test_own_settings_are_kept_and_checked(client: TestClient, db: Session, make_user: Make) -> None:
    user = make_user()
    sign_in(client, user)
    post(
        client,
        "/settings",
        page="/settings",
        name="Kim",
        theme="dark",
        face="sans",
        size="20",
    )
    post(client, "/settings/keys", page="/settings", keys="off", break_minutes="45")
    page = client.get("/settings").text
    assert "Saved." in page
    assert re.search(r'<html[^>]*data-theme="dark"[^>]*data-face="sans"[^>]*data-size="20"', page)
    assert "Saved." not in client.get("/settings").text
    db.expire_all()
    assert db.get_one(User, user.id).preferences == {
        "theme": "dark",
        "face": "sans",
        "size": 20,
        "keys": "off",
        "break_minutes": 45,
    }
    wrong = post(client, "/settings", page="/settings", name="Kim", theme="pink", size="99")
    assert wrong.status_code == 422
    assert "A size from 15 to 22." in wrong.text
    assert db.scalar(select(User.owner).where(User.id == user.id)) is False


def test_a_form_cannot_set_what_it_does_not_show(client: TestClient, db: Session, make_user: Make) -> None:
    user = make_user()
    sign_in(client, user)
    post(client, "/settings", page="/settings", name="Kim", owner="true", email="x@y.z", role="owner")
    db.expire_all()
    row = db.get_one(User, user.id)
    assert (row.owner, row.email) == (False, user.email)
    db.execute(delete(SignInAttempt))


def test_keys_of_ones_own_are_checked_on_the_server(client: TestClient, db: Session, make_user: Make) -> None:
    user = make_user()
    sign_in(client, user)
    own = {f"own__{name}": key for name, key in STANDARD.items()}
    at = {"page": "/settings", "keys": "own", "sending": "ask", "break_minutes": "30"}
    taken = post(client, "/settings/keys", **at, **{**own, "own__skip": "z"})
    assert taken.status_code == 422
    assert "Z is the key of “Undo, up to 50 back” already." in taken.text
    assert re.search(r'name="own.skip"[^>]*value="z"', taken.text)
    assert '<option value="own" selected>' in taken.text
    for wrong, said in (
        ({"own__skip": "Tab"}, "One character, Shift"),
        ({"keys": "dvorak"}, "Choose one of these."),
        ({"sending": "never"}, "Choose one of these."),
        ({"break_minutes": "-1"}, "Minutes from 0 to 240."),
    ):
        refused = post(client, "/settings/keys", **{**at, **own, **wrong})
        assert (refused.status_code, said in refused.text) == (422, True), wrong
    db.expire_all()
    assert db.get_one(User, user.id).preferences == {}
    assert post(client, "/settings/keys", **at, **{**own, "own__skip": "", "own__9": "q"}).status_code == 303
    db.expire_all()
    kept = db.get_one(User, user.id).preferences
    assert (kept["keys"], kept["sending"], kept["break_minutes"]) == ("own", "ask", 30)
    assert (kept["own"]["skip"], kept["own"]["9"], kept["own"]["undo"]) == ("", "q", "z")
    post(client, "/settings", page="/settings", name="Kim", theme="dark")
    db.expire_all()
    assert db.get_one(User, user.id).preferences == {**kept, "theme": "dark"}
