"""LaTeX formulas as MathML, which browsers draw by themselves: no script, no inline style, no markup of the text's own.

`$x$`, `$$x$$`, `\\(x\\)`, `\\[x\\]` and AMS environments. What cannot be read is shown as it was written. The
converter's tree is written out again from a list of known elements and attributes, because it passes through links,
colours and unescaped text that a formula names.
"""

import html
import re
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert_to_element
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markupsafe import escape
from mdit_py_plugins.amsmath import amsmath_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin

MOST_FORMULA = 2_000
"""Characters of one formula."""
MOST_FORMULAS = 200
"""Formulas of one text; the rest stays as written."""
INLINE, DISPLAY = "math", "mathd"
"""Classes of the placeholders that go through the sanitiser."""
BRACKETS = {"\\(": ("\\)", "math_inline"), "\\[": ("\\]", "math_inline_double")}
_PLACEHOLDER = re.compile(rf'<span class="({INLINE}|{DISPLAY})">([^<]*)</span>')
TAGS = frozenset(
    (
        *("math", "mrow", "mi", "mn", "mo", "mtext", "mspace", "ms", "mfrac", "msqrt", "mroot", "mstyle", "merror"),
        *("mpadded", "mphantom", "msub", "msup", "msubsup", "munder", "mover", "munderover", "mmultiscripts"),
        *("mprescripts", "none", "mtable", "mtr", "mtd"),
    )
)
_WORDS = re.compile(r"[a-z-]{1,20}(?: [a-z-]{1,20}){0,11}")
_LENGTH = re.compile(r"-?[0-9]?(?:\.[0-9]{1,4})?(?:em|ex|pt|px|%)?")
ATTRIBUTES = {
    **dict.fromkeys(("display", "displaystyle", "mathvariant", "stretchy", "fence", "separator", "accent"), _WORDS),
    **dict.fromkeys(("accentunder", "largeop", "movablelimits", "form", "symmetric", "columnalign"), _WORDS),
    **dict.fromkeys(("linethickness", "lspace", "rspace", "width", "minsize", "maxsize", "scriptlevel"), _LENGTH),
}


def add_formulas(parser: MarkdownIt) -> None:
    """Teach a parser formulas: it renders them as placeholders, which `fill_in` replaces after the sanitiser."""
    dollarmath_plugin(parser, allow_labels=False, allow_space=False, allow_digits=False, double_inline=True)
    amsmath_plugin(parser)
    parser.inline.ruler.before("escape", "bracketed", _bracketed)
    for kind in ("math_inline", "math_inline_double", "math_block", "amsmath"):
        parser.add_render_rule(kind, _placeholder)


def _bracketed(state: StateInline, silent: bool) -> bool:
    """`\\(x\\)` and `\\[x\\]`."""
    opening = state.src[state.pos : state.pos + 2]
    if opening not in BRACKETS:
        return False
    closing, kind = BRACKETS[opening]
    unclosed: set[tuple[str, str]] = state.env.setdefault("unclosed", set())
    if (closing, state.src) in unclosed:  # looked for once: a text full of openings stays quick
        return False
    end = state.src.find(closing, state.pos + 2)
    if end < 0:
        unclosed.add((closing, state.src))
        return False
    if not silent:
        state.push(kind, "math", 0).content = state.src[state.pos + 2 : end]
    state.pos = end + 2
    return True


def _placeholder(_: RendererHTML, tokens: list[Token], index: int, *_rest: object) -> str:
    token = tokens[index]
    kind = INLINE if token.type == "math_inline" else DISPLAY
    span = f'<span class="{kind}">{escape(token.content.strip())}</span>'
    return f"<p>{span}</p>\n" if token.block else span


def fill_in(clean: str) -> str:
    """Sanitised HTML with its placeholders replaced by MathML, or by the source where that cannot be read."""
    count = 0

    def formula(found: re.Match[str]) -> str:
        nonlocal count
        count += 1
        latex = html.unescape(found[2])
        made = to_mathml(latex, block=found[1] == DISPLAY) if count <= MOST_FORMULAS else None
        return made or f"<code>{escape(latex)}</code>"

    return _PLACEHOLDER.sub(formula, clean)


def to_mathml(latex: str, *, block: bool) -> str | None:
    """One formula as MathML; None where it is too long or cannot be read."""
    if not latex or len(latex) > MOST_FORMULA:
        return None
    try:
        return _written(convert_to_element(latex, display="block" if block else "inline"))
    except Exception:  # noqa: BLE001  the converter's errors have no common class, and any of them means: not LaTeX
        return None


def _written(node: Element) -> str:
    """The element with what is known of it; of an unknown one, its contents."""
    inside = str(escape(html.unescape(node.text or ""))) + "".join(
        _written(child) + str(escape(html.unescape(child.tail or ""))) for child in node
    )
    if node.tag not in TAGS:
        return inside
    kept = "".join(
        f' {name}="{escape(value)}"'
        for name, value in node.attrib.items()
        if name in ATTRIBUTES and ATTRIBUTES[name].fullmatch(value)
    )
    return f"<{node.tag}{kept}>{inside}</{node.tag}>"
