import heapq
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolproof.clock import SECOND_NS
from poolproof.load import STOCK, Stock, Users, generator, most_turns, release, serve
from poolproof.plan import Load, Step

FIRST = 100


class VirtualClock:
    """A timer and a clock that move only when slept upon, or when told to."""

    means = "virtual"

    def __init__(self, late_ns: int = 0) -> None:
        self.now = 0
        self.late_ns = late_ns
        self.waits: list[int] = []

    def sleep_until(self, moment_ns: int) -> None:
        self.waits.append(moment_ns)
        self.now = max(self.now, moment_ns + self.late_ns)

    def close(self) -> None:
        """Nothing is held."""


def run(
    due: list[int], clock: VirtualClock, sending: Callable[[VirtualClock], None] = lambda clock: None
) -> list[tuple[int, int]]:
    """Release on a virtual clock: each operation with the moment at which it was sent."""
    sent: list[tuple[int, int]] = []

    def send(op: int) -> None:
        sent.append((op, clock.now))
        sending(clock)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generator, "now_ns", lambda: clock.now)
        release(send, FIRST, due, clock)
    return sent


@given(st.lists(st.integers(0, 1000), max_size=200).map(sorted), st.integers(0, 50))
def test_every_operation_is_sent_once_and_in_order(due: list[int], late: int) -> None:
    assert [op for op, _ in run(due, VirtualClock(late))] == list(range(FIRST, FIRST + len(due)))


@given(st.lists(st.integers(0, 1000), max_size=200).map(sorted), st.integers(0, 50))
def test_no_operation_is_sent_before_it_is_due(due: list[int], late: int) -> None:
    assert all(at >= moment for (_, at), moment in zip(run(due, VirtualClock(late)), due, strict=True))


def test_an_operation_is_sent_at_the_moment_at_which_it_is_due() -> None:
    assert run([10, 20, 35], VirtualClock()) == [(100, 10), (101, 20), (102, 35)]


def test_what_is_due_at_one_moment_is_sent_in_one_batch() -> None:
    clock = VirtualClock()
    run([10, 10, 10, 20], clock)
    assert clock.waits == [10, 20]


def test_what_became_due_meanwhile_is_sent_without_another_wait() -> None:
    clock = VirtualClock(late_ns=15)
    assert [at for _, at in run([10, 20, 40], clock)] == [25, 25, 55]


def test_a_batch_is_bounded_so_that_others_get_their_turn() -> None:
    clock = VirtualClock()
    run([10] * 200, clock)
    assert len(clock.waits) == 4


def test_a_backlog_is_worked_off_without_skipping_any() -> None:
    def slowly(clock: VirtualClock) -> None:
        clock.now += 100

    assert [op for op, _ in run([1, 2, 3, 4], VirtualClock(), slowly)] == [100, 101, 102, 103]


def test_a_slow_send_does_not_let_a_later_one_leave_early() -> None:
    def slowly(clock: VirtualClock) -> None:
        clock.now += 5

    assert [at for _, at in run([10, 12, 30], VirtualClock(), slowly)] == [10, 15, 30]


def test_nothing_to_send_needs_no_wait() -> None:
    clock = VirtualClock()
    assert (run([], clock), clock.waits) == ([], [])


def test_what_is_left_is_not_sent_once_the_load_is_given_up() -> None:
    clock = VirtualClock()
    sent: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generator, "now_ns", lambda: clock.now)
        count = release(sent.append, FIRST, [10, 20, 30, 40], clock, between=lambda: clock.now >= 20)
    assert (count, sent) == (2, [100, 101])


def test_it_is_asked_after_each_batch_whether_the_load_is_given_up() -> None:
    clock = VirtualClock()
    asked: list[int] = []

    def between() -> bool:
        asked.append(clock.now)
        return False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generator, "now_ns", lambda: clock.now)
        count = release(lambda op: None, FIRST, [10] * 65 + [20], clock, between=between)
    assert (count, asked) == (66, [10, 10, 20])


# --- what is prepared ahead -------------------------------------------------------------------------------------------


class Kitchen:
    """Prepares operations at a cost, on a virtual clock."""

    def __init__(self, count: int, cost_ns: int = 0) -> None:
        self.clock = VirtualClock()
        self.cost_ns = cost_ns
        self.ready: list[int] = []
        self.stock = Stock(self._prepare, FIRST, count)

    def _prepare(self, op: int) -> None:
        self.ready.append(op)
        self.clock.now += self.cost_ns


@pytest.fixture
def kitchen(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Kitchen]:
    def make(count: int, cost_ns: int = 0) -> Kitchen:
        made = Kitchen(count, cost_ns)
        monkeypatch.setattr(generator, "now_ns", lambda: made.clock.now)
        return made

    return make


def test_a_stock_is_filled_with_all_there_will_be(kitchen: Callable[..., Kitchen]) -> None:
    made = kitchen(5)
    made.stock.fill(FIRST)
    assert made.ready == [100, 101, 102, 103, 104]


def test_a_stock_holds_only_so_many_ahead(kitchen: Callable[..., Kitchen]) -> None:
    made = kitchen(STOCK + 500)
    made.stock.fill(FIRST)
    made.stock.fill(FIRST + 7)
    assert made.ready == list(range(FIRST, FIRST + STOCK + 7))


def test_each_operation_is_prepared_once_and_in_order(kitchen: Callable[..., Kitchen]) -> None:
    made = kitchen(5)
    made.stock.provide(101)
    made.stock.provide(100)
    made.stock.fill(FIRST)
    assert made.ready == [100, 101, 102, 103, 104]


def test_a_stock_is_refilled_only_as_far_as_surely_fits_in(kitchen: Callable[..., Kitchen]) -> None:
    made = kitchen(50, cost_ns=10_000)
    # 20 µs are kept spare, and twice the dearest so far: 0, then 10 µs.
    made.stock.fill(FIRST, until_ns=60_000)
    assert made.ready == [100, 101, 102]


def test_the_dearest_operation_is_remembered_for_a_while(kitchen: Callable[..., Kitchen]) -> None:
    made = kitchen(10, cost_ns=100_000)
    made.stock.fill(FIRST, until_ns=30_000)
    made.cost_ns = 10_000
    # For the second one 220 µs are kept, for the third, after it, 217 µs: a 64th less.
    made.stock.fill(FIRST, until_ns=made.clock.now + 220_000)
    assert made.ready == [100, 101]


def test_what_was_dear_once_is_forgotten_in_the_end(
    kitchen: Callable[..., Kitchen], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generator, "STOCK", 1_000)
    made = kitchen(2_000, cost_ns=100_000)
    made.stock.fill(FIRST, until_ns=30_000)
    made.cost_ns = 0
    made.stock.fill(FIRST, until_ns=made.clock.now + 230_000)
    made.stock.fill(FIRST + 7, until_ns=made.clock.now + 30_000)
    assert made.ready == list(range(FIRST, FIRST + 1_007))


def test_what_is_not_ready_when_it_is_due_is_prepared_then(kitchen: Callable[..., Kitchen]) -> None:
    made = kitchen(3, cost_ns=100_000)
    sent: list[tuple[int, bool]] = []
    release(lambda op: sent.append((op, op in made.ready)), FIRST, [10, 11, 12], made.clock, stock=made.stock)
    assert sent == [(100, True), (101, True), (102, True)]


def test_preparing_ahead_delays_no_operation(kitchen: Callable[..., Kitchen]) -> None:
    made = kitchen(8, cost_ns=10_000)
    sent: list[int] = []
    due = [60_000, 60_000, 120_000, 200_000, 200_000, 200_000, 200_000, 200_000]
    release(lambda op: sent.append(made.clock.now), FIRST, due, made.clock, stock=made.stock)
    assert (sent, made.ready) == (due, list(range(FIRST, FIRST + 8)))


# --- users ------------------------------------------------------------------------------------------------------------


class Pool:
    """Serves users on a virtual clock, so many at once, each operation for as long."""

    def __init__(self, load: Load, *, workers: int = 1_000, service_s: float = 0.1, seed: int = 1) -> None:
        self.now = 0
        self.users = Users(load, random.Random(seed), 0)
        self.count = most_turns(load)
        self.sent: list[tuple[int, int]] = []
        """When each operation was sent, and since when its user had been ready."""
        self.backlogs: list[int] = []
        self._free = [0] * workers
        self._service_ns = round(service_s * SECOND_NS)
        self._busy: list[tuple[int, int]] = []

    def send(self, op: int, ready: int) -> None:
        assert op == FIRST + len(self.sent)
        self.sent.append((self.now, ready))
        began = max(self.now, heapq.heappop(self._free))
        heapq.heappush(self._free, began + self._service_ns)
        heapq.heappush(self._busy, (began + self._service_ns, op))
        self.backlogs.append(len(self._busy))

    def next_ended(self, until: int) -> tuple[int, int] | None:
        if self._busy and self._busy[0][0] <= until:
            ended, op = heapq.heappop(self._busy)
            self.now = max(self.now, ended)
            return op, ended
        self.now = max(self.now, until)
        return None

    def run(self, between: Callable[[], bool] = lambda: False, count: int | None = None) -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(generator, "now_ns", lambda: self.now)
            return serve(
                self.users, self.send, self.next_ended, FIRST, self.count if count is None else count, between=between
            )

    def sent_s(self) -> list[float]:
        return [round(at / SECOND_NS, 6) for at, _ in self.sent]


def closed(*steps: tuple[float, float | None, float], **terms: Any) -> Load:
    made = tuple(Step(rate=rate, to=to, seconds=seconds) for rate, to, seconds in steps)
    return Load(steps=made, model="closed", **({"arrivals": "constant"} | terms))


def test_every_user_sends_at_once() -> None:
    pool = Pool(closed((3, None, 0.05)))
    assert (pool.run(), pool.sent_s()) == (3, [0, 0, 0])


def test_a_user_sends_the_next_operation_when_the_one_before_has_ended() -> None:
    pool = Pool(closed((1, None, 0.35)))
    pool.run()
    assert pool.sent_s() == [0, 0.1, 0.2, 0.3]


def test_a_user_thinks_between_two_operations() -> None:
    pool = Pool(closed((1, None, 1), think_s=0.2))
    pool.run()
    assert pool.sent_s() == [0, 0.3, 0.6, 0.9]


@given(st.integers(1, 8), st.integers(1, 8))
def test_there_are_never_more_operations_under_way_than_users(count: int, workers: int) -> None:
    pool = Pool(closed((count, None, 1)), workers=workers)
    pool.run()
    assert max(pool.backlogs) == count


def test_a_slow_pool_is_asked_for_less() -> None:
    quick, slow = (Pool(closed((2, None, 1)), service_s=service_s) for service_s in (0.1, 0.4))
    assert (quick.run(), slow.run()) == (20, 6)


def test_nobody_sends_after_the_end() -> None:
    pool = Pool(closed((4, None, 1)), service_s=0.3)
    pool.run()
    assert pool.now == pool.users.end == SECOND_NS
    assert max(pool.sent_s()) == 0.9


def test_users_who_come_later_send_when_there_are_to_be_so_many() -> None:
    pool = Pool(closed((0, 4, 4)), service_s=10)
    pool.run()
    assert pool.sent_s() == [0, 1, 2, 3]


def test_users_who_are_too_many_do_not_come_again() -> None:
    pool = Pool(closed((4, 0, 4)), service_s=0.5)
    pool.run()
    # So many of them are there from 0, 0.5, 1, … s on: 4, 4, 3, 3, 2, 2, 1, 1.
    assert [pool.sent_s().count(half / 2) for half in range(8)] == [4, 4, 3, 3, 2, 2, 1, 1]


def test_users_who_went_come_again_in_a_later_step() -> None:
    pool = Pool(closed((2, None, 1), (0, None, 1), (1, 3, 2)), service_s=0.6)
    pool.run()
    assert pool.sent_s() == [0, 0, 0.6, 0.6, 2, 2, 2.6, 2.6, 3, 3.2, 3.2, 3.6, 3.8, 3.8]


def test_a_fraction_of_a_user_is_one() -> None:
    pool = Pool(closed((1.5, None, 0.05)))
    assert pool.run() == 2


def test_an_operation_is_due_when_its_user_was_ready() -> None:
    pool = Pool(closed((2, None, 1), think_s=0.05), workers=1)
    pool.run()
    assert all(at == ready for at, ready in pool.sent)


def test_a_late_generator_does_not_hide_since_when_a_user_was_ready() -> None:
    pool = Pool(closed((1, None, 1)))
    pool.now = 30
    pool.run()
    assert pool.sent[0] == (30, 0)


def test_users_think_equally_long_where_arrivals_are_even_and_exponentially_where_they_are_random() -> None:
    even, uneven = (
        Pool(closed((1, None, 200), think_s=0.1, arrivals=arrivals), service_s=0)
        for arrivals in ("constant", "poisson")
    )
    even.run()
    uneven.run()
    gaps = [(after - before) / SECOND_NS for (before, _), (after, _) in zip(uneven.sent, uneven.sent[1:], strict=False)]
    mean = sum(gaps) / len(gaps)
    spread = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert len(even.sent) == 2000
    # About 2,000 thoughts: 4 standard errors are 0.009.
    assert abs(mean - 0.1) < 0.009
    assert 0.085 < spread < 0.115


def test_the_same_seed_lets_users_think_equally_long() -> None:
    one, same, other = (Pool(closed((2, None, 5), think_s=0.1, arrivals="poisson"), seed=seed) for seed in (1, 1, 2))
    for pool in (one, same, other):
        pool.run()
    assert one.sent == same.sent != other.sent


def test_what_ended_and_was_of_no_user_changes_nothing() -> None:
    users = Users(closed((1, None, 1)), random.Random(1), 0)
    users.send(5)
    users.ended(3, 10)
    assert users.next_ns == users.end
    users.ended(5, 20)
    users.ended(5, 30)
    assert (users.next_ns, users.send(6), users.next_ns) == (20, 20, users.end)


def test_nobody_is_ready_later_than_the_end() -> None:
    users = Users(closed((1, None, 1), think_s=5), random.Random(1), 1000)
    users.send(1)
    users.ended(1, 2000)
    assert users.next_ns == users.end == 1000 + SECOND_NS


def test_users_stop_when_the_load_is_given_up() -> None:
    pool = Pool(closed((1, None, 1)))
    assert pool.run(between=lambda: pool.now >= 0.35 * SECOND_NS) == 4


def test_users_stop_when_there_is_no_room_for_more() -> None:
    pool = Pool(closed((3, None, 10)))
    assert pool.run(count=5) == 5


@given(st.integers(1, 5), st.sampled_from([0.0, 0.001, 0.1, 2.0]), st.integers(0, 50))
def test_there_is_room_for_every_turn_of_users_who_think(count: int, think_s: float, seed: int) -> None:
    load = closed((count, None, 1), think_s=think_s, arrivals="poisson")
    assert Pool(load, service_s=0.005, seed=seed).run() < most_turns(load)


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        (closed((2, None, 10), think_s=0.1), 200 + 2 + 20),
        (closed((2, None, 10), think_s=0.1, arrivals="poisson"), 800 + 2 + 20),
        (closed((1, 3, 10), (2, 0, 5), think_s=1), 40 + 3 + 20),
        (closed((2, None, 1)), 40_000 + 2 + 20),
        (closed((1000, None, 1000)), 1_000_000),
        (closed((2, None, 1), turns=7), 7),
        (closed(), 20),
    ],
)
def test_there_is_room_for_as_many_turns_as_users_can_take(load: Load, expected: int) -> None:
    assert most_turns(load) == expected
