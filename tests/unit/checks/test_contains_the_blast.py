import pytest

from poolproof.checks.contains_the_blast import contains_the_blast
from poolproof.checks.verdict import SHOWN
from poolproof.history import Outcome, Phase
from poolproof.plan import Claims
from tests.unit.histories import KILL, KILL_PARENT, STALL, WORKER, Story, born


def killed() -> Story:
    """Worker 11 held operation 0 and was killed at 1 s."""
    return Story.of(KILL).fails(0.9, by=WORKER, ended=False).struck(WORKER, 1.0, held=(0,))


def test_it_is_kept_when_only_what_the_dead_worker_held_fails() -> None:
    story = killed().op(0.5, by=12).op(0.95, by=12).op(1.5, by=12).watched(9)
    assert contains_the_blast(story.history()) == ("kept", [])


@pytest.mark.parametrize("outcome", [Outcome.POOL_ERROR, Outcome.REJECTED, Outcome.CANCELLED])
def test_it_is_broken_by_an_innocent_operation_that_fails_after_the_death(outcome: Outcome) -> None:
    story = killed().fails(0.95, outcome=outcome).watched(9)
    assert contains_the_blast(story.history())[0] == "broken"


def test_it_is_broken_by_an_innocent_operation_that_is_never_resolved() -> None:
    assert contains_the_blast(killed().hangs(0.95, by=12).watched(9).history())[0] == "broken"


def test_what_only_waits_for_its_turn_while_the_pool_goes_on_answering_breaks_nothing() -> None:
    story = killed().hangs(0.95, by=None).ops(80, 1.1, 0.1, by=12).watched(9)
    assert contains_the_blast(story.history()) == ("kept", [])


def test_it_is_broken_by_an_operation_that_is_sent_after_the_death_and_fails() -> None:
    assert contains_the_blast(killed().fails(3.0).watched(9).history())[0] == "broken"


def test_its_evidence_names_the_operation_its_worker_and_its_end() -> None:
    _, (evidence, total) = contains_the_blast(killed().fails(0.95, by=12).watched(9).history())
    assert (evidence.op, evidence.pid, evidence.start_time, evidence.at_s) == (1, 12, 1200, 1.05)
    assert total.text == "1 operations failed that nothing had harmed"


def test_its_evidence_names_the_harm() -> None:
    _, (evidence, _) = contains_the_blast(killed().fails(0.95).watched(9).history())
    assert (
        "ended as builtins.RuntimeError: it failed after the kill of worker pid 11 at 1.000 s, which did not hold it"
        in evidence.text
    )


def test_a_failure_is_told_of_the_last_harm_before_it() -> None:
    story = Story.of(KILL, KILL).struck(11, 1.0).struck(12, 2.0, fault=1).fails(2.5).watched(9)
    _, (evidence, _) = contains_the_blast(story.history())
    assert "after the kill of worker pid 12 at 2.000 s" in evidence.text


def test_what_never_ended_is_told_of_the_first_harm_that_found_it_open() -> None:
    story = Story.of(KILL, KILL).struck(11, 1.0).struck(12, 2.0, fault=1).hangs(0.5, by=13).watched(9)
    _, (evidence, _) = contains_the_blast(story.history())
    assert "after the kill of worker pid 11 at 1.000 s" in evidence.text


def test_what_was_sent_after_the_last_harm_and_never_ended_is_told_of_that() -> None:
    story = Story.of(KILL, KILL).struck(11, 1.0).struck(12, 2.0, fault=1).hangs(2.5, by=13).watched(9)
    _, (evidence, _) = contains_the_blast(story.history())
    assert "after the kill of worker pid 12 at 2.000 s" in evidence.text


def test_its_evidence_tells_some_operations_and_counts_all() -> None:
    story = killed().watched(9)
    for number in range(SHOWN + 2):
        story.fails(2.0 + number / 2)
    _, evidence = contains_the_blast(story.history())
    assert [entry.op for entry in evidence] == [*range(1, SHOWN + 1), None]
    assert evidence[-1].text == f"{SHOWN + 2} operations failed that nothing had harmed"


def test_its_evidence_names_the_harmed_worker_where_none_began_the_operation() -> None:
    _, (evidence, _) = contains_the_blast(killed().fails(0.95).watched(9).history())
    assert (evidence.pid, evidence.start_time) == (WORKER, born(WORKER))


@pytest.mark.parametrize(("done", "verdict"), [(0.999999999, "kept"), (1.0, "broken")])
def test_what_fails_at_the_very_moment_of_the_harm_fails_after_it(done: float, verdict: str) -> None:
    story = Story.of(KILL).struck(WORKER, 1.0).fails(0.5, took=done - 0.5).watched(9)
    assert contains_the_blast(story.history())[0] == verdict


def test_what_was_sent_at_the_very_moment_of_a_harm_and_never_ended_is_told_of_that_one() -> None:
    story = Story.of(KILL, KILL).struck(11, 1.0).struck(12, 2.0, fault=1).hangs(1.0, by=13).watched(9)
    _, (evidence, _) = contains_the_blast(story.history())
    assert "after the kill of worker pid 12 at 2.000 s" in evidence.text


def test_what_had_failed_before_the_first_harm_is_not_its_business() -> None:
    assert contains_the_blast(killed().fails(0.5).watched(9).history())[0] == "kept"


def test_what_fails_after_the_close_is_not_its_business() -> None:
    story = killed().fails(11.0, phase=Phase.AFTER_CLOSE, outcome=Outcome.REJECTED).watched(13)
    assert contains_the_blast(story.history())[0] == "kept"


def test_an_operation_that_was_open_when_the_watch_ended_too_early_breaks_nothing() -> None:
    assert contains_the_blast(killed().hangs(2.0, by=12).watched(3.0).history())[0] == "kept"


def test_a_wrong_result_is_not_its_business() -> None:
    assert contains_the_blast(killed().op(2.0, outcome=Outcome.WRONG, by=12).watched(9).history())[0] == "kept"


@pytest.mark.parametrize("outcome", [Outcome.POOL_ERROR, Outcome.REJECTED])
def test_what_the_pool_refuses_as_documented_is_no_blast(outcome: Outcome) -> None:
    story = killed().ops(4, 2.0, took=2.0, by=12).fails(3.0, "m.QueueFull", outcome=outcome).watched(9)
    story.claims = Claims(overload=("m.QueueFull",))
    assert contains_the_blast(story.history())[0] == "kept"


def test_what_the_pool_refuses_as_too_much_while_there_is_little_to_do_is_a_blast() -> None:
    story = killed().ops(3, 4.0, took=2.0, by=12).fails(5.0, "m.QueueFull", outcome=Outcome.REJECTED).watched(9)
    story.claims = Claims(overload=("m.QueueFull",))
    assert contains_the_blast(story.history())[0] == "broken"


def test_what_the_pool_refuses_by_any_other_type_is_a_blast() -> None:
    story = killed().fails(3.0, "m.QueueFull", outcome=Outcome.REJECTED).watched(9)
    story.claims = Claims(overload=("m.Other",), errors=("m.QueueFull",))
    assert contains_the_blast(story.history())[0] == "broken"


@pytest.mark.parametrize(("deadline", "verdict"), [(3.1, "kept"), (3.2, "broken")])
def test_what_fails_once_its_deadline_has_passed_is_no_blast(deadline: float, verdict: str) -> None:
    story = killed().fails(3.0, took=0.1, deadline=deadline).watched(9)
    assert contains_the_blast(story.history())[0] == verdict


def test_what_is_never_resolved_is_a_blast_whatever_its_deadline() -> None:
    story = killed().hangs(3.0, by=12, deadline=3.1).watched(9)
    assert contains_the_blast(story.history())[0] == "broken"


def test_an_operation_of_a_session_that_the_dead_worker_had_served_may_fail() -> None:
    story = killed().op(0.5, by=WORKER, session=2).fails(3.0, session=2).watched(9)
    assert contains_the_blast(story.history())[0] == "kept"


def test_an_operation_of_any_other_session_may_not_fail() -> None:
    story = killed().op(0.5, by=WORKER, session=2).op(0.5, by=12, session=3).fails(3.0, session=3).watched(9)
    verdict, evidence = contains_the_blast(story.history())
    assert (verdict, evidence[0].op) == ("broken", 3)


def test_an_awkward_operation_is_a_harm_to_the_others() -> None:
    story = Story().hangs(1.0, kind="calls-sys-exit", by=11).fails(1.5).watched(9)
    verdict, evidence = contains_the_blast(story.history())
    assert (verdict, evidence[0].op) == ("broken", 1)
    assert "after operation 0 (calls-sys-exit) at 1.000 s" in evidence[0].text


def test_an_awkward_operation_before_a_fault_is_the_first_harm() -> None:
    story = Story.of(KILL).hangs(0.5, kind="calls-sys-exit", by=11).fails(0.6).struck(12, 1.0).watched(9)
    verdict, evidence = contains_the_blast(story.history())
    assert (verdict, evidence[0].op) == ("broken", 1)
    assert "after operation 0 (calls-sys-exit) at 0.500 s" in evidence[0].text


def test_an_awkward_operation_itself_may_fail() -> None:
    story = Story().fails(1.0, kind="calls-sys-exit").op(1.5).watched(9)
    assert contains_the_blast(story.history())[0] == "kept"


def test_a_stall_is_a_harm_to_the_others() -> None:
    story = Story.of(STALL).op(0.9, 3.0).struck(WORKER, 1.0, 3.0, held=(0,)).fails(1.5).watched(9)
    verdict, evidence = contains_the_blast(story.history())
    assert (verdict, evidence[0].op) == ("broken", 1)


@pytest.mark.parametrize(
    "story",
    [
        pytest.param(Story(), id="no fault"),
        pytest.param(Story.of(KILL).struck(WORKER, 1.0, effective="no"), id="a kill without effect"),
        pytest.param(Story.of(KILL_PARENT).struck(WORKER, 1.0), id="the death of the parent"),
        pytest.param(Story().op(0.5, None, kind="raises", sent=False, by=None), id="an awkward one that was not sent"),
    ],
)
def test_it_is_unknown_when_nothing_was_harmed(story: Story) -> None:
    verdict, (evidence,) = contains_the_blast(story.fails(2.0).watched(9).history())
    assert (verdict, evidence.text) == ("unknown", "nothing was harmed")
