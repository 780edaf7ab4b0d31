"""Processes that exist in a test's imagination alone, and a keeper's ledger that writes down what is done to them."""

import signal
from collections.abc import Callable

from poolproof.processes import Handle, Process


class FakeHandle(Handle):
    """A hold on an imagined process; whatever is done to it is added to `log` as (what, pid)."""

    def __init__(
        self,
        pid: int,
        log: list[tuple[str, int]],
        *,
        alive: bool = True,
        stops: bool = True,
        dies: bool = True,
        before_stop: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(
            Process(pid=pid, ppid=1, start_time=pid * 100, state="S", name="worker", threads=1, cpu_ticks=0),
            fd=-1,
        )
        self.log = log
        self.letter = "S" if alive else "X"
        self._stops, self._dies, self._before_stop = stops, dies, before_stop

    def send(self, number: signal.Signals) -> bool:
        self.log.append((number.name, self.process.pid))
        if self.letter == "X":
            return False
        if number is signal.SIGSTOP:
            self._before_stop()
            self.letter = "T" if self._stops else "S"
        elif number is signal.SIGCONT:
            self.letter = "S"
        elif self._dies:
            self.letter = "X"
        return True

    def wait_gone(self, timeout_s: float) -> bool:
        return self.letter == "X"

    def wait_stopped(self, timeout_s: float) -> bool:
        return self.letter == "T"

    def state(self) -> str:
        return self.letter

    def close(self) -> None:
        """Nothing is held."""


class FakeLedger:
    """A ledger that only remembers."""

    def __init__(self, log: list[tuple[str, int]]) -> None:
        self.log = log

    def record(self, handle: Handle) -> bool:
        self.log.append(("record", handle.process.pid))
        return True

    def healed(self, handle: Handle) -> None:
        self.log.append(("healed", handle.process.pid))
