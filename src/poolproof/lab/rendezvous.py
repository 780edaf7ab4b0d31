"""Capacity by rendezvous: how many operations were seen running at once. What the pool says of itself is not asked."""

import contextlib
import os
import selectors
import socket

from poolproof.clock import SECOND_NS, now_ns


class Rendezvous:
    """A meeting place in the abstract socket namespace: no file, no path limit, gone with its process.

    Operations of the probe's built-in kind connect and stay until they are released.
    """

    def __init__(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.address = f"\0poolproof-{os.getpid()}-{os.urandom(8).hex()}"
        self._listener.bind(self.address)
        self._listener.listen(1024)

    def gather(self, expected: int, timeout_s: float) -> int:
        """Wait until `expected` operations are there at once, or the time is up; the most seen at once.

        All are released on return. One that dies meanwhile closes its connection and no longer counts.
        """
        deadline = now_ns() + round(timeout_s * SECOND_NS)
        present: list[socket.socket] = []
        most = 0
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            while len(present) < expected and (remaining := deadline - now_ns()) > 0:
                for key, _ in selector.select(remaining / SECOND_NS):
                    if key.fileobj is self._listener:
                        guest, _ = self._listener.accept()
                        present.append(guest)
                        selector.register(guest, selectors.EVENT_READ)
                    elif isinstance(key.fileobj, socket.socket):
                        selector.unregister(key.fileobj)
                        present.remove(key.fileobj)
                        key.fileobj.close()
                most = max(most, len(present))
        for guest in present:
            _release(guest)
        return most

    def close(self) -> None:
        """Release whoever came late and refuse all who are still to come.

        A forked worker holds a copy of the listener, so closing it would leave them waiting in its queue.
        """
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
