"""What had been said before a judged reply: the prompt, and the steps of the talk that stand before it."""

from collections.abc import Collection, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.records import Step, TaskSegment
from app.core.records.base import Json

ROLES = {"agent": "assistant", "user": "user", "tool": "tool", "env": "environment"}
"""Actors of steps as roles of messages."""


def earlier_steps(db: Session, task_ids: Collection[int]) -> dict[int, list[Json]]:
    """For each of these tasks, the messages of its talk before the replies that it shows; empty where it is no turn.

    All replies of a turn have the same steps before them, so those of the first one are read.
    """
    if not task_ids:
        return {}
    rows = db.execute(
        select(TaskSegment.task_id, Step.actor, Step.content)
        .join(Step, Step.trajectory_id == TaskSegment.trajectory_id)
        .where(
            TaskSegment.task_id.in_(set(task_ids)),
            TaskSegment.position == 0,
            Step.position < TaskSegment.first_step,
        )
        .order_by(TaskSegment.task_id, Step.position)
    )
    found: dict[int, list[Json]] = {task_id: [] for task_id in task_ids}
    for task_id, actor, content in rows:
        found[task_id].append({"role": ROLES[actor], "content": content})
    return found


def told(prompt: Sequence[Json], earlier: Sequence[Json]) -> list[Json]:
    """What the model was given: the prompt and the talk.

    Where the person spoke first, a prompt that ends with a question was a scenario for the person; the model was not
    told more of it than its instructions.
    """
    scenario = bool(earlier) and earlier[0]["role"] == "user" and prompt[-1]["role"] == "user"
    return [*(one for one in prompt if not scenario or one["role"] == "system"), *earlier]
