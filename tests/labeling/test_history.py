"""One's own work over HTTP: found, filtered, changed; what became of it; and how much of the database a page reads."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from html import unescape
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event, select, text, update
from sqlalchemy.orm import Session

from app.core.edits import edit
from app.core.queue import next_task, submit
from app.core.records import Assignment, Preference, Project, Round, Task, User
from app.core.snapshots import take_snapshot
from app.labeling import history
from app.labeling.lines import Line
from tests import factories
from tests.labeling.test_label_pages import JSON, form_of, hidden
from tests.web.browser import sign_in

AT = "/projects/everyday/history"
Make = Callable[..., Project]


@pytest.fixture
def annotator(db: Session) -> User:
    return factories.make_user(db)


@pytest.fixture
def project(db: Session, annotator: User) -> Project:
    project = factories.make_project(db, slug="everyday", members={annotator: "annotator"})
    db.commit()
    return project


@pytest.fixture
def browser(client: TestClient, project: Project, annotator: User) -> TestClient:
    return sign_in(client, annotator)


def answer(db: Session, project: Project, person: User, prompt: str, choice: str = "a", note: str = "") -> Assignment:
    """An act as the queue writes it: `choice` may also be skipped or reported."""
    task = factories.make_task(db, factories.make_prompt(db, project, prompt))
    served = next_task(db, project, person)
    assert served is not None
    mine = db.scalars(select(Assignment).where(Assignment.task_id == task.id)).one()
    if choice in ("skipped", "reported"):
        mine.outcome, mine.reason, mine.submitted_at = choice, "unsafe", datetime.now(UTC)
    else:
        submit(db, person, served.key, served.token, {"overall": {"choice": choice, "note": note}})
    db.commit()
    return mine


def freeze(db: Session, project: Project, number: int, state: str = "live") -> Round:
    """A round of this number on a snapshot of what holds now."""
    model, _ = factories.make_policy(db, project, version=number + 10, live=False)
    snapshot = take_snapshot(db, project.id)
    one = Round(
        project_id=project.id,
        number=number,
        state=state,
        trigger="manual",
        snapshot_id=snapshot.id,
        parent_model_id=model.id,
    )
    db.add(one)
    db.commit()
    return one


def found(browser: TestClient, query: str = "") -> list[str]:
    """The prompts on the page, in order."""
    page = browser.get(f"{AT}{query}")
    assert page.status_code == 200, page.text
    lines = page.text.split('class="list work-list"')
    return (
        [part.split("</p>")[0].split(">")[-1] for part in lines[1].split('class="muted small"')[1:]]
        if lines[1:]
        else []
    )


def test_search_and_filter(browser: TestClient, db: Session, project: Project, annotator: User) -> None:
    assert "You have not answered anything here yet." in browser.get(AT).text
    answer(db, project, annotator, "How do I bake bread?", "a")
    answer(db, project, annotator, "How do I bake 100% rye?", "same", note="Both know the oven")
    answer(db, project, annotator, "What is a prime_number?", "both_bad")
    answer(db, project, annotator, "A skipped one", "skipped")
    answer(db, project, annotator, "A reported one", "reported")
    everything = found(browser)
    assert everything[::-1][:2] == ["How do I bake bread?", "How do I bake 100% rye?"]
    assert len(everything) == 5
    assert found(browser, "?q=BAKE+how") == everything[-2:][::1]
    assert found(browser, "?q=oven") == ["How do I bake 100% rye?"]
    assert found(browser, "?q=0%25") == ["How do I bake 100% rye?"], "a percent sign is one"
    assert found(browser, "?q=prime_n") == ["What is a prime_number?"]
    assert found(browser, "?q=user") == [], "names of the JSON are no text"
    for what, count in (("answered", 3), ("skipped", 1), ("reported", 1), ("preferred", 1), ("tie", 1), ("bad", 1)):
        assert len(found(browser, f"?what={what}")) == count, what
    assert "No answer of yours fits." in browser.get(f"{AT}?q=zebra").text
    assert browser.get(f"{AT}?what=all").status_code == 422
    for broken in ("x", "1-", "-1-2", "9" * 30 + "-1"):
        assert browser.get(f"{AT}?before={broken}").status_code == 422, broken


def test_only_ones_own(browser: TestClient, db: Session, project: Project) -> None:
    other = factories.make_user(db)
    theirs = answer(db, project, other, "Somebody else's")
    assert found(browser) == []
    assert browser.get(f"{AT}/{theirs.idempotency_key}").status_code == 404


def test_pages_of_fifty_without_gap_or_repeat(
    browser: TestClient, db: Session, project: Project, annotator: User
) -> None:
    prompt = factories.make_prompt(db, project, "Asked often")
    for _ in range(103):
        factories.make_preference(db, factories.make_task(db, prompt), annotator)
    same = datetime.now(UTC)
    db.execute(update(Assignment).values(submitted_at=same))  # a cursor by time alone would lose some
    db.commit()
    seen: list[str] = []
    sizes: list[int] = []
    address: str | None = AT
    while address:
        page = browser.get(address).text
        keys = [part[:36] for part in page.split(f'href="{AT}/')[1:]]
        seen, sizes = seen + keys, [*sizes, len(keys)]
        older = re.search(r"before=[\d-]+", page)
        address = f"{AT}?{older[0]}" if older else None
    assert sizes == [50, 50, 3]
    assert len(set(seen)) == 103


def test_a_change_without_a_script(browser: TestClient, db: Session, project: Project, annotator: User) -> None:
    mine = answer(db, project, annotator, "Which?", "a", note="the oven")
    page = browser.get(f"{AT}/{mine.idempotency_key}").text
    assert "You answered: A is better." in page
    assert ">the oven</textarea>" in page
    assert "label/skip" not in page
    assert json.loads(unescape(page.split('data-was="')[1].split('"')[0]))["choice"] == "a"
    form = {**form_of(page), "choice": "b", "note": "the crust"}
    assert hidden(page, "token") == str(mine.idempotency_key)
    done = browser.post("/projects/everyday/label/edit", data=form)
    assert (done.status_code, done.headers["location"]) == (303, AT)
    again = browser.post("/projects/everyday/label/edit", data={**form, "choice": "same"}, headers=JSON).json()
    assert (again["sentence"], again["replayed"], again["today"]) == ("B is better", True, 1)
    page = browser.get(AT).text
    assert "first: A is better" in page
    assert "the crust" in page
    assert [row.supersedes_id is None for row in db.scalars(select(Preference).order_by(Preference.id))] == [
        True,
        False,
    ]
    assert found(browser, "?q=oven") == [], "a replaced note is not found"


def test_a_change_that_does_not_fit_or_is_not_ones_own(
    browser: TestClient, db: Session, project: Project, annotator: User
) -> None:
    mine = answer(db, project, annotator, "Which?")
    form = form_of(browser.get(f"{AT}/{mine.idempotency_key}").text)
    at = "/projects/everyday/label/edit"
    assert browser.post(at, data={**form, "choice": "c"}, headers=JSON).status_code == 422
    assert browser.post(at, data={**form, "choice": "b", "token": form["key"]}, headers=JSON).status_code == 404
    skipped = answer(db, project, annotator, "Left", "skipped")
    assert browser.get(f"{AT}/{skipped.idempotency_key}").status_code == 409
    assert db.scalars(select(Preference)).one().tiers


def fates(db: Session, project: Project, person: User) -> list[str]:
    """Of the newest acts, oldest first."""
    db.expire_all()
    lines = history.find(db, project, person, history.Looked()).lines
    return [line.fate for line in reversed(lines)]


def test_each_line_says_what_became_of_it(db: Session, project: Project, annotator: User) -> None:
    first = answer(db, project, annotator, "One", "a")
    answer(db, project, annotator, "Two", "same")
    answer(db, project, annotator, "Three", "both_bad")
    answer(db, project, annotator, "Four", "reported")
    assert fates(db, project, annotator) == ["Used in no round yet."] * 2 + ["", ""]
    freeze(db, project, 1, "failed")
    assert fates(db, project, annotator)[0] == "Used in no round yet."
    freeze(db, project, 2)
    assert fates(db, project, annotator)[:2] == ["Round 2 used this answer."] * 2
    assert fates(db, project, annotator)[2] == "", "all bad makes no pair"
    answer(db, project, annotator, "Five")
    edit(db, annotator, uuid4(), first.idempotency_key, {"overall": {"choice": "b"}})
    assert fates(db, project, annotator) == [
        "Round 2 used the old answer; the next round uses this one.",
        "Round 2 used this answer.",
        "",
        "",
        "Used in no round yet.",
    ]
    freeze(db, project, 3, "running")
    assert fates(db, project, annotator)[0] == "Round 3 is learning from this answer."
    assert fates(db, project, annotator)[4] == "Round 3 is learning from this answer."


def test_a_task_with_a_known_answer_says_the_same_as_its_neighbours(
    db: Session, project: Project, annotator: User
) -> None:
    for number in range(3):
        answer(db, project, annotator, f"Number {number}")
    db.execute(update(Task).where(Task.id == db.scalars(select(Task.id).limit(1).offset(1)).one()).values(gold={}))
    db.commit()
    assert set(fates(db, project, annotator)) == {"Used in no round yet."}
    freeze(db, project, 2)
    assert set(fates(db, project, annotator)) == {"Round 2 used this answer."}


@pytest.fixture
def plenty(db: Session, project: Project, annotator: User) -> Project:
    """20,000 acts of one person, and one prompt that has a rare word in it."""
    common, rare = factories.make_prompt(db, project, "Common words"), factories.make_prompt(db, project, "A zebra")
    task = factories.make_task(db, common)
    db.execute(text("set local statement_timeout = 0"))
    db.execute(
        text("""
        with t as (
          insert into tasks (project_id, prompt_id, protocol_id, state, answers_needed, answers)
          select :project, case n when 15000 then :rare else :common end, :protocol, 'done', 1, 1
          from generate_series(1, 20000) n returning id
        ), a as (
          insert into assignments (task_id, project_id, user_id, lease_token, lease_until, display_order,
                                   idempotency_key, outcome, submitted_at)
          select id, :project, :person, gen_random_uuid(), now(), '{0,1}', gen_random_uuid(), 'answered',
                 now() - make_interval(secs => 30000 - id)
          from t returning id, task_id
        )
        insert into preferences (project_id, task_id, assignment_id, user_id, field, outcome, tiers)
        select :project, task_id, id, :person, 'overall', 'prefer', '[[0],[1]]' from a"""),
        {
            "project": project.id,
            "rare": rare.id,
            "common": common.id,
            "protocol": task.protocol_id,
            "person": annotator.id,
        },
    )
    db.execute(text("analyze"))
    db.commit()
    return project


def test_a_page_reads_a_page_however_many_there_are(db: Session, plenty: Project, annotator: User) -> None:
    """Counted in rows that the database touched, not in seconds."""
    plans: list[dict[str, object]] = []

    def explain(connection, cursor, statement, parameters, context, many) -> None:  # type: ignore[no-untyped-def]
        if statement.lstrip().lower().startswith("select") and not context.execution_options.get("explained"):
            statement = f"explain (analyze, format json) {statement}"
            raw = connection.connection.cursor()
            raw.execute(statement, parameters)
            plans.append(raw.fetchone()[0][0]["Plan"])
            raw.close()

    event.listen(db.get_bind(), "before_cursor_execute", explain)
    try:
        freeze(db, plenty, 2)
        plans.clear()
        assert len(history.find(db, plenty, annotator, history.Looked()).lines) == 50
        assert max(touched(plan) for plan in plans) < 400
        plans.clear()
        sought = history.Looked(words="zebra")
        pages, lines = 0, list[Line]()
        while True:
            page = history.find(db, plenty, annotator, sought)
            pages, lines = pages + 1, lines + page.lines
            if not page.older:
                break
            assert page.until is not None
            sought = history.Looked(words="zebra", before=history.looked({"before": page.older}).before)
        assert [line.prompt for line in lines] == ["A zebra"]
        assert pages == 4
        assert max(touched(plan) for plan in plans) < 12 * history.LOOK, "a search walks no more than it says"
    finally:
        event.remove(db.get_bind(), "before_cursor_execute", explain)


def touched(plan: dict[str, object]) -> float:
    """Rows that came out of the plan's nodes and those that filters threw away."""

    def number(name: str) -> float:
        value = plan.get(name, 0)
        return float(value) if isinstance(value, int | float) else 0.0

    rows = (number("Actual Rows") + number("Rows Removed by Filter")) * number("Actual Loops")
    children = plan.get("Plans", [])
    assert isinstance(children, list)
    return rows + sum(touched(child) for child in children)
