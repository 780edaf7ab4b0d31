"""What `poolproof.plan.problems` says of plans that make no sense, one by one."""

from typing import Any

import msgspec
import pytest

from poolproof.plan import LASTING, TARGETS, FaultSpec, Load, Placed, Plan, Step, problems
from tests.unit.simulation.worlds import make_plan

INF = float("inf")
NAN = float("nan")


def fault(**terms: Any) -> Plan:
    given: dict[str, Any] = {"kind": "kill", "count": 1, "at_s": 0.1} | terms
    return make_plan(FaultSpec(**given))


def load(**terms: Any) -> Plan:
    given: dict[str, Any] = {"steps": (Step(rate=1, seconds=1),)} | terms
    return make_plan(load=Load(**given))


def bounds(**terms: float) -> Plan:
    plan = make_plan()
    return msgspec.structs.replace(plan, bounds=msgspec.structs.replace(plan.bounds, **terms))


@pytest.mark.parametrize(
    "plan", [fault(), load(steps=(Step(rate=0, seconds=604_800),)), fault(kind="stall", for_s=60.0)]
)
def test_a_plan_that_makes_sense_has_no_problems(plan: Plan) -> None:
    assert problems(plan) == []


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (fault(at_s=-0.5), "at_s = -0.5: expected 0 or more"),
        (fault(at_s=INF), "at_s = inf: expected 0 or more"),
        (fault(at_s=NAN), "at_s = nan: expected 0 or more"),
        (fault(patience_s=-1.0), "patience_s = -1: expected 0 or more"),
        (fault(count=-1), "count = -1: expected 0 or more"),
        (fault(count=0, share=-0.1), "share = -0.1: expected 0 or more"),
        (fault(kind="delay", for_s=0.1, amount=-1.0), "amount = -1: expected 0 or more"),
        (fault(kind="stall", for_s=-1.0), "for_s = -1: expected 0 or more"),
        (fault(target="pool", count=0), "target = pool: expected worker or parent or forkserver"),
        (fault(kind="jump-clock", amount=1.0), "target = worker: expected pool"),
        (fault(count=0), "expected either a count or a share"),
        (fault(share=0.5), "expected either a count or a share"),
        (fault(count=0, share=1.5), "share = 1.5: expected at most 1"),
        (fault(kind="stall"), "for_s is missing"),
        (fault(for_s=1.0), "for_s = 1: it is done at once, and does not last"),
        (fault(kind="corrupt", for_s=0.1), "amount = 0: expected a share of the frames above 0"),
        (fault(kind="corrupt", for_s=0.1, amount=1.5), "amount = 1.5: expected a share of the frames above 0"),
        (fault(kind="delay", for_s=0.1), "amount is missing: expected seconds"),
        (fault(kind="slow-start", target="pool", count=0, for_s=0.1), "amount is missing: expected seconds"),
        (fault(kind="jump-clock", target="pool", count=0), "amount is missing: expected seconds"),
        (fault(kind="slow", for_s=0.1, amount=1.0), "amount = 1: expected a factor above 1"),
        (fault(at_s=1.5), "at_s = 1.5: the load is over after 1 s"),
        (load(steps=(Step(rate=1, seconds=-1),)), "steps[0]: seconds = -1: expected a time of 0 or more"),
        (load(steps=(Step(rate=1, seconds=INF),)), "steps[0]: seconds = inf"),
        (load(steps=(Step(rate=-1, seconds=1),)), "steps[0]: a rate below 0, or without end"),
        (load(steps=(Step(rate=NAN, seconds=1),)), "steps[0]: a rate below 0, or without end"),
        (load(steps=(Step(rate=1, seconds=1, to=-1),)), "steps[0]: a rate below 0, or without end"),
        (load(placed=(Placed(at_s=-1, kind="obey"),)), "placed[0]: at_s = -1, deadline_s = 0: expected times"),
        (load(placed=(Placed(at_s=0, kind="obey", deadline_s=-1),)), "placed[0]: at_s = 0, deadline_s = -1"),
        (load(idempotent=1.5), "idempotent = 1.5: expected a share between 0 and 1"),
        (load(burst=0), "burst below 1, or sessions or deadline_s below 0"),
        (load(sessions=-1), "burst below 1, or sessions or deadline_s below 0"),
        (load(deadline_s=-1.0), "burst below 1, or sessions or deadline_s below 0"),
        (load(steps=(Step(rate=1e7, seconds=2.1),)), "about 21,000,000 operations, the most is 20,000,000"),
        (load(steps=(Step(rate=0, seconds=2.1, to=2e7),)), "about 21,000,000 operations"),
        (load(steps=(Step(rate=0, seconds=604_801),)), "it lasts 604801 s, a week (604800 s) is the most"),
        (fault(kind="stall", for_s=60.5), "they last 60.5 s together, limits.max_fault_s = 60"),
        (make_plan(*(FaultSpec(kind="stall", count=1, at_s=0.1, for_s=31.0),) * 2), "they last 62 s together"),
        (bounds(close_s=0.0), "bounds: close_s is no time above 0"),
        (bounds(drain_s=INF), "bounds: drain_s is no time above 0"),
        (bounds(open_s=NAN), "bounds: open_s is no time above 0"),
        (make_plan(workers=0), "workers = 0: expected 1 to limits.max_processes"),
        (make_plan(examines=("flies",)), "unknown promise 'flies'"),
        (msgspec.structs.replace(fault(kind="delay", for_s=0.1, amount=1.0), layer=2), "only layer 1 can do that"),
        (msgspec.structs.replace(fault(target="forkserver", count=0), layer=3), "only layer 1 can do that"),
        (msgspec.structs.replace(fault(coincide="sent"), layer=2), "coincide = sent: only layer 1 can see that"),
        (msgspec.structs.replace(fault(coincide="any"), layer=3), "coincide = any: only layer 1 can see that"),
    ],
)
def test_what_makes_no_sense_is_told_and_nothing_else(plan: Plan, words: str) -> None:
    (found,) = (problem for problem in problems(plan) if words in problem)
    assert words in found


@pytest.mark.parametrize("kind", TARGETS)
def test_every_kind_of_fault_can_make_sense(kind: Any) -> None:
    target = TARGETS[kind][0]
    spec = FaultSpec(
        kind=kind,
        target=target,  # type: ignore[arg-type]
        count=int(target == "worker"),
        at_s=0.1,
        for_s=0.1 if kind in LASTING else 0.0,
        amount=2.0 if kind in ("slow", "delay", "slow-start", "jump-clock") else 0.5,
    )
    assert problems(make_plan(spec)) == []


@pytest.mark.parametrize(("kind", "target"), [("kill", "worker"), ("kill", "parent"), ("stall", "worker")])
def test_real_processes_can_be_killed_and_stopped(kind: Any, target: Any) -> None:
    plan = fault(kind=kind, target=target, for_s=0.1 if kind == "stall" else 0.0)
    assert problems(msgspec.structs.replace(plan, layer=2)) == []


def starts(kind: str, at_s: float, for_s: float) -> FaultSpec:
    return FaultSpec(kind=kind, target="pool", at_s=at_s, for_s=for_s, amount=0.1)  # type: ignore[arg-type]


@pytest.mark.parametrize(("at_s", "overlaps"), [(0.25, True), (0.49, True), (0.5, False), (0.9, False)])
def test_windows_of_starts_that_overlap_are_told(at_s: float, overlaps: bool) -> None:
    plan = make_plan(starts("refuse-start", 0.25, 0.25), starts("slow-start", at_s, 0.05))
    assert [" overlap: " in problem for problem in problems(plan)] == [True] * overlaps


def test_windows_of_other_faults_may_overlap() -> None:
    plan = make_plan(starts("refuse-start", 0.1, 0.5), FaultSpec(kind="stall", count=1, at_s=0.1, for_s=0.5), workers=2)
    assert problems(plan) == []


def test_everything_that_makes_no_sense_is_told_at_once() -> None:
    plan = msgspec.structs.replace(fault(count=0, share=2.0, at_s=-1.0), workers=0)
    assert len(problems(plan)) == 3


def test_a_load_in_multiples_of_the_capacity_is_not_counted() -> None:
    assert problems(load(steps=(Step(rate=1e9, seconds=1),), service_s=0.02)) == []


@pytest.mark.parametrize(
    "change",
    [{"service_ms": {"predict": -5.0}}, {"service_spread": -1.0}, {"service_spread": INF}, {"layer": 7}],
    ids=str,
)
def test_a_plan_of_impossible_operations_makes_no_sense(change: dict[str, Any]) -> None:
    assert problems(msgspec.structs.replace(make_plan(), **change)) != []


@pytest.mark.parametrize("terms", [{"warm_up": -1}, {"warm_up": 10**12}, {"service_s": -1.0}, {"steps": ()}], ids=str)
def test_a_load_that_can_not_be_laid_out_makes_no_sense(terms: dict[str, Any]) -> None:
    assert problems(load(**terms)) != []
