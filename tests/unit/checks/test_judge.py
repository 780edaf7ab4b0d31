from collections.abc import Callable
from typing import Literal

import pytest

from poolproof.checks import CHECKS, Answer, Evidence, Finding, Verdict, judge, worst
from poolproof.checks.verdict import SHOWN
from poolproof.history import History
from poolproof.plan import PROMISES
from tests.unit.histories import KILL, Story

PROMISE = "runs-at-most-once"


def answering(verdict: Verdict) -> dict[str, Callable[[History], Answer]]:
    return {PROMISE: lambda history: (verdict, [Evidence(text="seen", op=3, pid=4, start_time=5, at_s=6.0)])}


def crashing(history: History) -> Answer:
    raise ZeroDivisionError("too clever")


def the_finding(story: Story, verdict: Verdict = "kept") -> Finding:
    (finding,) = judge(story.history(), answering(verdict))
    return finding


def test_there_is_a_check_for_every_promise() -> None:
    assert tuple(CHECKS) == PROMISES


def test_each_promise_that_the_scenario_examines_is_judged_in_its_order() -> None:
    story = Story.of(examines=("closes-cleanly", "runs-at-most-once"))
    assert [finding.promise for finding in judge(story.history())] == ["closes-cleanly", "runs-at-most-once"]


@pytest.mark.parametrize("verdict", ["kept", "unknown", "broken"])
def test_what_a_check_answers_is_the_finding(verdict: Verdict) -> None:
    assert the_finding(Story.of(examines=(PROMISE,)), verdict).verdict == verdict


def test_evidence_is_marked_with_its_scenario_and_else_left_as_it_is() -> None:
    (evidence,) = the_finding(Story.of(examines=(PROMISE,), name="kill-one")).evidence
    assert evidence == Evidence(text="seen", scenario="kill-one", op=3, pid=4, start_time=5, at_s=6.0)


def test_a_check_that_crashes_could_not_tell() -> None:
    (finding,) = judge(Story.of(examines=(PROMISE,)).history(), {PROMISE: crashing})
    assert (finding.verdict, finding.evidence[0].text) == (
        "unknown",
        "the check crashed: ZeroDivisionError: too clever",
    )


def test_a_check_that_crashes_leaves_the_others_to_be_judged() -> None:
    story = Story.of(examines=("closes-cleanly", PROMISE))
    findings = judge(story.history(), {"closes-cleanly": crashing, **answering("kept")})
    assert [finding.verdict for finding in findings] == ["unknown", "kept"]


def test_nothing_is_kept_in_a_run_that_was_cut_short() -> None:
    finding = the_finding(Story.of(examines=(PROMISE,)).event("void", 2.0, detail="the caller ended"))
    assert (finding.verdict, finding.evidence[0].text) == ("unknown", "the run was cut short: the caller ended")


def test_nothing_is_kept_where_the_pool_hung_and_was_ended() -> None:
    finding = the_finding(Story.of(examines=(PROMISE,)).event("hung", 2.0, "load"))
    assert (finding.verdict, finding.evidence[0].text) == (
        "unknown",
        "the pool hung in the stage 'load' and its process was ended",
    )


@pytest.mark.parametrize("stage", ["close", "after-close"])
def test_a_close_that_hung_raises_no_doubt_about_what_came_before(stage: str) -> None:
    assert the_finding(Story.of(examines=(PROMISE,)).event("hung", 2.0, stage)).verdict == "kept"


def test_nothing_is_kept_where_the_probe_failed() -> None:
    story = Story.of(examines=(PROMISE,)).fails(0.1, "poolproof.probe.ProbeError", message="disk full")
    story.fails(0.2, "poolproof.probe.ProbeError", message="disk very full")
    finding = the_finding(story)
    assert (finding.verdict, [entry.text for entry in finding.evidence]) == (
        "unknown",
        ["the probe or the workload failed: disk full", "seen"],
    )


def test_nothing_is_kept_where_a_fault_was_not_injected() -> None:
    finding = the_finding(Story.of(KILL, examines=(PROMISE,)))
    assert (finding.verdict, finding.evidence[0].text) == (
        "unknown",
        "the fault kill 1 worker (in-flight) at 1 s was not injected",
    )


def test_nothing_is_kept_where_the_second_of_two_faults_was_not_injected() -> None:
    assert the_finding(Story.of(KILL, KILL, examines=(PROMISE,)).struck(11, 1.0)).verdict == "unknown"


def test_nothing_is_kept_where_a_fault_had_no_effect() -> None:
    finding = the_finding(Story.of(KILL, examines=(PROMISE,)).struck(11, 1.0, effective="no", why="it lived on"))
    assert (finding.verdict, finding.evidence[0].text) == (
        "unknown",
        "the fault kill 1 worker (in-flight) at 1 s had no effect: it lived on",
    )


def test_nothing_is_kept_where_one_of_two_victims_was_not_harmed() -> None:
    story = Story.of(KILL, examines=(PROMISE,)).struck(11, 1.0).struck(12, 1.0, effective="no")
    assert the_finding(story).verdict == "unknown"


def test_a_fault_that_struck_raises_no_doubt() -> None:
    assert the_finding(Story.of(KILL, examines=(PROMISE,)).struck(11, 1.0)).verdict == "kept"


def test_nothing_is_kept_where_a_fault_found_no_worker_to_strike() -> None:
    story = Story.of(KILL, examines=(PROMISE,)).struck(0, 1.0, effective="pool-dead")
    assert the_finding(story).verdict == "unknown"


def test_a_fault_that_found_the_pool_dead_after_another_had_struck_raises_no_doubt() -> None:
    story = Story.of(KILL, KILL, examines=(PROMISE,)).struck(11, 1.0).struck(0, 2.0, fault=1, effective="pool-dead")
    assert the_finding(story).verdict == "kept"


def test_a_fault_that_found_the_pool_dead_before_any_other_had_struck_raises_a_doubt() -> None:
    story = Story.of(KILL, KILL, examines=(PROMISE,)).struck(11, 2.0).struck(0, 1.0, fault=1, effective="pool-dead")
    assert the_finding(story).verdict == "unknown"


def test_a_fault_that_found_the_pool_dead_at_the_moment_of_another_raises_a_doubt() -> None:
    story = Story.of(KILL, KILL, examines=(PROMISE,)).struck(11, 1.0).struck(0, 1.0, fault=1, effective="pool-dead")
    assert the_finding(story).verdict == "unknown"


@pytest.mark.parametrize("earlier", ["no", "pool-dead"])
def test_a_fault_that_found_the_pool_dead_after_one_without_effect_raises_a_doubt(
    earlier: Literal["no", "pool-dead"],
) -> None:
    story = Story.of(KILL, KILL, examines=(PROMISE,)).struck(11, 1.0, effective=earlier)
    finding = the_finding(story.struck(0, 2.0, fault=1, effective="pool-dead", why="nobody was there"))
    assert finding.verdict == "unknown"
    assert "had no effect: nobody was there" in finding.evidence[1].text


def test_a_fault_without_effect_raises_a_doubt_although_another_had_struck() -> None:
    story = Story.of(KILL, KILL, examines=(PROMISE,)).struck(11, 1.0).struck(12, 2.0, fault=1, effective="no")
    assert the_finding(story).verdict == "unknown"


def test_a_fault_that_was_not_injected_raises_a_doubt_although_another_had_struck() -> None:
    story = Story.of(KILL, KILL, KILL, examines=(PROMISE,)).struck(11, 1.0)
    assert the_finding(story.struck(0, 2.0, fault=1, effective="pool-dead")).verdict == "unknown"


def test_nothing_is_kept_where_the_workload_could_not_be_set_up() -> None:
    story = Story.of(examines=(PROMISE,)).fails(
        0.1, "poolproof.probe.WorkloadError", bases=("poolproof.probe.ProbeError",)
    )
    assert the_finding(story).verdict == "unknown"


def test_nothing_is_examined_where_the_fault_does_not_apply_to_the_pool() -> None:
    story = Story.of(KILL, examines=(PROMISE,)).struck(0, 1.0, effective="inapplicable")
    assert judge(story.history(), answering("broken")) == ()


def test_what_is_broken_stays_broken_whatever_the_doubts() -> None:
    finding = the_finding(Story.of(KILL, examines=(PROMISE,)).event("void", 2.0, detail="why"), "broken")
    assert (finding.verdict, [entry.text for entry in finding.evidence]) == ("broken", ["seen"])


def test_doubts_are_told_before_what_the_check_said() -> None:
    finding = the_finding(Story.of(examines=(PROMISE,)).event("void", 2.0, detail="why"), "unknown")
    assert [entry.text for entry in finding.evidence] == ["the run was cut short: why", "seen"]


def violated(story: Story, detail: str = "it took one too many") -> Story:
    return story.event("violation", 2.0, PROMISE, detail=detail)


@pytest.mark.parametrize("verdict", ["kept", "unknown"])
def test_what_a_simulated_world_saw_breaks_a_promise_whatever_else_its_check_found(verdict: Verdict) -> None:
    finding = the_finding(violated(Story.of(examines=(PROMISE,))), verdict)
    assert (finding.verdict, [(entry.text, entry.at_s) for entry in finding.evidence]) == (
        "broken",
        [("it took one too many", 2.0)],
    )


def test_what_a_simulated_world_saw_is_told_before_what_the_check_found() -> None:
    finding = the_finding(violated(Story.of(examines=(PROMISE,))), "broken")
    assert [entry.text for entry in finding.evidence] == ["it took one too many", "seen"]


def test_no_more_of_what_a_simulated_world_saw_is_told_than_is_shown() -> None:
    story = Story.of(examines=(PROMISE,))
    for number in range(SHOWN + 1):
        violated(story, str(number))
    assert [entry.text for entry in the_finding(story).evidence] == [str(number) for number in range(SHOWN)]


def test_a_promise_that_is_not_examined_is_broken_by_what_a_simulated_world_saw_alone() -> None:
    finding = the_finding(violated(Story.of(examines=())), "broken")
    assert (finding.verdict, [entry.text for entry in finding.evidence]) == ("broken", ["it took one too many"])


def test_the_check_of_a_promise_that_is_not_examined_is_not_asked() -> None:
    asked: list[History] = []

    def listening(history: History) -> Answer:
        asked.append(history)
        return "kept", []

    judge(violated(Story.of(examines=())).history(), {PROMISE: listening})
    assert asked == []


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ((), "unknown"),
        (("kept",), "kept"),
        (("kept", "unknown"), "unknown"),
        (("unknown", "broken", "kept"), "broken"),
    ],
)
def test_the_worst_verdict_is_broken_then_unknown_then_kept(verdicts: tuple[Verdict, ...], expected: Verdict) -> None:
    assert worst(verdicts) == expected
