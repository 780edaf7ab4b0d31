"""What a pool does over time: samples at an interval, of what the kit sees and of what its workers use."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from poolproof.errors import EvidenceError, UsageError
from poolproof.rig.rig import Rig
from poolproof.rig.values import Incarnation, Usage

_LEAST_S: Final = 0.001
_NEVER_S: Final = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A pool at one moment.

    Attributes:
        at_ns: on the rig's clock.
        utilisation: the share of its living workers that are at an operation.
        usage: what each living worker uses; nothing on layer 1.
        cpu: the share of one processor that each worker used since the sample before.
    """

    at_ns: int
    running: int
    queued: int
    sessions: int
    completed: int
    failed: int
    workers: int
    utilisation: float
    usage: dict[Incarnation, Usage] = field(default_factory=dict)
    cpu: dict[Incarnation, float] = field(default_factory=dict)


class Monitor:
    """The samples so far. One thread takes them; the list only grows, so whoever reads needs no lock."""

    def __init__(self, pool: Rig) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        self._samples: list[Sample] = []
        self.failures: list[str] = []
        """What samples could not be taken for: too little evidence is told, and not passed over."""

    @property
    def samples(self) -> tuple[Sample, ...]:
        """What was sampled, in order."""
        return tuple(self._samples)

    def take(self) -> None:
        """Take a sample now."""
        with self._lock:  # the one at the end, and the last of the interval's, would share what came before
            try:
                self._samples.append(self._sample())
            except Exception as error:  # the sampler's own thread must not end in silence
                self.failures.append(f"{type(error).__name__}: {error}")

    def _sample(self) -> Sample:
        pool, last = self._pool, self._samples[-1] if self._samples else None
        state = pool.state()
        usage = {worker: used for worker in state.workers if (used := pool.usage(worker)) is not None}
        cpu = {}
        if last is not None and state.at_ns > last.at_ns:
            passed_s = (state.at_ns - last.at_ns) / 1e9
            cpu = {
                worker: (used.cpu_s - last.usage[worker].cpu_s) / passed_s
                for worker, used in usage.items()
                if worker in last.usage
            }
        return Sample(
            at_ns=state.at_ns,
            running=state.running,
            queued=state.queued,
            sessions=state.sessions,
            completed=state.completed,
            failed=state.failed,
            workers=len(state.workers),
            utilisation=min(1.0, state.running / len(state.workers)) if state.workers else 0.0,
            usage=usage,
            cpu=cpu,
        )

    @property
    def throughput(self) -> float:
        """Operations a second that ended right, from the first sample to the last.

        Raises:
            EvidenceError: there are fewer than two samples.
        """
        first, last = self._ends()
        return (last.completed - first.completed) / ((last.at_ns - first.at_ns) / 1e9)

    @property
    def utilisation(self) -> float:
        """The share of the living workers at an operation, on average over the samples."""
        self._ends()
        return sum(it.utilisation for it in self._samples) / len(self._samples)

    @property
    def peak_pss_bytes(self) -> int | None:
        """The most that the workers' memory came to at one moment, each shared page counted once; None on layer 1."""
        sums = [sum(used.pss_bytes for used in it.usage.values()) for it in self._samples if it.usage]
        return max(sums) if sums else None

    def _ends(self) -> tuple[Sample, Sample]:
        if len(self._samples) < 2:
            raise EvidenceError(
                f"{len(self._samples)} samples of {self._pool.name} were taken, two are the least: sample more often, "
                f"or for longer{'; ' + self.failures[0] if self.failures else ''}"
            )
        return self._samples[0], self._samples[-1]


@contextmanager
def monitor_pool_performance(pool: Rig, interval: float | None = 0.1) -> Iterator[Monitor]:
    """Sample a pool while the block runs: at its begin, at an interval, and at its end.

    Nothing is asked of the pool but its `repr`: records, `/proc` and the rig's own counts tell the rest.

    Args:
        pool: the rig.
        interval: seconds between samples, on its clock; None for none between begin and end.

    Raises:
        UsageError: the interval is too short to mean anything.
    """
    if interval is not None and interval < _LEAST_S:
        raise UsageError(f"interval = {interval!r}: expected seconds, {_LEAST_S:g} or more")
    monitor = Monitor(pool)
    monitor.take()
    stop = pool.every(_NEVER_S if interval is None else interval, monitor.take)
    try:
        yield monitor
    finally:
        stop()
        monitor.take()
