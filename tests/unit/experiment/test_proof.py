from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from unittest.mock import ANY

import msgspec
import pytest

from poolproof import extras
from poolproof import plan as plans
from poolproof.checks import Verdict
from poolproof.config import load_config
from poolproof.errors import BlastRadiusError, HistoryError, PoolproofError, TargetError, UsageError
from poolproof.experiment import SCENARIOS, Proof, carry_out, combine, judge_folder, plan_proof, prove, repeat
from poolproof.experiment.proof import LOCK, _for_threads, home_of, made_empty
from poolproof.experiment.scenarios import SESSIONS_PER_WORKER
from poolproof.history import History, Journal, Lifecycle, load, save
from poolproof.lab.launch import Ended, Progress
from poolproof.plan import IMPLIED, PROMISES, Claim, Claims, Plan, Target
from poolproof.pools import BUNDLED, CORES
from tests.unit import samples
from tests.unit.histories import KILL, KILL_PARENT, STALL, Story, make_plan, promised

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


@pytest.mark.parametrize("first", [True, False])
def test_what_a_pool_claims_counts_although_one_of_its_experiments_never_built_it(first: bool) -> None:
    histories = [(seen("unknown", claims=Claims()), ""), (seen("broken"), "")]
    assert combine(histories if first else histories[::-1]).verdict == "broken"


def test_a_stall_that_nobody_noticed_is_noted() -> None:
    story = Story.of(STALL).op(0.9, 2.5).struck(11, 1.0, 3.0, held=(0,))
    (note,) = combine([(story.history(), "")]).scenarios[0].notes
    assert (note.op, note.pid, note.start_time, note.at_s, note.scenario) == (0, 11, 1100, 1.0, "story")
    assert note.text.startswith("worker pid 11 was stopped for 2.00 s from 1.000 s on and nobody noticed: operation 0")


def test_a_scenario_that_does_not_apply_to_the_pool_neither_helps_nor_harms() -> None:
    odd = Story.of(KILL, claims=promised(CAPACITY), examines=(CAPACITY,)).struck(0, 1.0, effective="inapplicable")
    found = combine([(seen("kept"), ""), (odd.capacity(4, 2).history(), "")])
    assert (found.verdict, found.promises[CAPACITY].verdict) == ("kept", "kept")


def inapplicable(name: str = "kill-one") -> History:
    """A history whose fault found no worker process to harm."""
    return Story.of(KILL, examines=(CAPACITY,), name=name).struck(0, 1.0, effective="inapplicable").history()


NO_PROCESS = "the pool works inside its own process: there is no worker process to harm"


def test_a_scenario_that_does_not_apply_to_the_pool_is_skipped_with_the_reason() -> None:
    found = combine([(inapplicable(), ""), (seen("kept"), "")])
    assert (found.skipped, [outcome.name for outcome in found.scenarios]) == ({"kill-one": NO_PROCESS}, ["story"])


def test_a_promise_that_only_skipped_scenarios_examine_is_null_and_names_them() -> None:
    histories = [inapplicable("kill-one"), inapplicable("kill-idle"), Story().op(0.1).history()]
    found = combine([(history, "") for history in histories]).promises[CAPACITY]
    assert (found.verdict, [(entry.scenario, entry.text) for entry in found.evidence]) == (
        None,
        [
            ("", "none of the scenarios that were run examines it"),
            ("kill-one", NO_PROCESS),
            ("kill-idle", NO_PROCESS),
        ],
    )


def test_where_no_scenario_applies_to_the_pool_nothing_can_be_told_and_the_reason_is() -> None:
    found = combine([(inapplicable("kill-one"), ""), (inapplicable("kill-idle"), "")])
    assert (found.verdict, found.scenarios) == ("unknown", ())
    assert found.skipped == {"kill-one": NO_PROCESS, "kill-idle": NO_PROCESS}


def test_a_scenario_that_was_skipped_before_it_left_a_history_is_told_of_too() -> None:
    found = combine([(Story().op(0.1).history(), "")], {"kill-one": NO_PROCESS})
    assert found.skipped == {"kill-one": NO_PROCESS}
    assert [entry.scenario for entry in found.promises[CAPACITY].evidence] == ["", "kill-one"]


def test_where_every_scenario_was_skipped_nothing_can_be_told_of_what_was_planned() -> None:
    found = combine([], {"kill-one": NO_PROCESS}, make_plan(target="some-pool"))
    assert (found.target, found.verdict, found.skipped) == ("some-pool", "unknown", {"kill-one": NO_PROCESS})


def test_a_skipped_scenario_is_no_reason_for_a_promise_that_is_not_about_deaths() -> None:
    found = combine([(Story().op(0.1).history(), "")], {"kill-one": NO_PROCESS})
    assert [entry.scenario for entry in found.promises["serves-fairly"].evidence] == [""]


def test_nothing_is_skipped_where_every_scenario_applies() -> None:
    assert proof("kept", "broken").skipped == {}


def test_a_proof_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing was run"):
        combine([])


def test_runs_of_different_proofs_are_not_judged_together() -> None:
    other = Story(msgspec.structs.replace(make_plan(target="another-pool"), seed=7)).history()
    with pytest.raises(UsageError, match=r"\(some-pool with seed 1, another-pool with seed 7\)"):
        combine([(seen("kept"), ""), (other, "")])


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
    assert [plan.scenario.name for plan in found] == list(SCENARIOS)
    assert {plan.seed for plan in found} == {5}


def test_a_plan_carries_the_configuration() -> None:
    effective = load_config(3, None, {"pool.workers": 6, "load.workload": "mine:workload", "watch.interval_s": 0.3})
    (plan,) = plan_proof("multiprocessing-pool", effective, layer=3, seed=5, scenarios=("steady",))
    config = effective.config
    assert (plan.workers, plan.layer, plan.workload) == (6, 3, "mine:workload")
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


def test_the_scenario_of_sessions_has_as_many_as_go_with_the_workers() -> None:
    (plan,) = planned({"pool.workers": 6}, scenarios=("sessions",))
    assert plan.scenario.load.sessions == SESSIONS_PER_WORKER * 6


@pytest.mark.parametrize(("installed", "workload"), [(True, "digits"), (False, "scripted")])
def test_a_plan_names_the_workload_that_the_default_stands_for(
    installed: bool, workload: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda module: module if installed else None)
    assert {plan.workload for plan in planned({"load.workload": "default"})} == {workload}


@pytest.mark.parametrize(("layer", "workload"), [(2, "scripted"), (3, "default")])
def test_a_layer_has_its_own_workload(layer: int, workload: str) -> None:
    assert load_config(layer).config.load.workload == workload


def test_a_factory_itself_is_proven_under_its_reference() -> None:
    (plan,) = plan_proof(samples.executor, load_config(2), layer=2, seed=5, scenarios=("steady",))
    assert plan.target.factory == "tests.unit.samples:executor"


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


# --- running ------------------------------------------------------------------------------------------------------


@dataclass
class ProvingGround:
    """Stands where plans are carried out: notes each, and answers with a history in which nothing went wrong."""

    claims: Claims
    ran: list[Plan] = field(default_factory=list)
    discarded: list[Path | None] = field(default_factory=list)

    def carry_out(
        self, plan: Plan, folder: Path, *, discard: Path | None, watcher: Callable[[Progress], None]
    ) -> History:
        assert list(folder.iterdir()) == []
        (folder / "plan.json").write_bytes(plans.encode(plan))
        self.ran.append(plan)
        self.discarded.append(discard)
        story = Story(plan, self.claims).op(0.1)
        for number, fault in enumerate(plan.scenario.faults):
            story.struck(0 if self.claims.in_process else 11, fault.at_s, fault=number)
        return story.history()

    @property
    def names(self) -> list[str]:
        return [plan.scenario.name for plan in self.ran]


@pytest.fixture
def a_ground(monkeypatch: pytest.MonkeyPatch) -> Callable[[Claims], ProvingGround]:
    def make(claims: Claims) -> ProvingGround:
        made = ProvingGround(claims)
        monkeypatch.setattr("poolproof.experiment.proof.carry_out", made.carry_out)
        return made

    return make


def proven(*scenarios: str, report: Path | None = None, workload: str = "scripted") -> Proof:
    effective = load_config(2, None, {"load.workload": workload})
    return prove("multiprocessing-pool", effective, layer=2, seed=5, scenarios=scenarios, report=report)


THREADS = Claims(in_process=True)
OF_PROCESSES = ["kill-one", "kill-idle", "kill-most", "kill-storm", "stall-one", "degradation"]


def test_every_scenario_is_run_once_where_the_pool_has_worker_processes(
    a_ground: Callable[[Claims], ProvingGround],
) -> None:
    ground = a_ground(Claims())
    found = proven()
    assert (ground.names, found.skipped) == (list(SCENARIOS), {})


def test_what_can_not_be_simulated_is_skipped_on_layer_1_and_says_what_to_use(
    a_ground: Callable[[Claims], ProvingGround],
) -> None:
    ground = a_ground(Claims())
    names = ("kill-one", "parent-death", "awkward-work")
    found = prove("sessionpool", load_config(1), layer=1, seed=5, scenarios=names)
    assert (ground.names, sorted(found.skipped)) == (["kill-one"], ["awkward-work", "parent-death"])
    assert all(why.endswith("use --layer 2") for why in found.skipped.values())


def test_what_would_harm_worker_processes_is_skipped_where_there_are_none(
    a_ground: Callable[[Claims], ProvingGround],
) -> None:
    ground = a_ground(THREADS)
    found = proven()
    assert found.skipped == dict.fromkeys(OF_PROCESSES, NO_PROCESS)
    assert ground.names == [name for name in SCENARIOS if name not in OF_PROCESSES]


def test_a_scenario_of_more_than_its_harm_is_run_without_it_where_there_are_no_worker_processes(
    a_ground: Callable[[Claims], ProvingGround],
) -> None:
    ground = a_ground(THREADS)
    proven("steady", "sessions")
    assert [plan.scenario.faults for plan in ground.ran] == [(), ()]


def test_a_scenario_that_finds_out_that_there_are_no_worker_processes_is_run_again_without_its_harm(
    a_ground: Callable[[Claims], ProvingGround],
) -> None:
    ground = a_ground(THREADS)
    found = proven("sessions")
    assert [len(plan.scenario.faults) for plan in ground.ran] == [1, 0]
    assert (found.skipped, [outcome.name for outcome in found.scenarios]) == ({}, ["sessions"])


def test_a_scenario_without_harm_is_not_run_again_when_it_finds_out_that_there_are_no_worker_processes(
    a_ground: Callable[[Claims], ProvingGround],
) -> None:
    ground = a_ground(THREADS)
    proven("steady", "overload")
    assert ground.names == ["steady", "overload"]


def test_a_scenario_whose_point_is_the_harm_counts_for_nothing_when_it_finds_out_that_there_are_no_worker_processes(
    a_ground: Callable[[Claims], ProvingGround],
) -> None:
    a_ground(THREADS)
    found = proven("kill-one", "shutdown")
    assert (list(found.skipped), [outcome.name for outcome in found.scenarios]) == (["kill-one"], ["shutdown"])


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_that_harms_no_worker_is_for_threads_as_it_is(name: str) -> None:
    (plan,) = planned(scenarios=(name,))
    harmless = all(fault.target == "parent" for fault in plan.scenario.faults)
    assert (_for_threads(plan) is plan) == harmless


OF_DEATHS = ("survives-worker-death", "contains-the-blast", "restores-capacity", "degrades-gracefully")


def test_what_is_left_of_a_plan_for_threads_is_what_threads_can_be_asked_and_what_harms_no_worker() -> None:
    plan = make_plan(faults=(KILL, KILL_PARENT, STALL), examines=("runs-at-most-once", *OF_DEATHS, "serves-fairly"))
    left = _for_threads(plan)
    assert left is not None
    assert left.scenario == msgspec.structs.replace(
        plan.scenario,
        faults=(KILL_PARENT,),
        examines=("runs-at-most-once", "serves-fairly"),
        summary="a story, but without harm to any worker",
    )


@pytest.mark.parametrize("promise", OF_DEATHS)
def test_nothing_is_left_for_threads_of_a_plan_that_examines_only_what_comes_of_its_harm(promise: str) -> None:
    assert _for_threads(make_plan(faults=(KILL,), examines=(*IMPLIED, promise))) is None


def test_a_scenario_that_was_run_without_its_harm_is_noted() -> None:
    left = _for_threads(make_plan(faults=(KILL,), examines=("serves-fairly",)))
    assert left is not None
    (note,) = combine([(Story(left).op(0.1).history(), "")]).scenarios[0].notes
    assert (note.scenario, note.text) == ("story", "a story, but without harm to any worker")


def test_why_nothing_examined_a_promise_is_told_of_what_was_skipped_without_a_run(
    a_ground: Callable[[Claims], ProvingGround],
) -> None:
    a_ground(THREADS)
    found = proven("steady", "kill-one").promises["survives-worker-death"]
    assert [entry.scenario for entry in found.evidence] == ["", "kill-one"]


def test_a_proof_of_scenarios_that_do_not_apply_could_not_tell(a_ground: Callable[[Claims], ProvingGround]) -> None:
    a_ground(THREADS)
    found = proven("kill-one", "stall-one")
    assert (found.verdict, list(found.skipped)) == ("unknown", ["kill-one", "stall-one"])


@pytest.mark.parametrize(
    ("name", "layer", "factory"),
    [
        ("sessionpool", 1, CORES["sessionpool"]),
        ("sessionpool", 2, BUNDLED["sessionpool"]),
        ("some-pool", 2, "some.module:factory"),
    ],
)
def test_a_plan_is_repeated_with_the_pool_that_its_name_says_where_that_is_bundled(
    name: str, layer: int, factory: str, a_ground: Callable[[Claims], ProvingGround]
) -> None:
    ground = a_ground(Claims())
    repeat(make_plan(target=name, layer=layer))
    assert [plan.target for plan in ground.ran] == [Target(name=name, factory=factory)]


def test_runs_without_a_report_are_discarded_with_their_home(a_ground: Callable[[Claims], ProvingGround]) -> None:
    ground = a_ground(Claims())
    found = proven("steady")
    (discarded,) = ground.discarded
    assert discarded is not None
    assert (discarded.exists(), found.scenarios[0].folder) == (False, "")


def test_runs_with_a_report_stay_in_a_folder_each(a_ground: Callable[[Claims], ProvingGround], tmp_path: Path) -> None:
    ground = a_ground(Claims())
    found = proven("steady", "shutdown", report=tmp_path)
    assert [outcome.folder for outcome in found.scenarios] == [str(tmp_path / "steady"), str(tmp_path / "shutdown")]
    assert ground.discarded == [None, None]
    assert {entry.name for entry in tmp_path.iterdir()} == {"steady", "shutdown"}


def test_a_proof_on_the_workload_that_was_asked_for_has_no_note(a_ground: Callable[[Claims], ProvingGround]) -> None:
    a_ground(Claims())
    assert proven("steady").note == ""


def test_a_proof_that_had_to_do_without_real_work_says_so(
    a_ground: Callable[[Claims], ProvingGround], monkeypatch: pytest.MonkeyPatch
) -> None:
    a_ground(Claims())
    monkeypatch.setattr(extras, "find_spec", lambda module: None)
    found = proven("steady", workload="default")
    assert (found.workload, found.note) == (
        "scripted",
        "scripted work, since real work needs pip install 'poolproof[work]'",
    )


# --- what one run leaves --------------------------------------------------------------------------------------------


@pytest.fixture
def carried_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Ended], History]:
    """The history of a run that ended in a certain way, whose last event came at 7."""

    def run_plan(
        plan: Plan, folder: Path, *, discard: Path | None, on_progress: Callable[[Progress], None], stop: int | None
    ) -> Ended:
        assert (discard, on_progress) == (tmp_path, print)
        (folder / "plan.json").write_bytes(plans.encode(plan))
        journal = Journal(folder)
        journal.write(Lifecycle(event="measured", at=7))
        journal.write(Lifecycle(event="stage", at=5))
        journal.close()
        return how

    how = Ended()

    def carry_out_so(ended: Ended) -> History:
        nonlocal how
        how = ended
        monkeypatch.setattr("poolproof.experiment.proof.run_plan", run_plan)
        made = carry_out(make_plan(), tmp_path, discard=tmp_path, watcher=print)
        assert load(tmp_path) == replace(made, operations=ANY, executions=ANY)
        return made

    return carry_out_so


def added(history: History) -> list[tuple[str, int, str, str]]:
    return [(event.event, event.at, event.stage, event.detail) for event in history.lifecycle[2:]]


def test_nothing_is_added_to_the_record_of_a_run_that_went_its_whole_way(
    carried_out: Callable[[Ended], History],
) -> None:
    assert added(carried_out(Ended())) == []


def test_the_record_of_a_run_that_was_cut_short_says_why(carried_out: Callable[[Ended], History]) -> None:
    history = carried_out(Ended(reason="the caller ended"))
    assert added(history) == [("void", 7, "", "the caller ended")]


def test_the_record_of_a_run_in_which_the_pool_took_its_own_process_along_says_how(
    carried_out: Callable[[Ended], History],
) -> None:
    history = carried_out(Ended(reason="the lab exited with status 3", own_doing=True))
    assert added(history) == [
        ("own-doing", 7, "", "exited with status 3"),
        ("void", 7, "", "the lab exited with status 3"),
    ]


def test_the_record_of_a_run_that_hung_says_in_which_stage_and_where(carried_out: Callable[[Ended], History]) -> None:
    history = carried_out(Ended(hung="close"))
    assert added(history) == [("hung-in", 0, "close", "unknown code: its stacks could not be written")]


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


def test_of_a_comparison_the_folders_that_can_be_judged_are_named(tmp_path: Path) -> None:
    for target in ("mine", "other"):
        (tmp_path / target).mkdir()
        saved(tmp_path / target, "steady", "kept")
    (tmp_path / "index.html").touch()
    with pytest.raises(HistoryError, match="the reports of a comparison; judge one of them: ") as refused:
        judge_folder(tmp_path)
    assert str(refused.value).endswith(f": {tmp_path / 'mine'}, {tmp_path / 'other'}")


def test_an_earlier_run_is_replaced(tmp_path: Path) -> None:
    folder = saved(tmp_path, "one", "kept")
    made_empty(folder)
    assert list(folder.iterdir()) == []


def test_what_is_no_run_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("dear")
    with pytest.raises(UsageError, match="holds something that is no run of poolproof"):
        made_empty(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "dear"


def test_runs_without_a_report_leave_nothing() -> None:
    with home_of(None) as home:
        assert home.is_dir()
    assert not home.exists()


def test_a_report_that_can_not_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = pytest.raises(UsageError, match=r"the report can't be written to .*; name a folder")
    with refused, home_of(tmp_path / "file"):
        raise AssertionError("it must not come to this")


def test_a_report_is_made_with_the_folders_above_it(tmp_path: Path) -> None:
    with home_of(tmp_path / "a" / "b") as home:
        assert {entry.name for entry in home.iterdir()} == {LOCK}
    assert list(home.iterdir()) == []


def test_the_implied_promises_come_first() -> None:
    assert PROMISES[:6] == IMPLIED
