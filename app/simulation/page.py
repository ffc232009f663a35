"""The label page as a person reads it: which texts stand where, what is asked, and what the form sends back."""

import dataclasses
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Literal

VOID = frozenset(("input", "meta", "link", "br", "img", "hr", "use", "rect", "circle", "path"))


Kind = Literal["choice", "order", "box", "text", "marks"]


@dataclass
class Control:
    """One thing of a form that a person sets."""

    name: str
    kind: Kind
    values: list[str] = dataclasses.field(default_factory=list)
    """What may be chosen, and what a marked passage may be called."""
    least: int = 0
    """Characters that a text must have; 0: it may be left out."""


@dataclass
class ShownTask:
    """One task on the page: the prompt, answers from left to right, what is asked, and the form's hidden fields."""

    key: str
    field: str = "compare"
    """Which kind of answer the form wants."""
    prompt: str = ""
    """The last message as it is shown, in plain words."""
    answers: list[str] = dataclasses.field(default_factory=list)
    form: dict[str, str] = dataclasses.field(default_factory=dict)
    controls: list[Control] = dataclasses.field(default_factory=list)
    state: str = ""
    """Of a talk: open, owed, ready, writing or ending."""
    token: str = ""
    """Of a talk."""
    may_end: bool = False
    """Whether a talk may end now."""


def plain_words(html: str) -> str:
    """The text of a piece of HTML as a person reads it: no markup, and blanks as one blank."""
    return _Words(html).text


class _Words(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self._found: list[str] = []
        self.feed(html)
        self.close()

    @property
    def text(self) -> str:
        return " ".join("".join(self._found).split())

    def handle_data(self, data: str) -> None:
        self._found.append(data)


class LabelPage(HTMLParser):
    """Reads `tasks` and the CSRF token from a label page. A pane's text is what M ("source") shows."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tasks: list[ShownTask] = []
        self.csrf = ""
        self._depth = 0
        self._read: list[str] = []
        self._is_answer = False
        self._in_form = False
        self._least = 0
        self._labels: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what matters of an element."""
        found = {name: value or "" for name, value in attrs}
        classes = set(found.get("class", "").split())
        if tag == "meta" and found.get("name") == "csrf-token":
            self.csrf = found.get("content", "")
        elif tag == "article" and "task" in classes:
            state, token = found.get("data-state", ""), found.get("data-token", "")
            self.tasks.append(ShownTask(found.get("data-key", ""), state=state, token=token))
        elif tag == "form":
            self._in_form = "answer" in classes
            if self._in_form and self.tasks:
                self.tasks[-1].field = found.get("data-field", "compare")
        elif tag == "input" and found.get("name") == "csrf_token":
            self.csrf = self.csrf or found.get("value", "")
        elif tag == "input" and self._in_form and found.get("type") == "hidden" and self.tasks:
            self.tasks[-1].form[found.get("name", "")] = found.get("value", "")
        elif tag == "a" and self.tasks and found.get("href", "").endswith("?end=1"):
            self.tasks[-1].may_end = True
        elif self.tasks:
            self._control(tag, found)
        if self._depth and tag not in VOID:
            self._depth += 1
        elif tag == "div" and self.tasks and "material" in classes and classes & {"source", "asked"}:
            self._depth, self._read = 1, []
            self._is_answer = "source" in classes

    def _control(self, tag: str, found: dict[str, str]) -> None:
        """Keep what a person could set."""
        if "data-row" in found:
            self._least = 0 if "data-optional" in found else int(found.get("data-least", "1"))
        if "data-mark" in found:
            self._labels.append(found["data-mark"])
        name, value, kind = found.get("name", ""), found.get("value", ""), found.get("type", "")
        if "data-rank" in found:
            self._add(Control("order", "order"))
        elif not name or not (self._in_form or found.get("form") == "answer"):
            return
        elif kind == "radio" or "data-choice" in found:
            self._add(Control(name, "choice", [value]))
        elif kind == "checkbox" and value == "on":
            self._add(Control(name, "box"))
        elif kind == "hidden" and name.endswith("spans"):
            self._add(Control(name, "marks", self._labels))
            self._labels = []
        elif tag == "textarea" and found.get("id") != "note":
            self._add(Control(name, "text", least=self._least))

    def _add(self, control: Control) -> None:
        """A further one, or a further value of one that is there."""
        controls = self.tasks[-1].controls
        for one in controls:
            if one.name == control.name:
                one.values += control.values
                return
        controls.append(control)

    def handle_endtag(self, tag: str) -> None:
        """Leave an element."""
        if self._depth and tag not in VOID:
            self._depth -= 1
            if not self._depth:
                self._keep("".join(self._read))
        if tag == "form":
            self._in_form = False

    def handle_data(self, data: str) -> None:
        """Text inside a pane or of the prompt."""
        if self._depth:
            self._read.append(data)

    def _keep(self, text: str) -> None:
        if self._is_answer:
            self.tasks[-1].answers.append(text)
        else:
            self.tasks[-1].prompt = " ".join(text.split())
