"""A language for tests: every sentence accented, about a third longer, in ⟦brackets⟧, from right to left.

What a page shows without brackets did not come from a catalogue; what breaks with longer words or the other direction
breaks here first. It exists only in the process of a test and is offered to nobody.
"""

import re

from babel import Locale
from babel.messages import Catalog

from app.catalogues import extracted
from app.core.words import Language
from app.web.words import language_of

CODE = "ar-XB"
"""As Unicode calls it: Arabic, of a region that is none."""
ACCENTS = str.maketrans("aceinouyACEINOUY", "áćéíńóúýÁĆÉÍŃÓÚÝ")
KEPT = re.compile(r"(%\(\w+\)s|<[^>]+>)")
LONGER = "éĺóŕ"


def pseudo() -> Language:
    """The language, from what the code says now."""
    catalogue = Catalog(locale=Locale.parse("ar"))
    for message in extracted():
        if message.pluralizable:
            one, many = (spelt(form) for form in message.id)
            forms = tuple(one if number == 1 else many for number in range(catalogue.num_plurals))
            catalogue.add(message.id, forms, locations=message.locations)
        elif isinstance(message.id, str) and message.id:
            catalogue.add(message.id, spelt(message.id), locations=message.locations)
    return language_of(catalogue, CODE)


def spelt(sentence: str) -> str:
    """A sentence as the language has it; values, tags and the space around stay."""
    parts = re.split(r"(<[^>]+>)", sentence)
    return "".join(part if part.startswith("<") else _part(part) for part in parts)


def _part(text: str) -> str:
    core = text.strip()
    if not KEPT.sub("", core).strip():
        return text
    before, after = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
    words = "".join(one if KEPT.fullmatch(one) else one.translate(ACCENTS) for one in KEPT.split(core))
    more = " ".join([LONGER] * max(1, round(len(core) * 0.3 / (len(LONGER) + 1)))) if len(core) > 3 else ""
    return f"{before}⟦{' '.join(filter(None, (words, more)))}⟧{after}"
