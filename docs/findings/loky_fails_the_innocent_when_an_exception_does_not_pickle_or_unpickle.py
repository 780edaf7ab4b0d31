"""loky fails all operations, running and waiting, when the exception of one does not unpickle, or does not pickle."""

import faulthandler
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, wait
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from loky import get_reusable_executor

WORKERS = 2
INNOCENTS = 10
LATER = 10
WAIT_S = 8.0


class TwoArgumentsError(Exception):
    """Pickles but does not unpickle: `args` holds one value where `__init__` asks for two."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(f"{detail} ({code})")


class RefusesToPickleError(Exception):
    """What an exception raises that refuses to pickle."""


class UnpicklableError(Exception):
    """An exception that does not pickle."""

    def __reduce__(self) -> Any:
        raise RefusesToPickleError


class Seen(NamedTuple):
    """What became of the innocent operations, by type of error, and of the later ones."""

    innocents: dict[str, int]
    message: str
    later: int


def wait_for(go: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not Path(go).exists() and time.monotonic() < deadline:
        time.sleep(0.01)


def raise_unloadable(go: str) -> None:
    wait_for(go)
    raise TwoArgumentsError(7, "raised by the operation")


def raise_unpicklable(go: str) -> None:
    wait_for(go)
    raise UnpicklableError("raised by the operation")


def square_later(number: int, go: str) -> int:
    # The one that runs beside the guilty operation is still running when the exception comes back.
    if number == 0:
        wait_for(go)
        time.sleep(2)
    return number * number


def executor() -> Any:
    """The reusable executor, asked for anew each time, as the documentation of loky has it."""
    return get_reusable_executor(max_workers=WORKERS)


def attempt(guilty: Callable[[str], None]) -> Seen:
    with tempfile.TemporaryDirectory() as folder:
        go = f"{folder}/go"
        futures: list[Future[Any]] = [executor().submit(guilty, go)]
        futures += [executor().submit(square_later, number, go) for number in range(INNOCENTS)]
        Path(go).touch()
        done = wait(futures, timeout=WAIT_S).done
        innocents = Counter(type(future.exception()).__name__ for future in futures[1:] if future in done)
        # The first sentence, which tells what loky takes it for.
        message = str(futures[1].exception()).partition(".")[0] if futures[1] in done else "unresolved"
        later = [executor().submit(square_later, number, go) for number in range(1, 1 + LATER)]
        resolved = sum(future.exception() is None for future in wait(later, timeout=WAIT_S).done)
    return Seen(innocents, message, resolved)


def main() -> int:
    try:
        unloadable = attempt(raise_unloadable)
        unpicklable = attempt(raise_unpicklable)
    finally:
        executor().shutdown(kill_workers=True)
    shown = (unloadable.innocents, unloadable.later) == ({"BrokenProcessPool": INNOCENTS}, LATER) and (
        (unpicklable.innocents, unpicklable.later) == ({"TerminatedWorkerError": INNOCENTS}, LATER)
    )
    print(
        f"{'SHOWN' if shown else 'NOT SHOWN'}: loky {version('loky')}: after one exception that does not unpickle, of "
        f"{INNOCENTS} innocent operations {tell(unloadable)}; after one that does not pickle {tell(unpicklable)}",
        flush=True,
    )
    return 0 if shown else 1


def tell(seen: Seen) -> str:
    innocents = " and ".join(f"{count} came to {name}" for name, count in seen.innocents.items())
    return f"{innocents} ({seen.message!r}), and {seen.later} of {LATER} later ones to their result"


if __name__ == "__main__":
    faulthandler.dump_traceback_later(60, exit=True)
    sys.exit(main())
