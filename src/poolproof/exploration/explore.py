"""Exploring: many random plans, each carried out and judged; what fails is shrunk and kept."""

import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec
from msgspec.structs import replace

from poolproof.checks import Evidence, Verdict, judge
from poolproof.experiment import carry_out
from poolproof.exploration.keepsake import Keepsake, keep
from poolproof.exploration.shrink import Shrinker
from poolproof.exploration.swarm import examined, random_plan
from poolproof.history import digest
from poolproof.plan import Plan, Target
from poolproof.pools import build_core, find_core, find_target
from poolproof.simulation import SOMETIMES, Marks, simulate

SCHEMA: Final = "poolproof/explore-1"

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
        UsageError: the target does not exist, or has no core that could be simulated.
    """
    found = find_core(target) if layer == 1 else find_target(target)
    if layer == 1:
        build_core(found, 1)  # what can't be made is refused here, and not by each process
    whole = _Seen()
    for part in _runs(found, layer, range(first_seed, first_seed + seeds), jobs):
        _add(whole, part)
        watcher(whole.seeds, seeds, len({seed for seed, _ in whole.broken}))
        if until_first and whole.broken:
            break
    chosen = _choose(whole.broken)[: 1 if until_first else MOST_KEPT]
    failures = tuple(_shrunk(found, layer, chosen, jobs, report))
    missed = tuple(state for state in SOMETIMES if state not in whole.reached) if layer == 1 else ()
    return Exploration(
        target=found.name,
        layer=layer,
        first_seed=first_seed,
        runs=whole.seeds,
        operations=whole.operations,
        faults=whole.faults,
        inconclusive=whole.inconclusive,
        verdict="broken" if whole.broken else "unknown" if missed or not whole.seeds else "kept",
        broken=dict(Counter(promise for _, promise in whole.broken)),
        failures=failures,
        reached={state: whole.reached[state] for state in SOMETIMES if state in whole.reached},
        missed=missed,
        transitions=dict(sorted(whole.transitions.items())),
    )


def _runs(target: Target, layer: int, seeds: range, jobs: int) -> Iterator[_Seen]:
    """The runs in chunks, as they are done."""
    if layer != 1:
        for seed in seeds:
            yield _run_real(target, layer, seed)
        return
    chunks = [seeds[at : at + _CHUNK] for at in range(0, len(seeds), _CHUNK)]
    if jobs == 1:
        yield from (_run_simulated(target, chunk) for chunk in chunks)
        return
    with _processes(jobs) as executor:
        futures = [executor.submit(_run_simulated, target, chunk) for chunk in chunks]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            executor.shutdown(cancel_futures=True)


def _processes(jobs: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))


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
        marks = Marks()
        history = simulate(explored_plan(target, seed), marks)
        findings = judge(history)
        broken = [(seed, it.promise) for it in findings if it.verdict == "broken"]
        _add(
            seen,
            _Seen(
                seeds=1,
                operations=len(history.operations),
                faults=sum(fault.effective == "yes" for fault in history.faults),
                inconclusive=not broken and all(it.verdict == "unknown" for it in findings),
                broken=broken,
                reached=marks.reached,
                transitions=marks.transitions,
            ),
        )
    return seen


def _run_real(target: Target, layer: int, seed: int) -> _Seen:
    plan = random_plan(target, seed, layer=layer)
    with TemporaryDirectory(prefix="poolproof-explore-") as folder:
        history = carry_out(plan, Path(folder))
    findings = judge(history)
    broken = [(seed, it.promise) for it in findings if it.verdict == "broken"]
    return _Seen(
        seeds=1,
        operations=len(history.operations),
        faults=sum(fault.effective == "yes" for fault in history.faults),
        inconclusive=not broken and all(it.verdict == "unknown" for it in findings),
        broken=broken,
    )


def _add(whole: _Seen, part: _Seen) -> None:
    whole.seeds += part.seeds
    whole.operations += part.operations
    whole.faults += part.faults
    whole.inconclusive += part.inconclusive
    whole.broken += part.broken
    whole.reached = dict(Counter(whole.reached) + Counter(part.reached))
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
            yield Failure(
                seed=seed, promise=promise, evidence=(), windows=len(plan.scenario.faults), operations=None, runs=0
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
    load = smallest.scenario.load
    return Failure(
        seed=seed,
        promise=promise,
        evidence=finding.evidence,
        windows=len(smallest.scenario.faults),
        operations=len(load.placed) if not any(step.rate for step in load.steps) else None,
        runs=shrinker.runs,
        path=path,
    )


def _said(evidence: tuple[Evidence, ...]) -> str:
    return evidence[0].text if evidence else ""
