from pathlib import Path

import pytest

from poolproof import plan as plans
from poolproof.checks import Verdict
from poolproof.config import load_config
from poolproof.errors import BlastRadiusError, HistoryError, PoolproofError, TargetError, UsageError
from poolproof.experiment import Proof, combine, judge_folder, plan_proof
from poolproof.experiment.proof import LOCK, _home, _make_empty
from poolproof.history import History, save
from poolproof.plan import IMPLIED, PROMISES, Claim, Claims, Plan
from tests.unit.histories import KILL, STALL, Story, promised

CAPACITY = "restores-capacity"


def seen(verdict: Verdict, name: str = "story", claims: Claims | None = None) -> History:
    """A history in which the capacity was restored, was not, or was not measured."""
    after = {"kept": 4, "broken": 2, "unknown": None}[verdict]
    return Story.of(claims=claims or promised(CAPACITY), examines=(CAPACITY,), name=name).capacity(4, after).history()


def proof(*verdicts: Verdict, claims: Claims | None = None) -> Proof:
    return combine([(seen(verdict, f"scenario-{n}", claims), "") for n, verdict in enumerate(verdicts)])


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (("kept",), "kept"),
        (("kept", "unknown"), "unknown"),
        (("unknown", "broken", "kept"), "broken"),
        (("kept", "kept"), "kept"),
    ],
)
def test_a_promise_is_broken_if_any_scenario_broke_it_else_unknown_if_any_could_not_tell(
    verdicts: tuple[Verdict, ...], expected: Verdict
) -> None:
    assert (proof(*verdicts).promises[CAPACITY].verdict, proof(*verdicts).verdict) == (expected, expected)


def test_every_promise_is_listed_in_the_order_of_the_tables() -> None:
    assert tuple(proof("kept").promises) == PROMISES


def test_a_promise_that_no_scenario_examined_is_null_with_the_reason() -> None:
    promise = proof("kept").promises["closes-cleanly"]
    assert (promise.verdict, promise.made) == (None, "implied")
    assert promise.evidence[0].text == "none of the scenarios that were run examines it"


@pytest.mark.parametrize("made", ["declined", "undeclared"])
@pytest.mark.parametrize("verdict", ["broken", "unknown"])
def test_what_was_not_promised_is_shown_and_never_counts(made: str, verdict: Verdict) -> None:
    claims = Claims(promises={CAPACITY: Claim(made="declined", source="s")} if made == "declined" else {})
    examined = (CAPACITY, "closes-cleanly")
    after = {"broken": 2, "unknown": None}[verdict]
    story = Story.of(claims=claims, examines=examined).capacity(4, after).closes(10)
    found = combine([(story.history(), "")])
    assert (found.promises[CAPACITY].made, found.promises[CAPACITY].verdict) == (made, verdict)
    assert (found.verdict, found.scenarios[0].verdict) == ("kept", "kept")


def test_nothing_that_counts_means_that_nothing_could_be_told() -> None:
    assert proof("kept", claims=Claims()).verdict == "unknown"


def test_a_broken_promise_tells_its_hits_over_runs() -> None:
    evidence = proof("broken", "kept", "broken").promises[CAPACITY].evidence
    assert evidence[0].text == "broken in 2 of 3 scenarios that examined it"


def test_a_broken_promise_tells_the_evidence_of_the_scenarios_that_broke_it() -> None:
    evidence = proof("broken", "unknown", "broken").promises[CAPACITY].evidence
    assert [entry.scenario for entry in evidence[1:]] == ["scenario-0", "scenario-2"]


def test_an_unknown_promise_tells_why() -> None:
    (evidence,) = proof("unknown").promises[CAPACITY].evidence
    assert evidence.text == "the capacity after the fault was not measured"


def test_a_scenario_has_the_worst_verdict_of_what_counts() -> None:
    assert [outcome.verdict for outcome in proof("broken", "kept", "unknown").scenarios] == [
        "broken",
        "kept",
        "unknown",
    ]


def test_a_proof_names_what_it_is_about() -> None:
    found = combine([(seen("kept"), "/somewhere")])
    assert (found.schema, found.target, found.layer, found.seed, found.workload) == (
        "poolproof/run-1",
        "some-pool",
        2,
        1,
        "scripted",
    )
    assert (found.environment, found.scenarios[0].folder) == ({"python": "CPython"}, "/somewhere")


def test_what_a_pool_claims_counts_although_its_first_experiment_never_built_it() -> None:
    assert combine([(seen("unknown", claims=Claims()), ""), (seen("broken"), "")]).verdict == "broken"


def test_a_stall_that_nobody_noticed_is_noted() -> None:
    story = Story.of(STALL).op(0.9, 2.5).struck(11, 1.0, 3.0, held=(0,))
    (note,) = combine([(story.history(), "")]).scenarios[0].notes
    assert (note.op, note.pid, note.start_time, note.at_s, note.scenario) == (0, 11, 1100, 1.0, "story")
    assert note.text.startswith("worker pid 11 was stopped for 2.00 s from 1.000 s on and nobody noticed: operation 0")


def test_a_scenario_that_does_not_apply_to_the_pool_neither_helps_nor_harms() -> None:
    odd = Story.of(KILL, claims=promised(CAPACITY), examines=(CAPACITY,)).struck(0, 1.0, effective="inapplicable")
    found = combine([(seen("kept"), ""), (odd.capacity(4, 2).history(), "")])
    assert (found.verdict, found.promises[CAPACITY].verdict) == ("kept", "kept")


def test_a_scenario_that_does_not_apply_to_the_pool_says_so() -> None:
    odd = Story.of(KILL, examines=(CAPACITY,)).struck(0, 1.0, effective="inapplicable")
    (note,) = combine([(odd.history(), "")]).scenarios[0].notes
    assert "it does not apply" in note.text


def test_a_stall_that_was_noticed_is_not_noted() -> None:
    story = Story.of(STALL).op(0.9, 2.5).struck(11, 1.0, 3.0, held=(0,)).fails(1.5)
    assert combine([(story.history(), "")]).scenarios[0].notes == ()


# --- planning -----------------------------------------------------------------------------------------------------


def planned(
    options: dict[str, object] | None = None,
    *,
    layer: int = 2,
    target: str = "process-pool-executor",
    scenarios: tuple[str, ...] = (),
) -> tuple[Plan, ...]:
    effective = load_config(layer, None, options)
    return plan_proof(target, effective, layer=layer, seed=5, scenarios=scenarios)


def test_a_proof_has_a_plan_for_each_scenario() -> None:
    found = plan_proof("process-pool-executor", load_config(2), layer=2, seed=5)
    assert len(found) == 8
    assert {plan.seed for plan in found} == {5}


def test_a_plan_carries_the_configuration() -> None:
    effective = load_config(3, None, {"pool.workers": 6})
    (plan,) = plan_proof("multiprocessing-pool", effective, layer=3, seed=5, scenarios=("steady",))
    config = effective.config
    assert (plan.workers, plan.layer, plan.workload) == (6, 3, "scripted")
    assert (plan.bounds.close_s, plan.limits.max_share, plan.watch_s) == (
        config.bounds.close_s,
        config.limits.max_share,
        config.watch.interval_s,
    )
    assert plan.service_ms == {"predict": config.service.predict_ms, "batch": config.service.batch_ms}
    assert plan.target.factory == "poolproof.pools.multiprocessing_pool:make"


def test_the_rate_grows_with_the_pool() -> None:
    rates = []
    for workers in (2, 4):
        (plan,) = plan_proof(
            "multiprocessing-pool",
            load_config(2, None, {"pool.workers": workers}),
            layer=2,
            seed=5,
            scenarios=("steady",),
        )
        rates.append(plan.scenario.load.steps[0].rate)
    assert rates[1] == 2 * rates[0] > 0


def test_layer_1_is_refused() -> None:
    with pytest.raises(UsageError, match=r"layer 1 simulates .* 'process-pool-executor' offers none: use --layer 2"):
        planned(layer=1)


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(TargetError, match="unknown target 'nothing'"):
        planned(target="nothing")


def test_an_unknown_workload_is_refused() -> None:
    with pytest.raises(TargetError, match="unknown workload 'nothing'"):
        planned({"load.workload": "nothing"})


def test_an_unknown_scenario_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown scenario 'nothing'"):
        planned(scenarios=("nothing",))


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("limits.max_share", 0.2, "max_share"),
        ("limits.min_survivors", 4, "min_survivors"),
        ("limits.max_fault_s", 0.5, "max_fault_s"),
    ],
)
def test_a_fault_beyond_the_blast_radius_is_refused(option: str, value: float, message: str) -> None:
    with pytest.raises(BlastRadiusError, match=message) as caught:
        planned({option: value})
    assert isinstance(caught.value, PoolproofError)


def test_the_blast_radius_is_that_of_the_scenarios_that_were_named() -> None:
    assert len(planned({"limits.max_fault_s": 0.5}, scenarios=("kill-one",))) == 1


# --- folders ------------------------------------------------------------------------------------------------------


def saved(folder: Path, name: str, verdict: Verdict) -> Path:
    home = folder / name
    home.mkdir()
    history = seen(verdict, name)
    (home / "plan.json").write_bytes(plans.encode(history.plan))
    save(history, home)
    return home


def test_a_run_folder_is_judged_again(tmp_path: Path) -> None:
    assert judge_folder(saved(tmp_path, "one", "broken")).verdict == "broken"


def test_a_folder_of_run_folders_is_judged_as_one_proof(tmp_path: Path) -> None:
    saved(tmp_path, "a", "kept")
    saved(tmp_path, "b", "broken")
    found = judge_folder(tmp_path)
    assert ([outcome.name for outcome in found.scenarios], found.verdict) == (["a", "b"], "broken")


def test_judging_again_gives_the_same_proof(tmp_path: Path) -> None:
    folder = saved(tmp_path, "one", "broken")
    assert judge_folder(folder) == combine([(seen("broken", "one"), str(folder))])


@pytest.mark.parametrize("name", [".", "none"])
def test_a_folder_without_runs_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="not a run folder"):
        judge_folder(tmp_path / name)


def test_an_earlier_run_is_replaced(tmp_path: Path) -> None:
    folder = saved(tmp_path, "one", "kept")
    _make_empty(folder)
    assert list(folder.iterdir()) == []


def test_what_is_no_run_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("dear")
    with pytest.raises(UsageError, match="holds something that is no run of poolproof"):
        _make_empty(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "dear"


def test_runs_without_a_report_leave_nothing() -> None:
    with _home(None) as home:
        assert home.is_dir()
    assert not home.exists()


def test_a_report_that_can_not_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"the report can't be written to .*; name a folder"), _home(tmp_path / "file"):
        raise AssertionError("it must not come to this")


def test_a_report_is_made_with_the_folders_above_it(tmp_path: Path) -> None:
    with _home(tmp_path / "a" / "b") as home:
        assert {entry.name for entry in home.iterdir()} == {LOCK}
    assert list(home.iterdir()) == []


def test_the_implied_promises_come_first() -> None:
    assert PROMISES[:6] == IMPLIED
