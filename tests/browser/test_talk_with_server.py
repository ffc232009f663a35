"""A talk with the real policy server, which starts while the person already looks at the page."""

from pathlib import Path

import pytest
from playwright.sync_api import expect
from pydantic import SecretStr
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import registry
from app.core.records import Project, Step, Task, TaskSegment, User
from app.core.settings import Settings
from tests import factories
from tests.browser.conftest import Open
from tests.conftest import unused_port
from tests.policy_server import policy_server

pytestmark = pytest.mark.browser
CONVERSE = {"type": "converse", "key": "overall", "question": "Which reply?", "strength": 4}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"policy_port": unused_port(), "policy_token": SecretStr("secret")})


@pytest.fixture
def project(db: Session, annotator: User, tiny_model: Path) -> Project:
    project = factories.make_project(
        db,
        slug="everyday",
        name="Everyday assistant",
        members={annotator: "annotator"},
        fields=[CONVERSE],
        sampling={"max_tokens": 24, "temperature": 1.0, "top_p": 1.0},
    )
    registry.ensure_base(db, project, str(tiny_model))
    factories.make_task(db, factories.make_prompt(db, project, "How do I keep bread fresh?"), [])
    db.commit()
    return project


def test_a_talk_begins_when_the_model_is_there(
    open_label: Open, db: Session, project: Project, settings: Settings, tiny_model: Path
) -> None:
    page = open_label()
    expect(page.locator("#trouble")).to_contain_text("The model is starting", timeout=30_000)
    with policy_server(settings, tiny_model):
        page.wait_for_selector('#task[data-at="1open"]', state="attached", timeout=200_000)
        page.wait_for_timeout(250)
        page.keyboard.press("9")
        page.wait_for_selector('#task[data-at="1ready"]', state="attached", timeout=60_000)
        page.keyboard.press("w")
        page.keyboard.type("And in summer?")
        page.keyboard.press("Control+Enter")
        page.wait_for_selector('#task[data-at="2open"]', state="attached", timeout=60_000)
    live = registry.live(db, project.id)
    assert live is not None
    turns = db.scalars(select(Task.id).where(Task.parent_id.is_not(None)).order_by(Task.id)).all()
    assert len(turns) == 2
    judged = db.scalars(
        select(Step)
        .join(TaskSegment, TaskSegment.trajectory_id == Step.trajectory_id)
        .where(TaskSegment.task_id.in_(turns), Step.position == TaskSegment.first_step)
    ).all()
    assert len(judged) == 4
    for step in judged:
        assert (step.model_id, step.deployment_id) == (live.model_id, live.deployment_id)
        assert step.token_ids is not None
        assert step.logprobs is not None
        assert 0 < len(step.token_ids) == len(step.logprobs) <= 24
        assert step.finish_reason in ("stop", "length")
