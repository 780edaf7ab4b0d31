"""The meeting place of the capacity probe, on its real socket: who comes is counted, and everybody is released."""

import os
import select
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from poolproof import probe, processes
from poolproof.lab.rendezvous import Rendezvous

pytestmark = [pytest.mark.functional, pytest.mark.layer(2)]  # layer 1 has a meeting place of its own

GUESTS: Final = 3
LONG_S: Final = 20.0
"""Longer than any of these tests may take: whoever returns before was released."""
SHORT_S: Final = 0.2
_PACE_MS: Final = 2

Guest = Callable[..., "Future[Any]"]


@pytest.fixture
def rendezvous() -> Iterator[Rendezvous]:
    with closing(Rendezvous()) as meeting:
        yield meeting


@pytest.fixture
def guest(tmp_path: Path, rendezvous: Rendezvous) -> Iterator[Guest]:
    """Sends an operation of the built-in kind to the rendezvous, as a worker runs it; its future result."""
    with ThreadPoolExecutor(2 * GUESTS) as workers:
        yield lambda timeout_s=LONG_S: workers.submit(
            probe.Call(str(tmp_path), "", 7, probe.RENDEZVOUS, (rendezvous.address, timeout_s))
        )
    probe._forget()


@contextmanager
def forked_copy() -> Iterator[None]:
    """A child that holds a copy of every descriptor that is open here, as a worker does that is forked meanwhile."""
    ours, childs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(childs)
        os.read(ours, 1)
        os._exit(0)
    os.close(ours)
    try:
        yield
    finally:
        os.close(childs)
        os.waitpid(pid, 0)


def sockets() -> int:
    return sum(where.startswith("socket:") for where in processes.open_files(os.getpid()).values())


def until_sockets(count: int) -> None:
    """Look until so many sockets are open here: a guest has one, and one more once it was let in."""
    for _ in range(round(LONG_S * 1000 / _PACE_MS)):
        if sockets() >= count:
            return
        select.select([], [], [], _PACE_MS / 1000)
    raise AssertionError(f"{sockets()} sockets are open, {count} were awaited")


def test_guests_that_are_there_at_once_are_counted_and_released(rendezvous: Rendezvous, guest: Guest) -> None:
    guests = [guest() for _ in range(GUESTS)]

    assert rendezvous.gather(GUESTS, LONG_S) == GUESTS
    assert [who.result(LONG_S) for who in guests] == [(7, "met")] * GUESTS


def test_fewer_than_expected_are_counted_and_released_when_the_time_is_up(rendezvous: Rendezvous, guest: Guest) -> None:
    guests = [guest() for _ in range(GUESTS)]

    assert rendezvous.gather(GUESTS + 1, 1.0) == GUESTS
    assert [who.result(LONG_S) for who in guests] == [(7, "met")] * GUESTS


def test_nobody_is_counted_where_nobody_comes(rendezvous: Rendezvous) -> None:
    assert rendezvous.gather(1, SHORT_S) == 0


def test_a_guest_that_leaves_before_the_others_come_is_not_there_at_once_with_them(
    rendezvous: Rendezvous, guest: Guest
) -> None:
    with ThreadPoolExecutor(1) as host:
        gathering = host.submit(rendezvous.gather, 2, 1.0)
        assert guest(SHORT_S).result(LONG_S) == (7, "late")
        guest()
        assert gathering.result(LONG_S) == 1


def test_a_guest_that_comes_after_the_close_is_late(rendezvous: Rendezvous, guest: Guest) -> None:
    rendezvous.close()

    assert guest().result(LONG_S) == (7, "late")


def test_a_guest_that_nobody_ever_releases_goes_when_its_time_is_up(rendezvous: Rendezvous, guest: Guest) -> None:
    assert guest(SHORT_S).result(LONG_S) == (7, "late")


def test_guests_are_released_although_a_forked_worker_holds_the_other_ends(
    rendezvous: Rendezvous, guest: Guest
) -> None:
    before = sockets()
    guests = [guest() for _ in range(GUESTS)]
    with ThreadPoolExecutor(1) as host:
        gathering = host.submit(rendezvous.gather, GUESTS + 1, LONG_S)
        until_sockets(before + 2 * GUESTS)
        with forked_copy():
            guests.append(guest())

            assert gathering.result(LONG_S) == GUESTS + 1
            assert [who.result(LONG_S) for who in guests] == [(7, "met")] * (GUESTS + 1)


@pytest.fixture
def queued(rendezvous: Rendezvous) -> Iterator[list[socket.socket]]:
    """Guests that came when nobody was gathering any more: their connections wait to be accepted."""
    with ExitStack() as stack:
        guests = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(GUESTS)]
        for who in guests:
            who.settimeout(LONG_S)
            who.connect(rendezvous.address)
        yield guests


def test_guests_in_the_queue_are_released_by_the_close(rendezvous: Rendezvous, queued: list[socket.socket]) -> None:
    rendezvous.close()

    assert [who.recv(1) for who in queued] == [b"."] * GUESTS


def test_guests_in_the_queue_are_released_although_a_forked_worker_holds_the_listener(
    rendezvous: Rendezvous, queued: list[socket.socket]
) -> None:
    with forked_copy():
        rendezvous.close()

        assert [who.recv(1) for who in queued] == [b"."] * GUESTS


def test_guests_still_to_come_are_turned_away_although_a_forked_worker_holds_the_listener(
    rendezvous: Rendezvous, guest: Guest
) -> None:
    with forked_copy():
        rendezvous.close()

        assert guest().result(LONG_S) == (7, "late")


def test_it_may_be_closed_twice(rendezvous: Rendezvous) -> None:
    rendezvous.close()
    rendezvous.close()
