import dataclasses
import gc
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest

from poolproof.checks import judge
from poolproof.errors import TargetError, UsageError
from poolproof.experiment import SCENARIOS
from poolproof.experiment.scenarios import Ingredients
from poolproof.exploration.swarm import random_plan
from poolproof.history import History, Outcome, Phase, digest
from poolproof.plan import FaultSpec, Load, Placed, Plan, Step, Target, problems
from poolproof.pools.sessionpool import SessionPoolCore
from poolproof.simulation import Marks, materialise, simulate
from sessionpool.core import Core, Forget, Send, Start
from tests.unit.simulation.worlds import TARGET, make_plan

GIVEN = Ingredients(rate_per_s=200.0, seconds=2.0, arrivals="poisson", warm_up=4, workers=4)
SIMULATED = sorted(SCENARIOS.keys() - {"awkward-work", "parent-death"})
KILL = FaultSpec(kind="kill", count=1, at_s=0.3)


def of(name: str, seed: int = 1) -> Plan:
    plan = make_plan(workers=4, seed=seed)
    return msgspec.structs.replace(plan, scenario=SCENARIOS[name](GIVEN))


@cache
def run_of(name: str) -> History:
    return simulate(of(name))


def events(history: History, name: str) -> list[tuple[str, str]]:
    return [(event.stage, event.detail) for event in history.lifecycle if event.event == name]


def placed(*command: Any, at_s: float = 0.0, **terms: Any) -> Placed:
    return Placed(at_s=at_s, kind="obey", command=command, **terms)


# --- every scenario ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SIMULATED)
def test_the_true_pool_breaks_no_promise_in_a_simulated_scenario(name: str) -> None:
    assert {finding.promise for finding in judge(run_of(name)) if finding.verdict == "broken"} == set()


@pytest.mark.parametrize("name", SIMULATED)
def test_the_faults_of_a_scenario_take_effect(name: str) -> None:
    assert [fault.why for fault in run_of(name).faults if fault.effective != "yes"] == []


@pytest.mark.parametrize("name", SIMULATED)
def test_every_operation_of_a_scenario_has_an_outcome(name: str) -> None:
    assert not np.any(run_of(name).operations.outcome == Outcome.UNRESOLVED)


@pytest.mark.parametrize("name", SIMULATED)
def test_each_stage_that_begins_ends(name: str) -> None:
    history = run_of(name)
    assert [stage for stage, _ in events(history, "stage")] == [stage for stage, _ in events(history, "stage-ended")]


def test_a_workload_that_is_not_scripted_is_refused() -> None:
    with pytest.raises(UsageError, match="use --workload scripted, or --layer 2"):
        simulate(make_plan(workload="tests.unit.samples:doubling"))


def test_a_kind_that_there_is_not_is_refused() -> None:
    with pytest.raises(UsageError, match="has no kind 'odd', which the plan places"):
        simulate(make_plan(placed=(Placed(at_s=0.0, kind="odd"),)))


def test_an_option_that_there_is_not_is_refused() -> None:
    with pytest.raises(TargetError, match="can't be made with"):
        simulate(make_plan(colour="red"))


@pytest.mark.parametrize("command", [("wait",), ("wait", "", 1), ("meet", 3), ("frobnicate", 1), ("fail",), ("exit",)])
def test_a_placed_command_that_no_worker_can_obey_is_refused(command: tuple[Any, ...]) -> None:
    with pytest.raises(UsageError):
        simulate(make_plan(placed=(placed(*command),)))


def test_the_death_of_the_pools_own_process_is_refused_or_has_no_effect() -> None:
    plan = make_plan(FaultSpec(kind="kill", target="parent", at_s=0.1), rate=50)
    assert problems(plan) or [fault.effective for fault in simulate(plan).faults] == ["no"]


@pytest.mark.parametrize("stages", [(), ("load",), ("close", "open")])
def test_stages_that_use_what_is_not_open_make_no_sense(stages: Any) -> None:
    assert problems(make_plan(stages=stages)) != []


# --- the same again ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_the_same_plan_gives_the_same_history_to_the_byte(seed: int) -> None:
    plan = random_plan(TARGET, seed)
    assert digest(simulate(plan)) == digest(simulate(plan))


def test_another_seed_gives_another_history() -> None:
    one, other = (digest(simulate(make_plan(rate=50, seed=seed))) for seed in (1, 2))
    assert one != other


@pytest.mark.parametrize("seed", range(12))
def test_looking_on_changes_nothing(seed: int) -> None:
    plan = random_plan(TARGET, seed)
    assert digest(simulate(plan)) == digest(simulate(plan, Marks()))


def test_a_run_before_changes_nothing() -> None:
    plan = make_plan(KILL, rate=50)
    before = digest(simulate(plan))
    simulate(make_plan(rate=200, seed=9))
    gc.collect()
    assert digest(simulate(plan)) == before


# --- what is written down ---------------------------------------------------------------------------------------------


def test_every_life_is_written_down_where_a_pool_is_opened_again_and_again() -> None:
    history = simulate(make_plan(rate=50, stages=("cycles", "open", "load", "drain", "close")))
    lives = {(life.pid, life.start_time) for life in history.incarnations}
    ran = zip(history.executions.pid.tolist(), history.executions.start_time.tolist(), strict=True)
    assert set(ran) <= lives


def test_no_life_ends_before_it_begins() -> None:
    stages: Any = ("open", "close", "open", "load", "drain")
    history = simulate(make_plan(rate=50, stages=stages))
    assert [life for life in history.incarnations if 0 < life.gone < life.seen] == []


def test_every_operation_of_a_stopped_pool_is_refused() -> None:
    history = simulate(make_plan(rate=50))
    after = history.operations.phase == Phase.AFTER_CLOSE
    assert history.operations.outcome[after].tolist() == [Outcome.REJECTED]


@pytest.mark.parametrize(
    ("command", "outcome"),
    [
        (("answer", 3), Outcome.OK),
        (("garble", 3), Outcome.WRONG),
        (("fail", "sorry"), Outcome.USER_ERROR),
        (("exit", 3), Outcome.POOL_ERROR),
    ],
)
def test_an_operation_ends_as_its_command_says(command: tuple[Any, ...], outcome: Outcome) -> None:
    history = simulate(make_plan(placed=(placed(*command),)))
    measured = history.operations.phase == Phase.MEASURED
    assert history.operations.outcome[measured].tolist() == [outcome]


def test_operations_are_sent_when_they_are_due() -> None:
    history = simulate(make_plan(rate=50))
    measured = history.operations.phase == Phase.MEASURED
    assert np.array_equal(history.operations.due[measured], history.operations.sent[measured])


def test_a_probe_counts_how_many_run_at_once() -> None:
    history = simulate(make_plan(stages=("open", "probe-before", "close"), workers=3))
    assert [(event.stage, event.value) for event in history.lifecycle if event.event == "capacity"] == [
        ("probe-before", 3)
    ]


def test_what_is_closed_with_work_in_flight_has_work_in_flight() -> None:
    history = simulate(make_plan(stages=("close-loaded",)))
    (unresolved,) = [event.value for event in history.lifecycle if event.event == "closing"]
    assert unresolved


def test_what_is_cancelled_by_a_close_is_so() -> None:
    history = simulate(make_plan(stages=("close-cancelling",)))
    assert np.any(history.operations.outcome == Outcome.CANCELLED)


def test_the_states_of_a_session_are_counted_through_and_bear_its_name() -> None:
    entries = tuple(placed("answer", number, at_s=number / 10, session=3) for number in range(3))
    executions = simulate(make_plan(placed=entries)).executions
    mine = executions.session == 3
    assert (executions.counter[mine].tolist(), len(set(executions.epoch[mine].tolist()))) == ([1, 2, 3], 1)


def test_each_life_of_a_session_has_an_epoch_of_its_own() -> None:
    entries = tuple(placed("answer", number, at_s=number / 10, session=number) for number in range(3))
    executions = simulate(make_plan(placed=entries)).executions
    assert len(set(executions.epoch[executions.session >= 0].tolist())) == 3


def test_errors_that_are_the_same_are_written_down_once() -> None:
    history = simulate(make_plan(placed=tuple(placed("fail", words) for words in ("sorry", "sorry", "again"))))
    told = [error.message for error in history.errors if error.type.endswith("ScriptedError")]
    assert sorted(told) == ["again", "sorry"]


def test_an_execution_that_raised_says_so() -> None:
    executions = simulate(make_plan(placed=(placed("fail", "sorry"),))).executions
    assert executions.raised.tolist().count(1) == 1


def test_a_probe_that_has_seen_enough_is_not_repeated() -> None:
    operations = simulate(make_plan(stages=("open", "probe-before", "close"), workers=3)).operations
    assert np.count_nonzero(operations.phase == Phase.PROBE) == 3


# --- what goes wrong --------------------------------------------------------------------------------------------------


class Ignoring(Core):
    """Takes no notice of being shut down."""

    def shutdown(self, now: float, *, cancel: bool = False, immediate: bool = False) -> list[Any]:
        return []


class Spinning(Core):
    """Wants its tick again and again, once it has work."""

    def submit(self, now: float, task: Any) -> list[Any]:
        self.due = now
        return super().submit(now, task)

    def tick(self, now: float) -> list[Any]:
        self.due = now
        return []


class Failing(Core):
    """Stumbles over every answer."""

    def replied(self, now: float, worker: int, frames: Any) -> list[Any]:
        raise KeyError("frames")


class Resending(Core):
    """Sends to a worker that there is not."""

    def submit(self, now: float, task: Any) -> list[Any]:
        effects = super().submit(now, task)
        return [Send(99, effect.tasks) if isinstance(effect, Send) else effect for effect in effects]


class Straying(Core):
    """Has a worker forked once it has ended."""

    def forked(self, now: float, worker: int, pid: int) -> list[Any]:
        return [] if self.is_over else super().forked(now, worker, pid)

    def exited(self, now: float, worker: int, **how: Any) -> list[Any]:
        effects = super().exited(now, worker, **how)
        return [*effects, Start(99)] if self.is_over else effects


class Hoarding(Core):
    """Lets no worker forget a session."""

    def _done(self) -> list[Any]:
        return [effect for effect in super()._done() if not isinstance(effect, Forget)]


def _pool(kind: type[Core]) -> type[SessionPoolCore]:
    class Made(SessionPoolCore):
        def make_core(self, chance: Any) -> Core:
            return kind(self._settings, chance)

    return Made


ignoring, spinning, failing, resending = map(_pool, (Ignoring, Spinning, Failing, Resending))
straying, hoarding = map(_pool, (Straying, Hoarding))


def against(name: str, **plan: Any) -> Plan:
    factory = f"{__name__}:{name}"
    return msgspec.structs.replace(make_plan(**plan), target=Target(name=factory, factory=factory))


def verdicts(history: History) -> dict[str, str]:
    return {finding.promise: finding.verdict for finding in judge(history)}


def test_a_pool_that_does_not_close_hangs_there() -> None:
    history = simulate(against("ignoring"))
    assert (events(history, "hung"), verdicts(history)["closes-cleanly"]) == ([("close", "")], "broken")


def test_a_run_that_hangs_says_what_there_was() -> None:
    told = "a world of worker pid 100001, idle; worker pid 100002, idle"
    assert events(simulate(against("ignoring")), "hung-in") == [("close", told)]


def test_a_worker_that_is_forked_after_the_close_is_left_behind() -> None:
    history = simulate(against("straying", workers=1))
    assert (len(history.leftovers), verdicts(history)["closes-cleanly"]) == (1, "kept")


def test_a_state_of_a_session_that_began_afresh_is_looked_for_once_all_is_quiet() -> None:
    entries = tuple(placed("answer", 1, at_s=at_s, session=3) for at_s in (0.0, 0.5))
    history = simulate(against("hoarding", placed=entries, workers=1, ttl_s=0.05))
    (told,) = events(history, "violation")
    assert told == ("leaves-nothing-behind", "worker pid 100001 still holds a state of session 3, which left it")


def test_a_pool_that_is_closed_under_its_load_is_closed_whatever_faults_are_to_come() -> None:
    stall = FaultSpec(kind="stall", count=1, at_s=0.9, for_s=2.0, coincide="any")
    history = simulate(make_plan(stall, stages=("open", "load", "close")))
    (closing,) = [event.at for event in history.lifecycle if event.event == "closing"]
    assert history.seconds(closing) == 1.0


def test_a_pool_that_is_not_closed_under_its_load_is_left_alone_until_its_faults_are_over() -> None:
    stall = FaultSpec(kind="stall", count=1, at_s=0.9, for_s=2.0, coincide="any")
    history = simulate(make_plan(stall))
    (drained,) = [event.at for event in history.lifecycle if (event.event, event.stage) == ("stage", "drain")]
    assert history.seconds(drained) == 2.9


def test_a_pool_that_lets_no_time_pass_is_told_so_and_not_waited_for() -> None:
    history = simulate(against("spinning"))
    assert "it would never let time pass" in events(history, "hung")[0][1]


@pytest.mark.parametrize(
    ("name", "promise"),
    [
        ("spinning", "resolves-every-operation"),
        ("failing", "resolves-every-operation"),
        ("resending", "survives-worker-death"),
    ],
)
def test_what_only_a_simulation_sees_is_broken_though_nobody_asked_for_that_promise(name: str, promise: str) -> None:
    history = simulate(against(name, examines=("types-every-error",), rate=20))
    assert verdicts(history)[promise] == "broken"


def test_a_run_that_is_stuck_says_over_what_the_core_failed() -> None:
    history = simulate(against("failing"))
    assert "KeyError: 'frames'" in events(history, "violation")[0][1]


def test_a_run_that_is_stuck_ends_all_the_same() -> None:
    assert events(simulate(against("failing")), "lab-ended") == [("", "")]


# --- written out ------------------------------------------------------------------------------------------------------


def assert_same(one: History, other: History) -> None:
    for table in ("operations", "executions"):
        for field in dataclasses.fields(getattr(one, table)):
            left, right = (getattr(getattr(it, table), field.name) for it in (one, other))
            assert np.array_equal(left, right), (table, field.name)


@pytest.mark.parametrize("seed", range(16))
def test_a_plan_that_is_written_out_gives_the_same_history(seed: int) -> None:
    plan = random_plan(TARGET, seed)
    assert_same(simulate(plan), simulate(materialise(plan)))


@pytest.mark.parametrize("name", ["sessions", "deadlines", "overload", "degradation"])
def test_a_scenario_that_is_written_out_gives_the_same_history(name: str) -> None:
    plan = of(name)
    assert_same(simulate(plan), simulate(materialise(plan)))


def test_what_is_written_out_makes_sense_and_goes_by_no_rate() -> None:
    plan = materialise(make_plan(rate=50))
    assert (problems(plan), [step.rate for step in plan.scenario.load.steps]) == ([], [0.0])


def test_what_is_written_out_has_every_operation_of_the_load_and_no_other() -> None:
    plan = make_plan(rate=50)
    measured = np.count_nonzero(simulate(plan).operations.phase == Phase.MEASURED)
    assert len(materialise(plan).scenario.load.placed) == measured


def test_each_operation_that_is_written_out_says_what_it_is() -> None:
    load = Load(steps=(Step(rate=50, seconds=0.2),), sessions=2, deadline_s=0.5, idempotent=1.0)
    entries = materialise(make_plan(load=load)).scenario.load.placed
    assert {(it.deadline_s, it.idempotent, it.session in (0, 1), it.command[0]) for it in entries} == {
        (0.5, True, True, "wait")
    }


def test_a_plan_that_is_written_out_survives_being_written_down() -> None:
    plan = materialise(make_plan(KILL, rate=50))
    again = msgspec.json.decode(msgspec.json.encode(plan), type=Plan)
    assert (again, digest(simulate(again))) == (plan, digest(simulate(plan)))
