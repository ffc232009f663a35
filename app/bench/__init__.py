"""Benchmarks that need a server of their own; `palate bench loop` measures a running one (app.simulation)."""
