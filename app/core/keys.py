"""The keys of the label page: one table of commands, the layouts, and what a person may make of them.

A further command is one row here and a function of the same name in static/js/label/page.js. Keys are written as
browsers name them: "z", "Shift+Z", "?", "Space", "ArrowLeft". A digit is the key in that place, also on keyboards that
need Shift for it; a letter is the character that is typed. Ctrl in "Ctrl+Enter" is ⌘ as well.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from app.core.errors import InvalidInput, Problem
from app.core.words import N_, gettext

Group = Literal["answer", "around", "reading", "palate"]


@dataclass(frozen=True)
class Command:
    """Something a key does. `fixed`: an arrow, Enter or Esc, which the layout without single keys keeps."""

    name: str
    key: str
    words: str
    group: Group
    fixed: bool = False

    @property
    def said(self) -> str:
        """What it does, in the language of now."""
        return gettext(self.words, n=self.name)


COMMANDS = (
    *(Command(str(n), str(n), N_("Answer or step %(n)s"), "answer") for n in range(1, 10)),
    Command("0", "0", N_("Same, or as good as the last"), "answer"),
    Command("bad", "x", N_("Both bad, or all bad"), "answer"),
    Command("left", "ArrowLeft", N_("The left answer"), "answer", fixed=True),
    Command("right", "ArrowRight", N_("The right answer"), "answer", fixed=True),
    Command("up", "ArrowUp", N_("The question before"), "answer", fixed=True),
    Command("down", "ArrowDown", N_("The next question"), "answer", fixed=True),
    Command("send", "Enter", N_("Send"), "answer", fixed=True),
    Command("finish", "Ctrl+Enter", N_("Send from within a text"), "answer", fixed=True),
    Command("back", "Backspace", N_("Take back the last place, clear a row"), "answer"),
    Command("undo", "z", N_("Undo, up to 50 back"), "around"),
    Command("note", "n", N_("Note"), "around"),
    Command("write", "w", N_("Write"), "around"),
    Command("skip", "s", N_("Skip"), "around"),
    Command("report", "r", N_("Report"), "around"),
    Command("pause", "p", N_("Pause: give the task back"), "around"),
    Command("scroll", "Space", N_("Scroll on, back with Shift"), "reading"),
    Command("together", "l", N_("Scroll together"), "reading"),
    Command("source", "m", N_("Source"), "reading"),
    Command("differences", "d", N_("Mark what differs"), "reading"),
    Command("turns", "c", N_("Earlier turns"), "reading"),
    Command("reveal", "v", N_("Show a sensitive text, or hide it"), "reading"),
    Command("previous", "[", N_("Previous answer"), "reading"),
    Command("next", "]", N_("Next answer"), "reading"),
    Command("guidelines", "g", N_("Guidelines"), "palate"),
    Command("history", "h", N_("My history"), "palate"),
    Command("keys", "?", N_("All keys"), "palate"),
    Command("leave", "Escape", N_("Close, or leave a field"), "palate", fixed=True),
)
STANDARD = {command.name: command.key for command in COMMANDS}
FIXED = {command.name: command.key for command in COMMANDS if command.fixed}
HOME_ROW = dict(zip("123456789", "asdfghjkl", strict=True))
NUMBER_PAD = {"undo": "-", "bad": "*", "skip": "/"}
LAYOUTS = [
    ("standard", N_("Standard")),
    ("home", N_("Home row: A S D F G H J K L are 1 to 9, commands with Shift")),
    ("pad", N_("Number pad: digits, − undo, * both bad, / skip")),
    ("own", N_("Own")),
    ("off", N_("Off: Tab, arrows, Enter and Esc only")),
]
SIGNS = {
    "ArrowLeft": "←",
    "ArrowRight": "→",
    "ArrowUp": "↑",
    "ArrowDown": "↓",
    "Backspace": "⌫",
    "Delete": "⌦",
    "Escape": "Esc",
    "-": "\N{MINUS SIGN}",
}
ARROWS = ("ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown")
NAMED = {name.lower(): name for name in ("Space", "Enter", "Escape", "Backspace", "Delete", *ARROWS)}
CHORDS = {name.lower(): name for name in ("Ctrl+Enter", "Shift+Enter", "Alt+Enter")}
"""Keys that work while somebody writes: those of the command "finish", and of no other."""
SHIFTED = re.compile(r"shift\+\s*([a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class KeyMap:
    """Which key does what for one person. Commands without a key are not in it."""

    keys: Mapping[str, str]

    @property
    def by_key(self) -> dict[str, str]:
        """Command by key, as the page's script reads it."""
        return {key: command for command, key in self.keys.items()}

    def sign(self, command: str) -> str:
        """What stands on the chip: "Z", "⇧Z", "←"; empty without a key."""
        return sign_of(self.keys.get(command, ""))

    def shortcuts(self, commands: str) -> str:
        """The value of aria-keyshortcuts for commands like "left 1"; empty where none of them has a key."""
        return " ".join(key for command in commands.split() if (key := self.keys.get(command)))


def sign_of(key: str) -> str:
    """A key as people write it."""
    if key in SIGNS:
        return SIGNS[key]
    return key.upper() if len(key) == 1 else key.replace("Shift+", "⇧")


def key_map(preferences: Mapping[str, Any]) -> KeyMap:
    """The keys of a person with these stored preferences."""
    layout = preferences.get("keys", "standard")
    if layout == "off":
        return KeyMap(FIXED)
    if layout == "home":
        shifted = {name: f"Shift+{key.upper()}" for name, key in STANDARD.items() if key.isalpha() and len(key) == 1}
        return KeyMap({**STANDARD, **shifted, **HOME_ROW})
    if layout == "pad":
        return KeyMap({**STANDARD, **NUMBER_PAD})
    return KeyMap(own_map(preferences.get("own") or {}) if layout == "own" else STANDARD)


def own_map(chosen: Mapping[str, str]) -> dict[str, str]:
    """The keys of somebody's own layout. A command that came later has its standard key, unless that is taken."""
    keys = {command.name: key for command in COMMANDS if (key := chosen.get(command.name))}
    later = {c.name: c.key for c in COMMANDS if c.name not in chosen and c.key not in keys.values()}
    return {**keys, **later}


def read_own(given: Mapping[str, str]) -> dict[str, str]:
    """A layout that a form names, by command; empty: no key. Raises InvalidInput that names each command that fails."""
    chosen: dict[str, str] = {}
    problems: list[Problem] = []
    words = {command.name: command.said for command in COMMANDS}
    for command in COMMANDS:
        chords = command.name == "finish"
        key = (_chord if chords else _key)(given.get(command.name, ""))
        other = next((name for name, its in chosen.items() if key and its == key), None)
        if key is None and chords:
            problems.append(Problem(command.name, gettext("One of %(names)s.", names=", ".join(CHORDS.values()))))
        elif key is None:
            named = ", ".join(NAMED.values())
            problems.append(
                Problem(command.name, gettext("One character, Shift+ and a letter, or %(names)s.", names=named))
            )
        elif other is not None:
            taken = gettext("%(key)s is the key of “%(command)s” already.", key=sign_of(key), command=words[other])
            problems.append(Problem(command.name, taken))
        else:
            chosen[command.name] = key
    if problems:
        raise InvalidInput(problems)
    return chosen


def _key(given: str) -> str | None:
    """A key as it is stored; None for what is none."""
    given = " " if given == " " else given.strip()
    if given == " ":
        return "Space"
    if shifted := SHIFTED.fullmatch(given):
        return f"Shift+{shifted[1].upper()}"
    if len(given) == 1:
        return given.lower() if given.isprintable() and len(given.lower()) == 1 else None
    return NAMED.get(given.lower(), "" if not given else None)


def _chord(given: str) -> str | None:
    """A key that works within a text, as it is stored; None for any other."""
    given = given.strip()
    return CHORDS.get(given.lower(), None if given else "")
