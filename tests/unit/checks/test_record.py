import pytest

from poolproof.checks.record import (
    backlogged,
    describe,
    describe_some,
    effective,
    error_of,
    harms,
    observed_until,
    to_blame,
    unprovoked,
    unresolved,
)
from poolproof.checks.verdict import SHOWN
from poolproof.history import Outcome, Phase
from poolproof.plan import Claims
from tests.unit.histories import KILL, KILL_PARENT, STALL, Story, born, ns


def blamed(story: Story) -> list[bool]:
    return [bool(guilty) for guilty in to_blame(story.history())]


def test_an_ordinary_operation_is_not_to_blame() -> None:
    assert blamed(Story().op(0.1).fails(0.2)) == [False, False]


def test_case_1_an_awkward_operation_is_to_blame() -> None:
    assert blamed(Story().op(0.1).op(0.2, kind="raises")) == [False, True]


def test_case_1_an_awkward_operation_that_was_not_sent_is_not_to_blame() -> None:
    assert blamed(Story().op(0.2, None, kind="raises", sent=False, by=None)) == [False]


def test_case_2_what_a_victim_held_is_to_blame() -> None:
    assert blamed(Story.of(KILL).hangs(0.8, by=None).hangs(0.9, by=None).struck(11, 1.0, held=(1,))) == [False, True]


def test_case_3_what_a_victim_had_ended_and_not_delivered_is_to_blame() -> None:
    story = Story.of(KILL).hangs(0.8, by=None).ran(0, 11, 0.85, 0.95).struck(11, 1.0)
    assert blamed(story) == [True]


def test_case_3_what_a_victim_had_ended_is_to_blame_when_it_was_delivered_after_the_blow() -> None:
    assert blamed(Story.of(KILL).op(0.8, 0.2, by=11).struck(11, 1.0)) == [True]


def test_case_3_what_a_victim_had_ended_and_delivered_before_the_blow_is_not_to_blame() -> None:
    assert blamed(Story.of(KILL).op(0.8, 0.1, by=11).struck(11, 1.0)) == [False]


def test_case_3_what_another_worker_had_ended_is_not_to_blame() -> None:
    assert blamed(Story.of(KILL).op(0.8, 0.4, by=12).struck(11, 1.0)) == [False]


def test_case_3_what_an_earlier_life_of_the_same_pid_had_ended_is_not_to_blame() -> None:
    history = Story.of(KILL).op(0.8, 0.4, by=11).struck(11, 1.0).history()
    history.executions.start_time[:] = 7
    assert not to_blame(history).any()


def test_what_a_worker_had_begun_that_died_by_itself_is_not_to_blame() -> None:
    assert blamed(Story().hangs(0.8, by=12).lived(12, gone=1.0)) == [False]


def test_what_a_stalled_worker_begins_after_it_went_on_is_not_to_blame() -> None:
    story = Story.of(STALL).struck(11, 1.0, 2.0).op(2.5, by=11)
    assert blamed(story) == [False]


def test_a_fault_without_effect_puts_the_blame_on_nobody() -> None:
    assert blamed(Story.of(KILL).hangs(0.9).struck(11, 1.0, held=(0,), effective="no")) == [False]


@pytest.mark.parametrize(
    ("kind", "target", "pids"), [("", "worker", [11, 12]), ("kill", "worker", [11]), ("stall", "worker", [12])]
)
def test_effective_faults_are_told_apart_by_kind(kind: str, target: str, pids: list[int]) -> None:
    story = Story.of(KILL, STALL, KILL_PARENT).struck(11, 1.0).struck(12, 1.0, fault=1).struck(13, 2.0, fault=2)
    assert [fault.pid for fault in effective(story.history(), kind, target)] == pids


def test_effective_faults_on_the_parent_are_asked_for_by_name() -> None:
    story = Story.of(KILL, KILL_PARENT).struck(11, 1.0).struck(13, 2.0, fault=1)
    assert [fault.pid for fault in effective(story.history(), target="parent")] == [13]


def test_a_fault_without_effect_is_no_effective_one() -> None:
    assert (
        effective(Story.of(KILL).struck(11, 1.0, effective="no").struck(0, 1.0, effective="pool-dead").history()) == []
    )


@pytest.mark.parametrize(("until", "watched"), [(3.4, False), (3.5, True)])
def test_an_open_operation_is_unresolved_once_it_was_watched_for_three_seconds(until: float, watched: bool) -> None:
    lost, still_open = unresolved(Story().hangs(0.5).watched(until).history())
    assert (lost.tolist(), still_open.tolist()) == ([watched], [not watched])


def test_each_open_operation_has_three_seconds_of_its_own() -> None:
    lost, still_open = unresolved(Story().hangs(0.5).hangs(2.0).watched(4.0).history())
    assert (lost.tolist(), still_open.tolist()) == ([True, False], [False, True])


def test_the_three_seconds_begin_with_the_last_heal() -> None:
    story = Story.of(STALL).hangs(0.5).struck(11, 1.0, 3.0).watched(5.9)
    assert unresolved(story.history())[1].tolist() == [True]


def test_a_pool_that_notices_slowly_is_given_three_times_that() -> None:
    assert unresolved(Story(claims=Claims(detection_s=2)).hangs(0.5).watched(6.4).history())[1].tolist() == [True]


@pytest.mark.parametrize(
    "story",
    [
        pytest.param(Story().op(0.5), id="answered"),
        pytest.param(Story().hangs(0.5, phase=Phase.AFTER_CLOSE), id="sent after the close"),
        pytest.param(Story().op(0.5, None, sent=False, by=None), id="never sent"),
    ],
)
def test_no_other_operation_is_open(story: Story) -> None:
    lost, still_open = unresolved(story.watched(9.0).history())
    assert not lost.any()
    assert not still_open.any()


def test_the_run_was_watched_until_its_last_event() -> None:
    assert observed_until(Story().watched(9.0).event("void", 7.0).history()) == ns(9.0)


def test_an_error_is_told_by_its_type_and_the_first_line_of_its_message() -> None:
    assert error_of(Story().fails(0.1, "m.E", message="one\ntwo").history(), 0) == "m.E: one"


def test_an_error_without_a_message_is_told_by_its_type() -> None:
    assert error_of(Story().fails(0.1, "m.E", message="").history(), 0) == "m.E: "


def test_an_end_without_an_error_is_told_by_its_outcome() -> None:
    assert error_of(Story().op(0.1, outcome=Outcome.CANCELLED).history(), 0) == "cancelled"


def test_an_error_that_is_not_in_the_table_is_told_by_its_outcome() -> None:
    assert error_of(Story().op(0.1, outcome=Outcome.POOL_ERROR, error=7).history(), 0) == "pool-error"


def test_an_operation_is_told_with_the_worker_that_last_began_it() -> None:
    story = Story().op(0.1, by=11).ran(0, 12, 0.5, 0.6)
    assert describe(story.history(), 0, "was odd").text == (
        "operation 0 (predict), sent at 0.100 s, was odd; worker pid 12 began it at 0.500 s"
    )


def test_an_operation_that_submit_never_returned_from_is_told_so() -> None:
    history = Story().hangs(0.1, by=None).history()
    history.operations.accepted[:] = 0
    assert describe(history, 0, "was odd").text.endswith("was odd; the pool's submit never returned")


def told(story: Story) -> list[int | None]:
    history = story.history()
    return [evidence.op for evidence in describe_some(history, history.operations.sent > 0, "was odd")]


def test_of_several_operations_one_of_each_kind_is_told_first() -> None:
    story = Story().ops(3, 0.1).op(0.5, kind="batch").op(0.6, kind="raises").op(0.7, kind="batch")
    assert told(story)[:SHOWN] == [0, 3, 4, 1, 2]


def test_of_one_kind_the_first_operations_are_told() -> None:
    assert told(Story().ops(SHOWN, 0.1)) == list(range(SHOWN))


def test_kinds_are_told_in_the_order_in_which_they_came() -> None:
    assert told(Story().op(0.1, kind="raises").op(0.2, kind="batch").op(0.3)) == [0, 1, 2]


def test_what_is_not_told_in_full_is_counted() -> None:
    history = Story().ops(SHOWN + 3, 0.1).history()
    *_, last = describe_some(history, history.operations.sent > 0, "was odd")
    assert last.text == f"and 3 more operations alike, {SHOWN + 3} in all"


# --- harms --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "story",
    [
        pytest.param(Story().op(0.1).fails(0.2), id="ordinary operations"),
        pytest.param(Story.of(KILL).struck(11, 1.0, effective="no"), id="a fault without effect"),
        pytest.param(Story.of(KILL_PARENT).struck(11, 1.0), id="a fault on the parent"),
        pytest.param(Story().op(0.2, None, kind="raises", sent=False, by=None), id="an awkward one that was not sent"),
    ],
)
def test_there_is_no_harm_in(story: Story) -> None:
    assert harms(story.history()) == []


def test_a_fault_is_a_harm_to_its_worker() -> None:
    (harm,) = harms(Story.of(KILL).struck(12, 1.0).history())
    assert (harm.begin, harm.what, harm.pid, harm.start_time) == (
        *(ns(1.0), "the kill of worker pid 12"),
        *(12, born(12)),
    )


def test_an_awkward_operation_is_a_harm_to_the_worker_that_began_it_from_its_sending_on() -> None:
    (harm,) = harms(Story().op(0.1).op(0.2, kind="raises", by=12).history())
    assert (harm.begin, harm.what, harm.pid, harm.start_time) == (ns(0.2), "operation 1 (raises)", 12, born(12))


def test_an_awkward_operation_that_nobody_began_is_a_harm_to_no_known_worker() -> None:
    (harm,) = harms(Story().op(0.2, kind="raises", by=None).history())
    assert (harm.pid, harm.start_time) == (None, None)


def test_harms_are_told_in_the_order_of_time() -> None:
    story = Story.of(KILL, STALL).struck(12, 2.0, fault=1).struck(11, 1.0)
    story.op(1.5, kind="raises").op(0.5, kind="calls-sys-exit")
    assert [harm.begin for harm in harms(story.history())] == [ns(0.5), ns(1.0), ns(1.5), ns(2.0)]


# --- unprovoked ---------------------------------------------------------------------------------------------------


def blameless(story: Story) -> list[bool]:
    return [bool(failed) for failed in unprovoked(story.history())]


@pytest.mark.parametrize("outcome", [Outcome.POOL_ERROR, Outcome.REJECTED, Outcome.CANCELLED])
@pytest.mark.parametrize("phase", [Phase.WARM_UP, Phase.MEASURED])
def test_a_failure_before_any_harm_is_unprovoked(outcome: Outcome, phase: Phase) -> None:
    assert blameless(Story.of(KILL).fails(0.5, outcome=outcome, phase=phase).struck(11, 1.0)) == [True]


def test_without_any_harm_every_failure_is_unprovoked() -> None:
    assert blameless(Story().op(0.1).fails(0.2).fails(3.0).watched(9.0)) == [False, True, True]


@pytest.mark.parametrize("phase", [Phase.PROBE, Phase.AFTER_CLOSE])
def test_a_failure_outside_of_the_load_counts_as_provoked(phase: Phase) -> None:
    assert blameless(Story().fails(0.5, phase=phase).watched(9.0)) == [False]


@pytest.mark.parametrize("outcome", [Outcome.OK, Outcome.WRONG, Outcome.USER_ERROR])
def test_no_other_end_is_an_unprovoked_failure(outcome: Outcome) -> None:
    assert blameless(Story().op(0.5, outcome=outcome).watched(9.0)) == [False]


def test_what_never_ended_is_no_unprovoked_failure() -> None:
    assert blameless(Story().hangs(0.5).watched(9.0)) == [False]


@pytest.mark.parametrize("at", [0.9, 1.5])
def test_a_failure_at_the_fault_or_later_is_provoked(at: float) -> None:
    assert blameless(Story.of(KILL).fails(at, took=0.1).struck(11, 1.0)) == [False]


def test_a_failure_after_a_fault_without_effect_is_unprovoked() -> None:
    assert blameless(Story.of(KILL).fails(2.0).struck(11, 1.0, effective="no").watched(9.0)) == [True]


def test_a_failure_after_an_awkward_operation_was_sent_is_provoked() -> None:
    assert blameless(Story().op(0.5, kind="raises").fails(0.6).watched(9.0)) == [False, False]


def test_a_failure_before_an_awkward_operation_was_sent_is_unprovoked() -> None:
    assert blameless(Story().fails(0.2).op(0.5, kind="raises").watched(9.0)) == [True, False]


def test_a_failure_once_the_pool_is_closing_is_provoked() -> None:
    assert blameless(Story().fails(0.5).fails(1.5).closes(1.0)) == [True, False]


def test_a_close_before_the_measured_window_provokes_nothing() -> None:
    assert blameless(Story().closes(-5.0).fails(0.5).watched(9.0)) == [True]


def test_the_first_of_all_harms_ends_what_is_unprovoked() -> None:
    story = Story.of(KILL).fails(0.3).fails(0.7).fails(1.2).struck(11, 1.0).op(0.5, kind="raises").closes(2.0)
    assert blameless(story) == [True, False, False, False]


# --- backlogged: the patience is 3 s ------------------------------------------------------------------------------


def answering(until: float) -> Story:
    """A pool that answers an operation every half second, and then the watch ends."""
    return Story().ops(round(until / 0.5), 0.0, 0.5).watched(until)


def waits(story: Story, op: int = -1) -> bool:
    history = story.history()
    return bool(backlogged(history, history.operations.sent > 0)[op])


def test_what_nobody_began_while_the_pool_went_on_answering_is_backlogged() -> None:
    assert waits(answering(8.0).hangs(1.0, by=None))


def test_what_was_not_asked_about_is_not_backlogged() -> None:
    history = answering(8.0).hangs(1.0, by=None).history()
    assert not backlogged(history, history.operations.sent == 0).any()


def test_what_was_begun_less_than_the_patience_ago_is_backlogged() -> None:
    story = answering(8.0).hangs(1.0, by=None)
    assert waits(story.ran(16, 12, 5.1, None))


def test_what_was_begun_as_long_as_the_patience_ago_is_not_backlogged() -> None:
    story = answering(8.0).hangs(1.0, by=None)
    assert not waits(story.ran(16, 12, 5.0, None))


def test_the_last_beginning_counts() -> None:
    story = answering(8.0).hangs(1.0, by=None)
    assert waits(story.ran(16, 12, 1.1, None).ran(16, 13, 7.0, None))


def test_a_late_answer_is_backlogged_by_the_time_from_its_beginning_to_its_end() -> None:
    story = answering(9.0).op(1.0, 7.0, by=None).op(1.0, 7.0, by=None)
    story.ran(18, 12, 7.5, 7.9).ran(19, 12, 1.1, 7.9)
    assert (waits(story, 18), waits(story, 19)) == (True, False)


def test_nothing_is_backlogged_where_the_pool_answered_nothing() -> None:
    assert not waits(Story().hangs(1.0, by=None).watched(8.0))


def test_an_answer_to_what_is_no_load_does_not_make_a_backlog() -> None:
    story = Story().op(0.5, phase=Phase.WARM_UP).op(2.0, phase=Phase.AFTER_CLOSE).hangs(1.0, by=None)
    assert not waits(story.watched(4.5))


def test_what_was_open_while_the_pool_fell_silent_for_as_long_as_the_patience_is_not_backlogged() -> None:
    assert not waits(answering(2.0).op(5.5).hangs(1.0, by=None).watched(6.0))


@pytest.mark.parametrize(("until", "backlog"), [(4.9, True), (5.0, False)])
def test_it_is_no_backlog_once_the_pool_was_silent_for_as_long_as_the_patience(until: float, backlog: bool) -> None:
    assert waits(Story().op(1.5, 0.5).hangs(1.0, by=None).watched(until)) is backlog


def test_what_was_sent_after_a_silence_is_backlogged() -> None:
    story = answering(2.0).ops(8, 6.0, 0.5).watched(10.0)
    assert waits(story.hangs(6.0, by=None))


def test_what_ended_before_a_silence_is_not_judged_by_it() -> None:
    assert waits(answering(4.0).watched(9.0).op(0.0, 3.7, by=None))


def test_what_saw_less_of_a_silence_than_the_patience_is_not_judged_by_it() -> None:
    story = answering(2.0).ops(8, 5.5, 0.5).watched(9.5)
    assert waits(story.hangs(3.0, by=None))


def test_the_patience_with_a_pool_that_notices_slowly_is_three_times_that() -> None:
    story = Story(claims=Claims(detection_s=2)).ops(4, 0.0, 0.5).hangs(1.0, by=None).watched(7.0)
    assert waits(story)


def test_records_of_operations_that_the_client_does_not_know_make_no_backlog() -> None:
    assert waits(answering(8.0).hangs(1.0, by=None).ran(99, 12, 1.0, None).ran(-1, 12, 1.0, None), 16)
