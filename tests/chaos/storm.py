"""A storm of crashes over a pool: operations, a load that keeps account of each, and a hunter of workers.

`python -m tests.chaos.storm` is the program whose own death is looked at: a pool at work, sessions and new workers
included, until it is killed.
"""

import contextlib
import itertools
import os
import random
import select
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL
from typing import Any, Final, Literal

from poolproof import processes
from sessionpool import Recycling, SessionLost, SessionPool, Sessions, WorkerDied

Kind = Literal["idempotent", "once", "session"]

KINDS: Final[tuple[Kind, ...]] = ("idempotent", "once", "session")
CLIENTS: Final = 4
IN_FLIGHT: Final = 8
"""How many operations each client has under way: four times as many as workers in all, so that most of them wait."""
SESSIONS: Final = 3
"""How many sessions each client owns; nobody else uses them, so the order of their operations is known."""
LONGEST_MS: Final = 20.0
RESOLVED_S: Final = 30.0
CANDIDATES_S: Final = 10.0
_WIDTH: Final = 9


# --- what the workers run -----------------------------------------------------------------------------------------


def pause(milliseconds: float) -> None:
    select.select([], [], [], milliseconds / 1000)


def record(number: int, ledger: str) -> None:
    """Tell that an operation is executed: one line, written at once, so that lines of others never tear it."""
    fd = os.open(ledger, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(fd, b"%*d\n" % (_WIDTH - 1, number))
    finally:
        os.close(fd)


def idempotent(number: int, milliseconds: float) -> int:
    pause(milliseconds)
    return number * number


def once(number: int, milliseconds: float, ledger: str) -> int:
    pause(milliseconds / 2)
    record(number, ledger)
    pause(milliseconds / 2)
    return number * number


def in_session(state: dict[str, int], number: int, milliseconds: float, ledger: str) -> tuple[int, int, int]:
    """The square, how many operations this state has seen, and who keeps it."""
    record(number, ledger)
    state["seen"] = state.get("seen", 0) + 1
    pause(milliseconds)
    return number * number, state["seen"], os.getpid()


def meet(address: str) -> int:
    """Stay at a meeting until it is over: who is there at the same time is at work at the same time."""
    with socket.socket(socket.AF_UNIX) as joined:
        joined.connect(address)
        joined.recv(1)
    return os.getpid()


def hold(path: str) -> str:
    """Stay busy for as long as nobody writes into a pipe."""
    return Path(path).read_text()


def start_slowly(longest_ms: float) -> None:
    pause(random.uniform(0, longest_ms))


# --- the account --------------------------------------------------------------------------------------------------


class Account:
    """What became of each operation, one byte each: a long run must not grow by its own bookkeeping."""

    PENDING, RIGHT, LOST = range(3)

    def __init__(self, ledger: Path) -> None:
        ledger.touch()
        self.ledger = ledger
        self.offences: list[str] = []
        self._untold_exits = 0
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._outcome = bytearray()
        self._resolutions = bytearray()
        self._kinds = bytearray()

    def open(self, kind: Kind) -> int:
        with self._lock:
            self._outcome.append(self.PENDING)
            self._resolutions.append(0)
            self._kinds.append(KINDS.index(kind))
            return next(self._numbers)

    def resolved(self, number: int) -> None:
        with self._lock:
            self._resolutions[number] += 1

    def close(self, number: int, outcome: int) -> None:
        self._outcome[number] = outcome

    def object_to(self, offence: str) -> None:
        with self._lock:
            self.offences.append(offence)

    def untold_exit(self) -> None:
        """A worker's death was told, but not what of: whoever reaped it was late."""
        with self._lock:
            self._untold_exits += 1

    def balance(self) -> "Balance":
        """Compare what was told to the clients with what was executed."""
        executions = Counter(map(int, self.ledger.read_bytes().split()))
        numbers = range(len(self._outcome))
        recorded = [number for number in numbers if KINDS[self._kinds[number]] != "idempotent"]
        return Balance(
            operations=len(numbers),
            right=self._outcome.count(self.RIGHT),
            lost=self._outcome.count(self.LOST),
            lost_by_kind={
                kind: sum(
                    self._outcome[number] == self.LOST for number in numbers if KINDS[self._kinds[number]] == kind
                )
                for kind in KINDS
            },
            lost_though_executed=sum(
                self._outcome[number] == self.LOST and executions[number] > 0 for number in recorded
            ),
            untold_exits=self._untold_exits,
            unresolved=[number for number in numbers if self._resolutions[number] == 0],
            resolved_again=[number for number in numbers if self._resolutions[number] > 1],
            executed_again=[number for number, times in sorted(executions.items()) if times > 1],
            right_but_not_executed=[
                number for number in recorded if self._outcome[number] == self.RIGHT and not executions[number]
            ],
            offences=self.offences[:20],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """The account of a storm; every list of numbers names the operations of which something is wrong."""

    operations: int
    right: int
    lost: int
    lost_by_kind: dict[str, int]
    lost_though_executed: int
    untold_exits: int
    unresolved: list[int]
    resolved_again: list[int]
    executed_again: list[int]
    right_but_not_executed: list[int]
    offences: list[str]

    def wrong(self) -> dict[str, object]:
        """Whatever there should be none of."""
        found = {
            "unresolved": self.unresolved,
            "resolved again": self.resolved_again,
            "executed again": self.executed_again,
            "right but not executed": self.right_but_not_executed,
            "offences": self.offences,
            "neither right nor lost with evidence": self.operations - self.right - self.lost,
        }
        return {name: value for name, value in found.items() if value}


# --- the load -----------------------------------------------------------------------------------------------------


class Client(threading.Thread):
    """Keeps a few operations of all kinds under way until the storm is over, and judges each as it is resolved."""

    def __init__(
        self, pool: SessionPool, number: int, account: Account, hunter: "Hunter", over: threading.Event
    ) -> None:
        super().__init__(name=f"client-{number}")
        self._pool = pool
        self._account = account
        self._hunter = hunter
        self._over = over
        self._random = random.Random(f"client {number}")
        self._keys = [f"client {number} session {each}" for each in range(SESSIONS)]
        self._last: dict[str, tuple[int, int]] = {}
        self._pending: deque[tuple[int, Kind, str, Future[Any]]] = deque()

    def run(self) -> None:
        try:
            while not self._over.is_set():
                while len(self._pending) < IN_FLIGHT:
                    self._submit()
                self._settle()
            while self._pending:
                self._settle()
        except BaseException as error:
            self._account.object_to(f"{self.name} ended by {error!r}")
            raise

    def _submit(self) -> None:
        kind = self._random.choice(KINDS)
        key = self._random.choice(self._keys)
        number = self._account.open(kind)
        milliseconds = self._random.uniform(0, LONGEST_MS)
        ledger = str(self._account.ledger)
        future: Future[Any]
        if kind == "idempotent":
            future = self._pool.options(idempotent=True).submit(idempotent, number, milliseconds)
        elif kind == "once":
            future = self._pool.submit(once, number, milliseconds, ledger)
        else:
            future = self._pool.session(key).submit(in_session, number, milliseconds, ledger)
        future.add_done_callback(lambda _: self._account.resolved(number))
        self._pending.append((number, kind, key, future))

    def _settle(self) -> None:
        number, kind, key, future = self._pending.popleft()
        try:
            error = future.exception(RESOLVED_S)
        except TimeoutError:
            self._account.object_to(f"{kind} {number}: not resolved within {RESOLVED_S} s")
            return
        wrong = self._wrong_answer(number, kind, key, future) if error is None else self._wrong_error(error, kind, key)
        if wrong is not None:
            self._account.object_to(f"{kind} {number}: {wrong}")
            return
        self._account.close(number, Account.RIGHT if error is None else Account.LOST)

    def _wrong_answer(self, number: int, kind: Kind, key: str, future: Future[Any]) -> str | None:
        result = future.result()
        if kind != "session":
            return None if result == number * number else f"the result is {result!r}"
        square, seen, pid = result
        was_seen, was_pid = self._last.get(key, (0, 0))
        self._last[key] = (seen, pid)
        goes_on = pid == was_pid and seen == was_seen + 1
        begins = pid != was_pid and seen == 1
        if square != number * number or not (goes_on or begins):
            return f"{result!r} after ({was_seen}, {was_pid})"
        return None

    def _wrong_error(self, error: BaseException, kind: Kind, key: str) -> str | None:
        if isinstance(error, WorkerDied) and error.reason and error.attempts >= 1:
            if "SIGKILL" not in error.exit:
                if "not known" not in error.exit:
                    return f"it was not killed: {error}"
                self._account.untold_exit()
            if kind == "idempotent" and error.attempts != 3:  # the first, and max_retries=2
                return f"given up after {error.attempts} attempts: {error}"
            return None if self._hunter.killed(error.pid) else f"nobody killed that worker: {error}"
        if kind == "session" and isinstance(error, SessionLost) and error.reason and error.key == key:
            return None if self._hunter.killed(error.pid) else f"nobody killed that worker: {error}"
        return f"{type(error).__name__}: {error} {vars(error)}"


# --- the hunter ---------------------------------------------------------------------------------------------------


class Hunter:
    """Kills workers that are up, never the same one twice, and nobody who does not descend from this process."""

    def __init__(self, pool: SessionPool, seed: int) -> None:
        self._pool = pool
        self._random = random.Random(f"hunter {seed}")
        self._killed: dict[int, float] = {}
        self._lock = threading.Lock()
        self.kills = 0
        self.last_kill = 0.0

    def killed(self, pid: int | None) -> bool:
        with self._lock:
            return pid in self._killed

    def kill(self, count: int, spare: int = 0) -> None:
        """Kill so many workers, once there are as many that are up beside those to spare.

        Raises:
            TimeoutError: there were not that many for a long time.
        """
        deadline = time.monotonic() + CANDIDATES_S
        while count:
            self._pool.wait_for(lambda snapshot: snapshot.ready + snapshot.busy > spare, CANDIDATES_S)
            victims = self._candidates()
            self._random.shuffle(victims)
            for pid in victims[spare:][:count]:
                count -= self._kill(pid)
            if count:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{len(victims)} workers up for {CANDIDATES_S} s: {self._pool!r}")
                # What the pool says of the dead is a little old: nothing else would tell when it is no more.
                pause(1)

    def _candidates(self) -> list[int]:
        up = (worker.pid for worker in self._pool.workers() if worker.state in ("ready", "busy"))
        with self._lock:
            return [pid for pid in up if pid is not None and pid not in self._killed]

    def _kill(self, pid: int) -> bool:
        handle = processes.Handle.open(pid)
        if handle is None:
            return False
        try:
            if pid not in processes.descendants(os.getpid(), processes.everyone()):
                return False
            with self._lock:
                self._killed[pid] = self.last_kill = time.monotonic()
            self.kills += handle.send(SIGKILL)
        finally:
            handle.close()
        return True


# --- what is around -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a pool could leave in this process and beside it."""

    descendants: frozenset[tuple[int, int]]
    files: int
    threads: int
    shared: frozenset[str]

    @classmethod
    def now(cls) -> "Surroundings":
        family = processes.descendants(os.getpid(), processes.everyone()).values()
        return cls(
            descendants=frozenset(process.identity for process in family),
            files=len(os.listdir("/proc/self/fd")),
            threads=len(os.listdir("/proc/self/task")),
            shared=shared_memory(),
        )

    def left_since(self, before: "Surroundings") -> dict[str, object]:
        found: dict[str, object] = {
            "processes": [
                (pid, processes.command_line(pid) or "zombie")
                for pid, start_time in sorted(self.descendants - before.descendants)
            ],
            "files": max(0, self.files - before.files),
            "threads": max(0, self.threads - before.threads),
            "shared memory": sorted(name for name in self.shared - before.shared if not held_by_others(name)),
        }
        return {name: value for name, value in found.items() if value}


def shared_memory() -> frozenset[str]:
    return frozenset(os.listdir("/dev/shm"))


def held_by_others(name: str) -> bool:
    """Whether somebody who is no kin of ours has an entry of /dev/shm open or mapped: then it is theirs."""
    path = f"/dev/shm/{name}"
    kin = {os.getpid(), *processes.descendants(os.getpid(), processes.everyone())}
    for pid in processes.everyone().keys() - kin:
        if path in processes.open_files(pid).values():
            return True
        with contextlib.suppress(OSError):
            if path.encode() in Path(f"/proc/{pid}/maps").read_bytes():
                return True
    return False


@contextlib.contextmanager
def meeting(pool: SessionPool, size: int, timeout_s: float) -> Iterator[Callable[[], set[int]]]:
    """Invite so many operations to one place; what is yielded waits until all are there, and gives their workers."""
    with (
        tempfile.TemporaryDirectory(prefix="storm-") as folder,
        socket.socket(socket.AF_UNIX) as place,
        contextlib.ExitStack() as open_sockets,
    ):
        address = f"{folder}/here"
        place.bind(address)
        place.listen(size)
        deadline = time.monotonic() + timeout_s
        futures = [pool.options(idempotent=True).submit(meet, address) for _ in range(size)]

        def all_there() -> set[int]:
            there = []
            for _ in range(size):
                place.settimeout(max(0.001, deadline - time.monotonic()))
                there.append(open_sockets.enter_context(place.accept()[0]))
            for each in there:
                each.send(b"!")
            return {future.result(RESOLVED_S) for future in futures}

        yield all_there


# --- the storm ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How hard it blows.

    Attributes:
        workers: of the pool.
        cycles: how often it strikes.
        kills_per_cycle: how many workers die each time.
        every_ms: the time from strike to strike, at least.
        spare: how many workers that are up are left alone each time.
        again_s: within how many seconds of the last kill all workers must be at work.
    """

    workers: int = 8
    cycles: int
    kills_per_cycle: int
    every_ms: float
    spare: int = 0
    again_s: float = 2.0
    seed: int = 1


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What a storm came to."""

    balance: Balance
    kills: int
    blew_s: float
    met: int
    met_after_s: float
    restarts: int
    closed_s: float
    left: dict[str, object]
    files: list[int] = field(default_factory=list)
    memory_bytes: list[int] = field(default_factory=list)

    def growth(self, samples: list[int]) -> float:
        """From the median of the first quarter to that of the last: a single sample sees what is just under way."""
        quarter = max(1, len(samples) // 4)
        return statistics.median(samples[-quarter:]) - statistics.median(samples[:quarter])


def blow(plan: Plan, folder: Path) -> Outcome:
    """Let a storm go over a pool at work, see it recover, and close it."""
    before = Surroundings.now()
    account = Account(folder / "ledger")
    over = threading.Event()
    files: list[int] = []
    memory: list[int] = []
    pool = SessionPool(plan.workers, preload=(__name__,), sessions=Sessions(affinity="restart"))
    try:
        pool.wait_for(lambda snapshot: snapshot.ready == plan.workers, CANDIDATES_S)
        hunter = Hunter(pool, plan.seed)
        clients = [Client(pool, number, account, hunter, over) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        try:
            began = time.monotonic()
            for cycle in range(plan.cycles):
                over.wait(max(0.0, began + cycle * plan.every_ms / 1000 - time.monotonic()))
                hunter.kill(plan.kills_per_cycle, plan.spare)
                files.append(len(os.listdir("/proc/self/fd")))
                memory.append(processes.memory_bytes(os.getpid()))
            blew_s = time.monotonic() - began
        finally:
            over.set()
        with meeting(pool, plan.workers, hunter.last_kill + plan.again_s - time.monotonic()) as all_there:
            try:
                met = len(all_there())
            except TimeoutError:
                met = 0
            met_after_s = time.monotonic() - hunter.last_kill
        for client in clients:
            client.join(RESOLVED_S * 2)
        restarts = pool.snapshot().restarts
        closing = time.monotonic()
        pool.shutdown()
        closed_s = time.monotonic() - closing
    finally:
        over.set()
        pool.shutdown(immediate=True)
    return Outcome(
        balance=account.balance(),
        kills=hunter.kills,
        blew_s=blew_s,
        met=met,
        met_after_s=met_after_s,
        restarts=restarts,
        closed_s=closed_s,
        left=Surroundings.now().left_since(before),
        files=files,
        memory_bytes=memory,
    )


# --- a program to be killed ---------------------------------------------------------------------------------------


def live(folder: Path) -> None:
    """Have a pool with four busy workers, with sessions, and with workers that start all the time, until killed."""
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    (folder / "imported").touch()
    pool = SessionPool(
        7,
        start_slowly,
        (60.0,),
        preload=(__name__,),
        recycling=Recycling(operations=2),
        sessions=Sessions(affinity="restart"),
    )
    (folder / "constructed").touch()
    for _ in range(4):
        pool.submit(hold, str(pipe))
    pool.wait_for(lambda snapshot: snapshot.busy >= 4)
    (folder / "busy").touch()
    ledger = folder / "ledger"
    ledger.touch()
    for number in itertools.count():
        futures: list[Future[Any]] = [
            pool.session(number % 3).submit(in_session, number, 5, str(ledger)),
            pool.submit(idempotent, number, 5),
        ]
        for future in futures:
            future.exception()


if __name__ == "__main__":
    # Workers import this module by its own name, so that is what the pool must see the functions in.
    from tests.chaos import storm

    storm.live(Path(sys.argv[1]))
