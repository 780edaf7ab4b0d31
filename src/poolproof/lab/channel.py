"""Messages between the processes of a run: one JSON object a packet, file descriptors beside it where needed.

Standard library only. Packets keep their bounds and an end that is closed reads as end-of-file, so a message is whole
or was never sent.
"""

import json
import socket
from typing import Any, Final

_PACKET_BYTES: Final = 1 << 16

Message = dict[str, Any]


class Channel:
    """One end of a socket pair of packets."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    @classmethod
    def pair(cls) -> "tuple[Channel, Channel]":
        """Two connected ends."""
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(one), cls(other)

    @classmethod
    def inherited(cls, fd: int) -> "Channel":
        """The end that the starter of this process left open as `fd`; not passed on to processes started from here."""
        end = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=fd)
        end.set_inheritable(False)
        return cls(end)

    def fileno(self) -> int:
        """For selectors."""
        return self._end.fileno()

    def send(self, kind: str, fds: tuple[int, ...] = (), **fields: Any) -> bool:
        """Send a message without ever blocking.

        False where the other end is gone (its death is learned elsewhere, and acted on there) or so far behind that its
        buffer is full (a caller that is stopped): whoever keeps watch must not wait for a reader.
        """
        packet = json.dumps({"kind": kind, **fields}).encode()
        try:
            socket.send_fds(self._end, [packet], fds, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
        except OSError:
            return False
        return True

    def receive(self) -> tuple[Message, list[int]] | None:
        """The next message and the descriptors that came with it; None at end-of-file."""
        try:
            packet, fds, _, _ = socket.recv_fds(self._end, _PACKET_BYTES, 8)
        except ConnectionError:
            return None
        return (json.loads(packet), fds) if packet else None

    def close(self) -> None:
        """Close this end; the other one reads end-of-file."""
        self._end.close()
