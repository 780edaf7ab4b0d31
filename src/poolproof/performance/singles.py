"""The benchmarks of single properties: latency, throughput, openings, the price of sessions, scaling."""

from statistics import median
from typing import Final

import msgspec

from poolproof.experiment import Run
from poolproof.load import Mix, hold, users
from poolproof.performance.bench import Bench, Measured, lightest, measured, percentiles, waited_ns
from poolproof.performance.results import Figure
from poolproof.statistics import percentile

SESSIONS: Final = 1_000

_WAIT_S: Final = 0.020


def latency(bench: Bench) -> Measured:
    """One operation at a time: what a caller waits for who has the pool for himself."""
    run = bench.run(
        "latency",
        users(1, bench.lasting(3, 15)),
        workload=lightest(bench),
        workers=2,
        arrivals="constant",
        warm_up=200,
    )
    times = waited_ns(run)
    wanted = bench.objectives
    figures = percentiles("latency", times)
    return measured(
        bench,
        [run],
        figures,
        {"latency p50": wanted.latency_p50_ms, "latency p99": wanted.latency_p99_ms},
        {"latency": times},
    )


def throughput(bench: Bench) -> Measured:
    """As many operations as there can be: four users for each worker, who never think."""
    workers = bench.performance.workers
    shape = users(4 * workers, bench.lasting(3, 15))
    run = bench.run("throughput", shape, workload=lightest(bench), arrivals="constant", warm_up=200)
    figures = [
        Figure(name="throughput", value=run.load.throughput, unit="/s", better="higher"),
        *percentiles("latency", waited_ns(run)),
    ]
    return measured(bench, [run], figures, {"throughput": bench.objectives.throughput_per_s})


def initialisation(bench: Bench) -> Measured:
    """From the making of a pool until its first answer, over and over; imports and the setup of the work included."""
    experiment = bench.experiment
    plan = experiment.plan(
        hold(1, 1), workload=bench.performance.workload, workers=bench.performance.workers, name="initialisation"
    )
    scenario = msgspec.structs.replace(plan.scenario, stages=("cycles",) * (3 if bench.is_full else 1))
    run = experiment.carry_out(msgspec.structs.replace(plan, scenario=scenario), watcher=bench.watcher)
    took_s = [event.value for event in run.history.lifecycle if event.event == "ready" and event.value is not None]
    # The first pool of a process imports what the others find imported.
    later = took_s[1:]
    figures = [
        Figure(name="first pool ready", value=took_s[0] if took_s else None, unit="s", better="lower"),
        Figure(name="pool ready", value=median(later) if later else None, unit="s", better="lower"),
    ]
    return measured(bench, [run], figures, {"pool ready": bench.objectives.initialisation_s})


def affinity(bench: Bench) -> Measured:
    """The price of looking a session up: operations with and without one, alternately, each with a fresh pool."""
    count = 3_000 if bench.is_full else 1_000
    medians: dict[bool, list[float | None]] = {False: [], True: []}
    runs: list[Run] = []
    for has_sessions in (False, True, True, False) * (2 if bench.is_full else 1):
        run = bench.run(
            f"affinity-{len(runs)}",
            users(1, 60.0, turns=count + SESSIONS),
            Mix(sessions=SESSIONS) if has_sessions else None,
            workload=lightest(bench),
            workers=2,
            arrivals="constant",
        )
        runs.append(run)
        # The first operation of a session makes it; what is looked up is there already.
        times = waited_ns(run, known_sessions=has_sessions)
        value = percentile(times, 0.5)
        medians[has_sessions].append(None if value is None else value / 1e6)
    pairs = [(a, b) for a, b in zip(medians[True], medians[False], strict=True) if a is not None and b]
    figures = [
        Figure(name="without sessions p50", value=_middle(medians[False]), unit="ms", better="lower"),
        Figure(name="with sessions p50", value=_middle(medians[True]), unit="ms", better="lower"),
        Figure(
            name="price of affinity",
            value=round(median(a / b for a, b in pairs), 4) if pairs else None,
            unit="×",
            better="lower",
        ),
    ]
    return measured(bench, runs, figures, {"price of affinity": bench.objectives.affinity_price})


def scaling(bench: Bench) -> Measured:
    """From more work than the smallest pool can do until the largest is at it, and from the end of it back again."""
    workers = min(bench.performance.workers, 4)
    calm, busy, after = 2.0, 2.0, 4.0
    shape = hold(5, calm) >> hold(workers / _WAIT_S * 0.9, busy) >> hold(5, after)
    options = {"min_workers": 1, "grow_s": 0.05, "shrink_s": 0.5}
    run = bench.run("scaling", shape, workload="waits", workers=workers, options=options, arrivals="constant")
    history, origin = run.history, run.history.origin
    pressed, relieved = origin + round(calm * 1e9), origin + round((calm + busy) * 1e9)
    executions = history.executions
    began: dict[tuple[int, int], int] = {}
    rows = zip(executions.pid.tolist(), executions.start_time.tolist(), executions.started.tolist(), strict=True)
    for pid, start_time, started in rows:
        began.setdefault((pid, start_time), started)
    new = sorted(at for at in began.values() if pressed <= at < relieved)
    grown = new[workers - 2] if len(new) >= workers - 1 else None
    gone = sorted(it.gone for it in history.incarnations if (it.pid, it.start_time) in began and it.gone > relieved)
    end = history.last("stage-ended", "load")
    gone = [at for at in gone if end is None or at < end.at]
    shrunk = gone[workers - 2] if len(gone) >= workers - 1 else None
    figures = [
        Figure(
            name="grown",
            value=None if grown is None else round((grown - pressed) / 1e9, 4),
            unit="s",
            better="lower",
            note="" if grown is not None else f"{len(new)} of {workers - 1} more workers began an operation",
        ),
        Figure(
            name="shrunk",
            value=None if shrunk is None else round((shrunk - relieved) / 1e9, 4),
            unit="s",
            better="lower",
            note="" if shrunk is not None else f"{len(gone)} of {workers - 1} workers had left",
        ),
    ]
    return measured(
        bench,
        [run],
        figures,
        {"grown": bench.objectives.grow_s, "shrunk": bench.objectives.shrink_s},
        notes=(f"workers leave after idling for {options['shrink_s']} s",),
    )


def _middle(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(median(known), 4) if known else None
