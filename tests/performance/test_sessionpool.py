"""What the session pool costs beside its peers: everything is measured here, alternately, and judged as a ratio.

At the end one table tells all figures, in Markdown. Each contestant is a fresh process, which waits while another one
is measured; `racing` defines the words.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
import pytest

from poolproof.statistics import percentile
from tests.performance.contestant import Contestant
from tests.performance.entrants import EXECUTOR, FLOOR, LOKY, MULTIPROCESSING, OURS, PEBBLE
from tests.performance.measures import ANY, BURST, PREDICTIONS
from tests.performance.racing import Race, Row, alone, missed, rows, run

pytestmark = [pytest.mark.layer(2), pytest.mark.timeout(600), pytest.mark.usefixtures("undisturbed")]

Enter = Callable[..., Contestant]
Report = list[Row]

PEERS: Final = (EXECUTOR, MULTIPROCESSING, LOKY, PEBBLE)
WORKERS: Final = "2"

# All bounds. A ratio says how many times ours a peer's cost must be at least.
ROUND_TRIP_PINNED: Final = {FLOOR: 1 / 3}
ROUND_TRIP: Final = {EXECUTOR: 2.5, MULTIPROCESSING: 1.7, PEBBLE: 1.7}
BURSTS: Final = {EXECUTOR: 6.0, MULTIPROCESSING: 1.5}
BULKS: Final = {EXECUTOR: 1.0, MULTIPROCESSING: 1.0}
FEW_SESSIONS: Final = {"100 sessions": 1 / 1.2}
PREPARED_S: Final = 0.5
RESTORED_P95_MS: Final = 150.0
IDLE_PERCENT: Final = 1.0
IMPORT_MS: Final = 60.0

PREPARED_WORKERS, MODULE = 16, "sklearn.linear_model"
KILLS, KILLED_WORKERS = 80, 4
IDLE_WORKERS, IDLE_S = 8, 10.0
IMPORTS: Final = 15
IMPORT_CODE: Final = """
import sys, time
began = time.perf_counter_ns()
from {} import {}
sys.stdout.write(str(time.perf_counter_ns() - began))
"""


def race(what: str, unit: str, contestants: Mapping[str, Contestant], rounds: int, report: Report, ours: str) -> Race:
    """Have them race, and put the figures into the table."""
    measured = run(what, unit, {name: contestant.round for name, contestant in contestants.items()}, rounds)
    report += rows(measured, ours)
    return measured


def test_a_round_trip_on_one_processor_takes_at_most_three_times_as_long_as_a_bare_socketpair(
    enter: Enter, report: Report
) -> None:
    processor = min(os.sched_getaffinity(0))
    names = (OURS, FLOOR, *PEERS)
    contestants = {name: enter("round_trip", name, WORKERS, str(processor)) for name in names}
    pinned = {name: contestant.processors() for name, contestant in contestants.items()}
    assert pinned == {name: {processor} for name in names}

    measured = race("round trip on one processor, p50", "us", contestants, 12, report, OURS)

    assert missed(measured, OURS, ROUND_TRIP_PINNED) == []


def test_a_round_trip_is_faster_than_that_of_any_peer(enter: Enter, report: Report) -> None:
    contestants = {name: enter("round_trip", name, WORKERS, ANY) for name in (OURS, FLOOR, *PEERS)}

    measured = race("round trip, p50", "us", contestants, 12, report, OURS)

    assert missed(measured, OURS, ROUND_TRIP) == []


def test_a_burst_is_worked_off_faster_than_by_the_standard_library(enter: Enter, report: Report) -> None:
    contestants = {name: enter("burst", name, WORKERS) for name in (OURS, *PEERS)}

    measured = race(f"{BURST:,} calls at once", "ms", contestants, 8, report, OURS)

    assert missed(measured, OURS, BURSTS) == []


def test_sixteen_megabytes_there_and_back_take_no_longer_than_in_the_standard_library(
    enter: Enter, report: Report
) -> None:
    contestants = {name: enter("bulk", name, WORKERS) for name in (OURS, *PEERS)}

    measured = race("16 MB there and back", "ms", contestants, 12, report, OURS)

    assert missed(measured, OURS, BULKS) == []


def test_on_real_work_all_pools_are_shown_beside_each_other(enter: Enter, report: Report) -> None:
    contestants = {name: enter("predictions", name, WORKERS) for name in (OURS, *PEERS)}

    # No bound: nearly all of it is the work's own time, and what a pool costs drowns in how that varies.
    race(f"{PREDICTIONS} predictions of digits by {WORKERS} workers", "ms", contestants, 8, report, OURS)


def test_sixteen_workers_with_scikit_learn_are_ready_within_half_a_second(enter: Enter, report: Report) -> None:
    contestant = enter("prepared", str(PREPARED_WORKERS), MODULE)

    made, ready, together = zip(*(contestant.round() for _ in range(5)), strict=True)

    what = f"{PREPARED_WORKERS} workers with {MODULE}"
    report += [
        alone(f"{what}: constructor", "s", made, of=OURS),
        alone(f"{what}: from there until ready", "s", ready, of=OURS),
        alone(f"{what}: from there until all ran at once", "s", together, of=OURS),
    ]
    assert median(ready) < PREPARED_S


def test_the_capacity_of_a_killed_worker_is_back_within_150_ms(enter: Enter, report: Report) -> None:
    contestant = enter("kills", str(KILLED_WORKERS))

    restored_ms = [contestant.round() for _ in range(KILLS)]

    p95_ms = percentile(np.array(restored_ms), 0.95)
    what = f"SIGKILL of one of {KILLED_WORKERS} until all run at once, {KILLS} kills"
    report.append(alone(what, "ms", restored_ms, of=OURS))
    assert p95_ms is not None
    report.append(alone("the same, p95", "ms", [p95_ms], of=OURS))
    assert p95_ms < RESTORED_P95_MS


def test_an_operation_finds_its_session_among_100_000_as_fast_as_among_100(enter: Enter, report: Report) -> None:
    few, many = "100 sessions", "100,000 sessions"
    processor = str(min(os.sched_getaffinity(0)))  # there the figure is steady, as for a round trip
    contestants = {few: enter("sessions", "100", processor), many: enter("sessions", "100000", processor)}

    measured = race("call in a session on one processor, p50", "us", contestants, 12, report, many)

    assert missed(measured, many, FEW_SESSIONS) == []


def test_an_idle_pool_of_eight_takes_less_than_a_hundredth_of_a_processor(enter: Enter, report: Report) -> None:
    contestants = {name: enter("idle", name, str(IDLE_WORKERS)) for name in (OURS, *PEERS)}
    families = {name: contestant.processes() for name, contestant in contestants.items()}
    ours = contestants[OURS]
    assert len(families[OURS]) >= 2 + IDLE_WORKERS, "its own process, the forkserver and the workers must be seen"

    # All in the same seconds: none of them is to do anything. Ours is the first and the last to be asked.
    began = time.monotonic_ns()
    before = {name: contestants[name].cpu_ns(pids) for name, pids in families.items()}
    ours.quiet_for(IDLE_S)
    spent = {name: contestants[name].cpu_ns(families[name]) - before[name] for name in reversed(families)}
    passed = time.monotonic_ns() - began

    assert {name: contestant.processes() for name, contestant in contestants.items()} == families
    assert [contestant.round() for contestant in contestants.values()] == [IDLE_WORKERS] * len(contestants)
    percent = {name: 100 * taken / passed for name, taken in spent.items()}
    what = f"{IDLE_WORKERS} idle workers and all that belongs to them, {IDLE_S:.0f} s"
    report += [alone(what, "% of one processor", [percent[name]], of=name) for name in families]
    assert percent[OURS] < IDLE_PERCENT


def test_the_import_takes_at_most_60_ms_more_than_that_of_the_executor(tmp_path: Path, report: Report) -> None:
    # Each with its class: else a package that loads nothing before it is used would cost nothing here.
    ours, executor = "sessionpool", "concurrent.futures.process"
    code = {ours: IMPORT_CODE.format(ours, "SessionPool"), executor: IMPORT_CODE.format(executor, EXECUTOR)}

    def import_ms(module: str) -> float:
        command = [sys.executable, "-c", code[module]]
        return int(subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, check=True).stdout) / 1e6

    for module in code:
        import_ms(module)  # so that what is compiled and read from the disk once is no part of the race
    measured = run("import", "ms", {module: partial(import_ms, module) for module in code}, IMPORTS)

    report += rows(measured, ours)
    assert measured.excess(ours, over=executor) <= IMPORT_MS
