import pytest

from poolproof.checks.sheds_overload import sheds_overload
from poolproof.checks.verdict import SHOWN
from poolproof.history import History, Outcome, Phase
from poolproof.plan import Claims, Load, Step
from tests.unit.histories import Story

AT_ONCE = 0.5
ENOUGH = 10
STEPS = (Step(rate=10, seconds=1), Step(rate=100, seconds=2), Step(rate=10, seconds=1))
"""The overload lasts from 1 s to 3 s."""

SLACK = 8
"""What four workers may have waiting beyond the growth."""


def loaded(*steps: Step) -> Story:
    return Story.of(load=Load(steps=steps or STEPS), claims=Claims(overload=("m.QueueFull",)))


def refuses(story: Story, count: int = 1, start: float = 1.05, *, took: float = 0.001, **more: object) -> Story:
    """So many operations that were refused `took` after they were sent."""
    for number in range(count):
        story.fails(
            start + number / 1000,
            **{"error": "m.QueueFull", "outcome": Outcome.REJECTED, "took": took, **more},  # type: ignore[arg-type]
        )
    return story


def shedding(completed: int = 20, refused: int = 40) -> Story:
    """A pool that completes some of the operations of an overload, and refuses others at once."""
    return refuses(loaded().ops(completed, 1.1), refused)


def told(story: Story) -> str:
    """The first thing that the check has to say."""
    return sheds_overload(story.history())[1][0].text


def test_it_is_kept_when_what_is_too_much_is_refused_at_once() -> None:
    assert sheds_overload(shedding().history()) == ("kept", [])


@pytest.mark.parametrize("outcome", [Outcome.REJECTED, Outcome.POOL_ERROR])
def test_submit_may_refuse_or_the_operation_may_fail(outcome: Outcome) -> None:
    assert sheds_overload(refuses(loaded().ops(20, 1.1), 40, outcome=outcome).history())[0] == "kept"


# --- was it an overload -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("completed", "refused", "verdict"), [(20, 9, "unknown"), (20, 10, "kept"), (10, 4, "unknown"), (10, 5, "kept")]
)
def test_half_as_much_again_must_have_been_offered_as_was_completed(completed: int, refused: int, verdict: str) -> None:
    assert sheds_overload(shedding(completed, refused).history())[0] == verdict


def test_it_says_what_was_offered_and_what_completed_where_that_was_no_overload() -> None:
    assert told(shedding(20, 9)) == (
        "29 operations were offered at the height of the load and 20 completed: no overload"
    )


def test_it_is_unknown_when_nothing_was_completed() -> None:
    verdict, (evidence,) = sheds_overload(shedding(0, 40).history())
    assert (verdict, evidence.text) == ("unknown", "none of 40 operations was completed while the overload lasted")


def test_it_is_unknown_when_nothing_was_offered() -> None:
    assert sheds_overload(loaded().history())[0] == "unknown"


def test_an_error_of_the_users_own_is_a_completion() -> None:
    story = refuses(loaded().ops(20, 1.1, outcome=Outcome.USER_ERROR), 9)
    assert "29 operations were offered at the height of the load and 20 completed" in told(story)


@pytest.mark.parametrize("outcome", [Outcome.WRONG, Outcome.CANCELLED])
def test_nothing_else_is_a_completion(outcome: Outcome) -> None:
    story = refuses(loaded().ops(10, 1.1).ops(10, 1.1, outcome=outcome), 9)
    assert sheds_overload(story.history())[0] == "kept"


@pytest.mark.parametrize("phase", [Phase.WARM_UP, Phase.PROBE, Phase.AFTER_CLOSE])
def test_only_the_operations_of_the_measured_window_were_offered(phase: Phase) -> None:
    assert "29 operations were offered" in told(refuses(shedding(20, 9), 30, phase=phase))


@pytest.mark.parametrize(("due", "verdict"), [(0.999999999, "unknown"), (1.0, "kept"), (2.9, "kept"), (3.0, "unknown")])
def test_what_was_due_within_the_overload_was_offered_whenever_it_was_sent(due: float, verdict: str) -> None:
    assert sheds_overload(shedding(20, 9).fails(2.95, took=0.001, due=due).history())[0] == verdict


@pytest.mark.parametrize(
    ("done", "verdict"), [(0.999999999, "kept"), (1.0, "unknown"), (2.999999999, "unknown"), (3.0, "kept")]
)
def test_what_was_done_within_the_overload_was_completed(done: float, verdict: str) -> None:
    assert sheds_overload(shedding(20, 10).op(done - 0.1, due=0.5).history())[0] == verdict


@pytest.mark.parametrize(
    ("steps", "begin", "end"),
    [
        pytest.param((Step(rate=9, seconds=2), Step(rate=3, seconds=1)), 0.0, 2.0, id="first"),
        pytest.param((Step(rate=3, seconds=0.5), Step(rate=0, seconds=1), Step(rate=9, seconds=1)), 1.5, 2.5, id="3rd"),
        pytest.param((Step(rate=9, seconds=0.5), Step(rate=9, seconds=3)), 0.0, 0.5, id="the first of two alike"),
        pytest.param((Step(rate=1, seconds=2),), 0.0, 2.0, id="the only one"),
    ],
)
def test_the_overload_is_the_step_with_the_highest_rate(steps: tuple[Step, ...], begin: float, end: float) -> None:
    inside, outside = loaded(*steps), loaded(*steps)
    for story, dues in ((inside, (begin, end - 1e-9)), (outside, (begin - 1e-9, end))):
        for due in dues:
            refuses(story, 20, due=due)
    assert "none of 40 operations was completed" in told(inside)
    assert "none of 0 operations was completed" in told(outside)


# --- submit blocks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("held_up", "verdict"), [(1.0, "kept"), (1.000000001, "broken")])
def test_it_is_broken_where_more_than_half_of_the_overload_is_spent_in_submit(held_up: float, verdict: str) -> None:
    assert sheds_overload(shedding().op(1.5, 2.0, accepted=1.5 + held_up).history())[0] == verdict


def test_the_times_in_submit_add_up_however_short_each_of_them_is() -> None:
    story = shedding()
    for number in range(101):
        story.op(1.5 + number / 1000, 4.0, accepted=1.51 + number / 1000)
    assert told(story).startswith("submit blocked instead of refusing: it took 1.01 s for 161 calls")


def test_its_evidence_of_a_submit_that_blocked_names_the_operation_that_it_held_longest() -> None:
    story = shedding().op(1.5, 1.0, accepted=2.1).op(1.6, 1.2, accepted=2.35).op(2.4, 0.6, accepted=2.5)
    verdict, (evidence,) = sheds_overload(story.history())
    assert (verdict, evidence.op, evidence.at_s) == ("broken", 61, 1.6)
    assert evidence.text == (
        "submit blocked instead of refusing: it took 1.45 s for 63 calls that were due within 2.00 s, 0.750 s for a "
        "single one"
    )


def test_refusals_that_took_submit_long_are_a_submit_that_blocks() -> None:
    story = refuses(shedding(), 3, 1.2, took=0.4, accepted=1.6)
    assert "submit blocked instead of refusing: it took 1.20 s" in told(story)


@pytest.mark.parametrize("due", [0.9, 3.0])
def test_a_submit_that_blocked_outside_of_the_overload_is_not_its_business(due: float) -> None:
    assert sheds_overload(shedding().op(due, 3.0, accepted=due + 2.0).history())[0] == "kept"


@pytest.mark.parametrize(("usual", "verdict"), [(0.0, "broken"), (0.1, "broken"), (0.100000001, "kept"), (9.0, "kept")])
def test_what_submit_usually_takes_is_no_time_that_it_blocks(usual: float, verdict: str) -> None:
    story = shedding().op(1.5, 2.0, accepted=1.5 + 1.100000001)
    story.op(0.2, 9.5, accepted=0.2 + usual).op(0.3, 9.5, accepted=0.3 + usual).op(3.2, 9.5, accepted=3.2)
    assert sheds_overload(story.history())[0] == verdict


def test_what_submit_usually_takes_is_told_by_the_measured_window_outside_of_the_overload() -> None:
    story = shedding().op(1.5, 2.0, accepted=2.8).op(0.3, accepted=0.5)
    story.ops(3, -1.0, phase=Phase.WARM_UP).op(8.0, 2.0, accepted=9.5, phase=Phase.PROBE)
    history = story.op(0.5, 0.1).history()
    history.operations.accepted[-1] = 0  # one that submit never returned from tells nothing of it
    _, (evidence,) = sheds_overload(history)
    assert "it took 1.10 s for 61 calls" in evidence.text


def test_a_submit_that_was_faster_than_usual_makes_up_for_no_other() -> None:
    story = loaded().op(0.5, 0.1, accepted=0.6).ops(20, 1.1)
    refuses(story, 40).op(1.5, 2.0, accepted=2.6 + 1e-9)
    assert sheds_overload(story.history())[0] == "broken"


def test_a_submit_that_never_returned_does_not_hide_those_that_blocked() -> None:
    history = shedding().op(1.2, 2.0, accepted=2.6).op(1.5, 1.0).history()
    history.operations.accepted[-1] = 0
    verdict, (evidence,) = sheds_overload(history)
    assert (verdict, evidence.op, "1.40 s" in evidence.text) == ("broken", 60, True)


def never_returned(until: float, *, sent: bool = True) -> History:
    """As `shedding`, and a submit at 1.5 s never returned; the run was watched to a moment."""
    history = shedding().op(1.5, None, by=None, sent=sent).watched(until).history()
    history.operations.accepted[-1] = 0
    return history


@pytest.mark.parametrize(("until", "verdict"), [(2.5, "kept"), (2.500000001, "broken")])
def test_a_submit_that_never_returned_blocked_for_as_long_as_it_was_watched(until: float, verdict: str) -> None:
    assert sheds_overload(never_returned(until))[0] == verdict


def test_its_evidence_of_a_submit_that_never_returned_names_the_operation_and_says_so() -> None:
    _, (evidence,) = sheds_overload(never_returned(9.0))
    assert (evidence.op, evidence.at_s) == (60, 1.5)
    assert evidence.text.endswith("7.500 s for a single one, which never returned")


def test_what_was_never_handed_over_was_not_held_up() -> None:
    assert sheds_overload(never_returned(9.0, sent=False))[0] == "kept"


def test_a_submit_that_blocked_is_told_before_all_else() -> None:
    story = refuses(shedding(), by=12).op(1.5, 2.0, accepted=2.6)
    _, evidence = sheds_overload(story.history())
    assert [entry.op for entry in evidence] == [61]


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [Outcome.REJECTED, Outcome.POOL_ERROR])
def test_it_is_broken_by_an_operation_that_was_refused_although_a_worker_ran_it(outcome: Outcome) -> None:
    verdict, (evidence,) = sheds_overload(refuses(shedding(), start=1.2, outcome=outcome, by=12).history())
    assert (verdict, evidence.op, evidence.pid, evidence.start_time, evidence.at_s) == ("broken", 60, 12, 1200, 1.2)
    assert ", was refused (m.QueueFull: it failed) although a worker ran it; worker pid 12" in evidence.text


def test_the_first_of_all_executions_counts_like_any_other() -> None:
    story = refuses(loaded().fails(1.01, "m.QueueFull", by=12, took=0.01).ops(20, 1.1), 40)
    verdict, (evidence,) = sheds_overload(story.history())
    assert (verdict, evidence.op) == ("broken", 0)


@pytest.mark.parametrize(("took", "verdict"), [(AT_ONCE, "kept"), (AT_ONCE + 1e-9, "broken")])
def test_it_is_broken_by_a_refusal_that_comes_later_than_half_a_second(took: float, verdict: str) -> None:
    story = refuses(shedding(), took=took, outcome=Outcome.POOL_ERROR)
    assert sheds_overload(story.history())[0] == verdict


def test_its_evidence_of_a_late_refusal_names_the_operation_and_its_error() -> None:
    _, (evidence,) = sheds_overload(refuses(shedding(), start=1.2, took=0.7, outcome=Outcome.POOL_ERROR).history())
    assert (evidence.op, evidence.at_s) == (60, 1.2)
    assert ", was refused (m.QueueFull: it failed) later than 0.5 s after it was sent; no worker" in evidence.text


def test_a_refusal_that_came_late_and_ran_is_told_as_both() -> None:
    _, evidence = sheds_overload(refuses(shedding(), took=0.7, outcome=Outcome.POOL_ERROR, by=12).history())
    assert [entry.op for entry in evidence] == [60, 60]


def test_its_evidence_tells_some_refusals_and_counts_the_others() -> None:
    _, evidence = sheds_overload(refuses(shedding(), SHOWN + 2, by=12).history())
    assert [entry.op for entry in evidence] == [*range(60, 60 + SHOWN), None]


@pytest.mark.parametrize("outcome", [Outcome.OK, Outcome.USER_ERROR, Outcome.WRONG, Outcome.CANCELLED])
def test_no_other_end_is_a_refusal(outcome: Outcome) -> None:
    assert sheds_overload(shedding().op(1.5, 0.9, outcome=outcome).history())[0] == "kept"


def test_no_other_error_is_a_refusal() -> None:
    story = refuses(shedding(), error="m.Other", took=0.9, outcome=Outcome.POOL_ERROR, by=12)
    assert sheds_overload(story.history())[0] == "kept"


@pytest.mark.parametrize("due", [0.9, 3.0])
def test_refusals_outside_of_the_overload_are_not_its_business(due: float) -> None:
    story = refuses(shedding(), start=due, took=0.9, outcome=Outcome.POOL_ERROR, by=12)
    assert sheds_overload(story.history())[0] == "kept"


# --- the backlog --------------------------------------------------------------------------------------------------


def backlog(then: int, last: int, *, refused: int = 1) -> Story:
    """So many operations wait when refusals begin, at 1.9 s, and so many at the end of the overload."""
    story = refuses(loaded().ops(10, 1.1).ops(ENOUGH, 2.0, took=0.05), refused, 1.9)
    both = min(then, last)
    story.ops(both, 1.5, 0.0, took=2.0, by=None).ops(then - both, 1.5, 0.0, took=1.0, by=None)
    return story.ops(last - both, 2.5, 0.0, took=1.0, by=None)


def test_it_is_broken_by_a_backlog_that_grows_although_the_pool_refuses() -> None:
    verdict, (evidence,) = sheds_overload(backlog(16, 60, refused=3).history())
    assert (verdict, evidence.op, evidence.at_s) == ("broken", None, 3.0)
    assert evidence.text == (
        "of 83 operations offered within 2.00 s it completed 20 and refused 3, yet 16 were waiting when it began to "
        "and 60 at the end"
    )


@pytest.mark.parametrize(("then", "last"), [(0, SLACK), (16, 20 + SLACK), (40, 50 + SLACK), (60, 40)])
def test_a_backlog_that_grew_by_a_quarter_and_two_a_worker_is_bounded(then: int, last: int) -> None:
    assert sheds_overload(backlog(then, last, refused=20).history()) == ("kept", [])


@pytest.mark.parametrize(("then", "last"), [(0, SLACK + 1), (16, 20 + SLACK + 1), (40, 50 + SLACK + 1)])
def test_a_backlog_that_grew_by_more_is_not(then: int, last: int) -> None:
    assert sheds_overload(backlog(then, last, refused=20).history())[0] == "broken"


def test_a_refusal_does_not_hide_the_backlog() -> None:
    _, evidence = sheds_overload(refuses(backlog(16, 60), start=2.0, by=12).history())
    assert [entry.at_s for entry in evidence] == [2.0, 3.0]


def counted(story: Story) -> str:
    """What the check says of the backlog of this story."""
    _, evidence = sheds_overload(story.history())
    return evidence[-1].text.partition("yet ")[2]


@pytest.mark.parametrize(
    ("sent", "took", "waiting"),
    [
        pytest.param(1.9, 0.5, "17 were waiting when it began to and 60 at the end", id="accepted then"),
        pytest.param(1.900000001, 0.5, "16 were waiting when it began to and 60 at the end", id="accepted after that"),
        pytest.param(1.5, 0.4, "16 were waiting when it began to and 60 at the end", id="done then"),
        pytest.param(1.5, 0.400000001, "17 were waiting when it began to and 60 at the end", id="done after that"),
        pytest.param(2.9, 0.1, "16 were waiting when it began to and 60 at the end", id="done at the end"),
        pytest.param(2.9, 0.100000001, "16 were waiting when it began to and 61 at the end", id="done after the end"),
        pytest.param(2.9, None, "16 were waiting when it began to and 61 at the end", id="never done"),
    ],
)
def test_what_was_accepted_and_is_not_done_waits(sent: float, took: float | None, waiting: str) -> None:
    assert counted(backlog(16, 60).op(sent, took, by=None)) == waiting


@pytest.mark.parametrize(("accepted", "at_the_end"), [(3.0, 61), (3.000000001, 60)])
def test_what_was_accepted_by_the_end_waits_then(accepted: float, at_the_end: int) -> None:
    assert counted(backlog(16, 60).op(2.9, 0.4, accepted=accepted)).endswith(f" {at_the_end} at the end")


def test_what_was_refused_does_not_wait() -> None:
    story = refuses(backlog(16, 60), start=1.91, took=0.4, outcome=Outcome.REJECTED)
    assert counted(story) == "16 were waiting when it began to and 60 at the end"


def test_what_submit_never_returned_from_does_not_wait() -> None:
    history = backlog(16, 60).op(1.9, 2.0).history()
    history.operations.accepted[-1] = 0
    assert "yet 16 were waiting when it began to and 60 at the end" in sheds_overload(history)[1][-1].text


def test_what_came_before_the_overload_and_still_waits_is_counted_from_the_beginning() -> None:
    assert counted(backlog(16, 60).op(0.9, 3.0)) == "17 were waiting when it began to and 61 at the end"


def test_what_came_before_the_overload_and_is_done_is_not_counted() -> None:
    assert counted(backlog(16, 60).op(0.9, 0.05)) == "16 were waiting when it began to and 60 at the end"


def test_refusals_begin_with_the_first_of_them_that_was_sent() -> None:
    story = refuses(refuses(backlog(16, 60), start=2.95), start=1.4)
    assert counted(story) == "0 were waiting when it began to and 60 at the end"


# --- a pool that died ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("completed", "verdict"), [(ENOUGH - 1, "unknown"), (ENOUGH, "kept")])
def test_a_pool_that_refuses_must_go_on_completing_others(completed: int, verdict: str) -> None:
    assert sheds_overload(refuses(loaded().ops(completed, 1.5), 40, 1.2).history())[0] == verdict


def test_it_says_how_many_were_completed_after_the_first_refusal() -> None:
    story = refuses(loaded().ops(5, 1.05).ops(ENOUGH - 1, 1.5), 40, 1.25)
    verdict, (evidence,) = sheds_overload(story.history())
    assert (verdict, evidence.text) == (
        "unknown",
        f"{ENOUGH - 1} operations were completed after the first refusal, {ENOUGH} are needed",
    )


@pytest.mark.parametrize(("done", "verdict"), [(1.3, "unknown"), (1.300000001, "kept")])
def test_what_was_done_at_the_moment_of_the_first_refusal_was_not_done_after_it(done: float, verdict: str) -> None:
    story = refuses(loaded().op(1.1, done - 1.1).ops(ENOUGH - 1, 1.5), 40, 1.3)
    assert sheds_overload(story.history())[0] == verdict


def test_what_is_done_after_the_overload_counts_for_that() -> None:
    story = refuses(loaded().op(1.5).ops(ENOUGH - 1, 3.5), 40)
    assert sheds_overload(story.history())[0] == "kept"


def test_a_violation_breaks_it_although_little_was_completed_after_the_first_refusal() -> None:
    assert sheds_overload(refuses(shedding(1, 40), by=12).history())[0] == "broken"


# --- nothing refused ----------------------------------------------------------------------------------------------


def test_it_is_broken_by_a_pool_that_refuses_nothing() -> None:
    verdict, (evidence,) = sheds_overload(backlog(16, 60, refused=0).history())
    assert (verdict, evidence.op, evidence.at_s) == ("broken", None, 3.0)
    # It completed 20 in 2 s, and 60 of those are worth 6 s.
    assert evidence.text == (
        "of 80 operations offered within 2.00 s it completed 20 and refused none: 60 were waiting at the end, as much "
        "as it does in 6.0 s"
    )


@pytest.mark.parametrize("outcome", [Outcome.REJECTED, Outcome.POOL_ERROR])
def test_it_is_unknown_when_all_refusals_were_of_types_that_the_claims_do_not_name(outcome: Outcome) -> None:
    story = refuses(backlog(16, 60, refused=0), 4, 1.5, error="m.Full", outcome=outcome)
    verdict, (evidence,) = sheds_overload(story.history())
    assert (verdict, evidence.text) == (
        "unknown",
        "of 84 operations offered within 2.00 s it completed 20 and refused 4 with errors that its claims do not "
        "name: Claims(overload=…)",
    )


@pytest.mark.parametrize("due", [0.9, 3.0])
def test_errors_outside_of_the_overload_are_no_refusals_of_another_type(due: float) -> None:
    story = refuses(backlog(16, 60, refused=0), 4, 1.5, error="m.Full", due=due)
    assert sheds_overload(story.history())[0] == "broken"


def test_a_cancelled_operation_was_not_refused() -> None:
    story = backlog(16, 60, refused=0).op(1.5, outcome=Outcome.CANCELLED)
    assert sheds_overload(story.history())[0] == "broken"
