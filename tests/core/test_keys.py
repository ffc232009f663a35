"""Layouts of keys: complete, without a key taken twice, and refused where they are not."""

import pytest

from app.core.errors import InvalidInput
from app.core.keys import COMMANDS, FIXED, LAYOUTS, STANDARD, key_map, own_map, read_own, sign_of

NAMES = [command.name for command in COMMANDS]


@pytest.mark.parametrize("layout", [name for name, _ in LAYOUTS])
def test_every_layout_gives_no_key_to_two_commands(layout: str) -> None:
    keys = key_map({"keys": layout})
    assert len(keys.by_key) == len(keys.keys)
    assert set(FIXED.items()) <= set(keys.keys.items())
    assert set(keys.keys) == (set(FIXED) if layout == "off" else set(NAMES))


def test_the_layouts_are_those_that_are_described() -> None:
    home, pad = key_map({"keys": "home"}), key_map({"keys": "pad"})
    assert [home.keys[str(n)] for n in range(1, 10)] == list("asdfghjkl")
    assert (home.keys["undo"], home.keys["bad"], home.keys["keys"]) == ("Shift+Z", "Shift+X", "?")
    assert (pad.keys["undo"], pad.keys["bad"], pad.keys["skip"], pad.keys["7"]) == ("-", "*", "/", "7")
    assert key_map({}).keys == STANDARD
    assert key_map({"keys": "of an older release"}).keys == STANDARD


def test_a_key_is_read_as_people_and_browsers_write_it() -> None:
    given = {"undo": " U ", "note": "shift+k", "skip": "", "scroll": " ", "back": "arrowleft", "keys": "é"}
    read = read_own(given)
    assert {name: read[name] for name in given} == {
        "undo": "u",
        "note": "Shift+K",
        "skip": "",
        "scroll": "Space",
        "back": "ArrowLeft",
        "keys": "é",
    }
    assert set(read) == set(NAMES)


@pytest.mark.parametrize(
    "bad", ["ab", "Ctrl+Enter", "Tab", "Home", "Shift+1", "Ctrl+A", "\n\t.x", "\x07", "F5", "Shift+Enter"]
)
def test_what_is_no_key_is_refused(bad: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_own({**STANDARD, "note": bad})
    assert [problem.field for problem in refused.value.problems] == ["note"]
    assert "One character" in refused.value.problems[0].message


def test_what_sends_from_within_a_text_is_a_key_that_writes_nothing() -> None:
    assert read_own({**STANDARD, "finish": "shift+enter"})["finish"] == "Shift+Enter"
    for bad in ("Enter", "q", "Ctrl+Q"):
        with pytest.raises(InvalidInput) as refused:
            read_own({**STANDARD, "send": "", "finish": bad})
        assert [problem.field for problem in refused.value.problems] == ["finish"]
        assert refused.value.problems[0].message == "One of Ctrl+Enter, Shift+Enter, Alt+Enter."


def test_a_key_taken_twice_names_the_other_command() -> None:
    with pytest.raises(InvalidInput) as refused:
        read_own({"note": "q", "undo": "Q", "skip": "q", "report": "w"})
    assert [(problem.field, problem.message) for problem in refused.value.problems] == [
        ("note", "Q is the key of “Undo, up to 50 back” already."),
        ("skip", "Q is the key of “Undo, up to 50 back” already."),
    ]


def test_a_command_that_came_later_has_its_standard_key_unless_that_is_taken() -> None:
    chosen = {command.name: command.key for command in COMMANDS if command.name != "pause"}
    assert own_map(chosen)["pause"] == "p"
    assert "pause" not in own_map({**chosen, "note": "p"})
    assert "note" not in own_map({**chosen, "note": ""})


def test_arrows_enter_and_esc_can_be_given_away_too() -> None:
    given = {**STANDARD, "left": "j", "right": "", "undo": "arrowleft", "send": "q", "skip": "enter", "leave": ""}
    keys = own_map(read_own({**given, "finish": ""}))
    assert (keys["left"], keys["undo"], keys["send"], keys["skip"]) == ("j", "ArrowLeft", "q", "Enter")
    assert not {"right", "leave", "finish"} & set(keys)
    assert own_map({"undo": "ArrowLeft"}).get("left") is None, "a layout of before: its arrow is taken"


@pytest.mark.parametrize(
    ("key", "sign"),
    [("z", "Z"), ("Shift+Z", "⇧Z"), ("ArrowLeft", "←"), ("Space", "Space"), ("?", "?"), ("Escape", "Esc"), ("", "")],
)
def test_signs(key: str, sign: str) -> None:
    assert sign_of(key) == sign
