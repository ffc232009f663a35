"""Habits that no linter holds: no unfinished business, no machine's own paths, every exception with its reason."""

import re
import subprocess
import tomllib
from pathlib import Path

from app.core.settings import ROOT

UNFINISHED = re.compile("|".join(["TO" + "DO", "FIX" + "ME", "X" * 3, "NotImplemented" + "Error"]))
OWN_PATHS = re.compile(r"(?<![\w.])/(?:" + "|".join(["work", "root", "home", "Users", "opt"]) + r")/\w")
TEXT = {".py", ".html", ".css", ".js", ".md", ".toml", ".txt", ".yml", ".yaml", ".sh", ".mako", ""}


def files() -> list[Path]:
    """Every tracked text file of ours (vendored ones are not ours)."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        names = listed.split("\0")
    except (OSError, subprocess.CalledProcessError):  # a source archive without git
        names = [str(p.relative_to(ROOT)) for top in ("app", "trainer", "tests") for p in (ROOT / top).rglob("*.py")]
    paths = [ROOT / name for name in names if name and "vendor/" not in name and not name.startswith("tests/data/")]
    return [path for path in paths if path.is_file() and path.suffix in TEXT]


def test_there_are_files() -> None:
    assert len(files()) > 40


def _hits(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:90]}"
        for path in files()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]


def test_nothing_is_left_unfinished() -> None:
    assert _hits(UNFINISHED) == []


def test_no_path_of_a_machine_is_written_down() -> None:
    allowed = ("tests/",)  # tests name paths that must not exist
    assert [hit for hit in _hits(OWN_PATHS) if not hit.startswith(allowed)] == []


def test_every_exception_to_the_linter_says_why() -> None:
    bare = re.compile("# no" + r"qa(?::\s*[A-Z0-9, ]+)?\s*$")
    assert [hit for hit in _hits(bare) if ".py:" in hit] == []


def test_every_exception_to_the_types_names_its_rule() -> None:
    bare = re.compile("# type: " + r"ignore(?!\[)|# prag" + "ma: no")
    assert [hit for hit in _hits(bare) if ".py:" in hit] == []


def test_every_ignored_rule_says_why() -> None:
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    rules = [line for line in lines if re.match(r'\s+"[A-Z]+\d+",', line) or re.match(r'"\S+" = \["[A-Z]+\d+"', line)]
    assert len(rules) > 5
    assert [line for line in rules if "#" not in line] == []


def test_what_is_pinned_covers_what_is_wanted() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(w for extra in project["optional-dependencies"].values() for w in extra)]
    names = {re.split(r"[\[<>=; ]", requirement)[0].lower().replace("_", "-") for requirement in wanted}
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    assert names - pinned == set()
