import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolproof.checks.serves_fairly import _overtaken, serves_fairly
from poolproof.checks.verdict import SHOWN
from poolproof.history import Outcome, Phase
from poolproof.plan import Claims
from tests.unit.histories import Story

FAIR, QUEUED, ENOUGH = 0.5, 0.05, 20


def queued(count: int = ENOUGH, story: Story | None = None, waited: float = 0.1) -> Story:
    """Operations that waited for their turn and were begun in the order in which they were sent."""
    story = story or Story()
    for number in range(count):
        story.waits(50 + number / 10, 50 + number / 10 + waited)
    return story


def overtaken(by: float, **more: object) -> Story:
    """Operation 0 was sent at 1 s and begun at 5 s; operation 1 was sent so much later and begun before it."""
    return Story().waits(1.0, 5.0, by=11, **more).waits(1.0 + by, 4.0, by=12, **more)  # type: ignore[arg-type]


def test_it_is_kept_when_operations_are_begun_in_the_order_in_which_they_were_sent() -> None:
    assert serves_fairly(queued().history()) == ("kept", [])


# --- broken -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("by", "verdict"), [(FAIR, "kept"), (FAIR + 1e-9, "broken")])
def test_it_is_broken_when_one_that_was_sent_half_a_second_later_is_begun_before(by: float, verdict: str) -> None:
    assert serves_fairly(queued(story=overtaken(by)).history())[0] == verdict


def test_its_evidence_names_the_operation_its_worker_and_its_beginning() -> None:
    _, (evidence, total) = serves_fairly(overtaken(2.0).history())
    assert (evidence.op, evidence.pid, evidence.start_time, evidence.at_s) == (0, 11, 1100, 5.0)
    assert (
        "sent at 1.000 s, waited 4.00 s; one sent 2.00 s after it was begun before it; worker pid 11" in evidence.text
    )
    assert total.text == "1 of 2 operations were passed over so"


def test_an_operation_is_measured_by_the_last_of_those_that_overtook_it() -> None:
    story = overtaken(1.0).waits(2.6, 3.0).waits(2.1, 4.5)
    _, (evidence, *_) = serves_fairly(story.history())
    assert (evidence.op, "one sent 1.60 s after it" in evidence.text) == (0, True)


def test_its_evidence_tells_the_worst_first_and_counts_all() -> None:
    story = Story()
    for number in range(SHOWN + 2):
        story.waits(number, 50.0 - number)
    _, evidence = serves_fairly(story.history())
    assert [entry.op for entry in evidence] == [*range(SHOWN), None]
    assert evidence[-1].text == f"{SHOWN + 1} of {SHOWN + 2} operations were passed over so"
    assert "one sent 6.00 s after it" in evidence[0].text


def test_of_those_that_were_passed_over_alike_the_first_is_told_first() -> None:
    story = Story().waits(1.0, 5.0).waits(1.0, 5.0).waits(0.5, 5.0).waits(3.0, 4.0)
    _, evidence = serves_fairly(story.history())
    assert [entry.op for entry in evidence] == [2, 0, 1, None]


def test_of_many_that_were_passed_over_alike_the_first_ones_are_told() -> None:
    story = Story()
    for _ in range(60):
        story.waits(1.0, 5.0)
    _, evidence = serves_fairly(story.waits(3.0, 4.0).history())
    assert [entry.op for entry in evidence] == [*range(SHOWN), None]


def test_one_that_was_passed_over_breaks_it_whatever_else_was_in_order() -> None:
    assert serves_fairly(queued(story=overtaken(1.0)).history())[0] == "broken"


def test_one_that_was_begun_at_the_same_moment_did_not_overtake_an_earlier_one() -> None:
    story = Story().waits(1.0, 5.0, by=11).waits(4.0, 5.0, by=12)
    assert serves_fairly(queued(story=story).history())[0] == "kept"


# --- sessions -----------------------------------------------------------------------------------------------------


def test_operations_of_sessions_are_not_compared_with_those_of_another_worker() -> None:
    story = Story().waits(1.0, 5.0, by=11, session=3).waits(3.0, 4.0, by=12, session=4)
    assert serves_fairly(queued(story=story).history())[0] == "kept"


def test_operations_of_sessions_are_compared_with_those_of_other_sessions_of_the_same_worker() -> None:
    story = Story().waits(1.0, 5.0, by=11, session=3).waits(3.0, 4.0, by=11, session=4)
    verdict, (evidence, _) = serves_fairly(story.history())
    assert (verdict, evidence.op) == ("broken", 0)


@pytest.mark.parametrize("bound", [0, 1])
def test_operations_of_sessions_are_not_compared_with_those_that_have_none(bound: int) -> None:
    sessions = [-1, -1]
    sessions[bound] = 3
    story = Story().waits(1.0, 5.0, by=11, session=sessions[0]).waits(3.0, 4.0, by=11, session=sessions[1])
    assert serves_fairly(queued(story=story).history())[0] == "kept"


def test_operations_without_a_session_are_compared_with_those_of_every_worker() -> None:
    assert serves_fairly(overtaken(1.0).history())[0] == "broken"


def test_each_worker_has_a_group_of_its_own() -> None:
    story = Story()
    for worker in (11, 12, 13):
        story.waits(worker, 50.0 - worker, by=worker, session=worker)
    story.waits(9.0, 45.0, by=12, session=5).waits(30.0, 44.0, by=12, session=6)
    _, evidence = serves_fairly(story.history())
    assert [entry.op for entry in evidence] == [3, None]


def test_the_groups_of_all_workers_are_told_together() -> None:
    story = Story()
    for worker in (12, 11, 13):
        story.waits(1.0, 9.0, by=worker, session=worker).waits(2.0, 8.0, by=worker, session=worker)
    _, evidence = serves_fairly(story.history())
    assert [entry.op for entry in evidence] == [0, 2, 4, None]


@pytest.mark.parametrize(("in_process", "verdict"), [(True, "kept"), (False, "broken")])
def test_a_thread_is_a_worker_where_the_pool_works_in_its_own_process(in_process: bool, verdict: str) -> None:
    story = Story(claims=Claims(in_process=in_process))
    story.op(1.0, 9.0, by=None, session=3).ran(0, 11, 5.0, 5.1, tid=21)
    story.op(3.0, 9.0, by=None, session=4).ran(1, 11, 4.0, 4.1, tid=22)
    assert serves_fairly(queued(story=story).history())[0] == verdict


# --- what does not count ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", [Phase.WARM_UP, Phase.PROBE, Phase.AFTER_CLOSE])
@pytest.mark.parametrize("first", [True, False])
def test_only_the_measured_window_is_looked_at(phase: Phase, first: bool) -> None:
    one, other = (phase, Phase.MEASURED) if first else (Phase.MEASURED, phase)
    story = Story().waits(1.0, 5.0, phase=one).waits(3.0, 4.0, phase=other)
    assert serves_fairly(queued(story=story).history())[0] == "kept"


def test_an_operation_that_was_never_begun_is_passed_over() -> None:
    story = Story().hangs(1.0, by=None).fails(1.0, outcome=Outcome.REJECTED).waits(3.0, 4.0)
    assert serves_fairly(queued(story=story).history())[0] == "kept"


@pytest.mark.parametrize("op", [-1, 99])
def test_records_of_operations_that_the_client_does_not_know_are_passed_over(op: int) -> None:
    assert serves_fairly(queued().ran(op, 12, 0.3, 0.4).history())[0] == "kept"


def test_how_an_operation_ended_does_not_matter() -> None:
    story = Story().waits(1.0, 5.0, outcome=Outcome.POOL_ERROR).waits(3.0, 4.0, outcome=Outcome.USER_ERROR)
    assert serves_fairly(story.history())[0] == "broken"


# --- unknown ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "verdict"), [(ENOUGH - 1, "unknown"), (ENOUGH, "kept")])
def test_enough_operations_must_have_waited_for_their_turn(count: int, verdict: str) -> None:
    assert serves_fairly(queued(count).history())[0] == verdict


def test_it_says_how_many_waited() -> None:
    verdict, (evidence,) = serves_fairly(queued(3).ops(5, 1.0).history())
    assert (verdict, evidence.text) == (
        "unknown",
        f"3 operations had to wait for their turn, {ENOUGH} are needed to tell who goes first",
    )


@pytest.mark.parametrize(("waited", "verdict"), [(QUEUED, "unknown"), (QUEUED + 1e-9, "kept")])
def test_an_operation_waited_for_its_turn_when_it_was_begun_fifty_milliseconds_after_it_was_sent(
    waited: float, verdict: str
) -> None:
    story = queued(ENOUGH - 1).waits(60.0, 60.0 + waited)
    assert serves_fairly(story.history())[0] == verdict


def test_operations_of_sessions_that_waited_count_too() -> None:
    story = queued(ENOUGH - 2)
    assert serves_fairly(story.waits(60.0, 61.0, session=3).waits(60.0, 61.0, by=12, session=4).history())[0] == "kept"


def test_operations_outside_of_the_measured_window_that_waited_do_not_count() -> None:
    assert serves_fairly(queued(ENOUGH - 1).waits(60.0, 61.0, phase=Phase.WARM_UP).history())[0] == "unknown"


@pytest.mark.parametrize("story", [Story(), Story().op(0.1), Story().op(0.1, session=3), Story().op(0.1, by=None)])
def test_it_is_unknown_when_nothing_had_to_wait(story: Story) -> None:
    assert serves_fairly(story.history())[0] == "unknown"


# --- by how much --------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=20))
def test_an_operation_is_overtaken_by_the_latest_of_those_that_began_before_it(runs: list[tuple[int, int]]) -> None:
    started, sent = (np.array([run[at] for run in runs], dtype=np.int64) for at in (0, 1))
    expected = [
        max(sent[other] for other in range(len(runs)) if (started[other], other) <= (started[at], at)) - sent[at]
        for at in range(len(runs))
    ]
    assert _overtaken(started, sent).tolist() == expected


TENTHS = st.integers(0, 30)


@given(st.lists(st.tuples(TENTHS, TENTHS, st.integers(11, 13), st.integers(-1, 3)), max_size=15).map(sorted))
def test_an_operation_is_passed_over_if_and_only_if_one_of_its_group_was_sent_later_and_begun_before_it(
    runs: list[tuple[int, int, int, int]],
) -> None:
    story = Story()
    for sent, after, worker, session in runs:
        story.waits(sent / 10, (sent + after) / 10, by=worker, session=session)

    def group(run: tuple[int, int, int, int]) -> int:
        return run[2] if run[3] >= 0 else 0

    passed_over = sum(
        any(
            group(other) == group(run) and sum(other[:2]) < sum(run[:2]) and other[0] - run[0] > FAIR * 10
            for other in runs
        )
        for run in runs
    )
    verdict, evidence = serves_fairly(story.history())
    assert (verdict == "broken") == (passed_over > 0)
    if passed_over:
        assert evidence[-1].text == f"{passed_over} of {len(runs)} operations were passed over so"
