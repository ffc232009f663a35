"""Tastes: what a simulated annotator likes. Each is a pure function of a text; higher is better."""

import re
from collections.abc import Callable

Taste = Callable[[str], float]

WORDS_PER_POINT = 60
ENDS = (".", "!", "?", '"', "”", ")", "`", "…", "。", "！", "？")
LIST_ITEM = re.compile(r"^\s*([-*•+]|\d{1,3}[.)])\s+\S")
SENTENCE_END = re.compile(r"[.!?。！？]+(?=\s|$)")
WARM = re.compile(
    r"\b("
    r"thank you|thanks|please|glad|happy to|happy|great|wonderful|lovely|kind|kindly|gently|gentle|warm|warmly|dear|"
    r"friend|welcome|congratulations|well done|proud|enjoy|hope|feel free|take care|good luck|don't worry|do not worry|"
    r"i understand|i'm sorry|i am sorry|sorry to hear|you can do|you're not alone|you are not alone|of course|"
    r"it's okay|it is okay|that's okay|love|care|together|support|cheer|smile|heart|comfort|encourage\w*|appreciate\w*"
    r")\b",
    re.IGNORECASE,
)


def concise(text: str) -> float:
    """Short, and still an answer.

    Minus one point for every 60 words; half a point less when it breaks off (no end of a sentence, list or code);
    a whole point less when there are under three words, which is no answer.
    """
    words = len(text.split())
    score = -words / WORDS_PER_POINT
    if not _ends(text):
        score -= 0.5
    if words < 3:
        score -= 1.0
    return score


def warm(text: str) -> float:
    """Kind words per sentence, so that writing more does not count as being warmer. Repeating one word counts once."""
    sentences = max(len(SENTENCE_END.findall(text)), 1)
    return len({found.lower() for found in WARM.findall(text)}) / sentences


TASTES: dict[str, Taste] = {"concise": concise, "warm": warm}


def _ends(text: str) -> bool:
    stripped = text.rstrip()
    if not stripped:
        return False
    last = stripped.splitlines()[-1]
    return stripped.endswith(ENDS) or bool(LIST_ITEM.match(last))
