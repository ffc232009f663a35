"""Changing an answer: superseding rows, nothing counted twice, nothing leased, old snapshots untouched."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core import queue
from app.core.answers import current
from app.core.database import UnitOfWork
from app.core.edits import edit, reopen
from app.core.errors import Conflict, InvalidInput, NotFound
from app.core.forms import filled, parse_answers, parse_protocol, segments_of
from app.core.records import Assignment, Preference, Project, Rating, Task, User
from app.core.snapshots import pairs_of, preference_ids, take_snapshot
from app.labeling.service import answers_of
from tests import factories

A = {"overall": {"choice": "a", "note": "first thought"}}
B = {"overall": {"choice": "b"}}


@pytest.fixture
def person(db: Session) -> User:
    return factories.make_user(db)


@pytest.fixture
def project(db: Session, person: User) -> Project:
    return factories.make_project(db, members={person: "annotator"})


def answered(db: Session, project: Project, person: User, *, needed: int = 1) -> queue.Served:
    """A task that the person answered with A."""
    factories.make_task(db, factories.make_prompt(db, project), answers_needed=needed)
    served = queue.next_task(db, project, person)
    assert served is not None
    queue.submit(db, person, served.key, served.token, A)
    db.commit()
    return served


def rows(db: Session) -> list[Preference]:
    return list(db.scalars(select(Preference).order_by(Preference.id)))


def test_the_very_task_comes_again_with_the_old_answer(db: Session, project: Project, person: User) -> None:
    for _ in range(8):  # either order of the sides
        served = answered(db, project, person)
        again = reopen(db, project, person, served.key)
        assert again.task.answers == served.answers
        assert again.task.messages == served.messages
        assert again.task.key != served.key
        assert again.sentence == "A is better"
        assert again.inputs == {"choice": "a", "graded": "a", "note": "first thought"}
    assert db.scalars(select(func.count()).where(Assignment.outcome.is_(None))).one() == 0, "nothing was leased"


TEXT: dict[str, Any] = {"type": "note", "key": "why", "question": "Why?"}
SCALE = [{"value": 0, "label": "No"}, {"value": 1, "label": "Yes"}]


@pytest.mark.parametrize(
    ("form", "sent"),
    [
        ([{"type": "compare", "strength": 4}], {"choice": "b", "strength": "3", "note": "so"}),
        ([{"type": "compare", "strength": 2}, TEXT], {"graded": "same", "why.text": "Both know it."}),
        ([{"type": "compare", "aspects": [{"key": "tone", "label": "Tone"}]}], {"choice": "a", "aspect_tone": "same"}),
        ([{"type": "compare"}], {"choice": "both_bad"}),
        ([{"type": "choose", "answers": 2}], {"choice": "2"}),
        ([{"type": "choose", "answers": 2}], {"choice": "all_bad"}),
        ([{"type": "rank", "answers": 2}], {"order": "2>1"}),
        ([{"type": "rank", "answers": 2}], {"place_1": "1", "place_2": "1"}),
        ([{"type": "rank", "answers": 2}], {"choice": "all_bad"}),
        ([{"type": "rate", "options": SCALE, "not_applicable": True}], {"value_1": "none"}),
        ([{"type": "rate", "options": SCALE, "of": "task"}], {"value": "1"}),
        (
            [
                {"type": "rate", "options": SCALE, "of": "task"},
                {**TEXT, "type": "flags", "flags": [{"key": "x", "label": "X"}]},
            ],
            {"value": "0", "why.x_1": "on"},
        ),
        ([{"type": "edit"}], {"text": "Better words."}),
        ([{"type": "demonstrate"}], {"text": "My own words."}),
        (
            [{"type": "annotate", "labels": [{"key": "wrong", "label": "Wrong"}]}],
            {"spans": '[{"start": 4, "end": 9, "label": "wrong", "comment": "It is the second."}]'},
        ),
    ],
)
def test_what_a_form_shows_again_is_what_was_sent(form: list[dict[str, object]], sent: dict[str, str]) -> None:
    """Sending the form as it is filled says the same: nothing of an answer is lost by opening it."""
    fields = parse_protocol([{"key": "overall", "question": "Which?", **one} for one in form])
    texts = ["The first answer.", "Another one."][: segments_of(fields)]
    drafts = parse_answers(fields, answers_of(sent, fields), texts)
    assert parse_answers(fields, answers_of(filled(fields, drafts), fields), texts) == drafts


def test_several_kinds_of_feedback_change_together(db: Session, person: User) -> None:
    """What both answers speak of is superseded, what only the old one said is taken back, what is new is added."""
    labels = [{"key": "wrong", "label": "Wrong"}]
    form: list[dict[str, Any]] = [
        {"type": "annotate", "key": "marks", "question": "What is wrong?", "labels": labels},
        TEXT,
    ]
    project = factories.make_project(db, members={person: "annotator"}, fields=form)
    prompt = factories.make_prompt(db, project)
    factories.make_task(db, prompt, [factories.make_completion(db, prompt, "The first answer.")])
    served = queue.next_task(db, project, person)
    assert served is not None

    def answers(start: int, why: str) -> dict[str, dict[str, str]]:
        spans = f'[{{"start": 0, "end": 3, "label": "wrong"}}, {{"start": {start}, "end": 9, "label": "wrong"}}]'
        return {"marks": {"spans": spans}, "why": {"text": why}}

    queue.submit(db, person, served.key, served.token, answers(4, "first"))
    outcome = edit(db, person, uuid4(), served.key, answers(5, ""))
    assert outcome.sentence == "2 passages marked"
    assignment = db.scalars(select(Assignment)).one()
    held = [row for row in current(db, assignment) if isinstance(row, Rating)]
    assert [(row.span_start, row.supersedes_id is None) for row in held] == [(None, False), (0, False), (5, True)]
    assert [row.span_start for row in db.scalars(select(Rating).where(Rating.withdrawn).order_by(Rating.id))] == [
        4,
        None,
    ]
    edit(db, person, uuid4(), served.key, answers(4, "again"))
    assert len(current(db, assignment)) == 4


def test_an_edit_supersedes_and_counts_nothing(db: Session, project: Project, person: User) -> None:
    served = answered(db, project, person)
    task = db.scalars(select(Task)).one()
    before = db.scalars(select(Assignment)).one().submitted_at
    assert (task.state, task.answers) == ("done", 1)
    outcome = edit(db, person, uuid4(), served.key, B)
    assert (outcome.kind, outcome.sentence, outcome.replayed) == ("answered", "B is better", False)
    first, second = rows(db)
    assert (second.supersedes_id, second.withdrawn, first.tiers) == (first.id, False, second.tiers[::-1])
    db.refresh(task)
    assert (task.state, task.answers) == ("done", 1)
    assert db.scalars(select(Assignment)).one().submitted_at == before
    assert reopen(db, project, person, served.key).sentence == "B is better"


def test_old_snapshots_keep_the_old_answer_and_new_ones_have_the_new(
    db: Session, project: Project, person: User
) -> None:
    served = answered(db, project, person)
    old = take_snapshot(db, project.id)
    target = [pair.target for pair in pairs_of(db, old.id)]
    edit(db, person, uuid4(), served.key, B)
    new = take_snapshot(db, project.id)
    assert [pair.target for pair in pairs_of(db, old.id)] == target
    assert [1 - pair.target for pair in pairs_of(db, new.id)] == target
    assert len(preference_ids(db, new.id)) == 1


def test_the_same_key_twice_is_one_edit_also_after_undo(db: Session, project: Project, person: User) -> None:
    served = answered(db, project, person)
    key = uuid4()
    edit(db, person, key, served.key, B)
    again = edit(db, person, key, served.key, A)
    assert (again.replayed, again.sentence, len(rows(db))) == (True, "B is better", 2)
    undone = queue.undo(db, project, person)
    assert undone is not None
    assert undone[0].sentence == "B is better"
    assert edit(db, person, key, served.key, A).replayed
    assert [row.withdrawn for row in rows(db)] == [False, False, True]
    task = db.scalars(select(Task)).one()
    assert (task.state, task.answers) == ("open", 0)


def test_nobody_elses_nothing_skipped_and_no_foreign_key(db: Session, project: Project, person: User) -> None:
    served = answered(db, project, person)
    other = factories.make_user(db)
    for change in (lambda: reopen(db, project, other, served.key), lambda: edit(db, other, uuid4(), served.key, B)):
        with pytest.raises(NotFound):
            change()
    with pytest.raises(InvalidInput):
        edit(db, person, uuid4(), served.key, {"overall": {"choice": "maybe"}})
    factories.make_task(db, factories.make_prompt(db, project))
    second = queue.next_task(db, project, person)
    assert second is not None
    with pytest.raises(InvalidInput):
        edit(db, person, second.key, served.key, B)
    queue.skip(db, person, second.key, second.token)
    with pytest.raises(Conflict):
        edit(db, person, uuid4(), second.key, B)
    assert len(rows(db)) == 1


def test_16_parallel_edits_are_one_chain_and_one_answer(
    db: Session, uow: UnitOfWork, project: Project, person: User
) -> None:
    served = answered(db, project, person)
    keys = [uuid4() for _ in range(8)]

    def change(number: int) -> bool:
        with uow() as one:
            return edit(one, person, keys[number % 8], served.key, B).replayed

    with ThreadPoolExecutor(16) as pool:
        replayed = list(pool.map(change, range(16)))
    assert replayed.count(False) == 8
    replaced = [row.supersedes_id for row in rows(db)]
    assert replaced[0] is None
    assert len(set(replaced)) == 9
    db.expire_all()
    assert db.scalars(select(Task.answers)).one() == 1
