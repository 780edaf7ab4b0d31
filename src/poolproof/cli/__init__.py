"""The command line: `main` turns every outcome into one exit status and every misuse into one line."""

import errno
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

__all__ = ["main"]

KEPT: Final = 0
BROKEN: Final = 1
USAGE: Final = 2
COULD_NOT_TELL: Final = 3
INTERRUPTED: Final = 130

_ended_by: signal.Signals = signal.SIGINT


def main() -> None:
    """Run the program and exit with 0 kept, 1 broken, 2 usage, 3 could not tell, 130 interrupted."""
    if sys.stdout is None:  # it was closed: whoever did that wants the status alone
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for as long as the program runs
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # where targets are looked for; last, so that nothing of ours is found there
    # The way out of a run goes through the keeper, which undoes every fault; so these signals, too, must unwind.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, _interrupt)
    try:
        status = _run(sys.argv[1:])
        with writing():
            sys.stdout.flush()
    except KeyboardInterrupt:
        print("poolproof: interrupted; every fault was undone and no process of the run is left", file=sys.stderr)
        status = 128 + _ended_by
    except OutputError as error:
        # A reader that has seen enough is no error and no verdict either, so the status must not say "kept".
        closed = isinstance(error.cause, BrokenPipeError)
        status = 128 + signal.SIGPIPE if closed else _refuse(str(error))
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:  # a defect of this program must not look like a verdict on a pool
        _refuse(f"this is a defect of poolproof, please report it: {type(error).__name__}: {error}")
        status = COULD_NOT_TELL
    sys.exit(status)


class OutputError(Exception):
    """Standard output could not be written; what `--json` and `--report` name was written before.

    Attributes:
        cause: what the operating system said.
    """

    def __init__(self, cause: OSError) -> None:
        self.cause = cause
        super().__init__(f"standard output can't be written: {cause.strerror}")


@contextmanager
def writing() -> Iterator[None]:
    """Around what prints: a full disk and a closed pipe are told apart from errors of a run."""
    try:
        yield
    except OSError as error:
        raise OutputError(error) from error


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _ended_by
    _ended_by = signal.Signals(number)
    raise KeyboardInterrupt


def _run(arguments: list[str]) -> int:
    # Imported here, so that an interrupt during imports is answered like any other.
    import typer

    from poolproof.cli.benchmarking import app
    from poolproof.errors import PoolproofError

    # Newer releases of typer carry click inside, older ones depend on it: this is its base of usage errors in both.
    command_line_error: Any = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")
    try:
        answer = app(args=arguments or ["--help"], prog_name="poolproof", standalone_mode=False)
    except OSError as error:
        if error.errno == errno.ENOSPC and error.filename is None:
            raise OutputError(error) from error  # the help texts, which are printed by typer
        raise
    except typer.Abort:
        raise KeyboardInterrupt from None
    except command_line_error as error:
        return _refuse(error.format_message())
    except PoolproofError as error:
        return _refuse(str(error))
    if answer == INTERRUPTED:  # how newer releases of typer report a Ctrl-C
        raise KeyboardInterrupt
    if not arguments:
        return USAGE
    return answer if isinstance(answer, int) else KEPT


def _refuse(message: str) -> int:
    """Name the cause, and what to do, on one line of standard error."""
    print("poolproof: error:", " ".join(message.split()), file=sys.stderr)
    return USAGE
