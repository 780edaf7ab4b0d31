import asyncio
import threading
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from poolproof.config import Effective, load_config
from poolproof.config.schema import Limits, Pool
from poolproof.errors import BlastRadiusError, TargetError, UsageError
from poolproof.experiment import Experiment, Run
from poolproof.experiment.scenarios import CLOSING, OF_DEATH, OF_SESSIONS, SAFETY
from poolproof.history import Outcome, Phase, digest
from poolproof.load import Mix, Shape, fault, hold, ramp, replay, users
from poolproof.plan import Abort, FaultSpec, completed, error_rate, longest, memory, p50, p99, throughput

QUICK = {"pool.workers": 2, "load.arrivals": "constant", "load.warm_up_operations": 4}


@pytest.fixture
def effective() -> Effective:
    return load_config(1, options=QUICK)


@pytest.fixture
def experiment(effective: Effective) -> Experiment:
    return Experiment(effective=effective, layer=1, seed=1)


@pytest.fixture
def unlimited(experiment: Experiment) -> Experiment:
    return experiment.with_config(limits=Limits(max_share=1.0, min_survivors=0, max_fault_s=60.0, max_processes=256))


def measured(run: Run) -> np.ndarray:
    return np.flatnonzero(run.history.in_phase(Phase.MEASURED))


def most_under_way(run: Run) -> int:
    """The most operations of the measured window that were sent and not ended at once."""
    operations = run.history.operations
    rows = measured(run)
    moments = np.concatenate([operations.sent[rows], operations.done[rows]])
    change = np.repeat([1, -1], len(rows))
    order = np.lexsort((change, moments))  # what ended at a moment made room for what was sent at it
    return int(np.cumsum(change[order]).max())


# --- plans ------------------------------------------------------------------------------------------------------------


def test_a_plan_has_what_the_configuration_says_where_nothing_else_is_asked_for(experiment: Experiment) -> None:
    plan = experiment.plan(hold(10, "1s"))
    load = plan.scenario.load
    assert (plan.target.name, plan.workload, plan.workers, plan.layer, plan.seed) == (
        "sessionpool",
        "scripted",
        2,
        1,
        1,
    )
    assert (load.arrivals, load.warm_up, load.mix, load.aborts) == ("constant", 4, {}, ())
    assert plan.service_ms == {"predict": 10.0, "batch": 50.0}
    assert (plan.scenario.name, plan.scenario.summary) == ("experiment", "10/s for 1 s")


def test_a_plan_has_whatever_is_asked_for(experiment: Experiment) -> None:
    abort, objective = Abort(figure="backlog", above=5), p99("batch") < "1s"
    plan = experiment.plan(
        hold(10, "1s"),
        {"wait": 1},
        objectives=[objective],
        workload="poolproof.workloads.scripted:waits",
        workers=3,
        arrivals="poisson",
        warm_up=0,
        aborts=[abort],
        options={"retries": 2},
        name="mine",
        seed=9,
    )
    load = plan.scenario.load
    assert (plan.workers, plan.seed, plan.options, plan.scenario.name) == (3, 9, {"retries": 2}, "mine")
    assert (load.arrivals, load.warm_up, load.mix, load.aborts) == ("poisson", 0, {"wait": 1.0}, (abort,))
    assert (plan.workload, plan.scenario.objectives) == ("poolproof.workloads.scripted:waits", (objective,))


def test_the_seed_may_be_zero(experiment: Experiment) -> None:
    assert experiment.plan(hold(1, 1), seed=0).seed == 0


def test_a_mix_may_be_given_whole(experiment: Experiment) -> None:
    load = experiment.plan(hold(1, 1), Mix(weights={"batch": 1}, sessions=3, burst=2, deadline="1s")).scenario.load
    assert (load.mix, load.sessions, load.burst, load.deadline_s) == ({"batch": 1.0}, 3, 2, 1.0)


def test_faults_stand_in_the_shape_or_beside_it(experiment: Experiment) -> None:
    own = FaultSpec(kind="kill", count=1, at_s=0.7)
    plan = experiment.plan(hold(1, 1) >> fault("kill") >> hold(1, 1), faults=[fault("kill", at="500ms"), own])
    assert [it.at_s for it in plan.scenario.faults] == [1.0, 0.5, 0.7]


@pytest.mark.parametrize(
    ("faults", "sessions", "expected"),
    [
        ([], 0, (*SAFETY, *CLOSING)),
        ([], 3, (*SAFETY, *CLOSING, *OF_SESSIONS)),
        ([fault("kill")], 0, (*SAFETY, *CLOSING, *OF_DEATH)),
        ([fault("kill", target="forkserver")], 0, (*SAFETY, *CLOSING)),
        ([fault("stall", lasting=1)], 3, (*SAFETY, *CLOSING, *OF_SESSIONS)),
    ],
)
def test_what_is_examined_is_what_such_a_run_can_show(
    experiment: Experiment, faults: list[Shape], sessions: int, expected: tuple[str, ...]
) -> None:
    assert experiment.plan(hold(1, 1), Mix(sessions=sessions), faults=faults).scenario.examines == expected


def test_other_sections_of_the_configuration_make_other_experiments(experiment: Experiment) -> None:
    other = experiment.with_config(pool=Pool(workers=5, fallback=()))
    assert (other.plan(hold(1, 1)).workers, experiment.plan(hold(1, 1)).workers) == (5, 2)
    assert (other.layer, other.seed, other.target) == (1, 1, "sessionpool")


@pytest.mark.parametrize(
    ("terms", "told"),
    [
        ({"target": "no-such-pool"}, "no-such-pool"),
        ({"workload": "no-such-work"}, "no-such-work"),
        ({"faults": [hold(1, 1)]}, r"faults=\[…\]: expected what `fault\(…\)` makes; load is composed by >>"),
        ({"faults": [fault("kill", at=2)]}, r"makes no sense: .*at_s = 2: the load is over after 1 s"),
        ({"workers": 0}, r"makes no sense: workers = 0: expected 1 to"),
        ({"warm_up": -1}, r"makes no sense: scenario.load: warm_up = -1"),
        ({"mix": Mix(sessions=-1)}, r"makes no sense: scenario.load: burst below 1, or sessions"),
        ({"mix": {"predict": 0}}, r"mix: the weights of predict are all zero"),
        ({"mix": {"predict": -1}}, r"mix: the weight of 'predict' is -1"),
        ({"aborts": [Abort(figure="backlog", above=-1)]}, r"makes no sense: scenario.load.aborts\[0\]"),
    ],
)
def test_what_makes_no_sense_is_refused(experiment: Experiment, terms: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        experiment.run(hold(1, 1), terms.pop("mix", None), **terms)


def test_everything_that_makes_no_sense_is_told_at_once(experiment: Experiment) -> None:
    with pytest.raises(UsageError, match=r"^this experiment makes no sense: .*idempotent = 2.*; .*warm_up = -1"):
        experiment.run(hold(1, 1), Mix(idempotent=2), warm_up=-1)


def test_faults_without_load_are_refused(experiment: Experiment) -> None:
    with pytest.raises(UsageError, match="the shape lasts no time: put load around its faults"):
        experiment.run(fault("kill"))


def test_a_fault_beyond_the_limits_is_refused(experiment: Experiment) -> None:
    with pytest.raises(BlastRadiusError, match=r"limits\.max_share"):
        experiment.run(hold(1, 1), faults=[fault("kill", count=2)])


@pytest.mark.parametrize(
    ("mix", "objectives", "told"),
    [
        ({"guess": 1}, [], r"the load has operations of the kind 'guess': the workload has predict, batch, obey"),
        (None, [p99("guess") < 1], r"the objective p99\(guess\) < 1000 ms is about operations that the load does not"),
        ({"predict": 1}, [p99("batch") < 1], r"p99\(batch\) .* does not have: it has predict$"),
    ],
)
def test_a_kind_that_does_not_exist_is_told(
    experiment: Experiment, mix: dict[str, float] | None, objectives: list[Any], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        experiment.run(hold(1, 1), mix, objectives=objectives)


# --- runs -------------------------------------------------------------------------------------------------------------


def test_a_run_offers_what_its_shape_says(experiment: Experiment) -> None:
    run = experiment.run(ramp(0, 40, "2s") >> hold(20, "1s"))
    assert (run.load.offered, run.load.completed, run.verdict) == (60, 60, "kept")


def test_a_run_that_met_everything_is_returned(experiment: Experiment) -> None:
    run = experiment.run(hold(20, "1s"), objectives=[longest() < "1s", error_rate() < 0.1])
    assert run.expect_kept() is run
    assert [it.verdict for it in run.objectives] == ["kept", "kept"]


def test_a_broken_objective_breaks_the_run_and_tells_everything(experiment: Experiment) -> None:
    run = experiment.run(hold(20, "1s"), {"batch": 1}, objectives=[longest() < "50ms", error_rate() < 0.1])
    assert (run.verdict, run.outcome.verdict) == ("broken", "broken")
    with pytest.raises(AssertionError) as caught:
        run.expect_kept()
    lines = str(caught.value).splitlines()
    assert lines[0] == "sessionpool on layer 1, seed 1: broken"
    assert lines[1].startswith("offered 20, completed 20, failed 0, unresolved 0; response p50 5")
    assert lines[2].startswith("max < 50 ms: broken: 5")
    assert lines[3] == "error-rate < 0.1: kept: 0, margin +100%"
    assert len(lines) == 4


def test_an_objective_that_can_not_be_told_keeps_the_run_from_being_kept(experiment: Experiment) -> None:
    run = experiment.run(hold(20, "1s"), objectives=[memory() < 100])
    assert (run.verdict, [it.verdict for it in run.objectives]) == ("unknown", ["unknown"])
    with pytest.raises(AssertionError, match="unknown: no sample was taken"):
        run.expect_kept()


def test_a_run_that_broke_promises_tells_the_evidence(unlimited: Experiment) -> None:
    run = unlimited.run(hold(60, "2s"), target="tests.pools.cores:Amnesiac", faults=[fault("kill", at=1)])
    assert run.verdict == "broken"
    told = run.describe()
    assert "resolves-every-operation: broken\n  " in told


def test_a_run_with_errors_tells_them(experiment: Experiment) -> None:
    run = experiment.run(hold(40, "2s"), faults=[fault("kill", at=1)])
    assert "1 × sessionpool.errors.WorkerDied: " in run.describe()


def test_the_figures_of_one_kind_are_told_alone(experiment: Experiment) -> None:
    run = experiment.run(hold(40, "2s"), {"predict": 1, "batch": 1})
    of_predict, of_batch = run.of_kind("predict"), run.of_kind("batch")
    assert of_predict.offered + of_batch.offered == run.load.offered == 80
    assert (of_predict.response_ms["max"] or 0) < (of_batch.response_ms["max"] or 0)


def test_a_kind_that_the_load_did_not_have_has_no_figures(experiment: Experiment) -> None:
    run = experiment.run(hold(10, "1s"), {"predict": 1})
    with pytest.raises(UsageError, match=r"the load had no operations of the kind 'batch': it had predict"):
        run.of_kind("batch")


def test_the_course_of_a_run_is_told_in_windows(experiment: Experiment) -> None:
    found = experiment.run(hold(10, "1s") >> hold(40, "1s")).series(1.0)
    assert found.offered.tolist()[:2] == [10, 40]


def test_the_course_of_one_kind_is_told_alone(experiment: Experiment) -> None:
    run = experiment.run(hold(40, "1s"), {"predict": 1, "batch": 1})
    assert run.series(10.0, "batch").offered.sum() == run.of_kind("batch").offered < 40


def test_another_target_may_be_the_experiments_own(effective: Effective) -> None:
    other = Experiment(effective=effective, layer=1, seed=1, target="tests.pools.cores:Amnesiac")
    assert other.run(hold(5, "1s")).proof.target == "tests.pools.cores:Amnesiac"
    assert other.run(hold(5, "1s"), target="sessionpool").proof.target == "sessionpool"


def test_an_option_that_the_target_does_not_know_is_told(experiment: Experiment) -> None:
    with pytest.raises(TargetError, match="no_such_option"):
        experiment.run(hold(1, 1), options={"no_such_option": 1})


def test_the_operations_of_a_trace_are_offered_at_their_moments(experiment: Experiment, tmp_path: Path) -> None:
    (tmp_path / "trace.csv").write_text("at_s,kind\n0.1,batch\n0.4,\n0.9,predict\n", encoding="utf-8")
    run = experiment.run(replay(tmp_path / "trace.csv") >> hold(10, "1s"), {"predict": 1})
    operations = run.history.operations
    moments = ((operations.due[measured(run)] - run.history.origin) / 1e9).tolist()
    assert moments[:4] == [0.1, 0.4, 0.9, 0.95]
    assert run.of_kind("batch").offered == 1


# --- run folders ------------------------------------------------------------------------------------------------------


def test_a_run_stays_in_the_report_under_its_name(effective: Effective, tmp_path: Path) -> None:
    kept = Experiment(effective=effective, layer=1, seed=1, report=tmp_path)
    run = kept.run(hold(5, "1s"), name="mine")
    assert run.outcome.folder == str(tmp_path / "mine")
    assert (tmp_path / "mine" / "plan.json").is_file()


def test_a_run_without_a_report_stays_nowhere(experiment: Experiment) -> None:
    assert experiment.run(hold(5, "1s")).outcome.folder == ""


def test_scenarios_can_be_proven_as_well(experiment: Experiment) -> None:
    proof = experiment("sessionpool", scenarios=("steady",), seed=7)
    assert ([it.name for it in proof.scenarios], proof.seed) == (["steady"], 7)


# --- the closed model -------------------------------------------------------------------------------------------------


def test_users_never_have_more_under_way_than_there_are(experiment: Experiment) -> None:
    run = experiment.run(users(5, "2s"))
    assert (most_under_way(run), run.verdict) == (5, "kept")


def test_users_keep_the_pool_at_work(experiment: Experiment) -> None:
    run = experiment.run(users(2, "2s"), {"predict": 1})
    assert run.load.completed == pytest.approx(2 * 2.0 / 0.010, rel=0.1)


def test_users_who_think_send_less(experiment: Experiment) -> None:
    run = experiment.run(users(2, "2s", think="90ms"), {"predict": 1})
    assert run.load.completed == pytest.approx(2 * 2.0 / 0.1, rel=0.1)


def test_the_response_of_a_user_counts_from_when_he_was_ready(experiment: Experiment) -> None:
    run = experiment.run(users(4, "1s"), {"predict": 1})
    operations = run.history.operations
    rows = measured(run)
    assert np.array_equal(operations.due[rows], operations.sent[rows])
    assert run.load.response_ms["p50"] == pytest.approx(20.0, rel=0.1)  # 4 users share 2 workers


@pytest.mark.parametrize("arrivals", ["constant", "poisson"])
def test_a_closed_run_is_the_same_to_the_byte_from_the_same_seed(experiment: Experiment, arrivals: Any) -> None:
    shape = (users(3, "1s", think="20ms") >> users(3, "1s", think="20ms", to=0)).at("500ms", fault("kill"))
    same = [
        digest(experiment.run(shape, Mix(sessions=4, skew=1.0), arrivals=arrivals, seed=seed).history)
        for seed in (1, 1, 2)
    ]
    assert same[0] == same[1] != same[2]


def test_users_belong_to_sessions_and_have_deadlines(experiment: Experiment) -> None:
    run = experiment.run(users(2, "1s"), Mix(sessions=3, deadline="2s", idempotent=1.0))
    operations = run.history.operations
    rows = measured(run)
    assert set(operations.session[rows].tolist()) == {0, 1, 2}
    assert set((operations.deadline[rows] - operations.due[rows]).tolist()) == {2_000_000_000}
    assert set(operations.idempotent[rows].tolist()) == {1}


def test_users_who_run_out_of_turns_are_told(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poolproof.load.generator.MOST_TURNS", 30)
    run = experiment.run(users(2, "5s"), objectives=[longest() < "1s", throughput() > 100])
    assert run.load.offered == 30
    assert [it.verdict for it in run.objectives] == ["unknown", "unknown"]
    assert "exhausted): the users had no more turns" in run.describe()


def test_users_with_so_many_turns_go_their_whole_way(experiment: Experiment) -> None:
    run = experiment.run(users(2, "5s", turns=40), {"predict": 1}, objectives=[longest() < "1s", throughput() > 100])
    assert (run.load.offered, run.verdict) == (40, "kept")


def test_the_same_freeze_is_most_of_an_open_loads_tail_and_hardly_seen_by_users(unlimited: Experiment) -> None:
    freeze = fault("stall", share=1.0, lasting="500ms", at="1s", coincide="any")
    objective = [p99() < "100ms"]
    held = unlimited.run(hold(100, "4s"), {"predict": 1}, faults=[freeze], objectives=objective)
    served = unlimited.run(users(2, "4s"), {"predict": 1}, faults=[freeze], objectives=objective)
    # Of 400 due, 50 within the freeze, each waits for the rest of it: the fourth longest waits for 470 ms or so.
    assert held.load.response_ms["p99"] == pytest.approx(470, rel=0.1)
    assert (served.load.response_ms["p99"] or 0) < 25
    assert [it.objectives[0].verdict for it in (held, served)] == ["broken", "kept"]


# --- aborts -----------------------------------------------------------------------------------------------------------


def test_a_load_is_given_up_when_too_much_is_under_way(experiment: Experiment) -> None:
    run = experiment.run(
        hold(50, "1s") >> hold(500, "5s"),
        {"predict": 1},
        aborts=[Abort(figure="backlog", above=20)],
        objectives=[error_rate() < 0.1, completed() > 0.5],
    )
    assert run.outcome.given_up.startswith("backlog > 20: it was ")
    assert run.load.offered == run.load.completed < 200
    assert f"given up: {run.outcome.given_up}" in run.describe()


def test_what_is_met_by_a_load_that_was_given_up_is_not_known(experiment: Experiment) -> None:
    run = experiment.run(
        hold(500, "5s"),
        {"predict": 1},
        aborts=[Abort(figure="backlog", above=20)],
        objectives=[p50() < "10s", p50() < "1ms"],
    )
    assert [it.verdict for it in run.objectives] == ["unknown", "broken"]
    assert run.objectives[0].why == f"the run did not go its whole way (given-up): {run.outcome.given_up}"


@pytest.mark.parametrize("shape", [hold(50, "6s"), users(2, "6s", think="20ms")])
def test_a_load_is_given_up_when_too_many_operations_fail(unlimited: Experiment, shape: Shape) -> None:
    kills = [fault("kill", share=1.0, at=at / 10, coincide="any") for at in range(10, 20)]
    run = unlimited.run(
        shape,
        {"predict": 1},
        faults=[*kills, fault("stall", at="5s", lasting="100ms")],
        aborts=[Abort(figure="error-rate", above=0.05)],
    )
    given_up = run.history.first("given-up")
    assert given_up is not None
    assert run.outcome.given_up.startswith("error-rate over 1 s > 0.05: it was 0.")
    assert run.history.seconds(given_up.at) < 3
    assert np.all(run.history.operations.due[measured(run)] <= given_up.at)
    (called_off,) = [it for it in run.outcome.faults if it.kind == "stall"]
    assert called_off.effective == "no"
    assert called_off.why == f"the load was given up before: {run.outcome.given_up}"


def test_how_many_operations_were_not_sent_is_told(experiment: Experiment) -> None:
    run = experiment.run(hold(500, "5s"), aborts=[Abort(figure="backlog", above=20)])
    given_up = run.history.first("given-up")
    assert given_up is not None
    assert (given_up.value or 0) + run.load.offered == 2500


def test_a_load_is_not_given_up_for_what_stays_below(experiment: Experiment) -> None:
    aborts = [
        Abort(figure="backlog", above=50),
        Abort(figure="error-rate", above=0.5),
        Abort(figure="memory", above=1.0),
    ]
    run = experiment.run(hold(50, "2s"), {"predict": 1}, aborts=aborts, objectives=[longest() < "1s"])
    assert (run.outcome.given_up, run.load.offered, run.verdict) == ("", 100, "kept")


def test_users_give_up_as_well(unlimited: Experiment) -> None:
    freeze = fault("stall", share=1.0, lasting="5s", at="1s")
    run = unlimited.run(users(3, "10s"), faults=[freeze], aborts=[Abort(figure="backlog", above=2)])
    given_up = run.history.first("given-up")
    assert given_up is not None
    assert run.history.seconds(given_up.at) <= 0.1
    assert run.outcome.given_up == "backlog > 2: it was 3"


def test_a_run_that_was_given_up_is_the_same_to_the_byte_each_time(experiment: Experiment) -> None:
    one, other = (experiment.run(hold(500, "5s"), aborts=[Abort(figure="backlog", above=20)]) for _ in range(2))
    assert digest(one.history) == digest(other.history)


# --- beside an event loop ---------------------------------------------------------------------------------------------


def test_a_run_may_be_awaited(experiment: Experiment) -> None:
    run = asyncio.run(experiment.run_async(hold(20, "1s"), {"predict": 1}, seed=5))
    assert digest(run.history) == digest(experiment.run(hold(20, "1s"), {"predict": 1}, seed=5).history)


def test_what_makes_no_sense_is_told_to_who_awaits_it(experiment: Experiment) -> None:
    with pytest.raises(UsageError, match="the shape lasts no time"):
        asyncio.run(experiment.run_async(fault("kill")))


def test_who_cancels_twice_still_waits_for_the_end(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    let_go = threading.Event()

    async def cancel_twice() -> None:
        loop = asyncio.get_running_loop()
        began = asyncio.Event()

        def run(*_: Any, stop: int, **__: Any) -> None:
            loop.call_soon_threadsafe(began.set)
            let_go.wait(10)
            told.append("ended")
            raise KeyboardInterrupt

        monkeypatch.setattr(Experiment, "run", run)
        running = asyncio.create_task(experiment.run_async(hold(1, 1)))
        await began.wait()
        running.cancel()
        loop.call_soon(running.cancel)
        loop.call_soon(lambda: loop.call_soon(let_go.set))
        with pytest.raises(asyncio.CancelledError):
            await running
        told.append("cancelled")

    asyncio.run(cancel_twice())
    assert told == ["ended", "cancelled"]


def test_outcomes_of_users_are_all_of_the_measured_window(experiment: Experiment) -> None:
    run = experiment.run(users(2, "1s"), warm_up=3)
    operations = run.history.operations
    assert np.count_nonzero(operations.phase == Phase.WARM_UP) == 4  # the three, and the one that showed it was ready
    assert set(operations.outcome[measured(run)].tolist()) == {Outcome.OK}


def test_a_plan_of_an_experiment_is_plain_data(experiment: Experiment) -> None:
    plan = experiment.plan(hold(1, 1) >> fault("kill"), objectives=[p99() < 1])
    assert msgspec.json.decode(msgspec.json.encode(plan), type=type(plan)) == plan
