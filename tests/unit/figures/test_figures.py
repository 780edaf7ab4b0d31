from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolproof import figures
from poolproof.figures import errors, generator, load_figures, own_lag_ns, recovery
from poolproof.history import History, Outcome, Phase, Sample
from poolproof.plan import Claims
from tests.unit.histories import KILL, KILL_PARENT, STALL, Story, ns

# --- errors -------------------------------------------------------------------------------------------------------


def test_errors_are_counted_by_type_the_most_frequent_first_with_the_first_message_of_each() -> None:
    story = Story().fails(0.1, "m.A", message="one").fails(0.2, "m.B", message="two").fails(0.3, "m.B", message="three")
    assert [(e.type, e.message, e.count) for e in errors(story.history())] == [("m.B", "two", 2), ("m.A", "one", 1)]


@pytest.mark.parametrize("phase", [Phase.WARM_UP, Phase.PROBE, Phase.AFTER_CLOSE])
def test_errors_outside_of_the_measured_window_are_not_counted(phase: Phase) -> None:
    assert errors(Story().fails(0.1, phase=phase).history()) == ()


# --- load ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from([*Outcome, None]), max_size=30))
def test_what_was_offered_was_completed_failed_or_left_unresolved(outcomes: list[Outcome | None]) -> None:
    story = Story()
    for outcome in outcomes:
        if outcome is None:
            story.op(0.1, None, sent=False, by=None)
        else:
            story.op(0.1, None if outcome is Outcome.UNRESOLVED else 0.1, outcome=outcome)
    load = load_figures(story.history())
    assert load.offered == len(outcomes) == load.completed + load.failed + load.unresolved


@pytest.mark.parametrize(
    ("outcome", "counts"),
    [
        (Outcome.OK, (1, 0, 0)),
        (Outcome.USER_ERROR, (1, 0, 0)),
        (Outcome.WRONG, (0, 1, 0)),
        (Outcome.POOL_ERROR, (0, 1, 0)),
        (Outcome.CANCELLED, (0, 1, 0)),
        (Outcome.REJECTED, (0, 1, 0)),
    ],
)
def test_each_outcome_counts_as_one_thing(outcome: Outcome, counts: tuple[int, int, int]) -> None:
    load = load_figures(Story().op(0.1, outcome=outcome).history())
    assert (load.completed, load.failed, load.unresolved) == counts


@pytest.mark.parametrize("phase", [Phase.WARM_UP, Phase.PROBE, Phase.AFTER_CLOSE])
def test_only_the_measured_window_is_counted(phase: Phase) -> None:
    assert load_figures(Story().op(0.1, phase=phase).history()).offered == 0


def test_the_response_counts_from_when_an_operation_was_due() -> None:
    load = load_figures(Story().ops(2, 1.0, took=0.1, due=0.5, gap=0).history())
    assert (load.response_ms["p50"], load.response_ms["max"]) == (600.0, 600.0)


def test_operations_without_a_due_time_respond_from_when_they_were_sent() -> None:
    history = Story().ops(2, 1.0, took=0.1).history()
    history.operations.due[:] = 0
    assert load_figures(history).response_ms["max"] == 100.0


def test_a_percentile_of_too_few_operations_is_not_told() -> None:
    figures_ms = load_figures(Story().ops(99, 0.1).history()).response_ms
    assert (figures_ms["p95"] is None, figures_ms["p99"]) == (False, None)


def test_figures_of_nothing_are_not_told() -> None:
    load = load_figures(Story().history())
    assert (load.offered, load.response_ms["max"], load.throughput) == (0, None, None)


def test_only_completed_operations_have_a_response() -> None:
    story = Story().ops(2, 1.0, took=0.1).fails(1.0, took=9.0)
    assert load_figures(story.history()).response_ms["max"] == 100.0


def test_service_and_queue_are_told_by_the_workers_records() -> None:
    history = Story().op(1.0, 0.5, by=None).ran(0, 11, 1.2, 1.45).history()
    load = load_figures(history)
    assert (load.queue_ms["max"], load.service_ms["max"]) == (200.0, 250.0)


def test_throughput_is_what_was_completed_in_a_second_of_the_window() -> None:
    assert load_figures(Story().ops(10, 0.1).fails(0.2).history()).throughput == 2.5


def test_there_is_no_throughput_without_a_window() -> None:
    assert load_figures(Story.of(seconds=0).op(0.1).history()).throughput is None


# --- the generator's own lag --------------------------------------------------------------------------------------


def lag_ms(story: Story) -> list[float]:
    return [round(value / 1e6, 3) for value in own_lag_ns(story.history())]


def test_the_lag_is_how_late_an_operation_was_sent() -> None:
    assert lag_ms(Story().op(0.103, due=0.1)) == [3.0]


def test_a_slow_submit_is_not_the_generators_lag() -> None:
    # Due at 0.2 and 0.3, but the submit before took until 0.5: 1 ms late, but for what sending itself may take.
    assert lag_ms(Story().op(0.1, accepted=0.5, took=1).op(0.501, due=0.2)) == [0.0, 0.95]


def test_a_generator_that_was_stopped_is_late_with_all_that_became_due_meanwhile() -> None:
    story = Story()
    for number in range(5):
        story = story.op(0.5 + number / 1e6, due=0.1 * (number + 1), accepted=0.5 + number / 1e6)
    assert lag_ms(story) == [400.0, 300.001, 200.002, 100.003, 0.004]


def test_what_a_slow_submit_holds_up_is_not_the_generators_lag_however_much_it_is() -> None:
    story = Story().op(0.1, accepted=0.5, took=1)
    for number in range(5):
        story = story.op(0.5 + number / 1e5, due=0.1 * (number + 1), accepted=0.5 + number / 1e5)
    assert lag_ms(story) == [0.0] * 6


def test_what_was_accepted_early_does_not_shorten_the_lag() -> None:
    assert lag_ms(Story().op(0.1, accepted=0.15).op(0.205, due=0.2)) == [0.0, 5.0]


def test_operations_outside_of_the_window_have_no_lag() -> None:
    assert lag_ms(Story().op(0.1, phase=Phase.PROBE).op(0.3, None, sent=False, by=None)) == []


def test_a_lag_of_nothing_is_empty() -> None:
    assert lag_ms(Story()) == []


def late(story: Story, lag: float, count: int = 200, start: float = 0.0) -> Story:
    """So many operations, each sent a little late and answered after 10 ms."""
    for number in range(count):
        due = start + 0.01 * number
        story.op(due + lag, 0.01 - lag, due=due, by=None)
    return story


def test_a_generator_that_keeps_up_is_no_bottleneck() -> None:
    found = generator(late(Story(), 0.0009).history())
    assert (found.bottleneck, found.lag_p99_ms) == ("", 0.9)


def test_a_generator_that_is_late_is_the_bottleneck() -> None:
    assert generator(late(Story(), 0.0012).history()).bottleneck == "own lag p99 was 1.20 ms"


def test_a_lag_of_a_tenth_of_the_response_is_tolerated() -> None:
    story = Story()
    for number in range(200):
        story.op(0.01 * number + 0.009, 0.1, due=0.01 * number, by=None)
    assert generator(story.history()).bottleneck == ""


def test_a_lag_while_a_fault_lasts_is_not_held_against_it() -> None:
    story = late(late(Story.of(STALL), 0.0, start=5.0), 0.005, count=100, start=1.0).struck(11, 1.0, 1.5)
    assert generator(story.history()).bottleneck == ""


def test_a_lag_until_the_fault_had_to_be_noticed_is_not_held_against_it() -> None:
    story = late(late(Story.of(STALL), 0.0, start=5.0), 0.005, count=40, start=2.0).struck(11, 1.0, 1.5)
    assert generator(story.history()).bottleneck == ""


def with_samples(story: Story, *samples: tuple[float, int]) -> History:
    history = story.event("stage-ended", 4.0, "load").history()
    rows = tuple(
        Sample(at=ns(at), processes=1, zombies=0, memory_bytes=0, generator_ticks=ticks, lab_threads=1, lab_files=1)
        for at, ticks in samples
    )
    return History(**{**{field.name: getattr(history, field.name) for field in fields(history)}, "samples": rows})


def test_a_generator_that_uses_most_of_a_core_is_the_bottleneck() -> None:
    found = generator(with_samples(Story(), (0.0, 0), (2.0, 170)))
    assert (found.bottleneck, found.cpu_share) == ("its thread used 85% of a core", 0.85)


def test_a_generator_that_uses_less_is_none() -> None:
    assert generator(with_samples(Story(), (0.0, 0), (2.0, 150))).bottleneck == ""


def test_what_the_generator_used_outside_of_the_load_is_not_counted() -> None:
    found = generator(with_samples(Story(), (-1.0, 0), (0.0, 100), (2.0, 120), (9.0, 900)))
    assert found.cpu_share == 0.1


def test_a_single_sample_tells_nothing_of_the_generator() -> None:
    assert generator(with_samples(Story(), (1.0, 100))).cpu_share is None


def test_a_pool_in_the_generators_own_process_is_shown_and_not_judged() -> None:
    story = late(Story(claims=Claims(in_process=True)), 0.005)
    assert (generator(story.history()).bottleneck, generator(story.history()).lag_p99_ms) == ("", 5.0)


# --- faults -------------------------------------------------------------------------------------------------------


def test_a_fault_is_told_in_seconds_with_what_its_victim_held() -> None:
    (fault,) = figures.faults(Story.of(STALL).struck(11, 1.0, 3.0, held=(4, 5)).history())
    assert (fault.kind, fault.pid, fault.begin_s, fault.end_s) == ("stall", 11, 1.0, 3.0)
    assert (fault.effective, fault.in_flight, fault.operations) == ("yes", 2, (4, 5))


# --- recovery -----------------------------------------------------------------------------------------------------


def killed(workers: tuple[int, ...] = (12, 13, 14, 15)) -> Story:
    """Four workers that answer every 10 ms; worker 11 is killed at 1 s and worker 15 was born for it at 1.2 s."""
    story = Story.of(KILL).struck(11, 1.0).lived(11, gone=1.0)
    for pid in (12, 13, 14):
        story.lived(pid)
    story.lived(15, seen=1.2)
    for number in range(100):
        story.op(0.01 * number, 0.02, by=(11, 12, 13, 14)[number % 4])
    for number in range(30, 200):
        story.op(1.0 + 0.01 * number, 0.02, by=workers[number % len(workers)])
    return story.capacity(4, 4)


def test_there_is_no_recovery_where_nobody_was_harmed() -> None:
    assert recovery(Story().op(0.1).history()) is None


@pytest.mark.parametrize("effective", ["no", "pool-dead"])
def test_a_fault_without_effect_needs_no_recovery(effective: str) -> None:
    story = Story.of(KILL).op(0.1)
    story = story.struck(11, 1.0, effective="no") if effective == "no" else story.struck(11, 1.0, effective="pool-dead")
    assert recovery(story.history()) is None


def test_from_the_death_of_the_parent_there_is_no_recovery() -> None:
    assert recovery(Story.of(KILL_PARENT).op(0.1).struck(1, 1.0).history()) is None


def test_a_death_is_noticed_when_a_worker_born_later_begins_its_work() -> None:
    found = recovery(killed().history())
    assert found is not None
    assert found.detect_ms == 311.0


def test_a_death_is_noticed_when_an_operation_fails() -> None:
    found = recovery(killed().fails(1.05, took=0.05).history())
    assert found is not None
    assert found.detect_ms == 100.0


def test_a_failure_before_the_blow_is_no_sign_of_it() -> None:
    found = recovery(killed().fails(0.5).history())
    assert found is not None
    assert found.detect_ms == 311.0


def test_a_refusal_after_the_close_is_no_sign_of_it() -> None:
    found = recovery(killed((12, 13, 14)).fails(11.0, phase=Phase.AFTER_CLOSE, outcome=Outcome.REJECTED).history())
    assert found is not None
    assert found.detect_ms is None


def test_a_worker_that_lived_before_and_only_begins_later_is_no_sign() -> None:
    story = killed((12, 13, 14)).lived(16, seen=0.1).op(1.7, by=16)
    found = recovery(story.history())
    assert found is not None
    assert found.detect_ms is None


def test_a_worker_that_had_begun_before_and_was_only_seen_later_is_no_sign() -> None:
    story = killed((12, 13, 14)).lived(16, seen=1.05).op(0.95, 0.02, by=16).op(1.7, by=16)
    found = recovery(story.history())
    assert found is not None
    assert found.detect_ms is None


def test_a_death_that_nobody_noticed_is_told_as_never() -> None:
    found = recovery(killed((12, 13, 14)).history())
    assert found is not None
    assert found.detect_ms is None


def stalled() -> Story:
    """Worker 11 is stopped from 1 s to 3 s, holds an operation meanwhile, and nobody notices."""
    story = Story.of(STALL).struck(11, 1.0, 3.0, held=(100,))
    for pid in (11, 12, 13, 14):
        story.lived(pid)
    for number in range(100):
        story.op(0.01 * number, 0.02, by=(11, 12, 13, 14)[number % 4])
    story.op(0.99, 2.1, by=11)
    for number in range(30, 400):
        story.op(1.0 + 0.01 * number, 0.02, by=(12, 13, 14)[number % 3])
    return story


def test_a_stall_that_nobody_noticed_is_told_as_never() -> None:
    found = recovery(stalled().capacity(4, 4).history())
    assert found is not None
    assert found.detect_ms is None


def test_a_failure_after_the_stall_was_over_is_no_sign_of_it() -> None:
    found = recovery(stalled().fails(3.5).history())
    assert found is not None
    assert found.detect_ms is None


def test_a_stall_is_noticed_when_an_operation_fails_meanwhile() -> None:
    found = recovery(stalled().fails(1.5, took=0.25).history())
    assert found is not None
    assert found.detect_ms == 750.0


def test_a_death_is_noticed_after_a_later_stall_is_over_too() -> None:
    story = Story.of(KILL, STALL).struck(11, 1.0).struck(12, 1.2, 2.0, fault=1).fails(2.5, took=0.5)
    assert moments(story)[0] == 2000.0


def test_a_stall_is_not_noticed_by_what_a_later_death_brings() -> None:
    story = Story.of(STALL, KILL).struck(11, 1.0, 2.0).struck(12, 2.2, fault=1).fails(2.5, took=0.5)
    assert moments(story)[0] is None


@pytest.mark.parametrize("outcome", [Outcome.REJECTED, Outcome.POOL_ERROR])
def test_a_documented_refusal_is_no_sign_of_a_fault(outcome: Outcome) -> None:
    story = Story.of(KILL, claims=Claims(overload=("m.QueueFull",))).struck(11, 1.0)
    story.fails(1.5, "m.QueueFull", outcome=outcome, took=0.1)
    assert moments(story)[0] is None
    assert moments(story.fails(2.0, "m.Other", outcome=outcome, took=0.5))[0] == 1500.0


def test_capacity_is_back_when_as_many_live_workers_as_before_have_ended_an_operation() -> None:
    found = recovery(killed().history())
    assert found is not None
    # 12, 13, 14 and 15 work from 1.3 s on, one after the other: 14 and 15 come first, 12 and 13 after them.
    assert found.capacity_ms == 349.0


def test_capacity_never_comes_back_where_too_few_work() -> None:
    found = recovery(killed((12, 13, 14)).history())
    assert found is not None
    assert found.capacity_ms is None


def test_capacity_never_comes_back_where_the_rendezvous_saw_fewer() -> None:
    story = killed()
    story._lifecycle = [event for event in story._lifecycle if event.stage != "probe-after"]
    found = recovery(story.capacity(None, 3).history())
    assert found is not None
    assert found.capacity_ms is None


def test_what_the_dead_worker_ended_last_does_not_count_for_capacity() -> None:
    found = recovery(killed((12, 13, 14)).op(0.95, 0.1, by=11).history())
    assert found is not None
    assert found.capacity_ms is None


def test_after_a_stall_capacity_counts_from_the_heal() -> None:
    found = recovery(stalled().capacity(4, 4).history())
    assert found is not None
    assert found.capacity_ms is not None
    assert found.capacity_ms >= 2000


def test_it_is_steady_again_from_the_first_of_three_good_windows() -> None:
    found = recovery(killed().history())
    assert found is not None
    assert found.steady_ms == 250.0


def test_it_is_never_steady_again_where_operations_go_on_failing() -> None:
    story = killed()
    for number in range(50):
        story.fails(1.0 + 0.05 * number)
    found = recovery(story.history())
    assert found is not None
    assert found.steady_ms is None


def test_it_is_never_steady_again_where_responses_stay_slow() -> None:
    story = killed((12,))
    story._operations = [row for row in story._operations if row["due"] < ns(1.0)]
    for number in range(200):
        story.op(1.0 + 0.01 * number, 0.05, by=None)
    found = recovery(story.history())
    assert found is not None
    assert found.steady_ms is None


def test_it_is_steady_again_only_after_the_bad_windows() -> None:
    story = killed()
    for number in range(20):
        story.fails(1.6 + 0.01 * number)
    found = recovery(story.history())
    assert found is not None
    assert found.steady_ms == 1000.0


def test_after_a_stall_it_is_steady_from_the_heal_on() -> None:
    found = recovery(stalled().history())
    assert found is not None
    assert found.steady_ms == 2000.0


def test_without_enough_before_the_blow_nothing_tells_what_is_steady() -> None:
    story = Story.of(KILL).struck(11, 1.0).ops(19, 0.1, took=0.003).ops(200, 1.1, took=0.003)
    found = recovery(story.history())
    assert found is not None
    assert found.steady_ms is None


def test_just_enough_before_the_blow_tells_what_is_steady() -> None:
    story = Story.of(KILL).struck(11, 1.0).ops(20, 0.1, took=0.003).ops(200, 1.1, took=0.003)
    found = recovery(story.history())
    assert found is not None
    assert found.steady_ms is not None


def test_two_good_windows_are_too_few() -> None:
    story = killed()
    keep = [i for i, row in enumerate(story._operations) if row["due"] < ns(1.95)]
    story._operations = story._operations[: len(keep)]
    story._executions = [row for row in story._executions if row["op"] < len(keep)]
    found = recovery(story.history())
    assert found is not None
    assert found.steady_ms is None


def test_recovery_counts_from_the_first_of_several_blows() -> None:
    story = Story.of(KILL, KILL).struck(12, 2.0, fault=1).struck(11, 1.0).fails(2.5, took=0.5)
    found = recovery(story.history())
    assert found is not None
    assert found.detect_ms == 2000.0


def killed_twice(second: float = 1.1, *, fault: int = 1) -> Story:
    """As `killed`, and worker 12 is killed a moment later, too; worker 16 was born for it at 1.2 s."""
    story = (
        Story.of(KILL, KILL).struck(11, 1.0).struck(12, second, fault=fault).lived(11, gone=1.0).lived(12, gone=second)
    )
    for pid in (13, 14):
        story.lived(pid)
    story.lived(15, seen=1.2).lived(16, seen=1.2)
    for number in range(100):
        story.op(0.01 * number, 0.02, by=(11, 12, 13, 14)[number % 4])
    for number in range(30, 200):
        story.op(1.0 + 0.01 * number, 0.02, by=(13, 14, 15, 16)[number % 4])
    return story.capacity(4, 4)


def moments(story: Story) -> tuple[float | None, float | None, float | None]:
    found = recovery(story.history())
    assert found is not None
    return found.detect_ms, found.capacity_ms, found.steady_ms


def test_of_several_faults_the_first_is_what_was_noticed_and_the_last_what_the_pool_recovers_from() -> None:
    # At 1.301 s the first of the new workers begins; all four have answered at 1.349 s, 249 ms after the second blow.
    assert moments(killed_twice())[:2] == (301.0, 249.0)


@pytest.mark.parametrize(("fault", "steady"), [(1, 0.0), (0, 500.0)])
def test_it_is_steady_again_so_long_after_the_last_fault_began(fault: int, steady: float) -> None:
    assert moments(killed_twice(1.5, fault=fault))[2] == steady


def test_the_order_in_which_faults_are_told_does_not_matter() -> None:
    story = killed_twice()
    story._faults.reverse()
    assert moments(story) == moments(killed_twice())


def test_a_fault_with_several_victims_begins_with_the_first_of_them() -> None:
    assert moments(killed_twice(fault=0))[:2] == (301.0, 349.0)


def test_capacity_and_steadiness_are_looked_for_after_the_last_victim() -> None:
    _, capacity, steady = moments(killed_twice(1.5, fault=0))
    assert capacity is not None
    assert steady is not None
    assert (capacity > 500, steady) == (True, 500.0)


def test_figures_do_not_change_the_history() -> None:
    history = killed().history()
    before = history.operations.due.copy()
    load_figures(history)
    recovery(history)
    np.testing.assert_array_equal(history.operations.due, before)
