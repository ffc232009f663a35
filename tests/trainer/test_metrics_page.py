"""docs/metrics.md and the vocabulary of metrics say the same."""

import re

from app.core.recipes import METRICS
from app.core.settings import ROOT


def test_every_metric_has_its_sentence_on_the_page() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    rows = dict(re.findall(r"^\| `([^`]+)` \| (.+) \|$", page, flags=re.MULTILINE))
    assert {name: meaning.replace("\\|", "|") for name, meaning in rows.items()} == METRICS
