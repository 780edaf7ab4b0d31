import pytest

from poolproof.checks.degrades_gracefully import ALPHA, LEAST_NS, SATURATED, SETTLED, WINDOW_NS, degrades_gracefully
from poolproof.history import Outcome
from poolproof.plan import Load, Step
from tests.unit.histories import KILL, KILL_PARENT, STALL, WORKER, Story

LOAD = Load(steps=(Step(rate=1.2, seconds=3), Step(rate=1.2, seconds=1)), service_s=0.1)
"""Four workers can do 40 operations a second of it."""

LOST = 2.0
"""When the workers are lost; the baseline is taken from 0.5 s on, the rest is measured until 3 s."""


def losing(*pids: int, load: Load = LOAD) -> Story:
    """A pool of four workers that loses some of them at 2 s."""
    story = Story.of(KILL, load=load).event("capacity", -1.0, "probe-before", 4)
    for pid in pids or (11, 12):
        story.struck(pid, LOST)
    return story


def completes(story: Story, count: int, begin: float, end: float, outcome: Outcome = Outcome.OK) -> Story:
    """So many operations that are done evenly within a span of time."""
    for number in range(count):
        story.op(begin + (number + 0.5) * (end - begin) / count, 0.0, by=None, outcome=outcome)
    return story


def degraded(before: int, after: int, story: Story | None = None) -> Story:
    """So many completions in the 1.5 s before the loss that are counted, and in the second after it."""
    return completes(completes(story or losing(), before, 0.5, LOST), after, LOST, 3.0)


FULL = 60
"""As many completions in 1.5 s as four workers can do: 40 a second. Two of them can do 20, of which 0.7 are 14."""


def test_the_constants_are_those_that_these_stories_are_told_for() -> None:
    assert (ALPHA, SETTLED, WINDOW_NS, LEAST_NS, SATURATED) == (0.7, 0.25, 1_000_000_000, 500_000_000, 0.75)


def test_it_is_kept_when_the_others_go_on_as_before() -> None:
    assert degrades_gracefully(degraded(FULL, 20).history()) == ("kept", [])


@pytest.mark.parametrize(("after", "verdict"), [(14, "kept"), (13, "broken"), (0, "broken")])
def test_it_is_broken_when_the_others_do_less_than_seven_tenths_of_what_they_can(after: int, verdict: str) -> None:
    assert degrades_gracefully(degraded(FULL, after).history())[0] == verdict


def test_its_evidence_names_the_first_lost_worker_the_moment_and_the_figures() -> None:
    verdict, (evidence,) = degrades_gracefully(degraded(FULL, 13).history())
    assert (verdict, evidence.pid, evidence.start_time, evidence.at_s) == ("broken", 11, 1100, 2.0)
    assert evidence.text == (
        "13 operations a second were completed in the 1.0 s after 2 of 4 workers were lost, 40 before; 0.7 of what the "
        "others can do is 14"
    )


@pytest.mark.parametrize(("pids", "least"), [((11,), 21), ((11, 12), 14), ((11, 12, 13), 7)])
def test_less_is_asked_for_the_more_workers_are_lost(pids: tuple[int, ...], least: int) -> None:
    assert degrades_gracefully(degraded(FULL, least, losing(*pids)).history())[0] == "kept"
    assert degrades_gracefully(degraded(FULL, least - 1, losing(*pids)).history())[0] == "broken"


@pytest.mark.parametrize("pids", [(11, 12, 13, 14), (11, 12, 13, 14, 15)])
def test_it_is_unknown_when_all_that_were_seen_at_work_were_lost(pids: tuple[int, ...]) -> None:
    verdict, (evidence,) = degrades_gracefully(degraded(FULL, 0, losing(*pids)).history())
    assert (verdict, evidence.text) == (
        "unknown",
        f"{len(pids)} workers were killed and 4 were seen at work before: it has more than asked for",
    )


def test_what_is_asked_for_is_a_share_of_what_was_done_before() -> None:
    # 32 a second before: 0.35 of that are 11.2.
    assert degrades_gracefully(degraded(48, 12).history())[0] == "kept"
    assert degrades_gracefully(degraded(48, 11).history())[0] == "broken"


def test_the_number_of_workers_is_how_many_operations_were_seen_at_once() -> None:
    story = Story.of(KILL, load=LOAD).event("capacity", -1.0, "probe-before", 2).struck(11, LOST)
    assert degrades_gracefully(degraded(FULL, 14, story).history())[0] == "kept"
    story = Story.of(KILL, load=LOAD).event("capacity", -1.0, "probe-before", 2).struck(11, LOST)
    _, (evidence,) = degrades_gracefully(degraded(FULL, 13, story).history())
    assert "1 of 2 workers were lost" in evidence.text


# --- which deaths count -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("later", "verdict"), [(0.999999999, "kept"), (1.0, "broken")])
def test_workers_that_are_lost_within_a_second_of_the_first_are_lost_with_it(later: float, verdict: str) -> None:
    story = losing(11).struck(12, LOST + later)
    assert degrades_gracefully(degraded(FULL, 14, story).history())[0] == verdict


def test_the_loss_is_that_of_the_first_worker_whatever_the_order_of_telling() -> None:
    story = Story.of(KILL, load=LOAD).event("capacity", -1.0, "probe-before", 4).struck(12, LOST + 0.5).struck(11, LOST)
    _, (evidence,) = degrades_gracefully(degraded(FULL, 13, story).history())
    assert (evidence.at_s, "after 2 of 4 workers" in evidence.text) == (2.0, True)


def test_a_kill_without_effect_loses_nobody() -> None:
    story = losing(11).struck(12, LOST, effective="no").struck(13, 0.1, effective="no")
    assert degrades_gracefully(degraded(FULL, 20, story).history())[0] == "broken"


@pytest.mark.parametrize(
    "story",
    [
        pytest.param(Story(), id="no fault"),
        pytest.param(Story.of(STALL).struck(WORKER, 2.0, 3.0), id="a stall"),
        pytest.param(Story.of(KILL_PARENT).struck(WORKER, 2.0), id="the death of the parent"),
        pytest.param(Story.of(KILL).struck(WORKER, 2.0, effective="no"), id="a kill without effect"),
        pytest.param(Story.of(KILL).struck(0, 2.0, effective="pool-dead"), id="a pool that was dead already"),
    ],
)
def test_it_is_unknown_when_no_worker_was_killed(story: Story) -> None:
    verdict, (evidence,) = degrades_gracefully(degraded(FULL, 0, story.capacity(4, 4)).history())
    assert (verdict, evidence.text) == ("unknown", "no worker was killed")


# --- what is counted ----------------------------------------------------------------------------------------------


def test_an_error_of_the_users_own_is_a_completion() -> None:
    story = completes(degraded(FULL, 13), 1, 2.0, 3.0, Outcome.USER_ERROR)
    assert degrades_gracefully(story.history())[0] == "kept"


@pytest.mark.parametrize("outcome", [Outcome.WRONG, Outcome.POOL_ERROR, Outcome.REJECTED, Outcome.CANCELLED])
def test_nothing_else_is_a_completion(outcome: Outcome) -> None:
    story = completes(degraded(FULL, 13), 20, 2.0, 3.0, outcome)
    assert degrades_gracefully(story.history())[0] == "broken"


@pytest.mark.parametrize(
    ("done", "verdict"), [(1.999999999, "broken"), (2.0, "kept"), (2.999999999, "kept"), (3.0, "broken")]
)
def test_what_is_done_in_the_second_after_the_loss_counts(done: float, verdict: str) -> None:
    assert degrades_gracefully(degraded(FULL, 13).op(done, 0.0, by=None).history())[0] == verdict


@pytest.mark.parametrize(
    ("done", "verdict"), [(0.499999999, "kept"), (0.5, "broken"), (1.999999999, "broken"), (2.0, "kept")]
)
def test_the_baseline_is_what_is_done_from_a_quarter_of_the_time_on_until_the_loss(done: float, verdict: str) -> None:
    assert degrades_gracefully(degraded(FULL, 14).op(done, 0.0, by=None).history())[0] == verdict


def test_what_was_sent_before_the_loss_and_done_after_it_counts_after_it() -> None:
    assert degrades_gracefully(degraded(FULL, 13).op(1.0, 1.5).history())[0] == "kept"


def test_the_measured_time_ends_with_the_load() -> None:
    load = Load(steps=(Step(rate=1.2, seconds=2.5),), service_s=0.1)
    story = completes(completes(losing(load=load), FULL, 0.5, LOST), 7, LOST, 2.5)
    assert degrades_gracefully(completes(story, 40, 2.5, 3.0).history())[0] == "kept"
    story = completes(completes(losing(load=load), FULL, 0.5, LOST), 6, LOST, 2.5)
    _, (evidence,) = degrades_gracefully(completes(story, 40, 2.5, 3.0).history())
    assert evidence.text.startswith("12 operations a second were completed in the 0.5 s after 2 of 4 workers were lost")


# --- unknown ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "verdict"), [(2.5, "kept"), (2.499999999, "unknown"), (1.5, "unknown")])
def test_the_load_must_have_lasted_half_a_second_after_the_loss(seconds: float, verdict: str) -> None:
    load = Load(steps=(Step(rate=1.2, seconds=seconds),), service_s=0.1)
    assert degrades_gracefully(degraded(FULL, 20, losing(load=load)).history())[0] == verdict


@pytest.mark.parametrize(("lost", "verdict"), [(2 / 3, "kept"), (0.66, "unknown")])
def test_the_load_must_have_lasted_half_a_second_before_the_loss(lost: float, verdict: str) -> None:
    story = Story.of(KILL, load=LOAD).event("capacity", -1.0, "probe-before", 4).struck(11, lost)
    assert degrades_gracefully(completes(story, 160, 0.0, 4.0).history())[0] == verdict


def test_it_says_that_the_load_was_too_short() -> None:
    load = Load(steps=(Step(rate=1.2, seconds=2.1),), service_s=0.1)
    _, (evidence,) = degrades_gracefully(degraded(FULL, 20, losing(load=load)).history())
    assert evidence.text == "the load lasted less than 0.5 s before or after the loss; take more seconds"


@pytest.mark.parametrize(("before", "verdict"), [(45, "kept"), (44, "unknown"), (0, "unknown")])
def test_the_pool_must_have_done_three_quarters_of_what_its_workers_can(before: int, verdict: str) -> None:
    assert degrades_gracefully(degraded(before, 20).history())[0] == verdict


def test_it_says_what_was_done_and_what_was_possible() -> None:
    _, (evidence,) = degrades_gracefully(degraded(15, 20).history())
    assert evidence.text == (
        "10 operations a second were completed before the loss, and 4 workers could do 40: the workers were not the "
        "limit, but the machine or the way to them was"
    )


@pytest.mark.parametrize("capacity", [None, 0])
def test_it_is_unknown_when_there_was_no_capacity_before(capacity: float | None) -> None:
    story = Story.of(KILL, load=LOAD).capacity(capacity, 4).struck(11, LOST)
    verdict, (evidence,) = degrades_gracefully(degraded(FULL, 0, story).history())
    assert (verdict, evidence.text) == ("unknown", "the capacity before the loss was not measured")


def test_it_is_unknown_when_the_load_does_not_tell_how_long_an_operation_takes() -> None:
    story = losing(load=Load(steps=(Step(rate=48, seconds=4),)))
    assert degrades_gracefully(degraded(FULL, 0, story).history())[0] == "unknown"


def test_the_capacity_after_the_loss_is_not_its_business() -> None:
    story = Story.of(KILL, load=LOAD).capacity(4, 0).struck(11, LOST).struck(12, LOST)
    assert degrades_gracefully(degraded(FULL, 14, story).history())[0] == "kept"
