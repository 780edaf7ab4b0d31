"""What a run used and gave: latencies, throughput, utilisation, and what its processes and the machine were at."""

from collections.abc import Callable, Iterable
from itertools import groupby

import msgspec
import numpy as np

from poolproof.experiment import Run
from poolproof.figures import measured_s, series
from poolproof.history import Host, Usage

Times = dict[str, float | None]


class PerformanceMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one run's measured window; None where one could not be told, and `unknown` says why.

    Attributes:
        response_ms: from when an operation was due until its end was seen: p50, p90, p95, p99, max.
        queue_ms: from its sending until a worker began it.
        service_ms: what it took in the worker.
        throughput_per_s: completed within the window, a second.
        success: the share of the offered operations that completed.
        utilisation: the share of the workers' time that they were at an operation.
        backlog_mean: operations that were due and had not ended, on average over windows of 100 ms.
        backlog_max: the most of them.
        worker_cpu: processors that all workers together used, on average.
        lab_cpu: processors that the pool's own process and the generator in it used.
        host_cpu: the share of all processors of the machine that was used, by whomever.
        worker_pss_mb: the most memory that all workers used together, each shared page divided by its users.
        worker_uss_mb: the most that was theirs alone.
        lab_pss_mb: the most memory that the pool's own process used, poolproof's client in it included.
        files: the most descriptors that all workers had open together.
        threads: the most threads that they had.
        waits_per_s: how often a second all workers and the lab waited for something (voluntary context switches).
        preemptions_per_s: how often they had to make room for others.
        available_mb: the least memory that the machine had left.
    """

    response_ms: Times
    queue_ms: Times
    service_ms: Times
    throughput_per_s: float | None
    success: float | None
    utilisation: float | None
    backlog_mean: float | None
    backlog_max: int | None
    worker_cpu: float | None
    lab_cpu: float | None
    host_cpu: float | None
    worker_pss_mb: float | None
    worker_uss_mb: float | None
    lab_pss_mb: float | None
    files: int | None
    threads: int | None
    waits_per_s: float | None
    preemptions_per_s: float | None
    available_mb: float | None
    unknown: dict[str, str]


def collect_performance_metrics(run: Run) -> PerformanceMetrics:
    """Everything that a run's record tells of its performance, from the pool, its workers and the host."""
    history, load = run.history, run.load
    course = series(history)
    seconds = measured_s(history)
    inside = course.begin_s < seconds
    busy_s = _busy_s(run, seconds)
    workers = [row for row in history.usages if row.role == "worker"]
    labs = [row for row in history.usages if row.role == "lab"]
    unknown: dict[str, str] = {}
    if history.plan.layer == 1:
        unknown["processes"] = "layer 1 simulates no process: what they use is not told"
    elif not workers:
        unknown["processes"] = (
            "the workers are threads of the pool's own process"
            if history.claims.in_process
            else f"no worker was seen during the load: it lasted {seconds:g} s, and usage is sampled every "
            f"{history.plan.usage_s:g} s"
        )
    if not load.offered:
        unknown["load"] = "no operation was offered"
    return PerformanceMetrics(
        response_ms=load.response_ms,
        queue_ms=load.queue_ms,
        service_ms=load.service_ms,
        throughput_per_s=load.throughput,
        success=load.completed / load.offered if load.offered else None,
        utilisation=round(busy_s / (history.plan.workers * seconds), 4) if seconds else None,
        backlog_mean=round(float(course.backlog[inside].mean()), 2) if inside.any() else None,
        backlog_max=int(course.backlog[inside].max()) if inside.any() else None,
        worker_cpu=_rate(workers, lambda row: row.cpu_s),
        lab_cpu=_rate(labs, lambda row: row.cpu_s),
        host_cpu=_host_cpu(history.hosts),
        worker_pss_mb=_peak(workers, lambda row: row.pss_bytes / 1e6),
        worker_uss_mb=_peak(workers, lambda row: row.uss_bytes / 1e6),
        lab_pss_mb=_peak(labs, lambda row: row.pss_bytes / 1e6),
        files=_whole(_peak(workers, lambda row: row.files)),
        threads=_whole(_peak(workers, lambda row: row.threads)),
        waits_per_s=_rate([*workers, *labs], lambda row: row.waits),
        preemptions_per_s=_rate([*workers, *labs], lambda row: row.preemptions),
        available_mb=round(min(row.available_bytes for row in history.hosts) / 1e6, 1) if history.hosts else None,
        unknown=unknown,
    )


def _busy_s(run: Run, seconds: float) -> float:
    """How long workers were at operations within the measured window, all together, seconds."""
    history = run.history
    begin, end = history.origin, history.origin + round(seconds * 1e9)
    executions = history.executions
    over = np.where(executions.ended > 0, executions.ended, end)
    inside = np.minimum(over, end) - np.maximum(executions.started, begin)
    return float(np.maximum(inside, 0).sum()) / 1e9


def _rate(rows: Iterable[Usage], count: Callable[[Usage], float]) -> float | None:
    """How much a second a counter went up: of each process from when it was first seen to the last time, all added."""
    total, earliest, latest = 0.0, 0, 0
    in_order = sorted(rows, key=lambda row: (row.pid, row.start_time, row.at))
    for _, lifetime in groupby(in_order, key=lambda row: (row.pid, row.start_time)):
        life = list(lifetime)
        total += count(life[-1]) - count(life[0])
        earliest = min(earliest or life[0].at, life[0].at)
        latest = max(latest, life[-1].at)
    return round(total / ((latest - earliest) / 1e9), 4) if latest > earliest else None


def _peak(rows: Iterable[Usage], value: Callable[[Usage], float]) -> float | None:
    """The most that all processes came to that were looked at together: those looks lie close to each other."""
    peaks: list[float] = []
    last: dict[tuple[int, int], float] = {}
    before = 0
    for row in sorted(rows, key=lambda row: row.at):
        if row.at - before > _ONE_LOOK_NS:
            peaks.append(sum(last.values()))
            last = {}
        before = row.at
        last[row.pid, row.start_time] = value(row)
    peaks.append(sum(last.values()))
    return round(max(peaks), 3) if last else None


_ONE_LOOK_NS = 50_000_000
"""What is looked at within this time of each other is one look at all: the next comes a tenth of a second later."""


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _host_cpu(rows: tuple[Host, ...]) -> float | None:
    if len(rows) < 2:
        return None
    busy = rows[-1].busy_s - rows[0].busy_s
    whole = busy + rows[-1].idle_s - rows[0].idle_s
    return round(busy / whole, 4) if whole > 0 else None
