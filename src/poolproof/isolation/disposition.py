"""What a process has the system do with signals: remembered, and put back, without a word where that works."""

import contextlib
import ctypes
import faulthandler
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, Final

from poolproof.isolation.teardown import Undo

_SA_RESTORER: Final = 0x04000000
"""The C library adds it to whatever is set."""


class _Action(ctypes.Structure):
    """The C library's `struct sigaction`, as glibc and musl have it on Linux (but for MIPS)."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_ulong * (128 // ctypes.sizeof(ctypes.c_ulong))),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )

    def told(self) -> tuple[int, int, int]:
        """What makes two the same: of the mask the kernel fills in the beginning alone, and the rest is chance."""
        return self.handler or 0, self.mask[0], self.flags & ~_SA_RESTORER


_TIMERS: Final = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_IGNORED_BY_DEFAULT: Final = {signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, signal.SIGCONT}

_unregister: Final[Callable[[int], object]] = faulthandler.unregister
"""Returns whether the signal was registered, whatever its stub says."""

_libc: Final = ctypes.CDLL(None, use_errno=True)


def keep_handlers(_: int | None) -> Undo:
    """The handler of every signal: as Python knows it, and as the kernel does.

    The two differ where C code has set one: `faulthandler.register` does, and `signal.getsignal` does not tell.
    """
    before = {number: (signal.getsignal(number), _action(number)) for number in signal.valid_signals()}

    def restore() -> list[str]:
        problems = []
        for number, (handler, action) in before.items():
            try:
                problems += _restore_handler(number, handler, action)
            except (OSError, ValueError) as error:
                problems.append(f"the handler of {_name(number)} could not be restored: {error}")
        return problems

    return restore


def _restore_handler(number: int, handler: Any, action: _Action) -> list[str]:
    is_known = signal.getsignal(number) is handler
    if not is_known and handler is not None:
        signal.signal(number, handler)
    now = _action(number)
    if now.told() == action.told():
        return []
    is_lost = False
    if is_known and now.handler != action.handler:
        # C code did this, past Python: `faulthandler.register`, which takes it back itself; or its `unregister`, after
        # which the handler that is put back here finds that it has nothing to do.
        is_c_code = (action.handler or 0) > 1 and not callable(handler)  # 0 and 1 stand for default and ignored
        with contextlib.suppress(RuntimeError):  # a crash's signal: nobody registers for it, one enables it
            is_lost = not _unregister(number) and is_c_code
    if not _set_action(number, action) or is_lost:
        return [f"the handler of {_name(number)}, which is C code, was taken away: whoever set it must do so again"]
    return []


def keep_wakeup_fd(_: int | None) -> Undo:
    """The descriptor that `signal.set_wakeup_fd` was given."""
    before = signal.set_wakeup_fd(-1)
    if before != -1:
        _set_wakeup_fd(before)

    def restore() -> list[str]:
        try:
            _set_wakeup_fd(before)
        except (OSError, ValueError) as error:
            signal.set_wakeup_fd(-1)  # rather none than the test's
            return [f"the wake-up descriptor {before} could not be restored: {error}"]
        return []

    return restore


def _set_wakeup_fd(fd: int) -> None:
    # Whether a full buffer is to be told of can't be asked for: asyncio, which alone uses this, wants it not to be.
    signal.set_wakeup_fd(fd, warn_on_full_buffer=False)


def keep_mask(_: int | None) -> Undo:
    """The signals that the main thread blocks."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())

    def restore() -> list[str]:
        problems = []
        now = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        # What waits behind a mask arrives as soon as it is lifted, and by default it would end this process.
        for number in signal.sigpending() & (now - before):
            if signal.getsignal(number) == signal.SIG_DFL and number not in _IGNORED_BY_DEFAULT:
                signal.sigtimedwait((number,), 0)
                problems.append(f"{_name(number)} was sent while it was blocked; it was thrown away, unhandled")
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return problems

    return restore


def keep_timers(_: int | None) -> Undo:
    """The interval timers that were unset. One that ran before belongs to somebody else, such as pytest-timeout."""
    unset = [which for which in _TIMERS if signal.getitimer(which) == (0.0, 0.0)]

    def restore() -> None:
        for which in unset:
            signal.setitimer(which, 0)

    return restore


def keep_faulthandler(fd: int | None) -> Undo:
    """Whether tracebacks are written when the process crashes, and where to."""
    was_enabled = faulthandler.is_enabled()

    def restore() -> list[str]:
        if not was_enabled:
            faulthandler.disable()
        elif fd is not None:
            try:
                os.fstat(fd)
            except OSError as error:
                return [f"faulthandler wrote to descriptor {fd}, which can't be restored: {error}"]
            faulthandler.enable(fd)  # also where it is on: the test may have had it write elsewhere
        elif not faulthandler.is_enabled():
            faulthandler.enable(_standard_error())
        return []

    return restore


KEPT: Final[tuple[tuple[str, Callable[[int | None], Undo]], ...]] = (
    ("signal handlers", keep_handlers),
    ("wake-up descriptor", keep_wakeup_fd),
    ("signal mask", keep_mask),
    ("interval timers", keep_timers),
    ("faulthandler", keep_faulthandler),
)
"""In their order: undone in reverse, so that timers are off and the mask is lifted before any handler is taken away."""


def _action(number: int) -> _Action:
    """What the kernel does with a signal, as it tells it."""
    action = _Action()
    _libc.sigaction(int(number), None, ctypes.byref(action))
    return action


def _set_action(number: int, action: _Action) -> bool:
    _libc.sigaction(int(number), ctypes.byref(action), None)
    return _action(number).told() == action.told()


def _name(number: int) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


def _standard_error() -> Any:
    """Where Python itself has a crash written to, whatever pytest has put in the place of `sys.stderr`."""
    return sys.__stderr__ or 2
