"""Sentences that stand in templates and modules outside of a catalogue, and where they still may.

The lists name what is not translated yet, so that nothing only looks done: what is finished must leave them.
"""

import ast
import re
from pathlib import Path

import pytest

from app.core.settings import ROOT

TEMPLATES_TO_DO = {
    "data": {"_preview", "export", "exports", "import", "import_checked", "import_decided", "prompts"},
    "insights": {"_loop", "audit", "gold", "overview", "task", "tasks"},
    "projects": {
        *("_block", "_protocol", "_versions", "guideline", "guidelines", "members", "new", "protocol"),
        *("protocol_preview", "settings"),
    },
    "serving": {"models", "playground"},
    "training": {"_round", "_ready", "round", "rounds", "start"},
}
"""By folder of templates/. They are admins' pages."""
MODULES_TO_DO = {"data", "insights", "projects", "serving", "training"}
"""Folders of app/ whose pages are admins'."""
WITHOUT_PAGES = {"bench", "simulation", "demo"}
"""Commands and what works without a person who looks on: English."""
MAY_STAND = {"Palate", "Esc", "checked"}
CODE = re.compile(r'[-&]|[\w-]+="')
"""How what macros put into a tag or an address begins."""
JINJA = re.compile(r"{%-? *trans.*?endtrans *-?%}|{% raw %}.*?{% endraw %}|{#.*?#}|{%.*?%}|{{.*?}}", re.DOTALL)
TAG = re.compile(r"<(?:[^>\"]|\"[^\"]*\")*>|&\w+;")
SAID = re.compile(r'\b(?:aria-label|title|placeholder|alt)="([^"]*)"')
ERRORS = {"Conflict", "NotFound", "Forbidden", "Unavailable"}
PLACES = {**dict.fromkeys(ERRORS, 0), "refuse": 0, "Problem": 1, "say": 2}
"""Which argument of these is a sentence."""


def bare(path: Path) -> list[str]:
    """Words of a template that come from no catalogue: text, and attributes that are read or shown."""
    text = JINJA.sub("\0", path.read_text())
    found = [*SAID.findall(text), *TAG.sub("\n", text).replace("\0", "\n").splitlines()]
    words = [one.strip(" ·\0") for one in found if re.search("[A-Za-z]{2}", one)]
    return [one for one in words if one not in MAY_STAND and not CODE.match(one)]


TEMPLATES = [path for path in sorted((ROOT / "templates").rglob("*.html")) if path.name != "kit.html"]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT / "templates")))
def test_templates_say_nothing_themselves(path: Path) -> None:
    if path.stem in TEMPLATES_TO_DO.get(path.parent.name, ()):
        assert path.exists()
    else:
        assert bare(path) == []


def test_what_is_to_do_is_there() -> None:
    for folder, stems in TEMPLATES_TO_DO.items():
        for stem in stems:
            source = (ROOT / "templates" / folder / f"{stem}.html").read_text()
            assert not re.search(r"\b_\(|endtrans", source), (
                f"{folder}/{stem}.html is begun: finish it, or take it off the list"
            )


def literal(node: ast.expr) -> bool:
    """Whether an argument is a sentence written on the spot, alone or as one of two, or a constant that holds one."""
    if isinstance(node, ast.IfExp):
        return literal(node.body) or literal(node.orelse)
    if isinstance(node, ast.Name) and node.id.isupper():
        return True
    if isinstance(node, ast.JoinedStr):
        return any(isinstance(part, ast.Constant) and str(part.value).strip() for part in node.values)
    return isinstance(node, ast.Constant) and " " in str(node.value)


def test_modules_of_annotators_pages_make_no_bare_sentences() -> None:
    for path in sorted((ROOT / "app").rglob("*.py")):
        part = path.relative_to(ROOT / "app").parts[0]
        elsewhere = part in MODULES_TO_DO | WITHOUT_PAGES or part.endswith(".py") or path.name == "commands.py"
        if elsewhere or (part == "core" and path.name not in CORE):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if name in PLACES and len(node.args) > PLACES[name]:
                    assert not literal(node.args[PLACES[name]]), f"{path}:{node.lineno}"


CORE = {
    *("answers.py", "edits.py", "queue.py", "leases.py", "keys.py", "people.py", "talk.py", "talks.py", "criteria.py"),
    *("annotate.py", "choose.py", "compare.py", "converse.py", "field.py", "rank.py", "rate.py", "write.py"),
}
"""Files of app/core that make sentences for annotators; the rest of it speaks to admins and in commands."""
