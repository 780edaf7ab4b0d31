"""Exploring: many random plans, each carried out and judged; what fails is shrunk and kept."""

import ctypes
import multiprocessing
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec
from msgspec.structs import replace

from poolproof.checks import Evidence, Verdict, judge
from poolproof.errors import PoolproofError, UsageError
from poolproof.experiment import carry_out
from poolproof.exploration.keepsake import Keepsake, keep
from poolproof.exploration.shrink import Shrinker
from poolproof.exploration.swarm import examined, random_plan
from poolproof.history import History, digest, load
from poolproof.plan import PROMISES, Plan, Target
from poolproof.pools import check_core, find_core, find_target
from poolproof.simulation import SOMETIMES, Marks, simulate

SCHEMA: Final = "poolproof/explore-1"

_TWICE: Final = 50
"""Of so many seeds one is carried out twice, and must give the same bytes."""

_CHUNK: Final = 20
"""How many seeds a process is given at once."""

MOST_KEPT: Final = 8
"""How many failures are shrunk and kept, each of another promise first."""

Watcher = Callable[[int, int, int], None]
"""Told how many seeds are done, of how many, and how many of them failed."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """One plan that broke a promise, and what is left of it.

    Attributes:
        seed: of the run.
        windows: how many faults the smallest plan has.
        operations: how many operations it places; None where it goes by a rate.
        runs: how many simulations it took to get there.
        path: where it is kept; empty where it is not.
    """

    seed: int
    promise: str
    evidence: tuple[Evidence, ...]
    windows: int
    operations: int | None
    runs: int
    path: str = ""


class Exploration(msgspec.Struct, frozen=True, kw_only=True):
    """What an exploration found; the object that `--json` writes.

    Attributes:
        runs: how many plans were carried out.
        inconclusive: of how many of them nothing could be told, most often since a fault met nothing.
        broken: how many runs broke each promise.
        kept: in how many runs it was put to the test and kept.
        reached: how many times each interesting state was.
        missed: the interesting states that no run reached.
        transitions: how often each thing of the pool went from one state to another.
    """

    schema: str = SCHEMA
    target: str
    layer: int
    first_seed: int
    runs: int
    operations: int
    faults: int
    inconclusive: int
    verdict: Verdict
    broken: dict[str, int]
    kept: dict[str, int]
    failures: tuple[Failure, ...]
    reached: dict[str, int]
    missed: tuple[str, ...]
    transitions: dict[str, int]


class _Seen(msgspec.Struct):
    """What some of the runs showed."""

    seeds: int = 0
    operations: int = 0
    faults: int = 0
    inconclusive: int = 0
    broken: list[tuple[int, str]] = []
    kept: dict[str, int] = {}
    reached: dict[str, int] = {}
    transitions: dict[str, int] = {}


def explore(
    target: str,
    *,
    layer: int = 1,
    seeds: int = 2000,
    first_seed: int = 0,
    jobs: int = 1,
    report: Path | None = None,
    until_first: bool = False,
    watcher: Watcher = lambda *_: None,
) -> Exploration:
    """Carry out a random plan for each seed, judge it, and shrink what fails.

    Args:
        target: a bundled name, or a class with a sans-I/O core; on layer 2 any pool.
        layer: 1, or 2 for real processes, where nothing is shrunk since nothing repeats itself exactly.
        seeds: how many.
        first_seed: where they begin.
        jobs: in how many processes.
        report: the folder that failures are kept in; None to keep none.
        until_first: stop at the first seeds that fail.
        watcher: told of the progress.

    Raises:
        UsageError: the target does not exist, or has no core that could be simulated; failures can't be kept there.
    """
    found = find_core(target) if layer == 1 else find_target(target)
    if layer == 1:
        check_core(found)  # what can't be made is refused here, and not by each process
    if report is not None:
        _expect_folder(report)
    whole = _Seen()
    for part in _runs(found, layer, range(first_seed, first_seed + seeds), jobs, report):
        _add(whole, part)
        watcher(whole.seeds, seeds, len({seed for seed, _ in whole.broken}))
        if until_first and whole.broken:
            break
    chosen = _choose(whole.broken)[: 1 if until_first else MOST_KEPT]
    failures = tuple(_shrunk(found, layer, chosen, jobs, report))
    missed = tuple(state for state in SOMETIMES if state not in whole.reached) if layer == 1 else ()
    untested = [promise for promise, times in whole.kept.items() if not times]
    return Exploration(
        target=found.name,
        layer=layer,
        first_seed=first_seed,
        runs=whole.seeds,
        operations=whole.operations,
        faults=whole.faults,
        inconclusive=whole.inconclusive,
        verdict="broken" if whole.broken else "unknown" if missed or untested else "kept",
        broken=dict(Counter(promise for _, promise in whole.broken)),
        kept={promise: whole.kept.get(promise, 0) for promise in PROMISES if promise in whole.kept},
        failures=failures,
        reached={state: whole.reached[state] for state in SOMETIMES if state in whole.reached},
        missed=missed,
        transitions=dict(sorted(whole.transitions.items())),
    )


def _runs(target: Target, layer: int, seeds: range, jobs: int, report: Path | None) -> Iterator[_Seen]:
    """The runs in chunks, as they are done."""
    if layer != 1:
        for seed in seeds:
            yield _run_real(target, layer, seed, report)
        return
    chunks = [seeds[at : at + _CHUNK] for at in range(0, len(seeds), _CHUNK)]
    if jobs == 1:
        yield from (_run_simulated(target, chunk) for chunk in chunks)
        return
    with _processes(jobs) as executor:
        with _uninterrupted():
            futures = [executor.submit(_run_simulated, target, chunk) for chunk in chunks]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise PoolproofError(
                "a process of the exploration was ended from outside, perhaps for want of memory"
            ) from error
        finally:
            executor.shutdown(cancel_futures=True)


def _processes(jobs: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(jobs, mp_context=context, initializer=_end_with_parent)


def _end_with_parent() -> None:
    """Have the kernel end this process when the one that it works for is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


_PR_SET_PDEATHSIG: Final = 1


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """What is started within does not hear of a Ctrl-C: that is this process's to answer, as soon as this is over."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _expect_folder(report: Path) -> None:
    """Make sure that failures can be kept there, before they are looked for; nothing is made."""
    there = next(folder for folder in (report, *report.absolute().parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise UsageError(
            f"failures can't be kept in {report}: {there} is no folder that you may write to; name another"
        )


def explored_plan(target: Target, seed: int) -> Plan:
    """The plan of a seed, without the faults that take no effect in it: they prove nothing, and void what others do."""
    plan = random_plan(target, seed)
    missed = (
        {fault.fault for fault in simulate(plan).faults if fault.effective != "yes"} if plan.scenario.faults else ()
    )
    if missed:
        kept = tuple(spec for number, spec in enumerate(plan.scenario.faults) if number not in missed)
        examines = examined(plan.scenario.stages, plan.options, plan.scenario.load, kept)
        plan = replace(plan, scenario=replace(plan.scenario, faults=kept, examines=examines))
    return plan


def _run_simulated(target: Target, seeds: Iterable[int]) -> _Seen:
    seen = _Seen()
    for seed in seeds:
        marks, plan = Marks(), explored_plan(target, seed)
        history = simulate(plan, marks)
        if seed % _TWICE == 0 and digest(simulate(plan)) != digest(history):
            told = "reads a clock, draws chance of its own, or keeps something from one run to the next"
            raise PoolproofError(f"seed {seed} does not give the same twice: the core {told}")
        _add(seen, _judged(seed, history, marks))
    return seen


def _run_real(target: Target, layer: int, seed: int, report: Path | None) -> _Seen:
    plan = random_plan(target, seed, layer=layer)
    with TemporaryDirectory(prefix="poolproof-explore-") as folder:
        seen = _judged(seed, carry_out(plan, Path(folder)), Marks())
        if seen.broken and report is not None:
            shutil.copytree(folder, _run_folder(report, seed), dirs_exist_ok=True)
    return seen


def _judged(seed: int, history: History, marks: Marks) -> _Seen:
    """What one run showed."""
    findings = judge(history)
    broken = [(seed, it.promise) for it in findings if it.verdict == "broken"]
    return _Seen(
        seeds=1,
        operations=len(history.operations),
        faults=sum(fault.effective == "yes" for fault in history.faults),
        inconclusive=not broken and all(it.verdict == "unknown" for it in findings),
        broken=broken,
        kept={it.promise: int(it.verdict == "kept") for it in findings},
        reached=marks.reached,
        transitions=marks.transitions,
    )


def _run_folder(report: Path, seed: int) -> Path:
    return report / f"explored-{seed}"


def _add(whole: _Seen, part: _Seen) -> None:
    whole.seeds += part.seeds
    whole.operations += part.operations
    whole.faults += part.faults
    whole.inconclusive += part.inconclusive
    whole.broken += part.broken
    whole.reached = dict(Counter(whole.reached) + Counter(part.reached))
    for promise, times in part.kept.items():
        whole.kept[promise] = whole.kept.get(promise, 0) + times
    whole.transitions = dict(Counter(whole.transitions) + Counter(part.transitions))


_SAYS_LITTLE: Final = {"resolves-every-operation": 1, "closes-cleanly": 2}
"""What most defects end in, and what tells least of them: looked at last."""


def _choose(broken: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """The failures in the order in which they are worth a look: one of each promise first, then the others."""
    first: dict[str, tuple[int, str]] = {}
    for failure in sorted(broken, key=lambda one: (_SAYS_LITTLE.get(one[1], 0), one)):
        first.setdefault(failure[1], failure)
    return [*first.values(), *(failure for failure in broken if failure not in first.values())]


def _shrunk(
    target: Target, layer: int, chosen: list[tuple[int, str]], jobs: int, report: Path | None
) -> Iterator[Failure]:
    if layer != 1:
        for seed, promise in chosen:
            plan = random_plan(target, seed, layer=layer)
            folder = None if report is None else _run_folder(report, seed)
            findings = () if folder is None else judge(load(folder))
            yield Failure(
                seed=seed,
                promise=promise,
                evidence=next((it.evidence for it in findings if it.promise == promise), ()),
                windows=len(plan.scenario.faults),
                operations=None,
                runs=0,
                path="" if folder is None else str(folder),
            )
        return
    if jobs == 1 or len(chosen) == 1:
        yield from (_shrink_one(target, seed, promise, report) for seed, promise in chosen)
        return
    with _processes(jobs) as executor:
        futures: list[Future[Failure]] = [
            executor.submit(_shrink_one, target, seed, promise, report) for seed, promise in chosen
        ]
        yield from (future.result() for future in futures)


def _shrink_one(target: Target, seed: int, promise: str, report: Path | None) -> Failure:
    shrinker = Shrinker(explored_plan(target, seed), promise)
    smallest = shrinker.shrink()
    history = simulate(smallest)
    finding = next(it for it in judge(history) if it.promise == promise)
    path = ""
    if report is not None:
        kept = Keepsake(promise=promise, seed=seed, said=_said(finding.evidence), digest=digest(history), plan=smallest)
        path = str(keep(kept, report))
    laid_out = smallest.scenario.load
    return Failure(
        seed=seed,
        promise=promise,
        evidence=finding.evidence,
        windows=len(smallest.scenario.faults),
        operations=len(laid_out.placed) if not any(step.rate for step in laid_out.steps) else None,
        runs=shrinker.runs,
        path=path,
    )


def _said(evidence: tuple[Evidence, ...]) -> str:
    return evidence[0].text if evidence else ""
