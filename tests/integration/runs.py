"""A run of poolproof in a process of its own, seen from outside: who belongs to it, and what it has reached."""

import contextlib
import os
import secrets
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal, TypeVar

from poolproof import processes

ROOT: Final = Path(__file__).parents[2]
CONFIG: Final = """
[pool]
workers = 3
[load]
rate_per_worker_per_s = 33.0
seconds = 2.0
"""


def on_layer_2(arguments: Sequence[str]) -> list[str]:
    """The arguments of a command, with the layer that the suite is about where they name none."""
    takes_one = arguments[:1] and arguments[0] in ("prove", "compare", "config")
    return [*arguments, *(["--layer", "2"] if takes_one and "--layer" not in arguments else [])]


Role = Literal["caller", "keeper", "conductor", "lab"]
ROLES: Final[tuple[Role, ...]] = ("caller", "keeper", "conductor", "lab")

_PACE_MS: Final = 2
_T = TypeVar("_T")


def _hear_signals() -> None:
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Run:
    """One `python -m poolproof …`, told apart from all others by a variable in its environment.

    What it writes goes to files: a pipe would be held open by whoever outlives it.
    """

    def __init__(self, folder: Path, *arguments: str, config: str = CONFIG, root: Path = ROOT) -> None:
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        settings = folder / "settings"
        settings.mkdir()
        (settings / "layer_2.toml").write_text(config, encoding="utf-8")
        self._stdout, self._stderr = folder / "stdout.txt", folder / "stderr.txt"
        self._mark = f"POOLPROOF_TEST_{secrets.token_hex(8)}"
        with self._stdout.open("wb") as out, self._stderr.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "poolproof", *on_layer_2(arguments), "--config", str(settings)],
                cwd=root,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=dict(os.environ) | {self._mark: "1", "TMPDIR": str(self.temporary)},
                # A suite in the background of a shell, or under nohup, ignores these, and what it starts would as well.
                preexec_fn=_hear_signals,
            )
        caller = processes.Handle.open(self.process.pid)
        assert caller is not None
        self.caller = caller

    # --- what is seen -------------------------------------------------------------------------------------------

    @property
    def stdout(self) -> str:
        return self._stdout.read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        return self._stderr.read_text(encoding="utf-8")

    def complaints(self) -> list[str]:
        """The lines on standard error that tell of no progress."""
        return [line for line in self.stderr.splitlines() if not line.endswith("…")]

    def members(self) -> list[processes.Process]:
        """The live processes of the run, but for the caller."""
        return [
            process
            for process in processes.tagged(self._mark, processes.everyone().values()).values()
            if process.pid != self.process.pid and process.state not in "ZX"
        ]

    def role(self, role: Role) -> processes.Handle | None:
        """The process that has a role, or None where there is none now."""
        if role == "caller":
            return self.caller
        labs = {process.pid for process in self.members() if _is_booted_as(process.pid, role)}
        # Workers that were forked bear the lab's command line: the lab is the one whose parent does not.
        first = [pid for pid in labs if (process := processes.look_up(pid)) and process.ppid not in labs]
        return processes.Handle.open(first[0]) if first else None

    def stopped_worker(self) -> processes.Process | None:
        return next((process for process in self.members() if process.state == "T" and self._began_load()), None)

    def reached(self, stage: str) -> bool:
        """Whether the lab has begun a stage, by its journal."""
        return any(f'"stage":"{stage}"' in journal for journal in self._journals())

    def _began_load(self) -> bool:
        return any('"event":"measured"' in journal for journal in self._journals())

    def _journals(self) -> Iterator[str]:
        for path in self.temporary.glob("poolproof-runs-*/*/lifecycle.jsonl"):
            with contextlib.suppress(FileNotFoundError):
                yield path.read_text(encoding="utf-8")

    # --- what is waited for -------------------------------------------------------------------------------------

    def until(self, condition: Callable[[], _T | None], timeout_s: float = 20) -> _T:
        """Look until something holds, woken by the end of the caller, after which it can't come to hold any more."""
        deadline = time.monotonic() + timeout_s
        while not (found := condition()):
            assert time.monotonic() < deadline, f"it never came to that; standard error: {self.stderr}"
            assert not self._ended_within(_PACE_MS), f"the caller ended before; standard error: {self.stderr}"
        return found

    def let_pass(self, seconds: float) -> None:
        """Let so much of the run pass, or all of it."""
        self._ended_within(seconds * 1000)

    def ended(self, timeout_s: float = 60) -> int:
        """The exit status, once the caller has ended."""
        return self.process.wait(timeout_s)

    def kill(self, victim: processes.Handle) -> None:
        """End a process of the run, and return once it is dead: it starts nothing any more."""
        victim.send(signal.SIGKILL)
        assert victim.wait_gone(1)

    def gone_within(self, bound_s: float) -> float:
        """How long it took until no process of the run was alive, in seconds.

        Raises:
            AssertionError: some lived for longer than `bound_s`.
        """
        began = time.monotonic()
        while left := self.members():
            remaining = bound_s - (time.monotonic() - began)
            assert remaining > 0, f"alive after {bound_s} s: {[(p.pid, p.state, p.name) for p in left]}"
            handle = processes.Handle.open(*left[0].identity)
            if handle is not None:
                handle.wait_gone(remaining)
                handle.close()
        return time.monotonic() - began

    def end(self) -> None:
        """Leave nothing of it, however the test went."""
        for handle in (self.caller, *(processes.Handle.open(*process.identity) for process in self.members())):
            if handle is not None:
                handle.send(signal.SIGKILL)
                handle.close()
        self.process.wait()

    def _ended_within(self, milliseconds: float) -> bool:
        poller = select.poll()
        poller.register(self.caller.fd, select.POLLIN)
        return bool(poller.poll(milliseconds))


def _is_booted_as(pid: int, role: str) -> bool:
    arguments = processes.command_line(pid).split()
    return len(arguments) > 2 and arguments[1].endswith("boot.py") and arguments[2] == role
