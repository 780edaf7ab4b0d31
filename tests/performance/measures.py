"""Measures one pool in a process of its own: `python -m tests.performance.measures MEASURE [ARGUMENT …]`.

It gets everything ready and says so; from then on it measures one round for each line that it reads, and answers with
a line of JSON. Meanwhile it waits on that read, and so do its workers on theirs: others are measured undisturbed.
"""

import contextlib
import json
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from statistics import median
from typing import Any, Final, Self

from tests.performance import chores
from tests.performance.entrants import ENTRANTS, Begin

READY: Final = "ready"
ANY: Final = "any"
"""In place of a processor's number: all that the process has."""

WARM_UP_CALLS: Final = 300
ROUND_TRIPS: Final = 1_000
BURST: Final = 20_000
BULK: Final = bytes(range(256)) * (16_000_000 // 256)
BULK_CALLS: Final = 3
PREDICTIONS: Final = 200
SESSION_CALLS: Final = 1_000
STRIDE: Final = 7_919
"""A prime: steps of it come to every session in an order that no cache expects."""
_BATCH: Final = 1_000
_PATIENCE_S: Final = 20.0

Round = Callable[[], Any]
Measure = Callable[..., AbstractContextManager[Round]]


class Meeting:
    """Where operations come together: that so many are here at once proves so many workers."""

    def __init__(self) -> None:
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind("")  # to an abstract name that the kernel finds: unique, and gone with the socket
        self.address: bytes = self._door.getsockname()
        self._door.listen(64)
        self._door.settimeout(_PATIENCE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._door.close()

    @contextmanager
    def guests(self, count: int) -> Iterator[set[int]]:
        """Wait until so many have come; their pids, and they stay until the block ends."""
        with contextlib.ExitStack() as lines:
            pids = set()
            for _ in range(count):
                line = lines.enter_context(self._door.accept()[0])
                line.settimeout(_PATIENCE_S)
                pids.add(int.from_bytes(line.recv(8)))
            yield pids


def meet_all(meeting: Meeting, begin: Begin, workers: int) -> set[int]:
    """Have all workers run one operation at the same time; their pids."""
    waits = [begin(chores.meet, meeting.address) for _ in range(workers)]
    with meeting.guests(workers) as pids:
        pass
    answered = {wait() for wait in waits}
    if not len(pids) == len(answered | pids) == workers:
        raise RuntimeError(f"{workers} operations came together in {sorted(pids)} and answered from {sorted(answered)}")
    return pids


def warm_up(begin: Begin) -> None:
    """Call often enough that nothing is done for the first time any more."""
    for number in range(WARM_UP_CALLS):
        begin(chores.same, number)()


# --- beside the peers -------------------------------------------------------------------------------------------


@contextmanager
def round_trip(entrant: str, workers: str, processor: str) -> Iterator[Round]:
    """The p50 of one call there and back, in us; on one processor where its number is given."""
    if processor != ANY:
        os.sched_setaffinity(0, {int(processor)})  # before there is a pool: all that it starts inherit it
    with ENTRANTS[entrant](int(workers)) as begin:
        warm_up(begin)

        def take() -> float:
            times = []
            for number in range(ROUND_TRIPS):
                began = time.perf_counter_ns()
                answer = begin(chores.same, number)()
                times.append(time.perf_counter_ns() - began)
                if answer != number:
                    raise RuntimeError(f"{entrant} answered {answer!r} instead of {number}")
            return median(times) / 1e3

        yield take


@contextmanager
def burst(entrant: str, workers: str) -> Iterator[Round]:
    """How long it takes to hand over many operations at once and await them all, in ms."""
    with ENTRANTS[entrant](int(workers)) as begin:
        warm_up(begin)

        def take() -> float:
            began = time.perf_counter_ns()
            waits = [begin(chores.same, number) for number in range(BURST)]
            answers = [wait() for wait in waits]
            taken_ns = time.perf_counter_ns() - began
            if answers != list(range(BURST)):
                raise RuntimeError(f"{entrant} mixed up the answers")
            return taken_ns / 1e6

        yield take


@contextmanager
def bulk(entrant: str, workers: str) -> Iterator[Round]:
    """The median of a few calls with 16 MB there and the same back, in ms."""
    with ENTRANTS[entrant](int(workers)) as begin:
        warm_up(begin)
        begin(chores.same, BULK)()

        def take() -> float:
            times = []
            for _ in range(BULK_CALLS):
                began = time.perf_counter_ns()
                answer = begin(chores.same, BULK)()
                times.append(time.perf_counter_ns() - began)
                if answer != BULK:
                    raise RuntimeError(f"{entrant} answered something else than was sent")
                del answer  # or the memory of two of them would be measured
            return median(times) / 1e6

        yield take


@contextmanager
def predictions(entrant: str, workers: str) -> Iterator[Round]:
    """How long a pool takes for many digits, each a few milliseconds of real work, handed over at once; in ms."""
    from poolproof.workloads import digits

    kind = digits.workload().kinds["predict"]
    draw = random.Random(0)
    payloads = [kind.payload(draw) for _ in range(PREDICTIONS)]
    with ENTRANTS[entrant](int(workers)) as begin:

        def take() -> float:
            began = time.perf_counter_ns()
            waits = [begin(chores.classify, payload) for payload in payloads]
            answers = [wait() for wait in waits]
            taken_ns = time.perf_counter_ns() - began
            if not all(map(digits.verify, payloads, answers)):
                raise RuntimeError(f"{entrant} mixed up the digits")
            return taken_ns / 1e6

        take()  # by whose end all workers have their classifier
        yield take


@contextmanager
def idle(entrant: str, workers: str) -> Iterator[Round]:
    """All workers have worked and have nothing to do; what that costs is seen from outside. A round is a sign of life.

    The sign is the number of workers that run at once.
    """
    with ENTRANTS[entrant](int(workers)) as begin, Meeting() as meeting:
        meet_all(meeting, begin, int(workers))
        yield lambda: len(meet_all(meeting, begin, int(workers)))


# --- what only we have ------------------------------------------------------------------------------------------


@contextmanager
def sessions(count: str, processor: str) -> Iterator[Round]:
    """The p50 of one call in a session among so many that live, in us; each in another one, all on one processor."""
    from sessionpool import SessionPool

    os.sched_setaffinity(0, {int(processor)})
    number_of = int(count)
    with SessionPool(2, preload=()) as pool:
        for first in range(0, number_of, _BATCH):
            batch = range(first, min(first + _BATCH, number_of))
            for opened in [pool.session(key).submit(chores.settle, key) for key in batch]:
                opened.result()
        live = pool.snapshot().sessions
        if live != number_of:
            raise RuntimeError(f"{live} sessions live instead of {number_of}")
        at = 0

        def take() -> float:
            nonlocal at
            times = []
            for _ in range(SESSION_CALLS):
                at = (at + STRIDE) % number_of
                began = time.perf_counter_ns()
                answer = pool.session(at).submit(chores.recall).result()
                times.append(time.perf_counter_ns() - began)
                if answer != at:
                    raise RuntimeError(f"session {at} answered with the state of {answer!r}")
            return median(times) / 1e3

        take()
        yield take


@contextmanager
def kills(workers: str) -> Iterator[Round]:
    """How long after the kill of a worker as many as before run at once, in ms; by turns of an idle and a busy one.

    The clock runs from just before the kill until the pool says that all are ready *and* as many operations as there
    are workers have come together; then it is seen that the dead one was not among them.
    """
    from sessionpool import SessionPool

    size = int(workers)
    with SessionPool(size, preload=()) as pool, Meeting() as meeting:

        def begin(fn: Callable[[Any], Any], value: Any) -> Callable[[], Any]:
            return pool.submit(fn, value).result

        pool.wait_for(lambda snapshot: snapshot.ready == size, timeout=_PATIENCE_S)
        alive = meet_all(meeting, begin, size)
        number = 0

        def take() -> float:
            nonlocal alive, number
            number += 1
            before = pool.wait_for(lambda snapshot: snapshot.ready == size, timeout=_PATIENCE_S).restarts
            with contextlib.ExitStack() as held:
                lost: Future[int] | None = None
                victim = sorted(alive)[number // 2 % size]
                if number % 2:
                    lost = pool.submit(chores.meet, meeting.address)
                    (victim,) = held.enter_context(meeting.guests(1))
                began = time.perf_counter_ns()
                os.kill(victim, signal.SIGKILL)
                pool.wait_for(
                    lambda snapshot: snapshot.restarts > before and snapshot.ready == size, timeout=_PATIENCE_S
                )
                alive = meet_all(meeting, begin, size)
                taken_ns = time.perf_counter_ns() - began
            if victim in alive:
                raise RuntimeError(f"worker {victim} was to be dead and still answers")
            if lost is not None and lost.exception(_PATIENCE_S) is None:
                raise RuntimeError(f"worker {victim} was to die of its kill and answered first")
            return taken_ns / 1e6

        yield take


@contextmanager
def prepared(workers: str, module: str) -> Iterator[Round]:
    """Seconds from the constructor's return, by when the forkserver has imported a module, until all workers are ready.

    A round makes a pool of its own: [how long the constructor took, until all were ready, until all ran at once].
    """
    from sessionpool import SessionPool

    size = int(workers)

    def take() -> tuple[float, float, float]:
        with Meeting() as meeting:
            began = time.perf_counter()
            with SessionPool(size, preload=(module,)) as pool:
                made = time.perf_counter()
                pool.wait_for(lambda snapshot: snapshot.ready == size, timeout=_PATIENCE_S)
                ready = time.perf_counter()
                asked = [pool.submit(chores.meet_prepared, meeting.address, module) for _ in range(size)]
                with meeting.guests(size) as pids:
                    together = time.perf_counter()
                answers = [future.result() for future in asked]
        if len(pids) != size or {pid for pid, _ in answers} != pids:
            raise RuntimeError(f"{len(pids)} workers came together instead of {size}")
        if not all(found for _, found in answers):
            raise RuntimeError(f"{[found for _, found in answers].count(False)} of {size} workers are without {module}")
        return made - began, ready - made, together - made

    yield take


MEASURES: Final[Mapping[str, Measure]] = {
    measure.__name__: measure for measure in (round_trip, burst, bulk, predictions, idle, sessions, kills, prepared)
}


def main(measure: str, *arguments: str) -> None:
    """Get ready, then measure once for each line."""

    def tell(what: Any) -> None:
        sys.stdout.write(json.dumps(what) + "\n")
        sys.stdout.flush()

    with MEASURES[measure](*arguments) as take:
        tell(READY)
        for _ in sys.stdin:
            tell(take())


if __name__ == "__main__":
    main(*sys.argv[1:])
