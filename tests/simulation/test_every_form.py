"""Simulated annotators fill in every kind of form over HTTP, by their taste where it says something, and have talks."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import select
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from app.core import registry
from app.core.database import UnitOfWork
from app.core.records import (
    Assignment,
    Demonstration,
    Preference,
    Project,
    Rating,
    Step,
    Task,
    TaskSegment,
)
from app.core.records.base import Json
from app.core.settings import Settings
from app.simulation.character import Character
from app.simulation.commands import commands
from app.simulation.crowd import Crowd
from app.simulation.tastes import concise
from tests import factories
from tests.background.policy_double import PolicyDouble, serve
from tests.browser.conftest import Server
from tests.conftest import unused_port
from tests.policy_server import policy_server

SCALE = [{"value": value, "label": word} for value, word in ((-1, "Bad"), (0, "Fair"), (2, "Good"))]
RATE: Json = {"type": "rate", "key": "clear", "question": "Clear?", "options": SCALE, "not_applicable": True}
FLAGS: Json = {
    "type": "flags",
    "key": "flags",
    "question": "What applies?",
    "flags": [{"key": "rude", "label": "Rude"}],
}
GATE: Json = {"type": "note", "key": "first", "question": "What is asked?", "least": 150, "hides": "answers"}
NOTE: Json = {"type": "note", "key": "why", "question": "Why?"}
LABELS = [{"key": "wrong", "label": "Wrong"}, {"key": "good", "label": "Good"}]
FORMS: dict[str, list[Json]] = {
    "graded": [{"type": "compare", "key": "overall", "question": "Which?", "strength": 4, "tie": False}],
    "compare": [
        {
            "type": "compare",
            "key": "overall",
            "question": "Which?",
            "strength": 3,
            "aspects": [{"key": "short", "label": "Shorter"}],
        },
        RATE,
        FLAGS,
        GATE,
        NOTE,
    ],
    "choose": [{"type": "choose", "key": "best", "question": "Best?", "answers": 3, "all_bad": True}],
    "choose-rate": [{"type": "choose", "key": "best", "question": "Best?", "answers": 4, "all_bad": True}, RATE],
    "rank": [{"type": "rank", "key": "order", "question": "Order?", "answers": 3, "all_bad": True}],
    "rank-note": [{"type": "rank", "key": "order", "question": "Order?", "answers": 4, "all_bad": True}, GATE, FLAGS],
    "rate": [RATE, {**RATE, "key": "task", "of": "task"}],
    "annotate": [{"type": "annotate", "key": "marks", "question": "Mark.", "labels": LABELS}, RATE],
    "edit": [{"type": "edit", "key": "better", "question": "Better?", "unchanged": False}, NOTE],
    "demonstrate": [{"type": "demonstrate", "key": "own", "question": "Write.", "least": 300}],
}
TEXTS = (
    "Yes, it is so.",
    "Yes, it is so. I can say a little more about it, and then it is a bit longer than it was.",
    "Yes, it is so. " + "And one more thing that nobody asked about at all. " * 4,
    "Yes, it is so. " + "And one more thing that nobody asked about at all, however it may be. " * 9,
)
"""From the most concise to the least."""
EACH = 3
TALK: list[Json] = [
    {"type": "converse", "key": "overall", "question": "Which?", "strength": 2, "turns_least": 2},
    {**RATE, "of": "task"},
    {**GATE, "hides": ""},
]


@pytest.fixture
def running(app: FastAPI, settings: Settings) -> Iterator[Settings]:
    """Settings whose port is that of a running server."""
    server = Server(app)
    yield settings.model_copy(update={"port": server.port})
    server.stop()


def furnish(db: Session, name: str, fields: list[Json]) -> None:
    project = factories.make_project(db, slug=name, fields=fields)
    count = {"compare": 2, "graded": 2, "choose": 3, "choose-rate": 4, "rank": 3, "rank-note": 4, "demonstrate": 0}
    for number in range(EACH):
        prompt = factories.make_prompt(db, project, f"Is it so? {number}")
        texts = TEXTS[1:2] if count.get(name, 1) == 1 else TEXTS[: count[name]]
        factories.make_task(db, prompt, [factories.make_completion(db, prompt, text) for text in texts])
    db.commit()


def placed(uow: UnitOfWork, settings: Settings, name: str, labels: int, character: Character) -> dict[str, int]:
    crowd = Crowd(uow, settings, name, character, count=1, seed=1)
    tally = crowd.label(labels, patience=20)
    crowd.close()
    assert tally.errors == []
    assert tally.placed == labels
    return dict(tally.choices)


def ratings(db: Session, project: str, field: str) -> list[Rating]:
    mine = select(Rating).join(Project, Project.id == Rating.project_id).where(Project.slug == project)
    return list(db.scalars(mine.where(Rating.field == field).order_by(Rating.id)))


def test_every_form_is_filled_in_by_taste(running: Settings, uow: UnitOfWork, db: Session) -> None:
    for name, fields in FORMS.items():
        furnish(db, name, fields)
    choices = {name: placed(uow, running, name, EACH, Character(concise)) for name in FORMS}
    assert choices["annotate"] == {"annotate": EACH}
    assert sum(choices["compare"].values()) == EACH
    by_project = select(Preference, Project.slug).join(Project, Project.id == Preference.project_id)
    for one, slug in db.execute(by_project).all():
        assert one.tiers[0] == [0], f"{slug}: the most concise is the best, wherever it stands"
        assert (one.outcome == "best") == slug.startswith("choose")
        if slug.startswith("rank"):
            assert one.tiers == [[place] for place in range(len(one.tiers))]
        wanted = 4 if slug == "graded" else 3 if slug == "compare" and "." not in one.field else 0
        assert one.strength in (range(1, wanted + 1) if wanted else (None,))
    assert db.scalars(select(Preference.field).where(Preference.field.contains("."))).all() == ["overall.short"] * EACH
    for slug, places in (("compare", 2), ("choose-rate", 4)):
        values = {place: [] for place in range(places)}  # type: dict[int, list[float]]
        for rating in ratings(db, slug, "clear"):
            assert rating.position is not None
            assert rating.value is not None
            values[rating.position].append(rating.value)
        assert all(len(given) == EACH for given in values.values())
        assert (set(values[0]), set(values[places - 1])) == ({2.0}, {-1.0}), "from the best to the worst step"
    assert len(ratings(db, "rate", "clear")) == len(ratings(db, "rate", "task")) == EACH
    for slug in ("compare", "rank-note"):
        assert [len(one.text) >= 150 for one in ratings(db, slug, "first")] == [True] * EACH
        assert {one.value for one in ratings(db, slug, "flags")} <= {0.0, 1.0}
    marks = [one for one in ratings(db, "annotate", "marks") if one.span_start is not None]
    assert marks
    assert all(TEXTS[1][one.span_start : one.span_end].endswith(".") for one in marks)
    written = select(Step.content, Demonstration.edited_from_id).join(
        Demonstration, Demonstration.trajectory_id == Step.trajectory_id
    )
    texts = db.execute(written).all()
    assert [text for text, source in texts if source is not None] == [TEXTS[0]] * EACH, "cut short, as they like it"
    assert [len(text) >= 300 for text, source in texts if source is None] == [True] * EACH
    assert set(db.scalars(select(Assignment.outcome))) == {"answered"}


def test_coins_fill_in_every_form_too(running: Settings, uow: UnitOfWork, db: Session) -> None:
    for name in ("compare", "rank-note", "rate"):
        furnish(db, name, FORMS[name])
        placed(uow, running, name, EACH, Character(concise, random_answers=True))


def talked(db: Session, talks: int) -> None:
    """What so many ended talks leave: choices by taste, and the answers about the whole."""
    db.rollback()
    assert db.scalars(select(Task.state).where(Task.parent_id.is_(None))).all() == ["done"] * talks
    for parent in db.scalars(select(Task.id).where(Task.parent_id.is_(None))).all():
        turns = db.scalars(select(Task.id).where(Task.parent_id == parent)).all()
        assert 2 <= len(turns) <= 3
    replies = (
        select(Step.content)
        .join(TaskSegment, TaskSegment.trajectory_id == Step.trajectory_id)
        .where(Step.position == TaskSegment.first_step)
        .order_by(TaskSegment.position)
    )
    for one in db.scalars(select(Preference)).all():
        first, second = db.scalars(replies.where(TaskSegment.task_id == one.task_id)).all()
        expected = "tie" if concise(first) == concise(second) else "prefer"
        assert one.outcome == expected
        if expected == "prefer":
            assert one.tiers[0] == [0 if concise(first) > concise(second) else 1]
    assert len(db.scalars(select(Rating).where(Rating.field == "clear")).all()) == talks
    assert all(len(text) >= 150 for text in db.scalars(select(Rating.text).where(Rating.field == "first")))


class TestTalks:
    """Against a double of the policy server, and against the real one with a tiny model."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"policy_port": unused_port(), "policy_token": SecretStr("secret")})

    def test_a_talk_is_had_to_its_end(self, settings: Settings, app: FastAPI, uow: UnitOfWork, db: Session) -> None:
        project = factories.make_project(db, slug="talks", fields=TALK)
        model, deployment = factories.make_policy(db, project, version=7)
        for number in range(2):
            factories.make_task(db, factories.make_prompt(db, project, f"Is it so? {number}"), [])
        db.commit()
        with serve(PolicyDouble()) as double:
            double.version, double.model_id, double.deployment_id = 7, model.id, deployment.id
            app.state.settings = settings.model_copy(update={"policy_url": double.url})
            server = Server(app)
            here = settings.model_copy(update={"port": server.port})
            assert placed(uow, here, "talks", 2, Character(concise)) == {"talk": 2}
            server.stop()
        talked(db, 2)

    @pytest.mark.slow
    def test_the_command_talks_with_a_real_model(
        self,
        settings: Settings,
        running: Settings,
        db: Session,
        tiny_model: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        project = factories.make_project(
            db, slug="talks", fields=TALK, sampling={"max_tokens": 24, "temperature": 1.0, "top_p": 1.0}
        )
        registry.ensure_base(db, project, str(tiny_model))
        for number in range(3):
            factories.make_task(db, factories.make_prompt(db, project, f"Is it so? {number}"), [])
        db.commit()
        monkeypatch.setenv("PALATE_DATABASE_URL", settings.dsn)
        monkeypatch.setenv("PALATE_HOME", str(settings.home))
        monkeypatch.setenv("PALATE_PORT", str(running.port))
        asked = ["--project", "talks", "--annotators", "2", "--labels", "3", "--noise", "0", "--patience", "120"]
        with policy_server(settings, tiny_model):
            done = CliRunner().invoke(commands, ["simulate", *asked])
        assert done.exit_code == 0, done.output
        assert done.output.startswith("3 of 3 labels")
        assert "talk 3" in done.output
        talked(db, 3)
