"""The promotion gate: which figures a candidate policy must reach before it may go live, and the verdict in words."""

import math
from typing import Any

from app.core.projects import GateLimits
from app.core.records.base import Json
from app.core.told import Stored


def gate(limits: GateLimits, metrics: dict[str, Any]) -> Json:
    """May this candidate go live? `metrics` has names of app.core.recipes.METRICS.

    Returns {"passed", "checks"}; a check that only warns has "warns": true and never stops a candidate. A figure that
    is missing or not a number does not pass.
    """
    win = _figure(metrics, "evaluate/win_rate")
    win_low = _figure(metrics, "evaluate/win_rate_low")
    accuracy = _figure(metrics, "reward/held_out_accuracy")
    kl = _figure(metrics, "evaluate/kl")
    checks = [
        _check(
            "held_out_accuracy",
            Stored.HELD_OUT,
            accuracy,
            limits.held_out_accuracy,
            passed=accuracy is not None and accuracy >= limits.held_out_accuracy,
            condition=Stored.AT_LEAST.of(n=_percent(limits.held_out_accuracy)),
            shown=_percent(accuracy),
        ),
        _check(
            "win_rate",
            Stored.WINS,
            win,
            limits.win_rate,
            low=win_low,
            high=_figure(metrics, "evaluate/win_rate_high"),
            passed=win is not None and win_low is not None and win_low > limits.win_rate,
            condition=Stored.LOW_END.of(n=_percent(limits.win_rate)),
            shown=_percent(win)
            if win_low is None
            else Stored.SHARE_AND_LOW.of(share=_percent(win), low=_percent(win_low)),
        ),
        _check(
            "kl",
            Stored.KL,
            kl,
            limits.kl,
            passed=kl is not None and kl <= limits.kl,
            condition=Stored.AT_MOST_NATS.of(n=f"{limits.kl:.1f}"),
            shown=Stored.UNMEASURED.of() if kl is None else f"{kl:.1f}",
        ),
        *_warnings(metrics),
    ]
    return {"passed": all(check["passed"] or check["warns"] for check in checks), "checks": checks}


def _warnings(metrics: dict[str, Any]) -> list[Json]:
    ended = _figure(metrics, "evaluate/end_rate")
    length = _figure(metrics, "evaluate/length_ratio")
    return [
        _check(
            "end_rate",
            Stored.ENDS,
            ended,
            0.5,
            passed=ended is not None and ended >= 0.5,
            condition=Stored.LOW_ENDS.of(),
            shown=_percent(ended),
            warns=True,
        ),
        _check(
            "length_ratio",
            Stored.LENGTH,
            length,
            4.0,
            passed=length is not None and 0.25 <= length <= 4,
            condition=Stored.LOW_LENGTH.of(),
            shown=Stored.UNMEASURED.of() if length is None else Stored.TIMES.of(n=f"{length:.2f}"),
            warns=True,
        ),
    ]


def _check(
    name: str,
    label: Stored,
    value: float | None,
    limit: float,
    *,
    passed: bool,
    condition: str,
    shown: str,
    low: float | None = None,
    high: float | None = None,
    warns: bool = False,
) -> Json:
    verdict = Stored.PASSED if passed else (Stored.LOOK if warns else Stored.NOT_PASSED)
    return {
        "name": name,
        "label": label.of(),
        "value": value,
        "low": low,
        "high": high,
        "limit": limit,
        "passed": passed,
        "warns": warns,
        "shown": shown,
        "condition": condition,
        "sentence": verdict.of(check=label.of(), shown=shown, condition=condition),
    }


def _figure(metrics: dict[str, Any], name: str) -> float | None:
    value = metrics.get(name)
    if value is None or not math.isfinite(value):
        return None
    return float(value)


def _percent(share: float | None) -> str:
    return Stored.UNMEASURED.of() if share is None else f"{100 * share:.1f} %"
