"""The simulated wire of one worker: two streams, each in order, each with what may happen to the bytes in it.

As long as nothing harms it a frame crosses as the value that it is. Once something does, the stream carries bytes, as
the pool's own wire writes and reads them: what is cut or flipped meets the true decoder.
"""

import random
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from poolproof.simulation.timeline import Timeline
from sessionpool.errors import MalformedFrame
from sessionpool.wire import TO_POOL, TO_WORKER, Decoder, Frame, encode

LATENCY_NS: Final = 50_000
"""How long a frame takes when nothing is wrong."""

_LIMIT: Final = 1 << 20

Frames = Callable[[list[Frame]], object]
Torn = Callable[[MalformedFrame], object]


class Harm:
    """What befalls the frames of one direction for a while.

    Attributes:
        kind: `delay`, `partition`, `duplicate`, `corrupt` or `truncate`.
        amount: seconds of delay, or the share of the frames that it befalls.
        met: how many frames it befell.
    """

    __slots__ = ("amount", "chance", "kind", "met")

    def __init__(self, kind: str, amount: float, chance: random.Random) -> None:
        self.kind = kind
        self.amount = amount
        self.chance = chance
        self.met = 0

    def befalls(self) -> bool:
        """Whether the next frame is one of its share."""
        if self.chance.random() < self.amount:
            self.met += 1
            return True
        return False


class Stream:
    """One direction of a wire.

    Args:
        timeline: whose clock it goes by.
        side: who reads at its end.
        incarnation: the worker's.
        deliver: takes the frames that arrive.
        torn: told that what arrived is no frame.
    """

    __slots__ = (
        "_deliver",
        "_held",
        "_incarnation",
        "_kinds",
        "_last",
        "_timeline",
        "_torn",
        "_under_way",
        "decoder",
        "harms",
        "is_closed",
    )

    def __init__(
        self,
        timeline: Timeline,
        side: Literal["worker", "pool"],
        incarnation: int,
        deliver: Frames,
        torn: Torn,
    ) -> None:
        self._timeline = timeline
        self._incarnation = incarnation
        self._kinds = _KINDS[side]
        self._deliver = deliver
        self._torn = torn
        self._last = 0
        self._under_way: deque[Any] = deque()
        """What was sent and has not arrived: a list of frames, or bytes."""
        self._held: list[Any] = []
        """What a partition keeps back."""
        self.decoder: Decoder | None = None
        self.harms: list[Harm] = []
        self.is_closed = False

    @property
    def is_busy(self) -> bool:
        """Whether something is on its way."""
        return bool(self._under_way)

    def send(self, frames: list[Frame]) -> None:
        """Have frames cross; they arrive together, after all that was sent before."""
        if self.is_closed:
            return
        if self.harms or self.decoder is not None:
            self._send_harmed(frames)
            return
        self._put(frames, self._timeline.elapsed + LATENCY_NS)

    def heal(self, harm: Harm) -> None:
        """A harm is over; what a partition kept back goes on its way."""
        self.harms.remove(harm)
        if not any(it.kind == "partition" for it in self.harms):
            held, self._held = self._held, []
            for parcel in held:
                self._put(parcel, self._timeline.elapsed + LATENCY_NS)

    def drain(self) -> None:
        """Take what is still under way at once: its sender is gone, and the kernel has it all."""
        while self._under_way and not self.is_closed:
            self._take(self._under_way.popleft())
        self.close()

    def close(self) -> None:
        """Nothing crosses any more."""
        self.is_closed = True
        self._under_way.clear()
        self._held.clear()

    def _put(self, parcel: Any, at: int) -> None:
        if at < self._last:
            at = self._last
        self._last = at
        self._under_way.append(parcel)
        self._timeline.at(at, self._arrive)

    def _arrive(self) -> None:
        if self._under_way:
            self._take(self._under_way.popleft())

    def _take(self, parcel: Any) -> None:
        if self.decoder is None:
            self._deliver(parcel)
            return
        try:
            data = b"".join(map(_as_bytes, parcel)) if isinstance(parcel, list) else parcel
            frames = [_as_value(frame) for frame in self.decoder.feed(data)]
        except MalformedFrame as error:
            self.close()
            self._torn(error)
            return
        if frames:
            self._deliver(frames)

    def _send_harmed(self, frames: list[Frame]) -> None:
        at = self._timeline.elapsed + LATENCY_NS
        parcel: Any = frames
        for harm in self.harms:
            if harm.kind == "delay":
                harm.met += 1
                at += round(harm.chance.expovariate(1.0) * harm.amount * 1e9)
            elif harm.kind == "partition":
                harm.met += 1
            elif harm.befalls():
                parcel = _MANGLERS[harm.kind](
                    b"".join(map(_as_bytes, parcel)) if isinstance(parcel, list) else parcel, harm.chance
                )
                if self.decoder is None:
                    self.decoder = Decoder(self._incarnation, self._kinds, _LIMIT)
        if any(harm.kind == "partition" for harm in self.harms):
            self._held.append(parcel)
        else:
            self._put(parcel, at)


_KINDS: Final = {"worker": TO_WORKER, "pool": TO_POOL}


def _as_bytes(frame: Frame) -> bytes:
    kind, incarnation, sequence, epoch, note, body = frame
    return encode(kind, incarnation, sequence, epoch, note, msgspec.msgpack.encode(body))


def _as_value(frame: Frame) -> Frame:
    return frame._replace(body=msgspec.msgpack.decode(bytes(frame.body)))


def _corrupt(data: bytes, chance: random.Random) -> bytes:
    """One bit is another one."""
    mangled = bytearray(data)
    bit = int(chance.random() * len(data) * 8)
    mangled[bit >> 3] ^= 1 << (bit & 7)
    return bytes(mangled)


def _truncate(data: bytes, chance: random.Random) -> bytes:
    """Its end is missing."""
    return data[: int(chance.random() * len(data))]


def _duplicate(data: bytes, chance: random.Random) -> bytes:
    return data + data


_MANGLERS: Final = {"corrupt": _corrupt, "truncate": _truncate, "duplicate": _duplicate}
