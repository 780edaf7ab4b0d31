import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolproof.checks.serves_fairly import _overtaken_at, serves_fairly
from poolproof.checks.verdict import SHOWN
from poolproof.history import Outcome, Phase
from tests.unit.histories import Story

FAIR, QUEUED, ENOUGH = 0.5, 0.05, 20
NEVER = np.iinfo(np.int64).max


def queued(count: int = ENOUGH, story: Story | None = None, waited: float = 0.1) -> Story:
    """Operations that waited for their turn and were begun in the order in which they were sent."""
    story = story or Story()
    for number in range(count):
        story.waits(50 + number / 10, 50 + number / 10 + waited)
    return story.watched(90.0)


def overtaken(later: float = 1.0, by: float = 2.0) -> Story:
    """Operation 0 was sent at 1 s and begun at 9 s; operation 1 was sent so much later and begun so long before it."""
    return Story().waits(1.0, 9.0, by=11).waits(1.0 + later, 9.0 - by, by=12)


def test_it_is_kept_when_operations_are_begun_in_the_order_in_which_they_were_sent() -> None:
    assert serves_fairly(queued().history()) == ("kept", [])


# --- broken -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("later", "verdict"), [(FAIR, "kept"), (FAIR + 1e-9, "broken")])
def test_it_is_broken_when_one_that_was_sent_half_a_second_later_goes_first(later: float, verdict: str) -> None:
    assert serves_fairly(queued(story=overtaken(later=later)).history())[0] == verdict


@pytest.mark.parametrize(("by", "verdict"), [(-1.0, "kept"), (FAIR, "kept"), (FAIR + 1e-9, "broken")])
def test_it_is_broken_when_an_operation_is_passed_over_for_half_a_second(by: float, verdict: str) -> None:
    assert serves_fairly(queued(story=overtaken(by=by)).history())[0] == verdict


def test_its_evidence_names_the_operation_its_worker_and_its_beginning() -> None:
    _, (evidence, total) = serves_fairly(overtaken(by=2.0).history())
    assert (evidence.op, evidence.pid, evidence.start_time, evidence.at_s) == (0, 11, 1100, 9.0)
    assert (
        ", sent at 1.000 s, waited 8.00 s, 2.00 s of it after an operation had begun that was sent more than 0.5 s "
        "later; worker pid 11"
    ) in evidence.text
    assert total.text == "1 of 2 operations were passed over so"


def test_an_operation_is_passed_over_from_the_first_that_overtook_it_on() -> None:
    story = overtaken(by=2.0).waits(3.0, 6.0).waits(2.0, 8.0)
    _, (evidence, *_) = serves_fairly(story.history())
    assert (evidence.op, "waited 8.00 s, 3.00 s of it after" in evidence.text) == (0, True)


def test_its_evidence_tells_the_worst_first_and_counts_all() -> None:
    story = Story()
    for number in range(SHOWN + 2):
        story.waits(number, 50.0 - number)
    _, evidence = serves_fairly(story.history())
    assert [entry.op for entry in evidence] == [*range(SHOWN), None]
    assert evidence[-1].text == f"{SHOWN + 1} of {SHOWN + 2} operations were passed over so"
    assert "waited 50.00 s, 6.00 s of it" in evidence[0].text


def test_of_those_that_were_passed_over_alike_the_first_is_told_first() -> None:
    story = Story().waits(1.0, 5.0).waits(1.0, 5.0).waits(0.5, 6.0).waits(3.0, 4.0)
    _, evidence = serves_fairly(story.history())
    assert [entry.op for entry in evidence] == [2, 0, 1, None]


def test_of_many_that_were_passed_over_alike_the_first_ones_are_told() -> None:
    story = Story()
    for _ in range(60):
        story.waits(1.0, 5.0)
    _, evidence = serves_fairly(story.waits(3.0, 4.0).history())
    assert [entry.op for entry in evidence] == [*range(SHOWN), None]


def test_one_that_was_passed_over_breaks_it_whatever_else_was_in_order() -> None:
    assert serves_fairly(queued(story=overtaken()).history())[0] == "broken"


def test_it_does_not_matter_which_worker_serves_them() -> None:
    story = Story().waits(1.0, 9.0, by=11).waits(3.0, 4.0, by=11)
    assert serves_fairly(story.history())[0] == "broken"


def test_the_order_is_that_of_sending_and_not_that_of_the_numbers() -> None:
    story = Story().waits(3.0, 4.0).waits(1.0, 9.0)
    _, (evidence, _) = serves_fairly(story.history())
    assert evidence.op == 1


@pytest.mark.parametrize("outcome", [Outcome.OK, Outcome.POOL_ERROR, Outcome.USER_ERROR])
def test_how_what_was_begun_ended_does_not_matter(outcome: Outcome) -> None:
    story = Story().waits(1.0, 9.0, outcome=outcome).waits(3.0, 4.0, outcome=outcome)
    assert serves_fairly(story.history())[0] == "broken"


def test_what_runs_again_once_its_worker_died_had_its_turn() -> None:
    story = overtaken().ran(0, 13, 1.1, None)
    assert serves_fairly(queued(story=story).history())[0] == "kept"


# --- what was never begun -----------------------------------------------------------------------------------------


def starved() -> Story:
    """Operation 0 was sent at 1 s and never begun; operation 1 was sent at 3 s and begun at 4 s."""
    return Story().hangs(1.0, by=None).waits(3.0, 4.0)


@pytest.mark.parametrize(("until", "verdict"), [(4.5, "unknown"), (4.500000001, "broken")])
def test_it_is_broken_by_an_operation_that_is_still_passed_over_when_the_watch_ends(until: float, verdict: str) -> None:
    assert serves_fairly(starved().watched(until).history())[0] == verdict


def test_its_evidence_of_an_operation_that_was_never_begun_tells_until_when_it_was_watched() -> None:
    _, (evidence, total) = serves_fairly(starved().watched(9.0).history())
    assert (evidence.op, evidence.pid, evidence.at_s) == (0, None, 9.0)
    assert "waited 8.00 s, 5.00 s of it after an operation had begun that" in evidence.text
    assert evidence.text.endswith("; no worker began it")
    assert total.text == "1 of 2 operations were passed over so"


def test_a_pool_that_began_nothing_passed_over_nobody() -> None:
    assert serves_fairly(Story().hangs(1.0, by=None).hangs(3.0, by=None).watched(9.0).history())[0] == "unknown"


@pytest.mark.parametrize("outcome", [Outcome.REJECTED, Outcome.POOL_ERROR, Outcome.CANCELLED, Outcome.OK])
def test_what_ended_without_being_begun_does_not_wait(outcome: Outcome) -> None:
    story = Story().op(1.0, 0.1, by=None, outcome=outcome).waits(3.0, 4.0)
    assert serves_fairly(queued(story=story).history())[0] == "kept"


def test_what_submit_never_returned_from_does_not_wait() -> None:
    history = queued(story=starved()).history()
    history.operations.accepted[0] = 0
    assert serves_fairly(history)[0] == "kept"


def test_what_was_never_sent_does_not_wait() -> None:
    story = Story().op(1.0, None, by=None, sent=False).waits(3.0, 4.0)
    assert serves_fairly(queued(story=story).history())[0] == "kept"


def test_without_any_execution_nothing_was_passed_over() -> None:
    assert serves_fairly(Story().hangs(1.0, by=None).op(3.0, by=None).watched(9.0).history())[0] == "unknown"


# --- what does not count ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sessions", [(3, 3), (3, 4), (3, -1), (-1, 3), (0, -1)])
def test_operations_of_sessions_are_left_out(sessions: tuple[int, int]) -> None:
    story = Story().waits(1.0, 9.0, by=11, session=sessions[0]).waits(3.0, 4.0, by=11, session=sessions[1])
    assert serves_fairly(queued(story=story).history())[0] == "kept"


@pytest.mark.parametrize("phase", [Phase.WARM_UP, Phase.PROBE, Phase.AFTER_CLOSE])
@pytest.mark.parametrize("first", [True, False])
def test_only_the_measured_window_is_looked_at(phase: Phase, first: bool) -> None:
    one, other = (phase, Phase.MEASURED) if first else (Phase.MEASURED, phase)
    story = Story().waits(1.0, 9.0, phase=one).waits(3.0, 4.0, phase=other)
    assert serves_fairly(queued(story=story).history())[0] == "kept"


@pytest.mark.parametrize("op", [-1, 99])
def test_records_of_operations_that_the_client_does_not_know_are_passed_over(op: int) -> None:
    assert serves_fairly(queued().ran(op, 12, 0.3, 0.4).history())[0] == "kept"


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
    assert serves_fairly(queued(ENOUGH - 1).waits(60.0, 60.0 + waited).history())[0] == verdict


def test_what_was_never_begun_waited_too() -> None:
    assert serves_fairly(queued(ENOUGH - 1).hangs(60.0, by=None).history())[0] == "kept"


@pytest.mark.parametrize("more", [{"phase": Phase.WARM_UP}, {"session": 3}])
def test_no_other_operations_that_waited_count(more: dict[str, int]) -> None:
    assert serves_fairly(queued(ENOUGH - 1).waits(60.0, 61.0, **more).history())[0] == "unknown"


@pytest.mark.parametrize("story", [Story(), Story().op(0.1), Story().op(0.1, session=3), Story().op(0.1, by=None)])
def test_it_is_unknown_when_nothing_had_to_wait(story: Story) -> None:
    assert serves_fairly(story.history())[0] == "unknown"


# --- by whom, and when --------------------------------------------------------------------------------------------

TENTHS = st.integers(0, 30)


@given(st.lists(st.tuples(TENTHS, TENTHS), max_size=20))
def test_an_operation_is_overtaken_by_the_first_to_begin_of_those_that_were_sent_half_a_second_later(
    runs: list[tuple[int, int]],
) -> None:
    sent, started = (np.array([run[at] for run in runs], dtype=np.int64) * 100_000_000 for at in (0, 1))
    expected = [
        min((int(started[other]) for other in range(len(runs)) if sent[other] > sent[at] + 500_000_000), default=NEVER)
        for at in range(len(runs))
    ]
    assert _overtaken_at(sent, started).tolist() == expected


@given(st.lists(st.tuples(TENTHS, st.none() | TENTHS, st.integers(-1, 1)), max_size=15))
def test_an_operation_is_passed_over_if_and_only_if_one_was_sent_half_a_second_later_and_begun_half_a_second_before_it(
    runs: list[tuple[int, int | None, int]],
) -> None:
    story = Story()
    for sent, after, session in runs:
        if after is None:
            story.hangs(sent / 10, by=None, session=session)
        else:
            story.waits(sent / 10, (sent + after) / 10, session=session)
    free = [(sent, 70 if after is None else sent + after) for sent, after, session in runs if session < 0]
    passed_over = sum(any(other[0] > run[0] + 5 and other[1] < run[1] - 5 for other in free) for run in free)
    verdict, evidence = serves_fairly(story.watched(7.0).history())
    assert (verdict == "broken") == (passed_over > 0)
    if passed_over:
        assert evidence[-1].text == f"{passed_over} of {len(free)} operations were passed over so"
