"""One suite for all layers: it is written in operations of a rig, and what differs is said by `means` alone.

`pytest tests/integration/layers --layer=N` runs it on one layer. Without `--layer` each test runs on the first layer
that it is about, and the figures of all layers, which are each about one, are told side by side.
"""

import json
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from poolproof.rig import Failure, Rig, inject_worker_failure

_FIGURES: Final = "poolproof figures"


class Disturbance:
    """Kills a worker that is at an operation when the test says that the moment has come; or does not."""

    def __init__(self, armed: bool, seed: int) -> None:
        self._armed = armed
        self._seed = seed
        self.failures: list[Failure] = []

    def __call__(self, pool: Rig) -> None:
        if not self._armed:
            return
        failure = inject_worker_failure(pool, "kill", seed=self._seed)
        self.failures.append(failure)
        assert failure.effective, failure.why

    @property
    def held(self) -> set[int]:
        """The operations that went with a worker."""
        return {op for failure in self.failures for op in failure.held}


@pytest.fixture(params=["undisturbed", "worker-killed"])
def disturb(request: pytest.FixtureRequest) -> Disturbance:
    """For tests whose assertions hold whether or not a worker dies meanwhile; the victim follows from their name."""
    return Disturbance(request.param == "worker-killed", zlib.crc32(request.node.name.encode()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a load came to on one layer; times are virtual on layer 1, where nothing has a size."""

    load: str
    layer: int
    operations: int
    p50_ms: float
    p95_ms: float
    throughput_per_s: float
    utilisation: float
    memory_mb: float | None


@pytest.fixture
def tell(record_property: Callable[[str, object], None], tmp_path: Path) -> Callable[[Figures], None]:
    """Keeps figures with the test's report and in a file of its folder, and has the session print them."""

    def keep(figures: Figures) -> None:
        line = json.dumps(asdict(figures))
        record_property(_FIGURES, line)
        (tmp_path / "figures.jsonl").write_text(f"{line}\n", encoding="utf-8")

    return keep


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The figures of each load, the layers side by side."""
    told = [
        json.loads(line)
        for report in terminalreporter.stats.get("passed", ())
        for name, line in getattr(report, "user_properties", ())
        if name == _FIGURES and report.when == "call"
    ]
    if not told:
        return
    terminalreporter.section("figures by layer")
    told.sort(key=lambda it: (it["load"], it["layer"]))
    rows = [[*map(_plain, it.values())] for it in told]
    names = [*told[0]]
    widths = [max(len(row[column]) for row in [names, *rows]) for column in range(len(names))]
    for row in [names, *rows]:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        cells[0] = row[0].ljust(widths[0])
        terminalreporter.write_line("  ".join(cells))


def _plain(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
