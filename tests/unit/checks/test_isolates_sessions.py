import pytest

from poolproof.checks.isolates_sessions import isolates_sessions
from poolproof.checks.verdict import SHOWN
from poolproof.history import Phase
from poolproof.plan import Claims
from tests.unit.histories import KILL, Story


def test_it_is_kept_when_each_operation_finds_the_state_of_its_own_session() -> None:
    story = Story().op(0.1, session=3).op(0.2, session=4).op(0.3, session=3)
    assert isolates_sessions(story.history()) == ("kept", [])


def test_it_is_broken_by_an_operation_that_finds_the_state_of_another_session() -> None:
    story = Story().op(0.1, session=3).op(0.2, session=3).op(0.3, by=12, session=4, found=3)
    assert isolates_sessions(story.history())[0] == "broken"


def test_its_evidence_names_the_operation_its_worker_and_its_beginning() -> None:
    _, (evidence, total) = isolates_sessions(
        Story().op(0.1, session=3).op(0.3, by=12, session=4, found=3).op(0.5).history()
    )
    assert (evidence.op, evidence.pid, evidence.start_time, evidence.at_s) == (1, 12, 1200, 0.301)
    assert evidence.text == "operation 1 of session 4 was given the state of session 3 by worker pid 12 at 0.301 s"
    assert total.text == "1 of 2 executions found a foreign state"


def test_its_evidence_tells_some_executions_and_counts_all() -> None:
    story = Story().ops(3, 0.1, session=3).ops(SHOWN + 2, 0.5, session=4, found=3)
    _, evidence = isolates_sessions(story.history())
    assert [entry.op for entry in evidence] == [*range(3, SHOWN + 3), None]
    assert evidence[-1].text == f"{SHOWN + 2} of {SHOWN + 5} executions found a foreign state"


def test_it_is_broken_although_no_state_lived_on() -> None:
    assert isolates_sessions(Story().op(0.1, session=4, found=3).history())[0] == "broken"


def test_it_is_broken_by_an_operation_of_a_session_that_finds_none() -> None:
    assert isolates_sessions(Story().op(0.1, session=0, found=-1).history())[0] == "broken"


def test_session_0_is_a_session_like_any_other() -> None:
    assert isolates_sessions(Story().op(0.1, session=0).op(0.2, session=0).history())[0] == "kept"
    assert isolates_sessions(Story().op(0.1, session=0, found=1).history())[0] == "broken"


def test_a_second_execution_of_an_operation_counts_like_the_first() -> None:
    story = Story().op(0.1, session=3, idempotent=True).ran(0, 12, 0.5, 0.6, found=4)
    assert isolates_sessions(story.history())[0] == "broken"


def test_an_execution_that_never_ended_counts() -> None:
    assert isolates_sessions(Story().hangs(0.1, session=3, found=4).history())[0] == "broken"


@pytest.mark.parametrize("phase", Phase)
def test_sessions_are_isolated_in_every_phase(phase: Phase) -> None:
    assert isolates_sessions(Story().op(0.1, session=3, found=4, phase=phase).history())[0] == "broken"


def test_a_session_that_begins_anew_after_the_death_of_its_worker_finds_its_own_state() -> None:
    story = Story.of(KILL).ops(2, 0.1, by=11, session=3).struck(11, 0.5).op(1.0, by=12, session=3)
    assert isolates_sessions(story.history())[0] == "kept"


def test_it_is_unknown_when_no_state_lived_from_one_operation_to_the_next() -> None:
    story = Story().op(0.1, session=3).op(0.2, session=4).op(0.3, by=12, session=3).op(0.4, session=3, counter=1)
    verdict, (evidence,) = isolates_sessions(story.history())
    assert (verdict, evidence.text) == (
        "unknown",
        "no state lived from one operation of a session to the next, so nothing could get mixed up",
    )


@pytest.mark.parametrize(("counter", "verdict"), [(1, "unknown"), (2, "kept")])
def test_a_state_lived_on_when_it_was_used_a_second_time(counter: int, verdict: str) -> None:
    assert isolates_sessions(Story().op(0.1, session=3, counter=counter).history())[0] == verdict


def test_it_is_unknown_when_each_thread_finds_a_state_of_its_own() -> None:
    story = Story(claims=Claims(in_process=True)).op(0.1, tid=1, session=3).op(0.2, tid=2, session=3)
    assert isolates_sessions(story.history())[0] == "unknown"


@pytest.mark.parametrize(
    "story",
    [
        pytest.param(Story(), id="nothing"),
        pytest.param(Story().op(0.1).op(0.2), id="no session"),
        pytest.param(Story().op(0.1, by=None, session=3), id="nothing was begun"),
        pytest.param(Story().op(0.1, counter=5, found=4), id="a state without a session"),
        pytest.param(Story().op(0.1).ran(-1, 12, 0.5, 0.6, found=3, counter=2), id="an operation below all"),
        pytest.param(Story().op(0.1).ran(1, 12, 0.5, 0.6, found=3, counter=2), id="an operation beyond all"),
    ],
)
def test_it_is_unknown_when_no_operation_of_a_session_was_begun(story: Story) -> None:
    assert isolates_sessions(story.history())[0] == "unknown"


def test_records_of_operations_that_the_client_does_not_know_are_passed_over() -> None:
    story = Story().ops(2, 0.1, session=3).ran(-1, 12, 0.5, 0.6, found=4).ran(2, 12, 0.5, 0.6, found=4)
    assert isolates_sessions(story.history())[0] == "kept"
