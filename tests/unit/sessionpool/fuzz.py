"""Damaged and lying frames through both readers: `python -m tests.unit.sessionpool.fuzz 200000 [seed]`.

What a reader gives is compared with a second reader that is too simple to be wrong. Unlike `tests/fuzz`, this needs
nothing but Python, and the same seed gives the same frames.
"""

import contextlib
import io
import itertools
import random
import resource
import sys
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from sessionpool import payload
from sessionpool.errors import MalformedFrame
from sessionpool.wire import (
    HEADER_SIZE,
    MAGIC,
    MARGIN,
    RECEIVE,
    SUMS_SIZE,
    TO_POOL,
    TO_WORKER,
    Decoder,
    Frame,
    Kind,
    encode,
)
from sessionpool.worker import _Worker

INCARNATION: Final = 7
LIMIT: Final = 1 << 30
_HARMLESS: Final = (
    b"".join(map(bytes, payload.dump((pow, (2, 5), {}), "the operation"))),
    b"".join(map(bytes, payload.dump((int, ("no number",), {}), "the operation"))),
    b"".join(map(bytes, payload.dump((len, ((1, 2),)), "the initializer"))),
    b"\x80\x05garbage",
    b"",
)
"""Bodies that a worker may be made to run, whatever their frames say; no other one is given right sums."""

Fields = list[int]
"""Magic, kind, reserved, size, incarnation, sequence, epoch, note."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came of it.

    Attributes:
        frames: how many were mutated.
        accepted: how many frames the readers gave, those that were left alone among them.
        refused: how many streams were refused.
        unfinished: how many streams were left waiting for more.
        growth_bytes: by how much the largest resident size of this process has grown.
        took_s: how long it took.
    """

    frames: int
    accepted: int
    refused: int
    unfinished: int
    growth_bytes: int
    took_s: float


def fuzz(count: int, seed: int = 0) -> Report:
    """Mutate so many frames, nine of ten on their way to the pool, the others on their way to a worker.

    Raises:
        AssertionError: a reader gave what it should not, raised what it should not, or took too much memory.
    """
    chance = random.Random(seed)
    before = _resident_bytes()
    begun_s = time.perf_counter()
    accepted = refused = unfinished = 0
    for number in range(count):
        if number % 10:
            given, how = _to_pool(chance)
        else:
            given, how = _to_worker(chance)
        accepted += given
        refused += how == "refused"
        unfinished += how == "unfinished"
    took_s = time.perf_counter() - begun_s
    growth = _resident_bytes() - before
    return Report(
        frames=count, accepted=accepted, refused=refused, unfinished=unfinished, growth_bytes=growth, took_s=took_s
    )


def _resident_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# --- streams --------------------------------------------------------------------------------------------------------


def sealed(fields: Fields, body: bytes) -> bytes:
    """A frame with right sums, whatever it says."""
    magic, kind, reserved, size, incarnation, sequence, epoch, note = fields
    whole = magic.to_bytes(4, "little") + kind.to_bytes(2, "little") + reserved.to_bytes(2, "little")
    whole += b"".join(it.to_bytes(8, "little") for it in (size, incarnation, sequence, epoch, note))
    head = zlib.crc32(whole)
    return (zlib.crc32(body, head) ^ head).to_bytes(4, "little") + head.to_bytes(4, "little") + whole + body


def honest(chance: random.Random, kinds: list[Kind], bodies: tuple[bytes, ...]) -> tuple[Fields, bytes]:
    body = chance.choice(bodies)
    if bodies is not _HARMLESS and chance.random() < 0.02:
        body = chance.randbytes(8) * (RECEIVE // 8 + chance.randrange(RECEIVE // 16))  # too large to be held
    fields = [MAGIC, int(chance.choice(kinds)), 0, len(body), INCARNATION, *(chance.randrange(4) for _ in range(3))]
    return fields, body


def _lie(chance: random.Random, fields: Fields, body: bytes) -> bytes:
    """Sums that are right, of something that is not."""
    fields = list(fields)
    at = chance.choice([0, 1, 2, 3, 3, 3, 4, 5, 6, 7])
    if at == 3:
        most = chance.choice([len(body) + 3, RECEIVE, 2 * RECEIVE, LIMIT, LIMIT + 2, (1 << 64) - 1])
        fields[3] = chance.randint(max(0, most - 4), most)
    else:
        fields[at] = chance.randrange(1 << {0: 32, 1: 16, 2: 16}.get(at, 64)) if chance.random() < 0.7 else 1
    return sealed(fields, body)


def _mutate(chance: random.Random, fields: Fields, body: bytes) -> bytes:
    whole = sealed(fields, body)
    at = chance.randrange(len(whole) + 1)
    match chance.randrange(9):
        case 0 | 1:  # a flipped bit
            at = chance.randrange(min(len(whole), HEADER_SIZE) if chance.random() < 0.5 else len(whole))
            return whole[:at] + bytes([whole[at] ^ 1 << chance.randrange(8)]) + whole[at + 1 :]
        case 2:  # an end that is missing
            return whole[:at]
        case 3:  # a part that is missing
            return whole[:at] + whole[at + 1 + chance.randrange(8) :]
        case 4:  # a part that comes twice
            return whole[:at] + whole[max(0, at - chance.randrange(HEADER_SIZE)) :]
        case 5:  # something between
            return whole[:at] + chance.randbytes(1 + chance.randrange(16)) + whole[at:]
        case 6:  # nothing but noise
            return chance.randbytes(1 + chance.randrange(2 * HEADER_SIZE))
        case _:
            return _lie(chance, fields, body)


def _stream(chance: random.Random, kinds: list[Kind], bodies: tuple[bytes, ...]) -> bytes:
    """A few frames, one of them mutated, and sometimes out of order or twice."""
    frames = [sealed(*honest(chance, kinds, bodies)) for _ in range(chance.randrange(4))]
    frames.insert(chance.randrange(len(frames) + 1), _mutate(chance, *honest(chance, kinds, bodies)))
    if chance.random() < 0.1:
        frames.append(chance.choice(frames))
    if chance.random() < 0.1:
        chance.shuffle(frames)
    return b"".join(frames)


def _pieces(chance: random.Random, stream: bytes) -> list[bytes]:
    cuts = [0, *sorted(chance.randrange(len(stream) + 1) for _ in range(chance.randrange(5))), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(cuts) if start < end]


# --- readers --------------------------------------------------------------------------------------------------------

Told = tuple[int, int, int, int, int, bytes]


def simple(stream: bytes, kinds: frozenset[Kind], limit: int, *, is_strict: bool) -> tuple[list[Told], str]:
    """The frames of a stream that is there as a whole, and how it ends: `between`, `unfinished` or `refused`.

    The sum of the fields alone is for frames that are not all there yet; of others, only a strict reader looks at it:
    it is folded into the other sum, where the same damage to both goes unseen.
    """
    frames: list[Told] = []
    at = 0
    while len(stream) - at >= HEADER_SIZE:
        total, head = (int.from_bytes(stream[at + a : at + a + 4], "little") for a in (0, 4))
        fields = stream[at + SUMS_SIZE : at + HEADER_SIZE]
        magic, kind, reserved = (int.from_bytes(fields[a:b], "little") for a, b in ((0, 4), (4, 6), (6, 8)))
        size, incarnation, sequence, epoch, note = (
            int.from_bytes(fields[a : a + 8], "little") for a in range(8, len(fields), 8)
        )
        body = stream[at + HEADER_SIZE : at + HEADER_SIZE + size]
        is_whole = len(body) == size
        if zlib.crc32(fields) != head and (is_strict or not is_whole):
            return frames, "refused"
        if is_whole and zlib.crc32(fields + body) ^ head != total:
            return frames, "refused"
        if (magic, reserved, incarnation) != (MAGIC, 0, INCARNATION) or kind not in set(kinds) or size > limit:
            return frames, "refused"
        if not is_whole:
            return frames, "unfinished"
        frames.append((kind, incarnation, sequence, epoch, note, body))
        at += HEADER_SIZE + size
    return frames, "between" if at == len(stream) else "unfinished"


def give(decoder: Decoder, piece: bytes) -> Iterator[Frame]:
    """Give bytes to a reader as its user does: into its room where it has one, and no more than fits there."""
    while piece:
        room = decoder.room()
        if room is None:
            yield from decoder.feed(piece)
            return
        with room:
            size = min(len(room), len(piece))
            room[:size] = piece[:size]
        yield from decoder.received(size)
        piece = piece[size:]


def is_between_frames(decoder: Decoder) -> bool:
    """Whether every byte so far belongs to a frame that was given: it holds none."""
    return not decoder._held and decoder._body is None


def read(decoder: Decoder, pieces: list[bytes]) -> tuple[list[Told], str]:
    """What a reader gives, and how it ends."""
    frames: list[Told] = []
    try:
        for piece in pieces:
            for it in give(decoder, piece):
                frames.append((*it[:5], bytes(it.body)))  # noqa: PERF401 - those before a refusal count
    except MalformedFrame:
        assert decoder.room() is None, "there is room for more of a stream that was refused"
        with contextlib.suppress(MalformedFrame):
            given = list(decoder.feed(encode(Kind.READY, INCARNATION)))
            raise AssertionError(f"a stream that was refused went on with {given}") from None
        return frames, "refused"
    return frames, "between" if is_between_frames(decoder) else "unfinished"


def _to_pool(chance: random.Random) -> tuple[int, str]:
    bodies = (b"", b".", chance.randbytes(chance.randrange(200)))
    stream = _stream(chance, sorted(TO_POOL), bodies)
    found = read(Decoder(INCARNATION, TO_POOL, LIMIT), _pieces(chance, stream))
    frames, how = found
    most = simple(stream, TO_POOL, LIMIT, is_strict=False)
    least = simple(stream, TO_POOL, LIMIT, is_strict=True)[0]
    assert frames[: len(least)] == least, f"two readers differ on {stream!r}"
    assert found == most or (how == "refused" and frames == most[0][: len(frames)]), f"they differ on {stream!r}"
    assert found == most or len(least) < len(most[0]), f"a stream was refused that is right: {stream!r}"
    return len(frames), how


# --- a worker -------------------------------------------------------------------------------------------------------


class Wire:
    """A socket whose other end has said everything already."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces[::-1]
        self.answers = io.BytesIO()

    def recv(self, size: int) -> bytes:
        if not self._pieces:
            return b""
        piece = self._pieces.pop()
        if len(piece) > size:
            self._pieces.append(piece[size:])
        return piece[:size]

    def recv_into(self, room: memoryview) -> int:
        piece = self.recv(len(room))
        room[: len(piece)] = piece
        return len(piece)

    def sendall(self, data: Any) -> None:
        self.answers.write(data)

    def close(self) -> None:
        """It has said everything already."""


def work(stream: bytes, pieces: list[bytes]) -> tuple[int, list[Told]]:
    """Have a worker read a stream; returns its exit status and its answers, which are read here."""
    wire = Wire(pieces)
    words = memoryview(bytearray(4096)).cast("Q")
    worker = _Worker(wire, words, INCARNATION, LIMIT)  # type: ignore[arg-type]
    status = worker.run()
    answers, how = read(Decoder(INCARNATION, TO_POOL, LIMIT), [wire.answers.getvalue()])
    assert how == "between", f"a worker's answers to {stream!r} are {how}"
    return status, answers


def _to_worker(chance: random.Random) -> tuple[int, str]:
    stream = _stream(chance, sorted(TO_WORKER), _HARMLESS)
    status, answers = work(stream, _pieces(chance, stream))
    frames, how = simple(stream, TO_WORKER, LIMIT + MARGIN, is_strict=False)
    is_asked = any(frame[0] == Kind.STOP for frame in frames)
    failed = [frame for frame in answers if frame[0] == Kind.FAILED]
    assert status == bool(failed), f"it left with {status} after {failed}"
    assert failed or is_asked or how != "refused", "a worker believed a stream that it should refuse"
    assert len(answers) <= len(frames) + 1, "a worker answered what it was not asked"
    return len(answers), "refused" if failed else how


def main() -> None:
    """Run as many as the command line says, and tell."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    it = fuzz(count, int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    sys.stdout.write(
        f"{it.frames} mutated frames in {it.took_s:.1f} s: {it.refused} streams refused, {it.unfinished} left waiting, "
        f"{it.accepted} frames given; peak memory grew by {it.growth_bytes / 1e6:.1f} MB\n"
    )


if __name__ == "__main__":
    main()
