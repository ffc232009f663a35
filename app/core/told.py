"""Sentences that are stored: written in English by whichever process, told in the language of whoever reads them.

A round's verdict and log, why something is live, where a run stands: rows hold the English sentence, and a page passes
it through `told`, which knows it again by its pattern. What is not here (words of people, an error of the trainer that
names figures of its own) stays as it was written.
"""

import re
from enum import StrEnum
from functools import cache

from app.core.words import N_, gettext, number


class Stored(StrEnum):
    """Every sentence that is stored. Write one with `of`."""

    READY = N_("%(name)s is ready. It goes live when you say so.")
    OVERTAKEN = N_("%(name)s is ready, but %(live)s went live while it trained. You decide.")
    WENT_LIVE = N_("%(name)s passed every check and went live by itself.")
    REFUSED = N_("%(name)s does not go live. %(why)s")
    UNSERVED = N_("It passed, but the policy server could not serve it: %(why)s")
    RESTORED = N_("The newer policy could not be served: %(why)s")
    STOPPED = N_("%(recipe)s stopped at step %(n)s: %(why)s")
    CANCELLED = N_("An admin cancelled this round.")
    BASE = N_("The base model, before any training.")
    ROUND_PASSED = N_("Round %(n)s passed")
    ROUND = N_("Round %(n)s")

    PASTED = N_("pasted rows")
    PROMPT = N_("%(n)s prompt")
    PROMPTS = N_("%(n)s prompts")
    SCREENED = N_("(%(n)s of %(all)s right)")

    READING = N_("reading the training pairs")
    STEP = N_("step %(n)s of %(all)s")
    SAMPLING = N_("step %(n)s of %(all)s: sampling")
    JUDGING = N_("step %(n)s of %(all)s: judging")
    LEARNING = N_("step %(n)s of %(all)s: learning")
    TRIAL = N_("step %(n)s of %(all)s: on trial")
    MEASURING = N_("measuring on held-out pairs")
    MEASURING_WRITTEN = N_("measuring on held-out demonstrations")
    READING_REFERENCE = N_("reading every answer with the reference")
    STORING = N_("storing the candidate")
    SAMPLING_BASE = N_("sampling the base model")
    SAMPLING_LIVE = N_("sampling the live policy")
    SAMPLING_CANDIDATE = N_("sampling the candidate")
    COMPARING = N_("comparing")

    PASSED = N_("%(check)s: %(shown)s, %(condition)s: passed.")
    NOT_PASSED = N_("%(check)s: %(shown)s, %(condition)s: not passed.")
    LOOK = N_("%(check)s: %(shown)s, %(condition)s: look here.")
    HELD_OUT = N_("Reward model, held-out")
    WINS = N_("Wins against the live policy")
    KL = N_("KL from the base")
    ENDS = N_("Answers that end")
    LENGTH = N_("Answer length against live")
    AT_LEAST = N_("at least %(n)s")
    AT_MOST_NATS = N_("at most %(n)s nats")
    LOW_END = N_("low end above %(n)s")
    LOW_ENDS = N_("look here below 50 %%")
    LOW_LENGTH = N_("look here below ¼ or above 4 times")
    SHARE_AND_LOW = N_("%(share)s (low end %(low)s)")
    TIMES = N_("%(n)s times")
    UNMEASURED = N_("not measured")

    def of(self, **values: object) -> str:
        """The sentence with its values."""
        return self.value % values


FIGURE = re.compile(r"(-?(?:\d{1,3}(?:,\d{3})+|\d+))(?:\.(\d+))?( %)?")
WITHIN = r"(?:(?!\. [A-Z]).)+?"
HOLDS = {
    **dict.fromkeys(("check", "condition", "shown"), WITHIN),
    **dict.fromkeys(("name", "live", "recipe"), r"\S+"),
    "n": r"[-\d,.]+(?: %)?",
    "all": r"[\d,]+",
}
"""What some values look like; the others may be anything."""
PLACE = re.compile(r"%\((\w+)\)s")


def told(text: str) -> str:
    """A stored sentence, or several, in the language of now."""
    if FIGURE.fullmatch(text):
        return _value("", text)
    for sentence, pattern in _patterns():
        if found := pattern.fullmatch(text):
            return gettext(sentence) % {name: _value(name, said) for name, said in found.groupdict().items()}
    whole = gettext(text) if text.endswith(".") else text
    several = re.split(r"(?<=\.) (?=[A-Z])", text)
    if whole != text or len(several) == 1:
        return whole
    return " ".join(told(one) for one in several)


def _value(name: str, text: str) -> str:
    """A value within a sentence: a figure, a sentence of its own, or a name."""
    if found := FIGURE.fullmatch(text):
        whole, digits, share = found.groups()
        return number(float(f"{whole.replace(',', '')}.{digits or 0}"), len(digits or "")) + (share or "")
    return told(text) if name in ("check", "condition", "shown", "why") else text


@cache
def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    """Each sentence with its pattern, those that say the most by themselves first."""
    stored = sorted(Stored, key=lambda one: -len(PLACE.sub("", one)))
    return [(one.value, _pattern(one.value)) for one in stored]


def _pattern(sentence: str) -> re.Pattern[str]:
    pieces = PLACE.split(sentence)
    texts = [re.escape(piece.replace("%%", "%")) for piece in pieces[::2]]
    names = [f"(?P<{name}>{HOLDS.get(name, '.+?')})" for name in pieces[1::2]]
    return re.compile("".join(part for pair in zip(texts, [*names, ""], strict=True) for part in pair), re.DOTALL)
