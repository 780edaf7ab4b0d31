"""A proof: every scenario run against one target, its histories judged, its verdicts combined."""

import fcntl
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil

from poolproof import figures
from poolproof.checks import Evidence, Finding, Verdict, judge, worst
from poolproof.config import Config, Effective
from poolproof.errors import HistoryError, UsageError
from poolproof.experiment.scenarios import OF_ALL, OF_DEATHS, Ingredients, find_scenarios
from poolproof.faults import check_plan
from poolproof.history import History, Journal, Lifecycle, collect, load, read_plan, save, write_plan
from poolproof.lab.launch import Progress, run_plan, where_it_hung
from poolproof.plan import PROMISES, Bounds, Claims, Limits, Made, Plan, Scenario
from poolproof.pools import BUNDLED, check_core, find_core, find_target
from poolproof.simulation import simulate
from poolproof.workloads import awkward, choose, reference

SCHEMA: Final = "poolproof/run-1"
LOCK: Final = ".poolproof.lock"

Watcher = Callable[[str, str, Progress], None]
"""Told the target, the scenario and the progress, a few times a second."""


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """How a pool stands to one promise: whether it made it, and whether it kept it; None where none examined it."""

    made: Made
    verdict: Verdict | None
    evidence: tuple[Evidence, ...] = ()


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one scenario showed.

    Attributes:
        verdict: the worst of its findings on promises that count.
        findings: what each check said.
        objectives: how its figures stand to what they were to be.
        given_up: why its load was given up; empty where it was not.
        notes: what was seen that breaks no promise, such as a stall that nobody noticed.
    """

    name: str
    verdict: Verdict
    load: figures.Load
    generator: figures.Generator
    faults: tuple[figures.Injected, ...]
    recovery: figures.Recovery | None
    errors: tuple[figures.ErrorCount, ...]
    findings: tuple[Finding, ...]
    objectives: tuple[figures.Judged, ...] = ()
    given_up: str = ""
    notes: tuple[Evidence, ...]
    folder: str


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that `poolproof prove` found out about one target; the object that `--json` writes.

    Attributes:
        workload: the one of all scenarios but those that have their own.
        note: why it was not the best one; empty where it was.
        skipped: the scenarios that do not apply to this pool, each with the reason.
    """

    schema: str = SCHEMA
    target: str
    layer: int
    seed: int
    workload: str
    note: str = ""
    verdict: Verdict
    promises: dict[str, Promise]
    scenarios: tuple[Outcome, ...]
    skipped: dict[str, str]
    environment: dict[str, str]


def prove(
    target: str | Callable[..., Any],
    effective: Effective,
    *,
    layer: int,
    seed: int,
    scenarios: tuple[str, ...] = (),
    report: Path | None = None,
    watcher: Watcher = lambda *_: None,
) -> Proof:
    """Run the scenarios against a target, each in processes of its own, and judge what they recorded.

    Args:
        target: a bundled name, `module:factory`, `script.py:factory`, or the factory itself.
        effective: the configuration of the layer.
        layer: 1, 2 or 3.
        seed: schedules, payloads and choices of victims all come from it.
        scenarios: names; none for all.
        report: where the run folders stay, one a scenario; None for a temporary folder.
        watcher: told of the progress.

    Raises:
        UsageError: something named does not exist, or can't be used as asked.
    """
    plans = plan_proof(target, effective, layer=layer, seed=seed, scenarios=scenarios)
    skipped: dict[str, str] = {}
    with home_of(report) as home:
        proof = combine(_run_all(plans, home, report is not None, watcher, skipped), skipped, plans[0])
    _, note = choose(effective.config.load.workload)
    return msgspec.structs.replace(proof, note=note)


def _run_all(
    plans: tuple[Plan, ...], home: Path, stays: bool, watcher: Watcher, skipped: dict[str, str]
) -> Iterator[tuple[History, str]]:
    """Run what applies: once a pool is known to work inside its own process, no worker process is looked for."""

    def run(plan: Plan) -> History:
        folder = home / plan.scenario.name
        made_empty(folder)
        watch = partial(watcher, plan.target.name, plan.scenario.name)
        return carry_out(plan, folder, discard=None if stays else home, watcher=watch)

    in_process = False
    for plan in plans:
        if plan.layer == 1 and (why := _not_simulated(plan.scenario)):
            skipped[plan.scenario.name] = why
            continue
        fitting = _for_threads(plan) if in_process else plan
        if fitting is not None:
            history = run(fitting)
            if history.claims.in_process and not in_process:
                in_process, fitting = True, _for_threads(plan)
                if fitting is not None and fitting != plan:
                    history = run(fitting)
        if fitting is None:
            skipped[plan.scenario.name] = _IN_PROCESS
        else:
            yield history, str(home / plan.scenario.name) if stays else ""


def _not_simulated(scenario: Scenario) -> str:
    """Why layer 1 has nothing to say of a scenario; empty where it has."""
    if any(spec.target == "parent" for spec in scenario.faults):
        return "layer 1 simulates no process that the pool is in, so it can't die: use --layer 2"
    if any(entry.kind in awkward.workload.kinds for entry in scenario.load.placed):
        return "layer 1 simulates no Python code that could be awkward: use --layer 2"
    return ""


def _for_threads(plan: Plan) -> Plan | None:
    """What is left of a plan where there is no worker process to harm; None where the harm is the point of it."""
    scenario = plan.scenario
    possible = tuple(fault for fault in scenario.faults if fault.target == "parent")
    if possible == scenario.faults:
        return plan
    examines = tuple(promise for promise in scenario.examines if promise not in OF_DEATHS)
    if OF_ALL.issuperset(examines):
        return None
    rest = msgspec.structs.replace(scenario, faults=possible, examines=examines, summary=scenario.summary + _UNHARMED)
    return msgspec.structs.replace(plan, scenario=rest)


_UNHARMED: Final = ", but without harm to any worker"
_IN_PROCESS: Final = "the pool works inside its own process: there is no worker process to harm"


def plan_proof(
    target: str | Callable[..., Any], effective: Effective, *, layer: int, seed: int, scenarios: tuple[str, ...] = ()
) -> tuple[Plan, ...]:
    """The plans of a proof, every fault of them within the limits.

    Raises:
        UsageError: something named does not exist, or can't be used as asked.
    """
    config = effective.config
    found = find_core(target) if layer == 1 else find_target(target)
    if layer == 1:
        check_core(found)
    workload, _ = choose(config.load.workload)
    reference(workload)
    given = Ingredients(
        rate_per_s=config.load.rate_per_worker_per_s * config.pool.workers,
        seconds=config.load.seconds,
        arrivals=config.load.arrivals,
        warm_up=config.load.warm_up_operations,
        workers=config.pool.workers,
    )
    chosen = find_scenarios(scenarios, given)
    limits = Limits(**msgspec.structs.asdict(config.limits))
    for scenario in chosen:
        check_plan(scenario.faults, config.pool.workers, limits)
    return tuple(
        Plan(
            target=found,
            workload=workload,
            scenario=scenario,
            layer=layer,
            workers=config.pool.workers,
            seed=seed,
            service_ms=service_of(config),
            bounds=Bounds(**msgspec.structs.asdict(config.bounds)),
            limits=limits,
            watch_s=config.watch.interval_s,
            usage_s=config.watch.usage_interval_s,
        )
        for scenario in chosen
    )


def carry_out(
    plan: Plan,
    folder: Path,
    *,
    discard: Path | None = None,
    watcher: Callable[[Progress], None] = lambda _: None,
    stop: int | None = None,
) -> History:
    """Run one plan, or simulate it, and save its history in `folder`.

    Args:
        plan: what to do.
        folder: an existing empty folder.
        discard: a folder that is removed where this process dies.
        watcher: told of the progress.
        stop: a descriptor; once it can be read, the run is ended.

    Raises:
        KeyboardInterrupt: it was stopped.
        TargetError: the target or the workload can't be loaded, built or prepared.
    """
    if plan.layer == 1:
        write_plan(plan, folder)
        history = replace(simulate(plan), environment=environment())
        save(history, folder)
        return history
    ended = run_plan(plan, folder, discard=discard, on_progress=watcher, stop=stop)
    journal = Journal(folder)
    if ended.hung:
        hung = Lifecycle(event="hung-in", at=0, stage=ended.hung, detail=where_it_hung(folder))
        journal.write(hung)
    if ended.reason:
        history = collect(folder, environment())
        moment = max((event.at for event in history.lifecycle), default=0)
        if ended.own_doing:
            detail = ended.reason.removeprefix("the lab ")
            journal.write(Lifecycle(event="own-doing", at=moment, detail=detail))
        journal.write(Lifecycle(event="void", at=moment, detail=ended.reason))
    journal.close()
    history = collect(folder, environment())
    save(history, folder)
    return history


def repeat(plan: Plan, watcher: Watcher = lambda *_: None) -> Proof:
    """Carry out a plan of an earlier run once more, and judge it: the same schedule, not the same execution.

    Raises:
        UsageError: what it needs is not there.
    """
    name = plan.target.name
    if name in BUNDLED:  # whatever the file says of where it lives
        plan = msgspec.structs.replace(plan, target=find_core(name) if plan.layer == 1 else find_target(name))
    with home_of(None) as home:
        watch = partial(watcher, plan.target.name, plan.scenario.name)
        return combine([(carry_out(plan, home, discard=home, watcher=watch), "")])


def judge_folder(folder: Path) -> Proof:
    """Judge saved histories again: those of a run folder, or of a folder of run folders.

    Raises:
        HistoryError: there is none, or one is truncated or of another version, or they are those of a comparison.
    """
    runs = [entry for entry in sorted(folder.iterdir()) if (entry / "plan.json").is_file()] if folder.is_dir() else []
    proofs = sorted({str(path.parent.parent) for path in folder.glob("*/*/plan.json")})
    if proofs and not runs and not (folder / "plan.json").is_file():
        raise HistoryError(folder, f"it holds the reports of a comparison; judge one of them: {', '.join(proofs)}")
    return combine([(load(run), str(run)) for run in runs or [folder]])


def combine(
    histories: Iterable[tuple[History, str]], skipped: dict[str, str] | None = None, plan: Plan | None = None
) -> Proof:
    """Judge each history as it comes and combine the verdicts: a promise is broken if any scenario broke it.

    Args:
        histories: one a scenario, each with the folder that it is kept in; at least one.
        skipped: scenarios that do not apply, with the reason; known once the last history came, and added to.
        plan: what was to be proven, should none of it apply.

    Raises:
        UsageError: there is no history and no plan, or the histories are of different proofs.
    """
    judged: list[Outcome] = []
    skipped = {} if skipped is None else skipped
    claims, machine = Claims(), environment()
    for history, folder in histories:
        if plan is not None and _subject(plan) != _subject(history.plan):
            raise UsageError(
                f"these runs are of different proofs ({plan.target.name} with seed {plan.seed}, "
                f"{history.plan.target.name} with seed {history.plan.seed}): judge one run folder at a time"
            )
        if any(fault.effective == "inapplicable" for fault in history.faults):
            skipped[history.plan.scenario.name] = _IN_PROCESS
        else:
            judged.append(_outcome(history, folder))
        # A pool that could not be built in one scenario has said nothing of itself there.
        claims = history.claims if history.claims != Claims() else claims
        plan, machine = history.plan, history.environment
    if plan is None:
        raise UsageError("nothing was run, so there is nothing to judge")
    outcomes = tuple(judged)
    promises = {name: _promise(name, claims, outcomes, skipped) for name in PROMISES}
    counted = [p.verdict for p in promises.values() if p.made in COUNTED and p.verdict is not None]
    counted += [judged.verdict for outcome in outcomes for judged in outcome.objectives]
    return Proof(
        target=plan.target.name,
        layer=plan.layer,
        seed=plan.seed,
        workload=plan.workload,
        verdict=worst(counted),
        promises=promises,
        scenarios=outcomes,
        skipped=skipped,
        environment=machine,
    )


def _promise(name: str, claims: Claims, outcomes: tuple[Outcome, ...], skipped: Mapping[str, str]) -> Promise:
    found = [finding for outcome in outcomes for finding in outcome.findings if finding.promise == name]
    verdict = worst(finding.verdict for finding in found) if found else None
    evidence = tuple(e for finding in found if finding.verdict == verdict for e in finding.evidence)
    if verdict == "broken":
        hits = sum(finding.verdict == "broken" for finding in found)
        evidence = (Evidence(text=f"broken in {hits} of {len(found)} scenarios that examined it"), *evidence)
    if verdict is None:
        reasons = skipped.items() if name in OF_DEATHS else ()
        notes = tuple(Evidence(text=why, scenario=scenario) for scenario, why in reasons)
        evidence = (Evidence(text="none of the scenarios that were run examines it"), *notes)
    return Promise(made=claims.made(name), verdict=verdict, evidence=evidence)


COUNTED: Final = ("implied", "promised")
"""The promises that count for a verdict; the others are measured and shown."""


def _subject(plan: Plan) -> tuple[str, int, int, str]:
    return (plan.target.factory, plan.layer, plan.seed, plan.workload)


def environment() -> dict[str, str]:
    """The machine and the interpreter, as figures need them beside."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": str(len(psutil.Process().cpu_affinity() or [])),
        "memory_gib": f"{psutil.virtual_memory().total / 2**30:.1f}",
        "executable": sys.executable,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _outcome(history: History, folder: str) -> Outcome:
    findings, recovery, objectives = judge(history), figures.recovery(history), figures.judge_objectives(history)
    counted = [f.verdict for f in findings if history.claims.made(f.promise) in COUNTED]
    given_up = history.first("given-up")
    return Outcome(
        name=history.plan.scenario.name,
        verdict=worst([*counted, *(judged.verdict for judged in objectives)]),
        load=figures.load_figures(history),
        generator=figures.generator(history),
        faults=figures.faults(history),
        recovery=recovery,
        errors=figures.errors(history),
        findings=findings,
        objectives=objectives,
        given_up="" if given_up is None else given_up.detail,
        notes=tuple(_notes(history, recovery)),
        folder=folder,
    )


def _notes(history: History, recovery: figures.Recovery | None) -> Iterator[Evidence]:
    scenario = history.plan.scenario
    if scenario.summary.endswith(_UNHARMED):
        yield Evidence(text=scenario.summary, scenario=scenario.name)
    for fault in history.faults:
        if fault.effective == "yes" and fault.kind == "stall" and recovery and recovery.detect_ms is None:
            seconds = (fault.end - fault.begin) / 1e9
            held = ", ".join(map(str, fault.held))
            yield Evidence(
                text=f"worker pid {fault.pid} was stopped for {seconds:.2f} s from "
                f"{history.seconds(fault.begin):.3f} s on and nobody noticed: operation {held}, which it held, waited "
                "until it went on, and no other worker took its place",
                scenario=history.plan.scenario.name,
                op=fault.held[0] if fault.held else None,
                pid=fault.pid,
                start_time=fault.start_time,
                at_s=round(history.seconds(fault.begin), 6),
            )


def service_of(config: Config) -> dict[str, float]:
    """The configured service times of scripted operations, ms, by kind."""
    return {"predict": config.service.predict_ms, "batch": config.service.batch_ms}


@contextmanager
def home_of(report: Path | None) -> Iterator[Path]:
    """Where run folders go: into the report's folder, which is locked meanwhile; or into one that is gone afterwards.

    Raises:
        UsageError: it can't be written, or another run writes there.
    """
    if report is None:
        home = Path(tempfile.mkdtemp(prefix="poolproof-runs-"))
        try:
            yield home
        finally:
            shutil.rmtree(home, ignore_errors=True)
        return
    try:
        report.mkdir(parents=True, exist_ok=True)
        lock = (report / LOCK).open("w")
    except OSError as error:
        raise UsageError(
            f"the report can't be written to {report}: {error.strerror}; name a folder that you may write to"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"another run writes its report to {report}: wait for it, or name another folder"
            ) from error
        yield report
        (report / LOCK).unlink(missing_ok=True)


def made_empty(folder: Path) -> Path:
    """The folder, empty now; one of an earlier run is replaced, anything else is left alone.

    Raises:
        UsageError: it holds something else.
    """
    if folder.exists() and not _is_run(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(f"{folder} holds something that is no run of poolproof; name another folder for the report")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _is_run(folder: Path) -> bool:
    try:
        read_plan(folder)
    except HistoryError:
        return False
    return True
