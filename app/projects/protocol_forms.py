"""The editor of a protocol: each field is a block of inputs, lists are lines of text, and the whole goes both ways."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from app.core.errors import InvalidInput, Problem
from app.core.forms import DEFAULT_PROTOCOL, parse_protocol
from app.core.forms.field import SHIPPED
from app.core.records.base import Json
from app.core.words import N_, gettext

MOST = 12
WORDLESS = ("type", "key")
"""Fields of one form."""
STEP = re.compile(r"\s*(-?\d{1,3})\s*(?:=\s*(.*?)\s*)?")
ITEM = re.compile(r"\s*(?:([a-z][a-z0-9_]{0,39}):\s+)?(.*?)\s*")


def scale(*labels: str, first: int = 1) -> list[Json]:
    """Options with these words, numbered upwards."""
    return [{"value": first + index, "label": label} for index, label in enumerate(labels)]


ADDS: dict[str, tuple[str, str, Json]] = {
    "compare": (
        N_("Two answers: which is better"),
        N_("One key. The quickest, and what most people agree on."),
        DEFAULT_PROTOCOL[0],
    ),
    "choose": (
        N_("Several answers: which is the best"),
        N_("One key. The chosen one beats each of the others; nothing is said about those."),
        {"type": "choose", "question": N_("Which answer is the best?"), "answers": 4, "all_bad": True},
    ),
    "rank": (
        N_("Several answers, from best to worst"),
        N_("One key an answer. Every order of two becomes a pair to train on."),
        {
            "type": "rank",
            "question": N_("Put the answers in order, the best first."),
            "answers": 4,
            "ties": True,
            "all_bad": True,
        },
    ),
    "edit": (
        N_("Rewrite the answer"),
        N_("A demonstration that remembers what it was edited from."),
        {"type": "edit", "question": N_("Make the answer better.")},
    ),
    "demonstrate": (
        N_("Write the answer"),
        N_("No answer is shown; the person writes one. One task for each prompt."),
        {"type": "demonstrate", "question": N_("Write the answer that you would want to get.")},
    ),
    "converse": (
        N_("Talk with the model"),
        N_("Two or more replies at each turn; the chosen one goes on. Every choice is a comparison with its context."),
        {"type": "converse", "question": N_("Which reply should the talk go on with?"), "tie": True, "both_bad": True},
    ),
    "rate": (
        N_("Rate on a scale"),
        N_("A criterion with anchored steps, for each answer."),
        {
            "type": "rate",
            "question": N_("How helpful is it?"),
            "options": scale(N_("Not at all"), "", N_("Half way"), "", N_("Fully")),
        },
    ),
    "yes_no": (
        N_("Yes or no"),
        "",
        {
            "type": "rate",
            "question": N_("Does it do what was asked?"),
            "options": [{"value": 1, "label": N_("Yes")}, {"value": 0, "label": N_("No")}],
        },
    ),
    "thumbs": (
        N_("Thumbs"),
        "",
        {
            "type": "rate",
            "question": N_("Would you keep it?"),
            "options": [{"value": 1, "label": N_("Good")}, {"value": -1, "label": N_("Bad")}],
        },
    ),
    "flags": (
        N_("Flags"),
        N_("What applies; nothing has to."),
        {
            "type": "flags",
            "question": N_("What is wrong with it?"),
            "flags": [
                {"key": "fails_the_task", "label": N_("Fails the task")},
                {"key": "contains_personal_data", "label": N_("Contains personal data")},
                {"key": "sexual", "label": N_("Sexual")},
                {"key": "violent", "label": N_("Violent")},
            ],
        },
    ),
    "note": (
        N_("Note"),
        N_("Free text, with a least length if you want one."),
        {"type": "note", "question": N_("Why?")},
    ),
    "annotate": (
        N_("Mark passages"),
        N_("Passages of one answer, with a label and a comment each."),
        {
            "type": "annotate",
            "question": N_("Mark what is wrong."),
            "labels": [{"key": "wrong", "label": N_("Wrong")}, {"key": "unclear", "label": N_("Unclear")}],
        },
    ),
}
"""What can be added: name, a sentence, and the field it begins as."""


def blocks_of(fields: Sequence[Json]) -> list[dict[str, str]]:
    """Stored fields as blocks of inputs."""
    return [_block(field) for field in fields]


def _block(field: Json) -> dict[str, str]:
    block: dict[str, str] = {}
    for name, value in field.items():
        if name == "question":
            block[name] = gettext(value) if value in SHIPPED else value
        elif name in ("options",):
            block[name] = "\n".join(f"{one['value']} = {one['label']}".rstrip(" =") for one in value)
        elif name in ("flags", "aspects", "labels"):
            block[name] = "\n".join(
                one["label"] if key_of(one["label"]) == one["key"] else f"{one['key']}: {one['label']}" for one in value
            )
        elif name == "anchors":
            block[name] = "\n".join(value)
        elif isinstance(value, bool):
            block[name] = "on" if value else ""
        else:
            block[name] = str(value)
    return block


def sent_blocks(form: Mapping[str, str]) -> list[dict[str, str]]:
    """The blocks of a posted form, in its order: inputs are called f0.type, f0.question, …"""
    found: dict[int, dict[str, str]] = {}
    for name, value in form.items():
        number, _, rest = name.partition(".")
        if number[:1] == "f" and number[1:].isascii() and number[1:].isdigit() and rest:
            found.setdefault(int(number[1:][:4]), {})[rest] = value
    return [found[number] for number in sorted(found)][:MOST]


def changed(blocks: list[dict[str, str]], act: str) -> list[dict[str, str]]:
    """The blocks after one act of the editor: "add:rate", "remove:1", "up:2"; anything else leaves them."""
    kind, _, what = act.partition(":")
    if kind == "add" and what in ADDS and len(blocks) < MOST:
        return [*blocks, _block(_spoken(ADDS[what][2]) | {"key": ""})]
    if kind in ("remove", "up") and what.isascii() and what.isdigit() and int(what) < len(blocks):
        at = int(what)
        rest = blocks[:at] + blocks[at + 1 :]
        return rest if kind == "remove" else [*rest[: max(at - 1, 0)], blocks[at], *rest[max(at - 1, 0) :]]
    return blocks


def _spoken(value: Any) -> Any:
    """What a field begins as, with its words in the language of whoever adds it: from then on they are theirs."""
    if isinstance(value, list):
        return [_spoken(one) for one in value]
    if isinstance(value, dict):
        return {name: _spoken(one) if name not in WORDLESS else one for name, one in value.items()}
    return gettext(value) if isinstance(value, str) else value


def _question(text: str) -> str:
    """A question as it is stored: one of ours in English, whatever language it was shown in."""
    text = " ".join(text.split())
    return next((one for one in SHIPPED if text == gettext(one)), text)


def fields_of(blocks: Sequence[Mapping[str, str]]) -> list[Json]:
    """Blocks as fields of a protocol, checked. Raises InvalidInput that names the input, as f0.question."""
    if not blocks:
        raise InvalidInput([Problem("act", gettext("A form needs at least one question."))])
    taken: set[str] = set()
    fields = []
    for number, block in enumerate(blocks):
        usual = "overall" if block.get("type") in LEADS else key_of(block.get("question", ""))
        key = block.get("key", "") or _free(usual or "question", taken)
        taken.add(key)
        fields.append({"key": key} | _field(block, number))
    try:
        # Stored as the page shows them: what compares first, the rest beside it.
        order = [field.key for field in parse_protocol(fields)]
    except InvalidInput as error:
        raise InvalidInput([_placed(problem, fields) for problem in error.problems]) from error
    return sorted(fields, key=lambda field: order.index(field["key"]))


def _placed(problem: Problem, fields: Sequence[Json]) -> Problem:
    """The problem under the name of the input that it is about."""
    if problem.row is not None:
        name = problem.field.partition(".")[0]
        return Problem(f"f{problem.row - 1}.{name}", problem.message)
    keys = [field["key"] for field in fields]
    number = keys.index(problem.field) if problem.field in keys else len(keys) - 1
    return Problem(f"f{number}.question", problem.message)


LEADS = ("compare", "choose", "rank", "converse")
"""What has the key "overall", unless it is taken."""
BOXES = {
    "compare": ("tie", "both_bad"),
    "choose": ("all_bad",),
    "rank": ("ties", "all_bad"),
    "rate": ("not_applicable",),
    "edit": ("unchanged",),
    "converse": ("tie", "both_bad", "own_reply"),
}
NUMBERS = {
    "compare": ("strength",),
    "choose": ("answers",),
    "rank": ("answers",),
    "note": ("least",),
    "demonstrate": ("least",),
    "converse": ("replies", "strength", "turns_least"),
}
LISTS = {"compare": ("aspects",), "flags": ("flags",), "annotate": ("labels",)}
CHOICES = {"rate": ("of",), "flags": ("of",), "note": ("hides",), "converse": ("opening",)}


def _field(block: Mapping[str, str], number: int) -> Json:
    kind = block.get("type", "")
    field: dict[str, Any] = {"type": kind, "question": _question(block.get("question", ""))}
    field |= {name: name in block and block[name] == "on" for name in BOXES.get(kind, ())}
    for name in NUMBERS.get(kind, ()):
        given = block.get(name, "").strip()
        if given:
            if not (given.isascii() and given.isdigit()):
                raise InvalidInput(
                    [Problem(f"f{number}.{name}", gettext("A whole number belongs here."), found=given[:40])]
                )
            field[name] = int(given[:9])
    for name in LISTS.get(kind, ()):
        field[name] = _items(block.get(name, ""))
    for name in CHOICES.get(kind, ()):
        field[name] = block.get(name, "")
    if kind == "rate":
        field["options"] = _steps(block.get("options", ""), number)
    if kind == "compare":
        field["anchors"] = [line.strip() for line in block.get("anchors", "").splitlines() if line.strip()]
    return {name: value for name, value in field.items() if value != "" or name == "question"}


def _items(text: str) -> list[Json]:
    """One a line: "Fails the task", or "fails: Fails the task" where the key matters."""
    found = []
    for line in filter(str.strip, text.splitlines()):
        match = ITEM.fullmatch(line)
        key, label = match.groups() if match else (None, line.strip())
        found.append({"key": key or key_of(label), "label": label})
    return found


def _steps(text: str, number: int) -> list[Json]:
    """One a line: "1 = Not at all", or only "2"."""
    steps = []
    for line in filter(str.strip, text.splitlines()):
        match = STEP.fullmatch(line)
        if match is None:
            message = gettext("Write each step on a line of its own, like 1 = Not at all.")
            raise InvalidInput([Problem(f"f{number}.options", message, found=line[:80])])
        steps.append({"value": int(match[1]), "label": match[2] or ""})
    return steps


def key_of(label: str) -> str:
    """A key from words: "Contains personal data" becomes "contains_personal_data"."""
    plain = unicodedata.normalize("NFKD", label).encode("ascii", "ignore").decode().lower()
    key = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")[:40].strip("_")
    return key if not key or key[0].isalpha() else f"n_{key}"[:40]


def _free(key: str, taken: set[str]) -> str:
    number = 2
    free = key
    while free in taken:
        free, number = f"{key[:36]}_{number}", number + 1
    return free
