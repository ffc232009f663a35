"""The stylesheet's colours keep their contrast, its size stays in budget, and what is vendored is what was vendored."""

import base64
import hashlib
import json
import re

import pytest

from app.core.settings import ROOT

STATIC = ROOT / "static"
CSS = (STATIC / "css" / "palate.css").read_text()
TOKENS = dict(re.findall(r"--([\w-]+): (light-dark\([^)]*\)|#[0-9a-f]{6});", CSS))
TEXT = [
    *((ink, ground) for ink in ("ink", "ink-2", "ink-3") for ground in ("paper", "sheet", "sunken")),
    *(
        ("ink", ground)
        for ground in ("accent-soft", "only-a", "only-b", "warn-soft", "info-soft", "bad-soft", "good-soft")
    ),
    *((name, ground) for name in ("good", "warn", "bad", "info", "accent") for ground in ("sheet", f"{name}-soft")),
    *((f"code-{name}", "sunken") for name in ("key", "string", "number", "comment")),
    ("on-fill", "fill"),
    ("ink", "end"),
]
MARKS = [
    *((name, ground) for name in ("control", "focus") for ground in ("paper", "sheet")),
    *((f"d{number}", "sheet") for number in range(1, 6)),
    ("focus", "sunken"),
    ("fill", "sheet"),
    ("only-a-ink", "sheet"),
    ("only-b-ink", "sheet"),
]


def colour(name: str, theme: int) -> str:
    found = re.findall(r"#[0-9a-f]{3,6}", TOKENS[name])
    return str(found[theme if len(found) > 1 else 0])


def luminance(hexadecimal: str) -> float:
    channels = [int(hexadecimal[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("front", "ground", "least"), [(*p, 4.5) for p in TEXT] + [(*p, 3.0) for p in MARKS])
def test_contrast(front: str, ground: str, least: float, theme: int) -> None:
    ratio = contrast(colour(front, theme), colour(ground, theme))
    assert ratio >= least, f"{front} on {ground}: {ratio:.2f}"


def test_black_on_white_is_21_to_one() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


def test_the_stylesheets_stay_in_budget() -> None:
    """palate.css comes with every page, label.css with annotators' pages, admin.css with those of rounds and models."""
    sizes = {path.name: path.stat().st_size for path in (STATIC / "css").iterdir()}
    assert set(sizes) == {"palate.css", "label.css", "forms.css", "talk.css", "admin.css"}
    assert sizes["palate.css"] <= 32 * 1024
    assert sizes["label.css"] <= 16 * 1024
    assert sizes["forms.css"] <= 10 * 1024
    assert sizes["talk.css"] <= 6 * 1024
    assert sizes["admin.css"] <= 10 * 1024
    assert "@layer tokens, base, parts, pages;" in CSS


def test_vendored_files_are_unchanged_and_licensed() -> None:
    vendor = STATIC / "vendor"
    manifest = json.loads((vendor / "manifest.json").read_text())
    files = {str(path.relative_to(vendor)): path for path in vendor.rglob("*") if path.is_file()}
    del files["manifest.json"]
    assert set(files) == set(manifest)
    for name, path in files.items():
        digest = base64.b64encode(hashlib.sha384(path.read_bytes()).digest()).decode()
        assert manifest[name] == f"sha384-{digest}", name
    for folder in vendor.iterdir():
        assert folder.is_file() or (folder / "LICENSE").is_file(), folder


def test_no_template_carries_inline_style_or_script() -> None:
    for path in (ROOT / "templates").rglob("*.html"):
        text = path.read_text()
        assert not re.search(r"\sstyle=|\son[a-z]+=|javascript:|<style", text), path
        assert not re.search(r'<script(?![^>]*\ssrc=|[^>]*\stype="application/json")', text), path
        assert "| safe" not in text, path
