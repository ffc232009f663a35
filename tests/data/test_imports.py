"""Importing by page and command: every bad row is named, and nothing is stored before somebody says so."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from app.core.database import UnitOfWork
from app.core.records import AuditEvent, Import, Prompt, Task, User
from app.core.settings import Settings
from app.data.commands import commands
from app.demo import seed
from tests import factories
from tests.data.conftest import World

SignIn = Callable[[User], TestClient]
GOOD = '{"prompt": "Why is the sea salty?", "id": "sea"}\n{"prompt": "How do kites fly?"}\n'
MIXED = GOOD + '{"prompt": ""}\n{"promt": "x"}\n{"prompt": "First kite?"}\n{"prompt": "How do kites fly?"}\n'
AT = "/projects/kitchen/prompts/import"


def stored(db: Session) -> int:
    db.rollback()
    return db.scalars(select(func.count()).select_from(Prompt).where(Prompt.source.like("import:%"))).one()


def upload(client: TestClient, text: str | bytes, **fields: str) -> str:
    response = client.post(AT, files={"file": ("rows.jsonl", text)}, data=fields)
    assert response.status_code == 303, response.text
    return response.headers["location"]


def test_a_good_file_is_looked_at_then_imported_then_gone(
    world: World, sign_in: SignIn, db: Session, settings: Settings
) -> None:
    client = sign_in(world.admin)
    checked = upload(client, GOOD)
    page = client.get(checked).text
    assert "Import 2 rows" in page
    assert "Why is the sea salty?" in page
    assert stored(db) == 0
    done = client.post(checked, data={"decision": "import"})
    assert done.headers["location"] == "/projects/kitchen/prompts"
    assert stored(db) == 2
    assert list((settings.home / "uploads").iterdir()) == []
    assert "How do kites fly?" in client.get("/projects/kitchen/prompts").text
    assert client.post(checked, data={"decision": "import"}).status_code == 409
    assert "was imported" in client.get(checked).text
    assert "imported prompts" in db.scalars(select(AuditEvent.action)).all()


def test_bad_rows_are_named_and_left_out_only_when_asked(world: World, sign_in: SignIn, db: Session) -> None:
    client = sign_in(world.admin)
    checked = upload(client, MIXED)
    page = client.get(checked).text
    cells = re.findall(r"<td[^>]*>(.*?)</td>", page)
    assert cells[:3] == ["3", "prompt", "Empty. A prompt needs words."]
    assert "There is no such field" in page
    assert "Import 3 rows, leave out 2" in page
    refused = client.post(checked, data={"decision": "import"})
    assert refused.status_code == 422
    assert stored(db) == 0
    problems = [json.loads(line) for line in client.get(f"{checked}/problems").text.splitlines()]
    assert [problem["row"] for problem in problems] == [3, 4]
    client.post(checked, data={"decision": "leave_out"})
    assert stored(db) == 3


def test_a_file_can_be_forgotten(world: World, sign_in: SignIn, db: Session, settings: Settings) -> None:
    client = sign_in(world.admin)
    checked = upload(client, GOOD)
    client.post(checked, data={"decision": "discard"})
    assert stored(db) == 0
    assert db.scalars(select(Import.state)).all() == ["discarded"]
    assert list((settings.home / "uploads").iterdir()) == []


def test_pasted_rows_go_the_same_way(world: World, sign_in: SignIn, db: Session) -> None:
    client = sign_in(world.admin)
    response = client.post(AT, data={"rows": GOOD})
    client.post(response.headers["location"], data={"decision": "import"})
    assert stored(db) == 2


@pytest.mark.parametrize("text", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_said_to_be_empty(world: World, sign_in: SignIn, text: bytes) -> None:
    response = sign_in(world.admin).post(AT, files={"file": ("rows.jsonl", text)})
    assert response.status_code == 422
    assert "Empty." in response.text


def test_a_file_beyond_the_limit_is_refused_and_nothing_kept(
    world: World, sign_in: SignIn, settings: Settings, db: Session
) -> None:
    big = b'{"prompt": "x"}\n' * (settings.upload_limit // 16 + 1)
    response = sign_in(world.admin).post(AT, files={"file": ("rows.jsonl", big)})
    assert response.status_code == 422
    assert "Larger than 5 MB" in response.text
    assert db.scalars(select(func.count()).select_from(Import)).one() == 0


def test_marked_up_text_is_shown_as_text(world: World, sign_in: SignIn) -> None:
    client = sign_in(world.admin)
    evil = json.dumps({"prompt": "<script>alert(1)</script> <img src=x onerror=alert(2)>"})
    page = client.get(upload(client, evil + "\n" + json.dumps({"prompt": 3, "<b>": 1}))).text
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "<b>" not in page.split("<main", 1)[1].split("Mend it here")[0].replace("&lt;b&gt;", "")


def test_only_admins_of_the_project_import(world: World, sign_in: SignIn, db: Session) -> None:
    stranger, viewer = factories.make_user(db), factories.make_user(db)
    factories.add_member(db, world.project, viewer, "viewer")
    db.commit()
    assert sign_in(world.kim).get(AT).status_code == 403
    assert sign_in(world.kim).get("/projects/kitchen/prompts").status_code == 403
    assert sign_in(stranger).get(AT).status_code == 404
    reader = sign_in(viewer)
    assert reader.get("/projects/kitchen/prompts").status_code == 200
    assert reader.post(AT, files={"file": ("rows.jsonl", GOOD)}).status_code == 403


def test_a_file_of_another_project_is_not_there(world: World, sign_in: SignIn, db: Session) -> None:
    factories.make_project(db, slug="garden", members={world.admin: "admin"})
    db.commit()
    client = sign_in(world.admin)
    checked = upload(client, GOOD)
    assert client.get(checked.replace("kitchen", "garden")).status_code == 404


def test_prompts_are_browsed_by_words_and_pages(world: World, sign_in: SignIn, db: Session) -> None:
    for number in range(60):
        factories.make_prompt(db, world.project, f"Numbered prompt {number:02}")
    db.commit()
    client = sign_in(world.admin)
    first = client.get("/projects/kitchen/prompts").text
    assert "Numbered prompt 59" in first
    assert "Numbered prompt 05" not in first
    older = re.search(r'href="([^"]*before=\d+)"', first)
    assert older
    assert "Numbered prompt 05" in client.get(older[1].replace("&amp;", "&")).text
    assert "Numbered prompt 59" not in client.get("/projects/kitchen/prompts?q=prompt+07").text
    assert "Numbered prompt" not in client.get("/projects/kitchen/prompts?split=validation").text


def test_the_command_names_bad_rows_and_stores_nothing_without_being_told(
    world: World, db: Session, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {"PALATE_HOME": str(settings.home), "PALATE_DATABASE_URL": settings.dsn}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "rows.jsonl"
    file.write_text(MIXED)
    refused = CliRunner().invoke(commands, ["import", "kitchen", str(file)])
    assert refused.exit_code != 0
    assert "Row 3, prompt: Empty." in refused.stderr
    assert stored(db) == 0
    done = CliRunner().invoke(commands, ["import", "kitchen", str(file), "--good-ones"])
    assert done.exit_code == 0
    assert "3 prompts added, 1 were here already, 2 left out." in done.stdout
    assert stored(db) == 3
    out = tmp_path / "out"
    written = CliRunner().invoke(commands, ["export", "kitchen", "--shape", "trl", "--format", "jsonl", "-o", str(out)])
    assert written.exit_code == 0
    assert {path.name for path in out.iterdir()} == {"train.jsonl", "validation.jsonl", "export.json"}


ANSWERED = (
    '{"prompt": "Tea or coffee?", "id": "t", "completions": ["Tea.", {"text": "Coffee.", "source": "secret-7b"}]}\n'
    '{"prompt": "First kite?", "completions": ["", "Red <b>."], "answers_needed": 3}\n'
)


def tasks(db: Session) -> list[tuple[str | None, int, str]]:
    db.rollback()
    chosen = select(Task.external_id, Task.answers_needed, Task.state).where(Task.strategy == "imported")
    return [(name, needed, state) for name, needed, state in db.execute(chosen.order_by(Task.id))]


def test_comparisons_are_looked_at_then_imported(world: World, sign_in: SignIn, db: Session) -> None:
    client = sign_in(world.admin)
    checked = upload(client, ANSWERED + '{"prompt": "One?", "completions": ["a"]}\n', kind="comparisons")
    page = client.get(checked).text
    assert "Import 2 rows, leave out 1" in page
    assert "This project&#39;s protocol shows 2 answers." in page
    assert "secret-7b" in page
    assert "Red &lt;b&gt;." in page
    assert 'name="kind" value="comparisons"' in page
    assert client.post(checked, data={"decision": "import"}).status_code == 422
    assert tasks(db) == []
    assert client.post(checked, data={"decision": "leave_out"}).status_code == 303
    assert tasks(db) == [("t", 1, "open"), (None, 3, "open")]
    assert "2 comparisons were added." in client.get("/projects/kitchen/prompts").text
    again = client.get(upload(client, ANSWERED.splitlines()[0], kind="comparisons")).text
    assert "The project has this comparison already." in again
    seen = sign_in(world.kim).get("/projects/kitchen/label").text
    assert "Coffee." in seen
    assert "This answer is empty." in seen
    assert "secret-7b" not in seen


def test_the_command_takes_comparisons(
    world: World, db: Session, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PALATE_HOME", str(settings.home))
    monkeypatch.setenv("PALATE_DATABASE_URL", settings.dsn)
    file = tmp_path / "rows.jsonl"
    file.write_text(ANSWERED + '{"prompt": "One?", "completions": ["a", "b", "c"]}\n')
    words = ["import", "kitchen", str(file), "--as", "comparisons"]
    refused = CliRunner().invoke(commands, words)
    assert refused.exit_code != 0
    assert "Row 3, completions: This project's protocol shows 2 answers. 3 answers" in refused.stderr
    assert tasks(db) == []
    done = CliRunner().invoke(commands, [*words, "--good-ones"])
    assert "2 comparisons added, 0 were here already, 1 left out." in done.stdout
    assert len(tasks(db)) == 2
    assert "imported comparisons" in db.scalars(select(AuditEvent.action)).all()
    assert CliRunner().invoke(commands, [*words[:-1], "pairs"]).exit_code != 0


def test_the_demo_project_is_made_once_with_both_splits(uow: UnitOfWork, settings: Settings, db: Session) -> None:
    assert seed(uow, settings)
    assert not seed(uow, settings)
    splits = db.scalars(select(Prompt.split)).all()
    assert len(splits) >= 200
    assert 0.1 < splits.count("validation") / len(splits) < 0.3
