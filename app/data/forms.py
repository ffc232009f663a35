"""What a person chooses for an export. Every choice is written into the file's card."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from app.core.errors import InvalidInput, Problem
from app.core.snapshots import SnapshotFilter
from app.core.words import gettext

Shape = Literal["trl", "trl-plain", "native"]
Format = Literal["jsonl", "parquet"]


class ExportOptions(BaseModel):
    """The choices of one export."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    shape: Shape = "trl"
    format: Format = "parquet"
    ties: Literal["drop", "both"] = "drop"
    """A tie is left out, or becomes two rows, one in each order. Native keeps ties as they are."""
    both_bad: Literal["drop"] = "drop"
    """"Both bad" says nothing about which is better, so it makes no pair. Native keeps it as it is."""
    late: Literal["keep", "drop"] = "keep"
    """Answers that came after their lease had ended."""
    annotators: Literal["pseudonym", "drop"] = "pseudonym"
    """Native only: who answered, as a keyed hash, or not at all."""

    @property
    def native(self) -> bool:
        return self.shape == "native"

    @property
    def filter(self) -> SnapshotFilter:
        """Which rows take part. Native is without loss: gold, repeated and replaced rows, and demonstrations too."""
        every = self.native
        return SnapshotFilter(late=self.late == "keep", gold=every, repeats=every, history=every, demonstrations=every)

    def card(self) -> dict[str, str]:
        """The choices that have an effect on this shape, as they stand in the card."""
        without = {"ties", "both_bad"} if self.native else {"annotators"}
        return self.model_dump(exclude=without)


def options_of(values: Mapping[str, object]) -> ExportOptions:
    """The choices that a form or a command names; what it leaves out has its default. Raises InvalidInput."""
    try:
        return ExportOptions.model_validate(dict(values))
    except ValidationError as error:
        problems = [
            Problem(str(one["loc"][-1]), gettext("There is no choice %(name)s.", name=repr(one["input"])))
            for one in error.errors()
        ]
        raise InvalidInput(problems) from error
