import pytest

from poolproof.checks.record import describe, effective, error_of, observed_until, to_blame, unresolved
from poolproof.history import Outcome, Phase
from poolproof.plan import Claims
from tests.unit.histories import KILL, KILL_PARENT, STALL, Story, ns


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


def test_case_4_what_a_worker_had_begun_that_died_by_itself_is_to_blame() -> None:
    assert blamed(Story().hangs(0.8, by=12).lived(12, gone=1.0)) == [True]


def test_case_4_what_it_had_ended_is_not_to_blame() -> None:
    assert blamed(Story().op(0.8, by=12).lived(12, gone=1.0)) == [False]


def test_case_4_what_a_living_worker_has_begun_is_not_to_blame() -> None:
    assert blamed(Story().hangs(0.8, by=12).lived(12)) == [False]


def test_case_4_what_a_later_life_of_the_same_pid_has_begun_is_not_to_blame() -> None:
    history = Story().hangs(0.8, by=12).lived(12, gone=1.0).history()
    history.executions.start_time[:] = 7
    assert not to_blame(history).any()


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
