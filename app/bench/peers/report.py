"""The figures as tables in Markdown: medians of the repetitions, and sums of what was lost."""

from collections.abc import Iterable
from statistics import median
from typing import Any

Round = dict[str, Any]


def report(found: dict[str, Any]) -> str:
    """One table of figures, one of what was kept, one of ratios."""
    groups: dict[tuple[int, str], list[Round]] = {}
    for one in found["rounds"]:
        groups.setdefault((one["people"], one["system"]), []).append(one)
    return "\n\n".join([_speed(groups), _kept(groups), _ratios(groups)])


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _speed(groups: dict[tuple[int, str], list[Round]]) -> str:
    head = (
        *("people", "system", "labels/s (each round)", "kept/s", "next p50 / p95, ms", "submit p50 / p95, ms"),
        *("server CPU, ms a label", "client CPU, ms a request", "others' CPU", "memory, MiB"),
    )
    rows = (
        (
            str(people),
            system,
            f"{_middle(rounds, 'labels_per_second'):.1f} ({', '.join(_rates(rounds))})",
            f"{_middle(rounds, 'kept_per_second'):.1f}",
            _both(rounds, "next_ms"),
            _both(rounds, "submit_ms"),
            f"{_middle(rounds, 'server_ms_per_label'):.1f}",
            f"{_middle(rounds, 'client_ms_per_request'):.2f}",
            f"{100 * _middle(rounds, 'other_share'):.0f} %",
            f"{_middle(rounds, 'memory_mib'):.0f}",
        )
        for (people, system), rounds in groups.items()
    )
    return _table(head, rows)


def _kept(groups: dict[tuple[int, str], list[Round]]) -> str:
    names = ("acknowledged", "stored", "lost", "untold", "surplus", "doubled", "refusals", "given_up")
    head = ("people", "system", *(name.replace("_", " ") for name in names))
    rows = (
        (str(people), system, *(f"{sum(one[name] for one in rounds):,}" for name in names))
        for (people, system), rounds in groups.items()
    )
    return _table(head, rows)


def _ratios(groups: dict[tuple[int, str], list[Round]]) -> str:
    head = (
        "people",
        "system",
        "labels/s of Palate over its",
        "its time for one label over Palate's (submit + next, p50)",
    )
    rows = []
    for (people, system), rounds in groups.items():
        ours = groups.get((people, "palate"))
        if system == "palate" or ours is None:
            continue
        rows.append(
            (
                str(people),
                system,
                _times(_middle(ours, "kept_per_second"), _middle(rounds, "kept_per_second")),
                _times(_waited(rounds), _waited(ours)),
            )
        )
    return _table(head, rows) if rows else "No ratios: Palate or its peers were left out."


def _times(over: float, under: float) -> str:
    return f"{over / under:.1f} ×" if under else "–"


def _middle(rounds: list[Round], name: str) -> float:
    return float(median(one[name] for one in rounds))


def _rates(rounds: list[Round]) -> list[str]:
    return [f"{one['labels_per_second']:.1f}" for one in rounds]


def _of(rounds: list[Round], name: str, cut: str) -> float | None:
    values = [one[name][cut] for one in rounds if one[name]]
    return median(values) if values else None


def _waited(rounds: list[Round]) -> float:
    return sum(_of(rounds, name, "p50") or 0.0 for name in ("next_ms", "submit_ms"))


def _both(rounds: list[Round], name: str) -> str:
    middle, high = _of(rounds, name, "p50"), _of(rounds, name, "p95")
    return "–" if middle is None or high is None else f"{_short(middle)} / {_short(high)}"


def _short(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"
