"""A snapshot is what was true when it was taken, whatever happens afterwards."""

from typing import Any

from sqlalchemy import event, update
from sqlalchemy.orm import Session

from app.core import runs
from app.core.records import Assignment, Preference, Project, Step, Task, User
from app.core.snapshots import CHUNK, pairs_of, take_snapshot
from tests import factories


def answer(db: Session, project: Project, user: User, *, split: str = "train", **said: Any) -> Preference:
    prompt = factories.make_prompt(db, project, split=split)
    return factories.make_preference(db, factories.make_task(db, prompt), user, **said)


def take_back(db: Session, preference: Preference) -> None:
    db.add(
        Preference(
            project_id=preference.project_id,
            task_id=preference.task_id,
            assignment_id=preference.assignment_id,
            user_id=preference.user_id,
            field=preference.field,
            outcome=preference.outcome,
            tiers=preference.tiers,
            supersedes_id=preference.id,
            withdrawn=True,
        )
    )
    db.flush()


def test_pairs_say_which_position_was_better_whatever_was_shown_first(db: Session) -> None:
    user, project = factories.make_user(db), factories.make_project(db)
    answer(db, project, user, tiers=[[0], [1]])
    answer(db, project, user, tiers=[[1], [0]])
    answer(db, project, user, tiers=[[0, 1]], outcome="tie")
    answer(db, project, user, tiers=[[0, 1]], outcome="all_bad")
    db.execute(update(Assignment).values(display_order=[1, 0]))
    pairs = list(pairs_of(db, take_snapshot(db, project.id).id))
    assert [pair.target for pair in pairs] == [1.0, 0.0, 0.5]
    assert {(pair.first, pair.second) for pair in pairs} == {("The first answer.", "Another one.")}
    assert pairs[0].messages[-1]["role"] == "user"


def test_a_ranking_makes_all_its_pairs(db: Session) -> None:
    user, project = factories.make_user(db), factories.make_project(db)
    prompt = factories.make_prompt(db, project)
    texts = [factories.make_completion(db, prompt, text) for text in ("a", "b", "c")]
    factories.make_preference(db, factories.make_task(db, prompt, texts), user, tiers=[[2], [0, 1]])
    pairs = list(pairs_of(db, take_snapshot(db, project.id).id))
    assert [(pair.first, pair.second, pair.target) for pair in pairs] == [
        ("a", "b", 0.5),
        ("a", "c", 0.0),
        ("b", "c", 0.0),
    ]


def test_a_choice_says_nothing_about_what_was_not_chosen(db: Session) -> None:
    user, project = factories.make_user(db), factories.make_project(db)
    prompt = factories.make_prompt(db, project)
    texts = [factories.make_completion(db, prompt, text) for text in ("a", "b", "c")]
    factories.make_preference(db, factories.make_task(db, prompt, texts), user, outcome="best", tiers=[[1], [0, 2]])
    pairs = list(pairs_of(db, take_snapshot(db, project.id).id))
    assert [(pair.first, pair.second, pair.target) for pair in pairs] == [("a", "b", 0.0), ("b", "c", 1.0)]


def test_single_aspects_are_neither_trained_on_nor_counted(db: Session) -> None:
    user, project = factories.make_user(db), factories.make_project(db)
    overall = answer(db, project, user)
    same = {name: getattr(overall, name) for name in ("project_id", "task_id", "assignment_id", "user_id")}
    db.add(Preference(**same, field="overall.tone", outcome="prefer", tiers=[[1], [0]]))
    db.flush()
    snapshot = take_snapshot(db, project.id)
    assert [pair.target for pair in pairs_of(db, snapshot.id)] == [1.0]
    assert snapshot.counts["train"] == 1
    assert runs.pair_counts(db, project.id)["train"] == runs.labels_since_last_round(db, project.id) == 1
    assert len(take_snapshot(db, project.id, {"history": True}).preference_ids) == 2  # an export without loss has it


def test_counts_by_split(db: Session) -> None:
    kim, lee = factories.make_user(db), factories.make_user(db)
    project = factories.make_project(db)
    answer(db, project, kim)
    answer(db, project, lee, outcome="tie")
    answer(db, project, lee, split="validation")
    answer(db, project, lee, outcome="all_bad")
    counts = take_snapshot(db, project.id).counts
    said = {"train": 2, "validation": 1, "test": 0, "ties": 1, "all_bad": 1, "annotators": 2}
    assert counts == said | {"demonstrations": 0, "demonstrations_held_out": 0}


def test_what_is_taken_back_later_stays_in_an_older_snapshot_and_leaves_the_next(db: Session) -> None:
    user, project = factories.make_user(db), factories.make_project(db)
    kept, undone = answer(db, project, user), answer(db, project, user)
    before = take_snapshot(db, project.id)
    take_back(db, undone)
    after = take_snapshot(db, project.id)
    assert [pair.preference_id for pair in pairs_of(db, before.id)] == [kept.id, undone.id]
    assert [pair.preference_id for pair in pairs_of(db, after.id)] == [kept.id]
    assert before.content_hash != after.content_hash


def test_equal_data_has_an_equal_hash_and_a_changed_text_another(db: Session) -> None:
    user, project = factories.make_user(db), factories.make_project(db)
    preference = answer(db, project, user)
    first = take_snapshot(db, project.id).content_hash
    assert take_snapshot(db, project.id).content_hash == first
    db.execute(update(Step).values(content=Step.content + " "))
    assert take_snapshot(db, project.id).content_hash != first
    db.execute(update(Step).values(content="x"))
    changed = take_snapshot(db, project.id).content_hash
    db.execute(update(Preference).where(Preference.id == preference.id).values(tiers=[[1], [0]]))
    assert take_snapshot(db, project.id).content_hash != changed


def test_late_and_gold_answers_follow_the_filter(db: Session) -> None:
    user, project = factories.make_user(db), factories.make_project(db)
    plain, late, gold = (answer(db, project, user) for _ in range(3))
    db.execute(update(Assignment).where(Assignment.id == late.assignment_id).values(late=True))
    db.execute(update(Task).where(Task.id == gold.task_id).values(gold={"tiers": [[0], [1]]}))

    def ids(**chosen: bool) -> list[int]:
        return take_snapshot(db, project.id, chosen).preference_ids

    assert ids() == [plain.id, late.id]
    assert ids(late=False) == [plain.id]
    assert ids(gold=True) == [plain.id, late.id, gold.id]


def test_another_projects_answers_stay_there(db: Session) -> None:
    user, mine, other = factories.make_user(db), factories.make_project(db), factories.make_project(db)
    answer(db, other, user)
    assert take_snapshot(db, mine.id).counts["train"] == 0


def test_counting_reads_no_texts(db: Session) -> None:
    user, project = factories.make_user(db), factories.make_project(db)
    answer(db, project, user)
    statements: list[str] = []
    event.listen(db.get_bind(), "before_cursor_execute", lambda *call: statements.append(str(call[2]).lower()))
    take_snapshot(db, project.id)
    counting = [s for s in statements if s.startswith("select") and "count(" in s]
    assert counting
    assert not any("content," in s or "messages" in s or "note" in s for s in counting)


def test_pairs_are_read_a_chunk_at_a_time(db: Session) -> None:
    user, project = factories.make_user(db), factories.make_project(db)
    one = answer(db, project, user)
    snapshot = take_snapshot(db, project.id)
    snapshot.preference_ids = [one.id] * (2 * CHUNK + 1)
    db.flush()
    selects: list[str] = []
    event.listen(db.get_bind(), "before_cursor_execute", lambda *call: selects.append(str(call[2])))
    next(pairs_of(db, snapshot.id))
    assert len(selects) == 3
