"""Capacity by rendezvous: how many operations were seen running at once. What the pool says of itself is not asked."""

import contextlib
import os
import selectors
import socket

from poolproof.clock import SECOND_NS, now_ns


class Rendezvous:
    """A meeting place in the abstract socket namespace: no file, no path limit, gone with its process.

    Operations of the probe's built-in kind connect and stay until they are released.

    Attributes:
        most: the most that were there at once, since it was opened or last asked to gather.
    """

    def __init__(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.address = f"\0poolproof-{os.getpid()}-{os.urandom(8).hex()}"
        self._listener.bind(self.address)
        self._listener.listen(1024)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._present: list[socket.socket] = []
        self.most = 0

    def gather(self, expected: int, timeout_s: float) -> int:
        """Wait until `expected` operations are there at once, or the time is up; the most seen at once.

        All are released on return.
        """
        self.most = 0
        self.assemble(expected, timeout_s)
        self._release_all()
        return self.most

    def assemble(self, expected: int, timeout_s: float) -> int:
        """As `gather`, but they stay until the close; how many are there. One that dies meanwhile no longer counts."""
        deadline = now_ns() + round(timeout_s * SECOND_NS)
        while True:
            remaining = deadline - now_ns()
            wait_s = 0.0 if len(self._present) >= expected else max(0.0, remaining / SECOND_NS)
            ready = self._selector.select(wait_s)
            for key, _ in ready:
                if key.fileobj is self._listener:
                    guest, _ = self._listener.accept()
                    self._present.append(guest)
                    self._selector.register(guest, selectors.EVENT_READ)
                elif isinstance(key.fileobj, socket.socket):
                    self._selector.unregister(key.fileobj)
                    self._present.remove(key.fileobj)
                    key.fileobj.close()
            self.most = max(self.most, len(self._present))
            if not ready and (len(self._present) >= expected or remaining <= 0):
                return len(self._present)

    def _release_all(self) -> None:
        for guest in self._present:
            self._selector.unregister(guest)
            _release(guest)
        self._present.clear()

    def close(self) -> None:
        """Release whoever came late and refuse all who are still to come.

        A forked worker holds a copy of the listener, so closing it would leave them waiting in its queue.
        """
        self._release_all()
        self._selector.close()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            while True:
                _release(self._listener.accept()[0])
        self._listener.close()


def _release(guest: socket.socket) -> None:
    # A byte, since end-of-file reaches the guest only when every forked copy of this end is closed too.
    with contextlib.suppress(OSError):
        guest.send(b".", socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    guest.close()
