import random
from collections import Counter
from functools import cache
from typing import Any

import msgspec
import pytest

from poolproof.checks import CHECKS
from poolproof.exploration.swarm import BOUNDS, LIMITS, MOST_FAULTS, _overlap, examined, is_fair, random_plan
from poolproof.plan import (
    ON_STARTS,
    REAL,
    TARGETS,
    FaultSpec,
    Load,
    Placed,
    Plan,
    Stage,
    Step,
    decode,
    encode,
    problems,
)
from poolproof.pools import build_core
from poolproof.simulation import simulate
from tests.unit.simulation.worlds import TARGET, make_plan

SEEDS = range(300)
WHOLE: tuple[Stage, ...] = ("open", "probe-before", "load", "drain", "probe-after", "close")
LOAD = Load(steps=(Step(rate=100, seconds=1),))
KILL = FaultSpec(kind="kill", count=1, at_s=0.1)


@cache
def plan_of(seed: int, layer: int = 1) -> Plan:
    return random_plan(TARGET, seed, layer=layer)


PLANS = [plan_of(seed) for seed in SEEDS]
FAULTS = [spec for plan in PLANS for spec in plan.scenario.faults]


# --- plans ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [1, 2])
def test_every_plan_makes_sense(layer: int) -> None:
    assert [(seed, found) for seed in SEEDS if (found := problems(plan_of(seed, layer)))] == []


@pytest.mark.parametrize("layer", [1, 2])
def test_every_plan_is_read_back_as_it_was_written(layer: int) -> None:
    assert [seed for seed in SEEDS if decode(encode(plan_of(seed, layer))) != plan_of(seed, layer)] == []


def test_the_same_seed_gives_the_same_plan() -> None:
    assert [random_plan(TARGET, seed) for seed in SEEDS] == PLANS


def test_hardly_two_seeds_give_the_same_plan() -> None:
    scenarios = {msgspec.json.encode(msgspec.structs.replace(plan.scenario, name="")) for plan in PLANS}
    assert len(scenarios) > 0.95 * len(PLANS)


def test_drawing_a_plan_leaves_the_chance_of_others_alone() -> None:
    before = random.getstate()
    random_plan(TARGET, 1)
    assert random.getstate() == before


def test_every_pool_can_be_made() -> None:
    for plan in PLANS:
        build_core(plan.target, plan.workers, plan.options)


def test_every_plan_examines_promises_that_there_are_and_each_once() -> None:
    for plan in PLANS:
        names = plan.scenario.examines
        assert set(names) <= CHECKS.keys()
        assert len(set(names)) == len(names)


def test_faults_come_in_the_order_of_their_moments() -> None:
    for plan in PLANS:
        moments = [spec.at_s for spec in plan.scenario.faults]
        assert moments == sorted(moments)


def test_a_plan_has_so_many_faults_at_most_and_some_have_none() -> None:
    counts = Counter(len(plan.scenario.faults) for plan in PLANS)
    assert (max(counts) <= MOST_FAULTS, counts[0] > 0) == (True, True)


def test_every_fault_that_layer_1_can_do_is_drawn() -> None:
    drawn = {(spec.kind, spec.target) for spec in FAULTS}
    wanted = {(kind, target) for kind, targets in TARGETS.items() for target in targets} - {("kill", "parent")}
    assert drawn == wanted


@pytest.mark.parametrize(
    "name",
    [
        *("max_queue", "min_workers", "ttl_s", "operations", "age_s"),
        *("stall_s", "start_s", "stop_s", "shrink_s", "max_retries"),
    ],
)
def test_every_option_is_in_some_plans_and_not_in_others(name: str) -> None:
    share = sum(name in plan.options for plan in PLANS) / len(PLANS)
    assert 0.02 < share < 0.95


def test_no_fault_begins_after_its_load() -> None:
    assert all(spec.at_s < plan.scenario.load.seconds for plan in PLANS for spec in plan.scenario.faults)


def test_no_two_windows_in_which_starts_fail_overlap() -> None:
    for plan in PLANS:
        starts = [spec for spec in plan.scenario.faults if spec.kind in ON_STARTS]
        assert not any(_overlap(one, other) for one in starts for other in starts if one is not other)


def test_real_processes_get_faults_that_they_can_have() -> None:
    faults = [spec for seed in SEEDS for spec in plan_of(seed, 2).scenario.faults]
    assert {(spec.kind in REAL, spec.target, spec.coincide) for spec in faults} == {(True, "worker", "in-flight")}


def test_real_processes_get_no_options() -> None:
    assert all(plan_of(seed, 2).options == {} for seed in SEEDS)


def test_a_plan_without_a_load_has_no_faults() -> None:
    assert all("load" in plan.scenario.stages for plan in PLANS if plan.scenario.faults)


def test_no_clock_jumps_while_a_pool_is_closed() -> None:
    kinds = {spec.kind for plan in PLANS if "drain" not in plan.scenario.stages for spec in plan.scenario.faults}
    assert "jump-clock" not in kinds


def test_a_pool_that_may_not_queue_much_has_no_sessions_and_all_its_workers() -> None:
    bounded = [plan for plan in PLANS if "max_queue" in plan.options]
    assert {(plan.scenario.load.sessions, "min_workers" in plan.options) for plan in bounded} <= {(0, False)}


def test_a_strict_session_does_not_expire() -> None:
    assert not any("ttl_s" in plan.options for plan in PLANS if plan.options["affinity"] == "strict")


def test_a_start_that_hangs_is_given_up_within_the_time_of_a_plan() -> None:
    hanging = [plan for plan in PLANS if any(spec.kind == "hang-start" for spec in plan.scenario.faults)]
    assert hanging
    assert all(plan.options["start_s"] for plan in hanging)


def test_every_plan_has_the_same_bounds_and_limits() -> None:
    assert {(plan.bounds, plan.limits) for plan in PLANS} == {(BOUNDS, LIMITS)}


@pytest.mark.parametrize("seed", range(40))
def test_every_plan_can_be_carried_out(seed: int) -> None:
    assert simulate(plan_of(seed)).lifecycle[-1].event == "lab-ended"


# --- what may be asked of a pool --------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [1, 2])
def test_every_plan_is_fair(layer: int) -> None:
    assert [seed for seed in SEEDS if not is_fair(plan_of(seed, layer))] == []


HANGING = FaultSpec(kind="hang-start", target="pool", at_s=0.1, for_s=0.2)
JUMP = FaultSpec(kind="jump-clock", target="pool", at_s=0.1, amount=1.5)
CLOSING: tuple[Stage, ...] = ("open", "load", "close")
IN_A_HURRY = Load(steps=LOAD.steps, deadline_s=0.1)
WITH_SESSIONS = Load(steps=LOAD.steps, sessions=2)


@pytest.mark.parametrize(
    ("fair", "unfair"),
    [
        (make_plan(HANGING, start_s=0.3), make_plan(HANGING)),
        (make_plan(JUMP), make_plan(JUMP, stages=CLOSING)),
        (make_plan(stages=WHOLE), make_plan(stages=("open", "load", "drain", "probe-after", "close"))),
        (make_plan(stages=WHOLE), make_plan(stages=("open", "probe-before", "load", "probe-after", "close"))),
        (make_plan(affinity="restart", ttl_s=0.1), make_plan(affinity="strict", ttl_s=0.1)),
        (make_plan(affinity="hint", load=IN_A_HURRY), make_plan(affinity="strict", load=IN_A_HURRY)),
        (
            make_plan(affinity="strict", placed=(Placed(at_s=0.1, kind="obey"),)),
            make_plan(affinity="strict", placed=(Placed(at_s=0.1, kind="obey", deadline_s=0.1),)),
        ),
        (make_plan(max_queue=3, stop_s=0.1), make_plan(max_queue=3, min_workers=1)),
        (make_plan(max_queue=3, load=LOAD), make_plan(max_queue=3, load=WITH_SESSIONS)),
        (
            make_plan(max_queue=3, placed=(Placed(at_s=0.1, kind="obey"),)),
            make_plan(max_queue=3, placed=(Placed(at_s=0.1, kind="obey", session=0),)),
        ),
    ],
)
def test_a_plan_that_asks_for_what_no_documentation_promises_is_not_fair(fair: Plan, unfair: Plan) -> None:
    assert (is_fair(fair), is_fair(unfair)) == (True, False)


# --- what a plan examines ---------------------------------------------------------------------------------------------


def asked(
    *faults: FaultSpec, stages: tuple[Stage, ...] = WHOLE, load: dict[str, Any] | None = None, **options: Any
) -> tuple[str, ...]:
    return examined(stages, options, msgspec.structs.replace(LOAD, **(load or {})), faults)


def of_kind(kind: Any, **terms: Any) -> FaultSpec:
    return FaultSpec(kind=kind, at_s=0.1, **terms)


SHORT = of_kind("refuse-start", for_s=0.01)
LOOP = asked(KILL, SHORT)
"""A crash loop that is over before a pool gives up."""

ALWAYS = {
    *("resolves-every-operation", "runs-at-most-once", "returns-the-right-result"),
    *("types-every-error", "closes-cleanly", "leaves-nothing-behind"),
}


def test_what_every_pool_promises_is_always_examined() -> None:
    assert all(set(plan.scenario.examines) >= ALWAYS for plan in PLANS)


@pytest.mark.parametrize(
    ("promise", "yes", "no"),
    [
        ("contains-the-blast", asked(KILL), asked()),
        ("contains-the-blast", asked(of_kind("jump-clock")), asked()),
        ("contains-the-blast", asked(KILL, of_kind("slow-start")), asked(KILL, of_kind("refuse-start", for_s=9.0))),
        ("contains-the-blast", asked(KILL), asked(KILL, of_kind("slow-start"), start_s=0.1)),
        ("contains-the-blast", asked(KILL, start_s=0.1), asked(KILL, of_kind("jump-clock"), start_s=0.1)),
        ("contains-the-blast", LOOP, asked(KILL, SHORT, of_kind("stall"))),
        ("contains-the-blast", LOOP, asked(KILL, SHORT, operations=3)),
        ("contains-the-blast", LOOP, asked(KILL, SHORT, load={"deadline_s": 0.1})),
        ("contains-the-blast", LOOP, asked(of_kind("kill", target="forkserver"), SHORT)),
        ("restores-capacity", asked(KILL), asked(KILL, stages=("open", "load", "close"))),
        ("restores-capacity", asked(KILL), asked(KILL, of_kind("hang-start"))),
        ("survives-worker-death", asked(KILL), asked(of_kind("stall"))),
        ("survives-worker-death", asked(KILL), asked(KILL, of_kind("fail-start", for_s=9.0))),
        ("isolates-sessions", asked(load={"sessions": 2}), asked()),
        ("keeps-session-order", asked(load={"sessions": 2}), asked()),
        ("keeps-session-order", asked(load={"sessions": 2}), asked(load={"sessions": 2}, stages=("close-loaded",))),
        ("keeps-sessions-sticky", asked(load={"sessions": 2}), asked(load={"sessions": 2}, affinity="hint")),
        ("keeps-sessions-sticky", asked(load={"sessions": 2}), asked(load={"sessions": 2}, ttl_s=0.1)),
        ("keeps-sessions-sticky", asked(load={"sessions": 2}), asked(load={"sessions": 2}, operations=3)),
        ("keeps-sessions-sticky", asked(load={"sessions": 2}), asked(load={"sessions": 2}, age_s=1.0)),
        ("serves-fairly", asked(), asked(load={"sessions": 2})),
        ("serves-fairly", asked(), asked(load={"deadline_s": 0.1})),
        ("serves-fairly", asked(KILL), asked(KILL, of_kind("stall"))),
        ("serves-fairly", asked(), asked(of_kind("jump-clock"))),
        ("honours-deadlines", asked(load={"deadline_s": 0.1}), asked()),
        (
            "honours-deadlines",
            asked(of_kind("jump-clock", amount=0.1), load={"deadline_s": 0.1}),
            asked(of_kind("jump-clock", amount=1.5), load={"deadline_s": 0.1}),
        ),
        ("sheds-overload", asked(max_queue=3), asked()),
        ("sheds-overload", asked(max_queue=3), asked(max_queue=10)),
        ("sheds-overload", asked(max_queue=3), asked(KILL, max_queue=3)),
    ],
)
def test_a_promise_is_examined_where_a_run_can_tell_something_of_it(
    promise: str, yes: tuple[str, ...], no: tuple[str, ...]
) -> None:
    assert (promise in yes, promise in no) == (True, False)
