"""Passages of an answer that are marked with a label."""

import json
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic import Field as Limits

from app.core.forms.field import Answer, CriterionSpec, Draft, Field, Key, Label, RatingDraft
from app.core.words import gettext, ngettext

MOST_SPANS = 100
LINES = 4
"""Rows for passages on a page without a script."""


class SpanLabel(BaseModel):
    """What a marked passage may be called."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    key: Key
    label: Label


class Span(BaseModel):
    """One marked passage, [start, end) in characters of the answer's source."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    start: Annotated[int, Limits(ge=0)]
    end: Annotated[int, Limits(gt=0)]
    label: str
    comment: Annotated[str, Limits(max_length=1000)] = ""


_SPANS: TypeAdapter[list[Span]] = TypeAdapter(Annotated[list[Span], Limits(max_length=MOST_SPANS)])


class Annotate(Field):
    """Marks on the one answer that is shown.

    Answer: {"spans": JSON of [{"start", "end", "label", "comment"}]}; from a page without a script {"quote_1": the very
    words, "label_1", "comment_1", …}. No mark at all is an answer too: it is stored as 0 under the field's own key.
    """

    place: ClassVar[Literal["dock", "panel", "desk"]] = "panel"
    reads: ClassVar[bool] = True

    type: Literal["annotate"]
    labels: Annotated[list[SpanLabel], Limits(min_length=1, max_length=9)]

    @property
    def segments(self) -> int:
        """One."""
        return 1

    @property
    def optional(self) -> bool:
        """Nothing to mark is an answer."""
        return True

    def criteria(self) -> list[CriterionSpec]:
        """One for each label, and the field's own for "looked, and marked so many"."""
        return [
            CriterionSpec(self.key, self.question, {"spans": True}),
            *(CriterionSpec(f"{self.key}.{one.key}", one.label, {"span": True}) for one in self.labels),
        ]

    def inputs(self, segments: int) -> list[str]:
        """The marks, in both forms."""
        return ["spans", *(f"{name}_{line}" for line in range(1, LINES + 1) for name in ("quote", "label", "comment"))]

    def parse(self, answer: Answer, texts: Sequence[str]) -> list[Draft]:
        """The number of marks, then one rating for each mark in the order of the text."""
        spans = self._sent(answer) if answer.get("spans") else self._quoted(answer, texts[0])
        names = {one.key: one.label for one in self.labels}
        for span in spans:
            if span.label not in names:
                raise self.refuse(gettext("This is not one of the labels of this task."), span.label)
            if not span.start < span.end <= len(texts[0]):
                raise self.refuse(gettext("A mark lies outside the answer."), f"{span.start} to {span.end}")
        spans.sort(key=lambda span: (span.start, span.end, span.label))
        marks = [
            RatingDraft(self.key, f"{self.key}.{one.label}", 0, None, one.comment.strip(), (one.start, one.end))
            for one in spans
        ]
        return [RatingDraft(self.key, self.key, 0, float(len(marks))), *marks]

    def _sent(self, answer: Answer) -> list[Span]:
        try:
            return _SPANS.validate_python(json.loads(str(answer["spans"])))
        except (ValidationError, ValueError) as error:
            raise self.refuse(
                gettext("Marks are a list of start, end and label, at most %(n)s.", n=MOST_SPANS)
            ) from error

    def _quoted(self, answer: Answer, text: str) -> list[Span]:
        spans = []
        for line in range(1, LINES + 1):
            quote = str(answer.get(f"quote_{line}") or "").replace("\r\n", "\n")
            if not quote.strip():
                continue
            start = text.find(quote)
            if start < 0:
                raise self.refuse(gettext("Passage %(n)s does not stand in the answer word for word.", n=line), quote)
            spans.append(
                Span(
                    start=start,
                    end=start + len(quote),
                    label=str(answer.get(f"label_{line}") or ""),
                    comment=str(answer.get(f"comment_{line}") or "")[:1000],
                )
            )
        return spans

    def sentence(self, drafts: Sequence[Draft], names: str) -> str:
        """ "3 passages marked"."""
        count = sum(1 for one in drafts if isinstance(one, RatingDraft) and one.span is not None)
        if not count:
            return gettext("No passages marked")
        return ngettext("%(n)s passage marked", "%(n)s passages marked", count)

    def filled(self, drafts: Sequence[Draft]) -> dict[str, str]:
        """The marks as a script sends them."""
        spans = [
            {
                "start": one.span[0],
                "end": one.span[1],
                "label": one.criterion.removeprefix(f"{self.key}."),
                "comment": one.text,
            }
            for one in drafts
            if isinstance(one, RatingDraft) and one.span is not None
        ]
        return {"spans": json.dumps(spans, ensure_ascii=False)}
