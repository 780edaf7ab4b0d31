"""A simulated worker process: takes what it is sent in order, writes how far it has come, and answers.

It is a model of `sessionpool.worker`, as the pool sees that: progress words that outlive it, states by epoch, answers
on a wire. What an operation does is a scripted command; how long it takes is virtual.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

from poolproof.simulation.timeline import SECOND_NS, Timeline
from poolproof.simulation.wire import Stream
from sessionpool.errors import MalformedFrame
from sessionpool.progress import is_in, span
from sessionpool.wire import Frame, Kind

Command = tuple[Any, ...]
"""What an operation obeys: `poolproof.workloads.commands`, and `("meet", meeting)` for a probe of capacity."""

_CALL: Final = int(Kind.CALL)
_OPEN: Final = int(Kind.OPEN)
_FORGET: Final = int(Kind.FORGET)
_STOP: Final = int(Kind.STOP)
_RESULT: Final = int(Kind.RESULT)
_ERROR: Final = int(Kind.ERROR)

MEMORY: Final = 50 << 20
"""What a worker's process occupies before it has done anything, bytes."""

KILLED: Final = "signal SIGKILL"


class State:
    """A session's state in a worker, as the probe finds it there."""

    __slots__ = ("counter", "epoch", "token")

    def __init__(self, token: int, epoch: int) -> None:
        self.token = token
        self.epoch = epoch
        self.counter = 0


class Surroundings(Protocol):
    """What a worker process is given, and whom it tells."""

    timeline: Timeline

    def command(self, op: int) -> Command:
        """What an operation obeys."""

    def began(self, process: "Process", op: int, epoch: int) -> int:
        """The probe's record of a beginning; the row that it is."""

    def ended(self, row: int, command: Command) -> None:
        """The probe's record of an end."""

    def died(self, process: "Process", exit_: str) -> None:
        """It is gone."""


class Watch:
    """The operations of a worker for a while: those that it began, and those that it was sent."""

    __slots__ = ("begun", "sent")

    def __init__(self, begun: set[int], sent: set[int]) -> None:
        self.begun = begun
        self.sent = sent


class Process:
    """One worker process.

    Attributes:
        number: its incarnation.
        begun, answered: its progress words.
        recalled: the pool's word of what it wants back; `recalled_until` the last of that.
        states: of sessions, by epoch; None where no operation has used it yet.
        at: what it is at; None between operations.
        slowness: how many times as long as usual everything takes.
        stopped_at: since when its process is stopped; None while it runs.
        is_leaving: whether the pool has told it to leave.
        was_harmed: whether any fault ever befell it, so that not everything can be expected of it.
        idle_since: since when the pool has had nothing for it, as elapsed time.
    """

    __slots__ = (
        "_around",
        "_began",
        "_command",
        "_inbox",
        "_remaining",
        "_row",
        "_sequence",
        "_stops",
        "_token",
        "_until",
        "_watches",
        "answered",
        "at",
        "begun",
        "exit",
        "idle_since",
        "inward",
        "is_dead",
        "is_leaving",
        "is_up",
        "memory",
        "number",
        "outward",
        "pid",
        "recalled",
        "recalled_until",
        "slowness",
        "start_time",
        "states",
        "stopped_at",
        "was_harmed",
    )

    def __init__(self, number: int, pid: int, around: Surroundings, inward: Stream, outward: Stream) -> None:
        self.number = number
        self.pid = pid
        self.start_time = around.timeline.now // (SECOND_NS // 100)
        self.inward = inward
        self.outward = outward
        self.begun = 0
        self.answered = 0
        self.recalled = 0
        self.recalled_until = 0
        self.states: dict[int, State | None] = {}
        self.at: Frame | None = None
        self.slowness = 1.0
        self.stopped_at: int | None = None
        self.memory = MEMORY
        self.is_up = False
        self.is_dead = False
        self.is_leaving = False
        self.was_harmed = False
        self.idle_since = 0
        self.exit = ""
        self._watches: list[Watch] = []
        self._around = around
        self._inbox: deque[Frame] = deque()
        self._command: Command = ()
        self._began = 0
        self._row = -1
        self._sequence = 0
        self._token = 0
        """Which of the ends that are planned is still true: one that was put off bears another."""
        self._until = 0
        self._remaining = 0
        self._stops = 0

    # --- what it is asked ---------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many things it was sent and has not begun."""
        return len(self._inbox)

    @property
    def is_idle(self) -> bool:
        """Whether it is up and has nothing to do."""
        return self.is_up and self.at is None and not self._inbox

    @property
    def is_answering(self) -> bool:
        """Whether an answer of it is on its way."""
        return self.outward.is_busy

    @property
    def is_torn(self) -> bool:
        """Whether a stream of it was harmed in a way that does not heal."""
        return any(stream.decoder is not None or stream.is_closed for stream in (self.inward, self.outward))

    def in_hand(self) -> list[int]:
        """The operations that it has begun and not ended."""
        return [] if self.at is None or self._row < 0 else [_op(self.at)]

    def watch(self, sent: Iterable[int]) -> "Watch":
        """What is in its hands (`sent`, begun or not), and from now on what comes into them."""
        self.was_harmed = True
        watch = Watch(set(self.in_hand()), set(sent))
        self._watches.append(watch)
        return watch

    def unwatch(self, watch: "Watch") -> None:
        """No more is added to what `watch` gave."""
        self._watches.remove(watch)

    def expect(self, ops: Sequence[int]) -> None:
        """The pool sends it operations; whether they arrive is the wire's business."""
        for watch in self._watches:
            watch.sent.update(ops)

    # --- what it does -------------------------------------------------------------------------------------------

    def receive(self, frames: list[Frame]) -> None:
        """Frames have come over the wire."""
        if self.is_dead:
            return
        self._inbox.extend(frames)
        if self.at is None and self.stopped_at is None:
            self._go_on()

    def refuse(self, error: MalformedFrame) -> None:
        """What came over the wire is no frame: it says so and leaves."""
        if not self.is_dead:
            words = f"it was sent a {error}"
            self.outward.send([Frame(int(Kind.FAILED), self.number, 0, 0, 0, words)])  # type: ignore[arg-type]
            self.die("exit status 1")

    def _go_on(self) -> None:
        """Take one thing after the other until one takes time."""
        inbox = self._inbox
        while inbox and self.at is None and not self.is_dead:
            order = inbox.popleft()
            kind = order.kind
            if kind == _STOP:
                self.die("exit status 0")
            elif kind != _FORGET and order.sequence <= self._sequence:
                self.refuse(MalformedFrame(f"frame of operation {order.sequence}, which it has begun already"))
            elif kind == _FORGET:
                self._forget(order)
            else:
                self._carry_out(order)

    def _forget(self, order: Frame) -> None:
        self.states.pop(order.epoch, None)
        if order.sequence:
            self.begun = self._sequence = order.sequence
            self._answer(Kind.FORGOTTEN, order)

    def _carry_out(self, order: Frame) -> None:
        sequence, epoch = order.sequence, order.epoch
        self.begun = self._sequence = sequence
        if self.recalled and is_in(sequence, self.recalled):
            self._answer(Kind.RETURNED, order)
            return
        if epoch:
            if order.kind == _OPEN:
                self.states[epoch] = None
            elif epoch not in self.states:
                self._answer(Kind.REFUSED, order)
                return
        around = self._around
        op: int = order.body  # type: ignore[assignment]
        self.at = order
        self._began = around.timeline.now
        self._command = command = around.command(op)
        for watch in self._watches:
            watch.begun.add(op)
        self._row = around.began(self, op, epoch)
        name = command[0]
        if name == "wait":
            self._plan_end(round(command[1] * SECOND_NS * self.slowness))
        elif name == "meet":
            command[1].join(self)
        elif name == "exit":
            self.die(f"exit status {command[1]}")
        elif name != "hang":
            self._plan_end(round(_AT_ONCE_NS * self.slowness))

    def _plan_end(self, delay_ns: int) -> None:
        self._token += 1
        timeline = self._around.timeline
        self._until = timeline.elapsed + delay_ns
        timeline.after(delay_ns, self._end, self._token)

    def _end(self, token: int) -> None:
        if token == self._token and self.at is not None:
            self.finish()

    def finish(self) -> None:
        """End what it is at."""
        order, self.at = self.at, None
        if order is None or self.is_dead:
            return
        command, row = self._command, self._row
        self._row = -1
        self._token += 1
        self._around.ended(row, command)
        name = command[0]
        kind, value = _RESULT, command[-1]
        if name == "fail":
            kind = _ERROR
        elif name == "garble":
            value = ("garbled", value)
        elif name == "allocate":
            self.memory += command[1] << 20
        elif name == "meet":
            value = "met"
        self._answer(kind, order, self._around.timeline.now - self._began, (order.body, value))
        if self.inward.is_closed:
            self.die("exit status 1")
        elif self._inbox and not self.is_dead:
            self._go_on()

    def _answer(self, kind: int, order: Frame, note: int = 0, body: Any = b"") -> None:
        self.outward.send([Frame(int(kind), self.number, order.sequence, order.epoch, note, body)])
        self.answered = order.sequence

    # --- what is done to it -------------------------------------------------------------------------------------

    def recall(self, first: int, last: int) -> None:
        """The pool's word: do not begin these."""
        self.recalled = span(first, last)
        self.recalled_until = last

    def slow_down(self, factor: float) -> None:
        """Everything takes so many times as long from now on, the rest of what it is at included."""
        self.slowness *= factor
        if self.at is not None and self._command[0] not in _ENDLESS:
            left = self._until - self._around.timeline.elapsed if self.stopped_at is None else self._remaining
            self._remaining = max(0, round(left * factor))
            if self.stopped_at is None:
                self._plan_end(self._remaining)

    def stop(self) -> None:
        """As by SIGSTOP."""
        if self.is_dead:
            return
        self._stops += 1
        if self.stopped_at is None:
            self.stopped_at = self._around.timeline.now
            self._token += 1
            self._remaining = max(0, self._until - self._around.timeline.elapsed)

    def go_on(self) -> None:
        """As by SIGCONT, once all that stopped it let it go on."""
        self._stops = max(0, self._stops - 1)
        if self.stopped_at is None or self.is_dead or self._stops:
            return
        self.stopped_at = None
        if self.at is None:
            self._go_on()
        elif self._command[0] == "meet":
            self._command[1].rejoin(self)
        elif self._command[0] not in _ENDLESS:
            self._plan_end(self._remaining)

    def end_of_stream(self) -> None:
        """Its wire is cut: it leaves when it next wants to read, or cannot answer."""
        if not self.is_dead and self.at is None and self.stopped_at is None:
            self.die("exit status 0")

    def die(self, exit_: str) -> None:
        """It ends; what it was at has no end, and its progress words stay."""
        if self.is_dead:
            return
        self.is_dead = True
        self.exit = exit_
        self.at = None
        self._inbox.clear()
        self._token += 1
        self.inward.close()
        self._around.died(self, exit_)


_ENDLESS: Final = frozenset({"hang", "meet"})
"""What does not end by itself."""

_AT_ONCE_NS: Final = 20_000
"""What an operation takes that has nothing to do."""


def _op(order: Frame) -> int:
    op: int = order.body  # type: ignore[assignment]
    return op
