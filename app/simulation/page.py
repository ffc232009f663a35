"""The label page as a person reads it: which texts stand where, and what the form sends back."""

import dataclasses
from dataclasses import dataclass
from html.parser import HTMLParser

VOID = frozenset(("input", "meta", "link", "br", "img", "hr", "use", "rect", "circle", "path"))


@dataclass
class ShownTask:
    """One task on the page: the prompt, answers from left to right, and the hidden fields of its form."""

    key: str
    field: str = "compare"
    """Which kind of answer the form wants."""
    prompt: str = ""
    """The last message as it is shown, in plain words."""
    answers: list[str] = dataclasses.field(default_factory=list)
    form: dict[str, str] = dataclasses.field(default_factory=dict)


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
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what matters of an element."""
        found = {name: value or "" for name, value in attrs}
        classes = set(found.get("class", "").split())
        if tag == "meta" and found.get("name") == "csrf-token":
            self.csrf = found.get("content", "")
        elif tag == "article" and "task" in classes:
            self.tasks.append(ShownTask(found.get("data-key", "")))
        elif tag == "form":
            self._in_form = "answer" in classes
            if self._in_form and self.tasks:
                self.tasks[-1].field = found.get("data-field", "compare")
        elif tag == "input" and found.get("name") == "csrf_token":
            self.csrf = self.csrf or found.get("value", "")
        elif tag == "input" and self._in_form and found.get("type") == "hidden" and self.tasks:
            self.tasks[-1].form[found.get("name", "")] = found.get("value", "")
        if self._depth and tag not in VOID:
            self._depth += 1
        elif tag == "div" and self.tasks and "material" in classes and classes & {"source", "asked"}:
            self._depth, self._read = 1, []
            self._is_answer = "source" in classes

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
