import pytest

from poolproof.checks.honours_deadlines import honours_deadlines
from poolproof.checks.verdict import SHOWN
from poolproof.history import Outcome, Phase
from tests.unit.histories import KILL, WORKER, Story

GRACE = 0.5
NOTICE = 0.25


def passed() -> Story:
    """Two operations that failed at their deadlines: the first one was running then, the other one was waiting."""
    return Story().fails(0.1, took=0.4, by=12, ended=False, deadline=0.5).fails(0.1, took=0.4, deadline=0.5)


def test_it_is_kept_when_what_takes_too_long_fails_at_its_deadline() -> None:
    assert honours_deadlines(passed().op(1.0, deadline=3.0).watched(9.0).history()) == ("kept", [])


# --- for its client -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [Outcome.OK, Outcome.USER_ERROR, Outcome.POOL_ERROR, Outcome.CANCELLED])
@pytest.mark.parametrize(("after", "verdict"), [(GRACE, "kept"), (GRACE + 1e-9, "broken")])
def test_it_is_broken_by_an_operation_that_ended_half_a_second_after_its_deadline(
    after: float, verdict: str, outcome: Outcome
) -> None:
    story = passed().op(1.0, 0.2 + after, by=None, deadline=1.2, outcome=outcome)
    assert honours_deadlines(story.watched(9.0).history())[0] == verdict


def test_its_evidence_of_a_late_end_names_the_operation_its_worker_and_the_moment_of_sending() -> None:
    _, (evidence,) = honours_deadlines(passed().op(1.0, 0.8, by=None, deadline=1.2).ran(2, 13, 1.1, 1.2).history())
    assert (evidence.op, evidence.pid, evidence.start_time, evidence.at_s) == (2, 13, 1300, 1.0)
    assert ", was still unresolved 0.5 s after its deadline; worker pid 13 began it" in evidence.text


@pytest.mark.parametrize(("until", "verdict"), [(1.7, "kept"), (1.700000001, "broken")])
def test_it_is_broken_by_an_operation_that_was_watched_for_long_enough_and_never_ended(
    until: float, verdict: str
) -> None:
    story = passed().hangs(1.0, by=None, deadline=1.2).watched(until)
    assert honours_deadlines(story.history())[0] == verdict


@pytest.mark.parametrize(("after", "verdict"), [(GRACE, "kept"), (GRACE + 1e-9, "broken")])
def test_what_was_sent_later_than_its_deadline_has_its_grace_from_then_on(after: float, verdict: str) -> None:
    story = (
        passed().fails(1.0, took=after, deadline=0.2).fails(1.0, took=0.1, deadline=0.2).ran(3, 13, 1.0, 1.0 + after)
    )
    assert honours_deadlines(story.watched(9.0).history())[0] == verdict


def test_its_evidence_tells_some_operations_and_counts_the_others() -> None:
    _, evidence = honours_deadlines(Story().ops(SHOWN + 2, 1.0, took=2.0, by=None, deadline=1.2).history())
    assert [entry.op for entry in evidence] == [*range(SHOWN), None]
    assert evidence[-1].text == f"and 2 more operations alike, {SHOWN + 2} in all"


# --- in its worker ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("after", "verdict"), [(GRACE, "kept"), (GRACE + 1e-9, "broken")])
def test_it_is_broken_by_an_operation_that_began_half_a_second_after_its_deadline(after: float, verdict: str) -> None:
    story = passed().fails(1.0, took=0.2, deadline=1.2).ran(2, 13, 1.2 + after, None)
    assert honours_deadlines(story.watched(9.0).history())[0] == verdict


def test_its_evidence_of_a_late_beginning_names_the_operation_and_its_worker() -> None:
    _, (evidence,) = honours_deadlines(passed().fails(1.0, took=0.2, deadline=1.2).ran(2, 13, 2.0, None).history())
    assert (evidence.op, evidence.pid, evidence.start_time, evidence.at_s) == (2, 13, 1300, 1.0)
    assert ", was begun later than 0.5 s after its deadline; worker pid 13 began it at 2.000 s" in evidence.text


@pytest.mark.parametrize(("after", "verdict"), [(GRACE, "kept"), (GRACE + 1e-9, "broken")])
def test_it_is_broken_by_an_operation_that_went_on_half_a_second_after_its_deadline(after: float, verdict: str) -> None:
    story = passed().fails(1.0, took=0.2, deadline=1.2).ran(2, 13, 1.1, 1.2 + after)
    assert honours_deadlines(story.watched(9.0).history())[0] == verdict


def test_its_evidence_of_what_went_on_running_names_the_operation_and_its_worker() -> None:
    _, (evidence,) = honours_deadlines(passed().fails(1.0, took=0.2, deadline=1.2).ran(2, 13, 1.1, 2.5).history())
    assert (evidence.op, evidence.pid, evidence.start_time, evidence.at_s) == (2, 13, 1300, 1.0)
    assert ", went on running later than 0.5 s after its deadline; worker pid 13 began it at 1.100 s" in evidence.text


def test_what_ended_late_for_its_client_is_not_told_again_for_its_worker() -> None:
    _, evidence = honours_deadlines(Story().op(1.0, 2.0, deadline=1.2).history())
    assert [entry.text.partition(", was ")[2][:5] for entry in evidence] == ["still"]


def test_what_began_late_and_went_on_is_told_as_both() -> None:
    _, evidence = honours_deadlines(Story().fails(1.0, took=0.2, deadline=1.2).ran(0, 13, 2.0, 2.5).history())
    assert [("was begun later" in entry.text, "went on running" in entry.text) for entry in evidence] == [
        (True, False),
        (False, True),
    ]


def test_the_last_execution_of_an_operation_is_what_counts() -> None:
    story = passed().fails(1.0, took=0.2, deadline=1.2, idempotent=True).ran(2, 12, 1.05, 1.1).ran(2, 13, 1.15, 2.5)
    _, (evidence,) = honours_deadlines(story.history())
    assert (evidence.op, evidence.pid) == (2, 13)


def test_an_operation_that_nobody_began_neither_began_late_nor_went_on() -> None:
    story = passed().fails(1.0, took=0.2, deadline=1.2).op(8.0, by=WORKER)
    assert honours_deadlines(story.history())[0] == "kept"


def test_an_execution_without_an_end_was_ended() -> None:
    assert honours_deadlines(passed().watched(9.0).history())[0] == "kept"


def left_without_an_end(story: Story | None = None) -> Story:
    """Operation 2 failed at its deadline of 1.2 s; worker 13, which had begun it, left no end of it."""
    two = (story or Story()).fails(0.1, took=0.4, by=12, ended=False, deadline=0.5).fails(0.1, took=0.4, deadline=0.5)
    return two.fails(1.0, took=0.2, by=13, ended=False, deadline=1.2).watched(9.0)


@pytest.mark.parametrize(
    ("after", "verdict"), [(GRACE + NOTICE, "kept"), (GRACE + NOTICE + 1e-9, "broken"), (None, "broken")]
)
def test_an_execution_without_an_end_went_on_for_as_long_as_its_worker_is_known_to_have_lived(
    after: float | None, verdict: str
) -> None:
    story = left_without_an_end().lived(13, gone=None if after is None else 1.2 + after)
    assert honours_deadlines(story.history())[0] == verdict


def test_its_evidence_of_what_never_ended_in_a_living_worker_names_the_operation_and_its_worker() -> None:
    _, (evidence,) = honours_deadlines(left_without_an_end().lived(13).history())
    assert (evidence.op, evidence.pid, evidence.start_time) == (2, 13, 1300)
    assert ", went on running later than 0.5 s after its deadline; worker pid 13 began it" in evidence.text
    assert evidence.text.endswith("left no end of it")


@pytest.mark.parametrize(
    "story",
    [
        pytest.param(left_without_an_end().lived(14), id="another worker that lived on"),
        pytest.param(left_without_an_end(Story.of(KILL)).lived(13).struck(13, 1.1), id="a worker that was struck"),
        pytest.param(left_without_an_end().lived(13).damaged(64), id="an end that may be among damaged records"),
    ],
)
def test_an_execution_without_an_end_is_given_the_benefit_of_the_doubt(story: Story) -> None:
    assert honours_deadlines(story.history())[0] == "kept"


@pytest.mark.parametrize(("until", "verdict"), [(1.7, "kept"), (1.700000001, "broken")])
def test_an_execution_without_an_end_went_on_no_longer_than_it_was_watched(until: float, verdict: str) -> None:
    story = passed().fails(1.0, took=0.2, by=13, ended=False, deadline=1.2).lived(13)
    assert honours_deadlines(story.watched(until).history())[0] == verdict


def test_every_kind_of_lateness_is_told() -> None:
    story = Story().op(1.0, 2.0, by=None, deadline=1.2)
    story.fails(1.0, took=0.2, deadline=1.2).ran(1, 12, 2.0, None)
    story.fails(1.0, took=0.2, deadline=1.2).ran(2, 13, 1.1, 2.0)
    _, evidence = honours_deadlines(story.history())
    assert [entry.op for entry in evidence] == [0, 1, 2]


# --- what does not count ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "story",
    [
        pytest.param(passed().op(1.0, 8.0), id="no deadline"),
        pytest.param(passed().hangs(1.0), id="no deadline and never ended"),
        pytest.param(passed().waits(1.0, 7.0, 2.0), id="no deadline and begun late"),
        pytest.param(passed().op(1.0, None, deadline=1.2, sent=False, by=None), id="never sent"),
    ],
)
def test_an_operation_without_a_deadline_or_that_was_never_sent_is_not_late(story: Story) -> None:
    assert honours_deadlines(story.watched(9.0).history())[0] == "kept"


@pytest.mark.parametrize("op", [-1, 99])
def test_records_of_operations_that_the_client_does_not_know_are_passed_over(op: int) -> None:
    assert honours_deadlines(passed().ran(op, 13, 5.0, 8.0).history())[0] == "kept"


@pytest.mark.parametrize("phase", Phase)
def test_a_deadline_holds_in_every_phase(phase: Phase) -> None:
    assert honours_deadlines(Story().op(1.0, 2.0, deadline=1.2, phase=phase).history())[0] == "broken"


# --- unknown ------------------------------------------------------------------------------------------------------

MORE = "take more workers, or a quieter machine"
WAITING = Story().fails(0.1, took=0.4, deadline=0.5)
RUNNING = Story().fails(0.1, took=0.4, by=12, ended=False, deadline=0.5)


@pytest.mark.parametrize(
    ("story", "how"), [(WAITING, "was running"), (RUNNING, "was waiting"), (Story().op(1.0), "was running")]
)
def test_it_is_unknown_when_no_deadline_of_one_sort_passed(story: Story, how: str) -> None:
    verdict, (evidence,) = honours_deadlines(story.history())
    assert (verdict, evidence.text) == ("unknown", f"no deadline passed while its operation {how}; {MORE}")


def beside_one_that_waited() -> Story:
    return Story().fails(0.1, took=0.4, deadline=0.5)


@pytest.mark.parametrize(
    "story",
    [
        pytest.param(beside_one_that_waited(), id="nothing"),
        pytest.param(beside_one_that_waited().op(1.0, 8.0), id="no deadline"),
        pytest.param(beside_one_that_waited().op(1.0, deadline=2.0), id="ended before it"),
        pytest.param(beside_one_that_waited().hangs(1.0, deadline=2.0).watched(1.5), id="not watched until then"),
        pytest.param(beside_one_that_waited().hangs(1.0, deadline=2.0).watched(2.1), id="not watched for long enough"),
        pytest.param(beside_one_that_waited().op(1.0, None, deadline=1.2, sent=False, by=None), id="never sent"),
        pytest.param(beside_one_that_waited().fails(1.0, by=12, deadline=2.0), id="failed before it"),
    ],
)
def test_it_is_unknown_when_no_deadline_passed_of_what_was_running(story: Story) -> None:
    assert honours_deadlines(story.history())[0] == "unknown"


@pytest.mark.parametrize("deadline", [None, 2.0])
def test_it_is_unknown_when_no_deadline_passed_of_what_was_waiting(deadline: float | None) -> None:
    story = Story().fails(0.1, took=0.4, by=12, ended=False, deadline=0.5).fails(1.0, deadline=deadline)
    assert honours_deadlines(story.history())[0] == "unknown"


@pytest.mark.parametrize(("took", "verdict"), [(0.199999999, "unknown"), (0.2, "kept")])
def test_a_deadline_passed_when_its_operation_ended_at_that_moment_or_later(took: float, verdict: str) -> None:
    assert honours_deadlines(beside_one_that_waited().op(1.0, took, deadline=1.2).history())[0] == verdict


def test_without_any_execution_it_is_judged_by_what_the_client_saw() -> None:
    assert honours_deadlines(Story().fails(1.0, took=0.2, deadline=1.2).history())[0] == "unknown"
    assert honours_deadlines(Story().fails(1.0, took=0.8, deadline=1.2).history())[0] == "broken"
