"""Field types: a protocol is a list of them, and each turns what a person sent into feedback.

A field is JSON with a `type`. One class per type says what its JSON may hold, how an answer becomes drafts of feedback
rows, and how a stored answer reads as a sentence; templates/labeling/fields/ has its fragment of the same name. Fields
speak of slots (0 = first shown), never of positions: only app.core.queue knows which segment stood in which slot.
"""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any

from pydantic import Field as Limits
from pydantic import TypeAdapter, ValidationError

from app.core.errors import InvalidInput, Problem
from app.core.forms.annotate import Annotate
from app.core.forms.choose import Choose
from app.core.forms.compare import Compare
from app.core.forms.converse import Converse
from app.core.forms.field import (
    MOST_ANSWERS,
    SHIPPED,
    CriterionSpec,
    DemonstrationDraft,
    Draft,
    Field,
    PreferenceDraft,
    RatingDraft,
)
from app.core.forms.rank import Rank
from app.core.forms.rate import Flags, OnAnswers, Rate
from app.core.forms.write import Demonstrate, Edit, Note
from app.core.records.base import Json
from app.core.words import gettext

__all__ = [
    "DEFAULT_PROTOCOL",
    "MOST_ANSWERS",
    "TYPES",
    "Annotate",
    "Choose",
    "Compare",
    "Converse",
    "CriterionSpec",
    "Demonstrate",
    "DemonstrationDraft",
    "Draft",
    "Edit",
    "Field",
    "Flags",
    "Note",
    "PreferenceDraft",
    "Rank",
    "Rate",
    "RatingDraft",
    "filled",
    "is_alone",
    "lead_of",
    "names_of",
    "parse_answers",
    "parse_protocol",
    "segments_of",
    "sentence_of",
    "stored_protocol",
    "turn_of",
]

DEFAULT_PROTOCOL: list[Json] = [
    {
        "type": "compare",
        "key": "overall",
        "question": SHIPPED[0],
        "tie": True,
        "both_bad": True,
    }
]

_Union = Compare | Choose | Rank | Rate | Flags | Note | Annotate | Edit | Demonstrate | Converse
TYPES = ("compare", "choose", "rank", "rate", "flags", "note", "annotate", "edit", "demonstrate", "converse")
"""All field types; a further one joins this and the union above."""
_FIELDS: TypeAdapter[list[_Union]] = TypeAdapter(
    Annotated[list[Annotated[_Union, Limits(discriminator="type")]], Limits(min_length=1, max_length=12)]
)


def parse_protocol(fields: object) -> list[Field]:
    """The fields of a protocol's JSON, checked; raises InvalidInput that names each field and what is wrong with it.

    What compares answers, and what a person writes, comes first: that is the field of the dock or of the desk.
    """
    try:
        parsed = list[Field](_FIELDS.validate_python(fields))
    except ValidationError as error:
        raise InvalidInput([_problem(one["loc"], one["msg"]) for one in error.errors()]) from error
    problems = _clashes(parsed)
    if problems:
        raise InvalidInput(problems)
    return sorted(parsed, key=lambda field: field.place == "panel")


@lru_cache(maxsize=500)
def stored_protocol(stored: str) -> tuple[Field, ...]:
    """The same of the text that the database keeps: equal ones are checked once, since every answer needs them."""
    return tuple(parse_protocol(json.loads(stored)))


def _clashes(fields: Sequence[Field]) -> list[Problem]:
    """What does not go together."""
    keys = [field.key for field in fields]
    problems = [
        Problem(key, gettext("Two fields have this key.")) for key in sorted({k for k in keys if keys.count(k) > 1})
    ]
    leads = [field for field in fields if field.place != "panel"]
    if len(leads) > 1:
        problems.append(
            Problem(
                leads[1].key, gettext("One form compares, ranks, is written or talks once; the rest rates or notes.")
            )
        )
    if len({field.segments for field in fields} - {None}) > 1:
        problems.append(Problem("answers", gettext("All fields of a protocol are about the same number of answers.")))
    elif segments_of(fields) == 0:
        problems += [
            Problem(field.key, gettext("This asks about answers, and the form shows none."))
            for field in fields
            if isinstance(field, OnAnswers) and field.of == "each"
        ]
    if all(isinstance(field, Note) and field.optional for field in fields):
        problems.append(Problem(fields[0].key, gettext("A form needs a question that must be answered.")))
    for field in fields:
        if isinstance(field, Compare) and field.anchors and len(field.anchors) != field.strength:
            problems.append(Problem(field.key, gettext("There is one anchor for each grade of the strength.")))
        for kind in ("options", "flags", "aspects", "labels"):
            ids = [getattr(one, "key", None) or getattr(one, "value", None) for one in getattr(field, kind, [])]
            if len(set(ids)) < len(ids):
                problems.append(Problem(field.key, gettext("Two of its %(kind)s are the same.", kind=kind)))
    return problems


def segments_of(fields: Sequence[Field]) -> int:
    """How many answers a task of this protocol shows: what a field demands, else one where something is rated."""
    wanted = [field.segments for field in fields if field.segments is not None]
    if wanted:
        return wanted[0]
    return int(any(isinstance(field, OnAnswers) and field.of == "each" for field in fields))


def lead_of(fields: Sequence[Field]) -> Field:
    """The field that compares or is written; in a form that only rates, the first one."""
    return fields[0]


def names_of(fields: Sequence[Field]) -> str:
    """What the answers of a task are called, by slot."""
    return lead_of(fields).names[: segments_of(fields)]


def turn_of(fields: Sequence[Field]) -> Field:
    """What one turn of a talk asks; the rest of the form is about the talk as a whole."""
    lead = lead_of(fields)
    if not isinstance(lead, Converse):
        raise InvalidInput([Problem(lead.key, gettext("This form has no turns."))])
    return lead.turn


def is_alone(fields: Sequence[Field]) -> bool:
    """Whether the form is one question that its own keys send: the others wait for Send."""
    return len(fields) == 1 and fields[0].sends


def parse_answers(fields: Sequence[Field], answers: Mapping[str, Any], texts: Sequence[str]) -> list[Draft]:
    """Drafts for a whole form about these texts, by slot. `answers` maps each field's key to what was sent.

    Raises InvalidInput that names every field whose answer is missing or does not fit.
    """
    unknown = sorted(set(answers) - {field.key for field in fields})
    if unknown:
        raise InvalidInput([Problem(key, gettext("This task does not ask this.")) for key in unknown])
    drafts: list[Draft] = []
    problems: list[Problem] = []
    for field in fields:
        answer = answers.get(field.key)
        if not isinstance(answer, Mapping):
            problems.append(Problem(field.key, gettext("This question has no answer yet.")))
            continue
        try:
            drafts += field.parse(answer, texts)
        except InvalidInput as error:
            problems += error.problems
    if problems:
        raise InvalidInput(problems)
    return drafts


def sentence_of(fields: Sequence[Field], drafts: Sequence[Draft]) -> str:
    """Stored or fresh answers in words, field by field; the bare outcome where a field is no longer known."""
    names = names_of(fields)
    known = {field.key for field in fields}
    said = [field.sentence([one for one in drafts if _base(one) == field.key], names) for field in fields]
    said += [
        one.outcome.replace("_", " ") for one in drafts if isinstance(one, PreferenceDraft) and _base(one) not in known
    ]
    return ". ".join(filter(None, said))


def filled(fields: Sequence[Field], drafts: Sequence[Draft]) -> dict[str, str]:
    """A whole form as it would be sent for these drafts: the first field's inputs plainly, others after their key."""
    found: dict[str, str] = {}
    for index, field in enumerate(fields):
        before = f"{field.key}." if index else ""
        said = field.filled([one for one in drafts if _base(one) == field.key])
        found |= {before + name: value for name, value in said.items() if value}
    return found


def _base(draft: Draft) -> str:
    """The field of a draft; an aspect belongs to its comparison."""
    return draft.field.partition(".")[0]


def _problem(place: Sequence[int | str], message: str) -> Problem:
    row = next((part + 1 for part in place if isinstance(part, int)), None)
    # The union's member stands in the place as well; people know it as the value of `type`.
    names = [part for part in place if isinstance(part, str) and part not in TYPES]
    return Problem(".".join(names) or "protocol", message, row=row)
