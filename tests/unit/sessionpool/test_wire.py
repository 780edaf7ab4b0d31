"""Frames: what is written is read again however it is cut, and nothing else ever is."""

import mmap
import random
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionpool import payload
from sessionpool.errors import MalformedFrame
from sessionpool.wire import HEADER_SIZE, RECEIVE, TO_POOL, TO_WORKER, Buffer, Decoder, Kind, encode, encode_parts
from tests.unit.sessionpool.fuzz import INCARNATION, LIMIT, Told, fuzz, give, is_between_frames, read, sealed, work

WORDS = st.integers(0, (1 << 64) - 1)
FRAMES = st.tuples(
    st.sampled_from(sorted(map(int, TO_POOL))), st.just(INCARNATION), WORDS, WORDS, WORDS, st.binary(max_size=200)
)
LARGE = bytes(range(256)) * (3 * RECEIVE // 256)


def decoder(limit: int = LIMIT) -> Decoder:
    return Decoder(INCARNATION, TO_POOL, limit)


def cut(stream: bytes, at: list[int]) -> list[bytes]:
    bounds = [0, *sorted(it % (len(stream) + 1) for it in at), len(stream)]
    return [stream[start:end] for start, end in zip(bounds, bounds[1:], strict=False)]  # noqa: RUF007 - empty ones too


# --- whole streams ----------------------------------------------------------------------------------------------------


@given(st.lists(FRAMES, max_size=6), st.lists(st.integers(0, 2000), max_size=12))
def test_what_is_written_is_read_again_however_it_is_cut(frames: list[Told], at: list[int]) -> None:
    stream = b"".join(encode(*frame) for frame in frames)
    assert read(decoder(), cut(stream, at)) == (frames, "between")


@given(st.lists(FRAMES, min_size=1, max_size=2))
def test_bytes_may_come_one_by_one(frames: list[Told]) -> None:
    stream = b"".join(encode(*frame) for frame in frames)
    assert read(decoder(), [stream[at : at + 1] for at in range(len(stream))]) == (frames, "between")


@given(FRAMES, st.lists(st.integers(0, 200), max_size=5))
def test_a_frame_in_parts_is_the_same_as_in_one_piece(frame: Told, at: list[int]) -> None:
    *fields, body = frame
    kind, incarnation, sequence, epoch, note = fields
    parts = encode_parts(kind, incarnation, sequence, epoch, note, cut(body, at))
    assert b"".join(map(bytes, parts)) == encode(*frame)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_reader_takes_every_kind_of_buffer(kind: type[Any]) -> None:
    frame = (int(Kind.RESULT), INCARNATION, 1, 2, 3, b"body")
    (got,) = decoder().feed(kind(encode(*frame)))
    assert (*got[:5], bytes(got.body)) == frame


@pytest.mark.parametrize("size", [0, 1, RECEIVE - HEADER_SIZE, RECEIVE - 1, RECEIVE, RECEIVE + 1, 5 * RECEIVE + 3])
@pytest.mark.parametrize("piece", [RECEIVE, 1000])
def test_bodies_of_any_size_come_whole(size: int, piece: int) -> None:
    frame = (int(Kind.RESULT), INCARNATION, 1, 0, 9, random.Random(size).randbytes(size))
    after = (int(Kind.READY), INCARNATION, 0, 0, 0, b"")
    stream = encode(*frame) + encode(*after)
    assert read(decoder(), [stream[at : at + piece] for at in range(0, len(stream), piece)]) == (
        [frame, after],
        "between",
    )


@given(st.lists(st.integers(0, 4 * RECEIVE), max_size=6), st.booleans())
def test_a_large_body_comes_whole_however_it_is_cut(at: list[int], into_room: bool) -> None:
    frame = (int(Kind.RESULT), INCARNATION, 1, 0, 9, LARGE)
    after = (int(Kind.ERROR), INCARNATION, 2, 0, 9, b"after")
    reader = decoder()
    got: list[Told] = []
    for piece in cut(encode(*frame) + encode(*after), at):
        for it in give(reader, piece) if into_room else reader.feed(piece):
            got.append((*it[:5], bytes(it.body)))  # noqa: PERF401 - a body is valid until the next one is asked for
    assert got == [frame, after]


def test_a_large_body_can_be_written_to_by_who_receives_it() -> None:
    reader = decoder()
    whole = encode(Kind.RESULT, INCARNATION, 1, 0, 0, LARGE)
    assert not list(reader.feed(whole[:RECEIVE]))
    (got,) = give(reader, whole[RECEIVE:])
    assert not memoryview(got.body).readonly


def test_there_is_room_only_while_a_large_body_is_under_way() -> None:
    reader = decoder()
    whole = encode(Kind.RESULT, INCARNATION, 1, 0, 0, LARGE)
    seen = [reader.room() is not None]
    for piece in (whole[:HEADER_SIZE], whole[HEADER_SIZE:-1], whole[-1:]):
        list(reader.feed(piece))
        seen.append(reader.room() is not None)
    assert seen == [False, True, True, False]


def test_the_room_is_as_large_as_what_is_missing() -> None:
    reader = decoder()
    list(reader.feed(encode(Kind.RESULT, INCARNATION, 1, 0, 0, LARGE)[: HEADER_SIZE + 100]))
    room = reader.room()
    assert room is not None
    assert len(room) == len(LARGE) - 100


@given(st.lists(FRAMES, min_size=1, max_size=3), st.data())
def test_a_reader_holds_nothing_between_two_frames(frames: list[Told], data: st.DataObject) -> None:
    stream = b"".join(encode(*frame) for frame in frames)
    ends = {0}
    for frame in frames:
        ends.add(max(ends) + HEADER_SIZE + len(frame[5]))
    at = data.draw(st.integers(0, len(stream)))
    reader = decoder()
    list(reader.feed(stream[:at]))
    assert is_between_frames(reader) == (at in ends)


# --- refusals ---------------------------------------------------------------------------------------------------------


def fields(**changes: int) -> list[int]:
    names = ("magic", "kind", "reserved", "size", "incarnation", "sequence", "epoch", "note")
    right = dict(zip(names, (0x50535031, int(Kind.RESULT), 0, 4, INCARNATION, 1, 0, 0), strict=True))
    return list((right | changes).values())


def test_the_fuzzer_writes_frames_as_the_pool_does() -> None:
    assert sealed(fields(), b"body") == encode(Kind.RESULT, INCARNATION, 1, 0, 0, b"body")


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param({"magic": 1}, id="magic"),
        pytest.param({"kind": 0}, id="no kind"),
        pytest.param({"kind": 999}, id="unknown kind"),
        pytest.param({"kind": int(Kind.CALL)}, id="a kind of the other side"),
        pytest.param({"reserved": 1}, id="reserved"),
        pytest.param({"incarnation": INCARNATION + 1}, id="incarnation"),
        pytest.param({"size": LIMIT + 1}, id="size"),
        pytest.param({"size": (1 << 64) - 1}, id="greatest size"),
        pytest.param({"size": 3}, id="a size that is too small"),
    ],
)
@pytest.mark.parametrize("cut_at", [HEADER_SIZE, HEADER_SIZE + 2, HEADER_SIZE + 4])
def test_a_lie_with_right_sums_is_refused(lie: dict[str, int], cut_at: int) -> None:
    whole = sealed(fields(**lie), b"body") + encode(Kind.READY, INCARNATION)
    _, how = read(decoder(), [whole[:cut_at], whole[cut_at:]])
    assert how == "refused"


@given(FRAMES, st.data())
def test_a_flipped_bit_is_never_believed(frame: Told, data: st.DataObject) -> None:
    whole = bytearray(encode(*frame))
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    whole[bit // 8] ^= 1 << bit % 8
    assert read(decoder(), [bytes(whole)])[0] == []


@given(FRAMES, st.data())
def test_a_flipped_bit_of_a_header_is_refused_without_waiting_for_a_body(frame: Told, data: st.DataObject) -> None:
    whole = bytearray(encode(*frame[:5], body=b"x" * 100)[:HEADER_SIZE])
    bit = data.draw(st.integers(32, 8 * HEADER_SIZE - 1))  # the first sum is of the body too, which is not there yet
    whole[bit // 8] ^= 1 << bit % 8
    assert read(decoder(), [bytes(whole)]) == ([], "refused")


def test_a_damaged_large_body_is_refused() -> None:
    whole = bytearray(encode(Kind.RESULT, INCARNATION, 1, 0, 0, LARGE))
    whole[-7] ^= 1
    assert read(decoder(), cut(bytes(whole), [100, 70_000])) == ([], "refused")


def test_what_comes_before_the_damage_is_given() -> None:
    good = (int(Kind.RESULT), INCARNATION, 1, 0, 0, b"good")
    assert read(decoder(), [encode(*good) + b"?" * HEADER_SIZE]) == ([good], "refused")


def test_after_a_refusal_nothing_more_is_given() -> None:
    reader = decoder()
    good = encode(Kind.READY, INCARNATION)
    with pytest.raises(MalformedFrame):
        list(reader.feed(b"?" * HEADER_SIZE + good))
    for _ in range(3):
        with pytest.raises(MalformedFrame):
            list(reader.feed(good))


def test_after_a_refused_large_body_nothing_more_is_given() -> None:
    reader = decoder()
    whole = bytearray(encode(Kind.RESULT, INCARNATION, 1, 0, 0, LARGE))
    whole[-1] ^= 1
    list(reader.feed(bytes(whole[:-10])))
    with pytest.raises(MalformedFrame):
        list(give(reader, bytes(whole[-10:])))
    assert reader.room() is None
    with pytest.raises(MalformedFrame):
        list(reader.feed(encode(Kind.READY, INCARNATION)))


@pytest.mark.parametrize("size", [LIMIT, LIMIT - 1, RECEIVE])
def test_a_length_is_given_no_memory_before_the_bytes_come(size: int) -> None:
    tracemalloc.start()
    try:
        reader = decoder()
        assert not list(reader.feed(sealed(fields(size=size), b"body")))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    room = reader.room()
    assert room is not None
    assert isinstance(room.obj, mmap.mmap)  # whose pages are the system's, and lazy
    assert peak < 1 << 20


def test_a_length_takes_no_pages_before_the_bytes_come() -> None:
    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * mmap.PAGESIZE

    before = resident()
    readers = [decoder() for _ in range(8)]
    for reader in readers:
        list(reader.feed(sealed(fields(size=LIMIT), b"body")))
    assert resident() - before < 8 << 20


# --- fuzzing ----------------------------------------------------------------------------------------------------------


def test_mutated_frames_are_read_as_by_a_reader_too_simple_to_be_wrong() -> None:
    report = fuzz(6000, seed=1)
    assert (report.frames, report.refused > 1000, report.unfinished > 100, report.accepted > 1000) == (
        6000,
        *3 * (True,),
    )
    assert report.growth_bytes < 64 << 20


def test_the_same_seed_gives_the_same_frames() -> None:
    one, other = fuzz(500, seed=7), fuzz(500, seed=7)
    assert (one.accepted, one.refused, one.unfinished) == (other.accepted, other.refused, other.unfinished)


# --- a worker's reader ------------------------------------------------------------------------------------------------


def call(sequence: int, *args: object) -> bytes:
    (body,) = payload.dump((pow, args, {}), "the operation")
    return encode(Kind.CALL, INCARNATION, sequence, 0, 0, body)


@given(st.lists(st.integers(0, 4000), max_size=10))
def test_a_worker_answers_in_order_however_its_frames_are_cut(at: list[int]) -> None:
    stream = encode(Kind.INIT, INCARNATION) + b"".join(call(number, 2, number) for number in range(1, 6))
    status, answers = work(stream, cut_without_gaps(stream, at))
    results = [(kind, sequence, payload.load(body, "") if body else None) for kind, _, sequence, _, _, body in answers]
    assert status == 0
    assert results == [(Kind.READY, 0, None), *((Kind.RESULT, number, 2**number) for number in range(1, 6))]


def cut_without_gaps(stream: bytes, at: list[int]) -> list[bytes]:
    return [piece for piece in cut(stream, at) if piece]  # an empty one would be the end of the stream


def test_a_worker_leaves_when_it_is_told_to() -> None:
    stream = call(1, 2, 3) + encode(Kind.STOP, INCARNATION) + call(2, 2, 3)
    status, answers = work(stream, [stream])
    assert (status, [answer[2] for answer in answers]) == (0, [1])


@pytest.mark.parametrize("end", [0, 1, HEADER_SIZE, HEADER_SIZE + 5])
def test_a_worker_leaves_when_its_pool_is_gone(end: int) -> None:
    stream = call(1, 2, 3) + call(2, 2, 3)[:end]
    status, answers = work(stream, [stream])
    assert (status, [answer[2] for answer in answers]) == (0, [1])


@pytest.mark.parametrize("kind", sorted(TO_POOL))
def test_a_worker_tells_of_a_frame_that_is_not_for_it_and_leaves(kind: Kind) -> None:
    stream = call(1, 2, 3) + encode(kind, INCARNATION)
    status, answers = work(stream, [stream])
    assert (status, [answer[0] for answer in answers]) == (1, [Kind.RESULT, Kind.FAILED])
    assert b"malformed frame" in answers[-1][5]


def test_a_worker_refuses_an_epoch_that_it_does_not_hold() -> None:
    (body,) = payload.dump((len, (), {}), "the operation")
    frames: list[tuple[Kind, Buffer]] = [(Kind.OPEN, body), (Kind.CALL, body), (Kind.FORGET, b""), (Kind.CALL, body)]
    stream = b"".join(encode(kind, INCARNATION, at, 5, 0, it) for at, (kind, it) in enumerate(frames, 1))
    _, answers = work(stream, [stream])
    assert [answer[0] for answer in answers] == [Kind.RESULT, Kind.RESULT, Kind.FORGOTTEN, Kind.REFUSED]


def test_every_kind_goes_one_way() -> None:
    assert frozenset(Kind) == TO_WORKER | TO_POOL
    assert not TO_WORKER & TO_POOL
