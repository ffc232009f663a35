"""Making and changing projects through their pages, without JavaScript."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.errors import InvalidInput
from app.core.projects import ProjectSettings, settings_of
from app.core.records import AuditEvent, Guideline, Invite, Membership, Project, Protocol, User
from app.core.registry import live
from app.projects import forms
from tests.web.attacks import TEXTS
from tests.web.browser import post, sign_in

Make = Callable[..., Any]


@pytest.fixture
def admin(make_user: Make) -> User:
    user: User = make_user(name="Ines Kovač")
    return user


@pytest.fixture
def kitchen(make_project: Make, admin: User) -> Project:
    project: Project = make_project(slug="kitchen", name="Kitchen table", members={admin: "admin"})
    return project


def as_form(settings: ProjectSettings, **changes: str) -> dict[str, str]:
    """What a browser would send for these settings."""
    values = {"name": "Kitchen table", **forms.values_of(settings)}
    sent = {name: "on" if value is True else str(value) for name, value in values.items() if value is not False}
    return {name.replace(".", "__"): value for name, value in {**sent, **changes}.items() if value != ""}


def test_a_new_project_has_all_it_needs(client: TestClient, db: Session, make_user: Make) -> None:
    sign_in(client, make_user(owner=True))
    assert client.get("/projects/new").status_code == 200
    fields = {"name": "Küche & Co", "guidelines": "# Be *kind*", "question": "Which one?", "both_bad": "on"}
    made = post(client, "/projects/new", page="/projects/new", **fields)
    assert made.headers["location"] == "/projects/kuche-co/prompts/import"
    project = db.scalars(select(Project)).one()
    assert db.scalars(select(Guideline.text)).one() == "# Be *kind*"
    asked = db.scalars(select(Protocol)).one().fields[0]
    assert (asked["question"], asked["tie"], asked["both_bad"], asked["strength"]) == ("Which one?", False, True, 0)
    assert db.scalars(select(Membership.role)).one() == "admin"
    policy = live(db, project.id)
    assert policy is not None
    assert policy.name == "v0"
    taken = post(client, "/projects/new", page="/projects/new", name="Other", slug="kuche-co", guidelines="keep me")
    assert taken.status_code == 422
    assert "Another project has this address." in taken.text
    assert "keep me" in taken.text
    for slug in ("new", "UPPER/..", "-x", "a" * 49):
        assert post(client, "/projects/new", page="/projects/new", name="x", slug=slug).status_code == 422


def test_the_list_starts_with_where_one_worked_last(
    client: TestClient, db: Session, admin: User, kitchen: Project, make_project: Make
) -> None:
    from tests.factories import make_assignment, make_policy, make_prompt, make_task

    make_project(name="Garden", members={admin: "annotator"})
    make_project(name="Not mine")
    make_policy(db, kitchen)
    task = make_task(db, make_prompt(db, kitchen))
    make_task(db, make_prompt(db, kitchen))
    make_assignment(db, task, admin, outcome="answered")
    db.commit()
    page = sign_in(client, admin).get("/").text
    assert page.index("Kitchen table</a>") < page.index("Garden</a>")
    assert "Not mine" not in page
    assert "1 task waits for you." in page
    assert "1 person answered today." in page
    assert "v0 live" in page


def test_settings_are_stored_checked_and_audited(
    client: TestClient, db: Session, admin: User, kitchen: Project
) -> None:
    at = "/projects/kitchen/settings"
    sign_in(client, admin)
    changed = as_form(ProjectSettings(), **{"sampling.temperature": "0.8", "training.overrides": "ppo.steps = 20"})
    assert post(client, at, page=at, **changed).status_code == 303
    db.expire_all()
    now = settings_of(db.get_one(Project, kitchen.id))
    assert now.sampling.temperature == 0.8
    assert now.training.overrides == {"ppo": {"steps": 20}}
    assert "ppo.steps = 20" in client.get(at).text
    event = db.scalars(select(AuditEvent).where(AuditEvent.action == "changed settings")).one()
    assert set(event.detail) == {"sampling", "training"}


@pytest.mark.parametrize(
    "entry",
    [
        ("sampling.temperature", "0", "Above 0"),
        ("sampling.temperature", "nan", "A number belongs here."),
        ("gate.kl", "inf", "A number belongs here."),
        ("sampling.top_p", "1.1", "At most 1"),
        ("pool.completions_per_prompt", "1", "At least 2"),
        ("pool.open_tasks", "many", "A number belongs here."),
        ("gate.kl", "-1", "Above 0"),
        ("training.overrides", "ppo.stepz = 3", "ppo has no setting"),
        ("training.overrides", "ppo.steps = 0", "steps must be above 0"),
        ("training.overrides", "no sense", "write it like"),
        ("training.preset", "moon", "There is no preset"),
        ("name", " ", "A name has 1 to 80 characters."),
    ],
)
def test_what_does_not_fit_is_said_beside_its_field(
    client: TestClient, db: Session, admin: User, kitchen: Project, entry: tuple[str, str, str]
) -> None:
    field, value, says = entry
    at = "/projects/kitchen/settings"
    sign_in(client, admin)
    response = post(client, at, page=at, **as_form(ProjectSettings(), **{field: value}))
    assert response.status_code == 422
    assert says in response.text.replace("&#39;", "'")
    assert f'id="{field}-error"' in response.text
    assert db.get_one(Project, kitchen.id).settings == {}


def test_all_that_does_not_fit_is_said_at_once() -> None:
    sent = as_form(ProjectSettings(), **{"sampling.top_p": "2", "gate.kl": "0", "training.overrides": "x"})
    with pytest.raises(InvalidInput) as caught:
        forms.read_settings({name.replace("__", "."): value for name, value in sent.items()})
    assert {one.field for one in caught.value.problems} == {"sampling.top_p", "gate.kl", "training.overrides"}


def test_every_number_of_the_settings_has_a_field() -> None:
    shown = {field.name for _, _, fields in forms.SECTIONS for field in fields}
    assert shown | {"description", "training.pipeline", "training.preset", "training.overrides"} == set(
        forms.values_of(ProjectSettings())
    )
    assert (
        forms.read_settings({k.replace("__", "."): v for k, v in as_form(ProjectSettings()).items()})
        == ProjectSettings()
    )
    with pytest.raises(InvalidInput):
        forms.read_settings({})


def test_guidelines_keep_every_version_and_nobody_overwrites_another(
    client: TestClient, db: Session, admin: User, kitchen: Project
) -> None:
    at = "/projects/kitchen/guidelines/edit"
    sign_in(client, admin)
    looked = post(client, at, page=at, text="**bold**", based_on="1", act="preview")
    assert "<strong>bold</strong>" in looked.text
    assert post(client, at, page=at, text="Second.", based_on="1").status_code == 303
    late = post(client, at, page=at, text="Mine, from version 1.", based_on="1")
    assert late.status_code == 409
    assert "Mine, from version 1." in late.text
    assert db.scalars(select(Guideline.version).order_by(Guideline.id)).all() == [1, 2]
    assert "Prefer the answer that helps." in client.get("/projects/kitchen/guidelines/versions/1").text
    assert client.get("/projects/kitchen/guidelines/versions/3").status_code == 404
    assert "Second." in client.get("/projects/kitchen/guidelines").text


def test_an_annotator_reads_guidelines_in_their_own_frame(
    client: TestClient, make_user: Make, make_project: Make
) -> None:
    user = make_user()
    make_project(slug="garden", members={user: "annotator"}, guidelines="Prefer *short*.")
    page = sign_in(client, user).get("/projects/garden/guidelines")
    assert page.status_code == 200
    assert "<em>short</em>" in page.text
    assert "/projects/garden/models" not in page.text


def test_guidelines_cannot_attack_the_page(client: TestClient, admin: User, make_project: Make) -> None:
    make_project(slug="evil", members={admin: "admin"}, guidelines="\n\n".join(TEXTS), name="<script>alert(1)</script>")
    page = sign_in(client, admin).get("/projects/evil/guidelines").text
    main = page[page.index('<div id="preview"') :]
    for bad in ("<script>", "<img", "<iframe", "<form action", "onerror=alert(1)>", '<a href="javascript', "<svg"):
        assert bad not in main.lower().replace("&quot;", "'")
    assert "<script>alert(1)</script>" not in page


def test_members_get_links_roles_and_leave(
    client: TestClient, db: Session, admin: User, kitchen: Project, make_user: Make
) -> None:
    from tests.factories import add_member

    at = "/projects/kitchen/members"
    ben = make_user(name="Ben")
    add_member(db, kitchen, ben)
    db.commit()
    sign_in(client, admin)
    page = post(client, f"{at}/invite", page=at, role="reviewer").text
    assert "/invite/" in page
    assert "It is shown only now." in page
    assert "/invite/" not in client.get(at).text
    invite = db.scalars(select(Invite)).one()
    assert post(client, f"{at}/invites/{invite.id}/revoke", page=at).status_code == 303
    assert db.scalars(select(Invite)).all() == []
    assert post(client, f"{at}/invite", page=at, role="owner").status_code == 422
    assert post(client, f"{at}/{ben.id}/role", page=at, role="viewer").status_code == 303
    assert post(client, f"{at}/{ben.id}/role", page=at, role="owner").status_code == 422
    assert db.scalars(select(Membership.role).where(Membership.user_id == ben.id)).one() == "viewer"
    assert post(client, f"{at}/{admin.id}/remove", page=at).status_code == 403
    assert post(client, f"{at}/{ben.id}/remove", page=at).status_code == 303
    assert post(client, f"{at}/{ben.id}/remove", page=at).status_code == 404


def test_an_invitation_of_another_project_cannot_be_revoked(
    client: TestClient, db: Session, admin: User, kitchen: Project, make_project: Make
) -> None:
    from app.core.people import make_invite

    make_invite(db, "viewer", project_id=make_project().id, created_by=None)
    db.commit()
    sign_in(client, admin)
    theirs = db.scalars(select(Invite.id)).one()
    at = "/projects/kitchen/members"
    assert post(client, f"{at}/invites/{theirs}/revoke", page=at).status_code == 404
    assert kitchen.slug == "kitchen"


def test_pause_archive_and_back(
    client: TestClient, db: Session, admin: User, kitchen: Project, make_user: Make
) -> None:
    at = "/projects/kitchen/settings"
    sign_in(client, admin)
    post(client, "/projects/kitchen/pause", page=at)
    assert db.scalar(select(Project.paused_at)) is not None
    assert "Resume labeling" in client.get(at).text
    db.rollback()
    post(client, "/projects/kitchen/resume", page=at)
    assert db.scalar(select(Project.paused_at)) is None
    assert post(client, "/projects/kitchen/archive", page=at, typed="kitchen").status_code == 422
    assert post(client, "/projects/kitchen/archive", page=at, typed=kitchen.name).status_code == 303
    assert client.get(at).status_code == 404
    sign_in(client, make_user(owner=True))
    assert "Bring back" in client.get("/").text
    assert post(client, "/projects/kitchen/restore", page="/").status_code == 303
    assert client.get(at).status_code == 200
