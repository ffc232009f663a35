"""A person at a browser, for tests: keeps cookies, finds the CSRF token of the last page, posts forms with it."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from fastapi.testclient import TestClient

from app.core.records import User
from tests.factories import PASSWORD

TOKEN = re.compile(r'name="csrf(?:_token|-token)" (?:value|content)="([^"]*)"')


def walk(found: Iterable[Any]) -> Iterator[Any]:
    """Every route of an application with its path, methods and endpoint, also behind included routers."""
    for route in found:
        if hasattr(route, "effective_candidates"):
            yield from walk(route.effective_candidates())
        elif hasattr(route, "endpoint"):
            yield route


def token_of(client: TestClient, page: str = "/sign-in") -> str:
    """The CSRF token on a page."""
    response = client.get(page, follow_redirects=True)
    found = TOKEN.search(response.text)
    assert found, f"{page} ({response.status_code}) shows no token"
    return found[1]


def post(client: TestClient, url: str, page: str = "/sign-in", **fields: Any) -> Any:
    """Send a form as the page at `page` would. Dots in field names are written as two underscores."""
    data = {name.replace("__", "."): value for name, value in fields.items()}
    return client.post(url, data={"csrf_token": token_of(client, page), **data})


def sign_in(client: TestClient, user: User, password: str = PASSWORD) -> TestClient:
    """Sign in through the form. Another person's session in this client ends."""
    client.cookies.clear()
    response = post(client, "/sign-in", email=user.email, password=password)
    assert response.status_code == 303, response.text
    return client
