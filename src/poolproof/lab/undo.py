"""What a keeper owes to the living: who is stopped, to be continued, and whose death is to be waited for.

Standard library only, for the keepers of runs and of tests. Each has one thread, which owns both.
"""

import contextlib
import os
import signal

from poolproof.lab.channel import Message


class Stopped:
    """The undo records: a pidfd of every process that is stopped, or about to be."""

    def __init__(self) -> None:
        self._pidfds: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        return len(self._pidfds)

    def record(self, message: Message, fds: list[int]) -> None:
        """Keep a pidfd; it is to be acknowledged only then, and the harm done only after that."""
        self.forget(message)  # the same process may be stopped anew
        self._pidfds[message["pid"], message["start_time"]] = fds[0]

    def forget(self, message: Message) -> None:
        """Let go of a process that was continued, or was not stopped after all."""
        fd = self._pidfds.pop((message["pid"], message["start_time"]), None)
        if fd is not None:
            os.close(fd)

    def heal(self) -> None:
        """Continue every one of them, and let go."""
        for fd in self._pidfds.values():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(fd, signal.SIGCONT)
            os.close(fd)
        self._pidfds.clear()


def reap() -> dict[int, int]:
    """Wait for every child that has ended, and for no other; their wait statuses by pid."""
    statuses: dict[int, int] = {}
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            statuses[pid] = status
    return statuses
