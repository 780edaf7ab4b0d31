"""The open-loop generator: sends what is due when it is due, whatever became of the operations before."""

from collections.abc import Callable, Sequence
from typing import Final

from poolproof.clock import Timer, now_ns

BATCH: Final = 64
"""The most operations released between two waits: the wait gives the interpreter lock to those who read the replies."""


def release(send: Callable[[int], object], first_op: int, due_ns: Sequence[int], timer: Timer) -> None:
    """Send `first_op`, `first_op + 1`, … each at its own absolute moment of `due_ns` or as soon after it as it can be.

    Late ones are sent at once and none is skipped: what was offered stays what was planned. A timer that is armed for a
    past moment fires at once, so a backlog is worked off in batches without a spin.
    """
    sent, count = 0, len(due_ns)
    while sent < count:
        timer.sleep_until(due_ns[sent])
        moment = now_ns()
        for op in range(sent, min(sent + BATCH, count)):
            if due_ns[op] > moment:
                break
            send(first_op + op)
            sent = op + 1
