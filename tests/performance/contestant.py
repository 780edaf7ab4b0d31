"""A fresh process that measures a round whenever it is told to: one of those who race against each other."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

from poolproof import processes
from tests.performance.measures import READY
from tests.performance.racing import NotMeasured

_PATIENCE_S: Final = 90.0
"""Longer than any round takes, and shorter than a test may."""
_LEAVE_S: Final = 10.0
_LAST_WORDS: Final = 1_500
_MEASURES: Final = (sys.executable, "-m", "tests.performance.measures")
_CPU_CLOCK: Final = 2
"""`CPUCLOCK_SCHED` of linux/posix-timers.h: the clock of a process that counts the time it had a processor, in ns."""


class Contestant:
    """A program with these arguments, `measures` by default; ready once it is made, gone when its block ends."""

    def __init__(self, root: Path, *arguments: str, program: Sequence[str] = _MEASURES) -> None:
        self._name = " ".join((program[-1], *arguments))
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed when this one ends
        self._process = subprocess.Popen(
            [*program, *arguments],
            cwd=root,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._told = b""
        try:
            if (said := self._hear()) != READY:
                raise NotMeasured(f"{self._name} said {said!r} instead of being ready")
        except BaseException:
            self._end(0)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end(_LEAVE_S)

    def round(self, order: object = None) -> Any:
        """Have one round measured, as ordered where the program takes orders; what it answered.

        Raises:
            NotMeasured: it has died, says nothing, or nothing that can be read; its last words are told.
        """
        with contextlib.suppress(BrokenPipeError):  # why it is gone is told where its answer is missed
            self._stdin.write(json.dumps(order).encode() + b"\n")
        return self._hear()

    def quiet_for(self, seconds: float) -> None:
        """Wait as long, while it waits too.

        Raises:
            NotMeasured: it did not: it died or said something.
        """
        if select.select([self._stdout], [], [], seconds)[0]:
            raise self._failed("was to wait and did not")

    def processes(self) -> set[int]:
        """The pids of its process and of all that it has started, directly or not."""
        return {self._process.pid, *processes.descendants(self._process.pid, processes.everyone())}

    def processors(self) -> set[int]:
        """The processors that its processes may run on, all together."""
        return {processor for pid in self.processes() for processor in os.sched_getaffinity(pid)}

    def cpu_ns(self, pids: set[int]) -> int:
        """The time of a processor that these have had so far.

        Raises:
            NotMeasured: one of them is gone, and what it took with it; or a clock stands still.
        """
        try:
            # By their clocks, in nanoseconds: /proc counts in hundredths of a second, each process rounded down.
            taken = [time.clock_gettime_ns((~pid << 3) | _CPU_CLOCK) for pid in pids]
        except OSError as error:
            raise self._failed("lost one of its processes") from error
        if not all(taken):  # none gets as far as that for nothing
            raise self._failed("has a process that seems to have taken no time since it was started")
        return sum(taken)

    def _hear(self) -> Any:
        deadline = time.monotonic() + _PATIENCE_S
        while b"\n" not in self._told:
            ready, _, _ = select.select([self._stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise self._failed(f"has not answered for {_PATIENCE_S:.0f} s")
            more = self._stdout.read(4096)
            if not more:
                raise self._failed("has ended")
            self._told += more
        line, self._told = self._told.split(b"\n", 1)
        try:
            return json.loads(line)
        except ValueError as error:
            raise self._failed(f"said {line!r}") from error

    def _failed(self, how: str) -> NotMeasured:
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - _LAST_WORDS))
        return NotMeasured(f"{self._name} {how}; its last words:\n{self._errors.read().decode(errors='replace')}")

    def _end(self, patience_s: float) -> None:
        """Let it leave by itself, which it does at the end of its input; then end what is left of its session."""
        self._stdin.close()
        left = os.pidfd_open(self._process.pid)
        select.select([left], [], [], patience_s)
        os.close(left)
        os.killpg(self._process.pid, signal.SIGKILL)  # before it is reaped: until then the number is nobody else's
        self._process.wait()
        self._stdout.close()
        self._errors.close()
