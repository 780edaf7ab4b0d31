import pytest

from poolproof.checks.restores_capacity import restores_capacity
from poolproof.history import Phase
from tests.unit.histories import Story


@pytest.mark.parametrize("after", [4, 5])
def test_it_is_kept_when_as_many_run_at_once_as_before(after: int) -> None:
    assert restores_capacity(Story().capacity(4, after).history()) == ("kept", [])


@pytest.mark.parametrize("after", [0, 3])
def test_it_is_broken_when_fewer_run_at_once_than_before(after: int) -> None:
    verdict, (evidence,) = restores_capacity(Story().capacity(4, after, at=9.0).history())
    assert (verdict, evidence.at_s) == ("broken", 9.0)
    assert evidence.text == (f"4 operations ran at once before the load, {after} after it (best of three)")


def test_its_evidence_names_the_operations_that_should_have_run() -> None:
    story = Story().hangs(0.5).hangs(8.5, phase=Phase.PROBE, by=12).op(8.6, phase=Phase.PROBE, by=13)
    _, evidence = restores_capacity(story.capacity(4, 1, at=9.0).history())
    assert [(entry.op, entry.pid, entry.at_s) for entry in evidence[1:]] == [(1, 12, 8.5)]
    assert "should have run then and ended as unresolved" in evidence[1].text


def test_operations_sent_after_the_probe_are_none_of_its_evidence() -> None:
    story = Story().hangs(9.5, phase=Phase.AFTER_CLOSE).capacity(4, 1, at=9.0)
    assert len(restores_capacity(story.history())[1]) == 1


def test_it_is_broken_when_the_pool_hung_under_the_probe() -> None:
    story = Story().capacity(4, None, at=9.0).event("hung", 12.0, "probe-after")
    verdict, (evidence,) = restores_capacity(story.history())
    assert (verdict, evidence.text, evidence.at_s) == ("broken", "the pool hung when its capacity was probed", 8.0)


def behind(story: Story) -> Story:
    """A pool that answers all the time, is behind at the end, and then does less at once than before."""
    return story.ops(80, 0.6, 0.1, by=12).event("drained", 8.0, "drain", 1).capacity(4, 3, at=9.0).watched(9.0)


def test_it_is_unknown_when_the_pool_was_still_working_off_its_backlog() -> None:
    verdict, (evidence,) = restores_capacity(behind(Story().hangs(0.5, by=None)).history())
    assert (verdict, "still working off what it had been offered" in evidence.text) == ("unknown", True)


def test_it_is_broken_when_something_else_than_a_backlog_was_left() -> None:
    assert restores_capacity(behind(Story().hangs(0.5, by=11)).history())[0] == "broken"


@pytest.mark.parametrize("before", [None, 0])
def test_it_is_unknown_when_there_was_no_capacity_before(before: float | None) -> None:
    assert restores_capacity(Story().capacity(before, 4).history())[0] == "unknown"


def test_it_is_unknown_when_the_capacity_afterwards_was_not_measured() -> None:
    assert restores_capacity(Story().capacity(4, None).history())[0] == "unknown"


def test_it_is_unknown_when_the_pool_hung_before_it_came_to_the_probe() -> None:
    story = Story().event("capacity", -1.0, "probe-before", 4).event("hung", 5.0, "load")
    assert restores_capacity(story.history())[0] == "unknown"


def test_a_hang_of_another_stage_proves_nothing_of_the_capacity() -> None:
    story = Story().capacity(4, None).event("hung", 5.0, "close")
    assert restores_capacity(story.history())[0] == "unknown"
