import pytest

from poolproof.checks.survives_worker_death import ENOUGH, survives_worker_death
from poolproof.history import Outcome, Phase
from poolproof.plan import Claims
from tests.unit.histories import KILL, KILL_PARENT, STALL, WORKER, Story


def killed() -> Story:
    """Worker 11 held operation 0 and was killed at 1 s; from 2 s on its death must have been noticed."""
    return Story.of(KILL).fails(0.9, by=WORKER, ended=False).struck(WORKER, 1.0, held=(0,))


def test_it_is_kept_when_what_is_sent_after_the_death_succeeds() -> None:
    story = killed().ops(ENOUGH, 2.0, by=12).watched(9)
    assert survives_worker_death(story.history()) == ("kept", [])


@pytest.mark.parametrize("outcome", [Outcome.POOL_ERROR, Outcome.REJECTED, Outcome.CANCELLED])
def test_it_is_broken_by_an_operation_sent_later_that_fails(outcome: Outcome) -> None:
    story = killed().ops(ENOUGH, 2.0, by=12).fails(3.0, outcome=outcome).watched(9)
    assert survives_worker_death(story.history())[0] == "broken"


@pytest.mark.parametrize(("under_way", "verdict"), [(4, "kept"), (3, "broken")])
def test_what_the_pool_refuses_as_documented_while_there_is_much_to_do_breaks_nothing(
    under_way: int, verdict: str
) -> None:
    story = killed().ops(ENOUGH, 2.0, by=12).ops(under_way, 3.0, took=2.0, by=12)
    story.claims = Claims(overload=("m.QueueFull",))
    story.fails(4.0, "m.QueueFull", outcome=Outcome.REJECTED).watched(9)
    assert survives_worker_death(story.history())[0] == verdict


def test_it_is_broken_by_an_operation_sent_later_that_never_ends() -> None:
    story = killed().ops(ENOUGH, 2.0, by=12).hangs(3.0, by=12).watched(9)
    assert survives_worker_death(story.history())[0] == "broken"


def test_what_only_waits_for_its_turn_while_the_pool_goes_on_answering_breaks_nothing() -> None:
    story = killed().ops(70, 2.0, 0.1, by=12).hangs(2.5, by=None).watched(9)
    assert survives_worker_death(story.history()) == ("kept", [])


def test_what_failed_once_its_deadline_had_passed_breaks_nothing() -> None:
    story = killed().ops(ENOUGH, 2.0, by=12).fails(3.0, deadline=3.1).watched(9)
    assert survives_worker_death(story.history()) == ("kept", [])


def test_what_belongs_to_a_session_that_died_with_the_worker_breaks_nothing() -> None:
    story = Story.of(KILL).op(0.5, by=WORKER, session=3).struck(WORKER, 1.0).ops(ENOUGH, 2.0, by=12)
    assert survives_worker_death(story.fails(3.0, session=3).watched(9).history()) == ("kept", [])


def test_its_evidence_names_the_dead_worker_and_its_death() -> None:
    _, (death, _) = survives_worker_death(killed().ops(ENOUGH, 2.0, by=12).fails(3.0).watched(9).history())
    assert (death.pid, death.start_time, death.at_s) == (WORKER, WORKER * 100, 1.0)
    assert death.text == (
        "of 11 operations sent later than 1 s after the death of worker pid 11 at 1.000 s, 10 succeeded"
    )


def test_its_evidence_names_an_operation_that_failed() -> None:
    _, (_, failed) = survives_worker_death(killed().ops(ENOUGH, 2.0, by=12).fails(3.0, by=13).watched(9).history())
    assert (failed.op, failed.pid, failed.at_s) == (ENOUGH + 1, 13, 3.0)
    assert "ended as builtins.RuntimeError: it failed" in failed.text


def test_what_fails_before_the_death_had_to_be_noticed_breaks_nothing() -> None:
    story = killed().fails(1.99).ops(ENOUGH, 2.0, by=12).watched(9)
    assert survives_worker_death(story.history())[0] == "kept"


def test_the_time_to_notice_is_the_pools_own_declaration() -> None:
    story = killed().fails(2.5).ops(ENOUGH, 4.0, by=12).watched(9)
    story.claims = Claims(detection_s=3.0)
    assert survives_worker_death(story.history())[0] == "kept"


def test_the_last_of_several_deaths_is_what_counts() -> None:
    story = killed().struck(12, 2.0).fails(2.5).ops(ENOUGH, 3.0, by=13).watched(9)
    assert survives_worker_death(story.history())[0] == "kept"


def test_an_error_of_the_users_own_is_a_service() -> None:
    story = killed().ops(ENOUGH, 2.0, by=12, outcome=Outcome.USER_ERROR).watched(9)
    assert survives_worker_death(story.history())[0] == "kept"


def test_it_is_broken_by_a_pool_whose_workers_go_on_dying_by_themselves() -> None:
    story = killed().ops(ENOUGH, 2.0, by=12).fails(3.0, by=13, ended=False).lived(13, gone=3.1).watched(9)
    assert survives_worker_death(story.history())[0] == "broken"


def test_it_is_unknown_when_too_few_operations_came_after_the_death() -> None:
    story = killed().ops(ENOUGH - 1, 2.0, by=12).watched(9)
    verdict, (evidence,) = survives_worker_death(story.history())
    assert (verdict, evidence.text) == (
        "unknown",
        "9 operations were sent after the death was to be noticed, 10 are needed",
    )


def test_it_is_unknown_when_too_few_of_what_came_after_the_death_were_served() -> None:
    story = killed().ops(ENOUGH - 1, 2.0, by=12).hangs(8.0, by=12).watched(9)
    verdict, (evidence,) = survives_worker_death(story.history())
    assert (verdict, evidence.text) == (
        "unknown",
        "9 operations sent after the death was to be noticed succeeded, 10 are needed",
    )


def test_operations_outside_of_the_measured_window_do_not_count() -> None:
    story = killed().ops(ENOUGH, 2.0, by=12, phase=Phase.PROBE).watched(9)
    assert survives_worker_death(story.history())[0] == "unknown"


def test_a_failure_outside_of_the_measured_window_breaks_nothing() -> None:
    story = killed().ops(ENOUGH, 2.0, by=12).fails(4.0, phase=Phase.PROBE).watched(9)
    assert survives_worker_death(story.history())[0] == "kept"


@pytest.mark.parametrize(
    "story",
    [
        pytest.param(Story(), id="no fault"),
        pytest.param(Story.of(STALL).struck(WORKER, 1.0, 3.0), id="a stall"),
        pytest.param(Story.of(KILL_PARENT).struck(WORKER, 1.0), id="the death of the parent"),
        pytest.param(Story.of(KILL).struck(WORKER, 1.0, effective="no"), id="a kill without effect"),
        pytest.param(Story.of(KILL).struck(0, 1.0, effective="pool-dead"), id="a pool that was dead already"),
    ],
)
def test_it_is_unknown_when_no_worker_was_killed(story: Story) -> None:
    verdict, (evidence,) = survives_worker_death(story.ops(ENOUGH, 2.0, by=12).fails(3.0).watched(9).history())
    assert (verdict, evidence.text) == ("unknown", "no worker was killed")
