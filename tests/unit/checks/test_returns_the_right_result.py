from dataclasses import replace
from typing import Any

import pytest

from poolproof.checks.returns_the_right_result import returns_the_right_result
from poolproof.checks.verdict import SHOWN
from poolproof.history import Outcome, Phase
from poolproof.plan import Claims
from tests.unit.histories import KILL, WORKER, Story

ENOUGH = 10


def test_it_is_kept_when_every_result_was_right() -> None:
    assert returns_the_right_result(Story().op(0.1).fails(0.2).history()) == ("kept", [])


def test_it_is_broken_by_the_result_of_another_operation() -> None:
    verdict, (evidence,) = returns_the_right_result(Story().op(0.1).op(0.2, outcome=Outcome.WRONG, echoed=0).history())
    assert (verdict, "got the result of operation 0" in evidence.text) == ("broken", True)


def test_it_is_broken_by_a_result_that_does_not_verify() -> None:
    verdict, (evidence,) = returns_the_right_result(Story().op(0.1).op(0.2, outcome=Outcome.WRONG, echoed=1).history())
    assert (verdict, "came back with a result that does not verify" in evidence.text) == ("broken", True)


def test_it_is_broken_by_a_result_that_no_worker_returned() -> None:
    verdict, (evidence,) = returns_the_right_result(Story().op(0.1).op(0.2, outcome=Outcome.WRONG, echoed=-1).history())
    assert (verdict, "got a result that no worker returned" in evidence.text) == ("broken", True)


def test_its_evidence_names_the_operation_its_worker_and_the_moment_of_the_answer() -> None:
    _, (evidence,) = returns_the_right_result(Story().op(0.1).op(0.2, outcome=Outcome.WRONG, echoed=1).history())
    assert (evidence.op, evidence.pid, evidence.start_time, evidence.at_s) == (1, WORKER, WORKER * 100, 0.3)


def test_its_evidence_tells_some_operations() -> None:
    _, evidence = returns_the_right_result(Story().ops(SHOWN + 2, 0.1, outcome=Outcome.WRONG, echoed=99).history())
    assert [entry.op for entry in evidence] == list(range(SHOWN))


def test_it_is_unknown_when_the_verification_itself_failed() -> None:
    story = Story().op(0.1).fails(0.2, "builtins.KeyError", message="'x'", outcome=Outcome.WRONG)
    verdict, (evidence,) = returns_the_right_result(story.history())
    assert (verdict, evidence.op) == ("unknown", 1)
    assert "could not be verified (builtins.KeyError: 'x')" in evidence.text


def test_the_message_of_a_failed_verification_may_hold_braces() -> None:
    story = Story().op(0.1).fails(0.2, "builtins.KeyError", message="{'score': 1}", outcome=Outcome.WRONG)
    _, (evidence,) = returns_the_right_result(story.history())
    assert "{'score': 1}" in evidence.text


def test_a_failed_verification_does_not_hide_a_wrong_result() -> None:
    story = Story().fails(0.1, outcome=Outcome.WRONG).op(0.2, outcome=Outcome.WRONG, echoed=0)
    verdict, evidence = returns_the_right_result(story.history())
    assert (verdict, [entry.op for entry in evidence]) == ("broken", [1])


def test_it_is_unknown_when_no_operation_returned_a_result() -> None:
    assert returns_the_right_result(Story().fails(0.1).hangs(0.2).history())[0] == "unknown"


@pytest.mark.parametrize("outcome", [Outcome.POOL_ERROR, Outcome.CANCELLED])
def test_it_is_broken_by_a_failure_before_anything_was_harmed(outcome: Outcome) -> None:
    story = Story.of(KILL).op(0.1).fails(0.2, outcome=outcome, by=12).struck(WORKER, 1.0).watched(9.0)
    verdict, (evidence,) = returns_the_right_result(story.history())
    assert (verdict, evidence.op, evidence.pid, evidence.at_s) == ("broken", 1, 12, 0.2)
    assert "ended as builtins.RuntimeError: it failed although nothing had been harmed" in evidence.text


@pytest.mark.parametrize("outcome", [Outcome.POOL_ERROR, Outcome.CANCELLED])
def test_it_is_broken_by_a_failure_where_nothing_is_ever_harmed(outcome: Outcome) -> None:
    assert returns_the_right_result(Story().op(0.1).op(0.2, outcome=outcome).watched(9.0).history())[0] == "broken"


def test_a_failure_that_nothing_had_provoked_is_told_by_its_outcome_where_it_has_no_error() -> None:
    story = Story().op(0.1).op(0.2, outcome=Outcome.CANCELLED).watched(9.0)
    _, (evidence,) = returns_the_right_result(story.history())
    assert "ended as cancelled although nothing had been harmed" in evidence.text


@pytest.mark.parametrize("outcome", [Outcome.POOL_ERROR, Outcome.CANCELLED, Outcome.REJECTED])
@pytest.mark.parametrize(
    "story",
    [
        pytest.param(Story.of(KILL).op(0.1).struck(WORKER, 0.15), id="a fault"),
        pytest.param(Story().op(0.1, kind="raises"), id="an awkward operation"),
        pytest.param(Story().op(0.1).closes(0.2), id="the close"),
    ],
)
def test_a_failure_after_a_harm_or_the_close_is_not_its_business(story: Story, outcome: Outcome) -> None:
    history = replace(story, _operations=[*story._operations], _lifecycle=[*story._lifecycle])
    history.fails(0.5, outcome=outcome).watched(9.0)
    assert returns_the_right_result(history.history()) == ("kept", [])


def test_it_is_unknown_when_an_operation_was_refused_although_nothing_had_been_harmed() -> None:
    story = Story().op(0.1).fails(0.2, "m.QueueFull", message="{}", outcome=Outcome.REJECTED).watched(9.0)
    verdict, (evidence,) = returns_the_right_result(story.history())
    assert (verdict, evidence.op) == ("unknown", 1)
    assert "was refused (m.QueueFull: {}) although nothing had been harmed" in evidence.text


def test_a_refusal_does_not_hide_a_failure_that_nothing_had_provoked() -> None:
    story = Story().op(0.1).fails(0.2, outcome=Outcome.REJECTED).fails(0.3).watched(9.0)
    verdict, evidence = returns_the_right_result(story.history())
    assert (verdict, [entry.op for entry in evidence]) == ("broken", [2])


def test_a_refusal_is_told_before_a_failed_verification() -> None:
    story = Story().op(0.1).fails(0.2, outcome=Outcome.WRONG).fails(0.3, outcome=Outcome.REJECTED).watched(9.0)
    verdict, evidence = returns_the_right_result(story.history())
    assert (verdict, [entry.op for entry in evidence]) == ("unknown", [2])


def test_wrong_results_are_told_before_failures_that_nothing_had_provoked() -> None:
    story = Story().fails(0.1).op(0.2, outcome=Outcome.WRONG, echoed=0).watched(9.0)
    verdict, evidence = returns_the_right_result(story.history())
    assert (verdict, [entry.op for entry in evidence]) == ("broken", [1, 0])


# --- a pool that shut itself --------------------------------------------------------------------------------------


def refusing(count: int, start: float = 1.0, **more: Any) -> Story:
    """A pool that answered an operation and then refused so many."""
    story = Story().op(0.1)
    for number in range(count):
        story.fails(start + number / 100, "m.Closed", outcome=Outcome.REJECTED, took=0.001, **more)
    return story.watched(9.0)


def test_it_is_broken_by_a_pool_that_takes_nothing_any_more_although_nobody_closed_it() -> None:
    verdict, evidence = returns_the_right_result(refusing(ENOUGH).history())
    assert (verdict, evidence[0].at_s) == ("broken", 1.0)
    assert evidence[0].text == (
        "it took nothing any more from 1.000 s on, although nobody had closed it and nothing had been harmed"
    )


def test_its_evidence_of_a_pool_that_shut_itself_names_what_was_refused() -> None:
    _, (_, *refused) = returns_the_right_result(refusing(ENOUGH).history())
    assert [entry.op for entry in refused] == [*range(1, SHOWN + 1), None]
    assert "was refused (m.Closed: it failed); no worker began it" in refused[0].text


def test_it_is_unknown_when_too_little_was_offered_to_a_pool_that_took_nothing_any_more() -> None:
    assert returns_the_right_result(refusing(ENOUGH - 1).history())[0] == "unknown"


def test_it_is_unknown_when_the_pool_took_something_after_it_had_refused() -> None:
    assert returns_the_right_result(refusing(3 * ENOUGH).op(1.5).history())[0] == "unknown"


@pytest.mark.parametrize("count", [ENOUGH - 1, ENOUGH])
def test_only_what_was_refused_after_the_last_that_was_taken_counts(count: int) -> None:
    story = refusing(5, 0.2).op(0.5)
    for number in range(count):
        story.fails(1.0 + number / 100, "m.Closed", outcome=Outcome.REJECTED)
    verdict, evidence = returns_the_right_result(story.history())
    assert (verdict, evidence[0].at_s) == (("broken", 1.0) if count == ENOUGH else ("unknown", 0.2))


def test_a_pool_that_refused_from_the_first_operation_on_shut_itself() -> None:
    story = Story()
    for number in range(ENOUGH):
        story.fails(0.1 + number / 100, outcome=Outcome.REJECTED)
    verdict, evidence = returns_the_right_result(story.watched(9.0).history())
    assert (verdict, evidence[0].at_s) == ("broken", 0.1)


@pytest.mark.parametrize("phase", [Phase.WARM_UP, Phase.PROBE, Phase.AFTER_CLOSE])
def test_what_was_refused_outside_of_the_measured_window_does_not_count(phase: Phase) -> None:
    assert returns_the_right_result(refusing(3 * ENOUGH, phase=phase).history())[0] != "broken"


@pytest.mark.parametrize("phase", [Phase.WARM_UP, Phase.PROBE, Phase.AFTER_CLOSE])
def test_what_was_taken_outside_of_the_measured_window_does_not_count(phase: Phase) -> None:
    assert returns_the_right_result(refusing(ENOUGH).op(5.0, phase=phase).history())[0] == "broken"


def test_operations_that_were_never_sent_were_not_taken() -> None:
    story = refusing(ENOUGH).ops(3, 2.0, took=None, sent=False, by=None)
    assert returns_the_right_result(story.history())[0] == "broken"


def test_a_pool_that_took_nothing_after_a_harm_did_not_shut_itself() -> None:
    story = Story.of(KILL).op(0.1).struck(WORKER, 0.5)
    for number in range(3 * ENOUGH):
        story.fails(1.0 + number / 100, outcome=Outcome.REJECTED)
    assert returns_the_right_result(story.watched(9.0).history()) == ("kept", [])


def test_a_pool_that_refuses_too_much_as_documented_did_not_shut_itself() -> None:
    story = refusing(3 * ENOUGH).ops(4, 0.5, took=8.0)
    story.claims = Claims(overload=("m.Closed",))
    assert returns_the_right_result(story.history()) == ("kept", [])


def test_it_is_broken_by_a_pool_that_calls_it_too_much_where_there_was_little_to_do() -> None:
    story = refusing(1).ops(3, 0.5, took=8.0)
    story.claims = Claims(overload=("m.Closed",))
    verdict, (evidence,) = returns_the_right_result(story.history())
    assert (verdict, evidence.op) == ("broken", 1)
    assert "ended as m.Closed: it failed although nothing had been harmed" in evidence.text


def test_a_failure_at_a_deadline_is_not_its_business() -> None:
    assert returns_the_right_result(Story().op(0.1).fails(0.2, deadline=0.3).watched(9.0).history()) == ("kept", [])


def test_wrong_results_are_told_before_a_pool_that_shut_itself() -> None:
    story = refusing(ENOUGH)
    history = story.op(0.2, outcome=Outcome.WRONG, echoed=0).history()
    _, evidence = returns_the_right_result(history)
    assert (evidence[0].op, evidence[1].at_s) == (ENOUGH + 1, 1.0)
