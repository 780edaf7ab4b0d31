"""Awkward exceptions, arguments and results come back from the two pools as these types, or never, or cost the pool."""

import concurrent.futures
import contextlib
import faulthandler
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.pool import AsyncResult, Pool
from typing import Any, NamedTuple

# A result that is to come is there within milliseconds; what is not there after WAIT_S counts as unresolved.
LIKELY_S = 0.3
WAIT_S = 2.0


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
    in_pool: Answer
    in_executor: Answer


HERE = __name__
BROKEN = "concurrent.futures.process.BrokenProcessPool"
ENCODING = "multiprocessing.pool.MaybeEncodingError"


def fine(own: str) -> Answer:
    return Answer(own, "taken")


LOST, DEAF, DEAD = fine("unresolved"), Answer("unresolved", "unresolved"), Answer(BROKEN, BROKEN)
VALUE, EXIT, INTERRUPT = fine("builtins.ValueError"), fine("builtins.SystemExit"), fine("builtins.KeyboardInterrupt")
OUTSIDE, REFUSED, ENCODED = fine(f"{HERE}.OutsideError"), fine(f"{HERE}.RefusesToPickleError"), fine(ENCODING)
TYPE, ATTRIBUTE, PICKLING = fine("builtins.TypeError"), fine("builtins.AttributeError"), fine("_pickle.PicklingError")

CASES = (
    Case("raises ValueError", raise_value_error, (), VALUE, VALUE),
    Case("calls sys.exit", call_sys_exit, (), LOST, EXIT),
    Case("raises KeyboardInterrupt", raise_keyboard_interrupt, (), LOST, INTERRUPT),
    Case("raises another BaseException", raise_outside_error, (), LOST, OUTSIDE),
    Case("raises what refuses to pickle", raise_unpicklable, (), ENCODED, REFUSED),
    Case("raises what does not unpickle", raise_unloadable, (), DEAF, DEAD),
    Case("takes what refuses to pickle", take, (Unpicklable(),), REFUSED, REFUSED),
    Case("takes a lock", take, (threading.Lock(),), TYPE, TYPE),
    Case("takes a lambda", take, (lambda: 7,), PICKLING, PICKLING),
    Case("takes what does not unpickle", take, (Unloadable(),), LOST, DEAD),
    Case("returns what refuses to pickle", return_unpicklable, (), ENCODED, REFUSED),
    Case("returns a lock", return_lock, (), ENCODED, TYPE),
    Case("returns a lambda", return_lambda, (), ENCODED, ATTRIBUTE),
    Case("returns what does not unpickle", return_unloadable, (), DEAF, DEAD),
)


def name(exception: BaseException) -> str:
    return f"{type(exception).__module__}.{type(exception).__qualname__}"


def outcome(get: Callable[[float], Any], timeout_s: float) -> str:
    try:
        return str(get(timeout_s))
    # Each pool has its own way to say that nothing was there in time.
    except (multiprocessing.TimeoutError, concurrent.futures.TimeoutError):
        return "unresolved"
    except BaseException as exception:
        return name(exception)


def executor_answer(case: Case) -> Answer:
    executor = ProcessPoolExecutor(1)
    future: Future[Any] = executor.submit(case.call, *case.arguments)
    own = outcome(future.result, WAIT_S)
    following = outcome(lambda timeout_s: executor.submit(take, None).result(timeout_s), WAIT_S)
    return Answer(own, following)


def pool_answers() -> list[Answer]:
    """The answers of multiprocessing.Pool, from a pool for each case, in the order of the cases."""
    pools: list[Pool] = []
    asked: list[tuple[AsyncResult[Any], AsyncResult[Any]]] = []
    try:
        for case in CASES:
            pool = multiprocessing.Pool(1)
            pools.append(pool)
            asked.append((pool.apply_async(case.call, case.arguments), pool.apply_async(take, (None,))))
            # One after another: pools that replace workers at the same time would inherit one another's pipes.
            deadline = time.monotonic() + LIKELY_S
            for result in asked[-1]:
                result.wait(max(0.0, deadline - time.monotonic()))
        # The last of them is lost, and by the end of this wait the lost ones before it have had as long.
        asked[-1][0].wait(WAIT_S)
        return [Answer(outcome(own.get, 0), outcome(following.get, 0)) for own, following in asked]
    finally:
        end(pools)


def end(pools: list[Pool]) -> None:
    # terminate() stops the replacing of workers first of all; it may hang later on, so it is not waited for.
    terminators = [threading.Thread(target=terminate, args=(pool,), daemon=True) for pool in pools]
    for terminator in terminators:
        terminator.start()
    deadline = time.monotonic() + 1
    for terminator in terminators:
        terminator.join(max(0.0, deadline - time.monotonic()))
    for child in multiprocessing.active_children():
        child.kill()


def terminate(pool: Pool) -> None:
    # Where the result thread has died, terminate() raises this and gives up.
    with contextlib.suppress(AssertionError):
        pool.terminate()


def main() -> int:
    try:
        from_executors = [executor_answer(case) for case in CASES]
        from_pools = pool_answers()
    finally:
        for child in multiprocessing.active_children():
            child.kill()
    as_seen = 0
    row = "{:32}{:44}{:46}{}"
    print(row.format("an operation that", "multiprocessing.Pool", "ProcessPoolExecutor", "the next one of each"))
    for case, in_pool, in_executor in zip(CASES, from_pools, from_executors, strict=True):
        same = (in_pool, in_executor) == (case.in_pool, case.in_executor)
        as_seen += same
        following = f"{in_pool.next}, {in_executor.next}{'' if same else ' (not as written down)'}"
        print(row.format(case.name, in_pool.own, in_executor.own, following))
    shown = as_seen == len(CASES)
    lost = sum(answer.own == "unresolved" for answer in from_pools)
    dead = sum(answer.next == BROKEN for answer in from_executors)
    print(
        f"{'SHOWN' if shown else 'NOT SHOWN'}: {as_seen} of {len(CASES)} kinds of operation were answered as written "
        f"down; {lost} of them multiprocessing.Pool never resolves, {dead} cost the whole ProcessPoolExecutor",
        flush=True,
    )
    return 0 if shown else 1


if __name__ == "__main__":
    faulthandler.dump_traceback_later(20, exit=True)
    status = main()
    # Not sys.exit: the pools' threads and exit handlers may wait for ever.
    os._exit(status)
