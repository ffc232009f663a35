"""The promotion gate: which figures a candidate policy must reach before it may go live, and the verdict in words."""

import math
from typing import Any

from app.core.projects import GateLimits
from app.core.records.base import Json


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
            "Reward model, held-out",
            accuracy,
            limits.held_out_accuracy,
            passed=accuracy is not None and accuracy >= limits.held_out_accuracy,
            condition=f"at least {_percent(limits.held_out_accuracy)}",
            shown=_percent(accuracy),
        ),
        _check(
            "win_rate",
            "Wins against the live policy",
            win,
            limits.win_rate,
            low=win_low,
            high=_figure(metrics, "evaluate/win_rate_high"),
            passed=win is not None and win_low is not None and win_low > limits.win_rate,
            condition=f"low end above {_percent(limits.win_rate)}",
            shown=_percent(win) + ("" if win_low is None else f" (low end {_percent(win_low)})"),
        ),
        _check(
            "kl",
            "KL from the base",
            kl,
            limits.kl,
            passed=kl is not None and kl <= limits.kl,
            condition=f"at most {limits.kl:.1f} nats",
            shown="not measured" if kl is None else f"{kl:.1f}",
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
            "Answers that end",
            ended,
            0.5,
            passed=ended is not None and ended >= 0.5,
            condition="look here below 50 %",
            shown=_percent(ended),
            warns=True,
        ),
        _check(
            "length_ratio",
            "Answer length against live",
            length,
            4.0,
            passed=length is not None and 0.25 <= length <= 4,
            condition="look here below ¼ or above 4 times",
            shown="not measured" if length is None else f"{length:.2f} times",
            warns=True,
        ),
    ]


def _check(
    name: str,
    label: str,
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
    verb = "passed" if passed else ("look here" if warns else "not passed")
    return {
        "name": name,
        "label": label,
        "value": value,
        "low": low,
        "high": high,
        "limit": limit,
        "passed": passed,
        "warns": warns,
        "shown": shown,
        "condition": condition,
        "sentence": f"{label}: {shown}, {condition}: {verb}.",
    }


def _figure(metrics: dict[str, Any], name: str) -> float | None:
    value = metrics.get(name)
    if value is None or not math.isfinite(value):
        return None
    return float(value)


def _percent(share: float | None) -> str:
    return "not measured" if share is None else f"{100 * share:.1f} %"
