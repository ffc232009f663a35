"""The labeling benchmark in small: everything real, and its own promises checked."""

from app.bench.labeling import Load, quantiles, report, run


def test_every_acknowledged_label_is_stored_and_none_is_surplus() -> None:
    said: list[str] = []
    figures = run(Load(people=4, seconds=2, think=0, tasks=3000, labels=2000, seed=1), said.append)
    assert figures["errors"] == []
    assert figures["acknowledged"] == figures["stored"] > 8
    assert figures["surplus"] == 0
    assert figures["submit_ms"]["requests"] <= figures["acknowledged"]
    assert "answer stored" in report(figures)
    assert said[0].startswith("3,000 open tasks and 2,000 labels stand")


def test_quantiles_are_those_of_the_values() -> None:
    assert quantiles([float(n) for n in range(101)]) == {"p50": 50, "p95": 95, "p99": 99, "max": 100, "requests": 101}
    assert quantiles([1.0]) == {}
