"""The label page as a person reads it: which texts stand where, and what the form sends back."""

import dataclasses
from dataclasses import dataclass
from html.parser import HTMLParser

VOID = frozenset(("input", "meta", "link", "br", "img", "hr", "use", "rect", "circle", "path"))


@dataclass
class ShownTask:
    """One task on the page: answers from left to right, and the hidden fields of its form."""

    key: str
    field: str = "compare"
    """Which kind of answer the form wants."""
    answers: list[str] = dataclasses.field(default_factory=list)
    form: dict[str, str] = dataclasses.field(default_factory=dict)


class LabelPage(HTMLParser):
    """Reads `tasks` and the CSRF token from a label page. A pane's text is what M ("source") shows."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tasks: list[ShownTask] = []
        self.csrf = ""
        self._source_depth = 0
        self._in_form = False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what matters of an element."""
        found = {name: value or "" for name, value in attrs}
        classes = found.get("class", "").split()
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
        if self._source_depth and tag not in VOID:
            self._source_depth += 1
        elif tag == "div" and {"material", "source"} <= set(classes) and self.tasks:
            self._source_depth = 1
            self.tasks[-1].answers.append("")

    def handle_endtag(self, tag: str) -> None:
        """Leave an element."""
        if self._source_depth and tag not in VOID:
            self._source_depth -= 1
        if tag == "form":
            self._in_form = False

    def handle_data(self, data: str) -> None:
        """Text inside a pane."""
        if self._source_depth:
            self.tasks[-1].answers[-1] += data
