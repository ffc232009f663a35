"""Rounds that imitate people or learn from comparisons directly: the same worker, gate and registry as PPO's."""

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import runs
from app.core.database import UnitOfWork
from app.core.recipes import PIPELINES
from app.core.records import Model, Project, Round, Run
from tests import factories
from tests.trainer.test_rounds import SMALL, figures, kill_child, make_round, results, work_until_over, worker
from trainer.worker import Worker

__all__ = ["worker"]
OVERRIDES = {
    "sft": {"epochs": 1, "batch_size": 4, "max_tokens": 16},
    "dpo": {"epochs": 1, "batch_size": 8, "max_tokens": 16},
    "rloo": {"steps": 2, "prompts_per_step": 8, "max_tokens": 16},
}


def make_other_round(db: Session, worker: Worker, pipeline: str) -> Round:
    """The round of test_rounds, cancelled, and one of another kind on the same feedback and on demonstrations."""
    first = make_round(db, worker)
    runs.cancel_round(db, first.id)
    project = db.get_one(Project, first.project_id)
    kim = factories.make_user(db)
    for number in range(15):
        prompt = factories.make_prompt(
            db, project, f"write {number}", split="validation" if number % 5 == 4 else "train"
        )
        factories.make_demonstration(db, prompt, kim, "eat " * (1 + number % 3))
    wanted = {**SMALL, **OVERRIDES}
    chosen = {recipe: wanted[recipe] for recipe in PIPELINES[pipeline].recipes}
    started = runs.start_round(db, project, trigger="manual", overrides=chosen, pipeline=pipeline, seed=5)
    db.commit()
    return started


@pytest.mark.parametrize("pipeline", ["dpo", "rloo", "sft-ppo"])
def test_a_round_of_another_kind_ends_in_a_verdict(worker: Worker, db: Session, pipeline: str) -> None:
    asked = make_other_round(db, worker, pipeline)
    ended = work_until_over(worker, db, asked)
    made = results(db, asked)
    assert ended.state in ("live", "refused"), [(run.recipe, run.error) for run in made.values()]
    last = made["ppo" if pipeline == "sft-ppo" else pipeline]
    candidate = db.get_one(Model, ended.candidate_model_id)
    assert (candidate.role, candidate.run_id) == ("policy", last.id)
    assert {check["name"] for check in ended.verdict["checks"]} >= {"held_out_accuracy", "win_rate", "kl"}
    if pipeline == "sft-ppo":
        imitated = made["sft"].result
        assert candidate.parent_id == imitated["model_id"]
        assert imitated["metrics"]["sft/held_out_perplexity"] < imitated["metrics"]["sft/held_out_perplexity_before"]
        # PPO goes on from what was imitated, so it is away from the base before its first update.
        assert figures(db, asked)["ppo", "objective/kl", 1] != 0


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["sft 2", "dpo 2"])
def test_a_killed_run_resumes_to_the_same_numbers(
    worker: Worker, db: Session, uow: UnitOfWork, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    recipe, step = phase.split()
    whole = make_other_round(db, worker, recipe)
    work_until_over(worker, db, whole)
    expected = figures(db, whole)
    again = make_other_round(db, worker, recipe)
    again_id = again.id

    def there() -> bool:
        with uow() as session:
            run = session.scalar(select(Run).where(Run.round_id == again_id, Run.recipe == recipe))
            return run is not None and run.state == "running" and run.step >= int(step)

    killed = kill_child(worker, monkeypatch, there)
    work_until_over(worker, db, again)
    assert killed.is_set()
    assert figures(db, again) == expected
