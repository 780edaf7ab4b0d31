from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolproof.checks import Finding
from poolproof.exploration import shrink
from poolproof.exploration.shrink import Shrinker, _minimise, _with_faults, breaks
from poolproof.plan import FaultSpec, Load, Placed, Plan, Step, problems
from tests.unit.simulation.test_lab import against
from tests.unit.simulation.worlds import make_plan

PROMISE = "resolves-every-operation"
A = FaultSpec(kind="kill", count=1, at_s=0.1)
B = FaultSpec(kind="stall", count=1, at_s=0.2, for_s=0.2)
C = FaultSpec(kind="delay", count=1, at_s=0.3, for_s=0.2, amount=0.01)
D = FaultSpec(kind="lose-states", count=1, at_s=0.4)
OPERATIONS = tuple(Placed(at_s=number / 100, kind="obey", command=("answer", number)) for number in range(20))

Breaks = Callable[[Plan, str], bool]


def kinds(plan: Plan) -> set[str]:
    return {spec.kind for spec in plan.scenario.faults}


def numbers(plan: Plan) -> set[Any]:
    return {entry.command[1] for entry in plan.scenario.load.placed}


def needs(plan: Plan, promise: str) -> bool:
    """The promise is broken as long as two faults and two operations are there."""
    return kinds(plan) >= {"kill", "delay"} and numbers(plan) >= {3, 17}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Plan, bool]]:
    """What was tried, and what came of it, where `needs` says what breaks."""
    return stub(monkeypatch, needs)


def stub(monkeypatch: pytest.MonkeyPatch, answer: Breaks) -> list[tuple[Plan, bool]]:
    tried: list[tuple[Plan, bool]] = []

    def stubbed(plan: Plan, promise: str) -> bool:
        found = answer(plan, promise)
        tried.append((plan, found))
        return found

    monkeypatch.setattr(shrink, "breaks", stubbed)
    return tried


def large(**plan: Any) -> Plan:
    return make_plan(A, B, C, D, placed=OPERATIONS, **plan)


# --- the smallest -----------------------------------------------------------------------------------------------------


def test_what_is_left_is_what_it_needs_and_nothing_else(asked: list[tuple[Plan, bool]]) -> None:
    smallest = Shrinker(large(), PROMISE).shrink()
    assert (sorted(spec.kind for spec in smallest.scenario.faults), sorted(numbers(smallest))) == (
        ["delay", "kill"],
        [3, 17],
    )


def test_the_result_is_one_that_broke_the_promise(asked: list[tuple[Plan, bool]]) -> None:
    smallest = Shrinker(large(), PROMISE).shrink()
    assert (smallest, True) in asked


def test_nothing_is_accepted_that_does_not_break(asked: list[tuple[Plan, bool]]) -> None:
    shrinker = Shrinker(large(), PROMISE)
    accepted = [shrinker.plan]
    attempt = shrinker._try

    def watched(candidate: Plan) -> bool:
        found = attempt(candidate)
        accepted.append(shrinker.plan)
        return found

    shrinker._try = watched  # type: ignore[method-assign]
    shrinker.shrink()
    broken = [plan for plan, found in asked if found]
    assert all(plan in broken for plan in accepted if plan != large())


def test_a_plan_of_which_nothing_can_be_left_out_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    stub(monkeypatch, lambda plan, promise: False)
    assert Shrinker(large(), PROMISE).shrink() == large()


def test_what_is_left_examines_the_one_promise(asked: list[tuple[Plan, bool]]) -> None:
    assert Shrinker(large(), PROMISE).shrink().scenario.examines == (PROMISE,)


def test_the_promise_in_question_is_the_one_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    stub(monkeypatch, lambda plan, promise: promise == PROMISE)
    assert Shrinker(large(), PROMISE).shrink() != large()


def test_nothing_is_tried_that_makes_no_sense(asked: list[tuple[Plan, bool]]) -> None:
    Shrinker(large(), PROMISE).shrink()
    assert [found for plan, _ in asked if (found := problems(plan))] == []


def test_a_fault_is_not_moved_beyond_the_end_of_the_load(monkeypatch: pytest.MonkeyPatch) -> None:
    late = FaultSpec(kind="kill", count=1, at_s=0.96, coincide="any")
    tried = stub(monkeypatch, lambda plan, promise: bool(plan.scenario.faults))
    Shrinker(make_plan(late, seconds=0.97), PROMISE).shrink()
    assert max(spec.at_s for plan, _ in tried for spec in plan.scenario.faults) <= 0.97


def test_a_candidate_that_can_not_be_run_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(plan: Plan, promise: str) -> bool:
        if len(plan.scenario.faults) < 4:
            raise AssertionError
        return needs(plan, promise)

    stub(monkeypatch, failing)
    assert kinds(Shrinker(large(), PROMISE).shrink()) == kinds(large())


@given(st.sets(st.integers(0, 19)), st.sets(st.sampled_from([A, B, C, D]), max_size=4))
def test_whatever_it_needs_is_what_is_left(wanted: set[int], faults: set[FaultSpec]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stub(patch, lambda plan, _: numbers(plan) >= wanted and kinds(plan) >= {spec.kind for spec in faults})
        smallest = Shrinker(large(), PROMISE, 5000).shrink()
    assert (numbers(smallest), kinds(smallest)) == (wanted, {spec.kind for spec in faults})


# --- how much it takes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [0, 1, 7, 40])
def test_no_more_runs_are_made_than_allowed(asked: list[tuple[Plan, bool]], most: int) -> None:
    shrinker = Shrinker(large(), PROMISE, most)
    shrinker.shrink()
    assert len(asked) == shrinker.runs == most


def test_every_run_is_counted(asked: list[tuple[Plan, bool]]) -> None:
    shrinker = Shrinker(large(), PROMISE)
    shrinker.shrink()
    assert 0 < shrinker.runs == len(asked) < 400


def test_a_load_that_does_not_matter_is_soon_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    stub(monkeypatch, lambda plan, promise: True)
    shrinker = Shrinker(make_plan(rate=100, stages=("close-loaded",)), PROMISE)
    shrinker.shrink()
    assert shrinker.runs < 100


@given(st.sets(st.integers(0, 40)), st.integers(1, 41))
def test_leaving_out_chunks_comes_down_to_what_is_needed(wanted: set[int], size: int) -> None:
    left = list(range(size))
    wanted &= set(left)

    def keep(rest: Any) -> bool:
        if wanted <= set(rest):
            left[:] = rest
            return True
        return False

    _minimise(lambda: list(left), keep)
    assert left == sorted(wanted)


# --- weaker -----------------------------------------------------------------------------------------------------------


def left_of(monkeypatch: pytest.MonkeyPatch, plan: Plan, breaking: Callable[[Plan], bool]) -> Plan:
    stub(monkeypatch, lambda candidate, promise: breaking(candidate))
    return Shrinker(plan, PROMISE).shrink()


def one_fault(**terms: Any) -> Plan:
    return make_plan(FaultSpec(**({"at_s": 0.1} | terms)), placed=OPERATIONS[:1])


def has_fault(plan: Plan) -> bool:
    return bool(plan.scenario.faults)


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({"kind": "kill", "count": 3}, {"count": 1}),
        ({"kind": "kill", "share": 0.5}, {"count": 1, "share": 0.0}),
        ({"kind": "kill", "count": 1, "coincide": "in-flight"}, {"coincide": "any"}),
        ({"kind": "stall", "count": 1, "for_s": 1.0}, {"for_s": 0.0078}),
        ({"kind": "partition", "count": 1, "for_s": 0.01}, {"toward": "pool"}),
        ({"kind": "kill", "count": 1, "at_s": 0.234}, {"at_s": 0.2}),
    ],
)
def test_a_fault_becomes_as_weak_as_it_can(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], left: dict[str, Any]
) -> None:
    (spec,) = left_of(monkeypatch, one_fault(**given), has_fault).scenario.faults
    assert {name: getattr(spec, name) for name in left} == left


def test_a_direction_that_is_not_needed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = one_fault(kind="partition", count=1, for_s=0.01)
    smallest = left_of(monkeypatch, plan, lambda it: any(spec.toward != "pool" for spec in it.scenario.faults))
    assert smallest.scenario.faults[0].toward == "worker"


def test_a_pool_becomes_as_small_as_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = msgspec.structs.replace(make_plan(workers=4, stop_s=0.1, max_queue=3), service_spread=0.3)
    smallest = left_of(monkeypatch, plan, lambda it: it.workers > 1)
    assert (smallest.workers, smallest.options, smallest.service_spread) == (2, {}, 0.0)


def test_options_that_are_needed_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan(stop_s=0.1, max_queue=3)
    assert left_of(monkeypatch, plan, lambda it: "max_queue" in it.options).options == {"max_queue": 3}


def test_stages_that_are_not_needed_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan(stages=("open", "probe-before", "load", "drain", "probe-after", "close"))
    assert left_of(monkeypatch, plan, lambda it: "load" in it.scenario.stages).scenario.stages == ("open", "load")


def test_what_an_operation_does_not_need_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Placed(at_s=0.0, kind="obey", command=("answer", 1), session=2, idempotent=True, deadline_s=0.5)
    smallest = left_of(monkeypatch, make_plan(placed=(entry,)), lambda it: bool(it.scenario.load.placed))
    assert smallest.scenario.load.placed == (Placed(at_s=0.0, kind="obey", command=("answer", 1)),)


def test_a_load_that_can_not_be_written_out_becomes_simpler(monkeypatch: pytest.MonkeyPatch) -> None:
    load = Load(
        steps=(Step(rate=100, seconds=0.1), Step(rate=10, seconds=0.1)),
        sessions=3,
        burst=2,
        deadline_s=0.5,
        idempotent=0.5,
        warm_up=8,
    )

    def breaking(plan: Plan) -> bool:
        found = plan.scenario.load
        return not found.placed and any(step.rate > 5 for step in found.steps) and bool(found.sessions)

    found = left_of(monkeypatch, make_plan(load=load), breaking).scenario.load
    assert (found.sessions, found.burst, found.deadline_s, found.idempotent, found.warm_up) == (3, 1, 0.0, 0.0, 1)
    assert [5 < step.rate <= 10 for step in found.steps] == [True]


def test_operations_are_written_out_where_that_breaks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    smallest = left_of(monkeypatch, make_plan(rate=50), lambda it: "load" in it.scenario.stages)
    assert smallest.scenario.load.steps == (Step(rate=0.0, seconds=1.0),)


# --- the true thing ---------------------------------------------------------------------------------------------------


def test_a_plan_that_breaks_nothing_does_not_break() -> None:
    assert breaks(make_plan(rate=20), PROMISE) is False


def test_a_plan_that_breaks_another_promise_does_not_break_this_one() -> None:
    assert [breaks(against("ignoring"), name) for name in ("closes-cleanly", PROMISE)] == [True, False]


def test_what_the_world_itself_saw_breaks_a_promise_in_a_plan_that_tells_nothing_else_of_it() -> None:
    assert breaks(against("resending", rate=20), "survives-worker-death") is True


@pytest.mark.parametrize(("plan", "told"), [(make_plan(A), True), (make_plan(), False)])
def test_what_a_check_says_counts_in_a_plan_that_can_tell_of_it(
    monkeypatch: pytest.MonkeyPatch, plan: Plan, told: bool
) -> None:
    promise = "survives-worker-death"
    monkeypatch.setattr(shrink, "judge", lambda history: (Finding(promise=promise, verdict="broken"),))
    assert breaks(plan, promise) is told


def test_a_plan_that_is_not_fair_does_not_break() -> None:
    unfair = FaultSpec(kind="jump-clock", target="pool", at_s=0.1, amount=1.5)
    plans = (against("ignoring"), against("ignoring", stages=("open", "load", "close")))
    assert [breaks(_with_faults(plan, (unfair,)), "closes-cleanly") for plan in plans] == [True, False]


def test_a_true_failure_is_shrunk_to_next_to_nothing() -> None:
    plan = against("ignoring", rate=50)
    smallest = Shrinker(plan, "closes-cleanly").shrink()
    assert (smallest.scenario.stages, smallest.workers, smallest.scenario.load.placed) == (("open", "close"), 1, ())
