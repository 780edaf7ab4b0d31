from itertools import pairwise
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolproof.checks.record import (
    backlogged,
    describe,
    describe_some,
    error_of,
    expired,
    first_execution,
    harms,
    last_execution,
    lived_until,
    observed_until,
    ran_until,
    shed,
    to_blame,
    unprovoked,
    unresolved,
    worker_of,
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


def test_case_2_what_a_victim_held_that_the_client_does_not_know_puts_the_blame_on_nobody() -> None:
    assert blamed(Story.of(KILL).hangs(0.8).hangs(0.9).struck(12, 1.0, held=(-1, 2, 99))) == [False, False]


def test_case_2_the_first_of_all_operations_may_be_what_a_victim_held() -> None:
    assert blamed(Story.of(KILL).hangs(0.8, by=None).hangs(0.9, by=None).struck(11, 1.0, held=(0,))) == [True, False]


def test_case_3_what_a_victim_had_ended_and_not_delivered_is_to_blame() -> None:
    story = Story.of(KILL).hangs(0.8, by=None).ran(0, 11, 0.85, 0.95).struck(11, 1.0)
    assert blamed(story) == [True]


def test_case_3_what_a_victim_had_ended_is_to_blame_when_it_was_delivered_after_the_blow() -> None:
    assert blamed(Story.of(KILL).op(0.8, 0.2, by=11).struck(11, 1.0)) == [True]


def test_case_3_what_a_victim_had_ended_and_delivered_before_the_blow_is_not_to_blame() -> None:
    assert blamed(Story.of(KILL).op(0.8, 0.1, by=11).struck(11, 1.0)) == [False]


@pytest.mark.parametrize(("began", "guilty"), [(0.999999999, True), (1.0, False)])
def test_case_3_what_a_victim_began_before_the_blow_may_be_to_blame(began: float, guilty: bool) -> None:
    assert blamed(Story.of(KILL).hangs(0.8, by=None).ran(0, 11, began, None).struck(11, 1.0)) == [guilty]


def test_case_3_what_an_earlier_blow_had_kept_from_its_client_stays_to_blame_after_a_later_one() -> None:
    story = Story.of(KILL, KILL).op(0.8, 0.5, by=11).ran(0, 12, 0.85, 0.9)
    assert blamed(story.struck(11, 1.0).struck(12, 2.0, fault=1)) == [True]


def test_case_3_what_another_worker_had_ended_is_not_to_blame() -> None:
    assert blamed(Story.of(KILL).op(0.8, 0.4, by=12).struck(11, 1.0)) == [False]


def test_case_3_what_an_earlier_life_of_the_same_pid_had_ended_is_not_to_blame() -> None:
    history = Story.of(KILL).op(0.8, 0.4, by=11).struck(11, 1.0).history()
    history.executions.start_time[:] = 7
    assert not to_blame(history).any()


@pytest.mark.parametrize("later", [0.95, 1.5, 3.0])
def test_case_4_what_belongs_to_a_session_that_a_victim_had_served_is_to_blame(later: float) -> None:
    story = Story.of(KILL).op(0.5, by=11, session=3).fails(later, session=3).struck(11, 1.0)
    assert blamed(story) == [False, True]


def test_case_4_what_of_such_a_session_never_ended_is_to_blame() -> None:
    story = Story.of(KILL).op(0.5, by=11, session=3).hangs(0.7, by=12, session=3).struck(11, 1.0)
    assert blamed(story) == [False, True]


@pytest.mark.parametrize(("took", "guilty"), [(0.2999, False), (0.3, True)])
def test_case_4_what_of_such_a_session_was_delivered_before_the_blow_is_not_to_blame(took: float, guilty: bool) -> None:
    story = Story.of(KILL).op(0.5, by=11, session=3).op(0.7, took, by=12, session=3).struck(11, 1.0)
    assert blamed(story) == [False, guilty]


def test_case_4_what_belongs_to_a_session_that_others_had_served_is_not_to_blame() -> None:
    story = Story.of(KILL).op(0.5, by=11, session=3).op(0.5, by=12, session=4).fails(1.5, session=4).struck(11, 1.0)
    assert blamed(story) == [False, False, False]


def test_case_4_what_has_no_session_is_not_to_blame_for_what_a_victim_had_served() -> None:
    story = Story.of(KILL).op(0.5, by=11).op(0.6, by=11, session=3).fails(1.5).struck(11, 1.0)
    assert blamed(story) == [False, False, False]


def test_case_4_a_session_that_a_victim_began_to_serve_after_the_blow_is_not_to_blame() -> None:
    story = Story.of(STALL).struck(11, 1.0, 2.0).op(2.5, by=11, session=3).fails(3.0, session=3)
    assert blamed(story) == [False, False]


def test_case_4_a_session_that_a_victim_had_served_for_the_first_time_long_ago_is_to_blame() -> None:
    story = Story.of(KILL).op(0.1, by=11, session=3).ops(3, 0.5, by=11).fails(1.5, session=3).struck(11, 1.0)
    assert blamed(story)[-1]


def test_case_4_the_sessions_of_every_victim_are_to_blame() -> None:
    story = Story.of(KILL, KILL).op(0.1, by=11, session=3).op(0.1, by=12, session=4).op(0.1, by=13, session=5)
    story.struck(11, 1.0).struck(12, 2.0, fault=1)
    story.fails(2.5, session=3).fails(2.5, session=4).fails(2.5, session=5)
    assert blamed(story)[3:] == [True, True, False]


def test_case_4_a_fault_without_effect_costs_no_session() -> None:
    story = Story.of(KILL).op(0.5, by=11, session=3).fails(1.5, session=3).struck(11, 1.0, effective="no")
    assert blamed(story) == [False, False]


def test_case_4_session_0_is_a_session_like_any_other() -> None:
    story = Story.of(KILL).op(0.5, by=11, session=0).fails(1.5, session=0).fails(1.5).struck(11, 1.0)
    assert blamed(story) == [False, True, False]


@pytest.mark.parametrize("earlier", [11, 12])
def test_case_4_a_session_that_two_victims_had_served_is_bereft_from_the_first_blow_on(earlier: int) -> None:
    story = Story.of(KILL, KILL).op(0.1, by=11, session=3).op(0.3, by=12, session=3).fails(1.4, session=3)
    story.struck(earlier, 1.0).struck(23 - earlier, 2.0, fault=1)
    assert blamed(story)[2]


@pytest.mark.parametrize("unknown", [-1, 2, 9])
def test_case_4_records_of_operations_that_the_client_does_not_know_tell_of_no_session(unknown: int) -> None:
    story = Story.of(KILL).op(0.5, by=12, session=3).fails(1.5, session=3)
    assert blamed(story.ran(unknown, 11, 0.6, 0.7).struck(11, 1.0)) == [False, False]


def test_what_a_worker_had_begun_that_died_by_itself_is_not_to_blame() -> None:
    assert blamed(Story().hangs(0.8, by=12).lived(12, gone=1.0)) == [False]


def test_what_a_stalled_worker_begins_after_it_went_on_is_not_to_blame() -> None:
    story = Story.of(STALL).struck(11, 1.0, 2.0).op(2.5, by=11)
    assert blamed(story) == [False]


def test_a_fault_without_effect_puts_the_blame_on_nobody() -> None:
    assert blamed(Story.of(KILL).hangs(0.9).struck(11, 1.0, held=(0,), effective="no")) == [False]


@pytest.mark.parametrize(("until", "watched"), [(3.4, False), (3.5, True)])
def test_an_open_operation_is_unresolved_once_it_was_watched_for_three_seconds(until: float, watched: bool) -> None:
    lost, still_open = unresolved(Story().hangs(0.5).watched(until).history())
    assert (lost.tolist(), still_open.tolist()) == ([watched], [not watched])


@pytest.mark.parametrize("until", [1.0, 9.0])
def test_an_operation_that_ended_was_not_left_unresolved_however_long_it_was_watched(until: float) -> None:
    lost, still_open = unresolved(Story().op(0.5).hangs(0.5).watched(until).history())
    assert (lost[0], still_open[0], lost[1] or still_open[1]) == (False, False, True)


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


def run_of(data: st.DataObject) -> Story:
    """A story of a few operations, workers, sessions and kills, in which anything may have come at any moment."""
    moments = st.integers(0, 12)
    story = Story.of(KILL, KILL, STALL)
    for _ in range(data.draw(st.integers(0, 6))):
        took = data.draw(st.none() | st.integers(0, 8))
        session = data.draw(st.integers(-1, 1))
        kind = data.draw(st.sampled_from(("predict", "predict", "raises")))
        phase = data.draw(st.sampled_from((Phase.MEASURED, Phase.MEASURED, Phase.AFTER_CLOSE)))
        story.op(data.draw(moments), took, by=None, session=session, kind=kind, phase=phase)
    for _ in range(data.draw(st.integers(0, 8))):
        op, pid, life = data.draw(st.integers(-1, 6)), data.draw(st.integers(11, 12)), data.draw(st.integers(1, 2))
        started = data.draw(moments)
        ended = data.draw(st.none() | st.integers(started, 12))
        story.ran(op, pid, started, ended, life=100 * pid if life == 1 else 7)
    for fault in range(data.draw(st.integers(0, 3))):
        held = tuple(data.draw(st.lists(st.integers(-1, 7), max_size=2)))
        effective: Literal["yes", "no"] = data.draw(st.sampled_from(("yes", "no")))
        harmed = tuple(data.draw(st.lists(st.integers(0, 1), max_size=1)))
        pid, at = data.draw(st.integers(11, 12)), data.draw(moments)
        story.struck(pid, at, held=held, fault=fault, effective=effective, sessions=harmed)
    for pid in (11, 12):
        if data.draw(st.booleans()):
            story.lived(pid, gone=data.draw(st.none() | moments))
    return story.watched(data.draw(st.integers(20, 23)))


@given(st.data())
def test_to_blame_are_those_that_the_four_cases_name_one_by_one(data: st.DataObject) -> None:
    history = run_of(data).history()
    operations, executions = history.operations, history.executions
    count = len(operations)
    gone = {(life.pid, life.start_time) for life in history.incarnations if life.gone}

    def guilty(op: int) -> bool:
        if history.kind_of(op) == "raises":
            return True
        for fault in history.faults:
            if fault.effective != "yes":
                continue
            begun = {
                ran
                for row, ran in enumerate(executions.op.tolist())
                if (executions.pid[row], executions.start_time[row]) == (fault.pid, fault.start_time)
                and executions.started[row] < fault.begin
            }
            survived = fault.kind != "kill" and (fault.pid, fault.start_time) not in gone
            begun = set() if survived else begun  # what it had served is none the worse for that
            known = {ran for ran in begun | set(() if survived else fault.held) if 0 <= ran < count}
            sessions = ({int(operations.session[ran]) for ran in known} | set(fault.sessions)) - {-1}
            undelivered = operations.done[op] == 0 or operations.done[op] >= fault.begin
            if op in fault.held or (undelivered and (op in begun or operations.session[op] in sessions)):
                return True
        return False

    assert to_blame(history).tolist() == [guilty(op) for op in range(count)]


# --- how operations ended -----------------------------------------------------------------------------------------


FULL = Claims(overload=("m.QueueFull",))


def busy(claims: Claims = FULL, *, count: int = 4) -> Story:
    """A pool of four workers that has so many operations to do from 0.1 s to 5 s."""
    return Story(claims=claims).ops(count, 0.1, took=4.9)


def was_shed(story: Story) -> bool:
    """Whether that became of the last operation of a story."""
    return bool(shed(story.history())[-1])


@pytest.mark.parametrize("outcome", [Outcome.POOL_ERROR, Outcome.REJECTED])
def test_what_was_refused_by_a_documented_type_while_there_was_much_to_do_was_shed(outcome: Outcome) -> None:
    story = busy().fails(1.0, "m.QueueFull", outcome=outcome).fails(1.0, "m.Other", outcome=outcome).op(1.0)
    assert shed(story.history()).tolist() == [False, False, False, False, True, False, False]


def test_nothing_was_shed_by_a_pool_that_documents_no_refusal() -> None:
    assert not was_shed(busy(Claims(errors=("m.QueueFull",))).fails(1.0, "m.QueueFull", outcome=Outcome.REJECTED))


@pytest.mark.parametrize(("count", "rightly"), [(0, False), (3, False), (4, True), (5, True)])
def test_as_many_operations_as_workers_must_have_been_under_way(count: int, rightly: bool) -> None:
    assert was_shed(busy(count=count).fails(1.0, "m.QueueFull", outcome=Outcome.REJECTED)) is rightly


@pytest.mark.parametrize(("accepted", "rightly"), [(1.0, True), (1.000000001, False)])
def test_what_was_accepted_until_another_was_sent_was_under_way(accepted: float, rightly: bool) -> None:
    story = busy(count=3).op(0.1, 4.0, accepted=accepted)
    assert was_shed(story.fails(1.0, "m.QueueFull", outcome=Outcome.REJECTED)) is rightly


@pytest.mark.parametrize(("done", "rightly"), [(0.949999999, False), (0.95, True)])
def test_what_had_ended_fifty_milliseconds_before_another_was_sent_was_not_under_way(
    done: float, rightly: bool
) -> None:
    story = busy(count=3).op(0.1, done - 0.1)
    assert was_shed(story.fails(1.0, "m.QueueFull", outcome=Outcome.REJECTED)) is rightly


def test_what_never_ended_was_under_way() -> None:
    assert was_shed(busy(count=3).hangs(0.1).fails(1.0, "m.QueueFull", outcome=Outcome.REJECTED))


def test_what_was_rejected_was_not_under_way() -> None:
    story = busy(count=3).fails(0.1, took=4.0, accepted=0.2, outcome=Outcome.REJECTED)
    assert not was_shed(story.fails(1.0, "m.QueueFull", outcome=Outcome.REJECTED))


def test_refusals_whose_futures_fail_late_do_not_excuse_each_other() -> None:
    story = Story(claims=FULL)
    for number in range(8):
        story.fails(1.0 + number / 100, "m.QueueFull", took=4.0, outcome=Outcome.POOL_ERROR)
    assert not shed(story.history()).any()


@pytest.mark.parametrize(("by", "rightly"), [(None, False), (11, True)])
def test_what_was_refused_late_was_under_way_where_a_worker_had_begun_it(by: int | None, rightly: bool) -> None:
    story = busy(count=3).fails(0.1, "m.QueueFull", took=4.0, by=by)
    assert was_shed(story.fails(1.0, "m.QueueFull", outcome=Outcome.REJECTED)) is rightly


def test_what_failed_late_with_another_error_was_under_way() -> None:
    story = busy(count=3).fails(0.1, "m.Other", took=4.0)
    assert was_shed(story.fails(1.0, "m.QueueFull", outcome=Outcome.REJECTED))


def test_what_submit_never_returned_from_was_not_under_way() -> None:
    history = busy().fails(1.0, "m.QueueFull", outcome=Outcome.REJECTED).history()
    history.operations.accepted[0] = 0
    assert not shed(history)[-1]


def test_operations_of_every_phase_were_under_way() -> None:
    story = busy(count=3).op(0.1, 4.0, phase=Phase.WARM_UP)
    assert was_shed(story.fails(1.0, "m.QueueFull", outcome=Outcome.REJECTED))


@pytest.mark.parametrize(("capacity", "count", "rightly"), [(2, 2, True), (2, 1, False), (9, 4, True), (9, 3, False)])
def test_where_fewer_workers_were_seen_at_work_so_many_operations_are_enough(
    capacity: float, count: int, rightly: bool
) -> None:
    story = busy(count=count).event("capacity", -1.0, "probe-before", capacity)
    assert was_shed(story.fails(1.0, "m.QueueFull", outcome=Outcome.REJECTED)) is rightly


@pytest.mark.parametrize("capacity", [None, 0.0])
def test_where_no_worker_was_seen_at_work_there_are_as_many_as_were_asked_for(capacity: float | None) -> None:
    story = busy(count=3).event("capacity", -1.0, "probe-before", capacity).event("capacity", 9.0, "probe-after", 1)
    assert not was_shed(story.fails(1.0, "m.QueueFull", outcome=Outcome.REJECTED))


def killing(*at: float, count: int = 3) -> Story:
    """A busy pool that lost a worker at each of these moments."""
    story = Story.of(*(KILL for _ in at), claims=FULL).ops(count, 0.1, took=9.0)
    for number, moment in enumerate(at):
        story.struck(11 + number, moment, fault=number)
    return story


@pytest.mark.parametrize(("sent", "rightly"), [(0.999999999, False), (1.0, True), (3.999999999, True), (4.0, False)])
def test_for_as_long_as_the_patience_a_killed_worker_is_not_there(sent: float, rightly: bool) -> None:
    assert was_shed(killing(1.0).fails(sent, "m.QueueFull", outcome=Outcome.REJECTED)) is rightly


@pytest.mark.parametrize(("count", "rightly"), [(1, False), (2, True)])
def test_each_killed_worker_is_not_there(count: int, rightly: bool) -> None:
    story = killing(1.0, 1.5, count=count).fails(2.0, "m.QueueFull", outcome=Outcome.REJECTED)
    assert was_shed(story) is rightly


def test_a_stalled_worker_is_still_there() -> None:
    story = Story.of(STALL, claims=FULL).ops(3, 0.1, took=9.0).struck(11, 1.0, 5.0)
    assert not was_shed(story.fails(2.0, "m.QueueFull", outcome=Outcome.REJECTED))


@pytest.mark.parametrize(("sent", "rightly"), [(1.0, True), (4.999999999, True), (5.0, False)])
def test_a_worker_that_does_not_survive_its_stall_is_not_there_until_the_patience_after_its_end(
    sent: float, rightly: bool
) -> None:
    story = Story.of(STALL, claims=FULL).ops(3, 0.1, took=9.0).lived(11, gone=2.0).struck(11, 1.0, 5.0)
    assert was_shed(story.fails(sent, "m.QueueFull", outcome=Outcome.REJECTED)) is rightly


def test_a_worker_whose_killing_had_no_effect_is_still_there() -> None:
    story = Story.of(KILL, claims=FULL).ops(3, 0.1, took=9.0).struck(11, 1.0, effective="no")
    assert not was_shed(story.fails(2.0, "m.QueueFull", outcome=Outcome.REJECTED))


INSTANTS = st.integers(0, 6)
"""Tenths of a second; for half a one after its end, an operation is counted as under way."""


@given(
    st.lists(
        st.tuples(INSTANTS, INSTANTS, st.none() | INSTANTS, st.sampled_from(("ok", "refused", "failed"))), max_size=14
    )
)
def test_what_was_shed_is_what_a_count_of_what_was_under_way_tells(
    runs: list[tuple[int, int, int | None, str]],
) -> None:
    story = Story(claims=FULL)
    for sent, until_accepted, until_done, end in runs:
        took = None if until_done is None else until_accepted + until_done
        if end == "ok" or took is None:
            story.op(sent / 10, took if took is None else took / 10, accepted=(sent + until_accepted) / 10)
        else:
            outcome = Outcome.REJECTED if end == "refused" else Outcome.POOL_ERROR
            accepted = (sent + until_accepted) / 10
            story.fails(sent / 10, "m.QueueFull", took=took / 10, accepted=accepted, outcome=outcome)
    history = story.history()
    ops = history.operations

    def under_way(at: int) -> int:
        return sum(
            ops.accepted[op] <= at
            and (ops.done[op] == 0 or ops.done[op] >= at - 50_000_000)
            and ops.error[op] < 0  # refused, one way or the other, and begun by nobody
            for op in range(len(ops))
        )

    expected = [ops.error[op] >= 0 and under_way(int(ops.sent[op])) >= 4 for op in range(len(ops))]
    assert shed(history).tolist() == expected


@pytest.mark.parametrize("outcome", [Outcome.POOL_ERROR, Outcome.REJECTED, Outcome.CANCELLED])
@pytest.mark.parametrize(("took", "passed"), [(0.449999999, False), (0.45, True), (0.5, True), (2.0, True)])
def test_what_failed_fifty_milliseconds_before_its_deadline_or_later_expired(
    outcome: Outcome, took: float, passed: bool
) -> None:
    story = Story().fails(1.0, took=took, deadline=1.5, outcome=outcome)
    assert expired(story.history()).tolist() == [passed]


@pytest.mark.parametrize(("took", "passed"), [(0.498999999, False), (0.499, True), (0.5, True)])
def test_in_virtual_time_what_failed_a_millisecond_before_its_deadline_or_later_expired(
    took: float, passed: bool
) -> None:
    story = Story.of(layer=1).fails(1.0, took=took, deadline=1.5)
    assert expired(story.history()).tolist() == [passed]


def test_what_had_no_deadline_did_not_expire() -> None:
    assert expired(Story().fails(1.0).history()).tolist() == [False]


@pytest.mark.parametrize("outcome", [Outcome.OK, Outcome.WRONG, Outcome.USER_ERROR])
def test_what_did_not_fail_did_not_expire_however_late(outcome: Outcome) -> None:
    assert expired(Story().op(1.0, 2.0, deadline=1.5, outcome=outcome).history()).tolist() == [False]


def test_what_never_ended_did_not_expire() -> None:
    assert expired(Story().hangs(1.0, deadline=1.5).watched(9.0).history()).tolist() == [False]


# --- who ran them -------------------------------------------------------------------------------------------------


def test_the_last_execution_of_an_operation_is_the_one_that_began_last() -> None:
    story = Story().op(0.1, by=None).op(0.1, by=None).ran(0, 12, 0.5, 0.6).ran(0, 11, 0.2, 0.3).ran(1, 13, 0.4, 0.5)
    assert last_execution(story.history()).tolist() == [2, 1]


def test_the_first_execution_of_an_operation_is_the_one_that_began_first() -> None:
    story = Story().op(0.1, by=None).op(0.1, by=None).ran(0, 12, 0.5, 0.6).ran(0, 11, 0.2, 0.3).ran(1, 13, 0.4, 0.5)
    assert first_execution(story.history()).tolist() == [0, 1]


def test_an_operation_that_was_never_begun_has_no_last_execution() -> None:
    assert last_execution(Story().op(0.1, by=None).op(0.2).history()).tolist() == [-1, 0]


def test_without_executions_no_operation_has_a_last_one() -> None:
    assert last_execution(Story().op(0.1, by=None).history()).tolist() == [-1]


@given(st.integers(0, 5), st.lists(st.tuples(st.integers(-2, 7), st.integers(0, 9)), max_size=20))
def test_the_last_execution_is_what_a_loop_over_them_finds(operations: int, ran: list[tuple[int, int]]) -> None:
    story = Story().ops(operations, 0.0, by=None)
    for op, started in ran:
        story.ran(op, 11, started, None)
    history = story.history()
    last = dict.fromkeys(range(operations), -1)
    for row, op in enumerate(history.executions.op.tolist()):
        if op in last:
            last[op] = row
    assert last_execution(history).tolist() == list(last.values())


def told_apart(story: Story) -> list[int]:
    history = story.history()
    return [int(number) for number in worker_of(history, np.arange(len(history.executions)))[0]]


IN_PROCESS = Claims(in_process=True)


def test_two_processes_are_two_workers() -> None:
    assert told_apart(Story().op(0.1, by=11).op(0.2, by=12).op(0.3, by=11)) == [0, 1, 0]


def test_two_lives_of_one_pid_are_two_workers() -> None:
    assert told_apart(Story().op(0.1, by=11, life=5).op(0.2, by=11, life=6)) == [0, 1]


def test_two_processes_of_one_start_time_are_two_workers() -> None:
    assert told_apart(Story().op(0.1, by=11, life=5).op(0.2, by=12, life=5)) == [0, 1]


def test_two_threads_of_a_worker_process_are_one_worker() -> None:
    assert told_apart(Story().op(0.1, tid=1).op(0.2, tid=2)) == [0, 0]


def test_two_threads_are_two_workers_where_the_pool_works_in_its_own_process() -> None:
    assert told_apart(Story(claims=IN_PROCESS).op(0.1, tid=1).op(0.2, tid=2).op(0.3, tid=1)) == [0, 1, 0]


def test_threads_of_one_number_in_two_processes_are_two_workers() -> None:
    assert told_apart(Story(claims=IN_PROCESS).op(0.1, by=11, tid=1).op(0.2, by=12, tid=1)) == [0, 1]


WORKERS = st.lists(st.tuples(*(st.sampled_from((1, 7, limit)) for limit in (1 << 22, 1 << 39, 1 << 22))), max_size=12)


@given(WORKERS, st.booleans(), st.data())
def test_workers_are_told_apart_by_all_of_what_they_are(
    ran: list[tuple[int, int, int]], in_process: bool, data: st.DataObject
) -> None:
    story = Story(claims=Claims(in_process=in_process)).op(0.0, by=None)
    for number, (pid, life, tid) in enumerate(ran):
        story.ran(0, pid, number, None, life=life, tid=tid)
    chosen = data.draw(st.lists(st.integers(0, len(ran) - 1), unique=True)) if ran else []
    worker, one_row = worker_of(story.history(), np.array(chosen, dtype=np.int64))
    identities = [ran[row] if in_process else ran[row][:2] for row in chosen]
    assert len(one_row) == len(set(identities))
    for number, identity in zip(worker, identities, strict=True):
        of_one_row = ran[one_row[number]]
        assert (of_one_row if in_process else of_one_row[:2]) == identity


# --- lived_until, ran_until ---------------------------------------------------------------------------------------


def test_where_nothing_was_begun_nobody_lived_and_nothing_ran() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    history = Story().op(0.1, by=None).history()
    assert (lived_until(history, nothing).tolist(), ran_until(history, nothing).tolist()) == ([], [])


def test_what_ended_ran_until_then_however_long_its_worker_lived() -> None:
    history = Story().lived(11).op(0.1, 0.2, by=11).hangs(0.5, by=11).watched(9.0).history()
    assert ran_until(history, np.array([1, 0])).tolist() == [ns(9.0), ns(0.299)]


def test_what_hangs_in_a_thread_is_known_to_have_run_for_as_long_as_that_left_records() -> None:
    story = Story(claims=IN_PROCESS).lived(11).hangs(0.1, by=11, tid=21).op(2.0, 0.1, by=11, tid=21)
    history = story.op(5.0, by=11, tid=22).watched(9.0).history()
    assert ran_until(history, np.array([0])).tolist() == [ns(2.099 - 0.25)]


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
    assert blameless(Story().fails(0.5).fails(1.5).closes(1.0).watched(9.0)) == [True, False]


def test_no_other_event_ends_what_is_unprovoked() -> None:
    assert blameless(Story().event("stage", 1.0, "drain").fails(1.5).watched(9.0)) == [True]


def test_a_close_before_the_measured_window_provokes_nothing() -> None:
    assert blameless(Story().closes(-5.0).fails(0.5).watched(9.0)) == [True]


def test_the_first_of_all_harms_ends_what_is_unprovoked() -> None:
    story = Story.of(KILL).fails(0.3).fails(0.7).fails(1.2).struck(11, 1.0).op(0.5, kind="raises").closes(2.0)
    assert blameless(story) == [True, False, False, False]


def test_what_the_pool_documents_that_it_refuses_is_no_failure() -> None:
    story = busy().fails(1.0, "m.QueueFull", outcome=Outcome.REJECTED)
    assert blameless(story.fails(1.0, "m.Other", outcome=Outcome.REJECTED).watched(9.0))[4:] == [False, True]


def test_to_be_called_too_much_where_there_was_little_to_do_is_a_failure() -> None:
    assert blameless(busy(count=3).fails(1.0, "m.QueueFull", outcome=Outcome.REJECTED).watched(9.0))[-1]


def test_what_failed_once_its_deadline_had_passed_is_no_failure() -> None:
    assert blameless(Story().fails(0.2, deadline=0.3).fails(0.4, deadline=0.6).watched(9.0)) == [False, True]


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


def test_a_late_answer_is_backlogged_unless_its_worker_was_done_with_it_long_before() -> None:
    story = answering(9.0).op(1.0, 7.0, by=None).op(1.0, 7.0, by=None)
    story.ran(18, 12, 7.5, 7.9).ran(19, 12, 1.1, 1.2)
    assert (waits(story, 18), waits(story, 19)) == (True, False)


@pytest.mark.parametrize(("ended", "backlog"), [(5.0, False), (5.000000001, True)])
def test_what_a_worker_was_done_with_less_than_the_patience_before_its_answer_is_backlogged(
    ended: float, backlog: bool
) -> None:
    story = answering(9.0).op(1.0, 7.0, by=None).ran(18, 12, 1.1, ended)
    assert waits(story, 18) is backlog


@pytest.mark.parametrize(("gone", "backlog"), [(None, True), (5.0, False)])
def test_what_a_worker_that_died_had_begun_and_not_ended_is_not_backlogged(gone: float | None, backlog: bool) -> None:
    story = answering(8.0).hangs(1.0, by=None).ran(16, 12, 6.0, None).lived(12, gone=gone)
    assert waits(story, 16) is backlog


def test_what_a_worker_ended_before_it_died_is_backlogged() -> None:
    story = answering(8.0).hangs(1.0, by=None).ran(16, 12, 6.0, 6.1).lived(12, gone=7.0)
    assert waits(story, 16)


def test_what_another_life_of_a_pid_had_begun_did_not_die_with_it() -> None:
    story = answering(8.0).hangs(1.0, by=None).ran(16, 12, 6.0, None, life=7).lived(12, gone=7.0)
    assert waits(story, 16)


def test_what_others_had_begun_when_they_died_is_no_loss_of_ones_own() -> None:
    story = answering(8.0).hangs(1.0, by=None).hangs(1.0, by=None).ran(17, 12, 6.0, None).lived(12, gone=7.0)
    assert [waits(story, op) for op in (16, 17)] == [True, False]


def test_records_of_unknown_operations_that_a_worker_left_when_it_died_are_passed_over() -> None:
    story = answering(8.0).hangs(1.0, by=None).ran(-1, 12, 6.0, None).ran(99, 12, 6.0, None).lived(12, gone=7.0)
    assert waits(story, 16)


def test_nothing_is_backlogged_where_the_pool_answered_nothing() -> None:
    assert not waits(Story().hangs(1.0, by=None).watched(8.0))


def test_an_answer_to_what_is_no_load_does_not_make_a_backlog() -> None:
    story = Story().op(0.5, phase=Phase.WARM_UP).op(2.0, phase=Phase.AFTER_CLOSE, by=None).hangs(1.0, by=None)
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


def silent(*answers: float, until: float) -> Story:
    """A pool that gave an answer at each of these moments alone, without a trace of work."""
    story = Story()
    for answer in answers:
        story.op(answer - 0.1, by=None)
    return story.watched(until)


def test_a_silence_between_two_that_were_seen_in_part_counts() -> None:
    # Silences from 2 to 6, 6 to 10 and 10 to 14 s, of which it saw 2 s, all, and 2 s.
    assert not waits(silent(2, 6, 10, 14, until=15).op(4.0, 8.0, by=None))


def test_two_silences_that_were_seen_in_part_do_not_add_up() -> None:
    assert waits(silent(2, 6, 10, until=11).op(4.0, 4.0, by=None))


@pytest.mark.parametrize(("sent", "until", "backlog"), [(3.0, 8.0, False), (3.1, 8.0, True), (4.0, 9.0, False)])
def test_either_of_two_silences_that_were_seen_in_part_may_be_long_enough(
    sent: float, until: float, backlog: bool
) -> None:
    assert waits(silent(2, 6, 10, until=11).op(sent, until - sent, by=None)) is backlog


@given(
    st.lists(st.integers(0, 30), max_size=6, unique=True),
    st.integers(0, 30),
    st.none() | st.integers(0, 30),
    st.integers(0, 5),
)
def test_it_is_no_backlog_if_one_silence_was_seen_for_as_long_as_the_patience(
    answers: list[int], sent: int, took: int | None, beyond: int
) -> None:
    end = max([30 + beyond, sent + (took or 0)])
    story = silent(*answers, until=end).op(sent, took, by=None)
    moments = sorted([*answers, *([] if took is None else [sent + took]), end])
    until = end if took is None else sent + took
    seen = max((min(until, after) - max(sent, before) for before, after in pairwise(moments)), default=0)
    assert waits(story) is (seen < 3 and bool(answers or took is not None))


@pytest.mark.parametrize(("began", "ended", "backlog"), [(4.9, 7.1, True), (4.9, 4.9, False), (5.1, 6.9, False)])
def test_a_pool_that_is_at_work_is_not_silent(began: float, ended: float, backlog: bool) -> None:
    # Nothing was answered from 2 to 10 s; only work parts that into two that are shorter than the patience.
    story = silent(2, 10, until=11).op(2.0, 8.0, by=None)
    assert waits(story.op(0.0, 10.0, by=None).ran(3, 12, began, ended), 2) is backlog


def test_work_that_was_never_ended_is_no_work() -> None:
    assert not waits(silent(2, 10, until=11).op(2.0, 8.0, by=None).op(0.0, 10.0, by=None).ran(3, 12, 5.0, None), 2)


def test_work_that_goes_on_beside_shorter_work_is_work() -> None:
    story = silent(2, 10, until=11).op(2.0, 8.0, by=None).op(0.0, 10.0, by=None)
    assert waits(story.ran(3, 12, 4.5, 7.5).ran(3, 13, 4.6, 4.7), 2)


def test_work_for_operations_that_the_client_does_not_know_is_work() -> None:
    assert waits(silent(2, 10, until=11).op(2.0, 8.0, by=None).ran(-1, 12, 4.5, 7.5), 2)


def test_an_idle_pool_that_gives_answers_is_not_silent() -> None:
    assert waits(silent(2, 4, 6, 8, 10, until=11).op(2.0, 8.0, by=None).ran(0, 12, 1.0, 1.1))


@given(st.data())
def test_backlogged_is_what_its_four_conditions_tell_one_by_one(data: st.DataObject) -> None:
    history = run_of(data).history()
    operations, executions = history.operations, history.executions
    patience, end = 3_000_000_000, observed_until(history)
    answers = sorted(
        int(done)
        for done, phase in zip(operations.done, operations.phase, strict=True)
        if done and phase != Phase.AFTER_CLOSE
    )
    gone = {(life.pid, life.start_time) for life in history.incarnations if life.gone}
    idle, over = [], 0
    for started, ended in zip(executions.started.tolist(), executions.ended.tolist(), strict=True):
        if ended:
            idle.append((over, started))
            over = max(over, ended)
    idle.append((over, end))

    def delayed(op: int) -> bool:
        until = int(operations.done[op]) or end
        rows = [row for row, ran in enumerate(executions.op) if ran == op]
        in_hand = max((int(executions.ended[row] or executions.started[row]) for row in rows), default=0)
        if in_hand and until - in_hand >= patience:
            return False
        if any(
            executions.ended[row] == 0 and (executions.pid[row], executions.start_time[row]) in gone for row in rows
        ):
            return False
        silences = (
            (max(before, since), min(after, work))
            for before, after in pairwise([*answers, end])
            for since, work in idle
        )
        return bool(answers) and not any(
            after - before >= patience and min(until, after) - max(int(operations.sent[op]), before) >= patience
            for before, after in silences
        )

    everything = np.ones(len(operations), dtype=bool)
    assert backlogged(history, everything).tolist() == [delayed(op) for op in range(len(operations))]


def test_the_patience_with_a_pool_that_notices_slowly_is_three_times_that() -> None:
    story = Story(claims=Claims(detection_s=2)).ops(4, 0.0, 0.5).hangs(1.0, by=None).watched(7.0)
    assert waits(story)


def test_records_of_operations_that_the_client_does_not_know_make_no_backlog() -> None:
    assert waits(answering(8.0).hangs(1.0, by=None).ran(99, 12, 1.0, None).ran(-1, 12, 1.0, None), 16)


def of_bereft(sent: float, *, sessions_end: bool) -> bool:
    """Whether an operation of a session may fail that was sent so long after the death of its worker, at 1 s."""
    claims = Claims(detection_s=0.5, sessions_end=sessions_end)
    story = (
        Story.of(KILL, claims=claims)
        .op(0.1, session=4, by=11)
        .lived(11, gone=1.0)
        .struck(11, 1.0)
        .fails(sent, session=4)
    )
    return bool(to_blame(story.history())[-1])


@pytest.mark.parametrize(("sent", "excused"), [(1.4, True), (1.6, False)])
def test_a_session_that_goes_on_afresh_is_excused_until_its_loss_is_noticed(sent: float, excused: bool) -> None:
    assert of_bereft(sent, sessions_end=False) is excused


def test_a_session_that_is_over_with_its_worker_is_excused_for_good() -> None:
    assert of_bereft(9.0, sessions_end=True)


def test_who_survives_a_fault_excuses_nobody_whom_it_had_served() -> None:
    story = Story.of(STALL).op(0.1, session=4, by=11).lived(11).struck(11, 1.0, 1.1).fails(1.2, session=4)
    assert not to_blame(story.history())[-1]
