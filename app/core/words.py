"""The words of the interface: English in the code, other languages from catalogues that app.web.words reads.

A sentence for people stands in English inside gettext(…) or ngettext(…) and comes out in the language of whoever asks.
That language stands on a slip, one for each request. It is the slip that a context variable holds, not the language:
handlers and error handlers run in threads with copies of the context, and what one of them learns about the person the
others must hear as well. Without a slip (commands, workers, the trainer) everything is English.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from gettext import NullTranslations
from typing import Literal

NBSP = "\u00a0"


def _english_figures(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}"


@dataclass(frozen=True)
class Language:
    """A language of the interface: its code ("de"), which way it runs, its sentences, and how it writes numbers."""

    code: str
    direction: Literal["ltr", "rtl"] = "ltr"
    translations: NullTranslations = field(default_factory=NullTranslations, repr=False)
    figures: Callable[[float, int], str] = field(default=_english_figures, repr=False)
    """A number with so many digits after the point."""


ENGLISH = Language("en")


@dataclass
class Slip:
    """Which language is spoken in one request."""

    language: Language


_slip: ContextVar[Slip | None] = ContextVar("words", default=None)


@contextmanager
def speaking(language: Language) -> Iterator[None]:
    """Speak a language in here, and in every thread and task that starts in here."""
    token = _slip.set(Slip(language))
    try:
        yield
    finally:
        _slip.reset(token)


def speak(language: Language) -> None:
    """Go on in another language for the rest of the request; outside of one nothing changes."""
    slip = _slip.get()
    if slip is not None:
        slip.language = language


def spoken() -> Language:
    """The language of now."""
    slip = _slip.get()
    return slip.language if slip else ENGLISH


def gettext(message: str, /, **values: object) -> str:
    """A sentence in the language of now; its %(name)s are filled in where there are values. Empty stays empty."""
    words = spoken().translations.gettext(message) if message else ""
    return words % values if values else words


def ngettext(one: str, many: str, n: int, /, **values: object) -> str:
    """The same for a sentence that depends on a number. It may name that as %(n)s; `values` may say it otherwise."""
    return spoken().translations.ngettext(one, many, n) % {"n": n, **values}


def number(value: float | None, digits: int = 0) -> str:
    """12,480 or 0.52, as the language writes it; a dash for a figure that is not known."""
    return "–" if value is None else spoken().figures(value, digits)


def figure(value: float, digits: int = 6) -> str:
    """A number with as many digits as it has, and so many that count at most: 0.7, 96, 12.5."""
    plain = f"{value:.{digits}g}"
    return plain if "e" in plain else number(value, len(plain.partition(".")[2]))


def percent(value: float | None, digits: int = 0) -> str:
    """A share of 1 as `71.8 %`."""
    return "–" if value is None else f"{number(value * 100, digits)}{NBSP}%"


def N_(message: str) -> str:  # noqa: N802  the name that extractors know
    """Mark a sentence that is written down here and passed to gettext later."""
    return message
