import dataclasses

import msgspec
import pytest

from poolproof.figures import Judged, judge_objectives
from poolproof.history import Outcome, Phase, Sample
from poolproof.plan import (
    Claims,
    Load,
    Objective,
    Step,
    completed,
    error_rate,
    longest,
    memory,
    own_lag,
    p50,
    p90,
    p95,
    p99,
    p999,
    recovery,
    throughput,
)
from tests.unit.histories import KILL, Story, ns

ANY_TIME = (p50() < "1ms", p99() < "1ms", longest() < "1ms", recovery() < "1ms", throughput() > 1000)


def judge_all(story: Story, *objectives: Objective, memory_mb: tuple[int, ...] = ()) -> tuple[Judged, ...]:
    history = story.history()
    scenario = msgspec.structs.replace(history.plan.scenario, objectives=objectives)
    samples = tuple(
        Sample(
            at=ns(number / 10),
            processes=1,
            zombies=0,
            memory_bytes=used * 1_000_000,
            generator_ticks=0,
            lab_threads=1,
            lab_files=1,
        )
        for number, used in enumerate(memory_mb)
    )
    plan = msgspec.structs.replace(history.plan, scenario=scenario)
    return judge_objectives(dataclasses.replace(history, plan=plan, samples=samples))


def judge(story: Story, objective: Objective, memory_mb: tuple[int, ...] = ()) -> Judged:
    (found,) = judge_all(story, objective, memory_mb=memory_mb)
    return found


def answered(count: int = 200, took: float = 0.02, kind: str = "predict") -> Story:
    """So many operations, one every 10 ms, each sent when it was due and answered soon after."""
    return Story().ops(count, 0.0, took=took, kind=kind, by=None)


def with_tail(slow: int, of: int = 1000, took: float = 0.5) -> Story:
    """So many operations of 20 ms, of which some took longer."""
    story = Story()
    for number in range(of):
        story.op(number / 1000, took if number < slow else 0.02, by=None)
    return story


# --- kept and broken --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objective", "verdict", "margin"),
    [
        (p99() < "40ms", "kept", 0.5),
        (p99() < "20ms", "broken", 0.0),
        (p99() <= "20ms", "kept", 0.0),
        (p99() < "16ms", "broken", -0.25),
        (throughput() > 25, "kept", 1.0),
        (throughput() >= 50, "kept", 0.0),
        (throughput() > 50, "broken", 0.0),
        (throughput() > 100, "broken", -0.5),
        (completed() >= 0.5, "kept", 1.0),
        (completed() > 0.8, "kept", 0.25),
        (error_rate() < 0.1, "kept", 1.0),
    ],
)
def test_a_figure_is_kept_or_broken_with_its_margin(objective: Objective, verdict: str, margin: float) -> None:
    found = judge(answered(), objective)
    assert (found.verdict, found.margin, found.why) == (verdict, margin, "")


def test_a_bound_of_nothing_has_no_margin() -> None:
    kept, broken = judge(answered(), error_rate() <= 0), judge(answered().fails(1.0), error_rate() <= 0)
    assert [(it.verdict, it.margin) for it in (kept, broken)] == [("kept", None), ("broken", None)]


def test_a_judgement_tells_the_objective_the_figure_and_the_bound() -> None:
    found = judge(answered(), p99("predict") < "40ms")
    assert found == Judged(
        objective="p99(predict) < 40 ms", value=20.0, bound=40.0, unit="ms", margin=0.5, verdict="kept"
    )


def test_objectives_are_judged_in_the_order_in_which_they_were_given() -> None:
    found = judge_all(answered(), p99() < "10ms", p50() < "40ms", error_rate() < 0.1)
    assert [it.verdict for it in found] == ["broken", "kept", "kept"]


def test_a_run_without_objectives_has_none_to_judge() -> None:
    assert judge_all(answered()) == ()


# --- response times ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objective", "slow", "value"),
    [
        (p50() < "1s", 500, 20.0),
        (p50() < "1s", 501, 500.0),
        (p90() < "1s", 100, 20.0),
        (p90() < "1s", 101, 500.0),
        (p95() < "1s", 50, 20.0),
        (p95() < "1s", 51, 500.0),
        (p99() < "1s", 10, 20.0),
        (p99() < "1s", 11, 500.0),
        (p999() < "1s", 1, 20.0),
        (p999() < "1s", 2, 500.0),
        (longest() < "1s", 0, 20.0),
        (longest() < "1s", 1, 500.0),
    ],
)
def test_a_percentile_is_exceeded_by_its_share_of_the_operations(objective: Objective, slow: int, value: float) -> None:
    assert judge(with_tail(slow), objective).value == value


@pytest.mark.parametrize(
    ("objective", "needed"),
    [(p50() < 1, 2), (p90() < 1, 10), (p95() < 1, 20), (p99() < 1, 100), (p999() < 1, 1000)],
)
def test_too_few_operations_tell_nothing_of_a_percentile(objective: Objective, needed: int) -> None:
    few, enough = judge(answered(needed - 1), objective), judge(answered(needed), objective)
    assert (few.verdict, few.value, few.margin) == ("unknown", None, None)
    assert few.why == f"{needed - 1} operations completed: {objective.figure} takes {needed} or more"
    assert enough.verdict == "kept"


def test_the_longest_takes_a_single_operation() -> None:
    assert judge(answered(1), longest() < 1).verdict == "kept"
    none = judge(Story().fails(0.1), longest("predict") < 1)
    assert (none.verdict, none.why) == ("unknown", "no operation of the kind predict completed")


def test_the_response_counts_from_when_an_operation_was_due() -> None:
    story = Story(claims=Claims(in_process=True)).ops(200, 0.5, gap=0, due=0.2, took=0.1, by=None)
    assert judge(story, p99() < 1).value == 400.0


def test_what_failed_and_what_was_not_measured_has_no_response_time() -> None:
    story = answered(100).fails(0.5, took=3.0).op(0.5, 3.0, phase=Phase.PROBE)
    assert judge(story, longest() < "1s").value == 20.0


def test_an_error_of_the_users_own_is_an_answer() -> None:
    story = answered(100).op(0.5, 0.9, outcome=Outcome.USER_ERROR, by=None)
    assert judge(story, longest() < "1s").value == 900.0


def test_operations_without_a_moment_have_no_response_time() -> None:
    story = answered(100)
    history = story.history()
    history.operations.due[:] = 0
    scenario = msgspec.structs.replace(history.plan.scenario, objectives=(p99() < 1,))
    history = dataclasses.replace(history, plan=msgspec.structs.replace(history.plan, scenario=scenario))
    assert judge_objectives(history)[0].why == "0 operations completed: p99 takes 100 or more"


# --- kinds ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objective", "value"),
    [
        (p99("batch") < 1, 100.0),
        (p99("predict") < 1, 20.0),
        (error_rate("batch") < 1, 0.5),
        (completed("predict") > 0, 1.0),
        (throughput("batch") > 0, 25.0),
    ],
)
def test_a_figure_of_one_kind_is_of_its_operations_alone(objective: Objective, value: float) -> None:
    story = answered(200).ops(100, 0.0, took=0.1, kind="batch", by=None)
    for number in range(100):
        story.fails(1.0 + number / 100, kind="batch")
    assert judge(story, objective).value == value


def test_of_a_kind_that_was_not_offered_nothing_is_known() -> None:
    found = judge(answered(), error_rate("batch") < 0.1)
    assert (found.verdict, found.why) == ("unknown", "no operation of the kind batch was offered")


def test_of_a_run_without_operations_nothing_is_known() -> None:
    found = judge(Story(), throughput() > 0)
    assert (found.verdict, found.why) == ("unknown", "no operation was offered")


# --- shares -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "outcome", [Outcome.WRONG, Outcome.POOL_ERROR, Outcome.REJECTED, Outcome.CANCELLED, Outcome.UNRESOLVED]
)
def test_whatever_did_not_complete_is_an_error(outcome: Outcome) -> None:
    story = answered(99)
    story.op(1.0, None if outcome is Outcome.UNRESOLVED else 0.1, outcome=outcome, by=None)
    found = judge_all(story, error_rate() < 0.5, completed() > 0.5)
    assert [it.value for it in found] == [0.01, 0.99]


@pytest.mark.parametrize(
    ("objective", "needed", "rate"),
    [
        (error_rate() < 0.01, 100, "0.01"),
        (error_rate() <= 0.1, 10, "0.1"),
        (error_rate() < 0.003, 334, "0.003"),
        (completed() > 0.99, 100, "0.01"),
        (completed() >= 0.9, 10, "0.1"),
        (completed() >= 0.95, 20, "0.05"),
        (completed() > 0.7, 4, "0.3"),
    ],
)
def test_a_rate_that_is_met_by_too_few_operations_is_not_known(objective: Objective, needed: int, rate: str) -> None:
    few, enough = judge(answered(needed - 1), objective), judge(answered(needed), objective)
    assert (few.verdict, few.value) == ("unknown", None)
    assert few.why == f"{needed - 1} operations were offered: a rate of {rate} takes {needed}"
    assert enough.verdict == "kept"


def test_a_rate_that_is_broken_by_few_operations_is_broken() -> None:
    assert judge(answered(4).fails(0.1), error_rate() < 0.01).verdict == "broken"


@pytest.mark.parametrize("objective", [error_rate() <= 0, completed() >= 1])
def test_that_nothing_at_all_fails_can_be_told_of_a_single_operation(objective: Objective) -> None:
    assert judge(answered(1), objective).verdict == "kept"


def test_a_rate_of_one_kind_says_of_which_it_takes_more() -> None:
    assert judge(answered(5), error_rate("predict") < 0.1).why.startswith("5 operations of the kind predict were off")


# --- throughput -------------------------------------------------------------------------------------------------------


def test_throughput_is_what_completed_within_the_window() -> None:
    story = answered(200).op(3.9, 0.1, by=None).op(3.9, 0.2, by=None).fails(1.0)
    # The window is of 4 s; the last of them completed after it.
    assert judge(story, throughput() > 10).value == 50.25


def test_there_is_no_throughput_without_a_window() -> None:
    found = judge(Story.of(load=Load(steps=(Step(rate=0, seconds=0),))).op(0.0, 0.1), throughput() > 1)
    assert (found.verdict, found.why) == ("unknown", "the load lasts no time")


# --- figures of the run -----------------------------------------------------------------------------------------------


def late(lag: float, count: int = 200, took: float = 0.02, claims: Claims | None = None) -> Story:
    """So many operations, each sent a little later than it was due."""
    story = Story(claims=claims or Claims())
    for number in range(count):
        due = number / 100
        story.op(due + lag, took - lag, due=due, by=None)
    return story


def test_the_lag_of_the_generator_can_be_an_objective() -> None:
    found = judge_all(late(0.0012), own_lag() < "2ms", own_lag() < "1ms")
    assert [(it.verdict, it.value) for it in found] == [("kept", 1.2), ("broken", 1.2)]


def test_the_lag_takes_a_hundred_operations() -> None:
    found = judge(late(0.001, 99), own_lag() < 1)
    assert (found.verdict, found.why) == ("unknown", "p99 takes 100 operations or more")


def test_memory_is_the_most_that_was_seen() -> None:
    found = judge_all(answered(), memory() < 100, memory() < 120, memory_mb=(80, 110, 90))
    assert [(it.verdict, it.value, it.unit) for it in found] == [("broken", 110.0, "MB"), ("kept", 110.0, "MB")]


def test_without_samples_nothing_is_known_of_memory() -> None:
    found = judge(answered(), memory() < 100)
    assert (found.verdict, found.why) == ("unknown", "no sample was taken: layer 1 simulates no memory")


def killed() -> Story:
    """Worker 11 is killed at 1 s; an operation fails of it at 1.1 s; four have answered since by 1.309 s."""
    story = Story.of(KILL).struck(11, 1.0).lived(11, gone=1.0)
    for number in range(100):
        story.op(0.01 * number, 0.02, by=(11, 12, 13, 14)[number % 4])
    for number in range(27, 300):
        story.op(1.0 + 0.01 * number, 0.02, by=(12, 13, 14, 15)[number % 4])
    return story.fails(1.05, took=0.05)


@pytest.mark.parametrize(
    ("objective", "value"),
    [
        (recovery("detect") < "1s", 100.0),
        (recovery("capacity") < "1s", 309.0),
        (recovery("steady") < "1s", 250.0),
    ],
)
def test_the_moments_of_recovery_can_be_objectives(objective: Objective, value: float) -> None:
    found = judge(killed().capacity(4, 4), objective)
    assert (found.verdict, found.value) == ("kept", value)


def test_a_moment_that_never_came_is_not_known() -> None:
    found = judge(killed().capacity(4, 3), recovery("capacity") < "1s")
    assert (found.verdict, found.why) == ("unknown", "that moment never came, or nothing showed it")


def test_there_is_no_recovery_where_no_fault_took_effect() -> None:
    found = judge(answered(), recovery() < "1s")
    assert (found.verdict, found.why) == ("unknown", "no fault took effect")


# --- the generator ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", [p50() < "1s", p50() < "1ms", throughput() > 1, throughput() > 1000])
def test_where_the_generator_was_the_bottleneck_times_and_throughput_say_nothing(objective: Objective) -> None:
    found = judge(late(0.005), objective)
    assert (found.verdict, found.why) == (
        "unknown",
        "the generator was the bottleneck: own lag p99 was 5.00 ms",
    )


def test_what_is_not_known_for_the_generators_sake_is_told_with_its_figure() -> None:
    found = judge(late(0.005), p50() < "40ms")
    assert (found.value, found.margin) == (20.0, 0.5)


@pytest.mark.parametrize("objective", [error_rate() < 0.1, completed() > 0.9, memory() < 100, own_lag() < "10ms"])
def test_a_late_generator_changes_nothing_about_shares_memory_and_its_own_lag(objective: Objective) -> None:
    assert judge(late(0.005), objective, (50,)).verdict == "kept"


def stopped_once(lag: float, of: int = 1000, claims: Claims | None = None) -> Story:
    """A generator that was stopped once, so shortly that its lag at p99 shows nothing of it."""
    story = Story(claims=claims or Claims())
    for number in range(of):
        late_by = lag if number in (500, 501) else 0.0
        story.op(number / 10 + late_by, 0.02, due=number / 10, by=None)
    return story


@pytest.mark.parametrize(("objective", "name"), [(p999() < "30ms", "p99.9"), (longest() < "30ms", "max")])
def test_a_tail_is_not_known_where_the_generators_own_tail_is_as_long(objective: Objective, name: str) -> None:
    found = judge(stopped_once(0.05), objective)
    assert (found.verdict, found.value) == ("unknown", 70.0)
    assert found.why == f"the generator was the bottleneck: its own lag was 50.00 ms at {name}"


@pytest.mark.parametrize("objective", [p999() < "50ms", longest() < "50ms", p99() < "30ms"])
def test_a_tail_is_judged_where_the_generators_own_is_below_a_tenth_of_the_bound(objective: Objective) -> None:
    assert judge(stopped_once(0.005), objective).verdict == "kept"


def test_a_tail_of_which_more_than_a_tenth_is_the_generators_own_is_not_known() -> None:
    assert judge(stopped_once(0.0051), longest() < "50ms").verdict == "unknown"


@pytest.mark.parametrize(("lag", "verdict"), [(0.001, "broken"), (0.0011, "unknown")])
def test_a_lag_of_a_millisecond_is_always_let_pass(lag: float, verdict: str) -> None:
    assert judge(stopped_once(lag), longest() < "2ms").verdict == verdict


def test_p99_does_not_ask_for_the_generators_tail() -> None:
    assert judge(stopped_once(0.5), p99() < "30ms").verdict == "kept"


def test_a_single_late_operation_is_below_the_lag_at_p999_and_not_below_the_longest() -> None:
    story = Story()
    for number in range(1000):
        late_by = 0.05 if number == 500 else 0.0
        story.op(number / 10 + late_by, 0.02, due=number / 10, by=None)
    found = judge_all(story, p999() < "30ms", longest() < "30ms")
    assert [it.verdict for it in found] == ["kept", "unknown"]


@pytest.mark.parametrize("objective", [p50() < "40ms", longest() < "40ms"])
def test_a_pool_in_the_generators_own_process_is_judged_by_times_all_the_same(objective: Objective) -> None:
    assert judge(late(0.005, claims=Claims(in_process=True)), objective).verdict == "kept"


# --- runs that did not go their whole way -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "detail", "why"),
    [
        ("void", "the keeper died", "void): the keeper died"),
        ("given-up", "backlog > 7: it was 8", "given-up): backlog > 7: it was 8"),
        ("exhausted", "", "exhausted): the users had no more turns"),
    ],
)
def test_what_is_met_by_a_run_that_did_not_go_its_whole_way_is_not_known(event: str, detail: str, why: str) -> None:
    found = judge(answered().event(event, 2.0, "load", detail=detail), p99() < "40ms")
    assert (found.verdict, found.value) == ("unknown", 20.0)
    assert found.why == f"the run did not go its whole way ({why}"


@pytest.mark.parametrize("event", ["void", "given-up", "exhausted"])
def test_a_time_that_is_broken_before_the_run_ended_is_broken(event: str) -> None:
    found = judge(answered().event(event, 2.0, "load", detail="why"), p99() < "10ms")
    assert (found.verdict, found.why) == ("broken", "")


@pytest.mark.parametrize("event", ["given-up", "exhausted"])
def test_a_rate_that_is_broken_before_the_load_was_given_up_is_broken(event: str) -> None:
    assert judge(answered(10).fails(1.0).event(event, 2.0, "load"), error_rate() < 0.01).verdict == "broken"


@pytest.mark.parametrize("event", ["void", "given-up", "exhausted"])
def test_a_run_that_ended_early_says_nothing_of_throughput(event: str) -> None:
    found = judge(answered().event(event, 2.0, "load", detail="why"), throughput() > 100)
    assert found.verdict == "unknown"


@pytest.mark.parametrize("objective", [error_rate() < 0.01, completed() > 0.99])
def test_operations_that_were_left_open_by_whoever_cut_the_run_short_are_no_failures(objective: Objective) -> None:
    story = answered().hangs(2.0).hangs(2.0).hangs(2.0).event("void", 2.1, detail="the keeper died")
    found = judge(story, objective)
    assert (found.verdict, found.why) == ("unknown", "the run was cut short: the keeper died")


@pytest.mark.parametrize("event", ["hung", "hung-in", "own-doing"])
def test_operations_that_were_left_open_by_a_pool_that_hung_or_ended_its_process_are_failures(event: str) -> None:
    story = answered().hangs(2.0).hangs(2.0).hangs(2.0).event("void", 2.1, detail="the lab exceeded its bound")
    assert judge(story.event(event, 2.1), error_rate() < 0.01).verdict == "broken"


@pytest.mark.parametrize("objective", ANY_TIME)
def test_nothing_is_broken_by_a_run_that_never_began(objective: Objective) -> None:
    assert judge(Story().event("void", 0.0, detail="it never began"), objective).verdict == "unknown"


# --- in words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("story", "objective", "told"),
    [
        (answered(), p99() < "40ms", "p99 < 40 ms: kept: 20 ms, margin +50%"),
        (answered(), p99() < "16ms", "p99 < 16 ms: broken: 20 ms, margin -25%"),
        (answered(), throughput() > 25, "throughput > 25/s: kept: 50/s, margin +100%"),
        (answered(), error_rate() <= 0, "error-rate <= 0: kept: 0"),
        (answered(9), p99() < 1, "p99 < 1000 ms: unknown: 9 operations completed: p99 takes 100 or more"),
        (
            late(0.005),
            p50() < "40ms",
            "p50 < 40 ms: unknown: 20 ms, margin +50%; the generator was the bottleneck: own lag p99 was 5.00 ms",
        ),
    ],
)
def test_a_judgement_is_told_in_a_line(story: Story, objective: Objective, told: str) -> None:
    assert judge(story, objective).describe() == told
