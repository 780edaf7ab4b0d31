"""Everything that the pool can refuse or fail with: few types, each with its evidence as fields.

`PoolBroken`, which goes by this module's name, is defined in `core`, which alone raises it: what it derives from would
have every forkserver import concurrent.futures and logging, a tenth of its start.
"""

import pickle
from collections.abc import Hashable
from importlib import import_module
from typing import TYPE_CHECKING


class SessionPoolError(Exception):
    """Base of every error that is the pool's own; each crosses between processes with its fields and notes."""

    def __reduce__(self) -> tuple[object, ...]:
        return _remake, (type(self), self.args), vars(self)


# --- of the pool ------------------------------------------------------------------------------------------------


class InvalidSettings(SessionPoolError, ValueError):
    """Sizes, times or limits that make no sense.

    Attributes:
        problems: each of them, as `name: what is wrong, and what was expected`.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class PreloadError(SessionPoolError, ImportError):
    """The pool's forkserver could not import a module that it was to preload, so no worker was started.

    Attributes:
        module: the module's name; empty where the forkserver did not get so far.
    """

    def __init__(self, module: str, words: str) -> None:
        super().__init__(f"preloading {module!r} failed:\n{words}" if module else words)
        self.module = module
        self.words = words


class PoolClosed(SessionPoolError, RuntimeError):
    """The pool was shut down, or belongs to another process: a fork's copy of it cannot be used."""


class PoolSaturated(SessionPoolError):
    """As much waits, or as many sessions are open, as may; what came on top was not taken.

    Attributes:
        what: `queue` or `sessions`.
        limit: how many there may be.
    """

    def __init__(self, what: str, limit: int) -> None:
        if what == "queue":
            words = f"as many operations wait as may ({limit}): raise max_queue, or offer less"
        else:
            words = f"as many sessions are open as may be ({limit}): close some, or raise Sessions.max_count"
        super().__init__(words)
        self.what = what
        self.limit = limit


# --- of an operation --------------------------------------------------------------------------------------------


class WorkerDied(SessionPoolError):
    """The worker was lost while it held the operation, which may have had effects or not.

    Attributes:
        pid: the worker's, or None where it was never told.
        exit: how it ended: `signal SIGKILL`, `exit status 3`, `unknown`.
        attempts: how many workers had taken it up.
        reason: why the worker was lost: `it died`, `it was stopped for 1.0 s`, …
    """

    def __init__(
        self,
        reason: str,
        *,
        pid: int | None,
        exit: str,  # noqa: A002 - a field
        attempts: int,
        idempotent: bool = False,
    ) -> None:
        advice = "Restarts.max_retries allows no more" if idempotent else "declare it idempotent to have it run again"
        super().__init__(
            f"worker {pid} was lost while it held the operation: {reason} ({exit}). The operation was taken up "
            f"{attempts} time{'s' if attempts > 1 else ''} and may have had effects; {advice}"
        )
        self.reason = reason
        self.pid = pid
        self.exit = exit
        self.attempts = attempts


class DeadlineExceeded(SessionPoolError, TimeoutError):
    """The operation had not ended by its deadline: it never ran, or was ended with its worker.

    Attributes:
        deadline_s: how many seconds after the submit it was.
        started: whether the operation may have been running by then.
        pid: the worker that was ended with it, or None.
    """

    def __init__(self, *, deadline_s: float, started: bool, pid: int | None) -> None:
        how = "it was never started"
        if started:
            how = "it may have been running" if pid is None else f"its worker {pid} was killed, where it may have run"
        super().__init__(f"the operation had not ended within {deadline_s:g} s: {how}")
        self.deadline_s = deadline_s
        self.started = started
        self.pid = pid


class SessionLost(SessionPoolError):
    """The session's state is gone, with the worker that held it; its further operations are refused.

    Attributes:
        key: the session's.
        reason: what became of it.
        pid: the worker that held it, or None.
        epoch: which binding of the session to a worker was the last; 0 where there was none.
    """

    advice = "close() the session to begin a new one under the same key, or give it the affinity `restart`"

    def __init__(self, key: Hashable, reason: str, *, pid: int | None = None, epoch: int = 0) -> None:
        super().__init__(f"session {_named(key)}: {reason}; {self.advice}")
        self.key = key
        self.reason = reason
        self.pid = pid
        self.epoch = epoch


class SessionExpired(SessionLost):
    """The session was unused for longer than its time to live, and its state was destroyed."""

    advice = "close() the session to begin a new one under the same key, or raise Sessions.ttl_s"


class SessionUnknown(SessionLost):
    """There is no such session, and none was to be opened."""

    advice = "open it by an operation through pool.session(key)"


class NotPicklable(SessionPoolError, pickle.PicklingError):
    """A function, argument, result or exception that cannot cross to the other process; its cause says why."""


class NotUnpicklable(SessionPoolError, pickle.UnpicklingError):
    """A function, argument, result or exception that crossed but cannot be rebuilt there; its cause says why."""


class FrameTooLarge(SessionPoolError):
    """An argument or a result is larger than a frame may be.

    Attributes:
        what: `argument` or `result`.
        size: its size in bytes, pickled.
        limit: the most that a frame may carry.
    """

    def __init__(self, what: str, size: int, limit: int) -> None:
        super().__init__(f"the {what} has {size} bytes, and a frame carries {limit} at most: raise max_frame_bytes")
        self.what = what
        self.size = size
        self.limit = limit


class MalformedFrame(SessionPoolError):
    """Bytes on the wire that are no frame of this worker's: the stream cannot be trusted any more.

    Attributes:
        what: what is wrong with them.
    """

    def __init__(self, what: str) -> None:
        super().__init__(f"malformed frame: {what}")
        self.what = what


class RemoteTraceback(Exception):
    """The traceback of an exception, as it was in the worker."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


if not TYPE_CHECKING:  # or a name that is nowhere would be no error any more

    def __getattr__(name: str) -> object:
        if name == "PoolBroken":
            return getattr(import_module("sessionpool.core"), name)
        raise AttributeError(f"module 'sessionpool.errors' has no attribute {name!r}")


def _named(key: Hashable) -> str:
    try:
        return repr(key)
    except Exception:  # it is the user's, and this is no moment to fail
        return f"<{type(key).__name__} without a representation>"


def _remake(kind: type[Exception], args: tuple[object, ...]) -> Exception:
    """An error by its message; its fields follow, as the state of any exception does."""
    error = kind.__new__(kind, *args)
    error.args = args  # OSError, which TimeoutError is, leaves them to its `__init__`
    return error
