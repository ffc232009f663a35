"""Comparisons come in with their texts: every bad row is named, good ones become tasks that no swap touches."""

import json
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core import queue
from app.core.comparisons import ComparisonReport, check_comparisons
from app.core.errors import Conflict
from app.core.imported import add_comparisons, check_against, segments_in_force
from app.core.records import Project, Prompt, Protocol, Step, Task, TaskSegment, Trajectory
from app.sampler import open_tasks
from tests import factories

PAIR = ["It is blue.", {"text": "It is red.", "source": "Other"}]
SKY: dict[str, Any] = {"prompt": "Which colour has the sky?", "completions": PAIR}


def check(*rows: object, segments: int = 2) -> ComparisonReport:
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    return check_comparisons(lines, segments)


def test_a_row_may_be_short_or_say_everything() -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Sky?"}]
    full = {"messages": messages, "completions": PAIR, "id": 7, "answers_needed": 3, "metadata": {"topic": "sky"}}
    report = check(SKY, full)
    assert report.problems == []
    short, said = report.good
    assert [one.text for one in short.completions] == ["It is blue.", "It is red."]
    assert [one.source for one in short.completions] == [None, "Other"]
    assert (short.external_id, short.answers_needed, short.extra) == (None, None, {})
    assert (said.messages, said.external_id, said.answers_needed, said.extra) == (messages, "7", 3, {"topic": "sky"})


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"completions": []}, "completions", "as many answers as the protocol shows"),
        ({"completions": ["one"]}, "completions", "This project's protocol shows 2 answers."),
        ({"completions": ["a"] * 10}, "completions", "at most 9 answers"),
        ({"completions": ["a", "b", "c"]}, "completions", "This project's protocol shows 2 answers."),
        ({"completions": "ab"}, "completions", "Must be a list of answers."),
        ({"completions": ["a", 3]}, "completions.1", "Must be text, or an object with text and source."),
        ({"completions": ["a", {"txt": "b"}]}, "completions.1.text", "Missing."),
        ({"completions": ["a", {"text": "b", "source": ""}]}, "completions.1.source", "Leave source out"),
        ({"completions": ["a", {"text": "b", "sorce": "x"}]}, "completions.1.sorce", "Perhaps source was meant."),
        ({"completions": ["a", "b" * 32_001]}, "completions.1.text", "Longer than 32,000 characters"),
        ({"answers_needed": 0}, "answers_needed", "At least one person"),
        ({"answers_needed": 26}, "answers_needed", "At most 25 people"),
        ({"answers_needed": "3"}, "answers_needed", "Must be a whole number."),
        ({"prompt": "  "}, "prompt", "Only blanks."),
        ({"prompt": None}, "prompt", "either prompt or messages"),
        ({"chosen": 1}, "chosen", "There is no such field."),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], field: str, words: str) -> None:
    report = check(SKY, SKY | change)
    assert len(report.good) == 1
    assert {(problem.row, problem.field) for problem in report.problems} >= {(2, field)}
    assert any(words in problem.message for problem in report.problems), report.problems


def test_a_missing_list_and_broken_lines_are_named() -> None:
    report = check({"prompt": "x"}, b"{", b'{"prompt": "\xff"}', [1])
    assert [(problem.row, problem.field) for problem in report.problems] == [
        (1, "completions"),
        (2, "row"),
        (3, "row"),
        (4, "row"),
    ]
    assert (report.rows, report.bad_rows) == (4, 4)


def test_an_id_stands_for_one_row_and_rows_without_one_may_repeat() -> None:
    report = check(SKY, SKY, SKY | {"id": "a"}, SKY | {"id": "a"})
    assert len(report.good) == 3
    assert [(problem.row, problem.field) for problem in report.problems] == [(4, "id")]


@pytest.fixture
def project(db: Session) -> Project:
    return factories.make_project(db, pool={"answers_per_task": 2})


def add(db: Session, project: Project, *rows: object) -> dict[str, int]:
    report = check_against(db, project.id, check(*rows))
    assert report.problems == []
    return add_comparisons(db, project, report.good, "import:test")


def test_rows_become_open_tasks_in_their_order_with_texts_in_theirs(db: Session, project: Project) -> None:
    other = {"prompt": "Tea?", "completions": ["", "Green."], "id": "tea", "answers_needed": 5, "metadata": {"a": [1]}}
    assert add(db, project, SKY, other, SKY | {"completions": PAIR[::-1]}) == {
        "added": 3,
        "prompts": 2,
        "duplicates": 0,
    }
    tasks = db.scalars(select(Task).order_by(Task.id)).all()
    assert [(task.answers_needed, task.external_id, task.extra) for task in tasks] == [
        (2, None, {}),
        (5, "tea", {"a": [1]}),
        (2, None, {}),
    ]
    assert {(task.state, task.strategy, task.deployment_id, task.gold) for task in tasks} == {
        ("open", "imported", None, None)
    }
    assert tasks[0].prompt_id == tasks[2].prompt_id
    shown = db.execute(
        select(TaskSegment.task_id, Step.content, Trajectory.author_kind, Trajectory.source)
        .join(Step, Step.trajectory_id == TaskSegment.trajectory_id)
        .join(Trajectory, Trajectory.id == TaskSegment.trajectory_id)
        .order_by(TaskSegment.task_id, TaskSegment.position)
    ).all()
    assert [tuple(row[1:]) for row in shown] == [
        ("It is blue.", "source", None),
        ("It is red.", "source", "Other"),
        ("", "source", None),
        ("Green.", "source", None),
        ("It is red.", "source", "Other"),
        ("It is blue.", "source", None),
    ]
    assert db.scalars(select(func.count()).select_from(Trajectory)).one() == 4


def test_a_row_may_mark_its_prompt_and_with_it_every_task_of_the_prompt(db: Session, project: Project) -> None:
    tea = {"prompt": "Tea?", "completions": ["Black.", "Green."]}
    add(db, project, SKY, tea)
    add(db, project, SKY | {"sensitive": True}, SKY)
    found = db.execute(
        select(Prompt.messages[0]["content"].astext, Prompt.sensitive, Task.sensitive)
        .join(Task, Task.prompt_id == Prompt.id)
        .order_by(Task.id)
    )
    sky = (SKY["prompt"], True, True)
    assert [tuple(row) for row in found] == [sky, ("Tea?", False, False), sky, sky]


def test_the_same_words_of_two_sources_are_two_answers(db: Session, project: Project) -> None:
    said = [{"text": "Yes.", "source": "One"}, {"text": "Yes.", "source": "Two"}]
    add(db, project, {"prompt": "Is it?", "completions": said}, {"prompt": "Is it?", "completions": ["Yes.", "Yes."]})
    sources = db.scalars(select(Trajectory.source).order_by(Trajectory.id)).all()
    assert sorted(sources, key=str) == [None, "One", "Two"]
    assert db.scalars(select(func.count()).select_from(TaskSegment)).one() == 4


def test_a_file_that_comes_again_adds_nothing_and_an_id_never_changes_its_row(db: Session, project: Project) -> None:
    row = SKY | {"id": "sky"}
    assert add(db, project, row)["added"] == 1
    again = check_against(db, project.id, check(row, SKY | {"id": "other"}))
    assert [problem.row for problem in again.duplicates] == [1]
    assert len(again.good) == 1
    for change in ({"completions": PAIR[::-1]}, {"prompt": "Another?"}):
        taken = check_against(db, project.id, check(row | change))
        assert [(problem.field, problem.found) for problem in taken.problems] == [("id", "sky")]
    # Between the check and the import somebody else brought the same row.
    assert add_comparisons(db, project, check(row).good, "import:late") == {"added": 0, "prompts": 0, "duplicates": 1}


def test_a_protocol_that_changed_since_the_check_stores_nothing(db: Session, project: Project) -> None:
    good = check(SKY).good
    fields = [{"type": "choose", "key": "best", "question": "Best?", "answers": 3, "all_bad": True}]
    db.add(Protocol(project_id=project.id, version=2, fields=fields))
    project.protocol_version = 2
    db.flush()
    assert segments_in_force(db, project) == 3
    with pytest.raises(Conflict):
        add_comparisons(db, project, good, "import:test")
    assert db.scalars(select(func.count()).select_from(Prompt)).one() == 0


def test_a_swap_leaves_imported_tasks_alone_and_the_pool_does_not_count_them(db: Session, project: Project) -> None:
    old, first = factories.make_policy(db, project, live=False)
    new, second = factories.make_policy(db, project, version=1)
    prompt = factories.make_prompt(db, project)
    pair = [factories.make_completion(db, prompt, text, model=old, deployment=first) for text in "ab"]
    of_pool = factories.make_task(db, prompt, pair, deployment=first)
    add(db, project, SKY, SKY)
    assert open_tasks(db, project.id, old.id) == (1, 0)
    assert open_tasks(db, project.id, new.id) == (0, 1)
    assert queue.withdraw_stale(db, project, second.id) == 1
    db.refresh(of_pool)
    assert of_pool.state == "withdrawn"
    assert db.scalars(select(Task.state).where(Task.strategy == "imported")).all() == ["open", "open"]
    assert queue.withdraw_stale(db, project, None) == 0


def test_annotators_see_texts_and_no_source(db: Session, project: Project) -> None:
    add(db, project, SKY)
    served = queue.next_task(db, project, factories.make_user(db))
    assert served is not None
    assert sorted(served.answers) == ["It is blue.", "It is red."]
    assert "Other" not in repr(served)
