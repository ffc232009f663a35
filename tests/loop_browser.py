"""Signed-in clients for tests of admin pages."""

import re
from dataclasses import dataclass
from typing import Any

from fastapi.testclient import TestClient
from httpx2 import Response

from app.core.records import User
from tests.factories import PASSWORD


@dataclass
class Person:
    """Somebody with a browser: GETs pages, and posts forms with the token of the last page."""

    client: TestClient
    token: str = ""

    def get(self, path: str, **options: Any) -> Response:
        """The page; its CSRF token is remembered."""
        response: Response = self.client.get(path, **options)
        found = re.search(r'name="csrf-token" content="([^"]+)"', response.text)
        self.token = found.group(1) if found else self.token
        return response

    def post(self, path: str, **fields: Any) -> Response:
        """Send a form as the page would."""
        response: Response = self.client.post(path, data={"csrf_token": self.token, **fields})
        return response


def sign_in(client: TestClient, user: User) -> Person:
    """This client as this person."""
    client.cookies.clear()
    person = Person(client)
    person.get("/sign-in")
    assert person.post("/sign-in", email=user.email, password=PASSWORD).status_code == 303
    person.get("/")
    return person
