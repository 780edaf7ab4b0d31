import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolproof.simulation.timeline import NEVER
from poolproof.simulation.wire import LATENCY_NS, Harm
from tests.unit.simulation.worlds import MS, SECOND_NS, Pipe, answer


def harmed(kind: str, amount: float = 1.0, *, seed: int = 1, **pipe: Any) -> tuple[Pipe, Harm]:
    it = Pipe(**pipe)
    harm = Harm(kind, amount, random.Random(seed))
    it.stream.harms.append(harm)
    return it, harm


# --- nothing is wrong -------------------------------------------------------------------------------------------------


def test_a_frame_takes_the_latency_and_no_more() -> None:
    it = Pipe()
    it.send(1)
    it.run()
    assert it.moments == [LATENCY_NS]


def test_frames_that_are_sent_together_arrive_together() -> None:
    it = Pipe()
    it.send(1, 2, 3)
    it.run()
    assert [len(frames) for _, frames in it.arrived] == [3]


def test_an_unharmed_frame_arrives_as_the_value_that_it_is() -> None:
    it, frame = Pipe(), answer(1, body=object())
    it.stream.send([frame])
    it.run()
    assert it.arrived[0][1][0] is frame


def test_a_stream_is_busy_as_long_as_something_is_on_its_way() -> None:
    it = Pipe()
    before = it.stream.is_busy
    it.send(1)
    sent = it.stream.is_busy
    it.run()
    assert (before, sent, it.stream.is_busy) == (False, True, False)


# --- delay ------------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 2 * MS), min_size=1, max_size=30), st.integers(0, 1000))
def test_what_is_delayed_at_random_still_arrives_in_order_and_whole(gaps: list[int], seed: int) -> None:
    it, _ = harmed("delay", 0.005, seed=seed)
    for number, gap in enumerate(gaps):
        it.run(gap)
        it.send(number)
    it.run()
    assert it.numbers == list(range(len(gaps)))


@given(st.lists(st.integers(0, 2 * MS), min_size=1, max_size=30), st.integers(0, 1000))
def test_nothing_that_is_delayed_arrives_before_the_latency_or_before_what_was_sent_earlier(
    gaps: list[int], seed: int
) -> None:
    it, _ = harmed("delay", 0.005, seed=seed)
    sent = 0
    earliest = []
    for number, gap in enumerate(gaps):
        it.run(gap)
        it.send(number)
        sent += gap
        earliest.append(sent + LATENCY_NS)
    it.run()
    assert it.moments == sorted(it.moments)
    assert all(at >= least for at, least in zip(it.moments, earliest, strict=True))


def test_a_delay_is_as_long_as_it_says_on_average() -> None:
    delays = []
    for seed in range(400):
        it, _ = harmed("delay", 0.1, seed=seed)
        it.send(1)
        it.run()
        delays.append(it.moments[0] - LATENCY_NS)
    # The mean of 400 exponential draws lies within 4 standard errors of 5 %.
    assert sum(delays) / 400 == pytest.approx(0.1 * SECOND_NS, rel=0.2)


def test_what_is_sent_after_a_delay_was_healed_neither_overtakes_nor_hurries_what_is_on_its_way() -> None:
    it, harm = harmed("delay", 1.0)
    it.send(1)
    due = it.timeline.next - it.begin
    it.stream.heal(harm)
    it.send(2)
    it.run()
    assert (it.numbers, it.moments) == ([1, 2], [due, due])


def test_what_is_delayed_takes_as_long_as_it_would_though_the_clock_jumps() -> None:
    it, harm = harmed("delay", 1.0)
    it.send(1)
    due = it.timeline.next - it.begin
    it.stream.heal(harm)
    it.timeline.jump(30 * SECOND_NS)
    it.send(2)
    it.run(60 * SECOND_NS)
    assert it.moments[0] == due + 30 * SECOND_NS


# --- partition --------------------------------------------------------------------------------------------------------


def test_a_partition_lets_nothing_through() -> None:
    it, _ = harmed("partition")
    it.send(1)
    it.run()
    assert it.numbers == []


def test_what_was_on_its_way_when_a_partition_began_arrives() -> None:
    it = Pipe()
    it.send(1)
    it.stream.harms.append(Harm("partition", 0.0, random.Random(1)))
    it.run()
    assert it.numbers == [1]


def test_what_a_partition_kept_back_arrives_in_order_after_it_and_before_what_comes_later() -> None:
    it, harm = harmed("partition")
    it.send(1)
    it.send(2)
    it.run()
    it.stream.heal(harm)
    it.send(3)
    it.run()
    assert it.numbers == [1, 2, 3]


def test_what_a_partition_kept_back_takes_the_latency_from_its_end() -> None:
    it, harm = harmed("partition")
    it.send(1)
    it.run(SECOND_NS)
    it.stream.heal(harm)
    it.run()
    assert it.moments == [SECOND_NS + LATENCY_NS]


def test_a_second_partition_goes_on_keeping_back_when_the_first_is_over() -> None:
    it, first = harmed("partition")
    second = Harm("partition", 0.0, random.Random(1))
    it.stream.harms.append(second)
    it.send(1)
    it.stream.heal(first)
    it.run()
    before = it.numbers
    it.stream.heal(second)
    it.run()
    assert (before, it.numbers) == ([], [1])


def test_the_end_of_another_harm_frees_nothing_that_a_partition_keeps_back() -> None:
    it, delay = harmed("delay", 0.1)
    it.stream.harms.append(Harm("partition", 0.0, random.Random(1)))
    it.send(1)
    it.stream.heal(delay)
    it.run()
    assert it.numbers == []


# --- bytes ------------------------------------------------------------------------------------------------------------


def test_a_duplicate_arrives_twice_through_the_decoder() -> None:
    it, _ = harmed("duplicate")
    it.send(7)
    it.run()
    assert (it.numbers, it.errors) == ([7, 7], [])


def test_a_frame_keeps_what_it_says_through_the_decoder() -> None:
    it, _ = harmed("duplicate")
    it.stream.send([answer(7, body=[3, "text", 0.5])])
    it.run()
    assert it.arrived[0][1][0] == answer(7, body=[3, "text", 0.5])


@pytest.mark.parametrize("seed", range(40))
def test_a_corrupt_frame_is_told_once_and_nothing_is_given_then_or_afterwards(seed: int) -> None:
    it, harm = harmed("corrupt", seed=seed)
    it.send(1)
    it.stream.heal(harm)
    it.run()
    it.send(2)
    it.run()
    assert (it.numbers, len(it.errors)) == ([], 1)


@pytest.mark.parametrize("seed", range(40))
def test_nothing_but_whole_frames_is_given_behind_a_truncated_one(seed: int) -> None:
    it, harm = harmed("truncate", seed=seed)
    it.send(1)
    it.stream.heal(harm)
    it.send(2)
    it.run()
    assert (it.numbers, len(it.errors)) in (([], 1), ([2], 0), ([], 0))


def test_what_stands_before_a_corrupt_frame_is_given() -> None:
    it = Pipe()
    it.send(1)
    it.stream.harms.append(Harm("corrupt", 1.0, random.Random(1)))
    it.send(2)
    it.run()
    assert (it.numbers, len(it.errors)) == ([1], 1)


def test_a_torn_stream_is_closed() -> None:
    it, _ = harmed("corrupt")
    it.send(1)
    it.run()
    assert it.stream.is_closed


@pytest.mark.parametrize("kind", ["corrupt", "truncate"])
def test_what_is_mangled_is_not_what_was_sent(kind: str) -> None:
    given_whole = 0
    for seed in range(100):
        it, _ = harmed(kind, seed=seed)
        it.send(1)
        it.run()
        given_whole += len(it.numbers)
    assert given_whole == 0


@pytest.mark.parametrize("side", ["worker", "pool"])
def test_a_frame_that_does_not_come_from_its_side_is_malformed_once_bytes_are_read(side: Any) -> None:
    it, _ = harmed("duplicate", side=side)
    it.send(1)  # an answer, which comes from a worker
    it.run()
    assert len(it.errors) == (side == "worker")


# --- how often --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "amount"), [("delay", 0.001), ("partition", 0.0), ("duplicate", 1.0)])
def test_a_harm_counts_the_frames_that_it_met(kind: str, amount: float) -> None:
    it, harm = harmed(kind, amount)
    for number in range(5):
        it.send(number)
    assert harm.met == 5


def test_a_harm_of_a_share_meets_that_share() -> None:
    it, harm = harmed("duplicate", 0.25)
    for number in range(1000):
        it.send(number)
    # 4 standard deviations of 1000 draws of one in four are 55.
    assert abs(harm.met - 250) < 55


def test_a_harm_meets_nothing_where_nothing_is_sent() -> None:
    it, harm = harmed("duplicate")
    it.run()
    assert harm.met == 0


def test_a_harm_that_is_healed_meets_nothing_more() -> None:
    it, harm = harmed("duplicate")
    it.send(1)
    it.stream.heal(harm)
    it.send(2)
    it.run()
    assert (harm.met, it.numbers) == (1, [1, 1, 2])


def test_a_harm_on_a_closed_stream_meets_nothing() -> None:
    it, harm = harmed("partition")
    it.stream.close()
    it.send(1)
    assert harm.met == 0


# --- the end ----------------------------------------------------------------------------------------------------------


def test_a_drain_gives_what_is_under_way_at_once_and_in_order() -> None:
    it = Pipe()
    it.send(1)
    it.send(2, 3)
    it.stream.drain()
    assert (it.numbers, it.moments) == ([1, 2, 3], [0, 0])


def test_what_was_drained_does_not_arrive_again() -> None:
    it = Pipe()
    it.send(1)
    it.stream.drain()
    it.run()
    assert (it.numbers, it.timeline.next) == ([1], NEVER)


def test_a_drain_ends_at_what_is_malformed() -> None:
    it, _ = harmed("corrupt")
    it.send(1)
    it.send(2)
    it.stream.drain()
    assert (it.numbers, len(it.errors)) == ([], 1)


def test_a_closed_stream_carries_nothing() -> None:
    it = Pipe()
    it.send(1)
    it.stream.close()
    it.send(2)
    it.run()
    assert it.numbers == []


def test_what_a_partition_kept_back_is_lost_with_the_stream() -> None:
    it, harm = harmed("partition")
    it.send(1)
    it.stream.close()
    it.stream.heal(harm)
    it.run()
    assert it.numbers == []


def test_a_drained_stream_is_closed() -> None:
    it = Pipe()
    it.stream.drain()
    assert it.stream.is_closed
