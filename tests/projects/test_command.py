"""A project from a file, as the command makes it."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session
from typer.testing import CliRunner, Result

from app.core.projects import settings_of
from app.core.records import Guideline, Membership, Project, Protocol
from app.core.settings import Settings
from app.projects.commands import commands

CHOOSE = {"type": "choose", "key": "best", "question": "Which is best?", "answers": 3, "all_bad": False}


@pytest.fixture(autouse=True)
def _here(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PALATE_HOME", str(settings.home))
    monkeypatch.setenv("PALATE_DATABASE_URL", settings.dsn)


def make(tmp_path: Path, value: Any, slug: str = "crowd") -> Result:
    file = tmp_path / "project.json"
    file.write_text(json.dumps(value))
    return CliRunner().invoke(commands, [slug, str(file)])


def test_everything_of_the_file_is_stored(tmp_path: Path, db: Session) -> None:
    said = {"name": "The crowd", "guidelines": "# Be fair", "protocol": [CHOOSE]}
    done = make(tmp_path, said | {"settings": {"pool": {"answers_per_task": 3}}})
    assert done.exit_code == 0, done.output
    project = db.scalars(select(Project)).one()
    assert (project.slug, project.name, project.created_by) == ("crowd", "The crowd", None)
    assert settings_of(project).pool.answers_per_task == 3
    assert db.scalars(select(Guideline.text)).one() == "# Be fair"
    assert db.scalars(select(Protocol.fields)).one()[0]["answers"] == 3
    assert db.scalars(select(Membership)).all() == []


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({}, "name: Field required"),
        ({"name": "x", "guidlines": "y"}, "guidlines: Extra inputs"),
        ({"name": "x", "protocol": [{"type": "smell"}]}, "protocol"),
        ({"name": "x", "settings": {"pool": {"answers_per_task": 0}}}, "settings.pool.answers_per_task"),
        ({"name": " "}, "name: A name has 1 to 80 characters."),
        ([], "file"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_stored(tmp_path: Path, db: Session, value: Any, words: str) -> None:
    refused = make(tmp_path, value)
    assert refused.exit_code != 0
    assert words in str(refused.exception)
    assert db.scalars(select(Project)).all() == []


def test_a_taken_address_is_refused(tmp_path: Path) -> None:
    assert make(tmp_path, {"name": "One"}).exit_code == 0
    assert "Another project has this address." in str(make(tmp_path, {"name": "Two"}).exception)
