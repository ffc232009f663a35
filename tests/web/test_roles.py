"""Who may call which route. The table below is the whole truth; a route that is not in it fails the test."""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.core.records import User
from tests.web.browser import sign_in, token_of, walk

Make = Callable[..., Any]
GATES = {"current_user", "owner", "member"}
ROLES = ("admin", "reviewer", "annotator", "viewer")
ADMIN_ONLY = ("/settings", "/members", "/guidelines/edit", "/guidelines/_preview", "/pause", "/resume", "/archive")


def called(endpoint: Callable[..., Any], depth: int = 2) -> set[str]:
    """Names of the functions a handler calls, also through helpers of its own module."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(endpoint))))
    names = {
        node.func.id if isinstance(node.func, ast.Name) else node.func.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute)
    }
    module = inspect.getmodule(endpoint)
    inner = [getattr(module, name, None) for name in names] if depth else []
    for function in inner:
        if inspect.isfunction(function) and inspect.getmodule(function) is module:
            names |= called(function, depth - 1)
    return names


def test_every_route_asks_who_it_is_or_says_that_it_is_public(app: FastAPI) -> None:
    found = list(walk(app.routes))
    assert len(found) >= 35
    for route in found:
        public = getattr(route.endpoint, "__palate_public__", False)
        assert public or called(route.endpoint) & GATES, f"{route.path} asks nobody"


def test_the_public_routes_are_these(app: FastAPI) -> None:
    public = {route.path for route in walk(app.routes) if getattr(route.endpoint, "__palate_public__", False)}
    assert public == {"/healthz", "/readyz", "/sign-in", "/sign-out", "/welcome/{token}", "/invite/{token}"}


def test_a_stranger_is_sent_to_sign_in(app: FastAPI, client: TestClient, make_project: Make) -> None:
    make_project(slug="kitchen")
    token = token_of(client)
    for route in walk(app.routes):
        if getattr(route.endpoint, "__palate_public__", False):
            continue
        path = re.sub(r"\{\w+(:\w+)?\}", "1", re.sub(r"\{slug(:\w+)?\}", "kitchen", route.path))
        for method in set(route.methods) - {"HEAD"}:
            response = client.request(method, path, headers={"X-CSRF-Token": token})
            assert response.status_code in (303, 401, 422), (method, path, response.status_code)
            if response.status_code == 303:
                assert response.headers["location"].startswith("/sign-in"), path


def test_another_projects_pages_are_not_there(
    app: FastAPI, client: TestClient, make_user: Make, make_project: Make
) -> None:
    """Not 403: that a project exists is nobody else's business."""
    make_project(slug="kitchen")
    admin = make_user()
    make_project(slug="mine", members={admin: "admin"})
    sign_in(client, admin)
    token = token_of(client, "/settings")
    for route in walk(app.routes):
        if "{slug" not in route.path or route.path.endswith("/restore"):
            continue
        path = re.sub(r"\{\w+(:\w+)?\}", "1", re.sub(r"\{slug(:\w+)?\}", "kitchen", route.path))
        for method in set(route.methods) - {"HEAD"}:
            response = client.request(method, path, headers={"X-CSRF-Token": token})
            assert response.status_code in (404, 422), (method, path, response.status_code)


@pytest.mark.parametrize("role", ROLES)
def test_only_admins_reach_what_changes_a_project(
    app: FastAPI, client: TestClient, make_user: Make, make_project: Make, role: str
) -> None:
    user: User = make_user()
    make_project(slug="kitchen", members={user: role})
    sign_in(client, user)
    pages = [f"/projects/kitchen{end}" for end in ADMIN_ONLY]
    token = token_of(client, "/settings")
    seen = set()
    for route in walk(app.routes):
        path = route.path.replace("{slug}", "kitchen")
        if path not in pages:
            continue
        for method in set(route.methods) - {"HEAD"}:
            status = client.request(method, path, headers={"X-CSRF-Token": token}, data={"text": "x"}).status_code
            assert (status == 403) == (role != "admin"), (method, path, status)
            seen.add(path)
        if path.endswith("/archive") and role == "admin":
            assert status == 422
    assert seen == set(pages)


def test_only_the_owner_makes_and_restores_projects(client: TestClient, make_user: Make) -> None:
    sign_in(client, make_user())
    token = token_of(client, "/settings")
    assert client.get("/projects/new").status_code == 403
    for path in ("/projects/new", "/projects/kitchen/restore"):
        assert client.post(path, data={"csrf_token": token, "name": "x"}).status_code == 403
