"""The languages of the interface: their catalogues, which one a request is answered in, its dates and numbers.

A catalogue is locale/CODE/LC_MESSAGES/palate.po, read once when the process starts; nothing is compiled or kept beside
it. English is the source and has none.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from gettext import GNUTranslations, c2py
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

from babel import Locale, UnknownLocaleError, negotiate_locale
from babel.dates import format_datetime, format_timedelta
from babel.messages import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal

from app.core.settings import ROOT
from app.core.words import ENGLISH, NBSP, Language, figure, gettext, number, percent, speak, spoken

__all__ = [
    "CATALOGUES",
    "NBSP",
    "SCRIPTS",
    "ago",
    "asked_for",
    "figure",
    "language_of",
    "languages",
    "locale_of",
    "moment",
    "names",
    "number",
    "percent",
    "read_catalogue",
    "script_words",
    "size",
    "speak_with",
]

CATALOGUES = ROOT / "locale"
SCRIPTS = "static/js/"
_UNITS: tuple[tuple[Literal["day", "hour", "minute", "second"], int], ...] = (
    ("day", 86_400),
    ("hour", 3_600),
    ("minute", 60),
    ("second", 1),
)
_read: dict[str, Catalog] = {}


@cache
def languages() -> dict[str, Language]:
    """All languages by code, the source first."""
    found = {ENGLISH.code: ENGLISH}
    for path in sorted(CATALOGUES.glob("*/LC_MESSAGES/palate.po")):
        code = path.parts[-3]
        found[code] = language_of(read_catalogue(path, code), code)
    return found


def read_catalogue(path: Path, code: str) -> Catalog:
    """A .po file as it stands."""
    with path.open("rb") as file:
        return read_po(file, locale=code)


def language_of(catalogue: Catalog, code: str) -> Language:
    """The language that a catalogue makes."""
    packed = BytesIO()
    write_mo(packed, catalogue)
    packed.seek(0)
    _read[code] = catalogue
    rtl = locale_of(code).text_direction == "rtl"
    return Language(code, "rtl" if rtl else "ltr", GNUTranslations(packed), _figures(locale_of(code)))


def _figures(locale: Locale) -> Callable[[float, int], str]:
    def written(value: float, digits: int) -> str:
        return format_decimal(round(value, digits), f"#,##0.{'0' * digits}".rstrip("."), locale=locale)

    return written


@cache
def locale_of(code: str) -> Locale:
    """How a language writes dates and numbers; a variant that nobody knows writes as the language itself does."""
    try:
        return Locale.parse(code, sep="-")
    except UnknownLocaleError:
        return Locale.parse(code.partition("-")[0])


def names() -> list[tuple[str, str]]:
    """Every language by code, as it calls itself."""
    found = {code: locale_of(code).get_display_name(code[:2]) or code for code in languages()}
    return [(code, name[:1].upper() + name[1:]) for code, name in found.items()]


def asked_for(accept: str) -> Language:
    """The language for an Accept-Language header; English where it names none that is here."""
    known = {code.lower(): language for code, language in languages().items()}
    code = negotiate_locale(_preferred(accept), list(known), sep="-")
    return known[code] if code else ENGLISH


def _preferred(accept: str) -> list[str]:
    """Languages of an Accept-Language header, the dearest first."""
    weighed: list[tuple[float, str]] = []
    for part in accept[:500].lower().split(","):
        code, _, weight = part.partition(";q=")
        try:
            weighed.append((float(weight or 1), code.strip()))
        except ValueError:
            continue
    return [code for weight, code in sorted(weighed, key=lambda one: -one[0]) if weight > 0]


def speak_with(accept: str, preferences: Mapping[str, Any]) -> None:
    """From here on the language is spoken that a person set, or else the one that their browser asks for."""
    speak(languages().get(preferences.get("language", "")) or asked_for(accept))


@cache
def script_words(code: str, *scripts: str) -> Mapping[str, Any]:
    """What scripts (files or folders under static/js) say in this language, as words.js reads it.

    {English: words}, or {English: {"one": words, "other": words}} by the plural forms of Intl.PluralRules. Nothing in
    the source language.
    """
    said: dict[str, Any] = {}
    languages()  # reads the catalogues, where nobody has asked for them yet
    for message in _read.get(code, ()):
        files = [place.removeprefix(SCRIPTS) for place, _ in message.locations if place.startswith(SCRIPTS)]
        if not any(file.startswith(scripts) for file in files):
            continue
        if isinstance(message.id, str):
            said[message.id] = message.string
        else:
            strings: Any = message.string
            said[message.id[0]] = {form: strings[at] for form, at in _plurals(code).items()}
    return said


def _plurals(code: str) -> dict[str, int]:
    """Where a catalogue keeps each plural form of its language, by the form's name."""
    place = c2py(_read[code].plural_expr)
    name = locale_of(code).plural_form
    return {name(count): place(count) for count in range(1_000)}


def ago(when: datetime | None, now: datetime | None = None) -> str:
    """`4 minutes ago`. The template shows the exact time beside it (`moment`)."""
    if when is None:
        return gettext("never")
    seconds = int(((now or datetime.now(UTC)) - when).total_seconds())
    if abs(seconds) < 45:
        return gettext("just now")
    unit, length = next((one for one in _UNITS if round(abs(seconds) / one[1]) >= 1), _UNITS[-1])
    count = round(abs(seconds) / length)
    span = timedelta(seconds=count * length if seconds < 0 else -count * length)
    return format_timedelta(span, granularity=unit, threshold=1, add_direction=True, locale=locale_of(spoken().code))


def moment(when: datetime | None) -> str:
    """The exact time, on hover: 2026-11-22 16:04 UTC, or as the language writes it."""
    if when is None:
        return ""
    code = spoken().code
    pattern = "yyyy-MM-dd HH:mm" if code == ENGLISH.code else "medium"
    return f"{format_datetime(when.astimezone(UTC), pattern, locale=locale_of(code))} UTC"


def size(octets: float | None) -> str:
    """Bytes in the unit a person would choose: 58 MB."""
    if octets is None:
        return "–"
    for unit in (gettext("bytes"), "kB", "MB", "GB"):
        if octets < 1000:
            return f"{number(octets)}{NBSP}{unit}"
        octets /= 1000
    return f"{number(octets, 1)}{NBSP}TB"
