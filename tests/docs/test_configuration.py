"""docs/configuration.md names every setting with its real default, and nothing else."""

import re

from app.core.settings import ROOT, Settings

ROW = re.compile(r"^\| `(PALATE_\w+)` \| (.+?) \| .+\|$", re.MULTILINE)


def test_every_setting_is_documented_with_its_default() -> None:
    documented = dict(ROW.findall((ROOT / "docs/configuration.md").read_text()))
    assert documented.keys() == {f"PALATE_{name.upper()}" for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        shown = documented[f"PALATE_{name.upper()}"]
        if name != "home":
            expected = (
                "empty"
                if field.default is None
                else f"`{str(field.default).lower() if field.annotation is bool else field.default}`"
            )
            assert shown == expected, name


def test_every_decision_has_a_status() -> None:
    decisions = sorted((ROOT / "docs/decisions").glob("*.md"))
    assert [int(path.name[:4]) for path in decisions] == list(range(1, len(decisions) + 1))
    assert [path.name for path in decisions if "**Status.**" not in path.read_text()] == []
