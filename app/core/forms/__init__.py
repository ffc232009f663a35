"""Field types: a protocol is a list of them, and each turns what a person sent into feedback.

A field is JSON with a `type`. One class per type says what its JSON may hold, how an answer becomes drafts of feedback
rows, and how a stored answer reads as a sentence; templates/labeling/fields/ has its fragment of the same name. Fields
speak of slots (0 = first shown), never of positions: only app.core.queue knows which segment stood in which slot.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field as Limits
from pydantic import TypeAdapter, ValidationError

from app.core.errors import InvalidInput, Problem
from app.core.forms.choose import Choose
from app.core.forms.compare import Compare
from app.core.forms.field import MOST_ANSWERS, Draft, Field, PreferenceDraft
from app.core.forms.rank import Rank
from app.core.records.base import Json

__all__ = [
    "DEFAULT_PROTOCOL",
    "MOST_ANSWERS",
    "Choose",
    "Compare",
    "Draft",
    "Field",
    "PreferenceDraft",
    "Rank",
    "parse_answers",
    "parse_protocol",
    "segments_of",
    "sentence_of",
]

DEFAULT_PROTOCOL: list[Json] = [
    {
        "type": "compare",
        "key": "overall",
        "question": "Which answer is better overall?",
        "tie": True,
        "both_bad": True,
    }
]

AnyField = Annotated[Compare | Choose | Rank, Limits(discriminator="type")]
"""All field types; a further one joins this union."""
_FIELDS: TypeAdapter[list[Compare | Choose | Rank]] = TypeAdapter(
    Annotated[list[AnyField], Limits(min_length=1, max_length=12)]
)


def parse_protocol(fields: object) -> list[Field]:
    """The fields of a protocol's JSON, checked; raises InvalidInput that names each field and what is wrong with it."""
    try:
        parsed = list[Field](_FIELDS.validate_python(fields))
    except ValidationError as error:
        raise InvalidInput([_problem(one["loc"], one["msg"]) for one in error.errors()]) from error
    keys = [field.key for field in parsed]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise InvalidInput([Problem(key, "Two fields have this key.") for key in twice])
    if len({field.segments for field in parsed}) > 1:
        raise InvalidInput([Problem("answers", "All fields of a protocol are about the same number of answers.")])
    return parsed


def segments_of(fields: Sequence[Field]) -> int:
    """How many answers a task of this protocol shows."""
    return fields[0].segments


def parse_answers(fields: Sequence[Field], answers: Mapping[str, Any], segments: int) -> list[Draft]:
    """Drafts for a whole form. `answers` maps each field's key to what was sent; nothing may be missing or extra."""
    unknown = sorted(set(answers) - {field.key for field in fields})
    if unknown:
        raise InvalidInput([Problem(key, "This task does not ask this.") for key in unknown])
    drafts: list[Draft] = []
    for field in fields:
        answer = answers.get(field.key)
        if not isinstance(answer, Mapping):
            raise InvalidInput([Problem(field.key, "This question has no answer yet.")])
        drafts += field.parse(answer, segments)
    return drafts


def sentence_of(fields: Sequence[Field], draft: Draft) -> str:
    """The stored or fresh answer in words; the bare outcome where its field is no longer known."""
    for field in fields:
        if field.key == draft.field:
            return field.sentence(draft)
    return draft.outcome.replace("_", " ")


def _problem(place: Sequence[int | str], message: str) -> Problem:
    row = next((part + 1 for part in place if isinstance(part, int)), None)
    # The union's member stands in the place as well; people know it as the value of `type`.
    names = [part for part in place if isinstance(part, str) and part not in ("compare", "choose", "rank")]
    return Problem(".".join(names) or "protocol", message, row=row)
