"""What models and people write is shown, and does nothing."""

import re
import time
from html.parser import HTMLParser

import pytest

from app.web import formulas
from app.web.markdown import ATTRIBUTES, CLASS, TAGS, to_html
from tests.web.attacks import SLOW, TEXTS

OURS = {"a": {"href", "title", "rel", "target"}, "pre": {"tabindex"}, "table": {"tabindex"}}


class Seen(HTMLParser):
    """Every element and attribute that a browser would make."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


def elements(text: str) -> list[tuple[str, dict[str, str | None]]]:
    seen = Seen()
    seen.feed(str(to_html(text)))
    return seen.elements


@pytest.mark.parametrize("text", TEXTS)
def test_no_attack_leaves_more_than_listed_tags_and_attributes(text: str) -> None:
    for tag, attributes in elements(text):
        if tag in formulas.TAGS:
            assert set(attributes) <= set(formulas.ATTRIBUTES)
            assert all(formulas.ATTRIBUTES[name].fullmatch(value or "") for name, value in attributes.items())
            continue
        assert tag in TAGS
        assert set(attributes) <= ATTRIBUTES.get(tag, set()) | OURS.get(tag, set())
        assert re.match(r"https?://|mailto:", attributes.get("href") or "https://")
        assert CLASS.fullmatch(attributes.get("class") or "k")


def test_the_corpus_is_large_enough_and_would_run_without_us() -> None:
    assert len(set(TEXTS)) >= 60
    raw = Seen()
    raw.feed("\n".join(TEXTS))
    assert {"script", "img", "svg", "form", "iframe"} <= {tag for tag, _ in raw.elements}


@pytest.mark.parametrize("text", SLOW, ids=range(len(SLOW)))
def test_no_text_takes_long(text: str) -> None:
    start = time.thread_time()  # of this thread's own work: other programs may hold the processor
    to_html(text)
    assert time.thread_time() - start < 3


def test_ordinary_markdown_looks_as_it_should() -> None:
    html = to_html(
        "# One\n\n**bold** ~~gone~~ [w](https://w.example)\n\n|a|b|\n|:-:|-:|\n|1|2|\n\n```python\nx = 1\n```"
    )
    for part in ("<h3>One</h3>", "<strong>bold</strong>", "<s>gone</s>", 'class="center"', 'class="right"'):
        assert part in html
    assert 'href="https://w.example"' in html
    assert 'rel="noopener noreferrer nofollow"' in html
    assert '<span class="mi">1</span>' in html


def test_a_picture_becomes_its_caption() -> None:
    assert to_html("![A red *door*](https://e.example/x.png)") == (
        '<p><span class="picture">[picture: A red *door*]</span></p>\n'
    )


def test_code_beyond_the_cap_is_shown_without_colours_and_huge_text_as_it_is() -> None:
    assert "<span" not in to_html("```python\n" + "x = 1\n" * 10_000 + "```")
    assert to_html("<b>" * 100_000).startswith('<pre tabindex="0"><code>&lt;b&gt;')


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("$x^2$", '<math display="inline"><mrow><msup><mi>x</mi><mn>2</mn></msup></mrow></math>'),
        ("so \\(a < b\\).", "<mo>&lt;</mo>"),
        ("$$\n\\frac{1}{2}\n$$", '<math display="block"><mrow><mfrac>'),
        ("\\[\nx_i\n\\]", '<math display="block">'),
        ("mid \\[ y \\] line", '<math display="block">'),
        ("\\begin{align}\na &= b\n\\end{align}", "<mtable"),
        ("$\\frac$", "<code>\\frac</code>"),
        (f"${'x' * 2001}$", f"<code>{'x' * 2001}</code>"),
        ("$\\text{<b>bold</b>}$", "&lt;b&gt;bold&lt;/b&gt;"),
        ("$\\href{javascript:alert(1)}{y}$", "<mi>y</mi>"),
        ("$\\color{red}{y}$", "<mstyle><mrow><mi>y</mi>"),
        ("$\\hspace{900em} y$", "<mi>y</mi>"),
    ],
)
def test_formulas_become_mathml(text: str, part: str) -> None:
    html = str(to_html(text))
    assert part in html
    assert not re.search(r"javascript|href|mathcolor|900em|\bstyle=", html)


@pytest.mark.parametrize("text", ["$5 and $10", "`$x$`", "\\$x\\$", "a $ b $ c", "```\n$x$\n```", "\\( open"])
def test_what_is_not_a_formula_stays(text: str) -> None:
    assert "<math" not in to_html(text)


def test_the_first_two_hundred_formulas_of_a_text_are_drawn() -> None:
    assert str(to_html("$x$ " * 250)).count("<math") == formulas.MOST_FORMULAS
