from poolproof.checks.returns_the_right_result import returns_the_right_result
from poolproof.history import Outcome
from tests.unit.histories import WORKER, Story


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


def test_its_evidence_tells_three_operations() -> None:
    _, evidence = returns_the_right_result(Story().ops(5, 0.1, outcome=Outcome.WRONG, echoed=99).history())
    assert [entry.op for entry in evidence] == [0, 1, 2]


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
