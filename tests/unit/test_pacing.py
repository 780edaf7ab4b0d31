"""The verdicts on the generator beside Locust's: they must go red for a generator that is late or slow."""

import random
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolproof.load import generator
from tests.performance.pacing import FINE_STEP, SENT_NEEDED, highest, off_schedule_ns, off_spacing_ns
from tests.performance.racing import NotMeasured, Race, missed

MS = 1_000_000
GAP_NS = 10 * MS


# --- the real generator on a clock of its own ---------------------------------------------------------------------


class Machine:
    """A clock that moves when somebody sleeps or sends, and a timer of it that may wake late."""

    means = "virtual"

    def __init__(self, *, late_ns: int, send_ns: int) -> None:
        self.now = 1_000 * MS
        self._late_ns = late_ns
        self._send_ns = send_ns
        self.sent: list[int] = []

    def sleep_until(self, moment_ns: int) -> None:
        self.now = max(self.now, moment_ns + self._late_ns)

    def close(self) -> None:
        pass

    def send(self, op: int) -> None:
        self.now += self._send_ns
        self.sent.append(self.now)

    def release(self, monkeypatch: pytest.MonkeyPatch, *, per_s: float, seconds: float) -> list[int]:
        """Let the generator send at a rate; when each was due."""
        monkeypatch.setattr(generator, "now_ns", lambda: self.now)
        begin = self.now
        due_ns = [begin + round((number + 0.5) * 1e9 / per_s) for number in range(round(per_s * seconds))]
        generator.release(self.send, 0, due_ns, self)
        return due_ns


LOCUSTS_P99_US = 400.0
LOCUSTS_HIGHEST_PER_S = 100_000
"""Less and more of them, both, than most measurements on two processors came to: about as good as it is."""


def raced(ours: float, locusts: float) -> list[str]:
    return missed(
        Race(what="a cost", unit="us", figures={"ours": (ours,) * 3, "Locust": (locusts,) * 3}), "ours", {"Locust": 1.0}
    )


@pytest.mark.parametrize(
    ("late_ns", "told"), [pytest.param(60_000, False, id="as it is"), pytest.param(5 * MS, True, id="5 ms late")]
)
@pytest.mark.parametrize("per_s", [100, 500, 1_000, 2_000])
def test_a_generator_whose_timer_wakes_late_is_told(
    monkeypatch: pytest.MonkeyPatch, late_ns: int, told: bool, per_s: int
) -> None:
    machine = Machine(late_ns=late_ns, send_ns=1_000)
    due_ns = machine.release(monkeypatch, per_s=per_s, seconds=2)
    p99_us = float(np.percentile(off_schedule_ns(machine.sent, due_ns), 99)) / 1e3

    assert bool(raced(p99_us, LOCUSTS_P99_US)) == told


@pytest.mark.parametrize(
    ("send_ns", "told"), [pytest.param(800, False, id="as it is"), pytest.param(20_000, True, id="20 us to send")]
)
def test_a_generator_that_sends_too_slowly_is_told(monkeypatch: pytest.MonkeyPatch, send_ns: int, told: bool) -> None:
    def shares(per_s: float) -> Iterable[float]:
        machine = Machine(late_ns=20_000, send_ns=send_ns)
        end = machine.now + 50 * MS
        due_ns = machine.release(monkeypatch, per_s=per_s, seconds=0.05)
        yield sum(moment < end for moment in machine.sent) / len(due_ns)

    per_s = highest(shares, 8_000, 8_000_000)

    assert bool(raced(1e6 / per_s, 1e6 / LOCUSTS_HIGHEST_PER_S)) == told


# --- errors -------------------------------------------------------------------------------------------------------


def test_early_and_late_are_errors_alike() -> None:
    assert off_schedule_ns([90, 205, 300], [100, 200, 300]).tolist() == [10, 5, 0]


@pytest.mark.parametrize("sent", [[], [1], [1, 2, 3]])
def test_what_was_not_sent_as_often_as_it_was_due_has_no_errors(sent: list[int]) -> None:
    with pytest.raises(NotMeasured, match=f"{len(sent)} of 2 operations were sent"):
        off_schedule_ns(sent, [1, 2])


@given(st.integers(0, 10**18), st.integers(SENT_NEEDED, 100))
def test_even_users_have_no_errors_whenever_they_began(begin: int, count: int) -> None:
    users = [[begin + user + number * GAP_NS for number in range(count)] for user in (0, 7, 7)]
    assert set(off_spacing_ns(users, GAP_NS).tolist()) == {0}


def test_one_late_operation_is_one_error() -> None:
    user = [number * GAP_NS for number in range(20)]
    user[3] += 5 * MS
    errors = off_spacing_ns([user], GAP_NS)
    assert sorted(errors.tolist())[-2:] == [0, 5 * MS]


def test_a_user_who_is_too_slow_by_and_by_is_in_error_at_both_ends() -> None:
    user = [number * (GAP_NS + MS) for number in range(21)]
    errors = off_spacing_ns([user], GAP_NS).tolist()
    assert (errors[0], errors[10], errors[20]) == (10 * MS, 0, 10 * MS)


def test_no_other_beginning_suits_a_user_better() -> None:
    draw = random.Random(0)
    user = [number * GAP_NS + draw.randrange(3 * MS) for number in range(101)]
    least = off_spacing_ns([user], GAP_NS).sum()
    plans = [[begin + number * GAP_NS for number in range(101)] for begin in range(0, 3 * MS, MS // 10)]
    assert all(off_schedule_ns(user, plan).sum() >= least for plan in plans)


@pytest.mark.parametrize("sent", [[], [[1] * SENT_NEEDED, [1] * (SENT_NEEDED - 1)]])
def test_a_user_who_sent_too_little_was_not_measured(sent: list[list[int]]) -> None:
    with pytest.raises(NotMeasured, match=f"needs {SENT_NEEDED} operations"):
        off_spacing_ns(sent, GAP_NS)


# --- the highest rate -------------------------------------------------------------------------------------------


@given(st.floats(1_000, 1e6))
def test_the_highest_rate_is_met_but_for_a_small_step(most: float) -> None:
    found = highest(lambda rate: [min(1.0, most / rate)], 1_000, 4e6)
    assert found * 0.99 <= most < found * 0.99 * FINE_STEP * 1.001


@pytest.mark.parametrize(("share", "held"), [(0.9899, False), (0.99, True)])
def test_a_rate_is_held_from_99_percent_on(share: float, held: bool) -> None:
    found = highest(lambda rate: [1.0 if rate < 2_000 else share if rate == 2_000 else 0.0], 1_000, 1e6)
    assert (found == 2_000) == held


def test_one_try_of_several_is_enough_and_the_last() -> None:
    tried: list[tuple[float, int]] = []

    def shares(rate: float) -> Iterable[float]:
        for number, share in enumerate([0.5, 1.0, 1.0] if rate < 4_000 else [0.5, 0.5, 0.5]):
            tried.append((rate, number))
            yield share

    highest(shares, 1_000, 1e6)

    assert tried[:7] == [(1_000, 0), (1_000, 1), (2_000, 0), (2_000, 1), (4_000, 0), (4_000, 1), (4_000, 2)]


def test_who_does_not_hold_the_first_rate_was_not_measured() -> None:
    with pytest.raises(NotMeasured, match="not even 1,000 operations a second"):
        highest(lambda rate: [0.5], 1_000, 1e6)


def test_who_holds_every_rate_was_not_measured() -> None:
    with pytest.raises(NotMeasured, match="no more are tried"):
        highest(lambda rate: [1.0], 1_000, 1e6)
