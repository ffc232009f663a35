"""Signing in as JSON, for a page that must not be left: the same checks, the same limits, the same cookies."""

from collections.abc import Callable
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from app.core.records import SignInAttempt
from tests.factories import PASSWORD

Make = Callable[..., Any]
JSON = {"Accept": "application/json"}


def here(client: TestClient) -> dict[str, Any]:
    answer = client.get("/sign-in", headers=JSON)
    assert answer.headers["cache-control"] == "no-store"
    told: dict[str, Any] = answer.json()
    return told


def sign_in(client: TestClient, email: str, password: str, token: str) -> Any:
    data = {"email": email, "password": password}
    return client.post("/sign-in", data=data, headers={**JSON, "X-CSRF-Token": token})


def test_who_is_here_and_signing_in(client: TestClient, make_user: Make) -> None:
    user = make_user(name="Mara Oduya")
    nobody = here(client)
    assert (nobody["owner"], nobody["name"]) == (None, None)
    assert "palate-visitor" in client.cookies
    done = sign_in(client, user.email, PASSWORD, nobody["csrf_token"])
    assert done.status_code == 200
    assert "palate" in client.cookies
    assert "palate-visitor" not in client.cookies
    assert done.json() == here(client)
    assert (done.json()["owner"], done.json()["name"]) == (user.id, "Mara Oduya")
    assert done.json()["csrf_token"] != nobody["csrf_token"]
    saved = client.post("/settings", data={"name": "Mara"}, headers={"X-CSRF-Token": done.json()["csrf_token"]})
    assert saved.status_code == 303


def test_a_wrong_password_an_old_token_and_too_many_tries(client: TestClient, db: Session, make_user: Make) -> None:
    user = make_user()
    token = here(client)["csrf_token"]
    wrong = sign_in(client, user.email, "not this", token)
    assert (wrong.status_code, wrong.json()["message"]) == (422, "E-mail and password do not match.")
    assert sign_in(client, user.email, PASSWORD, "0" * 64).status_code == 403
    db.add_all(SignInAttempt(key=f"email:{user.email}") for _ in range(10))
    db.commit()
    many = sign_in(client, user.email, PASSWORD, token)
    assert many.status_code == 429
    assert many.json()["message"].startswith("Too many tries. Try again in ")
    assert int(many.headers["retry-after"]) > 0
    assert here(client)["owner"] is None
