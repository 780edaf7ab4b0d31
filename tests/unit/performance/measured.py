"""Results as benchmarks return them, for tests."""

from typing import Any

from poolproof.performance.results import Figure, Result

MACHINE = {
    "cpu": "a CPU",
    "architecture": "x86_64",
    "cores": "2",
    "memory_gib": "7.8",
    "kernel": "Linux 6.1",
    "python": "CPython 3.11.9",
}


def figure(value: float | None = 12.5, name: str = "response p50", **changed: Any) -> Figure:
    return Figure(**{"name": name, "value": value, "unit": "ms", "better": "lower", **changed})


def result(**changed: Any) -> Result:
    usual = {
        "benchmark": "latency",
        "target": "sessionpool",
        "layer": 2,
        "workers": 4,
        "is_full": True,
        "at": "2026-01-02T03:04:05+00:00",
        "commit": "a" * 40,
        "is_dirty": False,
        "machine": MACHINE,
        "fingerprint": "f1",
        "figures": (figure(),),
    }
    return Result(**{**usual, **changed})
