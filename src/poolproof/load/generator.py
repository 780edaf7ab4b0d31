"""The generators: the open one sends what is due when it is due, whatever became of the operations before.

The closed one has users, who wait for the end of what they sent.
"""

import heapq
import math
import random
from collections.abc import Callable, Sequence
from typing import Final

from poolproof.clock import SECOND_NS, Timer, now_ns
from poolproof.plan import Load

BATCH: Final = 64
"""The most operations released between two waits: the wait gives the interpreter lock to those who read the replies."""

STOCK: Final = 10_000
"""How many operations are prepared ahead at most: as few as memory likes, and as many as a burst may need at once."""

_SPARE_NS: Final = 20_000


class Stock:
    """What is prepared and not sent yet: filled before the load, refilled while the generator would only wait.

    Args:
        prepare: makes one operation ready to be sent; called for each number once, in order.
        first_op: the number of the first of them.
        count: how many there will be.
    """

    def __init__(self, prepare: Callable[[int], object], first_op: int, count: int) -> None:
        self._prepare = prepare
        self._next = first_op
        self._end = first_op + count
        self._cost_ns = 0

    def fill(self, sent: int, until_ns: int | None = None) -> None:
        """Prepare what may be prepared ahead, or as much of it as surely fits in before a moment.

        Args:
            sent: the number of the next operation to be sent.
            until_ns: the moment; None for no such bound.
        """
        end = min(self._end, sent + STOCK)
        while self._next < end:
            before = now_ns()
            if until_ns is not None and before + 2 * self._cost_ns + _SPARE_NS > until_ns:
                return
            self._prepare(self._next)
            self._next += 1
            # The dearest one that was seen lately: kinds differ.
            self._cost_ns = max(now_ns() - before, self._cost_ns - self._cost_ns // 64)

    def provide(self, op: int) -> None:
        """See to it that an operation is ready, however long that takes."""
        while self._next <= op:
            self._prepare(self._next)
            self._next += 1


def release(
    send: Callable[[int], object],
    first_op: int,
    due_ns: Sequence[int],
    timer: Timer,
    *,
    stock: Stock | None = None,
    between: Callable[[], bool] = lambda: False,
) -> int:
    """Send `first_op`, `first_op + 1`, … each at its own absolute moment of `due_ns` or as soon after it as it can be.

    Late ones are sent at once and none is skipped: what was offered stays what was planned. A timer that is armed for a
    past moment fires at once, so a backlog is worked off in batches without a spin.

    Args:
        send: hands one over.
        first_op: the number of the first of them.
        due_ns: when each is due, ascending.
        timer: what waits.
        stock: where they are prepared, if they are not.
        between: called after each batch; True where the rest is not to be sent.

    Returns:
        How many were sent.
    """
    sent, count = 0, len(due_ns)
    while sent < count:
        if stock is not None:
            stock.fill(first_op + sent, due_ns[sent])
        timer.sleep_until(due_ns[sent])
        moment = now_ns()
        for op in range(sent, min(sent + BATCH, count)):
            if due_ns[op] > moment:
                break
            if stock is not None:
                stock.provide(first_op + op)
            send(first_op + op)
            sent = op + 1
        if between():
            break
    return sent


class Users:
    """The users of a closed load: when each of them sends next.

    Args:
        load: of the closed model.
        rng: where thinking times are drawn from.
        start: the start of the measured window, ns.
    """

    def __init__(self, load: Load, rng: random.Random, start: int) -> None:
        self._load = load
        self._rng = rng
        self._start = start
        self.end = start + round(load.seconds * SECOND_NS)
        self._idle: list[tuple[int, int]] = []
        """(moment, user) of everybody who thinks, the next one first."""
        self._busy: dict[int, int] = {}
        """The user of each operation that is under way."""
        for user in range(_most_users(load)):
            self._come(user, start)

    @property
    def next_ns(self) -> int:
        """When the next one is ready to send; the end of the load where nobody is."""
        return min(self.end, self._idle[0][0]) if self._idle else self.end

    def send(self, op: int) -> int:
        """The next user sends an operation; when that one was ready to."""
        moment, user = heapq.heappop(self._idle)
        self._busy[op] = user
        return moment

    def ended(self, op: int, moment: int) -> None:
        """An operation has ended: its user thinks, and comes again as soon as there are to be so many."""
        user = self._busy.pop(op, None)
        if user is not None:  # else it is one from before the load
            self._come(user, moment + self._think_ns())

    def _come(self, user: int, moment: int) -> None:
        """A user comes at a moment, or the next time that there are to be so many; or never again."""
        begin, after_s = 0.0, (moment - self._start) / SECOND_NS
        for step in self._load.steps:
            end = step.rate if step.to is None else step.to
            inside_s = max(0.0, after_s - begin)
            if inside_s < step.seconds:
                if user >= step.rate + (end - step.rate) * inside_s / step.seconds and user < end:
                    inside_s = max(inside_s, step.seconds * (user - step.rate) / (end - step.rate))
                if user < max(end, step.rate + (end - step.rate) * inside_s / step.seconds):
                    heapq.heappush(self._idle, (self._start + round((begin + inside_s) * SECOND_NS), user))
                    return
            begin += step.seconds

    def _think_ns(self) -> int:
        think_s = self._load.think_s
        if self._load.arrivals == "poisson" and think_s:
            think_s = self._rng.expovariate(1 / think_s)
        return round(think_s * SECOND_NS)


def serve(
    users: Users,
    send: Callable[[int, int], object],
    next_ended: Callable[[int], tuple[int, int] | None],
    first_op: int,
    count: int,
    *,
    between: Callable[[], bool] = lambda: False,
) -> int:
    """Let the users of a closed load send, until it is over.

    Args:
        users: who sends when.
        send: hands over the operation of a number, of a user who was ready at a moment, ns.
        next_ended: waits until a moment for an operation to end; its number and when it ended, or None.
        first_op: the number of the first operation.
        count: how many there can be.
        between: called between any two of them; True where the load is given up.

    Returns:
        How many were sent.
    """
    sent = 0
    while (now := now_ns()) < users.end and sent < count and not between():
        if users.next_ns <= now:
            op = first_op + sent
            send(op, users.send(op))
            sent += 1
        elif (ended := next_ended(users.next_ns)) is not None:
            users.ended(*ended)
    return sent


MOST_TURNS: Final = 1_000_000
"""How many operations users send before the load is over for them: they have no schedule that says it beforehand."""
_QUICKEST_S: Final = 50e-6
_QUICK_THOUGHT: Final = 4
"""How much quicker than on average all of them together may think for long."""
_FEW: Final = 20
"""Where there are few turns, their number may be several times the average: so many more."""


def most_turns(load: Load) -> int:
    """How many operations the users of a closed load send at most: for so many there is room."""
    if load.turns:
        return load.turns
    quickest_s = max(load.think_s / (_QUICK_THOUGHT if load.arrivals == "poisson" else 1), _QUICKEST_S)
    user_s = sum(max(step.rate, step.to or 0.0) * step.seconds for step in load.steps)
    return min(MOST_TURNS, round(user_s / quickest_s) + _most_users(load) + _FEW)


def _most_users(load: Load) -> int:
    return math.ceil(max((max(step.rate, step.to or 0.0) for step in load.steps), default=0.0))
