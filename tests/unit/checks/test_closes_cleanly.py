import pytest

from poolproof.checks.closes_cleanly import closes_cleanly
from poolproof.history import Outcome, Phase
from poolproof.plan import Stage
from tests.unit.histories import Story


def test_it_is_kept_when_every_close_returned() -> None:
    assert closes_cleanly(Story().op(0.1).closes(10).watched(13).history()) == ("kept", [])


def test_it_is_broken_by_a_close_that_hangs() -> None:
    story = Story().op(0.1).closes(10, took=None).event("hung", 14.0, "close").watched(14.1)
    verdict, (evidence,) = closes_cleanly(story.history())
    assert (verdict, evidence.at_s) == ("broken", 14.0)
    assert "closing did not return within 4 s" in evidence.text


def test_the_evidence_of_a_hanging_close_names_what_was_unresolved_meanwhile() -> None:
    story = Story().op(0.1).hangs(0.2, by=12).closes(10, took=None).event("hung", 14.0, "close").watched(14.1)
    _, evidence = closes_cleanly(story.history())
    assert [(entry.op, entry.pid, entry.at_s) for entry in evidence[1:]] == [(1, 12, 0.2)]


def test_the_evidence_of_a_hanging_close_tells_the_bound_of_the_last_close() -> None:
    story = Story().event("stage", -5.0, "close", 99.0).closes(10, took=None).event("hung", 14.0, "close")
    _, (evidence,) = closes_cleanly(story.history())
    assert "within 4 s" in evidence.text


def test_it_is_broken_by_a_submit_after_the_close_that_hangs() -> None:
    story = Story().op(0.1).closes(10).event("stage", 10.6, "after-close", 7.0).event("hung", 17.6, "after-close")
    verdict, (evidence,) = closes_cleanly(story.history())
    assert (verdict, evidence.at_s) == ("broken", 17.6)
    assert "submit, called after the close, did not return within 7 s" in evidence.text


def test_a_hang_of_another_stage_is_not_its_business() -> None:
    story = Story().op(0.1).event("hung", 9.0, "load").closes(10)
    assert closes_cleanly(story.history())[0] == "kept"


def test_it_is_broken_by_a_close_that_raises() -> None:
    story = Story().op(0.1).closes(10).event("close-raised", 10.2, "close", detail="ValueError: no")
    verdict, (evidence,) = closes_cleanly(story.history())
    assert (verdict, evidence.text, evidence.at_s) == ("broken", "closing raised ValueError: no", 10.2)


def test_it_is_broken_by_an_operation_that_is_accepted_after_the_close_and_never_resolved() -> None:
    story = Story().closes(10).hangs(11.0, phase=Phase.AFTER_CLOSE, by=None).event("stage-ended", 15.0, "settle")
    verdict, (evidence,) = closes_cleanly(story.history())
    assert (verdict, evidence.op, evidence.at_s) == ("broken", 0, 11.0)
    assert "was accepted after the close and never resolved" in evidence.text


def test_an_operation_after_the_close_that_was_not_watched_to_the_end_breaks_nothing() -> None:
    story = Story().closes(10).hangs(11.0, phase=Phase.AFTER_CLOSE, by=None)
    assert closes_cleanly(story.history())[0] == "kept"


@pytest.mark.parametrize("outcome", [Outcome.REJECTED, Outcome.OK, Outcome.POOL_ERROR])
def test_an_operation_after_the_close_may_end_in_any_way(outcome: Outcome) -> None:
    story = Story().closes(10).op(11.0, phase=Phase.AFTER_CLOSE, outcome=outcome).event("stage-ended", 15.0, "settle")
    assert closes_cleanly(story.history())[0] == "kept"


def test_an_operation_that_hangs_since_before_the_close_is_not_its_business() -> None:
    story = Story().hangs(0.1).closes(10).event("stage-ended", 15.0, "settle")
    assert closes_cleanly(story.history())[0] == "kept"


def test_it_is_unknown_when_no_close_was_seen() -> None:
    verdict, (evidence,) = closes_cleanly(Story().op(0.1).watched(9).history())
    assert (verdict, evidence.text) == ("unknown", "0 of 1 closings were seen through")


def test_it_is_unknown_when_one_of_several_closes_was_not_seen_to_return() -> None:
    story = Story().closes(-5).closes(-3, took=None).closes(10)
    verdict, (evidence,) = closes_cleanly(story.history())
    assert (verdict, evidence.text) == ("unknown", "2 of 3 closings were seen through")


LOADED_CLOSES: tuple[Stage, ...] = ("close-loaded", "close-cancelling")


def test_it_is_kept_when_closes_with_work_in_flight_return() -> None:
    story = Story.of(stages=LOADED_CLOSES).closes(5, in_flight=2).closes(10, in_flight=30)
    assert closes_cleanly(story.history())[0] == "kept"


@pytest.mark.parametrize("in_flight", [(1, 30), (30, 1), (0, 0)])
def test_it_is_unknown_when_too_little_was_in_flight_at_a_close(in_flight: tuple[int, int]) -> None:
    story = Story.of(stages=LOADED_CLOSES).closes(5, in_flight=in_flight[0]).closes(10, in_flight=in_flight[1])
    assert closes_cleanly(story.history())[0] == "unknown"


def test_it_is_unknown_when_only_one_of_two_loaded_closes_came_about() -> None:
    assert closes_cleanly(Story.of(stages=LOADED_CLOSES).closes(5, in_flight=9).history())[0] == "unknown"


def test_an_ordinary_close_needs_no_work_in_flight() -> None:
    assert closes_cleanly(Story().closes(5, in_flight=0).history())[0] == "kept"


def working_off() -> Story:
    """A pool that was still answering every half second when its close exceeded its bound."""
    return Story().ops(28, 0.1, 0.5).closes(10, took=None).event("hung", 14.1, "close").watched(14.1)


def test_it_is_unknown_when_the_pool_was_still_working_off_its_backlog() -> None:
    verdict, (evidence,) = closes_cleanly(working_off().ops(3, 9.0, took=None, by=None).history())
    assert (verdict, evidence.text) == (
        "unknown",
        "the pool was still working off what it had accepted when the bound of the close was reached",
    )


def test_a_hanging_close_breaks_it_when_one_operation_of_the_backlog_was_lost() -> None:
    story = working_off().ops(3, 9.0, took=None, by=None).hangs(9.0, by=12)
    verdict, evidence = closes_cleanly(story.history())
    assert (verdict, evidence[0].text) == ("broken", "closing did not return within 4 s")


def test_a_hanging_close_breaks_it_when_nothing_was_left_to_do() -> None:
    assert closes_cleanly(working_off().history())[0] == "broken"


def test_a_hanging_close_breaks_it_when_the_pool_had_fallen_silent() -> None:
    story = Story().ops(20, 0.1, 0.5).hangs(9.0, by=None).closes(10, took=None).event("hung", 14.0, "close")
    assert closes_cleanly(story.history())[0] == "broken"


def test_a_backlog_does_not_excuse_a_submit_after_the_close_that_hangs() -> None:
    story = Story().ops(28, 0.1, 0.5).hangs(9.0, by=None).closes(10).event("hung", 14.1, "after-close").watched(14.1)
    assert closes_cleanly(story.history())[0] == "broken"


def test_the_evidence_of_a_hanging_close_tells_where_it_hung() -> None:
    story = Story().op(0.1).closes(10, took=None).event("hung", 14.0, "close")
    story.event("hung-in", 14.0, "close", detail='File "pool.py", line 7 in close').watched(14.1)
    _, (evidence,) = closes_cleanly(story.history())
    assert evidence.text == 'closing did not return within 4 s; it was in File "pool.py", line 7 in close'
    assert evidence.at_s == 14.0


def test_where_another_stage_hung_is_not_told() -> None:
    story = Story().op(0.1).closes(10, took=None).event("hung", 14.0, "close").event("hung-in", 14.0, "drain")
    _, (evidence,) = closes_cleanly(story.history())
    assert "it was in" not in evidence.text
