"""Fuzzes the reader of frames: whatever the bytes, and however they are cut, it gives whole frames or one refusal.

`python -m tests.fuzz.decoder -max_total_time=300`; what follows goes to libFuzzer. It needs atheris, which has wheels
for Python 3.11 to 3.13, and ends with status 77 and the input that did it where a promise is broken.
"""

import importlib
import itertools
import sys
import zlib
from collections.abc import Iterator
from typing import Any, Final

from sessionpool.errors import MalformedFrame
from sessionpool.wire import (
    HEADER_SIZE,
    RECEIVE,
    SUMS_SIZE,
    TO_POOL,
    TO_WORKER,
    Decoder,
    Frame,
    Kind,
    encode,
    encode_parts,
)
from tests.unit.sessionpool.fuzz import is_between_frames

INCARNATION: Final = 7
LIMIT: Final = 3 * RECEIVE
EDGES: Final = [RECEIVE - 1, RECEIVE, RECEIVE + 1, LIMIT, LIMIT + 1]
MOST_FRAMES: Final = 6
"""A stream of more says nothing new, and takes longer."""

Told = tuple[int, int, int, int, int, bytes]
"""A frame with a body of its own: the one that the reader gave is valid for a moment only."""


def told(frame: Frame) -> Told:
    return (*frame[:5], bytes(frame.body))


def read(pieces: list[bytes], into_room: bool) -> tuple[list[Told], bool, bool]:
    """The frames that are read, whether the stream was refused, and whether it ended between two frames."""
    decoder = Decoder(INCARNATION, TO_POOL, LIMIT)
    frames: list[Told] = []
    refused = False
    for piece in pieces:
        if refused:
            must_be_refused(decoder, piece)
            continue
        try:
            for frame in give(decoder, piece, into_room):
                frames.append(told(frame))  # noqa: PERF401 - those before a refusal count
        except MalformedFrame:
            refused = True
    assert not refused or decoder.room() is None
    return frames, refused, refused or is_between_frames(decoder)


def give(decoder: Decoder, piece: bytes, into_room: bool) -> Iterator[Frame]:
    """Give a piece to the reader, the way the pool does where it receives into the memory of a large body."""
    while into_room and piece and (room := decoder.room()) is not None:
        size = min(len(room), len(piece))
        room[:size] = piece[:size]
        room.release()
        piece = piece[size:]
        yield from decoder.received(size)
    if piece:
        yield from decoder.feed(piece)


def must_be_refused(decoder: Decoder, piece: bytes) -> None:
    try:
        frames = list(decoder.feed(piece))
    except MalformedFrame:
        return
    raise AssertionError(f"a torn stream went on: {frames}")


def check(stream: bytes, cuts: list[int]) -> None:
    """What holds for every stream.

    Raises:
        AssertionError: it does not.
    """
    at_once = read([stream], into_room=False)
    bounds = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    pieces = [stream[start:end] for start, end in itertools.pairwise(bounds)]
    for into_room in (False, True):
        assert read(pieces, into_room) == at_once, "it depends on how the stream is cut"
    frames, refused, between = at_once
    written = b"".join(encode(*frame) for frame in frames)
    assert stream.startswith(written), "it gave what was not written"
    assert refused or between == (written == stream), "it does not know whether it is between two frames"
    for kind, incarnation, *_, body in frames:
        assert (kind in TO_POOL, incarnation, len(body) <= LIMIT) == (True, INCARNATION, True)


# --- streams --------------------------------------------------------------------------------------------------------


def frame(draw: Any) -> bytes:
    """A frame that is right, or nearly so: sums that fit keep it from being refused at the first look.

    Where the input is used up, every draw gives the least: what is drawn so is what should be frequent.
    """
    rare = draw.ConsumeIntInRange(0, 15)
    kind = draw.ConsumeIntInRange(0, 99) if rare == 1 else draw.PickValueInList(sorted(map(int, TO_POOL)))
    incarnation = draw.ConsumeIntInRange(0, 9) if rare == 2 else INCARNATION
    sequence, epoch, note = (draw.ConsumeIntInRange(0, (1 << 64) - 1) for _ in range(3))
    body = draw.ConsumeBytes(draw.ConsumeIntInRange(0, 64))
    if draw.ConsumeIntInRange(0, 3) == 1:  # one that does not fit into what is read at once, or into no frame at all
        size = draw.PickValueInList(EDGES) if draw.ConsumeBool() else draw.ConsumeIntInRange(0, LIMIT)
        body = ((body or b".") * size)[:size]
    if draw.ConsumeBool():
        half = len(body) // 2
        parts = encode_parts(kind, incarnation, sequence, epoch, note, (body[:half], body[half:]))
        whole = b"".join(map(bytes, parts))
        assert whole == encode(kind, incarnation, sequence, epoch, note, body), "the two writers differ"
        return whole
    return encode(kind, incarnation, sequence, epoch, note, body)


def damaged(draw: Any, whole: bytes) -> bytes:
    """The same with a bit flipped, a part missing, or a field changed and the sums of it made to fit again."""
    how, at = draw.ConsumeIntInRange(0, 2), draw.ConsumeIntInRange(0, len(whole) - 1)
    if how == 0:
        return whole[:at] + bytes([whole[at] ^ 1 << draw.ConsumeIntInRange(0, 7)]) + whole[at + 1 :]
    if how == 1:
        return whole[:at]
    fields, body = bytearray(whole[SUMS_SIZE:HEADER_SIZE]), whole[HEADER_SIZE:]
    fields[at % len(fields)] = draw.ConsumeIntInRange(0, 255)
    head = zlib.crc32(fields)
    return b"".join(((zlib.crc32(body, head) ^ head).to_bytes(4, "little"), head.to_bytes(4, "little"), fields, body))


def one_input(data: bytes) -> None:
    """What libFuzzer calls, and steers by what of the reader an input reaches."""
    draw = atheris.FuzzedDataProvider(data)
    stream = b""
    for _ in range(draw.ConsumeIntInRange(1, MOST_FRAMES)):
        what = draw.ConsumeIntInRange(0, 9)
        if what == 1:
            stream += draw.ConsumeBytes(draw.ConsumeIntInRange(0, 80))
        else:
            stream += damaged(draw, frame(draw)) if what == 2 else frame(draw)
    cuts = [draw.ConsumeIntInRange(0, 1 << 20) for _ in range(draw.ConsumeIntInRange(0, 8))]
    check(stream, cuts)


if __name__ == "__main__":
    atheris = importlib.import_module("atheris")
    assert not set(TO_WORKER) & set(TO_POOL)
    assert set(TO_WORKER) | set(TO_POOL) == set(Kind)
    for method in ("feed", "room", "received", "_begin_large", "_finish_large"):
        setattr(Decoder, method, atheris.instrument_func(getattr(Decoder, method)))
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
