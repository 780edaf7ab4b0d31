import pytest

from poolproof.checks.types_every_error import types_every_error
from poolproof.history import Outcome, Phase
from poolproof.plan import Claims
from tests.unit.histories import Story

LISTED = Claims(errors=("some.BrokenPool",))


def test_it_is_kept_when_nothing_failed() -> None:
    assert types_every_error(Story().op(0.1).history()) == ("kept", [])


@pytest.mark.parametrize("outcome", [Outcome.POOL_ERROR, Outcome.REJECTED])
def test_it_is_kept_when_an_error_is_of_a_type_that_the_pool_documents(outcome: Outcome) -> None:
    story = Story(claims=LISTED).fails(0.1, "some.BrokenPool", outcome=outcome)
    assert types_every_error(story.history())[0] == "kept"


def test_it_is_kept_when_a_base_of_the_error_is_documented() -> None:
    story = Story(claims=LISTED).fails(0.1, "some.WorkerDied", bases=("some.BrokenPool", "builtins.Exception"))
    assert types_every_error(story.history())[0] == "kept"


@pytest.mark.parametrize("outcome", [Outcome.POOL_ERROR, Outcome.REJECTED])
def test_a_type_that_is_documented_as_a_refusal_of_too_much_needs_no_other_documentation(outcome: Outcome) -> None:
    story = Story(claims=Claims(overload=("some.QueueFull",)))
    story.fails(0.1, "some.QueueFull", outcome=outcome).fails(0.2, "some.Full", bases=("some.QueueFull",))
    assert types_every_error(story.history())[0] == "kept"


def test_an_error_at_the_deadline_needs_documentation_like_any_other() -> None:
    verdict, evidence = types_every_error(Story(claims=LISTED).fails(0.1, "some.Late", deadline=0.15).history())
    assert (verdict, [entry.op for entry in evidence]) == ("broken", [0])


@pytest.mark.parametrize("outcome", [Outcome.POOL_ERROR, Outcome.REJECTED])
def test_it_is_broken_by_an_error_that_the_pool_does_not_document(outcome: Outcome) -> None:
    story = Story(claims=LISTED).fails(0.1, "some.BrokenPool").fails(0.2, "builtins.OSError", outcome=outcome)
    verdict, evidence = types_every_error(story.history())
    assert (verdict, [entry.op for entry in evidence]) == ("broken", [1])


def test_its_evidence_names_the_operation_its_worker_and_the_moment_of_sending() -> None:
    _, (evidence,) = types_every_error(Story().fails(0.2, by=12).history())
    assert (evidence.op, evidence.pid, evidence.start_time, evidence.at_s) == (0, 12, 1200, 0.2)


def test_its_evidence_quotes_the_error() -> None:
    _, (evidence,) = types_every_error(Story().fails(0.2, "builtins.OSError", message="no {} left\nat all").history())
    assert "failed with builtins.OSError: no {} left, which the pool does not document" in evidence.text


def test_an_error_of_the_users_own_needs_no_documentation() -> None:
    story = Story().fails(0.1, "awkward.AwkwardError", kind="raises", outcome=Outcome.USER_ERROR)
    assert types_every_error(story.history())[0] == "kept"


def test_a_failure_of_the_probe_is_not_the_pools() -> None:
    assert types_every_error(Story().op(0.1).fails(0.2, "poolproof.probe.ProbeError").history())[0] == "kept"


def test_a_cancelled_operation_needs_no_documentation() -> None:
    assert types_every_error(Story().op(0.1, outcome=Outcome.CANCELLED).history())[0] == "kept"


def test_a_refusal_after_the_close_may_be_of_any_type() -> None:
    story = Story().op(0.1).fails(0.2, outcome=Outcome.REJECTED, phase=Phase.AFTER_CLOSE)
    assert types_every_error(story.history())[0] == "kept"


def test_it_is_unknown_when_operations_were_made_to_fail_and_none_did() -> None:
    assert types_every_error(Story().op(0.1).hangs(0.2, kind="calls-sys-exit").history())[0] == "unknown"


@pytest.mark.parametrize("outcome", [Outcome.POOL_ERROR, Outcome.REJECTED, Outcome.USER_ERROR])
def test_it_is_kept_when_one_of_the_operations_that_were_made_to_fail_did(outcome: Outcome) -> None:
    story = Story(claims=LISTED).op(0.1).op(0.2, kind="raises").fails(0.3, "some.BrokenPool", outcome=outcome)
    assert types_every_error(story.history())[0] == "kept"


def test_awkward_operations_that_were_never_sent_raise_no_doubt() -> None:
    story = Story().op(0.1).op(0.2, None, kind="calls-sys-exit", sent=False, by=None)
    assert types_every_error(story.history())[0] == "kept"
