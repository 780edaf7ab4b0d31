"""A worker by itself: what it answers to which frame, and what its words say meanwhile."""

import operator
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sessionpool import payload, progress
from sessionpool.wire import RECEIVE, TO_POOL, Decoder, Frame, Kind, encode
from sessionpool.worker import _Worker

NUMBER = 7
LONG_S = 15.0


class Desk:
    """The pool's end of a worker that runs in a thread."""

    def __init__(self) -> None:
        self.words = memoryview(bytearray(64)).cast("Q")
        self._mine, theirs = socket.socketpair()
        self._mine.settimeout(LONG_S)
        self._decoder = Decoder(NUMBER, TO_POOL, 1 << 24)
        self.worker = _Worker(theirs, self.words, NUMBER, 1 << 20)
        self._thread = threading.Thread(target=self.worker.run)
        self._theirs = theirs

    def tell(self, kind: Kind, sequence: int, epoch: int, function: Callable[..., Any] = str, *args: Any) -> None:
        body = b"".join(map(bytes, payload.dump_call(function, args, {})))
        self._mine.sendall(encode(kind, NUMBER, sequence, epoch, 0, body))

    def answers(self, count: int) -> list[Frame]:
        """So many, to all that it was told; it has left by then."""
        self._mine.sendall(encode(Kind.STOP, NUMBER))
        self._thread.start()
        found: list[Frame] = []
        while len(found) < count:
            found += [it._replace(body=bytes(it.body)) for it in self._decoder.feed(self._mine.recv(RECEIVE))]
        self._thread.join(LONG_S)
        return found

    def close(self) -> None:
        self._mine.close()
        self._theirs.close()


@pytest.fixture
def desk() -> Iterator[Desk]:
    it = Desk()
    yield it
    it.close()


DESKS: list[Desk] = []


def words_now() -> tuple[int, int]:
    words = DESKS[-1].words
    return words[progress.BEGUN], words[progress.ANSWERED]


class Rebuilt:
    """Is what the words are while it is unpickled."""

    def __reduce__(self) -> Any:
        return words_now, ()


def test_an_operation_of_an_epoch_that_it_does_not_hold_is_refused_and_not_run(desk: Desk) -> None:
    desk.tell(Kind.CALL, 1, 4, operator.setitem, "a", 1)
    desk.tell(Kind.OPEN, 2, 5, len)
    desk.tell(Kind.CALL, 3, 5, len)
    assert [it.kind for it in desk.answers(3)] == [Kind.REFUSED, Kind.RESULT, Kind.RESULT]


def test_what_was_recalled_is_returned_and_does_not_open_its_epoch(desk: Desk) -> None:
    desk.words[progress.RECALLED] = progress.span(2, 3)
    for sequence, kind in ((1, Kind.CALL), (2, Kind.CALL), (3, Kind.OPEN), (4, Kind.CALL)):
        desk.tell(kind, sequence, 0 if sequence < 3 else 9, len, *([()] if sequence < 3 else []))
    told = [Kind.RESULT, Kind.RETURNED, Kind.RETURNED, Kind.REFUSED]
    assert [it.kind for it in desk.answers(4)] == told


@pytest.mark.parametrize("size", [1, RECEIVE, 2 << 20], ids=["small", "large", "too-large"])
def test_what_it_has_answered_is_in_its_words(desk: Desk, size: int) -> None:
    desk.tell(Kind.CALL, 3, 0, bytes, size)
    desk.answers(1)
    assert (desk.words[progress.BEGUN], desk.words[progress.ANSWERED]) == (3, 3)


def test_what_it_begins_is_in_its_words_before_it_is_unpickled(desk: Desk) -> None:
    DESKS.append(desk)
    desk.tell(Kind.CALL, 3, 0, tuple, Rebuilt())
    (answer,) = desk.answers(1)
    assert payload.load(answer.body, "it") == (3, 0)


def test_an_operation_that_comes_a_second_time_is_not_run_again(desk: Desk) -> None:
    for sequence in (1, 2, 2, 3):
        desk.tell(Kind.CALL, sequence, 0, len, ())
    answers = desk.answers(3)
    assert [(it.kind, it.sequence) for it in answers] == [(Kind.RESULT, 1), (Kind.RESULT, 2), (Kind.FAILED, 0)]
    assert b"operation 2, which it has begun already" in bytes(answers[2].body)
    assert desk.words[progress.BEGUN] == 2
