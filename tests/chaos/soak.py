"""Run pools through scenarios that they are known to keep, for as long as asked: an alarm is false, residue is ours.

`python -m tests.chaos.soak --runs 100`, or `--hours 8`; `nox -s soak` does the former. Each run draws its pool, its
scenario, its size and its seed from one seed, so that any of them can be had again. One line a run, a summary last;
the status is 1 where a run raised an alarm, could not tell or left something behind.
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from poolproof import processes
from poolproof.config import load_config
from poolproof.experiment import SCENARIOS, Proof, prove

CLEAN: Final[Mapping[str, tuple[str, ...]]] = {
    "tests.pools.clean:make": tuple(SCENARIOS),
    "sessionpool": tuple(SCENARIOS),
    "thread-pool-executor": ("steady", "sessions", "deadlines", "overload", "awkward-work", "shutdown", "parent-death"),
    # What it does at a death of a worker it declines to do better; what it leaves at its own, it does not.
    "process-pool-executor": tuple(name for name in SCENARIOS if name != "parent-death"),
    "multiprocessing-pool": ("steady", "deadlines", "overload", "stall-one"),
    "loky": ("steady", "sessions", "deadlines", "overload", "kill-one", "stall-one", "degradation", "shutdown"),
    "pebble": ("steady", "sessions", "deadlines", "overload", "kill-one", "kill-most", "stall-one", "degradation"),
}
"""The scenarios that each pool goes through without breaking a promise that counts."""

_SETTLE_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """One run: what is proven, how large, from which seed."""

    target: str
    scenario: str
    layer: int
    workers: int
    seconds: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a run: the findings other than kept, and what was left behind."""

    draw: Draw
    verdict: str
    findings: tuple[str, ...]
    residue: tuple[str, ...]
    took_s: float

    @property
    def clean(self) -> bool:
        return self.verdict == "kept" and not self.residue


def draws(seed: int, clean: Mapping[str, tuple[str, ...]] = CLEAN) -> Iterator[Draw]:
    """An endless mixture: every pool as often as any other, and of its scenarios each as often as the others."""
    rng = random.Random(f"poolproof soak {seed}")
    while True:
        target = rng.choice(sorted(clean))
        yield Draw(
            target=target,
            scenario=rng.choice(clean[target]),
            layer=rng.choice((2, 2, 3)),
            workers=rng.randint(2, 4),
            seconds=rng.choice((3.0, 4.0)),
            seed=rng.getrandbits(31),
        )


def soak(chosen: Iterable[Draw], keep: Path | None = None) -> Iterator[Result]:
    """Carry out each run and look at what it found and what it left; those that are not clean are kept in `keep`."""
    for number, draw in enumerate(chosen):
        before, began = _around(), time.monotonic()
        options = {"pool.workers": draw.workers, "load.seconds": draw.seconds}
        folder = Path(tempfile.mkdtemp(prefix="soak-"))
        proof = prove(
            draw.target,
            load_config(draw.layer, options=options),
            layer=draw.layer,
            seed=draw.seed,
            scenarios=(draw.scenario,),
            report=folder / "runs",
        )
        result = Result(
            draw=draw,
            verdict=proof.verdict,
            findings=tuple(_doubts(proof)),
            residue=tuple(sorted(_settled(before | {f"temporary {folder.name}"}))),
            took_s=round(time.monotonic() - began, 1),
        )
        if not result.clean and keep is not None:
            shutil.copytree(folder, keep / f"{number:05d}", dirs_exist_ok=True)
        shutil.rmtree(folder)
        yield result


def _doubts(proof: Proof) -> Iterator[str]:
    for name, promise in proof.promises.items():
        if promise.made in ("implied", "promised") and promise.verdict in ("broken", "unknown"):
            told = "; ".join(evidence.text for evidence in promise.evidence[:3])
            yield f"{name} {promise.verdict}: {told}"


def _settled(known: set[str]) -> set[str]:
    """What is there beyond what was known, once it had its time to go: others use /dev/shm too."""
    deadline, wait_s, nobody = time.monotonic() + _SETTLE_S, 0.01, threading.Event()
    while (left := _around() - known) and time.monotonic() < deadline:
        nobody.wait(wait_s)
        wait_s *= 2
    return left


def _around() -> set[str]:
    """What a run could leave: processes of ours, descriptors, shared memory, temporary files."""
    me = os.getpid()
    return (
        {
            f"process {process.name} (pid {pid})"
            for pid, process in processes.descendants(me, processes.everyone()).items()
        }
        | {f"descriptor {fd} -> {where}" for fd, where in processes.open_files().items() if not where.endswith("/fd")}
        | {f"shared memory {name}" for name in os.listdir("/dev/shm")}
        | {f"temporary {name}" for name in os.listdir(tempfile.gettempdir())}
    )


def above_zero(text: str) -> float:
    number = float(text)
    if not number > 0:  # nor is NaN
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def count(text: str) -> int:
    above_zero(text)
    return int(text)


def options_of(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of the program; it ends with status 2 where they make no sense."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=count, default=100, help="how many runs (default: 100)")
    parser.add_argument("--hours", type=above_zero, default=None, help="go on for so long, however many runs that are")
    parser.add_argument("--seed", type=int, default=1, help="what all draws come from (default: 1)")
    parser.add_argument("--keep", type=Path, default=Path("soak"), help="where runs that are not clean stay")
    return parser.parse_args(arguments)


def main() -> int:
    """Soak until the runs or the hours are over."""
    options = options_of()
    end = None if options.hours is None else time.monotonic() + options.hours * 3600
    results: list[Result] = []
    # Folders of the runs are made where the runs make theirs, so that what they leave is told from what others leave.
    with tempfile.TemporaryDirectory(prefix="poolproof-soak-") as home:
        tempfile.tempdir = home
        os.environ["TMPDIR"] = home
        for result in soak(draws(options.seed), options.keep):
            results.append(result)
            told = "clean" if result.clean else f"NOT CLEAN {json.dumps([*result.findings, *result.residue])}"
            print(len(results), *asdict(result.draw).values(), f"{result.took_s} s", told, sep="\t", flush=True)
            if len(results) >= options.runs if end is None else time.monotonic() >= end:
                break
        still = _around()
    tempfile.tempdir = None
    # What is gone by now was somebody else's, who was using /dev/shm at the same time.
    results = [replace(each, residue=tuple(left for left in each.residue if left in still)) for each in results]
    minutes = sum(result.took_s for result in results) / 60
    alarms, unknown = (sum(result.verdict == verdict for result in results) for verdict in ("broken", "unknown"))
    left = sum(bool(result.residue) for result in results)
    print(
        f"{len(results)} runs in {minutes:.0f} minutes, seed {options.seed}: {alarms} false alarms, {unknown} unknown, "
        f"{left} with something left behind"
    )
    return 0 if all(result.clean for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
