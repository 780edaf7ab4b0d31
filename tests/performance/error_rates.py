"""How often the regression detector errs on this machine: `python -m tests.performance.error_rates [SAME P50 P99]`.

So many comparisons of the quick set are made of the same code with itself, so many against a p50 made 20 % slower, and
so many against a p99 made 50 % slower; 40, 10 and 10 unless told otherwise. Both sides are the interpreter that runs
this: what is judged are measuring and deciding, not builds. It ends with status 1 where the promise is broken:

    at most 1 false `regressed` in 40, at least 9 in 10 of p50 found, 8 in 10 of p99, each comparison within 60 s.

A slow-down is a busy wait before a submit: of every one, or of one in fifty, which are then all that the p99 shows.
"""

import math
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Final

from poolproof.performance.regression.comparison import overall
from poolproof.performance.regression.job import WORKERS, Verdicts, run_job
from poolproof.performance.regression.rounds import Side, run_round
from tests.performance.slowed import WAIT

ROOT: Final = Path(__file__).parents[2]
SAME: Final = "tests.performance.slowed:Slowed"
P50_SLOWER: Final = SAME
P99_SLOWER: Final = "tests.performance.slowed:RarelySlowed"

P50_FACTOR: Final = 1.2
P99_FACTOR: Final = 1.5
CALIBRATIONS: Final = 9
BOUND_S: Final = 60.0


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def side(name: str, target: str = SAME, wait_ns: int = 0) -> Side:
    return Side(name=name, python=Path(sys.executable), folder=ROOT, target=target, environment={WAIT: str(wait_ns)})


def usual() -> dict[str, float]:
    """The figures of the code as it is."""
    with tempfile.TemporaryDirectory() as folder:
        rounds = [
            run_round(side("calibration"), ("p50", "p99"), workers=WORKERS, at=Path(folder)).figures
            for _ in range(CALIBRATIONS)
        ]
    return {metric: median(found[metric] for found in rounds) for metric in ("p50", "p99")}


def compare(target: str, wait: Callable[[dict[str, float]], float]) -> Verdicts:
    """One comparison, its slow-down measured afresh: the machine may be another than it was an hour ago."""
    wait_ns = int(wait(usual()) * 1e3)
    return run_job(side("base"), side("head", target, wait_ns))


def run(what: str, count: int, metric: str, target: str, wait: Callable[[dict[str, float]], float]) -> tuple[int, int]:
    """So many comparisons; how many found a metric `regressed` (any, for an empty name), and how many took too long."""
    found = late = 0
    for number in range(count):
        verdicts = compare(target, wait)
        hit = any(it.verdict == "regressed" and metric in ("", it.metric) for it in verdicts.metrics)
        found += hit
        late += verdicts.seconds >= BOUND_S
        told = "  ".join(
            f"{it.metric} {it.verdict} {it.ratio or math.nan:.3f} [{it.low or math.nan:.3f}, {it.high or math.nan:.3f}]"
            f" ({it.pairs}, ±{it.noise or math.nan:.0%})"
            for it in verdicts.metrics
        )
        size = f"{verdicts.pairs} pairs, {verdicts.seconds:.1f} s"
        say(f"{what} {number + 1}/{count}: {overall(verdicts.metrics)}, {size} | {told}")
    say(f"{what}: {found} of {count} regressed, {late} took {BOUND_S:g} s or longer")
    return found, late


def main(same_code: int = 40, p50: int = 10, p99: int = 10) -> int:
    false, late = run("same code", same_code, "", SAME, lambda _: 0.0)
    found_p50, late_p50 = run("p50 + 20 %", p50, "p50", P50_SLOWER, lambda it: (P50_FACTOR - 1) * it["p50"])
    # A slowed call takes its usual time, most likely the p50, and the wait.
    found_p99, late_p99 = run("p99 + 50 %", p99, "p99", P99_SLOWER, lambda it: P99_FACTOR * it["p99"] - it["p50"])
    kept = (
        false <= math.ceil(same_code / 40)
        and found_p50 >= math.floor(0.9 * p50)
        and found_p99 >= math.floor(0.8 * p99)
        and not late + late_p50 + late_p99
    )
    say("kept" if kept else "broken")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
