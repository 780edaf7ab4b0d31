import pytest

from poolproof.checks.leaves_nothing_behind import leaves_nothing_behind
from poolproof.checks.verdict import SHOWN
from poolproof.plan import Stage
from tests.unit.histories import LOADED, Story

CYCLES: tuple[Stage, ...] = ("cycles", *LOADED)


def test_it_is_kept_when_nothing_stayed_behind() -> None:
    assert leaves_nothing_behind(Story().op(0.1).watched(13).history()) == ("kept", [])


def test_it_is_broken_by_a_worker_that_outlives_the_close() -> None:
    verdict, (evidence,) = leaves_nothing_behind(Story().op(0.1).left(11).watched(13).history())
    assert (verdict, evidence.op, evidence.pid, evidence.start_time, evidence.at_s) == ("broken", 0, 11, 1100, 12.0)


def test_its_evidence_says_what_should_have_ended_the_worker_and_what_that_did_last() -> None:
    _, (evidence,) = leaves_nothing_behind(Story().op(0.1).op(0.2).left(11).watched(13).history())
    assert evidence.text == (
        "worker pid 11 outlived the close of the pool: alive; the last operation that it began is 1"
    )


def test_it_is_broken_by_a_process_that_outlives_the_pools_own_process() -> None:
    verdict, (evidence,) = leaves_nothing_behind(Story().op(0.1).left(77, after="lab").watched(13).history())
    assert (verdict, evidence.op, evidence.pid) == ("broken", None, 77)
    assert evidence.text == "process pid 77 (python -c worker) outlived the pool's own process: alive"


def test_its_evidence_tells_some_processes_and_counts_all() -> None:
    story = Story().op(0.1).watched(13)
    for pid in range(21, 21 + SHOWN + 2):
        story.left(pid)
    _, evidence = leaves_nothing_behind(story.history())
    assert [entry.pid for entry in evidence] == [*range(21, 21 + SHOWN), None]
    assert evidence[-1].text == f"{SHOWN + 2} processes in all"


def test_it_is_broken_by_residue_that_grows_with_every_cycle() -> None:
    story = Story.of(stages=CYCLES).residue("threads", 1, 2, 3, 5).watched(13)
    verdict, (evidence,) = leaves_nothing_behind(story.history())
    assert (verdict, evidence.at_s) == ("broken", -6.0)
    assert evidence.text == (
        "threads grew with every cycle of opening and closing: 1, 2, 3, 5; at the end also extra 3"
    )


def test_residue_that_pauses_in_one_cycle_is_none() -> None:
    story = Story.of(stages=CYCLES).residue("threads", 1, 2, 2, 3).watched(13)
    assert leaves_nothing_behind(story.history())[0] == "kept"


def test_residue_that_stays_as_it_is_after_the_first_cycle_is_none() -> None:
    story = Story.of(stages=CYCLES).residue("threads", 3, 3, 3, 3).residue("zombies", 0, 1, 1, 1).watched(13)
    assert leaves_nothing_behind(story.history())[0] == "kept"


def test_each_category_of_residue_is_judged_by_itself() -> None:
    story = Story.of(stages=CYCLES).residue("threads", 1, 1, 1, 1).residue("zombies", 1, 2, 3, 4).watched(13)
    _, (evidence,) = leaves_nothing_behind(story.history())
    assert evidence.text.startswith("zombies grew")


def test_residue_that_grew_once_before_the_cycles_were_cut_short_proves_nothing() -> None:
    story = Story.of(stages=CYCLES).residue("threads", 1, 2).watched(13)
    assert leaves_nothing_behind(story.history())[0] == "unknown"


@pytest.mark.parametrize("counts", [(1,), (1, 1), (1, 1, 1)])
def test_it_is_unknown_when_not_every_cycle_was_seen_through(counts: tuple[int, ...]) -> None:
    story = Story.of(stages=CYCLES).residue("threads", *counts).watched(13)
    assert leaves_nothing_behind(story.history())[0] == "unknown"


def test_it_is_unknown_when_the_end_of_the_pools_process_was_not_seen() -> None:
    assert leaves_nothing_behind(Story().op(0.1).history())[0] == "unknown"


def test_it_is_unknown_when_the_cycles_were_not_seen_at_all() -> None:
    assert leaves_nothing_behind(Story.of(stages=CYCLES).watched(13).history())[0] == "unknown"


def test_what_was_left_behind_is_told_even_when_the_end_was_not_seen() -> None:
    assert leaves_nothing_behind(Story().left(11).history())[0] == "broken"


def hung(stage: str = "load") -> Story:
    return Story().op(0.1).event("hung", 12.0, stage).watched(13)


def test_it_is_unknown_when_the_process_of_the_pool_hung_and_was_ended() -> None:
    verdict, (evidence,) = leaves_nothing_behind(hung().history())
    assert verdict == "unknown"
    assert evidence.text == "the pool's process hung in the stage 'load' and was ended, so nothing could be seen"


def test_what_outlived_a_process_that_was_ended_is_told_and_breaks_nothing() -> None:
    verdict, evidence = leaves_nothing_behind(hung("close").left(77, after="lab").history())
    assert (verdict, [entry.pid for entry in evidence]) == ("unknown", [None, 77])


def test_a_worker_that_outlived_a_close_breaks_it_even_where_something_hung() -> None:
    verdict, evidence = leaves_nothing_behind(hung("after-close").left(11).left(77, after="lab").history())
    assert (verdict, [entry.pid for entry in evidence]) == ("broken", [11, 77])


HOST_WIDE = "shared memory"


def growing(*others: str) -> Story:
    """Categories that grew with every cycle; the first did so also while no pool was open."""
    story = Story.of(stages=CYCLES).watched(13)
    for category in (HOST_WIDE, *others):
        story.residue(category, 1, 2, 3, 4)
    return story.event("foreign-residue", -4.0, HOST_WIDE, 5)


def test_it_is_unknown_when_residue_grows_without_any_pool_too() -> None:
    verdict, (evidence,) = leaves_nothing_behind(growing().history())
    assert verdict == "unknown"
    assert evidence.text == ("shared memory grew also while no pool was open: somebody else makes them on this machine")


def test_residue_of_others_does_not_hide_the_pools_own() -> None:
    verdict, (evidence,) = leaves_nothing_behind(growing("semaphores").history())
    assert verdict == "broken"
    assert evidence.text.startswith("semaphores grew")


def test_host_wide_residue_that_did_not_grow_without_a_pool_breaks_it() -> None:
    story = Story.of(stages=CYCLES).residue(HOST_WIDE, 1, 2, 3, 4).watched(13)
    assert leaves_nothing_behind(story.history())[0] == "broken"


def test_residue_is_told_even_where_something_hung_later() -> None:
    story = Story.of(stages=CYCLES).residue("threads", 1, 2, 3, 4).event("hung", 12.0, "load").watched(13)
    _, evidence = leaves_nothing_behind(story.history())
    assert any(entry.text.startswith("threads grew") for entry in evidence)
