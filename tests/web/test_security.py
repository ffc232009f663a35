"""Headers on everything, nothing from other sites, nothing without a token."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.records import Project, User
from app.core.settings import ROOT, Settings
from app.main import create_app
from app.web.htmx import local_path
from app.web.security import HEADERS, POLICY, known_hosts
from tests.web.browser import post, sign_in, token_of, walk

POLICY_AS_AGREED = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
Make = Callable[..., Any]


def routes(app: FastAPI, *, unsafe: bool) -> Iterator[tuple[str, str]]:
    """Method and path of every route of ours, with 1 for numbers and the project's slug."""
    for route in walk(app.routes):
        for method in sorted(route.methods or ()):
            if (method in ("POST", "PUT", "PATCH", "DELETE")) == unsafe and method != "HEAD":
                path = re.sub(r"\{slug(:\w+)?\}", "kitchen", route.path)
                yield method, re.sub(r"\{\w+(:\w+)?\}", "1", path)


def contents(db: Session) -> list[Any]:
    """How many rows each table has, except those that only say that somebody was there."""
    db.rollback()
    names = db.scalars(text("select table_name from information_schema.tables where table_schema = 'public'")).all()
    kept = sorted(set(names) - {"web_sessions", "sign_in_attempts", "alembic_version"})
    return [(name, db.scalar(text(f'select count(*) from "{name}"'))) for name in kept]  # noqa: S608 - our own names


@pytest.fixture
def everybody(make_user: Make, make_project: Make) -> tuple[User, Project]:
    """An owner and a project, so that every route would work."""
    return make_user(owner=True), make_project(slug="kitchen")


def test_the_routes_are_found(app: FastAPI) -> None:
    assert ("POST", "/sign-in") in set(routes(app, unsafe=True))
    assert len(set(routes(app, unsafe=True))) >= 20
    assert len(set(routes(app, unsafe=False))) >= 15


def test_every_answer_carries_the_headers(app: FastAPI, everybody: tuple[User, Project]) -> None:
    assert POLICY == POLICY_AS_AGREED
    with TestClient(app, base_url="http://localhost", follow_redirects=False, raise_server_exceptions=False) as client:
        for signed_in in (False, True):
            if signed_in:
                sign_in(client, everybody[0])
            addresses = [*(path for _, path in routes(app, unsafe=False)), "/nothing", "/static/css/palate.css"]
            for path in addresses:
                response = client.get(path)
                assert response.headers["content-security-policy"] == POLICY, path
                assert HEADERS.items() <= dict(response.headers.items()).items() or all(
                    response.headers[name] == value for name, value in HEADERS.items()
                )
                if not path.startswith("/static"):
                    assert response.headers["cache-control"] == "no-store", path
        refused = client.get("/", headers={"Host": "evil.example"})
        assert (refused.status_code, refused.headers["content-security-policy"]) == (400, POLICY)
        large = client.post("/sign-in", content=b"x" * (3 * 1024 * 1024))
        assert (large.status_code, large.headers["content-security-policy"]) == (413, POLICY)


def test_static_files_are_kept_by_version_only(app: FastAPI, client: TestClient) -> None:
    address = app.state.templates.globals["static"]("css/palate.css")
    assert "immutable" in client.get(address).headers["cache-control"]
    assert client.get("/static/css/palate.css").headers["cache-control"] == "no-cache"
    assert client.get("/static/0000/css/palate.css").status_code == 404
    for path in ("/static/../app/main.py", "/static/%2e%2e/app/main.py", "/static/..%2fapp/main.py"):
        assert client.get(path).status_code == 404


SENT: list[tuple[str, dict[str, str]]] = [
    ("no token", {}),
    ("another token", {"X-CSRF-Token": "0" * 64}),
    ("cross-site", {"Sec-Fetch-Site": "cross-site"}),
    ("same-site", {"Sec-Fetch-Site": "same-site"}),
    ("foreign origin", {"Origin": "https://evil.example"}),
    ("no origin", {"Origin": "null"}),
    ("method override", {"X-HTTP-Method-Override": "GET"}),
]


@pytest.mark.parametrize("sent", SENT, ids=[case for case, _ in SENT])
def test_no_unsafe_route_works_without_our_token_or_from_another_site(
    client: TestClient, db: Session, everybody: tuple[User, Project], sent: tuple[str, dict[str, str]]
) -> None:
    sign_in(client, everybody[0])
    case, headers = sent
    app = cast("FastAPI", client.app)
    if case not in ("no token", "another token", "method override"):
        headers = {**headers, "X-CSRF-Token": token_of(client, "/settings")}
    before = contents(db)
    for method, path in set(routes(app, unsafe=True)):
        assert client.request(method, path, headers=headers).status_code == 403, path
        plain = client.request(method, path, headers={**headers, "Content-Type": "text/plain"}, content="{}")
        assert plain.status_code == 403, path
    assert contents(db) == before


def test_another_sessions_token_is_worth_nothing(client: TestClient, make_user: Make) -> None:
    ann, ben = make_user(), make_user()
    stolen = token_of(sign_in(client, ann), "/settings")
    sign_in(client, ben)
    assert client.post("/settings", data={"csrf_token": stolen, "name": "x"}).status_code == 403
    assert client.post("/settings", headers={"X-CSRF-Token": stolen}).status_code == 403


def test_our_own_pages_may_post(client: TestClient, make_user: Make) -> None:
    sign_in(client, make_user())
    token = token_of(client, "/settings")
    for headers in ({"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://localhost"}, {"X-CSRF-Token": token}):
        response = client.post("/settings", data={"csrf_token": token, "name": "Kim"}, headers=headers)
        assert response.status_code == 303


def test_reading_changes_nothing(
    app: FastAPI, client: TestClient, db: Session, everybody: tuple[User, Project]
) -> None:
    sign_in(client, everybody[0])
    before = contents(db)
    for _, path in routes(app, unsafe=False):
        assert client.get(path).status_code < 500, path
    assert contents(db) == before


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "user@localhost", "localhost:x", "", "a b"])
def test_a_forged_host_is_refused(client: TestClient, host: str) -> None:
    assert client.get("/sign-in", headers={"Host": host}).status_code == 400


def test_the_bound_and_the_public_name_are_known() -> None:
    settings = Settings(host="0.0.0.0", public_url="https://palate.example:8443/")  # noqa: S104 - not bound
    assert known_hosts(settings) == {"localhost", "127.0.0.1", "::1", "palate.example"}


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "\\/evil",
        "javascript:1",
        "/\t/evil.example",
        "",
        "x",
        "/\n/evil",
        "///evil.example",
        " /x",
        "http:evil.example",
        "/a\\..\\b",
    ],
)
def test_next_never_leaves_this_server(client: TestClient, make_user: Make, target: str) -> None:
    assert local_path(target) == "/"
    user = make_user()
    response = post(client, "/sign-in", email=user.email, password="correct horse battery staple", next=target)
    assert response.headers["location"] == "/"


def test_next_leads_back_to_a_page_of_ours(client: TestClient, make_user: Make) -> None:
    gone = client.get("/settings?x=1")
    assert gone.headers["location"] == "/sign-in?next=/settings%3Fx%3D1"
    response = post(
        client, "/sign-in", email=make_user().email, password="correct horse battery staple", next="/settings?x=1"
    )
    assert response.headers["location"] == "/settings?x=1"


def test_cookies_are_out_of_reach_of_scripts_and_bound_to_https(settings: Settings, make_user: Make) -> None:
    app = create_app(settings.model_copy(update={"public_url": "https://palate.example"}))
    user = make_user()
    with TestClient(app, base_url="https://palate.example", follow_redirects=False) as client:
        response = post(client, "/sign-in", email=user.email, password="correct horse battery staple")
        cookie = response.headers["set-cookie"]
        assert cookie.startswith("__Host-palate=")
        for flag in ("HttpOnly", "SameSite=lax", "Secure", "Path=/"):
            assert flag in cookie
        assert "Domain" not in cookie
        assert response.headers["strict-transport-security"].startswith("max-age=")


def test_an_unexpected_error_tells_a_number_and_no_details(app: FastAPI) -> None:
    @app.get("/broken")
    def broken() -> None:
        raise RuntimeError("a secret detail")

    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        page = client.get("/broken")
        assert page.status_code == 500
        assert re.search(r"<strong>[0-9a-f]{8}</strong>", page.text)
        assert "secret detail" not in page.text
        assert page.headers["content-security-policy"] == POLICY
        assert re.fullmatch(
            "[0-9a-f]{8}", client.get("/broken", headers={"Accept": "application/json"}).json()["reference"]
        )


def test_a_database_that_is_away_is_a_503(client: TestClient, app: FastAPI) -> None:
    client.cookies.set("palate", "x")
    app.state.engine.dispose()
    broken = app.state.uow

    def away() -> Any:
        from sqlalchemy.exc import OperationalError

        raise OperationalError("select", {}, Exception("gone"))

    app.state.uow = away
    response = client.get("/", headers={"Accept": "application/json"})
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    app.state.uow = broken


def test_markup_is_made_in_one_place_and_templates_trust_nothing() -> None:
    for path in [*Path(ROOT / "app").rglob("*.py")]:
        if path.name != "markdown.py":
            assert not re.search(r"\bMarkup\(|mark_safe", path.read_text()), path
    for path in Path(ROOT / "templates").rglob("*.html"):
        # A data block (type="application/json") is text to the browser and runs nothing.
        inline = r"<script(?! src| type=\"application/json\")"
        found = re.search(
            rf"\|\s*safe\b|autoescape false|\son\w+=|style=\"|javascript:|hx-on|{inline}", path.read_text()
        )
        assert not found, (path, found)
