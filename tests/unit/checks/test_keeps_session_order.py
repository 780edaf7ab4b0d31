import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolproof.checks.keeps_session_order import keeps_session_order
from poolproof.checks.verdict import SHOWN
from poolproof.history import Phase
from tests.unit.histories import KILL, Story

ENOUGH = 5
NOTICE = 0.25


def in_turn(count: int = ENOUGH + 1, session: int = 9, story: Story | None = None) -> Story:
    """Operations of one session that were sent at once and run one after the other."""
    story = story or Story()
    for number in range(count):
        story.waits(5.0 + number / 1000, 5.1 + number / 10, 0.05, session=session)
    return story


def test_it_is_kept_when_the_operations_of_a_session_run_one_by_one_as_they_were_sent() -> None:
    assert keeps_session_order(in_turn().history()) == ("kept", [])


# --- broken -------------------------------------------------------------------------------------------------------


def overtaken() -> Story:
    """Operation 1 of session 3 began before operation 0, which had been sent before it."""
    return Story().waits(0.1, 1.0, 0.2, by=11, session=3).waits(0.2, 0.5, 0.2, by=12, session=3)


def overlapping(began: float = 0.6) -> Story:
    """Operation 0 of session 3 ran from 0.5 s to 0.7 s; operation 1, sent later, began at a moment."""
    return Story().waits(0.1, 0.5, 0.2, by=11, session=3).waits(0.2, began, 0.2, by=12, session=3)


def test_it_is_broken_by_an_operation_that_began_before_an_earlier_one_of_its_session() -> None:
    assert keeps_session_order(overtaken().history())[0] == "broken"


def test_its_evidence_of_an_operation_that_overtook_names_it_its_worker_and_its_beginning() -> None:
    _, (evidence, total) = keeps_session_order(overtaken().history())
    assert (evidence.op, evidence.pid, evidence.start_time, evidence.at_s) == (1, 12, 1200, 0.5)
    assert evidence.text == (
        "operation 1 of session 3 began at 0.500 s, before operation 0, which began at 1.000 s; that one had been sent "
        "before it"
    )
    assert total.text == "1 operations began too early in all"


def test_it_is_broken_by_an_operation_that_began_while_an_earlier_one_of_its_session_was_running() -> None:
    assert keeps_session_order(overlapping().history())[0] == "broken"


def test_its_evidence_of_an_operation_that_did_not_wait_tells_until_when_the_earlier_one_ran() -> None:
    _, (evidence, _) = keeps_session_order(overlapping().history())
    assert (evidence.op, evidence.pid, evidence.start_time, evidence.at_s) == (1, 12, 1200, 0.6)
    assert evidence.text == (
        "operation 1 of session 3 began at 0.600 s, while operation 0 was running, until 0.700 s; that one had been "
        "sent before it"
    )


def test_an_operation_that_began_at_the_very_moment_at_which_an_earlier_one_did_was_begun_while_that_ran() -> None:
    _, (evidence, _) = keeps_session_order(overlapping(0.5).history())
    assert "while operation 0 was running" in evidence.text


@pytest.mark.parametrize(("began", "verdict"), [(0.699999999, "broken"), (0.7, "kept")])
def test_an_operation_may_begin_once_the_earlier_one_has_ended(began: float, verdict: str) -> None:
    assert keeps_session_order(in_turn(story=overlapping(began)).history())[0] == verdict


def test_its_evidence_names_the_two_operations_that_it_is_about_wherever_they_stand() -> None:
    story = in_turn().waits(7.0, 8.0, 0.1, by=11, session=9).waits(7.1, 7.5, 0.1, by=12, session=9)
    _, (evidence, _) = keeps_session_order(story.waits(9.0, 9.1, by=13, session=9).history())
    assert (evidence.op, evidence.pid, evidence.at_s) == (ENOUGH + 2, 12, 7.5)
    assert f"before operation {ENOUGH + 1}, which began at 8.000 s" in evidence.text


def test_its_evidence_tells_some_operations_and_counts_all() -> None:
    story = Story()
    for number in range(SHOWN + 3):
        story.waits(number / 10, 9.0 - number, 0.1, session=3)
    _, evidence = keeps_session_order(story.history())
    assert [entry.op for entry in evidence] == [*range(1, SHOWN + 1), None]
    assert evidence[-1].text == f"{SHOWN + 2} operations began too early in all"


def test_one_violation_breaks_it_whatever_else_was_in_order() -> None:
    assert keeps_session_order(in_turn(story=overtaken()).history())[0] == "broken"


def test_the_order_is_that_of_sending_and_not_that_of_the_numbers() -> None:
    story = Story().waits(0.2, 0.5, 0.1, session=3).waits(0.1, 1.0, 0.1, session=3)
    _, (evidence, _) = keeps_session_order(story.history())
    assert evidence.op == 0


def test_an_operation_without_an_end_died_with_its_worker_and_is_not_waited_for() -> None:
    story = Story.of(KILL).op(0.1, None, by=11, session=3).struck(11, 0.4).waits(0.2, 0.5, by=12, session=3)
    assert keeps_session_order(in_turn(story=story).history())[0] == "kept"


@pytest.mark.parametrize(("began", "verdict"), [(0.100999999, "broken"), (0.101, "kept")])
def test_an_operation_without_an_end_had_its_turn_when_it_began(began: float, verdict: str) -> None:
    story = Story().op(0.1, None, by=11, session=3).waits(0.1, began, by=12, session=3)
    assert keeps_session_order(in_turn(story=story).history())[0] == verdict


def hung(gone: float | None = None, story: Story | None = None) -> Story:
    """Operation 0 of session 3 began at 0.101 s and never ended; the next one of its session began at 1 s."""
    story = (story or Story()).lived(11, gone=gone).hangs(0.1, by=11, session=3)
    return in_turn(story=story.waits(0.2, 1.0, by=12, session=3)).watched(9.0)


@pytest.mark.parametrize(("gone", "verdict"), [(1.0 + NOTICE, "kept"), (1.0 + NOTICE + 1e-9, "broken")])
def test_an_operation_that_hangs_in_a_living_worker_is_not_over(gone: float, verdict: str) -> None:
    assert keeps_session_order(hung(gone).history())[0] == verdict


def test_its_evidence_of_an_operation_that_did_not_wait_for_one_that_hangs_says_that_this_never_ended() -> None:
    _, (evidence, _) = keeps_session_order(hung().history())
    assert (evidence.op, evidence.pid, evidence.start_time, evidence.at_s) == (1, 12, 1200, 1.0)
    assert evidence.text == (
        "operation 1 of session 3 began at 1.000 s, while operation 0 was running, which never ended, though its "
        "worker lived on; that one had been sent before it"
    )


@pytest.mark.parametrize(
    "story",
    [
        pytest.param(hung(story=Story.of(KILL).struck(11, 0.9)), id="a worker that was struck"),
        pytest.param(hung().damaged(64), id="an end that may be among damaged records"),
    ],
)
def test_an_operation_without_an_end_in_a_worker_that_may_have_ended_it_is_not_waited_for(story: Story) -> None:
    assert keeps_session_order(story.history())[0] == "kept"


@pytest.mark.parametrize("gone", [0.2, 0.101])
def test_a_worker_whose_exit_was_noticed_soon_had_begun_its_operation_all_the_same(gone: float) -> None:
    story = Story().lived(11, gone=gone).op(0.1, None, by=11, session=3).waits(0.1, 0.1005, by=12, session=3)
    assert keeps_session_order(in_turn(story=story).history())[0] == "broken"


def test_an_operation_that_ran_again_is_over_when_its_last_execution_is() -> None:
    story = Story().op(0.1, None, by=11, session=3, idempotent=True).waits(0.2, 0.5, by=12, session=3)
    verdict, (evidence, _) = keeps_session_order(story.ran(0, 13, 0.8, 0.9).history())
    assert (verdict, evidence.op) == ("broken", 1)
    assert "before operation 0, which began at 0.800 s" in evidence.text


def test_an_operation_that_runs_again_after_it_had_its_turn_has_not_begun_too_early() -> None:
    story = Story().waits(0.1, 0.3, by=11, session=3).op(0.2, None, by=11, session=3, idempotent=True)
    assert keeps_session_order(in_turn(story=story.ran(1, 12, 0.5, 0.6)).history())[0] == "kept"


def test_an_operation_that_is_run_again_after_a_loss_may_come_after_what_had_followed_it_before() -> None:
    story = Story().op(0.1, None, by=None, session=3, idempotent=True).op(0.2, None, by=None, session=3)
    story.ran(0, 11, 0.3, 0.4, epoch=7).ran(1, 11, 0.4, None, epoch=7).ran(0, 12, 0.8, 0.9, epoch=8)
    assert keeps_session_order(in_turn(story=story).history())[0] == "kept"


# --- what does not count ------------------------------------------------------------------------------------------


def test_operations_of_two_sessions_run_as_they_like() -> None:
    story = Story().waits(0.1, 1.0, 0.2, by=11, session=3).waits(0.2, 0.5, 1.0, by=12, session=4)
    assert keeps_session_order(in_turn(story=story).history())[0] == "kept"


def test_operations_without_a_session_run_as_they_like() -> None:
    story = Story().waits(0.1, 1.0, 0.2, by=11).waits(0.2, 0.5, 1.0, by=12)
    assert keeps_session_order(in_turn(story=story).history())[0] == "kept"


@pytest.mark.parametrize("phase", [Phase.WARM_UP, Phase.PROBE, Phase.AFTER_CLOSE])
@pytest.mark.parametrize("first", [True, False])
def test_only_the_measured_window_is_looked_at(phase: Phase, first: bool) -> None:
    one, other = (phase, Phase.MEASURED) if first else (Phase.MEASURED, phase)
    story = Story().waits(0.1, 1.0, session=3, phase=one).waits(0.2, 0.5, session=3, phase=other)
    assert keeps_session_order(in_turn(story=story).history())[0] == "kept"


def test_an_operation_that_was_never_begun_is_passed_over() -> None:
    story = Story().hangs(0.1, by=None, session=3).waits(0.2, 0.5, session=3)
    assert keeps_session_order(in_turn(story=story).history())[0] == "kept"


def test_an_operation_that_was_never_begun_does_not_part_the_two_beside_it() -> None:
    story = Story().waits(0.1, 1.0, session=3).hangs(0.2, by=None, session=3).waits(0.3, 0.5, session=3)
    verdict, (evidence, _) = keeps_session_order(story.history())
    assert (verdict, evidence.op) == ("broken", 2)
    assert "before operation 0" in evidence.text


def test_an_operation_of_another_session_between_them_does_not_part_two() -> None:
    story = Story().waits(0.1, 1.0, session=3).waits(0.2, 0.4, session=4).waits(0.3, 0.5, session=3)
    assert keeps_session_order(story.history())[0] == "broken"


@pytest.mark.parametrize("op", [-1, 99])
def test_records_of_operations_that_the_client_does_not_know_are_passed_over(op: int) -> None:
    assert keeps_session_order(in_turn().ran(op, 12, 0.3, 0.4).history())[0] == "kept"


# --- unknown ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pairs", "verdict"), [(ENOUGH - 1, "unknown"), (ENOUGH, "kept")])
def test_enough_operations_of_one_session_must_have_been_under_way_at_once(pairs: int, verdict: str) -> None:
    assert keeps_session_order(in_turn(pairs + 1).history())[0] == verdict


def test_it_says_how_many_were_and_how_to_get_more() -> None:
    _, (evidence,) = keeps_session_order(in_turn(ENOUGH).history())
    assert evidence.text == (
        f"{ENOUGH - 1} times operations of one session were under way at once, {ENOUGH} are needed; take longer ones"
    )


@pytest.mark.parametrize(("sent", "verdict"), [(5.149999999, "kept"), (5.15, "unknown")])
def test_two_were_under_way_at_once_when_one_was_sent_before_the_other_had_ended(sent: float, verdict: str) -> None:
    story = in_turn(ENOUGH, session=8)
    story.waits(5.0, 5.1, 0.05, session=3).waits(sent, 5.2, 0.05, session=3)
    assert keeps_session_order(story.history())[0] == verdict


def test_pairs_of_all_sessions_count_together() -> None:
    story = Story()
    for session in range(ENOUGH):
        in_turn(2, session, story)
    assert keeps_session_order(story.history())[0] == "kept"


def test_operations_of_two_sessions_that_were_under_way_at_once_prove_nothing() -> None:
    story = Story()
    for session in range(3 * ENOUGH):
        in_turn(1, session, story)
    assert keeps_session_order(story.history())[0] == "unknown"


@pytest.mark.parametrize("story", [Story(), Story().op(0.1), Story().op(0.1, session=3)])
def test_it_is_unknown_when_no_session_had_two_operations(story: Story) -> None:
    verdict, (evidence,) = keeps_session_order(story.history())
    assert (verdict, evidence.text[:2]) == ("unknown", "0 ")


RUNS = st.lists(
    st.tuples(st.integers(-1, 2), st.integers(0, 20), st.integers(0, 20), st.integers(1, 5)), min_size=1, max_size=12
)


@given(RUNS)
def test_it_is_broken_if_and_only_if_two_of_a_session_overlapped_or_came_in_another_order(
    runs: list[tuple[int, int, int, int]],
) -> None:
    story = Story()
    for session, sent, after, took in runs:
        story.waits(sent, sent + after, took, session=session)
    in_order = sorted(runs, key=lambda run: run[1])
    disorder = any(
        later[0] == earlier[0] >= 0 and later[1] + later[2] < earlier[1] + earlier[2] + earlier[3]
        for at, earlier in enumerate(in_order)
        for later in in_order[at + 1 :]
    )
    assert (keeps_session_order(story.history())[0] == "broken") == disorder
