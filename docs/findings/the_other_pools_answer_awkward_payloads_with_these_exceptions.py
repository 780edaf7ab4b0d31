"""Awkward payloads come back from threads, loky and pebble as these types, or never, or cost the pool."""

import concurrent.futures
import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from typing import Any, NamedTuple

from loky import ProcessPoolExecutor as LokyExecutor
from pebble import ProcessPool

# A result that is to come is there within milliseconds, from a spawned worker within a second or so on a busy machine.
WAIT_S = 5.0
# What is known to stay unresolved is not waited for as long; its worker has been started before.
LOST_S = 1.0


class OutsideError(BaseException):
    """A BaseException that is no Exception, as a library may define to get past `except Exception`."""


class RefusesToPickleError(Exception):
    """What a value raises that refuses to pickle."""


class RefusesToUnpickleError(Exception):
    """What a value raises that pickles and refuses to unpickle."""


def refuse_to_unpickle() -> None:
    raise RefusesToUnpickleError


class Unpicklable:
    """A value that does not pickle."""

    def __reduce__(self) -> Any:
        raise RefusesToPickleError


class Unloadable:
    """A value that pickles and does not unpickle."""

    def __reduce__(self) -> Any:
        return refuse_to_unpickle, ()


class UnpicklableError(Unpicklable, Exception):
    """An exception that does not pickle."""


class UnloadableError(Unloadable, Exception):
    """An exception that pickles and does not unpickle."""


class TwoArgumentsError(Exception):
    """Pickles, and unpickles with TypeError: `args` holds one value where `__init__` asks for two."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(f"{detail} ({code})")


def raise_value_error() -> None:
    raise ValueError


def call_sys_exit() -> None:
    sys.exit(3)


def raise_keyboard_interrupt() -> None:
    raise KeyboardInterrupt


def raise_outside_error() -> None:
    raise OutsideError


def raise_unpicklable() -> None:
    raise UnpicklableError


def raise_unloadable() -> None:
    raise UnloadableError


def raise_two_arguments() -> None:
    raise TwoArgumentsError(7, "raised by the operation")


def take(value: Any) -> str:
    return "taken"


def return_unpicklable() -> Any:
    return Unpicklable()


def return_lock() -> Any:
    return threading.Lock()


def return_lambda() -> Any:
    return lambda: 7


def return_unloadable() -> Any:
    return Unloadable()


class Answer(NamedTuple):
    """What an operation came to, and what the next operation of the same pool came to."""

    own: str
    next: str


class Case(NamedTuple):
    """An awkward operation and the answers to it as seen."""

    name: str
    call: Callable[..., Any]
    arguments: tuple[Any, ...]
    threads: Answer
    loky: Answer
    pebble: Answer


HERE = __name__
BROKEN = "concurrent.futures.process.BrokenProcessPool"
LOKY_BROKEN = "loky.process_executor.BrokenProcessPool"
LOKY_DEAD = "loky.process_executor.TerminatedWorkerError"


def fine(own: str) -> Answer:
    return Answer(own, "a str")


def dead(own: str) -> Answer:
    """What a pool of pebble comes to that has found itself broken."""
    return Answer(own, "builtins.RuntimeError")


LOST = dead("unresolved")
VALUE, EXIT, INTERRUPT = fine("builtins.ValueError"), fine("builtins.SystemExit"), fine("builtins.KeyboardInterrupt")
OUTSIDE, REFUSED, TAKEN = fine(f"{HERE}.OutsideError"), fine(f"{HERE}.RefusesToPickleError"), fine("a str")
TYPE, PICKLING, EXPIRED = (
    fine("builtins.TypeError"),
    fine("_pickle.PicklingError"),
    fine("pebble.common.types.ProcessExpired"),
)
UNREAD, KILLED = Answer(LOKY_BROKEN, LOKY_BROKEN), Answer(LOKY_DEAD, LOKY_DEAD)

CASES = (
    Case("raises ValueError", raise_value_error, (), VALUE, VALUE, VALUE),
    Case("calls sys.exit", call_sys_exit, (), EXIT, EXIT, EXIT),
    Case("raises KeyboardInterrupt", raise_keyboard_interrupt, (), INTERRUPT, INTERRUPT, INTERRUPT),
    Case("raises another BaseException", raise_outside_error, (), OUTSIDE, OUTSIDE, OUTSIDE),
    Case("raises what refuses to pickle", raise_unpicklable, (), fine(f"{HERE}.UnpicklableError"), KILLED, EXPIRED),
    Case("raises what does not unpickle", raise_unloadable, (), fine(f"{HERE}.UnloadableError"), UNREAD, LOST),
    Case("raises it, with TypeError", raise_two_arguments, (), fine(f"{HERE}.TwoArgumentsError"), UNREAD, dead(BROKEN)),
    Case("takes what refuses to pickle", take, (Unpicklable(),), TAKEN, PICKLING, LOST),
    Case("takes a lock", take, (threading.Lock(),), TAKEN, PICKLING, TYPE),
    Case("takes a lambda", take, (lambda: 7,), TAKEN, TAKEN, PICKLING),
    Case("takes what does not unpickle", take, (Unloadable(),), TAKEN, UNREAD, dead(BROKEN)),
    Case("returns what refuses to pickle", return_unpicklable, (), fine("a Unpicklable"), REFUSED, EXPIRED),
    Case("returns a lock", return_lock, (), fine("a lock"), TYPE, TYPE),
    Case("returns a lambda", return_lambda, (), fine("a function"), fine("a function"), EXPIRED),
    Case("returns what does not unpickle", return_unloadable, (), fine("a Unloadable"), UNREAD, LOST),
)


def outcome(submit: Callable[[], "Future[Any]"], wait_s: float) -> str:
    try:
        future = submit()
    except Exception as exception:
        return f"{type(exception).__module__}.{type(exception).__qualname__}"
    if not concurrent.futures.wait([future], timeout=wait_s).done:
        return "unresolved"
    exception = future.exception()
    if exception is None:
        return f"a {type(future.result()).__name__}"
    return f"{type(exception).__module__}.{type(exception).__qualname__}"


def answer(submit: Callable[..., "Future[Any]"], case: Case, wait_s: float) -> Answer:
    own = outcome(lambda: submit(case.call, *case.arguments), wait_s)
    return Answer(own, outcome(lambda: submit(take, None), WAIT_S))


def threads_answer(case: Case) -> Answer:
    executor = ThreadPoolExecutor(1)
    try:
        return answer(executor.submit, case, WAIT_S)
    finally:
        executor.shutdown()


def loky_answer(case: Case) -> Answer:
    # Not the reusable one, whose successor would hide what has become of it.
    executor: Any = LokyExecutor(1)
    try:
        return answer(executor.submit, case, WAIT_S)
    finally:
        executor.shutdown(kill_workers=True)


def pebble_answer(case: Case) -> Answer:
    pool: Any = ProcessPool(1)
    try:
        # The first operation starts the worker.
        assert outcome(lambda: pool.schedule(take, (None,)), WAIT_S) == "a str"
        wait_s = LOST_S if case.pebble.own == "unresolved" else WAIT_S
        return answer(lambda call, *arguments: pool.schedule(call, arguments), case, wait_s)
    finally:
        pool.stop()
        pool.join()


def main() -> int:
    as_seen = 0
    row = "{:32}{:29}{:46}{:46}{}"
    print(row.format("an operation that", "threads", "loky", "pebble", "the next one of each"))
    try:
        for case in CASES:
            threads, loky, pebble = threads_answer(case), loky_answer(case), pebble_answer(case)
            same = (threads, loky, pebble) == (case.threads, case.loky, case.pebble)
            as_seen += same
            following = f"{threads.next}, {loky.next}, {pebble.next}{'' if same else ' (not as written down)'}"
            print(row.format(case.name, threads.own, loky.own, pebble.own, following))
    finally:
        for child in multiprocessing.active_children():
            # Not kill(): loky's processes do not have it.
            if child.pid is not None:
                os.kill(child.pid, signal.SIGKILL)
    shown = as_seen == len(CASES)
    loky_cost = sum(case.loky.next != "a str" for case in CASES)
    pebble_cost = sum(case.pebble.next != "a str" for case in CASES)
    print(
        f"{'SHOWN' if shown else 'NOT SHOWN'}: {as_seen} of {len(CASES)} kinds of operation were answered as written "
        f"down: none costs the ThreadPoolExecutor anything, {loky_cost} cost the executor of loky {version('loky')}, "
        f"{pebble_cost} the whole pool of pebble {version('pebble')}",
        flush=True,
    )
    return 0 if shown else 1


if __name__ == "__main__":
    faulthandler.dump_traceback_later(60, exit=True)
    status = main()
    # Not sys.exit: should a pool hang, so would the exit handlers.
    os._exit(status)
