"""Snapshots of what people wrote: which of it holds, what was said before it, counts and hash."""

from sqlalchemy.orm import Session

from app.core.demonstrations import demonstrations_of
from app.core.records import Demonstration, Step
from app.core.snapshots import take_snapshot
from tests import factories


def superseding(row: Demonstration, **values: object) -> Demonstration:
    common = {name: getattr(row, name) for name in ("project_id", "assignment_id", "user_id", "field", "trajectory_id")}
    return Demonstration(**{**common, "supersedes_id": row.id, **values})


def test_a_snapshot_freezes_what_holds_with_its_context(db: Session) -> None:
    kim, project = factories.make_user(db), factories.make_project(db)
    prompt, held = factories.make_prompt(db, project, "Why?"), factories.make_prompt(db, project, split="validation")
    own = factories.make_demonstration(db, prompt, kim, "Because.")
    model = factories.make_completion(db, held, "It is so.")
    edited = factories.make_demonstration(db, held, kim, "It is not so.", edited_from=model)
    gone = factories.make_demonstration(db, prompt, kim, "Nothing.")
    db.add(superseding(gone, withdrawn=True))
    db.flush()
    frozen = take_snapshot(db, project.id)
    assert (frozen.counts["demonstrations"], frozen.counts["demonstrations_held_out"]) == (1, 1)
    found = list(demonstrations_of(db, frozen.id))
    assert [(one.demonstration_id, one.text, one.split, one.edited) for one in found] == [
        (own.id, "Because.", "train", False),
        (edited.id, "It is not so.", "validation", True),
    ]
    assert found[0].messages == [{"role": "user", "content": "Why?"}]
    db.add(superseding(own, withdrawn=True))
    db.flush()
    assert len(list(demonstrations_of(db, frozen.id))) == 2
    later = take_snapshot(db, project.id)
    assert [one.demonstration_id for one in demonstrations_of(db, later.id)] == [edited.id]
    assert later.content_hash != frozen.content_hash


def test_a_reply_in_a_talk_comes_with_its_turns(db: Session) -> None:
    kim, project = factories.make_user(db), factories.make_project(db)
    row = factories.make_demonstration(db, factories.make_prompt(db, project, "Hello"), kim, "Hi!")
    for position, actor, content in ((1, "user", "And now?"), (2, "agent", "We talk.")):
        db.add(Step(trajectory_id=row.trajectory_id, position=position, actor=actor, content=content))
    db.flush()
    (found,) = demonstrations_of(db, take_snapshot(db, project.id).id)
    assert found.text == "We talk."
    assert [one["role"] for one in found.messages] == ["user", "assistant", "user"]


def test_without_demonstrations_the_hash_is_that_of_the_preferences(db: Session) -> None:
    kim, project = factories.make_user(db), factories.make_project(db)
    prompt = factories.make_prompt(db, project)
    factories.make_preference(db, factories.make_task(db, prompt), kim)
    before = take_snapshot(db, project.id).content_hash
    factories.make_demonstration(db, prompt, kim, "Mine.")
    assert take_snapshot(db, project.id).content_hash != before
    assert take_snapshot(db, project.id, {"demonstrations": False}).content_hash == before
