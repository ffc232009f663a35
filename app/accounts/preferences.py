"""What a person sets for themselves. Stored in users.preferences; read by templates as `preferences`."""

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator

from app.core.errors import InvalidInput, Problem
from app.core.keys import COMMANDS, LAYOUTS, own_map, read_own
from app.core.words import N_, gettext
from app.web.words import languages, names

THEMES = [("auto", N_("As the system")), ("light", N_("Light")), ("dark", N_("Dark"))]
FACES = [("serif", N_("Serif")), ("sans", N_("Sans")), ("system", N_("System"))]
KEYS = LAYOUTS
SENDING = [
    ("project", N_("As the project has it")),
    ("one", N_("One key sends")),
    ("ask", N_("Ask before sending")),
]
SENSITIVE = [
    ("blur", N_("Hide until I ask for them")),
    ("show", N_("Show")),
    ("never", N_("Give me no such tasks")),
]
WORDS = {"size": N_("A size from 15 to 22."), "break_minutes": N_("Minutes from 0 to 240. 0 for none.")}
OWN = "own."
"""How the inputs of the own layout are named: own.undo."""


class Look(BaseModel):
    """Language and theme of all pages; face and size (px) of what is judged; what becomes of sensitive texts."""

    language: str = ""
    """Its code; empty: as the browser asks."""
    theme: Literal["auto", "light", "dark"] = "auto"
    face: Literal["serif", "sans", "system"] = "serif"
    size: int = Field(17, ge=15, le=22)
    sensitive: Literal["blur", "show", "never"] = "blur"

    @field_validator("language")
    @classmethod
    def _known(cls, code: str) -> str:
        if code and code not in languages():
            raise ValueError
        return code


class Hands(BaseModel):
    """Keys of the label page, whether an answer is asked for before it is sent, and when to be told of a break."""

    keys: Literal["standard", "home", "pad", "own", "off"] = "standard"
    sending: Literal["project", "one", "ask"] = "project"
    break_minutes: int = Field(0, ge=0, le=240)
    """0: never."""
    own: dict[str, str] = Field(default_factory=dict)
    """Key by command (app/core/keys.py); empty until the person makes a layout of their own."""


Part = TypeVar("Part", bound=BaseModel)


def read_look(form: Mapping[str, str]) -> Look:
    """The look that a form names. Raises InvalidInput."""
    return _read(Look, {name: form[name] for name in Look.model_fields if name in form}, [])


def read_hands(form: Mapping[str, str]) -> Hands:
    """The keys and the pace that a form names. Raises InvalidInput, with every key that cannot be.

    A page without the table of own keys changes none of them: the caller keeps what is stored.
    """
    values: dict[str, Any] = {name: form[name] for name in ("keys", "sending", "break_minutes") if name in form}
    problems: list[Problem] = []
    if any(name.startswith(OWN) for name in form):
        try:
            values["own"] = read_own({name.removeprefix(OWN): form[name] for name in form if name.startswith(OWN)})
        except InvalidInput as error:
            problems = [Problem(OWN + one.field, one.message) for one in error.problems]
    return _read(Hands, values, problems)


def stored(kind: type[Part], preferences: Mapping[str, Any]) -> Part:
    """A part of what a person has stored; the defaults where that no longer fits."""
    try:
        return kind.model_validate({name: preferences[name] for name in kind.model_fields if name in preferences})
    except ValidationError:
        return kind()


def language_choices() -> list[tuple[str, str]]:
    """The languages that there are, each in its own words, after "as the browser asks"."""
    return [("", gettext("As the browser asks")), *names()]


def own_keys(hands: Hands, sent: Mapping[str, str] | None = None) -> list[tuple[str, str, str]]:
    """Rows of the table of own keys: input, words, key. `sent` is a form that came back with mistakes."""
    keys = own_map(hands.own)
    return [(OWN + c.name, c.said, (sent or {}).get(OWN + c.name, keys.get(c.name, ""))) for c in COMMANDS]


def _read(kind: type[Part], values: Mapping[str, Any], problems: list[Problem]) -> Part:
    try:
        read = kind.model_validate(values)
    except ValidationError as error:
        wrong = {str(one["loc"][0]) for one in error.errors()}
        problems = [
            *(Problem(name, gettext(WORDS.get(name, N_("Choose one of these.")))) for name in sorted(wrong)),
            *problems,
        ]
    if problems:
        raise InvalidInput(problems)
    return read
