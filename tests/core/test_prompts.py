"""A prompt file is hostile until shown otherwise, and every row that does not fit is named."""

import io
import json
import resource
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core.jsonl import MAX_LINE, lines_of
from app.core.prompts import PromptReport, add_prompts, check_against, check_rows
from app.core.records import Prompt
from tests import factories


def check(*lines: bytes | str) -> PromptReport:
    raw = b"\n".join(line.encode() if isinstance(line, str) else line for line in lines)
    return check_rows(lines_of(io.BytesIO(raw)))


def test_both_forms_become_messages() -> None:
    report = check(
        b'\xef\xbb\xbf{"prompt": "Hi", "id": 7, "metadata": {"a": [1, null]}}\r',
        "",
        '{"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi \\ud83d\\ude00"}]}',
    )
    assert not report.problems
    assert report.rows == 2
    first, second = report.good
    assert (first.messages, first.external_id, first.extra) == (
        [{"role": "user", "content": "Hi"}],
        "7",
        {"a": [1, None]},
    )
    assert [m["role"] for m in second.messages] == ["system", "user"]
    assert second.messages[1]["content"] == "Hi 😀"


@pytest.mark.parametrize(
    ("line", "field", "words"),
    [
        ('{"prompt": ""}', "prompt", "Empty"),
        ('{"prompt": "   "}', "prompt", "Only blanks"),
        ('{"prompt": 3}', "prompt", "Must be text"),
        ('{"promt": "x"}', "promt", "no such field. Perhaps prompt was meant"),
        ('{"prompt": "x", "colour": "x"}', "colour", "no such field. Put what else you know into metadata"),
        ('{"prompt": "x", "messages": [{"role": "user", "content": "y"}]}', "prompt", "either"),
        ('{"messages": []}', "messages", "at least one message"),
        ('{"messages": [{"role": "bot", "content": "a"}]}', "messages.0.role", "system, user or assistant"),
        ('{"messages": [{"role": "user", "content": ""}]}', "messages.0.content", "Empty"),
        ('{"messages": [{"role": "user"}]}', "messages.0.content", "Missing"),
        (
            '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}',
            "messages",
            "last message",
        ),
        ('{"prompt": "x", "metadata": []}', "metadata", "object"),
        ('{"prompt": "x", "sensitive": "true"}', "sensitive", "Must be true or false."),
        ('{"prompt": "x", "sensitive": 1}', "sensitive", "Must be true or false."),
        ('{"prompt": "x", "sensitive": null}', "sensitive", "Must be true or false."),
        ('{"prompt": "x", "sensitiv": true}', "sensitiv", "Perhaps sensitive was meant."),
        ('{"prompt": "a", "prompt": "b"}', "row", "twice"),
        ('{"prompt": NaN}', "row", "NaN"),
        ('{"prompt": "a", "metadata": {"x": 1e999}}', "row", "too large"),
        ('{"prompt": "a", "metadata": {"x": ' + "1" * 9999 + "}}", "row", "too long"),
        ('{"prompt": "\\ud800"}', "row", "surrogate"),
        ('{"prompt": "a\\u0000b"}', "row", "NUL"),
        ('{"prompt": "a", "metadata": {"\\u0000": 1}}', "row", "NUL"),
        (b'{"prompt": "\xff"}', "row", "UTF-8"),
        ("[" * 100_000, "row", "Nested"),
        ('{"prompt": "a", "metadata": ' + '{"a":' * 30 + "1" + "}" * 31, "row", "Nested"),
        ("x" * (MAX_LINE + 10), "row", "Longer than 1 MB"),
        ('["a"]', "row", "must be an object"),
        ('{"prompt": "a"', "row", "Not JSON"),
    ],
)
def test_a_bad_row_is_named_with_line_field_and_reason(line: bytes | str, field: str, words: str) -> None:
    report = check('{"prompt": "fine"}', line, '{"prompt": "fine too"}')
    assert len(report.good) == 2
    (problem,) = report.problems
    assert (problem.row, problem.field) == (2, field)
    assert words in problem.message
    assert len(problem.found) <= 60


def test_rows_that_are_there_already_are_told_apart_from_bad_ones(db: Session) -> None:
    project = factories.make_project(db)
    lines = ['{"prompt": "a", "id": "x"}', '{"prompt": "a"}', '{"prompt": "b", "id": "x"}', '{"prompt": "c"}']
    report = check_against(db, project.id, check(*lines))
    assert [row.line for row in report.good] == [1, 4]
    assert [problem.row for problem in report.duplicates] == [2]
    assert [(problem.row, problem.field) for problem in report.problems] == [(3, "id")]
    assert add_prompts(db, project, report.good, "test") == {"added": 2, "duplicates": 0}
    again = check_against(db, project.id, check('{"prompt": "a"}', '{"prompt": "d", "id": "x"}', '{"prompt": "e"}'))
    assert [row.line for row in again.good] == [3]
    assert [problem.row for problem in again.duplicates] == [1]
    assert [problem.row for problem in again.problems] == [2]


def test_adding_passes_over_what_somebody_else_added_meanwhile(db: Session) -> None:
    project = factories.make_project(db)
    report = check('{"prompt": "a"}', '{"prompt": "b"}')
    add_prompts(db, project, report.good[:1], "first")
    assert add_prompts(db, project, report.good, "second") == {"added": 1, "duplicates": 1}
    assert db.scalar(select(func.count()).select_from(Prompt)) == 2


def test_a_row_may_mark_its_prompt(db: Session) -> None:
    project = factories.make_project(db)
    report = check('{"prompt": "a", "sensitive": true}', '{"prompt": "b", "sensitive": false}', '{"prompt": "c"}')
    add_prompts(db, project, report.good, "test")
    assert list(db.scalars(select(Prompt.sensitive).order_by(Prompt.id))) == [True, False, False]


@given(st.binary(max_size=300))
def test_no_bytes_raise(raw: bytes) -> None:
    report = check(raw)
    assert report.rows >= len(report.good)


@given(st.dictionaries(st.text(), st.recursive(st.none() | st.floats() | st.text(), st.lists, max_leaves=5)))
def test_no_object_raises_and_what_is_good_can_be_stored(row: dict[str, object]) -> None:
    report = check(json.dumps({"prompt": "x", "metadata": row}))
    for good in report.good:
        assert "\\u0000" not in json.dumps(good.extra)


def test_a_huge_line_is_read_in_bounded_memory_and_time() -> None:
    class Endless(io.RawIOBase):
        left = 300_000_000

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
            count = min(len(buffer), self.left)
            buffer[:count] = b"a" * count
            self.left -= count
            return count

    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.thread_time()
    report = check_rows(lines_of(io.BufferedReader(Endless())))  # type: ignore[type-var]
    assert [problem.row for problem in report.problems] == [1]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
    assert time.thread_time() - started < 5
