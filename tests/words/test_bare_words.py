"""Sentences that stand in templates and modules outside of a catalogue. No page may have any."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import jinja2
import pytest
from jinja2 import nodes

from app.core.settings import ROOT
from app.insights.audit import SAID as DONE

WITHOUT_PAGES = {"bench", "simulation", "demo"}
"""Folders of app/ with commands and what works without a person who looks on: English."""
NO_PAGE = {
    *("core/settings.py", "core/snapshots.py", "core/artifacts.py", "core/writers.py"),  # to who starts a process
    *("core/lanes.py", "core/records", "data/sources"),  # SQL, and commands for public data sets
    "core/recipes/metrics.py",  # what docs/metrics.md says of each metric; a page has words of its own
}
"""Files and folders of app/ beside them that no page shows."""
MAY_STAND = {"Palate", "Esc", "checked", "SHA-256", "Parquet"}
KEYS = {"personal data", "not my language", "warn lease"}
"""Values of forms and classes of CSS with a space in them."""
CODE = re.compile(r'[-&]|[\w-]+="')
"""How what macros put into a tag or an address begins."""
JINJA = re.compile(r"{%-? *trans.*?endtrans *-?%}|{% raw %}.*?{% endraw %}|{#.*?#}|{%.*?%}|{{.*?}}", re.DOTALL)
TAG = re.compile(r"<(?:[^>\"]|\"[^\"]*\")*>|&\w+;")
SAID = re.compile(r'\b(?:aria-label|title|placeholder|alt)="([^"]*)"')
CATALOGUED = {"_", "gettext", "ngettext", "N_"}
TEMPLATES = [path for path in sorted((ROOT / "templates").rglob("*.html")) if path.name != "kit.html"]
"""All but the page of parts, which is for who builds pages."""
JINJA_ENVIRONMENT = jinja2.Environment(extensions=["jinja2.ext.i18n"], autoescape=True)


def bare(source: str) -> list[str]:
    """Words of a template that come from no catalogue: text, and attributes that are read or shown."""
    text = JINJA.sub("\0", source)
    found = [*SAID.findall(text), *TAG.sub("\n", text).replace("\0", "\n").splitlines()]
    words = [one.strip(" ·\0") for one in found if re.search("[A-Za-z]{2}", one)]
    return [one for one in words if one not in MAY_STAND and not CODE.match(one)]


def literals(node: nodes.Node) -> Iterator[str]:
    """Texts inside of a template's expressions: what a macro is given to show, what is glued together."""
    if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name) and node.node.name in CATALOGUED:
        for named in node.kwargs:
            yield from literals(named)
        return
    if isinstance(node, nodes.Const) and isinstance(node.value, str) and says(node.value):
        yield node.value
    for child in node.iter_child_nodes():
        yield from literals(child)


def says(text: str) -> bool:
    """Whether a text reads like words for people: a capital first letter, or several words."""
    if text in MAY_STAND | KEYS or text.startswith("```"):
        return False
    return bool(re.match(r"[A-Z][a-z]", text) or re.search(r"[A-Za-z]{2} [a-z]{2}|^ [a-z]{2}|[a-z]{2} $", text))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT / "templates")))
def test_templates_say_nothing_themselves(path: Path) -> None:
    source = path.read_text()
    assert bare(source) == []
    assert list(literals(JINJA_ENVIRONMENT.parse(source))) == []


@pytest.mark.parametrize(
    "source",
    [
        "<p>Nothing here.</p>",
        '<input placeholder="Words of a prompt">',
        '{{ ui.button("Save") }}',
        '{{ "no cap" }}',
        '{{ "Roll back to " ~ name }}',
        '{% call ui.table(_("Members"), ["Person"]) %}{% endcall %}',
        '{{ _("Take %(name)s out?", name="The owner") }}',
    ],
)
def test_a_bare_sentence_of_a_template_is_seen(source: str) -> None:
    assert bare(source) or list(literals(JINJA_ENVIRONMENT.parse(source)))


NO_SENTENCES = {
    *DONE,
    *("not ready", "public, max-age=31536000, immutable", "noopener noreferrer nofollow", "Bearer \0"),
    *("turn \0\n\0", "\0 to \0", "has a place"),
}
"""Actions of the audit log, which have their sentences beside them; headers, a hash, two
figures that were sent, and a piece of SQL by its name."""


def sentence(node: ast.AST) -> str | None:
    """What a literal says where it reads like a sentence: two words beside each other, one of them at a border."""
    if isinstance(node, ast.JoinedStr):
        text = "".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        text = node.value
    else:
        return None
    words = re.search(r"[A-Za-z\0]{2,}[,:;]? [a-z\0]", text) or re.search(r"\0[,:]? [a-z]{2}|[a-z]{2} \0", text)
    if re.search(r"=\"|\bselect\b", text):
        return None  # HTML, SQL
    return text if words and re.search(r"[A-Za-z]{2} |[ ][a-z]{2}", text) else None


def spoken(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Sentences of a module that are in no catalogue; docstrings and what goes to the log are for others."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in CATALOGUED | WITHOUT_READERS:
                for value in node.keywords:
                    yield from spoken(value)
                continue
        if (
            isinstance(node, ast.Raise)
            and isinstance(node.exc, ast.Call)
            and getattr(node.exc.func, "id", "") in FAULTS
        ):
            continue
        if said := sentence(node):
            yield getattr(node, "lineno", 0), said
            continue
        yield from spoken(node)


WITHOUT_READERS = {"info", "warning", "error", "exception", "debug", "text", "record"}
"""Calls whose texts nobody reads on a page: the log, SQL, and actions of the audit log (app/insights/audit.py)."""
FAULTS = {"ValueError", "TypeError", "RuntimeError", "KeyError", "AssertionError"}
"""Errors for who builds Palate; a person reads "Something went wrong on our side"."""
MODULES = [
    path
    for path in sorted((ROOT / "app").rglob("*.py"))
    if path.relative_to(ROOT / "app").parts[0] not in WITHOUT_PAGES
    and len(path.relative_to(ROOT / "app").parts) > 1
    and path.name != "commands.py"
    and not any(str(path.relative_to(ROOT / "app")).startswith(one) for one in NO_PAGE)
]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT / "app")))
def test_modules_say_nothing_outside_of_a_catalogue(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert [one for one in spoken(tree) if one[1] not in NO_SENTENCES] == []
    # What stands within an f-string the extractor does not see.
    hidden = [call for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for call in ast.walk(node)]
    names = [getattr(one.func, "id", "") for one in hidden if isinstance(one, ast.Call)]
    assert not CATALOGUED & set(names)
