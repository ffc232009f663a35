"""The pool: filled from what the server says it served, spread over prompts, never mixed, never doubled."""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core import registry, sensitive
from app.core.database import UnitOfWork
from app.core.errors import Unavailable
from app.core.records import Project, Prompt, Protocol, Step, Task, TaskSegment, Trajectory
from app.sampler import Sampler, open_tasks
from app.web.policy_client import PolicyClient
from tests import factories
from tests.background.policy_double import PolicyDouble, serve


@pytest.fixture
def project(db: Session) -> Project:
    """A project with six prompts (one held out) and its base policy live."""
    project = factories.make_project(db, pool={"open_tasks": 10, "completions_per_prompt": 4})
    for number in range(6):
        factories.make_prompt(db, project, f"Question {number}?", split="validation" if number == 5 else "train")
    registry.ensure_base(db, project, "tiny")
    db.commit()
    return project


@pytest.fixture
def double(db: Session, project: Project) -> Iterator[PolicyDouble]:
    live = registry.live(db, project.id)
    assert live is not None
    with serve(PolicyDouble(live.version, live.model_id, live.deployment_id)) as double:
        yield double


@pytest.fixture
def sampler(uow: UnitOfWork, double: PolicyDouble) -> Iterator[Sampler]:
    with PolicyClient(double.url, "secret", bulk=True, timeout=10) as client:
        yield Sampler(uow, client)


def use(db: Session, project: Project, field: dict[str, object]) -> None:
    """Ask this instead."""
    db.scalars(select(Protocol).where(Protocol.project_id == project.id)).one().fields = [field]
    db.commit()


def fill_up(sampler: Sampler, project: Project, most: int = 10) -> None:
    """Batches until the sampler finds nothing to do."""
    for _ in range(most):
        if not sampler.fill(project.id):
            return


def test_the_pool_is_filled_to_its_size_and_no_further(db: Session, sampler: Sampler, project: Project) -> None:
    fill_up(sampler, project)
    tasks = list(db.scalars(select(Task)))
    assert 10 <= len(tasks) <= 12
    assert {task.state for task in tasks} == {"open"}
    assert sampler.fill(project.id) == 0


def test_tasks_are_spread_evenly_and_each_completion_is_used_twice(
    db: Session, sampler: Sampler, project: Project
) -> None:
    fill_up(sampler, project)
    per_prompt = Counter(db.scalars(select(Task.prompt_id)))
    assert len(per_prompt) == 3
    assert max(per_prompt.values()) - min(per_prompt.values()) <= 1
    used = Counter(db.scalars(select(TaskSegment.trajectory_id)))
    assert set(used.values()) == {2}
    pairs = [
        frozenset(pair)
        for pair in db.scalars(select(func.array_agg(TaskSegment.trajectory_id)).group_by(TaskSegment.task_id))
    ]
    assert len(set(pairs)) == len(pairs)


@pytest.mark.parametrize("answers", [3, 4, 6])
def test_tasks_of_several_answers_show_each_completion_once(
    db: Session, sampler: Sampler, project: Project, answers: int
) -> None:
    asked = {"type": "rank", "key": "overall", "question": "Best first.", "answers": answers}
    db.add(Protocol(project_id=project.id, version=2, fields=[asked]))
    project.protocol_version = 2
    db.commit()
    fill_up(sampler, project)
    shown = db.execute(
        select(TaskSegment.task_id, Trajectory.prompt_id, TaskSegment.trajectory_id)
        .join(Trajectory, Trajectory.id == TaskSegment.trajectory_id)
        .order_by(TaskSegment.task_id, TaskSegment.position)
    ).all()
    assert set(Counter(row.task_id for row in shown).values()) == {answers}
    assert set(Counter(row.trajectory_id for row in shown).values()) == {1}
    assert len({(row.task_id, row.prompt_id) for row in shown}) == len({row.task_id for row in shown}) >= 10


def test_a_form_about_one_answer_shows_each_completion_alone(db: Session, sampler: Sampler, project: Project) -> None:
    use(db, project, {"type": "edit", "key": "better", "question": "Make it better."})
    fill_up(sampler, project)
    shown = list(db.scalars(select(TaskSegment.trajectory_id)))
    assert len(shown) == len(set(shown)) == db.scalar(select(func.count(Task.id)))


def test_a_form_without_answers_asks_for_each_prompt_once(
    db: Session, sampler: Sampler, double: PolicyDouble, project: Project
) -> None:
    use(db, project, {"type": "demonstrate", "key": "own", "question": "Write the answer."})
    fill_up(sampler, project)
    assert sorted(db.scalars(select(Task.prompt_id))) == sorted(db.scalars(select(Prompt.id)))
    assert db.scalar(select(func.count()).select_from(TaskSegment)) == 0
    assert double.asked == []  # nobody asked the model
    assert sampler.fill(project.id) == 0


def test_one_prompt_is_not_met_twice_in_a_row(db: Session, sampler: Sampler, project: Project) -> None:
    fill_up(sampler, project)
    order = list(db.scalars(select(Task.prompt_id).order_by(Task.id)))
    assert all(first != second for first, second in pairwise(order))


def test_held_out_prompts_get_tasks_too(db: Session, sampler: Sampler, project: Project) -> None:
    fill_up(sampler, project, 20)
    project.settings = {"pool": {"open_tasks": 24, "completions_per_prompt": 4}}
    db.commit()
    fill_up(sampler, project)
    assert len(set(db.scalars(select(Task.prompt_id)))) == 6


def test_tasks_have_the_mark_of_their_prompt(db: Session, sampler: Sampler, project: Project) -> None:
    marked = db.scalars(select(Prompt.id).where(Prompt.project_id == project.id, Prompt.id % 2 == 0)).all()
    sensitive.mark(db, project, marked, None, sensitive=True)
    db.commit()
    fill_up(sampler, project)
    tasks = db.scalars(select(Task)).all()
    assert {task.sensitive for task in tasks} == {True, False}
    assert all(task.sensitive == (task.prompt_id in marked) for task in tasks)


def test_everything_about_a_completion_is_stored(
    db: Session, sampler: Sampler, project: Project, double: PolicyDouble
) -> None:
    sampler.fill(project.id)
    trajectory = db.scalars(select(Trajectory).order_by(Trajectory.id)).first()
    assert trajectory is not None
    step = db.scalars(select(Step).where(Step.trajectory_id == trajectory.id)).one()
    assert (trajectory.model_id, trajectory.deployment_id) == (double.model_id, double.deployment_id)
    assert (step.model_id, step.deployment_id) == (double.model_id, double.deployment_id)
    assert trajectory.sampling == {"temperature": 0.7, "top_p": 1.0, "max_tokens": 96, "n": 4, "index": 0}
    assert trajectory.seed in {body["seed"] for body in double.asked}
    assert (step.token_ids, step.logprobs, step.finish_reason) == ([1, 2, 3], [-0.5, -0.25, -1.0], "stop")


def test_requests_go_out_together_at_low_priority(
    db: Session, sampler: Sampler, project: Project, double: PolicyDouble
) -> None:
    project.settings = {"pool": {"open_tasks": 24, "completions_per_prompt": 4}}
    db.commit()
    double.pause = 1.0
    sampler.fill(project.id)
    assert double.most_in_flight >= 3
    assert {headers["x-palate-priority"] for headers in double.headers} == {"bulk"}


def test_the_same_pool_asks_with_the_same_seeds(
    uow: UnitOfWork, db: Session, sampler: Sampler, project: Project, double: PolicyDouble
) -> None:
    def seeds(of: Sampler) -> list[int]:
        plan = of.plan(db, project.id)
        assert plan is not None
        return [wanted.seed for wanted in plan.wanted]

    planned = seeds(sampler)
    double.status = 503
    with pytest.raises(Unavailable):
        sampler.fill(project.id)
    asked = [body["seed"] for body in double.asked]  # not all of them, where the first refusal came early
    assert asked
    assert set(asked) <= set(planned)
    assert seeds(Sampler(uow, sampler.client)) == planned
    assert db.scalars(select(Trajectory)).all() == []


def test_equal_and_empty_texts_make_no_tasks(
    db: Session, sampler: Sampler, project: Project, double: PolicyDouble
) -> None:
    double.text = "Always the same."
    sampler.fill(project.id)
    assert db.scalars(select(Task)).all() == []
    assert len(set(db.scalars(select(Trajectory.prompt_id)))) == len(db.scalars(select(Trajectory)).all())
    double.text = "  \n"
    sampler.fill(project.id)
    assert not [step for step in db.scalars(select(Step)) if not step.content.strip()]
    double.text = None
    fill_up(sampler, project)
    assert len(db.scalars(select(Task)).all()) >= 10


def test_what_an_outdated_policy_wrote_is_left_out(
    db: Session, sampler: Sampler, project: Project, double: PolicyDouble
) -> None:
    new = registry.register(db, project.id, "policy", None, None, "a" * 64, "tiny")
    registry.promote(db, project.id, new.id)
    db.commit()
    assert sampler.fill(project.id) == 0
    assert db.scalars(select(Trajectory)).all() == []


def test_after_a_swap_untouched_old_tasks_go_and_new_pairs_come(
    db: Session, sampler: Sampler, project: Project, double: PolicyDouble
) -> None:
    fill_up(sampler, project)
    old = list(db.scalars(select(Task).order_by(Task.id)))
    held = factories.make_assignment(db, old[0], factories.make_user(db))
    factories.make_preference(db, old[1], factories.make_user(db))
    new = registry.register(db, project.id, "policy", None, None, "a" * 64, "tiny")
    deployment = registry.promote(db, project.id, new.id)
    db.commit()
    sampler.fill(project.id)
    db.expire_all()
    assert {task.state for task in old[2:]} == {"open"}, "nobody waits while the server still stages the new one"
    registry.mark_serving(db, deployment.id)
    db.commit()
    double.version, double.model_id, double.deployment_id = 1, new.id, deployment.id
    fill_up(sampler, project)
    db.expire_all()
    assert old[0].id == held.task_id
    assert [task.state for task in old[:3]] == ["open", "done", "withdrawn"]
    ours, others = open_tasks(db, project.id, new.id)
    assert ours >= 10
    assert others == 1
    written = select(Trajectory.model_id).join(TaskSegment, TaskSegment.trajectory_id == Trajectory.id)
    for task_id in db.scalars(select(Task.id)):
        assert len(set(db.scalars(written.where(TaskSegment.task_id == task_id)))) == 1


def test_a_paused_project_is_left_alone(db: Session, sampler: Sampler, project: Project) -> None:
    live = registry.live(db, project.id)
    assert live is not None
    project.paused_at = live.activated_at
    db.commit()
    assert sampler.fill(project.id) == 0


def test_a_wrong_token_is_said_in_words(uow: UnitOfWork, double: PolicyDouble, project: Project) -> None:
    with PolicyClient(double.url, "wrong") as client, pytest.raises(Unavailable, match="does not know our token"):
        Sampler(uow, client).fill(project.id)


def test_the_strategy_is_the_projects_and_stored(
    db: Session, sampler: Sampler, project: Project, double: PolicyDouble
) -> None:
    """After a swap, live against the version before: every task has one completion of each."""
    project.settings = {"pool": {"open_tasks": 24, "completions_per_prompt": 4}}
    db.commit()
    fill_up(sampler, project)
    assert set(db.scalars(select(Task.strategy))) == {"uniform"}
    before = double.model_id
    talks = set(db.scalars(select(func.min(Trajectory.id)).group_by(Trajectory.prompt_id)))
    db.add_all(Step(trajectory_id=one, position=1, actor="user", content="Go on.") for one in talks)
    new = registry.register(db, project.id, "policy", None, None, "a" * 64, "tiny")
    deployment = registry.promote(db, project.id, new.id)
    registry.mark_serving(db, deployment.id)
    project.settings = {"pool": {"open_tasks": 8, "completions_per_prompt": 4, "strategy": "live_vs_candidate"}}
    db.commit()
    double.version, double.model_id, double.deployment_id = 1, new.id, deployment.id
    fill_up(sampler, project)
    written = (
        select(func.array_agg(Trajectory.model_id), func.count(Trajectory.prompt_id.distinct()))
        .join(TaskSegment, TaskSegment.trajectory_id == Trajectory.id)
        .join(Task, Task.id == TaskSegment.task_id)
        .where(Task.strategy == "live_vs_candidate")
        .group_by(Task.id)
    )
    made = db.execute(written).all()
    assert len(made) >= 8
    assert {frozenset(models) for models, _ in made} == {frozenset((before, new.id))}
    assert {prompts for _, prompts in made} == {1}
    places = db.scalars(
        select(TaskSegment.position)
        .join(Trajectory, Trajectory.id == TaskSegment.trajectory_id)
        .join(Task, Task.id == TaskSegment.task_id)
        .where(Task.strategy == "live_vs_candidate", Trajectory.model_id == before)
    )
    assert set(places) == {0, 1}
    shown = select(TaskSegment.trajectory_id).join(Task, Task.id == TaskSegment.task_id)
    assert not talks & set(db.scalars(shown.where(Task.strategy == "live_vs_candidate")))  # a talk is no answer


def test_least_labelled_fills_where_labels_are_few(db: Session, sampler: Sampler, project: Project) -> None:
    """Labels of any version count, and answers that open tasks wait for; gold does not."""
    prompts = list(db.scalars(select(Prompt).order_by(Prompt.id)))
    user = factories.make_user(db)
    for prompt in prompts[:-1]:
        factories.make_preference(db, factories.make_task(db, prompt), user)
    factories.make_gold(db, project, user, [factories.make_completion(db, prompts[-1], text) for text in "ab"])
    project.settings = {
        "pool": {"open_tasks": 4, "completions_per_prompt": 4, "strategy": "least_labelled", "answers_per_task": 3}
    }
    db.commit()
    sampler.fill(project.id)
    assert set(db.scalars(select(Task.prompt_id).where(Task.strategy == "least_labelled"))) == {prompts[-1].id}
