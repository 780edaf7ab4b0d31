"""The simulated world around a core: it carries out what the core decides, and tells it what becomes of that.

Who drives it asks for operations (`submit`) and lets time pass (`run`). Everything else, the forkserver, the workers,
the wires and whoever looks at them, happens by itself on one timeline, in one order, by chance that comes from seeds.
"""

import math
import random
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import PurePath
from typing import Any, Final, Protocol

from poolproof.pools import SansIO
from poolproof.simulation.ledger import Ledger
from poolproof.simulation.marks import Marks
from poolproof.simulation.process import KILLED, Command, Process, State
from poolproof.simulation.timeline import NEVER, SECOND_NS, Timeline, ns_not_before
from poolproof.simulation.wire import Stream
from sessionpool.core import Drop, Forget, Kill, Publish, Recall, Resolve, Send, Start, Stop
from sessionpool.errors import MalformedFrame, PoolSaturated
from sessionpool.progress import SETTLE_S
from sessionpool.wire import Frame, Kind

FORK_NS: Final = 1_000_000
"""What the forkserver takes for a fork."""

IMPORT_NS: Final = 50_000_000
"""What a new forkserver takes for its imports."""

DEATH_NS: Final = 500_000
"""How long after a process has ended the pool has heard of it."""

_UP_NS: Final = (2_000_000, 10_000_000)
"""How long a worker takes from its fork to its first operation, at least and at most."""

_CUT_NS: Final = 100_000_000
"""How long a worker whose wire is cut may take to end by itself."""

_LATE: Final = 0.1
_LATE_NS: Final = 1_000_000
"""How often whoever reads for the pool is busy when an answer arrives, and for how long at most."""

_SETTLE_NS: Final = round(SETTLE_S * SECOND_NS)
_SPIN: Final = 200
_ROUND_AND_ROUND: Final = 200_000
"""So many events without the end of any operation, but for looks at the workers, are a circle."""

_MOMENT_NS: Final = 1_000
"""More ticks than so many within so short a time will never end."""

_CALL: Final = int(Kind.CALL)
_OPEN: Final = int(Kind.OPEN)
_FORGET: Final = int(Kind.FORGET)
_FAILED: Final = int(Kind.FAILED)


class Host(Protocol):
    """For whom a world works: gives it operations, and is told."""

    def command(self, op: int) -> Command:
        """What an operation obeys."""

    def session(self, op: int) -> int:
        """The session that an operation belongs to; -1 for none."""

    def began(self, process: Process, op: int, state: State | None) -> int:
        """An operation begins; the row of its record."""

    def finished(self, row: int, command: Command) -> None:
        """An execution is over."""

    def new_pid(self) -> int:
        """The number of a process that is about to be; none is given twice in a run."""

    def born(self, process: Process) -> None:
        """There is a process."""

    def gone(self, process: Process) -> None:
        """A process has ended."""

    def resolved(self, op: int, answer: Any) -> None:
        """The client's future is done: by a frame, an error, or None."""

    def dropped(self, op: int) -> None:
        """The client's future is cancelled."""

    def violated(self, promise: str, what: str) -> None:
        """The core did what no pool may do, as only this layer can see."""


class StuckError(Exception):
    """The core goes round in circles, or has failed: nothing more can come of it."""


class StartFault:
    """What becomes of workers that are to be started, while it lasts."""

    __slots__ = ("amount_ns", "kind", "met")

    def __init__(self, kind: str, amount_ns: int) -> None:
        self.kind = kind
        self.amount_ns = amount_ns
        self.met = 0


class World:
    """One pool's core and all that is outside of it.

    Args:
        timeline: the clock; a world may be one of several that follow each other on it.
        pool: whose decisions are simulated.
        seed: what all chance in this world comes from.
        host: for whom it works.
        marks: where interesting states are counted; None where nobody wants to know.
    """

    def __init__(self, timeline: Timeline, pool: SansIO, seed: str, host: Host, marks: Marks | None = None) -> None:
        self.timeline = timeline
        self.host = host
        self.core: Any = pool.make_core(random.Random(f"{seed} core"))
        self.processes: dict[int, Process] = {}
        """Those that the pool has not been told the end of, by their incarnation."""
        self.start_fault: StartFault | None = None
        self.publish: Callable[[Any], object] | None = None
        """Told of every event that the core publishes, where somebody wants to know."""
        self.ledger = Ledger(timeline, pool, host, self.processes)
        self._marks = marks
        self._starts = random.Random(f"{seed} starts")
        self._epochs = random.Random(f"{seed} epochs")
        self._reader = random.Random(f"{seed} reader")
        self._unread: dict[int, list[Frame]] = {}
        """What has arrived from a worker, where whoever is to read it is late."""
        self._wanted: dict[int, None] = {}
        """The workers that are to be forked, in order."""
        self._doomed: set[int] = set()
        """Those of them that were given up before they were forked."""
        self._forks_from = timeline.elapsed + IMPORT_NS
        self._due = math.inf
        self._due_ns = NEVER
        self._ticks = 0
        self._steps = 0
        self._ticked_at = 0
        self._looks = False
        self._tasks: dict[int, Any] = {}
        """What each operation that is not resolved is to the core."""
        self._task = pool.make_task
        self._mourners: dict[int, list[Callable[[], object]]] = {}
        self._look_ns = round(pool.look_s * SECOND_NS)
        if marks is not None:
            self.core.is_observed = True
        self.tell(self.core.open)

    # --- whoever drives it --------------------------------------------------------------------------------------

    def submit(
        self,
        op: int,
        *,
        kind: int = 0,
        session: int | None,
        deadline_s: float | None,
        idempotent: bool,
        closes: bool = False,
    ) -> None:
        """A client submits an operation, or the end of a session.

        Raises:
            Exception: what the core raises at the client.
        """
        terms = {"closes": True} if closes else {}  # a core whose sessions do not end need not know the word
        task = self._task(op, kind=kind, session=session, deadline_s=deadline_s, idempotent=idempotent, **terms)
        ledger = self.ledger
        before = ledger.waiting
        ledger.submitted(op, session)
        try:
            effects = self.core.submit(self.timeline.now * 1e-9, task)
        except PoolSaturated as error:
            ledger.refused(op, as_too_much=error.what == "queue")
            if self._marks is not None:
                self._marks.refused(error.what)
            raise
        except BaseException:
            ledger.refused(op, as_too_much=False)
            raise
        self._tasks[op] = task
        if effects:
            self.perform(effects)
        ledger.accepted(before)

    def withdraw(self, op: int) -> bool:
        """A client cancels an operation; whether it can, which is as long as no worker was sent it."""
        task = self._tasks.get(op)
        if task is None or self.ledger.holds(op):
            return False
        self.ledger.ended(op)
        del self._tasks[op]
        self.tell(self.core.withdraw, task)
        return True

    def run(self, until: int) -> None:
        """Let everything happen that happens up to a moment.

        Raises:
            StuckError: the core fails, or never lets time go on.
        """
        timeline, core = self.timeline, self.core
        while True:
            if core.due != self._due:
                self._due = core.due
                self._due_ns = NEVER if self._due == math.inf else ns_not_before(self._due)
            planned = timeline.next
            ahead = timeline.now - timeline.elapsed  # whatever happens may set the clock forward
            if self._due_ns - ahead <= planned:
                if self._due_ns > until:
                    break
                self._tick()
            elif planned + ahead > until:
                break
            else:
                self._steps += 1
                if self._steps > _ROUND_AND_ROUND:
                    raise StuckError(f"{_ROUND_AND_ROUND} things happened in a row, and no operation came to an end")
                timeline.step()
        timeline.pass_until(until - timeline.ahead)

    def run_while(self, goes_on: Callable[[], bool], until: int) -> bool:
        """Let things happen as long as a condition holds, and up to a moment; whether it does not any more."""
        while goes_on():
            due = NEVER if self.core.due == math.inf else ns_not_before(self.core.due)
            following = min(self.timeline.next + self.timeline.ahead, due)
            if following > until:
                self.run(until)
                return not goes_on()
            self.run(max(following, self.timeline.now))
        return True

    def describe(self) -> str:
        """What there is, for whoever waits for its end in vain."""
        workers = [
            f"worker pid {it.pid}, {'at an operation' if it.at else 'idle' if it.is_up else 'starting'}"
            + ", stopped" * (it.stopped_at is not None)
            for it in self.processes.values()
        ]
        operations = []
        if self._tasks:
            held = sum(map(self.ledger.holds, self._tasks))
            told = f"{len(self._tasks)} operations, the oldest {min(self._tasks)}; {held} of them in workers' hands"
            operations.append(told)
        forks = [f"{len(self._wanted)} workers still to be forked"] if self._wanted else []
        return f"a world of {'; '.join(operations + workers + forks) or 'neither operations nor workers'}"

    @property
    def is_over(self) -> bool:
        """Whether the pool has ended, and every process of it."""
        return bool(self.core.is_over) and not self.processes

    def tell(self, method: Callable[..., list[Any]], *args: Any, **kwargs: Any) -> None:
        """Tell the core something, and carry out what it decides."""
        try:
            effects = method(self.timeline.now * 1e-9, *args, **kwargs)
        except Exception as error:  # whatever the core stumbles over, its driver would give up
            at = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{PurePath(at.filename).name}:{at.lineno}, in {at.name}"
            raise StuckError(f"the core raised {type(error).__name__}: {error} ({where})") from error
        if effects:
            self.perform(effects)

    def perform(self, effects: list[Any]) -> None:
        """Carry out what was decided, in order; the clients' futures last, as they may ask for more."""
        later: list[Any] = []
        for effect in effects:
            kind = type(effect)
            if kind is Send:
                self._send(effect.worker, effect.tasks)
            elif kind is Resolve or kind is Drop:
                op = effect.task.payload
                self._steps = 0
                self.ledger.ended(op)
                self._tasks.pop(op, None)
                later.append(effect)
            elif kind is Publish:
                if self._marks is not None:
                    self._marks.event(effect.event)
                if self.publish is not None:
                    self.publish(effect.event)
            else:
                _CARRY_OUT[kind](self, effect)
        for effect in later:
            op = effect.task.payload
            if type(effect) is Drop:
                self.host.dropped(op)
            else:
                self.host.resolved(op, effect.answer)

    def _tick(self) -> None:
        timeline = self.timeline
        timeline.pass_until(self._due_ns - timeline.ahead)
        if timeline.now - self._ticked_at > _MOMENT_NS:
            self._ticked_at, self._ticks = timeline.now, 0
        self._ticks += 1
        if self._ticks > _SPIN:
            raise StuckError(f"the core wanted a tick {_SPIN} times at one moment: it would never let time pass")
        self._due = -1.0  # it is asked anew, even where it wants the same moment again
        self.tell(self.core.tick)

    # --- effects ------------------------------------------------------------------------------------------------

    def _send(self, number: int, tasks: list[Any]) -> None:
        process = self.processes.get(number)
        frames = []
        for task in tasks:
            kind = _FORGET if task.closes else _OPEN if task.opens else _CALL
            frames.append(Frame(kind, number, task.sequence, task.epoch, 0, task.payload))
        self.ledger.sent(number, tasks)
        if process is None:
            return
        if self._marks is not None and len(tasks) > 1:
            self._marks.mark("work sent in advance")
        process.expect([task.payload for task in tasks])
        process.inward.send(frames)

    def _start(self, effect: Start) -> None:
        if not self._looks:
            self._looks = True
            self.timeline.after(self._look_ns, self._look)
        self._wanted[effect.worker] = None
        at = max(self.timeline.elapsed, self._forks_from) + FORK_NS
        self.timeline.at(at, self._fork, effect.worker)

    def _fork(self, number: int) -> None:
        if number not in self._wanted:
            return
        del self._wanted[number]
        fault = self.start_fault
        if fault is not None:
            fault.met += 1
            self.ledger.trouble_at = self.timeline.elapsed
            if fault.kind == "refuse-start":
                self._doomed.discard(number)
                self.tell(self.core.start_failed, number, "no worker could be started: out of processes")
                return
        pid = self.host.new_pid()
        inward = Stream(self.timeline, "worker", number, self._inward(number), self._torn_inward(number))
        outward = Stream(self.timeline, "pool", number, self._outward(number), self._torn_outward(number))
        process = Process(number, pid, self, inward, outward)
        self.processes[number] = process
        self.host.born(process)
        delay = self._starts.randrange(*_UP_NS)
        if number in self._doomed:
            self._doomed.remove(number)
            self.timeline.after(0, process.die, KILLED)
        elif fault is None or fault.kind == "slow-start":
            self.timeline.after(delay + (fault.amount_ns if fault else 0), self._be_up, process)
        elif fault.kind == "fail-start":
            self.timeline.after(delay, self._fail, process)
        self.tell(self.core.forked, number, process.pid)

    def _be_up(self, process: Process) -> None:
        if process.is_dead:
            return
        if process.stopped_at is not None:
            self.timeline.after(FORK_NS, self._be_up, process)
            return
        process.is_up = True
        process.idle_since = self.timeline.elapsed
        self.tell(self.core.ready, process.number)

    def _fail(self, process: Process) -> None:
        if not process.is_dead:
            process.die("exit status 1")
            self.tell(self.core.start_failed, process.number, "its initializer failed")

    def _kill(self, effect: Kill) -> None:
        process = self.processes.get(effect.worker)
        if process is not None:
            process.die(KILLED)
        elif effect.worker in self._wanted:
            self._doomed.add(effect.worker)

    def _stop(self, effect: Stop) -> None:
        process = self.processes.get(effect.worker)
        if process is not None:
            process.is_leaving = True
            process.inward.send([Frame(int(Kind.STOP), effect.worker, 0, 0, 0, b"")])

    def _forget(self, effect: Forget) -> None:
        process = self.processes.get(effect.worker)
        if process is not None:
            process.inward.send([Frame(_FORGET, effect.worker, 0, effect.epoch, 0, b"")])

    def _recall(self, effect: Recall) -> None:
        process = self.processes.get(effect.worker)
        if process is None:
            return
        if not process.recalled_until <= process.begun < effect.first:
            # It has begun that already; or has not passed what was recalled before, and the word of that must stay.
            self.tell(self.core.recalled, effect.worker, effect.last)
            return
        process.recall(effect.first, effect.last)
        self.timeline.after(_SETTLE_NS, self._see_recall, process, effect.first, effect.last)

    def _see_recall(self, process: Process, first: int, last: int) -> None:
        if process.number in self.processes:
            begun = process.begun
            self.ledger.given_back(process.number, lambda sequence: first <= sequence <= last and sequence > begun)
            self.tell(self.core.recalled, process.number, begun)

    # --- processes ----------------------------------------------------------------------------------------------

    def command(self, op: int) -> Command:
        """What an operation obeys."""
        return self.host.command(op)

    def began(self, process: Process, op: int, epoch: int) -> int:
        """The probe finds, or makes, the state of the session that an operation belongs to."""
        if not epoch:
            return self.host.began(process, op, None)
        state = process.states[epoch]
        if state is None:
            state = process.states[epoch] = State(self.host.session(op), self._epochs.getrandbits(64))
        state.counter += 1
        return self.host.began(process, op, state)

    def ended(self, row: int, command: Command) -> None:
        """The probe's record of an end."""
        self.host.finished(row, command)

    def died(self, process: Process, exit_: str) -> None:
        """The kernel tells the pool a little later."""
        self.host.gone(process)
        if not process.is_up:
            self.ledger.trouble_at = self.timeline.elapsed
        self.timeline.after(DEATH_NS, self._bury, process)

    def _bury(self, process: Process) -> None:
        if process.number not in self.processes:
            return
        process.outward.drain()
        self._read(process.number)
        del self.processes[process.number]
        self.ledger.given_back(process.number, lambda _: True)
        self.tell(self.core.exited, process.number, started=process.begun, exit=process.exit)
        for tell in self._mourners.pop(process.number, ()):
            tell()

    def at_burial(self, process: Process, tell: Callable[[], object]) -> None:
        """Have something called once the pool has learnt of a worker's end."""
        self._mourners.setdefault(process.number, []).append(tell)

    def lose_forkserver(self) -> list[Process]:
        """It is killed, and all its workers die with it; who they were."""
        victims = [process for process in self.processes.values() if not process.is_dead]
        for process in victims:
            process.die("how it ended is not known, for the pool's forkserver died too")
        unborn, self._wanted = list(self._wanted), {}
        self.ledger.trouble_at = self.timeline.elapsed
        self._doomed.clear()
        self._forks_from = self.timeline.elapsed + DEATH_NS + IMPORT_NS
        self.timeline.after(DEATH_NS, self._lose_unborn, unborn)
        return victims

    def _lose_unborn(self, unborn: list[int]) -> None:
        for number in unborn:
            self.tell(self.core.start_failed, number, "the pool's forkserver died")

    # --- wires --------------------------------------------------------------------------------------------------

    def cut(self, process: Process) -> None:
        """Its connection is lost, both ways."""
        process.inward.close()
        process.outward.close()
        process.end_of_stream()
        self.timeline.after(_CUT_NS, self._distrust, process, "its wire was closed")

    def _distrust(self, process: Process, reason: str) -> None:
        if process.number in self.processes and not process.is_dead:
            self.tell(self.core.doom, process.number, reason)

    def _inward(self, number: int) -> Callable[[list[Frame]], None]:
        return lambda frames: self.processes[number].receive(frames) if number in self.processes else None

    def _torn_inward(self, number: int) -> Callable[[MalformedFrame], None]:
        return lambda error: self.processes[number].refuse(error) if number in self.processes else None

    def _outward(self, number: int) -> Callable[[list[Frame]], None]:
        def deliver(frames: list[Frame]) -> None:
            unread = self._unread.get(number)
            if unread is not None:
                unread += frames
            elif self._reader.random() < _LATE:
                self._unread[number] = [*frames]
                self.timeline.after(self._reader.randrange(_LATE_NS), self._read, number)
            else:
                self._take(number, frames)

        return deliver

    def _read(self, number: int) -> None:
        """Whoever reads for the pool has come, late, and finds together what arrived one after the other."""
        if number in self._unread:
            self._take(number, self._unread.pop(number))

    def _take(self, number: int, frames: list[Frame]) -> None:
        last = frames[-1]
        answers = frames[:-1] if last.kind == _FAILED else frames  # who has failed says no more
        if answers and number in self.processes:
            if self._marks is not None:
                self._marks.frames(answers)
            for frame in answers:
                if frame.kind in _GIVES_BACK:
                    self.ledger.given_back(number, partial(int.__eq__, frame.sequence))
            self.tell(self.core.replied, number, answers)
        if last.kind == _FAILED:
            self.tell(self.core.doom, number, str(last.body))

    def _torn_outward(self, number: int) -> Callable[[MalformedFrame], None]:
        def torn(error: MalformedFrame) -> None:
            if self._marks is not None:
                self._marks.mark("frame rejected")
            self._read(number)
            self.tell(self.core.doom, number, str(error))

        return torn

    # --- whoever looks ------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """See each worker from outside, as the pool's own thread does now and then."""
        self._steps -= 1  # an operation may take days, and is looked at all the while
        for process in list(self.processes.values()):
            if not process.is_dead:
                self.tell(
                    self.core.observed,
                    process.number,
                    is_stopped=process.stopped_at is not None,
                    memory=process.memory,
                    progress=(process.begun, process.answered),
                    is_silent=process.number not in self._unread,
                )
        self.ledger.look(len(self._wanted))
        if self.processes or self._wanted:
            self.timeline.after(self._look_ns, self._look)
        else:
            self._looks = False


_GIVES_BACK: Final = frozenset({int(Kind.REFUSED), int(Kind.RETURNED)})

_CARRY_OUT: Final[dict[type, Callable[[World, Any], None]]] = {
    Start: World._start,
    Kill: World._kill,
    Stop: World._stop,
    Forget: World._forget,
    Recall: World._recall,
}
