"""The frames between the pool and a worker: how they are written, and how they are read out of a stream of bytes.

A frame is a header and a body. The header begins with two checksums (CRC-32): one of fields and body together, and one
of the fields alone. Nothing is unpickled, and no field acted on, before the first is right. The second is for a frame
that is not all there: a length is waited for only once it is known to be whole, since a flipped bit in it would else
make the reader wait for bytes that nobody sends. It is folded into the first, so that no bit of a frame is unguarded.
"""

import mmap
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from typing import Final, NamedTuple

from sessionpool.errors import MalformedFrame

Buffer = bytes | bytearray | memoryview | mmap.mmap

MAGIC: Final = 0x50535031
MARGIN: Final = 1 << 16
"""What a frame may carry beyond the limit for users' bodies: the pool's own words."""

RECEIVE: Final = 1 << 16
"""How much is read at once: more would cost an allocation from the system, each time."""

_FIELDS: Final = struct.Struct("<IHHQQQQQ")
_SUMS: Final = struct.Struct("<II")
_HEADER: Final = struct.Struct("<IIIHHQQQQQ")
SUMS_SIZE: Final = _SUMS.size
HEADER_SIZE: Final = _HEADER.size
_OWN_MEMORY: Final = RECEIVE
"""From which size on a body that is not all there is received into memory of its own."""

_crc32 = zlib.crc32
_pack_fields = _FIELDS.pack
_pack_sums = _SUMS.pack
_unpack_header = _HEADER.unpack_from


class Kind(IntEnum):
    """What a frame is. The first ones go to a worker, the others come from it."""

    INIT = 1
    """The initialiser and its arguments."""
    CALL = 2
    """An operation; its epoch is 0 where it belongs to no session."""
    OPEN = 3
    """The first operation of an epoch: its state is made."""
    FORGET = 4
    """An epoch is over: its state is destroyed."""
    STOP = 5
    """Leave."""
    READY = 6
    """The worker can be given operations."""
    FAILED = 7
    """The initialiser failed; the body says how."""
    RESULT = 8
    ERROR = 9
    """The exception of the user's code."""
    UNSENDABLE = 10
    """What the operation ended with does not pickle, or is too large; the body says which."""
    UNREADABLE = 11
    """The operation did not unpickle, and was not run."""
    REFUSED = 12
    """The worker does not hold the epoch, and the operation was not run."""
    FORGOTTEN = 13
    """The epoch's state is destroyed."""
    RETURNED = 14
    """The operation was recalled, and was not run."""


TO_WORKER: Final = frozenset({Kind.INIT, Kind.CALL, Kind.OPEN, Kind.FORGET, Kind.STOP})
TO_POOL: Final = frozenset(Kind) - TO_WORKER


class Frame(NamedTuple):
    """One frame.

    Attributes:
        kind: a `Kind`, as a number.
        incarnation: the life of the worker that it goes to or comes from.
        sequence: the number of the operation within that life, from 1; 0 where it is about none.
        epoch: the binding of a session to a worker; 0 for none.
        note: from a worker, how many nanoseconds the operation took; else 0.
        body: what the kind says; valid until the next frame is asked for where it is a view.
    """

    kind: int
    incarnation: int
    sequence: int
    epoch: int
    note: int
    body: Buffer


def encode(kind: int, incarnation: int, sequence: int = 0, epoch: int = 0, note: int = 0, body: Buffer = b"") -> bytes:
    """A small frame in one piece."""
    fields = _pack_fields(MAGIC, kind, 0, len(body), incarnation, sequence, epoch, note)
    head = _crc32(fields)
    return _pack_sums(_crc32(body, head) ^ head, head) + fields + body


def encode_parts(
    kind: int, incarnation: int, sequence: int, epoch: int, note: int, parts: Sequence[Buffer]
) -> list[Buffer]:
    """A frame whose body is not copied together: the header, and the parts as they were given."""
    fields = _pack_fields(MAGIC, kind, 0, sum(map(len, parts)), incarnation, sequence, epoch, note)
    head = total = _crc32(fields)
    for part in parts:
        total = _crc32(part, total)
    return [_pack_sums(total ^ head, head) + fields, *parts]


class Decoder:
    """Takes bytes as they come, and gives whole and verified frames.

    It holds what is not yet a frame, and nothing else. What it was fed is either part of a frame that it gave, or held,
    or has raised `MalformedFrame`, after which the stream is lost and nothing more is given.

    Args:
        incarnation: the life that every frame must name.
        kinds: the kinds that may come from this side.
        limit: the largest body, in bytes.
    """

    __slots__ = ("_body", "_crc", "_filled", "_header", "_held", "_incarnation", "_kinds", "_limit", "_torn")

    def __init__(self, incarnation: int, kinds: frozenset[Kind], limit: int) -> None:
        self._incarnation = incarnation
        self._kinds = frozenset(map(int, kinds))
        self._limit = limit
        self._held = b""
        self._body: mmap.mmap | None = None
        self._header: tuple[int, ...] = ()
        self._filled = 0
        self._crc = 0
        self._torn: MalformedFrame | None = None

    def feed(self, data: Buffer) -> Iterable[Frame]:
        """The frames that are whole with these bytes; each is verified when it is asked for.

        All of them must be asked for before the next bytes are fed.

        Raises:
            MalformedFrame: the bytes are no frame, or one of another incarnation, kind or size than may come here.
        """
        end = len(data)
        if end >= HEADER_SIZE and self._body is None and not self._held and self._torn is None:
            # One frame and nothing else, as a client that waits finds it: no loop for that.
            header = _unpack_header(data)
            if header[5] == end - HEADER_SIZE:
                try:
                    self._verify(header, view := memoryview(data), 0, end)
                except MalformedFrame as error:
                    self._torn = error
                    raise
                return (Frame(header[3], header[6], header[7], header[8], header[9], view[HEADER_SIZE:]),)
        return self._frames(data)

    def _frames(self, data: Buffer) -> Iterator[Frame]:
        if self._torn is not None:
            raise self._torn
        try:
            if self._body is not None:
                view = memoryview(data)
                wanted = len(self._body) - self._filled
                self._body[self._filled : self._filled + min(wanted, len(view))] = bytes(view[:wanted])
                yield from self.received(min(wanted, len(view)))
                data = view[wanted:]
            if self._held:
                data = self._held + bytes(data)
                self._held = b""
            at, end = 0, len(data)
            view = memoryview(data)
            while end - at >= HEADER_SIZE:
                header = _unpack_header(data, at)
                start = at + HEADER_SIZE
                after = start + header[5]
                self._verify(header, view, at, end)
                if after > end:
                    if header[5] < _OWN_MEMORY:
                        break
                    self._begin_large(header, view[start:])
                    return
                at = after
                yield Frame(header[3], header[6], header[7], header[8], header[9], view[start:after])
            self._held = bytes(view[at:])
        except MalformedFrame as error:
            self._torn = error
            raise

    def _verify(self, header: tuple[int, ...], view: memoryview, at: int, end: int) -> None:
        """That a frame is one, as far as it is there."""
        total, head, magic, kind, reserved, size, owner = header[:7]
        after = at + HEADER_SIZE + size
        if after <= end:
            if _crc32(view[at + SUMS_SIZE : after]) ^ head != total:
                raise MalformedFrame("it is damaged, or none")
        elif _crc32(view[at + SUMS_SIZE : at + HEADER_SIZE]) != head:
            raise MalformedFrame("its header is damaged, or none")
        if magic != MAGIC or kind not in self._kinds or reserved:
            raise MalformedFrame(f"kind {kind} does not come from this side")
        if owner != self._incarnation:
            raise MalformedFrame(f"it names incarnation {owner}, and this is {self._incarnation}")
        if size > self._limit:
            raise MalformedFrame(f"a body of {size} bytes, and {self._limit} is the most")

    def room(self) -> memoryview | None:
        """Where the next bytes may be received directly, while a large body is under way; else None."""
        if self._body is None or self._torn is not None:
            return None
        return memoryview(self._body)[self._filled :]

    def received(self, size: int) -> Iterator[Frame]:
        """Tell that so many bytes were received into `room()`; gives the frame once it is whole."""
        assert self._body is not None  # noqa: S101 - only after `room()` gave a view
        with memoryview(self._body)[self._filled : self._filled + size] as view:
            self._crc = _crc32(view, self._crc)
        self._filled += size
        if self._filled == len(self._body):
            yield self._finish_large()

    def _begin_large(self, header: tuple[int, ...], start: memoryview) -> None:
        """Receive a large body into memory of its own, which is backed by real pages only as it is filled."""
        self._header = header
        self._body = mmap.mmap(-1, header[5])
        self._body[: len(start)] = bytes(start)
        self._filled = len(start)
        self._crc = _crc32(start, header[1])

    def _finish_large(self) -> Frame:
        body, self._body = self._body, None
        assert body is not None  # noqa: S101 - by its only caller
        total, head, _, kind, _, _, owner, sequence, epoch, note = self._header
        if self._crc ^ head != total:
            self._torn = MalformedFrame("the body is damaged")
            raise self._torn
        return Frame(kind, owner, sequence, epoch, note, memoryview(body))
