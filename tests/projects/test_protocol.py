"""The editor of what people are asked: blocks and fields go both ways, and the page composes them without a script."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.errors import InvalidInput
from app.core.forms import parse_protocol
from app.core.records import Project, Protocol, User
from app.projects.protocol_forms import ADDS, blocks_of, changed, fields_of, key_of
from tests.web.browser import post, sign_in

AT = "/projects/kitchen/protocol"


@pytest.fixture
def kitchen(make_project: Callable[..., Any], make_user: Callable[..., Any], client: TestClient) -> Project:
    admin: User = make_user(name="Ines Kovač")
    project: Project = make_project(slug="kitchen", name="Kitchen table", members={admin: "admin"})
    sign_in(client, admin)
    return project


def posted(html: str) -> dict[str, str]:
    """What the browser would send of the editor's form: every input and textarea as it stands."""
    values = {}
    for tag in re.findall(r"<input[^>]*>", html):
        name, value = re.search(r'name="([^"]*)"', tag), re.search(r'value="([^"]*)"', tag)
        box = 'type="checkbox"' in tag or 'type="radio"' in tag
        if name and name[1].startswith("f") and (not box or " checked" in tag):
            values[name[1]] = value[1] if value else ""
    values |= dict(re.findall(r'<textarea[^>]*name="([^"]*)"[^>]*>(.*?)</textarea>', html, re.DOTALL))
    for name, options in re.findall(r'<select[^>]*name="([^"]*)"[^>]*>(.*?)</select>', html, re.DOTALL):
        found = re.search(r'value="([^"]*)" selected', options)
        values[name] = found[1] if found else re.findall(r'value="([^"]*)"', options)[0]
    return values


@pytest.mark.parametrize("kind", ADDS)
def test_every_field_that_can_be_added_goes_both_ways(kind: str) -> None:
    blocks = changed(changed([], "add:rate") if kind == "note" else [], f"add:{kind}")
    fields = fields_of(blocks)
    parse_protocol(fields)
    assert fields_of(blocks_of(fields)) == fields


def test_a_form_is_composed_step_by_step_without_a_script(client: TestClient, db: Session, kitchen: Project) -> None:
    page = client.get(AT).text
    for act in ("add:rate", "add:note", "add:flags", "up:3", "remove:1"):
        answer = post(client, AT, page=AT, **posted(page), act=act)
        assert answer.status_code == 200
        page = answer.text
    assert db.scalars(select(Protocol.version)).all() == [1]  # nothing is stored before it is saved
    values = posted(page) | {"f1.flags": "rude: Is rude\nToo long", "f2.least": "20", "f0.aspects": "Clarity\nTone"}
    preview = post(client, AT, page=AT, **values, act="preview")
    assert preview.status_code == 200
    for words in ("Is rude", "Clarity", "At least 20 characters.", "nothing is sent"):
        assert words in preview.text
    assert post(client, AT, page=AT, **values, act="save").status_code == 303
    stored = db.scalars(select(Protocol.fields).where(Protocol.version == 2)).one()
    assert [field["type"] for field in stored] == ["compare", "flags", "note"]
    assert stored[1]["flags"] == [{"key": "rude", "label": "Is rude"}, {"key": "too_long", "label": "Too long"}]
    assert stored[0]["key"] == "overall"
    assert post(client, AT, page=AT, **posted(client.get(AT).text), act="save").status_code == 303
    assert db.scalars(select(Protocol.version).order_by(Protocol.version)).all() == [1, 2]  # unchanged: no new version


@pytest.mark.parametrize(
    ("blocks", "name", "words"),
    [
        ([{"type": "rate", "question": "How?", "options": "one"}], "f0.options", "Write each step"),
        ([{"type": "rate", "question": "", "options": "1\n2"}], "f0.question", "at least 1 character"),
        ([{"type": "rate", "question": "How?", "options": "1\n1"}], "f0.question", "are the same"),
        ([{"type": "note", "question": "Why?", "least": "many"}], "f0.least", "whole number"),
        ([{"type": "note", "question": "Why?"}], "f0.question", "must be answered"),
        (
            [{"type": "compare", "question": "Which?"}, {"type": "rank", "question": "Order?", "answers": "3"}],
            "f1.question",
            "One form compares",
        ),
        (
            [{"type": "demonstrate", "question": "Write."}, {"type": "rate", "question": "How?", "options": "1\n2"}],
            "f1.question",
            "the form shows none",
        ),
        ([{"type": "compare", "question": "Which?", "strength": "2", "anchors": "a bit"}], "f0.question", "one anchor"),
        ([{"type": "compare", "question": "Which?", "strength": "7"}], "f0.strength", "less than or equal"),
        ([{"type": "parade", "question": "Which?"}], "f0.", "parade"),
        ([], "act", "at least one question"),
    ],
)
def test_what_does_not_fit_is_named_at_its_input(blocks: list[dict[str, str]], name: str, words: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        fields_of(blocks)
    assert refused.value.problems[0].field.startswith(name)
    assert words in str(refused.value.problems[0].message)


def test_a_page_with_an_error_keeps_what_was_written(client: TestClient, db: Session, kitchen: Project) -> None:
    values = {"f0.type": "rate", "f0.question": "How warm?", "f0.options": "1 = Cold\nwarm", "act": "save"}
    answer = post(client, AT, page=AT, **values)
    assert answer.status_code == 422
    assert "Write each step on a line of its own" in answer.text
    assert "1 = Cold\nwarm" in answer.text
    assert db.scalars(select(Protocol.version)).all() == [1]


def test_keys_come_from_words() -> None:
    assert key_of("Contains personal data!") == "contains_personal_data"
    assert key_of("2nd thoughts") == "n_2nd_thoughts"
    assert key_of("¿?") == ""
