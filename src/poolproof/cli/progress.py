"""What is shown while runs go on: one live line in a terminal, one plain line a scenario elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from poolproof.lab.launch import Progress


class Display:
    """Shows the progress of runs on standard error; a context manager that leaves the terminal as it was."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, emoji=False)
        self._status: Status | None = None
        self._current = ("", "")
        self._began = time.monotonic()
        self._explored = "nothing yet"

    def __enter__(self) -> "Display":
        if self._console.is_terminal:
            self._status = self._console.status("starting")
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def __call__(self, target: str, scenario: str, progress: Progress) -> None:
        """Take note of the progress of one run."""
        if (target, scenario) != self._current:
            self._current, self._began = (target, scenario), time.monotonic()
            if self._status is None:
                self._console.print(f"{target}: {scenario} …", highlight=False, soft_wrap=True, markup=False)
        if self._status is not None:
            self._status.update(
                f"{escape(target)} · [bold]{scenario}[/bold] · {progress.stage} · "
                f"{progress.done} of {progress.sent} done, {progress.failed} failed · "
                f"{time.monotonic() - self._began:.0f} s"
            )

    @contextmanager
    def told_on_interrupt(self) -> Iterator[None]:
        """Around an exploration: where it is interrupted, how far it had come is told."""
        try:
            yield
        except KeyboardInterrupt:
            self._console.print(f"explored {self._explored}; the same seeds show the same again", highlight=False)
            raise

    def explored(self, done: int, of: int, failed: int) -> None:
        """Take note of the progress of an exploration."""
        self._explored = f"{done} of {of} plans, {failed} that break a promise"
        if self._status is not None:
            self._status.update(
                f"{done} of {of} plans, {failed} that break a promise · {time.monotonic() - self._began:.0f} s"
            )
