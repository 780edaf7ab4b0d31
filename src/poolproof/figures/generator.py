"""Whether the load generator itself was the bottleneck, so that times say nothing of the pool."""

from typing import Final

import msgspec
import numpy as np

from poolproof.history import History, Outcome, Phase
from poolproof.statistics import percentile

LAG_FLOOR_NS: Final = 1e6
LAG_SHARE: Final = 0.10
CPU_CEILING: Final = 0.80
OWN_COST_NS: Final = 50_000
"""What the generator may take for an operation: half of what there is time for at the most that it promises."""

TICKS_A_SECOND: Final = 100
"""USER_HZ of Linux, in which every kernel reports CPU time to programs."""


class Generator(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the load generator itself was the bottleneck, so that times say nothing of the pool.

    Attributes:
        lag_p99_ms: its own lag outside fault windows.
        cpu_share: the share of a core that its thread used during the load.
        bottleneck: why times can't be judged; empty where they can.
    """

    lag_p99_ms: float | None
    cpu_share: float | None
    bottleneck: str


def generator(history: History) -> Generator:
    """Judge the generator: own lag p99 over max(1 ms, 10 % of the response p50), or over 80 % of a core."""
    operations = history.operations
    quiet = np.ones(len(operations), dtype=bool)
    for fault in history.faults:
        after = fault.end + round(history.claims.detection_s * 1e9)
        quiet &= (operations.due < fault.begin) | (operations.due > after)
    lag = percentile(own_lag_ns(history, quiet), 0.99)
    measured = history.in_phase(Phase.MEASURED) & history.ended(Outcome.OK, Outcome.USER_ERROR) & quiet
    response = percentile((operations.done - operations.due)[measured & (operations.due > 0)], 0.50)
    cpu = _generator_cpu(history)
    reasons = []
    if lag is not None and lag > max(LAG_FLOOR_NS, LAG_SHARE * (response or 0)):
        reasons.append(f"own lag p99 was {lag / 1e6:.2f} ms")
    if cpu is not None and cpu > CPU_CEILING:
        reasons.append(f"its thread used {cpu:.0%} of a core")
    if history.claims.in_process:
        reasons = []  # the pool works on the generator's own interpreter: shown, not judged
    return Generator(
        lag_p99_ms=None if lag is None else round(lag / 1e6, 4),
        cpu_share=None if cpu is None else round(cpu, 3),
        bottleneck=" and ".join(reasons),
    )


def _generator_cpu(history: History) -> float | None:
    began, ended = history.first("measured"), history.first("stage-ended", "load")
    if began is None or ended is None:
        return None
    during = [sample for sample in history.samples if began.at <= sample.at <= ended.at]
    if len(during) < 2 or during[-1].at == during[0].at:
        return None
    ticks = during[-1].generator_ticks - during[0].generator_ticks
    return ticks / TICKS_A_SECOND / ((during[-1].at - during[0].at) / 1e9)


def own_lag_ns(history: History, among: np.ndarray | None = None) -> np.ndarray:
    """How late the generator itself was, ns, shape (operations sent,).

    Each operation is compared with when a generator would have sent it that takes `OWN_COST_NS` an operation and is
    never held up: expected = max(due, expected of the one before + what the pool's submit took of it + that cost). So a
    submit that takes its time is the pool's doing and not counted, while a generator that was stopped for a while is
    late with every operation that became due meanwhile, and not with the first of them alone. (It is the recursion of a
    queue with one server; D. V. Lindley, The theory of queues with a single server, 1952.)
    """
    operations = history.operations
    wanted = history.in_phase(Phase.MEASURED) & (operations.due > 0) & (operations.sent > 0)
    rows = np.flatnonzero(wanted)
    if not len(rows):
        return np.zeros(0, dtype=np.int64)
    due, sent, accepted = operations.due[rows], operations.sent[rows], operations.accepted[rows]
    before = np.cumsum(np.maximum(accepted - sent, 0) + OWN_COST_NS)
    before = np.concatenate([[0], before[:-1]])
    expected = before + np.maximum.accumulate(due - before)
    lag = np.maximum(sent - expected, 0)
    return np.asarray(lag if among is None else lag[among[rows]])
