"""Talks on a real Postgres: turns are ordinary preferences, handed to nobody else, and a talk can be gone on with."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from scipy.stats import chisquare
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.core import queue, talks
from app.core.errors import Conflict, InvalidInput, NotFound
from app.core.forms import Converse, parse_protocol, turn_of
from app.core.records import (
    Assignment,
    Demonstration,
    Deployment,
    Model,
    Preference,
    Project,
    Step,
    Task,
    TaskSegment,
    Trajectory,
    User,
)
from app.core.snapshots import pairs_of, take_snapshot
from app.core.talk import Talk, talk_of
from app.core.turns import Reply
from tests import factories

CONVERSE = {"type": "converse", "key": "overall", "question": "Which reply should the talk go on with?", "strength": 4}
SCORE = {
    "type": "rate",
    "key": "helpful",
    "question": "How helpful was it?",
    "of": "task",
    "options": [{"value": 1, "label": "No"}, {"value": 2, "label": "Yes"}],
}


@dataclass
class House:
    """A project whose form is a talk, and one person in it."""

    db: Session
    project: Project
    user: User
    model: Model
    deployment: Deployment

    def talk(self) -> Talk:
        """The person's talk as it stands; leased if need be."""
        talks.resume(self.db, self.project, self.user)
        served = queue.next_task(self.db, self.project, self.user)
        assert served is not None
        return talk_of(self.db, self.user, served.key)

    def ask(self, message: str = "") -> talks.Asked:
        """Say something, or ask for the replies that are owed."""
        talk = self.talk()
        return talks.ask(self.db, self.project, self.user, key=talk.key, token=talk.token, message=message)

    def reply(self, asked: talks.Asked, *texts: str) -> bool:
        """What the model says to it."""
        ids = {"model_id": self.model.id, "deployment_id": self.deployment.id, "seed": asked.seed}
        replies = [
            Reply(text=text, index=index, finish_reason="stop", token_ids=[index], logprobs=[-0.5], **ids)
            for index, text in enumerate(texts)
        ]
        return talks.store(self.db, self.project, self.user, asked, replies)

    def turn(self, message: str, *texts: str) -> Talk:
        """Say something and have these replies."""
        assert self.reply(self.ask(message), *texts)
        return self.talk()

    def pick(self, text: str) -> None:
        """Choose the reply with this text."""
        turn = self.talk().open
        assert turn is not None
        self.answer(graded=f"{'ab'[turn.replies.index(text)]}3")

    def answer(self, **given: object) -> None:
        """Answer the open turn."""
        turn = self.talk().open
        assert turn is not None
        talks.pick(self.db, self.user, turn.key, turn.token, {"overall": given})


def build(db: Session, *, count: int = 1, converse: dict[str, Any] | None = None, beside: Sequence[Any] = ()) -> House:
    user = factories.make_user(db)
    fields = [CONVERSE | (converse or {}), *beside]
    project = factories.make_project(db, fields=fields, members={user: "annotator"})
    model, deployment = factories.make_policy(db, project)
    for number in range(count):
        factories.make_task(db, factories.make_prompt(db, project, f"Where can one walk near Bergen? {number}"), [])
    db.commit()
    return House(db, project, user, model, deployment)


@pytest.fixture
def house(db: Session) -> House:
    return build(db)


def turns(db: Session) -> list[Task]:
    return list(db.scalars(select(Task).where(Task.parent_id.is_not(None)).order_by(Task.id)))


def test_a_choice_is_an_ordinary_preference_with_its_context(house: House) -> None:
    assert house.talk().owed, "the prompt is the person's first message"
    house.turn("", "Stoltzekleiven.", "Blåmansvannet.")
    house.pick("Blåmansvannet.")
    talk = house.turn("When?", "In the morning.", "In May.")
    assert [(turn.message, turn.answered) for turn in talk.turns] == [("", True), ("When?", False)]
    house.pick("In May.")
    house.db.flush()
    first, second = pairs_of(house.db, take_snapshot(house.db, house.project.id).id)
    question = {"role": "user", "content": "Where can one walk near Bergen? 0"}
    assert first.messages == [question]
    assert second.messages == [
        question,
        {"role": "assistant", "content": "Blåmansvannet."},
        {"role": "user", "content": "When?"},
    ]
    assert (second.first, second.second, second.target) == ("In the morning.", "In May.", 0.0)
    assert (second.strength, second.outcome) == (3, "prefer")
    assert not any(house.db.scalars(select(Assignment.late).where(Assignment.outcome == "answered")))


def test_every_step_names_what_wrote_it(house: House) -> None:
    house.turn("", "One.", "Two.")
    house.pick("One.")
    house.turn("More.", "Three.", "Four.")
    last = house.db.scalars(select(Trajectory).order_by(Trajectory.id.desc()).limit(1)).one()
    steps = house.db.scalars(select(Step).where(Step.trajectory_id == last.id).order_by(Step.position)).all()
    assert [(step.actor, step.content) for step in steps] == [("agent", "One."), ("user", "More."), ("agent", "Four.")]
    wrote = (house.model.id, house.deployment.id)
    assert [(step.model_id, step.deployment_id) for step in steps] == [wrote, (None, None), wrote]
    assert steps[0].token_ids == [0]
    assert steps[2].logprobs == [-0.5]
    segment = house.db.scalars(select(TaskSegment).where(TaskSegment.trajectory_id == last.id)).one()
    assert (segment.first_step, segment.last_step) == (2, 2)


def test_the_model_is_told_the_talk_so_far(house: House) -> None:
    house.turn("", "One.", "Two.")
    house.pick("Two.")
    asked = house.ask("  And then?\r\n")
    assert [one["content"] for one in asked.messages] == ["Where can one walk near Bergen? 0", "Two.", "And then?"]
    assert [one["role"] for one in asked.messages] == ["user", "assistant", "user"]


def test_nobody_else_is_handed_a_turn(house: House) -> None:
    other = factories.make_user(house.db)
    factories.add_member(house.db, house.project, other)
    house.turn("", "One.", "Two.")
    key = house.talk().open.key  # type: ignore[union-attr]
    assert queue.next_task(house.db, house.project, other) is None
    with pytest.raises(NotFound):
        talks.pick(house.db, other, key, house.talk().token, {"overall": {"graded": "a1"}})
    with pytest.raises(NotFound):
        talk_of(house.db, other, house.talk().key)
    house.pick("One.")
    assert queue.next_task(house.db, house.project, other) is None
    house.db.commit()
    with pytest.raises(IntegrityError, match="turn"):
        house.db.execute(update(Task).where(Task.parent_id.is_not(None)).values(state="open"))


def test_a_turn_is_stored_once_and_only_where_the_talk_has_not_gone_on(house: House) -> None:
    asked = house.ask()
    assert house.reply(asked, "One.", "Two.")
    assert not house.reply(asked, "Three.", "Four.")
    house.pick("One.")
    assert not house.reply(asked, "Three.", "Four.")
    assert len(turns(house.db)) == 1
    assert house.db.scalar(select(func.count(Trajectory.id))) == 2


def test_one_key_is_one_choice(house: House) -> None:
    house.turn("", "One.", "Two.")
    turn = house.talk().open
    assert turn is not None
    for graded in ("a1", "b4"):
        outcome = talks.pick(house.db, house.user, turn.key, turn.token, {"overall": {"graded": graded}})
    assert (outcome.sentence, outcome.replayed) == ("A is slightly better", True)
    assert house.db.scalar(select(func.count(Preference.id))) == 1


def test_undo_opens_the_turn_again_and_drops_what_went_on_from_it(house: House) -> None:
    house.turn("", "One.", "Two.")
    house.pick("One.")
    house.turn("Why?", "Three.", "Four.")
    undone = queue.undo(house.db, house.project, house.user)
    assert undone is not None
    assert undone[1] is not None
    assert undone[1].key == house.talk().key
    talk = house.talk()
    assert talk.open is not None
    assert sorted(talk.open.replies) == ["One.", "Two."]
    assert (len(talk.turns), talk.steps) == (1, [])
    assert not list(pairs_of(house.db, take_snapshot(house.db, house.project.id).id))
    house.pick("Two.")
    assert [step["content"] for step in house.talk().steps] == ["Two."]


def test_undo_goes_back_through_the_end_of_the_talk(house: House) -> None:
    house.turn("", "One.", "Two.")
    house.pick("One.")
    talk = house.talk()
    talks.finish(house.db, house.user, talk.key, talk.token, {})
    assert queue.next_task(house.db, house.project, house.user) is None
    undone = queue.undo(house.db, house.project, house.user)
    assert undone is not None
    assert undone[0].sentence == "Ended the talk"
    assert house.talk().settled == 1
    undone = queue.undo(house.db, house.project, house.user)
    assert undone is not None
    assert undone[0].sentence in ("A is better", "B is better", "A is clearly better", "B is clearly better")
    assert house.talk().open is not None


def test_after_both_bad_the_same_message_gets_new_replies(house: House) -> None:
    house.turn("", "One.", "Two.")
    house.pick("One.")
    house.turn("Why?", "Bad.", "Worse.")
    house.answer(choice="both_bad")
    talk = house.talk()
    assert (talk.owed, talk.settled) == (True, 1)
    talk = house.turn("", "Good.", "Better.")
    assert [turn.message for turn in talk.turns] == ["", "Why?", ""]
    house.pick("Good.")
    assert [step["content"] for step in house.talk().steps] == ["One.", "Why?", "Good."]


def test_after_the_same_the_talk_goes_on_with_the_one_shown_first(house: House) -> None:
    talk = house.turn("", "One.", "Two.")
    assert talk.open is not None
    house.answer(graded="same")
    assert house.talk().steps[-1]["content"] == talk.open.replies[0]


def test_a_talk_that_was_left_is_there_again(db: Session) -> None:
    house = build(db, count=3)
    queue.next_task(db, house.project, house.user, have=[house.talk().key])
    house.turn("", "One.", "Two.")
    before = house.talk()
    db.execute(update(Assignment).values(lease_until=func.now() - timedelta(hours=2)))
    db.commit()
    other = factories.make_user(db)
    factories.add_member(db, house.project, other)
    db.commit()
    again = house.talk()
    assert (again.key, len(again.turns)) == (before.key, 1)
    elsewhere = queue.next_task(db, house.project, other)
    assert elsewhere is not None
    assert elsewhere.key != before.key


def test_the_lease_goes_on_while_the_person_talks(house: House) -> None:
    talk = house.talk()
    soon = func.clock_timestamp() + timedelta(minutes=1)
    house.db.execute(update(Assignment).values(lease_until=soon))
    house.turn("", "One.", "Two.")
    until, now = house.db.execute(
        select(Assignment.lease_until, func.clock_timestamp()).where(Assignment.idempotency_key == talk.key)
    ).one()
    assert until - now > timedelta(minutes=20)


def test_a_talk_ends_with_enough_turns_and_its_questions(db: Session) -> None:
    house = build(db, converse={"turns_least": 2}, beside=[SCORE])
    house.turn("", "One.", "Two.")
    house.pick("One.")
    talk = house.talk()
    with pytest.raises(InvalidInput, match=r"has 1 turn so far\. It needs 2 turns"):
        talks.finish(db, house.user, talk.key, talk.token, {"helpful": {"value": "2"}})
    with pytest.raises(InvalidInput, match="on its own page"):
        queue.submit(db, house.user, talk.key, talk.token, {"overall": {}, "helpful": {"value": "2"}})
    house.turn("Why?", "Three.", "Four.")
    house.pick("Four.")
    with pytest.raises(InvalidInput, match="helpful"):
        talks.finish(db, house.user, talk.key, talk.token, {})
    outcome = talks.finish(db, house.user, talk.key, talk.token, {"helpful": {"value": "2"}})
    assert outcome.sentence == "Ended the talk. How helpful was it? Yes"
    assert db.scalars(select(Task.state).where(Task.parent_id.is_(None))).one() == "done"
    with pytest.raises(Conflict, match="ended"):
        talks.ask(db, house.project, house.user, key=talk.key, token=talk.token, message="More?")


def test_a_reply_of_ones_own_prefers_nothing(db: Session) -> None:
    house = build(db, converse={"own_reply": True})
    house.turn("", "One.", "Two.")
    house.pick("One.")
    house.turn("Why?", "Three.", "Four.")
    house.answer(own="Because.")
    talk = house.talk()
    assert [step["content"] for step in talk.steps] == ["One.", "Why?", "Because."]
    assert (talk.turns[-1].own, sorted(talk.turns[-1].others)) == ("Because.", ["Four.", "Three."])
    assert db.scalar(select(func.count(Preference.id))) == 1
    written = db.scalars(select(Demonstration)).one()
    trajectory = db.get_one(Trajectory, written.trajectory_id)
    assert (trajectory.author_kind, trajectory.user_id) == ("user", house.user.id)
    undone = queue.undo(db, house.project, house.user)
    assert undone is not None
    assert undone[0].sentence == "Wrote the reply"


def test_a_reply_of_ones_own_needs_the_protocol(house: House) -> None:
    house.turn("", "One.", "Two.")
    with pytest.raises(InvalidInput):
        house.answer(own="Because.")


def test_the_best_of_three_replies(db: Session) -> None:
    house = build(db, converse={"replies": 3})
    talk = house.turn("", "One.", "Two.", "Three.")
    assert talk.open is not None
    house.answer(choice="2")
    assert house.talk().steps[-1]["content"] == talk.open.replies[1]
    assert len(list(pairs_of(db, take_snapshot(db, house.project.id).id))) == 2


def test_a_scenario_is_for_the_person_alone(db: Session) -> None:
    house = build(db, converse={"opening": "scenario"})
    assert not house.talk().owed
    asked = house.ask("Hello.")
    assert asked.messages == [{"role": "user", "content": "Hello."}]
    house.reply(asked, "One.", "Two.")
    house.pick("One.")
    pair = next(pairs_of(db, take_snapshot(db, house.project.id).id))
    assert pair.messages == asked.messages


@pytest.mark.parametrize(("said", "problem"), [("Hello?", "not replied"), ("", None)])
def test_what_is_owed_comes_before_the_next_message(house: House, said: str, problem: str | None) -> None:
    if problem is None:
        assert house.ask(said).messages
        return
    with pytest.raises(InvalidInput, match=problem):
        house.ask(said)


def test_messages_that_do_not_fit(house: House) -> None:
    house.turn("", "One.", "Two.")
    with pytest.raises(Conflict, match="Choose a reply first"):
        house.ask("Hello?")
    house.pick("One.")
    for text, problem in (("", "Write something"), ("x" * 8001, "8,000")):
        with pytest.raises(InvalidInput, match=problem):
            house.ask(text)


def test_what_was_said_before_is_part_of_the_hash(house: House) -> None:
    house.turn("", "One.", "Two.")
    house.pick("One.")
    house.turn("Why?", "Three.", "Four.")
    house.pick("Four.")
    before = take_snapshot(house.db, house.project.id).content_hash
    house.db.execute(update(Step).where(Step.content == "Why?").values(content="How?"))
    assert take_snapshot(house.db, house.project.id).content_hash != before


@pytest.mark.parametrize(
    "wrong",
    [{"replies": 1}, {"replies": 5}, {"strength": 9}, {"turns_least": 0}, {"opening": "song"}, {"teleport": True}],
)
def test_a_field_that_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        parse_protocol([CONVERSE | wrong])


def test_what_does_not_stand_beside_a_talk() -> None:
    for other in (factories.PROTOCOL[0] | {"key": "two"}, SCORE | {"of": "each"}):
        with pytest.raises(InvalidInput):
            parse_protocol([CONVERSE, other])
    with pytest.raises(InvalidInput, match="no turns"):
        turn_of(parse_protocol(factories.PROTOCOL))


def test_the_question_of_a_turn() -> None:
    two, three = (parse_protocol([CONVERSE | {"replies": replies}])[0] for replies in (2, 3))
    assert isinstance(two, Converse)
    assert isinstance(three, Converse)
    assert (two.turn.type, two.turn.names) == ("compare", "AB")
    assert (three.turn.type, three.turn.segments) == ("choose", 3)


@pytest.mark.parametrize("times", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_replies_stand_in_any_order_alike(house: House, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Of as many hand-outs of a turn, by a chi-square test."""
    monkeypatch.setattr(talks, "_draw", random.Random(5))  # noqa: S311  (repeatable)
    talk = house.talk()
    orders = Counter(
        tuple(talks.ask(house.db, house.project, house.user, key=talk.key, token=talk.token, message="").order)
        for _ in range(times)
    )
    assert sum(orders.values()) == times
    assert chisquare([orders[0, 1], orders[1, 0]]).pvalue > 0.01
