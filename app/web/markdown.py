"""Untrusted Markdown to safe HTML. The only place of the program that makes Markup.

Three walls: the parser knows no raw HTML; the sanitiser lets only listed tags and attributes through; the page's
content security policy runs no script that is not ours. Formulas are filled in after the sanitiser, from a list of
their own. Pictures become their caption: a remote one would tell its server who reads.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup, escape
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from app.core.words import gettext, spoken
from app.web.formulas import add_formulas, fill_in

RENDERER = 2
"""Raised whenever the HTML of the same text changes."""
MOST_CODE = 50_000
MOST_TEXT = 200_000
"""Characters; a longer text is shown as it was written."""

TAGS = {
    *("p", "br", "hr", "h3", "h4", "h5", "h6", "strong", "em", "s", "blockquote", "a", "span"),
    *("ul", "ol", "li", "pre", "code", "table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}, "span": {"class"}, "th": {"class"}, "td": {"class"}}
CLASS = re.compile(r"(?:[a-z][a-z0-9]{0,2}|picture|left|center|right|mathd?)")
"""Pygments' short names, and ours."""


def to_html(text: str) -> Markup:
    """Safe HTML of a Markdown text, for people to read. Equal texts are rendered once (the newest 2,000 are kept)."""
    if len(text) > MOST_TEXT:
        return Markup('<pre tabindex="0"><code>{}</code></pre>').format(text)
    return _cached(text, spoken().code if "![" in text else "")


def plain(text: str) -> Markup:
    """The text exactly as it was written, escaped, in a block that keeps its line breaks."""
    return Markup('<pre tabindex="0"><code>{}</code></pre>').format(text)


@lru_cache(maxsize=2_000)
def _cached(text: str, _language: str) -> Markup:
    """One for each language where a picture's place is taken by words of ours."""
    return Markup(fill_in(_clean(_parser().render(text))))  # noqa: S704  sanitised in this very expression


def _clean(html: str) -> str:
    return nh3.clean(
        html,
        tags=TAGS,
        clean_content_tags={"script", "style", "svg", "math", "iframe", "object", "template"},
        attributes=ATTRIBUTES,
        attribute_filter=_filter,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
        # What may scroll by itself can be reached and scrolled with the keyboard.
        set_tag_attribute_values={"a": {"target": "_blank"}, "pre": {"tabindex": "0"}, "table": {"tabindex": "0"}},
    )


def _filter(_tag: str, attribute: str, value: str) -> str | None:
    if attribute == "class":
        return value if CLASS.fullmatch(value) else None
    if attribute == "href":
        # A link into this very site ("/sign-out") could be taken for a part of the page.
        return value if value.lower().startswith(("https://", "http://", "mailto:")) else None
    return value


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "highlight": _highlight}).enable(["table", "strikethrough"])
    add_formulas(parser)
    parser.add_render_rule("image", _image)
    parser.add_render_rule("heading_open", _heading)
    parser.add_render_rule("heading_close", _heading)
    for cell in ("th_open", "td_open"):
        parser.add_render_rule(cell, _cell)
    return parser


def _highlight(code: str, language: str, _: str) -> str:
    """Colour classes for fenced code of a named language; the empty string lets the parser escape it plainly."""
    if not language or len(code) > MOST_CODE:
        return ""
    try:
        lexer = get_lexer_by_name(language, stripnl=False)
    except ClassNotFound:
        return ""
    coloured: str = highlight(code, lexer, HtmlFormatter(nowrap=True))
    return coloured


def _image(_: RendererHTML, tokens: Sequence[Token], index: int, *_rest: object) -> str:
    caption = tokens[index].content
    words = gettext("[picture: %(caption)s]", caption=caption) if caption else gettext("[picture: no caption]")
    return f'<span class="picture">{escape(words)}</span>'


def _heading(_: RendererHTML, tokens: Sequence[Token], index: int, *_rest: object) -> str:
    """Two levels down: h1 and h2 belong to the page around the text."""
    token = tokens[index]
    level = min(int(token.tag[1]) + 2, 6)
    return f"<h{level}>" if token.nesting == 1 else f"</h{level}>\n"


def _cell(_: RendererHTML, tokens: Sequence[Token], index: int, *_rest: object) -> str:
    """A table cell whose alignment is a class: the policy forbids the parser's inline style."""
    token = tokens[index]
    side = re.search(r"left|center|right", str(dict[str, Any](token.attrs).get("style", "")))
    return f'<{token.tag} class="{side.group()}">' if side else f"<{token.tag}>"
