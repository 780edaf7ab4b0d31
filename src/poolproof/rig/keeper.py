"""The keeper of this process, in which tests run, and what it is told: so nothing outlives the tests, however they end.

The other side is `poolproof.lab.guard`, a small process that watches this one and acts only once this one cannot.
"""

import atexit
import contextlib
import json
import os
import secrets
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from poolproof import processes
from poolproof.errors import PlatformError, UsageError
from poolproof.lab import boot, sweep
from poolproof.lab.channel import Channel

_START_S: Final = 20.0
_ANSWER_S: Final = 5.0
_END_S: Final = 2.0
_GRACE_S: Final = 5.0
_PACKAGES: Final = str(Path(boot.__file__).parents[2])
_LIBRARY: Final = str(Path(os.__file__).parent)


class Guardian:
    """This process's hold on its keeper; it is a `poolproof.faults.Ledger`.

    Every method starts the keeper where there is none, and starts another where that one has died: whatever was
    recorded is kept here too and told anew. What this process starts from then on carries its mark, an environment
    variable.

    All state is guarded by `_lock`, held for the length of a message, and of its answer where there is one: so an
    answer is read by whoever waits for it. Nobody calls back into here, and the other end never waits for this one, so
    the lock is always given back. A fork gets a copy that refuses to be used: two that read one channel would take each
    other's answers, and what the fork tells would end with its parent's life and not with its own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._token = secrets.token_hex(8)
        self._channel: Channel | None = None
        self._keeper: processes.Handle | None = None
        self._stderr = 2
        self._starts = 0
        # What a keeper that died in the midst of it all would have known.
        self._stopped: dict[tuple[int, int], int] = {}
        self._folders: dict[str, None] = {}
        self._armed: tuple[str, float, float, float] | None = None

    @property
    def mark(self) -> str:
        """The environment variable that tells what this process started, and what came of that."""
        return sweep.variable(self._token)

    @property
    def pid(self) -> int | None:
        """The keeper, where there is one."""
        keeper = self._keeper
        return None if keeper is None else keeper.process.pid

    @property
    def starts(self) -> int:
        """How many keepers there have been: more than one, where one was killed."""
        return self._starts

    def start(self, *, stderr_fd: int | None = None) -> None:
        """See to it that a keeper is there.

        Args:
            stderr_fd: where it is to say why it ends this process; as it was told last, or standard error. Under pytest
                that is a file of its own while a test runs: the plugin passes a copy of the real one. A keeper that
                runs already goes on as it was told.

        Raises:
            PlatformError: it could not be started.
            UsageError: this object was inherited by a fork.
        """
        with self._using():
            if stderr_fd is not None:
                self._stderr = stderr_fd
            self._ensure()

    def record(self, handle: processes.Handle) -> bool:
        """Have the keeper hold what continues a process; once this returns, it may be stopped.

        False where that could not be had, so that the process must not be stopped.
        """
        with self._using():
            self._forget(handle.process.identity)
            self._stopped[handle.process.identity] = os.dup(handle.fd)
            is_held = False
            try:
                for _ in range(2):  # a keeper may die over it
                    self._ensure()
                    is_held = self._tell_stopped(handle.process.identity)
                    if is_held:
                        break
                    self._drop()
            finally:
                if not is_held:
                    self._forget(handle.process.identity)
            return is_held

    def healed(self, handle: processes.Handle) -> None:
        """The process runs again, or is gone."""
        with self._using():
            if self._forget(handle.process.identity) and self._channel is not None:
                pid, start_time = handle.process.identity
                self._channel.send("healed", pid=pid, start_time=start_time)

    def add_folder(self, path: Path) -> None:
        """Have a folder removed if this process dies, or ends without having removed it."""
        with self._using():
            self._folders[str(path.absolute())] = None
            self._say("folder", path=str(path.absolute()))

    def remove_folder(self, path: Path) -> None:
        """The folder is removed, or is to stay."""
        with self._using():
            if self._folders.pop(str(path.absolute()), path) is None and self._channel is not None:
                self._channel.send("folder-removed", path=str(path.absolute()))

    def arm(self, test: str, bound_s: float, *, grace_s: float = _GRACE_S) -> None:
        """Have this process ended if `disarm` is not called in time: said on standard error, SIGABRT, then SIGKILL.

        It is the last resort, for a test that not even a thread of this process could end. A process that a debugger
        or a terminal's job control has stopped is given its time anew.

        Args:
            test: what it says of whom.
            bound_s: how long the test may take.
            grace_s: how long this process then has to end it by itself.
        """
        with self._using():
            self._armed = (test, bound_s, grace_s, time.monotonic())
            self._say("arm", test=test, bound_s=bound_s, grace_s=grace_s)

    def disarm(self) -> None:
        """The test is over."""
        with self._using():
            if self._armed is not None:
                self._armed = None
                if self._channel is not None:
                    self._channel.send("disarm")

    def close(self) -> None:
        """End the keeper: what is stopped is continued, what is registered removed, and no process is ended.

        Whoever leaves a process behind on purpose, and comes to its end, keeps it. May be called again.
        """
        if os.getpid() != self._owner:
            return
        with self._lock:
            if self._channel is not None and self._keeper is not None:
                self._channel.send("done")
                self._keeper.wait_gone(_END_S)
            self._drop()
            self._armed = None
            self._folders.clear()
            for identity in list(self._stopped):
                self._forget(identity)
            os.environ.pop(self.mark, None)

    def __repr__(self) -> str:
        state = "no keeper" if self._keeper is None else f"keeper {self._keeper.process.pid}"
        armed = "" if self._armed is None else f", armed for {self._armed[0]}"
        held = f"{len(self._stopped)} stopped, {len(self._folders)} folders{armed}"
        return f"<Guardian of process {self._owner}: {state}, {held}>"

    # --- all of what follows is called under the lock -----------------------------------------------------------

    @contextlib.contextmanager
    def _using(self) -> Iterator[None]:
        if os.getpid() != self._owner:
            raise UsageError(
                f"this keeper is of process {self._owner}: process {os.getpid()}, its fork, gets one of its own from "
                "poolproof.rig.keeper.guardian()"
            )
        with self._lock:
            yield

    def _ensure(self) -> None:
        """Start a keeper unless one lives, and tell it what the one before it knew."""
        # Whatever a test did to its environment: what is started from now on is to be found.
        os.environ.setdefault(self.mark, "1")
        if self._keeper is not None and not self._keeper.gone:
            return
        self._drop()
        self._start()
        for identity in self._stopped:
            self._tell_stopped(identity)
        for path in self._folders:
            self._send("folder", path=path)
        if self._armed is not None:
            test, bound_s, grace_s, began = self._armed
            self._send("arm", test=test, bound_s=max(0.0, bound_s - (time.monotonic() - began)), grace_s=grace_s)

    def _say(self, kind: str, **fields: Any) -> None:
        """Tell it something that needs no answer, or tell its successor, who is told all there is when it starts."""
        self._ensure()
        if not self._send(kind, **fields):
            self._drop()
            self._ensure()

    def _send(self, kind: str, fds: tuple[int, ...] = (), **fields: Any) -> bool:
        return self._channel is not None and self._channel.send(kind, fds, **fields)

    def _tell_stopped(self, identity: tuple[int, int]) -> bool:
        """Hand over a pidfd, and wait until it is said to be held."""
        pid, start_time = identity
        if not self._send("undo", (self._stopped[identity],), pid=pid, start_time=start_time):
            return False
        deadline = time.monotonic() + _ANSWER_S
        while (message := self._hear(deadline)) is not None:
            if message["kind"] == "recorded" and (message["pid"], message["start_time"]) == identity:
                return True
        return False

    def _hear(self, deadline: float) -> dict[str, Any] | None:
        """The next message; None where the keeper is gone, or too late."""
        assert self._channel is not None  # noqa: S101 - whoever waits for an answer has asked
        poller = select.poll()
        poller.register(self._channel.fileno(), select.POLLIN)
        if self._keeper is not None:
            # Its death is no end-of-file where a process that was forked meanwhile holds a copy of its end.
            poller.register(self._keeper.fd, select.POLLIN)
        ready = {fd for fd, _ in poller.poll(max(0.0, deadline - time.monotonic()) * 1000)}
        if self._channel.fileno() not in ready:
            return None
        received = self._channel.receive()
        if received is None:
            return None
        message, fds = received
        if message["kind"] == "watching":
            process = processes.look_up(message["pid"])
            if process is None:  # it is gone again, and nothing but its pidfd is left
                os.close(fds[0])
                return None
            self._keeper = processes.Handle(process, fds[0])
        return message

    def _start(self) -> None:
        caller = processes.look_up(os.getpid())
        assert caller is not None  # noqa: S101 - it is this process
        ours, keepers = Channel.pair()
        charge = boot.Charge(
            sys_path=[_LIBRARY, f"{_LIBRARY}/lib-dynload", _PACKAGES],
            token=self._token,
            caller_pid=caller.pid,
            caller_start_time=caller.start_time,
            caller_fd=ours.fileno(),
            caller_end=processes.open_files()[ours.fileno()],
        )
        try:
            self._spawn(charge, keepers)
        except OSError as error:
            ours.close()
            raise PlatformError(f"the keeper of process {caller.pid} could not be started: {error}") from error
        finally:
            keepers.close()
        self._channel = ours
        if self._hear(time.monotonic() + _START_S) is None or self._keeper is None:
            self._drop()
            raise PlatformError(
                f"the keeper of process {caller.pid} ended before it watched, or did not within {_START_S:g} s: what "
                "kept it from that is on standard error"
            )
        self._starts += 1
        if self._starts == 1:
            atexit.register(self.close)

    def _spawn(self, charge: boot.Charge, channel: Channel) -> None:
        """Start what starts the keeper and ends at once: who waits for all children does not wait for the keeper."""
        # Of the environment, only the marks of whoever is around: their keepers end this one with all the rest.
        around = {
            name: value
            for name, value in os.environ.items()
            if name.startswith(sweep.VARIABLE_PREFIX) and name != self.mark
        }
        pid = os.posix_spawn(
            sys.executable,
            # Nothing of site-packages, nor of what the user's environment tells an interpreter.
            [sys.executable, "-I", "-S", boot.__file__, "guard", json.dumps(charge._asdict()), "1"],
            around,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                # As its standard output, and not as an inheritable descriptor: what another thread starts in this
                # moment must not inherit it, for then the death of the keeper would be no end-of-file.
                (os.POSIX_SPAWN_DUP2, channel.fileno(), 1),
                (os.POSIX_SPAWN_DUP2, self._stderr, 2),
            ],
        )
        starter = processes.Handle.open(pid)
        if starter is not None:
            if not starter.wait_gone(_START_S):  # the lock is held: nothing is waited for without a bound
                starter.send(signal.SIGKILL)
            starter.close()
        with contextlib.suppress(ChildProcessError):  # somebody waits for all children
            os.waitpid(pid, 0)

    def _drop(self) -> None:
        """Be done with a keeper, dead or alive; a test may have closed the descriptors of both ways to it."""
        if self._keeper is not None:
            # By its pid and start time, in case the pidfd is closed: two that watch would both act.
            again = processes.Handle.open(*self._keeper.process.identity)
            if again is not None:
                again.send(signal.SIGKILL)
                again.close()
            with contextlib.suppress(OSError):
                self._keeper.close()
            self._keeper = None
        if self._channel is not None:
            with contextlib.suppress(OSError):
                self._channel.close()
            self._channel = None

    def _forget(self, identity: tuple[int, int]) -> bool:
        fd = self._stopped.pop(identity, None)
        if fd is not None:
            os.close(fd)
        return fd is not None


# One for this process, made when it is first asked for; written under `_making`, or by a fork, which has one thread.
_own: Guardian | None = None
_making = threading.Lock()
_inherited: list[Guardian] = []


def guardian() -> Guardian:
    """The one of this process; it starts a keeper when it is first used for something."""
    global _own
    with _making:
        if _own is None:
            _own = Guardian()
        return _own


def _forget() -> None:
    global _own, _making
    _making = threading.Lock()  # the fork may have copied a lock whose holder does not exist here
    if _own is not None:
        # Kept, since its end of the channel would be closed with it: by that the parent's keeper knows its forks.
        _inherited.append(_own)
        _own = None


os.register_at_fork(after_in_child=_forget)
