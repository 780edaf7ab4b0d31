from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolproof.checks.keeps_sessions_sticky import keeps_sessions_sticky
from poolproof.checks.verdict import SHOWN
from poolproof.history import Phase
from poolproof.plan import Claims, FaultSpec
from tests.unit.histories import KILL, STALL, Story

NOTICE = 0.25
ENOUGH = 20
THREADS = Claims(in_process=True)


def others(story: Story | None = None, pairs: int = ENOUGH) -> Story:
    """A session whose operations follow each other so often, all in worker 19."""
    return (story or Story()).ops(pairs + 1, 20.0, by=19, session=9)


def moved(story: Story | None = None, *, at: float = 1.0) -> Story:
    """Worker 11 served session 3, and worker 12 did so from a moment on."""
    story = story or Story().lived(11)
    return others(story.op(0.1, by=11, session=3).op(0.5, by=None, session=3).ran(1, 12, at, at + 0.1))


def test_it_is_kept_when_each_session_stays_with_its_worker() -> None:
    story = others().op(0.1, by=11, session=0).op(0.2, by=12, session=1).op(0.3, by=11, session=0)
    assert keeps_sessions_sticky(story.history()) == ("kept", [])


def test_it_is_broken_by_a_session_that_another_worker_serves_while_its_own_is_alive() -> None:
    assert keeps_sessions_sticky(moved().history())[0] == "broken"


def test_its_evidence_names_the_operation_its_worker_and_its_beginning() -> None:
    _, (evidence, _) = keeps_sessions_sticky(moved().history())
    assert (evidence.op, evidence.pid, evidence.start_time, evidence.at_s) == (1, 12, 1200, 1.0)


def test_its_evidence_names_both_workers_and_moments() -> None:
    _, (evidence, total) = keeps_sessions_sticky(moved().history())
    assert evidence.text == (
        "session 3 was served by worker pid 12 at 1.000 s, although worker pid 11, which had served it at 0.101 s, was "
        "alive (operation 1)"
    )
    assert total.text == "1 times a session changed its worker while that was alive"


def test_it_is_broken_by_a_session_that_comes_back_too() -> None:
    _, evidence = keeps_sessions_sticky(moved().lived(12).op(2.0, by=11, session=3).history())
    assert [entry.op for entry in evidence] == [1, ENOUGH + 3, None]
    assert evidence[-1].text == "2 times a session changed its worker while that was alive"


def test_its_evidence_tells_some_moves_and_counts_all() -> None:
    story = Story().lived(11).lived(12)
    for number in range(ENOUGH + 1):
        story.op(number, by=11 + number % 2, session=3)
    _, evidence = keeps_sessions_sticky(story.history())
    assert [entry.op for entry in evidence] == [*range(1, SHOWN + 1), None]
    assert evidence[-1].text == f"{ENOUGH} times a session changed its worker while that was alive"


def test_operations_of_a_session_are_compared_in_the_order_in_which_they_began() -> None:
    story = Story().lived(11).op(0.1, by=None, session=3).op(0.2, by=None, session=3).op(0.3, by=None, session=3)
    story.ran(0, 12, 2.0, 2.1).ran(1, 11, 0.5, 0.6).ran(2, 11, 0.7, 0.8)
    _, evidence = keeps_sessions_sticky(others(story).history())
    assert [entry.op for entry in evidence] == [0, None]


def test_another_life_of_the_same_pid_is_another_worker() -> None:
    story = Story().lived(11).op(0.1, by=11, session=3).op(0.5, by=11, session=3, life=7)
    verdict, evidence = keeps_sessions_sticky(others(story).history())
    assert (verdict, evidence[0].start_time) == ("broken", 7)


# --- the death of its worker --------------------------------------------------------------------------------------


def test_a_session_may_move_once_its_worker_was_killed() -> None:
    assert keeps_sessions_sticky(moved(Story.of(KILL).lived(11).struck(11, 0.9)).history()) == ("kept", [])


def test_a_session_may_move_once_its_worker_was_gone() -> None:
    assert keeps_sessions_sticky(moved(Story().lived(11, gone=0.9)).history()) == ("kept", [])


def test_a_session_may_move_while_its_worker_is_stalled() -> None:
    assert keeps_sessions_sticky(moved(Story.of(STALL).lived(11).struck(11, 0.9, 3.0)).history()) == ("kept", [])


@pytest.mark.parametrize("effective", ["yes", "no"])
def test_a_worker_that_was_struck_need_not_have_died(effective: Literal["yes", "no"]) -> None:
    story = moved(Story.of(KILL).lived(11).struck(11, 0.9, effective=effective))
    assert keeps_sessions_sticky(story.history())[0] == "kept"


@pytest.mark.parametrize(("after", "verdict"), [(NOTICE, "kept"), (NOTICE + 1e-9, "broken")])
def test_an_exit_may_be_noticed_a_quarter_of_a_second_after_the_pool_had_seen_it(after: float, verdict: str) -> None:
    assert keeps_sessions_sticky(moved(Story().lived(11, gone=1.0 + after)).history())[0] == verdict


@pytest.mark.parametrize(("after", "verdict"), [(NOTICE, "kept"), (NOTICE + 1e-9, "broken")])
def test_so_may_a_fault(after: float, verdict: str) -> None:
    assert keeps_sessions_sticky(moved(Story.of(KILL).lived(11).struck(11, 1.0 + after)).history())[0] == verdict


@pytest.mark.parametrize(("struck", "gone"), [(0.9, 3.0), (3.0, 0.9)])
def test_a_worker_lived_until_the_earlier_of_its_fault_and_its_end(struck: float, gone: float) -> None:
    story = moved(Story.of(STALL).lived(11, gone=gone).struck(11, struck))
    assert keeps_sessions_sticky(story.history())[0] == "kept"


@pytest.mark.parametrize(("first", "second"), [(0.9, 3.0), (3.0, 0.9)])
def test_a_worker_lived_until_the_first_of_its_faults(first: float, second: float) -> None:
    story = moved(Story.of(STALL, STALL).lived(11).struck(11, first).struck(11, second, fault=1))
    assert keeps_sessions_sticky(story.history())[0] == "kept"


@pytest.mark.parametrize("pid", [12, 13])
def test_the_death_of_another_worker_is_no_reason_to_move(pid: int) -> None:
    story = moved(Story.of(KILL).lived(11).struck(pid, 0.9).lived(pid, gone=0.9))
    assert keeps_sessions_sticky(story.history())[0] == "broken"


def test_the_death_of_an_earlier_life_of_its_pid_is_no_reason_to_move() -> None:
    story = Story.of(KILL).op(0.2, by=11, life=7, session=3).op(0.5, by=12, session=3).op(2.0, by=11, life=7)
    assert keeps_sessions_sticky(others(story.struck(11, 0.1).lived(11, gone=0.1)).history())[0] == "broken"


def test_a_session_that_moved_at_a_death_stays_with_its_new_worker() -> None:
    story = moved(Story.of(KILL).lived(11).lived(12).struck(11, 0.9)).op(2.0, by=13, session=3)
    _, (evidence, _) = keeps_sessions_sticky(story.history())
    assert "was served by worker pid 13 at 2.001 s, although worker pid 12" in evidence.text


def test_sessions_of_other_workers_may_not_move_at_a_death() -> None:
    story = moved(Story.of(KILL).lived(11).lived(13).struck(11, 0.9)).op(0.1, by=13, session=4)
    _, evidence = keeps_sessions_sticky(story.op(2.0, by=12, session=4).history())
    assert [entry.op for entry in evidence] == [ENOUGH + 4, None]


# --- a worker that the conductor never saw ------------------------------------------------------------------------


def test_a_session_may_move_from_a_worker_of_which_nothing_was_seen_any_more() -> None:
    assert keeps_sessions_sticky(moved(Story()).history()) == ("kept", [])


@pytest.mark.parametrize(("ended", "verdict"), [(1.0 + NOTICE, "kept"), (1.0 + NOTICE + 1e-9, "broken")])
def test_a_worker_that_was_never_seen_lived_until_the_end_of_its_last_operation(ended: float, verdict: str) -> None:
    story = moved(Story()).op(0.6, 3.0, by=None)
    assert keeps_sessions_sticky(story.ran(ENOUGH + 3, 11, 0.7, ended).history())[0] == verdict


@pytest.mark.parametrize(("began", "verdict"), [(1.0 + NOTICE, "kept"), (1.0 + NOTICE + 1e-9, "broken")])
def test_or_until_its_beginning_where_it_left_no_end(began: float, verdict: str) -> None:
    story = moved(Story()).op(0.6, 3.0, by=None)
    assert keeps_sessions_sticky(story.ran(ENOUGH + 3, 11, began, None).history())[0] == verdict


def test_records_of_unknown_operations_show_that_a_worker_lived() -> None:
    assert keeps_sessions_sticky(moved(Story()).ran(-1, 11, 3.0, 3.1).history())[0] == "broken"


def test_the_records_of_another_worker_do_not_show_that_one_lived() -> None:
    assert keeps_sessions_sticky(moved(Story()).op(5.0, by=12).op(5.0, by=11, life=7).history())[0] == "kept"


def test_a_worker_that_was_never_seen_may_have_been_struck() -> None:
    story = moved(Story.of(KILL).struck(11, 0.9)).op(5.0, by=11)
    assert keeps_sessions_sticky(story.history())[0] == "kept"


# --- its state ----------------------------------------------------------------------------------------------------


def forgetful(story: Story | None = None) -> Story:
    """Worker 11 served session 3 twice, and had another state for it the second time."""
    story = story or Story()
    return others(story.lived(11).lived(12).op(0.1, session=3, epoch=70).op(0.5, session=3, epoch=71))


def test_it_is_broken_by_a_session_whose_state_is_another_one_in_the_same_worker() -> None:
    verdict, (evidence, total) = keeps_sessions_sticky(forgetful().history())
    assert (verdict, evidence.op, evidence.pid, evidence.start_time, evidence.at_s) == ("broken", 1, 11, 1100, 0.501)
    assert evidence.text == (
        "session 3 found another state at 0.501 s than at 0.101 s, although worker pid 11 served it both times "
        "(operation 1)"
    )
    assert total.text == "1 times its state was gone although its worker was the same"


@pytest.mark.parametrize(
    ("at", "session", "verdict"), [(0.3, 3, "kept"), (0.3, 4, "broken"), (0.05, 3, "broken"), (0.6, 3, "broken")]
)
def test_a_session_may_begin_afresh_whose_own_data_was_harmed_in_between(at: float, session: int, verdict: str) -> None:
    lose = FaultSpec(kind="lose-states", count=1, at_s=at)
    story = forgetful(Story.of(lose).struck(13, at, sessions=(session,)))
    assert keeps_sessions_sticky(story.history())[0] == verdict


def test_moves_and_lost_states_are_counted_apart() -> None:
    _, evidence = keeps_sessions_sticky(forgetful().op(1.0, by=12, session=3).op(2.0, by=11, session=3).history())
    assert [entry.op for entry in evidence] == [1, ENOUGH + 3, ENOUGH + 4, None]
    assert evidence[-1].text == (
        "2 times a session changed its worker while that was alive, 1 times its state was gone although its worker was "
        "the same"
    )


def test_states_of_two_sessions_in_one_worker_are_two() -> None:
    story = others().op(0.1, session=3).op(0.2, session=4).op(0.3, session=3).op(0.4, session=4)
    assert keeps_sessions_sticky(story.history())[0] == "kept"


def test_a_session_that_moved_at_a_death_begins_with_another_state() -> None:
    story = Story.of(KILL).lived(11).op(0.1, by=11, session=3, epoch=70).op(1.0, by=12, session=3, epoch=71)
    assert keeps_sessions_sticky(others(story.struck(11, 0.9)).history())[0] == "kept"


def test_epochs_are_told_apart_to_the_last_bit() -> None:
    highest = (1 << 64) - 1
    story = others().op(0.1, session=3, epoch=highest).op(0.5, session=3, epoch=highest - 1)
    assert keeps_sessions_sticky(story.history())[0] == "broken"


# --- threads ------------------------------------------------------------------------------------------------------


def in_threads() -> Story:
    """Thread 21 served session 3, and thread 22 did so afterwards; the process of both lives on."""
    story = Story(claims=THREADS).lived(11).op(0.1, tid=21, session=3).op(0.5, tid=22, session=3)
    return others(story)


def test_it_is_broken_by_a_session_that_another_thread_serves_where_the_pool_works_in_its_own_process() -> None:
    verdict, (evidence, _) = keeps_sessions_sticky(in_threads().op(2.0, tid=21).history())
    assert verdict == "broken"
    assert "was served by worker thread 22 at 0.501 s, although worker thread 21, which" in evidence.text


def test_a_session_may_move_from_a_thread_of_which_nothing_was_seen_any_more() -> None:
    assert keeps_sessions_sticky(in_threads().op(2.0, tid=22).history()) == ("kept", [])


def test_it_is_kept_when_each_session_stays_with_its_thread() -> None:
    story = others(Story(claims=THREADS)).op(0.1, tid=21, session=3).op(0.2, tid=22, session=4)
    assert keeps_sessions_sticky(story.op(0.5, tid=21, session=3).op(2.0, tid=22).history())[0] == "kept"


def test_threads_of_a_worker_process_are_one_worker() -> None:
    story = others(Story().lived(11)).op(0.1, tid=21, session=3, epoch=1).op(0.5, tid=22, session=3, epoch=1)
    assert keeps_sessions_sticky(story.history())[0] == "kept"


# --- what does not count ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pairs", "verdict"), [(ENOUGH - 1, "unknown"), (ENOUGH, "kept")])
def test_operations_of_sessions_must_have_followed_each_other_often_enough(pairs: int, verdict: str) -> None:
    assert keeps_sessions_sticky(others(pairs=pairs).history())[0] == verdict


def test_those_of_all_sessions_count_together() -> None:
    story = Story()
    for session in range(ENOUGH):
        story.ops(2, 0.1, session=session)
    assert keeps_sessions_sticky(story.history())[0] == "kept"


@pytest.mark.parametrize(
    ("story", "pairs"),
    [
        pytest.param(Story(), 0, id="nothing"),
        pytest.param(Story().op(0.1).op(0.2), 0, id="no session"),
        pytest.param(Story().op(0.1, session=3), 0, id="one operation"),
        pytest.param(Story().op(0.1, session=3).op(0.2, session=4), 0, id="one operation each"),
        pytest.param(Story().op(0.1, session=3).op(0.2, by=None, session=3), 0, id="one that was begun"),
        pytest.param(Story().op(0.1, session=3).ran(-1, 12, 0.5, 0.6).ran(1, 12, 0.7, 0.8), 0, id="unknown ones"),
        pytest.param(Story().op(0.1, session=3).op(0.2, session=3).op(0.3, session=3), 2, id="three"),
    ],
)
def test_it_is_unknown_when_operations_of_a_session_followed_each_other_too_seldom(story: Story, pairs: int) -> None:
    verdict, (evidence,) = keeps_sessions_sticky(story.history())
    assert (verdict, evidence.text) == (
        "unknown",
        f"{pairs} times an operation of a session followed another, {ENOUGH} are needed",
    )


def test_operations_without_a_session_may_run_anywhere() -> None:
    story = others(Story().lived(11).lived(12)).op(0.1, by=11).op(0.2, by=12).op(0.3, session=3).op(0.4, session=3)
    assert keeps_sessions_sticky(story.history())[0] == "kept"


@pytest.mark.parametrize("op", [-1, 23, 99])
def test_records_of_operations_that_the_client_does_not_know_are_passed_over(op: int) -> None:
    story = others(Story().lived(11).lived(12).op(0.1, session=3).op(0.5, session=3)).ran(op, 12, 0.3, 0.4)
    assert keeps_sessions_sticky(story.history())[0] == "kept"


def test_every_execution_of_an_operation_counts() -> None:
    story = others(Story().lived(11).op(0.1, by=11, session=3, idempotent=True)).ran(0, 12, 0.5, 0.6)
    assert keeps_sessions_sticky(story.history())[0] == "broken"


def test_an_operation_that_is_run_again_after_the_death_of_its_worker_is_no_move() -> None:
    story = Story.of(KILL).lived(11, gone=0.3).op(0.1, None, by=11, session=3, idempotent=True).struck(11, 0.3)
    assert keeps_sessions_sticky(others(story).ran(0, 12, 0.5, 0.6).history())[0] == "kept"


def test_sessions_are_sticky_in_every_phase() -> None:
    story = others(Story().lived(11)).op(0.1, by=11, session=3).op(0.5, by=12, session=3, phase=Phase.PROBE)
    assert keeps_sessions_sticky(story.history())[0] == "broken"


@given(st.lists(st.tuples(st.integers(-1, 5), st.integers(0, 50)), max_size=40))
def test_it_is_never_broken_where_each_session_has_its_worker(served: list[tuple[int, int]]) -> None:
    story = others(Story().lived(11).lived(12).lived(13))
    for session, at in served:
        story.op(at / 10, by=11 + session % 3, session=session)
    assert keeps_sessions_sticky(story.history())[0] == "kept"


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(11, 13)), max_size=30))
def test_it_counts_each_change_of_a_worker_once(served: list[tuple[int, int]]) -> None:
    story = others(Story().lived(11).lived(12).lived(13))
    changes, at_worker = 0, dict[int, int]()
    for number, (session, worker) in enumerate(served):
        story.op(number / 10, by=worker, session=session)
        changes += at_worker.get(session, worker) != worker
        at_worker[session] = worker
    verdict, evidence = keeps_sessions_sticky(story.history())
    assert verdict == ("broken" if changes else "kept")
    if changes:
        assert evidence[-1].text == f"{changes} times a session changed its worker while that was alive"
