"""What measures one pool once, in a fresh process: `python contestant.py ORDERS`, and a line of JSON for each stage.

It is the running kit's file, started by its path with the interpreter of the side that is measured: both sides are
measured by the same code, and only the pool is theirs. So it is standard library only, and knows no other room.

Orders are one JSON object: `target` (module:factory of a `concurrent.futures.Executor`), `workers`, `metrics` (those
that are still wanted; none: it is only looked whether all works) and `path` (a folder to look for the target in, after
all that is installed; or null). Lines go to what standard output was; what the target prints goes to standard error:

    {"stage": …}                                       it begins with this
    {"found": file of the target, "packages": {…}}     after the import
    {"figures": {metric: number}, "absent": {metric: why}}   at the end
    {"failed": text}                                   in place of that, where the stage begun last was not possible
"""

import contextlib
import importlib
import inspect
import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Any, Final

WARM_UP_CALLS: Final = 300
BATCHES: Final = 3
ROUND_TRIPS: Final = 800
"""Of each batch: eight of them are beyond its p99."""
FEWEST: Final = 200
BATCH_S: Final = 0.08
"""After which a batch of a slow pool is over, once it has so few."""
BURST: Final = 1_000
BURSTS: Final = 8
BURSTS_S: Final = 0.15
"""After which a slow pool gets no further one."""
KILLS: Final = 3

_PATIENCE_S: Final = 5.0
"""Within which a killed worker is to be replaced: who takes longer is said not to have come back."""
_LOOK_S: Final = 0.02
"""How soon an operation is submitted again that failed with the worker that was killed under it."""
_FAILURES: Final = 8
_LAST_WORDS: Final = 1_000


def same(value: Any) -> Any:
    """Give back what came: what a worker is given to do."""
    return value


def meet(address: bytes) -> int:
    """Come to the meeting at this socket, tell one's pid, and stay until everyone is let go."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(address)
        line.sendall(os.getpid().to_bytes(8, "big"))
        line.recv(1)
    return os.getpid()


class _Absent(Exception):  # noqa: N818 - it says what the metric is
    """This pool has no such figure; the text says why."""


def measure_round_trips(pool: Executor) -> dict[str, float]:
    """The p50 and p99 of calls there and back, one at a time and all on one processor, in us; of batches the median.

    Where the kernel may choose, a round's p50 depends mostly on which processors it chose: of two rounds of the same
    code one is often half as slow again, five times the spread that is left on one.
    """
    halves, tails = [], []
    with _on_one_processor():
        for batch in range(1 + BATCHES):
            times: list[int] = []
            until = time.perf_counter_ns() + int(BATCH_S * 1e9)
            for number in range(ROUND_TRIPS if batch else WARM_UP_CALLS):
                began = time.perf_counter_ns()
                if began > until and number >= FEWEST:
                    break
                answer = pool.submit(same, number).result()
                times.append(time.perf_counter_ns() - began)
                if answer != number:
                    raise RuntimeError(f"an operation answered {answer!r} instead of {number}")
            if batch:
                times.sort()
                halves.append(times[len(times) // 2])
                tails.append(times[len(times) * 99 // 100])
    return {"p50": sorted(halves)[BATCHES // 2] / 1e3, "p99": sorted(tails)[BATCHES // 2] / 1e3}


def measure_throughput(pool: Executor) -> dict[str, float]:
    """Operations a second where many are handed over at once, the best of a few bursts."""
    best = 0.0
    until = time.perf_counter_ns() + int(BURSTS_S * 1e9)
    for _ in range(BURSTS):
        began = time.perf_counter_ns()
        if best and began > until:
            break
        futures = [pool.submit(same, number) for number in range(BURST)]
        answers = [future.result() for future in futures]
        best = max(best, BURST / (time.perf_counter_ns() - began) * 1e9)
        if answers != list(range(BURST)):
            raise RuntimeError("the answers of a burst are mixed up")
    return {"throughput": best}


def measure_memory(workers: set[int]) -> dict[str, float]:
    """The proportional set size of this process, all that it has started, and the workers, in MiB."""
    pids = {os.getpid(), *workers, *_descendants(os.getpid())}
    total_kib = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
                total_kib += next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended between the two looks
        except (OSError, StopIteration) as error:
            raise _Absent(f"the memory of process {pid} can't be read: {error}") from error
    return {"memory": total_kib / 1024}


def measure_recovery(pool: Executor, size: int, workers: set[int]) -> dict[str, float]:
    """How long after SIGKILL of an idle worker as many as before run at once, the median of a few, in ms."""
    if os.getpid() in workers:
        raise _Absent("its operations run in the caller's process, where none can be killed")
    times = []
    for _ in range(KILLS):
        victim = min(workers)
        began = time.perf_counter_ns()
        os.kill(victim, signal.SIGKILL)
        workers = _come_together(pool, size, without=victim)
        times.append(time.perf_counter_ns() - began)
    return {"recovery": sorted(times)[KILLS // 2] / 1e6}


def _come_together(pool: Executor, size: int, without: int | None = None) -> set[int]:
    """Have so many operations run at the same time; the pids of the workers. What fails is submitted once more."""
    deadline = time.monotonic() + _PATIENCE_S
    failed = 0
    with contextlib.ExitStack() as guests, socket.socket(socket.AF_UNIX) as door:
        door.bind("")  # to an abstract name that the kernel finds: unique, and gone with the socket
        door.listen(64)
        pids: list[int] = []  # by meeting and not by process: a pool of threads has but one
        futures: list[Future[int]] = []
        while len(pids) < size:
            over = [future for future in futures if future.done()]
            failed += len(over)
            futures = [future for future in futures if future not in over]
            try:
                if failed > _FAILURES * size:
                    raise over[-1].exception() or RuntimeError("operations come back that had nobody to meet")
                futures += [pool.submit(meet, door.getsockname()) for _ in range(size - len(futures))]
            except Exception as error:
                raise _Absent(f"it completes no operations: {_in_short(error)}") from error
            if time.monotonic() > deadline:
                raise _Absent(f"only {len(pids)} of {size} operations ran at once within {_PATIENCE_S:g} s")
            door.settimeout(_LOOK_S)
            with contextlib.suppress(TimeoutError):
                line = guests.enter_context(door.accept()[0])
                line.settimeout(_PATIENCE_S)
                pid = int.from_bytes(line.recv(8), "big")
                if pid not in (0, without):
                    pids.append(pid)
    for future in futures:
        with contextlib.suppress(Exception):  # what died with the worker that was killed
            future.result(_PATIENCE_S)
    return set(pids)


@contextlib.contextmanager
def _on_one_processor() -> Iterator[None]:
    """Keep all threads of this process and of those that it has started on one processor meanwhile."""
    everywhere = os.sched_getaffinity(0)
    before: dict[int, set[int]] = {}
    for task in _tasks():
        with contextlib.suppress(ProcessLookupError):
            before[task] = os.sched_getaffinity(task)
    for task in before:
        _place(task, {max(everywhere)})
    try:
        yield
    finally:
        for task in _tasks():
            _place(task, before.get(task, everywhere))


def _tasks() -> set[int]:
    found: set[int] = set()
    for pid in {os.getpid(), *_descendants(os.getpid())}:
        with contextlib.suppress(OSError):  # it has ended
            found |= set(map(int, os.listdir(f"/proc/{pid}/task")))
    return found


def _place(task: int, processors: set[int]) -> None:
    with contextlib.suppress(OSError):  # it has ended, or is not ours to place
        os.sched_setaffinity(task, processors)


def _descendants(root: int) -> set[int]:
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat", "rb") as stat:
                parents[int(entry)] = int(stat.read().rpartition(b")")[2].split()[1])
    found: set[int] = set()
    pending = [root]
    while pending:
        parent = pending.pop()
        fresh = {pid for pid, of in parents.items() if of == parent} - found
        found |= fresh
        pending += fresh
    return found


def load(target: str) -> Callable[..., Any]:
    """Import what `module:factory` names."""
    module, _, name = target.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    if not callable(found):
        raise TypeError(f"{target} is of type {type(found).__name__} and can't be called")
    made: Callable[..., Any] = found
    return made


def build(factory: Callable[..., Any], workers: int) -> Executor:
    """A pool of so many workers, where the factory lets itself be told how many."""
    try:
        names = set(inspect.signature(factory).parameters)
    except (TypeError, ValueError):  # some that are written in C have none
        names = set()
    size = next(({name: workers} for name in ("workers", "max_workers") if name in names), {})
    pool = factory(**size)
    if not isinstance(pool, Executor):
        raise TypeError(f"it made a {type(pool).__name__}, which is no concurrent.futures.Executor")
    return pool


def packages() -> dict[str, str]:
    """The distributions that are installed where this runs, and their versions."""
    from importlib.metadata import distributions

    return {found.name.lower(): found.version for found in distributions() if found.name}


def measure(orders: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Carry out the orders; what is to be told, as it comes."""
    wanted: list[str] = orders["metrics"]
    size: int = orders["workers"]
    figures: dict[str, float] = {}
    absent: dict[str, str] = {}
    yield {"stage": "importing the target"}
    factory = load(orders["target"])
    if not wanted:
        yield {"found": inspect.getsourcefile(sys.modules[orders["target"].partition(":")[0]]), "packages": packages()}
    yield {"stage": "opening the pool"}
    with build(factory, size) as pool:
        yield {"stage": "having all workers run at once"}
        workers = _come_together(pool, size if wanted else 1)
        for number in range(WARM_UP_CALLS if wanted else 1):
            pool.submit(same, number).result()
        stages: list[tuple[set[str], str, Callable[[], dict[str, float]]]] = [
            ({"p50", "p99"}, "measuring round trips", lambda: measure_round_trips(pool)),
            ({"throughput"}, "measuring the throughput", lambda: measure_throughput(pool)),
            ({"memory"}, "measuring the memory", lambda: measure_memory(workers)),
            # Last, since it may be the end of the pool.
            ({"recovery"}, "measuring the recovery", lambda: measure_recovery(pool, size, workers)),
        ]
        for metrics, words, take in stages:
            if metrics & set(wanted):
                yield {"stage": words}
                try:
                    figures |= take()
                except _Absent as why:
                    absent |= {metric: str(why) for metric in metrics}
        yield {"stage": "closing the pool"}
    yield {"figures": {name: figure for name, figure in figures.items() if name in wanted}, "absent": absent}


def _in_short(error: BaseException) -> str:
    text = str(error) if isinstance(error, _Absent) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:_LAST_WORDS]


def main(orders: dict[str, Any]) -> None:
    """Carry out the orders and tell of it; an error is told and ends it with status 1."""
    told = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.set_inheritable(told.fileno(), False)
    os.dup2(2, 1)
    if orders["path"] is not None:
        sys.path.append(orders["path"])

    def tell(what: dict[str, Any]) -> None:
        told.write(json.dumps(what) + "\n")
        told.flush()

    try:
        for line in measure(orders):
            tell(line)
    except Exception as error:
        traceback.print_exc()
        tell({"failed": _in_short(error)})
        sys.exit(1)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
