"""Sentences that are stored in English are told in the language of whoever reads them."""

import ast
import re

import pytest

from app.core import gate as gates
from app.core.projects import GateLimits
from app.core.settings import ROOT
from app.core.told import Stored, told
from app.core.words import Language, speaking
from app.insights.audit import SAID
from app.training.service import ACTIONS
from app.web.policy_client import NOT_THERE
from app.web.words import languages
from tests.words.pseudo import pseudo

GERMAN = languages()["de"]


@pytest.mark.parametrize(
    ("stored", "german"),
    [
        (
            Stored.OVERTAKEN.of(name="v3", live="v2"),
            "v3 ist bereit, aber während des Trainings ging v2 in Betrieb. Sie entscheiden.",
        ),
        (Stored.ROUND.of(n=12), "Runde 12"),
        ("step 3 of 1,200: sampling", "Schritt 3 von 1.200: Sampling"),
        ("ppo stopped at step 1,234: The disk is full.", "ppo hielt bei Schritt 1.234 an: The disk is full."),
        (
            "The newer policy could not be served: The policy server did not accept the request.",
            "Die neuere Policy ließ sich nicht laden: Der Modellserver hat die Anfrage nicht angenommen.",
        ),
        (
            NOT_THERE,
            "Das Modell startet gerade. Vergleiche gehen weiter; versuchen Sie es in etwa 20 Sekunden noch einmal.",
        ),
        ("Round trips were slow, so I waited", "Round trips were slow, so I waited"),
        ("Better in German", "Better in German"),
        ("1,5", "1,5"),
        ("", ""),
    ],
)
def test_what_is_stored_is_told(stored: str, german: str) -> None:
    with speaking(GERMAN):
        assert told(stored) == german
    assert told(stored) == stored


def test_a_verdict_is_told_with_all_its_checks() -> None:
    metrics = {
        "evaluate/win_rate": 0.45,
        "evaluate/win_rate_low": 0.401,
        "evaluate/kl": 14.25,
        "evaluate/end_rate": 0.4,
    }
    checks = gates.gate(GateLimits(), metrics)["checks"]
    stored = Stored.REFUSED.of(name="v3", why=" ".join(check["sentence"] for check in checks))
    with speaking(GERMAN):
        said = told(stored)
    assert said.startswith("v3 geht nicht in Betrieb. Belohnungsmodell, Prüfpaare: nicht gemessen, mindestens 60,0 %")
    assert "45,0 % (unteres Ende 40,1 %), unteres Ende über 50,0 %: nicht bestanden." in said
    assert "14,2, höchstens 12,0 Nats: nicht bestanden." in said
    assert "40,0 %, unter 50 % bitte ansehen: bitte ansehen." in said


@pytest.fixture(scope="module")
def strange() -> Language:
    """The language that is none."""
    return pseudo()


@pytest.mark.parametrize("sentence", list(Stored), ids=lambda one: one.name.lower())
def test_every_stored_sentence_is_known_again(sentence: Stored, strange: Language) -> None:
    names = re.findall(r"%\((\w+)\)s", sentence)
    text = sentence.of(**{name: 7 if name in ("n", "all") else "v7" for name in names})
    assert told(text) == text
    with speaking(strange):
        assert "⟦" in told(text)


def phases() -> set[str]:
    """What the trainer says of where a run stands, with 7 for every figure."""
    found = set()
    for path in (ROOT / "trainer" / "recipes").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "progress":
                said = ast.unparse(node.args[1])
                said = said[2:-1] if said.startswith("f") else said[1:-1]
                found.add(re.sub(r"{.*?}", "7", said.replace("{where}", "step 7 of 7")))
    return found


def test_where_a_run_stands_is_told(strange: Language) -> None:
    assert len(phases()) > 8
    with speaking(strange):
        assert [one for one in phases() if "⟦" not in told(one)] == []


def actions() -> set[str]:
    """Every action that is recorded in the audit log, as far as it stands in the code as a text."""
    found: set[str] = set()
    for path in [*(ROOT / "app").rglob("*.py"), *(ROOT / "trainer").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "record" and len(node.args) > 1:
                said = node.args[1]
                for one in (said.body, said.orelse) if isinstance(said, ast.IfExp) else (said,):
                    if isinstance(one, ast.Constant):
                        found.add(str(one.value))
    return found


def test_every_recorded_action_has_a_sentence() -> None:
    assert len(actions()) > 25
    assert actions() - set(SAID) == set()
    assert set(ACTIONS) <= set(SAID)
