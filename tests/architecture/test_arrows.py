"""Who may import whom (design.md section 2), read from the syntax trees: a lazy import counts as well."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from app.core.settings import ROOT

SLICES = {"accounts", "projects", "labeling", "data", "training", "serving", "insights", "simulation", "demo"}
TORCH = {"torch", "transformers", "safetensors", "accelerate", "gguf", "trl", "datasets", "peft"}
WEB = {"fastapi", "starlette", "jinja2", "uvicorn"}
TOP = {"main", "cli", "supervisor", "background", "sampler", "preflight", "backup", "catalogues", "checks"}
"""Modules at the top of app: entry points, which may know slices."""


def imports_of(path: Path) -> set[str]:
    """Full names of everything a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def problems_of(where: str, name: str) -> str | None:  # noqa: PLR0911 - one return per arrow
    """Why a module at `where` (dotted) may not import `name`; None when it may."""
    parts, wanted = where.split("."), name.split(".")
    torch = wanted[0] in TORCH
    if parts[0] == "trainer":
        if wanted[0] == "app" and wanted[1:2] != ["core"]:
            return "the trainer imports only app.core"
        return None
    if wanted[0] == "trainer":
        return "app never imports the trainer"
    if torch:
        return "torch and its company live in trainer/ only"
    if wanted[0] != "app":
        return "core knows no web framework" if parts[1] == "core" and wanted[0] in WEB else None
    target = wanted[1] if len(wanted) > 1 else ""
    if parts[1] == "core" and target != "core":
        return "core imports nothing of ours"
    if parts[1] == "web" and target not in ("core", "web"):
        return "web imports only core"
    if parts[1] in SLICES and target not in ("core", "web", parts[1]):
        return "a slice imports core, web and itself"
    return None


def modules() -> list[Path]:
    return sorted([*(ROOT / "app").rglob("*.py"), *(ROOT / "trainer").rglob("*.py")])


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows(path: Path) -> None:
    where = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    wrong = {name: problem for name in sorted(imports_of(path)) if (problem := problems_of(where, name))}
    assert wrong == {}


@pytest.mark.parametrize(
    ("where", "name"),
    [
        ("app.core.queue", "app.web.templating"),
        ("app.core.queue", "fastapi"),
        ("app.web.security", "app.accounts.service"),
        ("app.labeling.routes", "app.data.exports"),
        ("app.main", "trainer.modeling"),
        ("app.sampler", "torch"),
        ("trainer.worker", "app.postgres"),
    ],
)
def test_a_wrong_arrow_would_be_seen(where: str, name: str) -> None:
    assert problems_of(where, name) is not None


def test_the_web_application_loads_no_torch() -> None:
    program = f"import sys, app.main, app.cli; print(sorted({TORCH!r} & set(sys.modules)), 'trainer' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] False"


def test_every_slice_and_top_module_is_known_here() -> None:
    """A new directory or module must be given its place in the arrows first."""
    found = {path.name for path in (ROOT / "app").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert found - {"core", "web", "bench"} <= SLICES
    top = {path.stem for path in (ROOT / "app").glob("*.py")}
    assert top - {"__init__", "postgres", "postgres_binaries", "processes"} <= TOP
