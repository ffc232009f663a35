"""What the accessibility tests share: axe-core in a page, and a house with something on every page."""

from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Literal

from playwright.sync_api import Page
from sqlalchemy.orm import Session

from app.core import registry
from app.core.artifacts import ArtifactStore
from app.core.forms import parse_protocol, segments_of
from app.core.people import make_invite
from app.core.records import Project, User
from app.core.settings import Settings
from app.data.exports import create_export
from app.data.forms import options_of
from tests import factories, loop_rows
from tests.browser.test_forms import CLEAR, COMPARE, EDIT, FIRST, FLAGS, MARK, WHY, WRITE

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text()
SCREENS = [(1440, 900), (320, 640)]
ALL_RULES = {"preload": False, "resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}
COLOURS = {"preload": False, "resultTypes": ["violations"], "runOnly": ["color-contrast", "link-in-text-block"]}
"""What can differ between the themes; everything else was asked in the light one."""
RUN = """options => axe.run(document, options).then(({ violations }) => violations.flatMap((rule) =>
    rule.nodes.map((node) => `${rule.id} (${rule.impact}): ${node.html.slice(0, 200)} ${
        node.any.concat(node.all, node.none).map((one) => one.message).join("; ").slice(0, 240)}`)))"""
WIDER = """() => { const root = document.documentElement; return root.scrollWidth <= innerWidth ? [] : [
    `the page is ${root.scrollWidth} px wide: ` + [...document.querySelectorAll("body *")]
        .filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll, .timeline"))
        .slice(-3).map((e) => e.outerHTML.slice(0, 120)).join(" | ")]; }"""
SMALL = """() => [...document.querySelectorAll("a, button, summary, input, select, textarea, [tabindex='0']")]
    .map((e) => e.closest("label") ?? e)
    .filter((e) => e.checkVisibility({ visibilityProperty: true }) && !e.closest(".hidden-text, .skip"))
    .filter((e) => getComputedStyle(e).display !== "inline")  // a word in a sentence may be as high as its line
    .map((e) => [e, e.getBoundingClientRect()])
    .filter(([e, { width, height }]) => height > 1 && (height < 43.5 || width < 43.5))
    .map(([e, { width, height }]) => `${Math.round(width)} x ${Math.round(height)}: ${e.outerHTML.slice(0, 140)}`)"""


@dataclass
class Looks:
    """Everything found on the way, each line with the page, the screen and the theme it was seen in."""

    found: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)

    def look(self, page: Page, name: str, screens: Any = tuple(SCREENS)) -> None:
        """All rules in the light theme and what depends on colours in the dark one, wide and narrow."""
        self.seen.append(name)
        for width, height in screens:
            page.set_viewport_size({"width": width, "height": height})
            theme: Literal["light", "dark"]
            for theme in ("light", "dark"):
                page.emulate_media(color_scheme=theme, reduced_motion="reduce")
                if not page.evaluate("'axe' in window"):
                    page.evaluate(AXE)
                said = page.evaluate(RUN, ALL_RULES if theme == "light" else COLOURS)
                said += page.evaluate(WIDER) if theme == "light" else []
                self.found += [f"{name} · {width} px {theme} · {one}" for one in said]


FIELDS: dict[str, list[dict[str, Any]]] = {
    "graded": [{"type": "compare", "key": "overall", "question": "Which is better?", "strength": 4}],
    "best": [{"type": "choose", "key": "overall", "question": "Which answer is the best?", "answers": 4}],
    "ranked": [{"type": "rank", "key": "overall", "question": "Best first.", "answers": 4}],
    "several": [COMPARE, CLEAR, FLAGS, WHY],
    "covered": [*factories.PROTOCOL, FIRST],
    "marked": [MARK],
    "edited": [EDIT],
    "written": [WRITE, {**CLEAR, "of": "task"}],
}
"""One project each, to see its label page. A further field type joins here."""
TEXTS = (
    "Short and *plain*.",
    "A list:\n\n- one\n- two\n\n| a | b |\n|---|---|\n| 1 | 2 |",
    "A longer answer with `code`. " * 12,
    '```python\ndef f(x):  # fast\n    return {"a": 1.5}\n```\n\n> And [a link](https://example.org).',
)


@dataclass
class House:
    """People of every kind, a project that has seen rounds, an empty one, and one for each field type."""

    owner: User
    annotator: User
    stranger: User
    kitchen: Project
    invite: str
    mine: dict[str, str]
    """By e-mail, the key of an answer of that person."""


def furnish(db: Session, settings: Settings) -> House:
    """All rows that the walk looks at, committed."""
    owner = factories.make_user(db, name="Ines Kovač", owner=True)
    annotator = factories.make_user(db, name="Mara Oduya")
    stranger = factories.make_user(db, name="Lee Roe")
    members = {owner: "admin", annotator: "annotator"}
    kitchen = factories.make_project(db, slug="kitchen", members=members, daily_goal=40)
    registry.ensure_base(db, kitchen, "tiny")
    for state in ("live", "failed", "waiting"):
        loop_rows.make_labels(db, kitchen)
        loop_rows.make_round(db, kitchen, state=state, store=ArtifactStore(settings.artifacts))
    create_export(db, settings, kitchen, options_of({"shape": "trl", "format": "jsonl"}), user_id=owner.id)
    _tasks(db, kitchen, 2, 4)
    quiet = factories.make_project(db, slug="quiet", name="Nothing yet", members=members)
    registry.ensure_base(db, quiet, "tiny")
    for slug, asked in FIELDS.items():
        project = factories.make_project(db, slug=slug, name=slug.title(), members=members, fields=asked)
        _tasks(db, project, segments_of(parse_protocol(asked)), 2)
    invite = make_invite(db, "annotator", project_id=kitchen.id, created_by=owner.id)
    mine = {}
    for user in (owner, annotator):
        prompt = factories.make_prompt(db, kitchen, f"What did {user.name} say?")
        task = factories.make_task(db, prompt, [factories.make_completion(db, prompt, text) for text in TEXTS[:2]])
        mine[user.email] = str(factories.make_preference(db, task, user).idempotency_key)
    db.commit()
    return House(owner, annotator, stranger, kitchen, invite, mine)


def _tasks(db: Session, project: Project, answers: int, count: int) -> None:
    for number in range(count):
        prompt = factories.make_prompt(db, project, f"Question {number} of {project.slug}: " + "why is it so? " * 20)
        prompt.messages = [
            {"role": "user", "content": "Is it so?"},
            {"role": "assistant", "content": "It is."},
            *prompt.messages,
        ]
        shown = [factories.make_completion(db, prompt, text) for text in TEXTS[:answers]]
        factories.make_task(db, prompt, shown)
