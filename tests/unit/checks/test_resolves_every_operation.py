import pytest

from poolproof.checks.resolves_every_operation import resolves_every_operation
from poolproof.checks.verdict import SHOWN
from poolproof.history import Outcome, Phase
from poolproof.plan import Claims
from tests.unit.histories import KILL, WORKER, Story


def test_it_is_kept_when_every_operation_ends_in_time() -> None:
    story = Story().op(0.1).fails(0.2).op(0.3, outcome=Outcome.CANCELLED).watched(4.0)
    assert resolves_every_operation(story.history()) == ("kept", [])


def test_it_is_broken_by_an_operation_that_was_watched_for_long_enough_and_never_ended() -> None:
    verdict, _ = resolves_every_operation(Story().op(0.1).hangs(0.2).watched(3.3).history())
    assert verdict == "broken"


def test_its_evidence_names_the_operation_its_worker_and_the_moment_of_sending() -> None:
    _, (evidence,) = resolves_every_operation(Story().op(0.1).hangs(0.2).watched(9.0).history())
    assert (evidence.op, evidence.pid, evidence.start_time, evidence.at_s) == (1, WORKER, WORKER * 100, 0.2)


def test_its_evidence_says_in_words_what_became_of_the_operation() -> None:
    _, (evidence,) = resolves_every_operation(Story().hangs(0.2).watched(9.0).history())
    assert evidence.text == (
        "operation 0 (predict), sent at 0.200 s, was never resolved, although watched for 3 s and longer; "
        "worker pid 11 began it at 0.201 s and left no end of it"
    )


def test_its_evidence_says_when_no_worker_began_the_operation() -> None:
    _, (evidence,) = resolves_every_operation(Story().hangs(0.2, by=None).watched(9.0).history())
    assert (evidence.pid, evidence.text.endswith("no worker began it")) == (None, True)


def test_its_evidence_tells_some_operations_and_counts_the_others() -> None:
    _, evidence = resolves_every_operation(Story().ops(SHOWN + 2, 0.1, took=None).watched(9.0).history())
    assert [entry.op for entry in evidence] == [*range(SHOWN), None]
    assert evidence[-1].text == f"and 2 more operations alike, {SHOWN + 2} in all"


def test_it_is_unknown_when_the_watch_ended_too_early() -> None:
    verdict, evidence = resolves_every_operation(Story().op(0.1).hangs(0.2).watched(3.1).history())
    assert verdict == "unknown"
    assert [entry.op for entry in evidence] == [None, 1]


def test_it_waits_for_three_times_the_detection_time_that_the_pool_declares() -> None:
    story = Story(claims=Claims(detection_s=2.0)).hangs(0.2).watched(5.0)
    assert resolves_every_operation(story.history())[0] == "unknown"


def test_its_patience_begins_with_the_last_heal() -> None:
    story = Story.of(KILL).hangs(0.2).struck(WORKER, 2.0, until=3.0).watched(5.0)
    assert resolves_every_operation(story.history())[0] == "unknown"


def test_it_is_broken_by_an_answer_that_comes_too_late() -> None:
    story = Story().op(0.1, 3.2, by=None).ran(0, WORKER, 0.2, 0.3).watched(9.0)
    verdict, evidence = resolves_every_operation(story.history())
    assert (verdict, evidence[0].op) == ("broken", 0)
    assert "was resolved later than 3 s after the last heal" in evidence[0].text


def test_it_is_unknown_when_the_work_itself_took_so_long() -> None:
    verdict, (evidence,) = resolves_every_operation(Story().op(0.1, 3.2).watched(9.0).history())
    assert (verdict, evidence.text) == (
        "unknown",
        "1 operations waited, or took, longer than 3 s while the pool was at work: more was offered than it can do; "
        "lower the rate, or take a quieter machine",
    )


def test_an_answer_is_in_time_until_three_seconds_after_the_last_heal() -> None:
    story = Story.of(KILL).op(0.1, 4.8).struck(WORKER, 1.0, until=2.0).watched(9.0)
    assert resolves_every_operation(story.history())[0] == "kept"


def test_it_is_broken_when_the_process_of_the_pool_ended_by_itself_and_took_operations_along() -> None:
    story = Story().hangs(0.2).event("own-doing", 0.5, detail="was killed by SIGSEGV").watched(0.6)
    verdict, (evidence,) = resolves_every_operation(story.history())
    assert (verdict, evidence.op) == ("broken", 0)
    assert "was lost: the pool's own process was killed by SIGSEGV" in evidence.text


def test_the_end_of_the_pools_process_breaks_nothing_when_no_operation_was_open() -> None:
    story = Story().op(0.2).event("own-doing", 0.5, detail="was killed by SIGSEGV").watched(0.6)
    assert resolves_every_operation(story.history())[0] == "kept"


@pytest.mark.parametrize(
    "story",
    [
        pytest.param(Story(), id="none planned"),
        pytest.param(Story().op(0.1, None, sent=False, by=None), id="none sent"),
        pytest.param(Story().op(0.1, phase=Phase.AFTER_CLOSE), id="only after the close"),
    ],
)
def test_it_is_unknown_when_no_operation_was_sent(story: Story) -> None:
    verdict, (evidence,) = resolves_every_operation(story.watched(9.0).history())
    assert (verdict, evidence.text) == ("unknown", "no operation was sent")


def test_an_operation_sent_after_the_close_is_not_its_business() -> None:
    story = Story().op(0.1).hangs(0.2, phase=Phase.AFTER_CLOSE).watched(9.0)
    assert resolves_every_operation(story.history())[0] == "kept"


def test_an_operation_that_was_planned_and_not_sent_is_not_its_business() -> None:
    story = Story().op(0.1).op(0.2, None, sent=False, by=None).watched(9.0)
    assert resolves_every_operation(story.history())[0] == "kept"


def test_a_late_answer_to_what_was_sent_after_the_close_is_not_its_business() -> None:
    story = Story().op(0.1).op(0.2, 8.0, phase=Phase.AFTER_CLOSE).watched(9.0)
    assert resolves_every_operation(story.history())[0] == "kept"


# --- a backlog ----------------------------------------------------------------------------------------------------


def answering(until: float, story: Story | None = None) -> Story:
    """A pool that answers an operation every half second, and then the watch ends."""
    return (story or Story()).ops(round(until / 0.5), 0.0, 0.5).watched(until)


def working_off(until: float = 16.0) -> Story:
    """A pool that is offered all its operations within 4 s and answers one a second, begun shortly before."""
    story = Story()
    for number in range(int(until)):
        story.op(0.25 * number, 0.75 * number + 0.5, by=None).ran(number, WORKER, number + 0.1, number + 0.4)
    return story.watched(until)


def test_it_is_unknown_when_operations_only_waited_while_the_pool_went_on_answering() -> None:
    verdict, (evidence,) = resolves_every_operation(answering(8.0).ops(3, 1.0, took=None, by=None).history())
    assert verdict == "unknown"
    assert evidence.text.startswith("3 operations waited, or took, longer than 3 s while the pool was at work")
    assert "lower the rate" in evidence.text


def test_it_is_unknown_when_what_had_waited_was_answered_late_while_the_pool_went_on_answering() -> None:
    verdict, (evidence,) = resolves_every_operation(working_off().history())
    assert verdict == "unknown"
    # What was answered later than 3 s after the last sending, which was at 3.75 s.
    assert evidence.text.startswith("9 operations waited, or took, longer than 3 s while the pool was at work")


def test_a_loss_within_a_backlog_breaks_it_when_it_was_begun_long_ago() -> None:
    story = answering(8.0).ops(3, 1.0, took=None, by=None).hangs(1.2, by=12)
    verdict, evidence = resolves_every_operation(story.history())
    assert (verdict, [(entry.op, entry.pid) for entry in evidence]) == ("broken", [(19, 12)])


def test_a_loss_within_a_backlog_breaks_it_when_a_worker_that_was_killed_had_begun_it() -> None:
    story = answering(8.0, Story.of(KILL)).ops(3, 1.0, took=None, by=None).hangs(1.2, by=None)
    story.ran(19, 12, 4.9, None).struck(12, 5.0, held=(19,)).lived(12, gone=5.0)
    verdict, evidence = resolves_every_operation(story.history())
    assert (verdict, [(entry.op, entry.pid) for entry in evidence]) == ("broken", [(19, 12)])


def test_a_loss_within_a_backlog_breaks_it_when_a_worker_that_died_by_itself_had_begun_it() -> None:
    story = answering(8.0).ops(3, 1.0, took=None, by=None).hangs(1.2, by=None)
    story.ran(19, 12, 4.9, None).lived(12, gone=5.0)
    verdict, evidence = resolves_every_operation(story.history())
    assert (verdict, [(entry.op, entry.pid) for entry in evidence]) == ("broken", [(19, 12)])


def test_a_loss_within_a_backlog_breaks_it_when_the_pool_fell_silent_for_as_long_as_the_patience() -> None:
    story = answering(2.0).ops(3, 1.0, took=None, by=None).watched(5.0)
    verdict, evidence = resolves_every_operation(story.history())
    assert (verdict, [entry.op for entry in evidence]) == ("broken", [4, 5, 6])


def test_a_late_answer_within_a_backlog_breaks_it_when_its_worker_was_done_with_it_long_before() -> None:
    story = working_off().op(1.0, 14.5, by=None).ran(16, 12, 1.1, 1.2)
    verdict, evidence = resolves_every_operation(story.history())
    assert (verdict, [(entry.op, entry.pid) for entry in evidence]) == ("broken", [(16, 12)])


def test_a_backlog_at_the_end_of_the_pools_own_process_was_lost_with_it() -> None:
    story = answering(8.0).ops(3, 1.0, took=None, by=None)
    verdict, evidence = resolves_every_operation(story.event("own-doing", 8.0, detail="exited with status 0").history())
    assert (verdict, [entry.op for entry in evidence]) == ("broken", [16, 17, 18])
