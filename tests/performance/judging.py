"""Judges saved runs as `poolproof judge` does and tells what it took: `python -m tests.performance.judging`."""

import re
import sys
import time
from pathlib import Path

import msgspec

from poolproof.checks import judge
from poolproof.experiment import combine
from poolproof.history import load


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What judging one run took.

    Attributes:
        load_s: to read it.
        checks_s: to have every check judge it.
        whole_s: to read it, judge it and compute its figures.
        whole_cpu_s: the same in time of the processor, of all threads.
        peak_bytes: the most memory that this process has had so far.
        verdicts: those of all promises, each once, in order of the alphabet.
    """

    load_s: float
    checks_s: float
    whole_s: float
    whole_cpu_s: float
    peak_bytes: int
    verdicts: tuple[str, ...]


def cost(folder: Path) -> Cost:
    """Read and judge one run."""
    began, began_cpu = time.perf_counter(), time.process_time()
    history = load(folder)
    loaded = time.perf_counter()
    proof = combine([(history, str(folder))])
    ended, ended_cpu = time.perf_counter(), time.process_time()
    judge(history)
    return Cost(
        load_s=loaded - began,
        checks_s=time.perf_counter() - ended,
        whole_s=ended - began,
        whole_cpu_s=ended_cpu - began_cpu,
        peak_bytes=peak_bytes(),
        verdicts=tuple(sorted({str(promise.verdict) for promise in proof.promises.values()})),
    )


def peak_bytes() -> int:
    """The high-water mark of this process; unlike `ru_maxrss`, it does not begin with what its parent had."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def main(rounds: str, *folders: str) -> None:
    """Judge each run so many times, there and back, so that all of them meet the same machine; print every cost."""
    costs: dict[str, list[Cost]] = {folder: [] for folder in folders}
    for number in range(int(rounds)):
        for folder in folders[:: -1 if number % 2 else 1]:
            costs[folder].append(cost(Path(folder)))
    sys.stdout.write(msgspec.json.encode(costs).decode())


if __name__ == "__main__":
    main(*sys.argv[1:])
