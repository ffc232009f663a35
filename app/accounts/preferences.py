"""What a person sets for themselves. Stored in users.preferences; read by templates as `preferences`."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, Field, ValidationError

from app.core.errors import InvalidInput, Problem

THEMES = [("auto", "As the system"), ("light", "Light"), ("dark", "Dark")]
FACES = [("serif", "Serif"), ("sans", "Sans"), ("system", "System")]
KEYS = [("standard", "Standard"), ("off", "Off: Tab, arrows and Enter only")]


class Preferences(BaseModel):
    """Theme of all pages; face and size (px) of what is judged; whether single keys work."""

    theme: Literal["auto", "light", "dark"] = "auto"
    face: Literal["serif", "sans", "system"] = "serif"
    size: int = Field(17, ge=15, le=22)
    keys: Literal["standard", "off"] = "standard"


def read(form: Mapping[str, str]) -> Preferences:
    """The preferences a form names. Raises InvalidInput."""
    values = {name: form[name] for name in ("theme", "face", "size", "keys") if name in form}
    try:
        return Preferences.model_validate(values)
    except ValidationError as error:
        fields = {str(one["loc"][0]) for one in error.errors()}
        words = {"size": "A size from 15 to 22."}
        raise InvalidInput(
            [Problem(name, words.get(name, "Choose one of these.")) for name in sorted(fields)]
        ) from error
