"""Running a function in a process of its own: what would change the whole process changes that one."""

import math
import os
import pickle
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from poolproof import references
from poolproof.errors import PoolproofError, TargetError, UsageError
from poolproof.isolation import warden
from poolproof.isolation.ending import in_words

R = TypeVar("R")

_GRACE_S: Final = 15.0
"""For the warden itself, beyond the function's own time: to start, to have stacks written, to end what is left."""


class ChildError(PoolproofError):
    """A function that ran in a child did not come to an end there: the child died, or its time was up.

    Attributes:
        function: which.
        ended: how its process ended: `exit status 3`, `SIGSEGV`; empty where that is not known.
        hung: whether it was killed since its time was up.
        stacks: where it was then; empty where it did not hang.
    """

    def __init__(self, function: str, *, ended: str, hung: bool = False, stacks: str = "", why: str = "") -> None:
        self.function = function
        self.ended = ended
        self.hung = hung
        self.stacks = stacks
        self._why = why
        told = why or f"its process ended with {ended} before it returned"
        super().__init__(f"{function} in a child: {told}{f'; it was in{os.linesep}{stacks}' if stacks else ''}")

    def __reduce__(self) -> tuple[object, ...]:
        return _again, (self.function, self.ended, self.hung, self.stacks, self._why)


def _again(function: str, ended: str, hung: bool, stacks: str, why: str) -> ChildError:
    return ChildError(function, ended=ended, hung=hung, stacks=stacks, why=why)


def in_child(function: Callable[..., R], *args: Any, timeout_s: float = 60.0) -> R:
    """Call a function in a fresh process, for what would change the whole of this one.

    The process has a session of its own and is a subreaper; it is not forked from this one. Whatever it started is
    ended with it, also what hid from it, and also where it dies.

    Args:
        function: at the top level of a module, so that another process finds it.
        args: what can be pickled.
        timeout_s: for how long it may run, the start of the process included.

    Returns:
        What the function returned, pickled and unpickled.

    Raises:
        UsageError: no other process could find the function (a `TargetError`), or its arguments or its result can't be
            pickled, or the timeout is no time above 0.
        ChildError: its process died, or its time was up.
        BaseException: whatever the function raised, its traceback there as a note.
    """
    try:
        reference = references.refer(function)
    except TargetError as error:
        raise TargetError(error.target, f"in_child needs a function that its process can find: {error}") from None
    given: object = timeout_s
    if not (isinstance(given, int | float) and 0 < given < math.inf):
        raise UsageError(f"timeout_s = {given!r}: expected a time above 0, in seconds")
    try:
        arguments = pickle.dumps(args)
    except Exception as error:
        raise UsageError(f"in_child({reference}): its arguments can't be pickled: {error}") from error
    order = warden.Order([_absolute(entry) for entry in sys.path], _directory(), reference, arguments, timeout_s)
    result = os.memfd_create("poolproof-result")  # of any size, without anybody who has to read it meanwhile
    try:
        outcome = _run(order, result)
        answer = os.pread(result, os.fstat(result).st_size, 0)
    finally:
        os.close(result)
    return cast("R", _returned(reference, timeout_s, outcome, answer))


def _run(order: warden.Order, result: int) -> warden.Outcome | None:
    """Have a warden carry it out; how the child ended, or None where the warden did not tell."""
    ours, wardens = socket.socketpair()
    # A session of its own: a Ctrl-C of the terminal is this process's alone, which then has the warden clean up.
    process = subprocess.Popen(
        [sys.executable, warden.__file__, str(wardens.fileno()), str(result)],
        stdin=subprocess.DEVNULL,
        pass_fds=(wardens.fileno(), result),
        start_new_session=True,
    )
    try:
        wardens.close()
        warden.send_message(ours, pickle.dumps(tuple(order)))
        poller = select.poll()
        poller.register(ours, select.POLLIN)
        if not poller.poll((order.timeout_s + _GRACE_S) * 1000):
            return None
        return warden.Outcome(*pickle.loads(warden.read_message(ours)))
    except (EOFError, OSError):
        return None
    finally:
        ours.close()  # the warden sees it, where it has not ended yet: it ends everything and goes
        _outlast(process)


def _outlast(process: "subprocess.Popen[bytes]") -> None:
    """Return once the warden is gone; an interrupt meanwhile is kept for then."""
    interrupted: KeyboardInterrupt | None = None
    deadline = time.monotonic() + _GRACE_S
    while process.returncode is None:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        except KeyboardInterrupt as again:
            interrupted = again
    if interrupted is not None:
        raise interrupted


def _returned(reference: str, timeout_s: float, outcome: warden.Outcome | None, answer: bytes) -> Any:
    """What the function returned; or raises what it raised, or what became of its process."""
    if outcome is None:
        raise ChildError(reference, ended="", why="its warden died or hung, so nothing is known of it")
    if outcome.stayed:
        raise ChildError(
            reference,
            ended=in_words(outcome.status),
            why=f"it left what could not be ended: {', '.join(outcome.stayed)}",
        )
    if outcome.hung:
        raise ChildError(
            reference,
            ended=in_words(outcome.status),
            hung=True,
            stacks=outcome.stacks,
            why=f"it had not returned after {timeout_s:g} s, and was killed",
        )
    if outcome.status != 0 or not answer:
        raise ChildError(reference, ended=in_words(outcome.status))
    kind, packed, told = pickle.loads(answer)
    if not packed and kind == "returned":
        raise UsageError(f"in_child({reference}): its result can't be pickled: {told}; return plain values")
    try:
        value = pickle.loads(packed)
    except Exception as error:  # it can't be pickled, or only the child knows what it is
        if kind == "raised":
            raise ChildError(
                reference, ended="", why=f"it raised what can't be brought here:{os.linesep}{told}"
            ) from None
        raise UsageError(
            f"in_child({reference}): its result is nothing that this process knows: {type(error).__name__}: {error}; "
            "return plain values"
        ) from error
    if kind == "raised":
        raise value
    return value


def _absolute(entry: str) -> str:
    return _directory() if entry == "" else entry


def _directory() -> str:
    """The working directory; empty where the test has removed it."""
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return ""
