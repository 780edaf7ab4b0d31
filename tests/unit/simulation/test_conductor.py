from typing import Any, get_args

import pytest

from poolproof.plan import LASTING, Coincidence, FaultKind, FaultSpec, Limits
from poolproof.simulation import simulate
from poolproof.simulation.faults import Conductor
from poolproof.simulation.process import KILLED
from tests.unit.simulation.worlds import SECOND_NS, UNLIMITED, Room, answer, make_plan

WORKER: tuple[tuple[str, dict[str, Any]], ...] = (
    ("kill", {}),
    ("stall", {"for_s": 0.3}),
    ("slow", {"for_s": 0.3, "amount": 5.0}),
    ("disconnect", {}),
    ("partition", {"for_s": 0.3}),
    ("delay", {"for_s": 0.3, "amount": 0.01}),
    ("duplicate", {"for_s": 0.3, "amount": 1.0}),
    ("corrupt", {"for_s": 0.3, "amount": 1.0}),
    ("truncate", {"for_s": 0.3, "amount": 1.0}),
    ("lose-states", {}),
)
TABLE = ("lose-affinity", "swap-affinity", "stale-affinity")
STARTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("refuse-start", {"for_s": 0.3}),
    ("fail-start", {"for_s": 0.3}),
    ("slow-start", {"for_s": 0.3, "amount": 0.1}),
    ("hang-start", {"for_s": 0.3}),
)
WIRES = ("partition", "delay", "duplicate", "corrupt", "truncate")


def with_sessions(count: int = 2, **options: Any) -> Room:
    """Two workers, each with the state of a session."""
    it = Room(2, **options)
    for session in range(count):
        it.send("wait", 0.01, 1, session=session)
    it.run(0.1)
    return it


def busy(**options: Any) -> Room:
    """The same with both workers at an operation."""
    it = with_sessions(**options)
    for session in range(2):
        it.send("wait", 0.2, 1, session=session)
    it.run(0.01)
    return it


def test_every_kind_of_fault_is_tried_here() -> None:
    tried = {kind for kind, _ in (*WORKER, *STARTS)} | {*TABLE, "jump-clock"}
    assert tried == set(get_args(FaultKind))


# --- what takes effect says so ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "terms"), WORKER)
def test_what_befalls_a_worker_at_work_takes_effect(kind: str, terms: dict[str, Any]) -> None:
    it = busy()
    it.inject(kind=kind, count=1, **terms)
    it.end()
    assert it.said == ["yes"]


@pytest.mark.parametrize("kind", TABLE)
def test_what_befalls_the_table_of_sessions_takes_effect(kind: str) -> None:
    it = with_sessions()
    it.inject(kind=kind, target="pool", count=2)
    it.run(0.1)
    assert [(row.effective, row.sessions) for row in it.rows] == [("yes", (0, 1))]


@pytest.mark.parametrize(("kind", "terms"), STARTS)
def test_what_befalls_starts_takes_effect_where_a_worker_is_started(kind: str, terms: dict[str, Any]) -> None:
    it = Room(2)
    it.inject(kind=kind, target="pool", **terms)
    it.run(0.01)
    it.processes[0].die(KILLED)
    it.run(1)
    assert it.said == ["yes"]


def test_a_clock_that_jumps_goes_forward() -> None:
    it = Room(1)
    before = it.timeline.now
    it.inject(kind="jump-clock", target="pool", amount=30.0)
    it.run(0)
    assert (it.timeline.now - before, it.said) == (30 * SECOND_NS, ["yes"])


def test_a_forkserver_that_is_killed_has_a_row_for_each_worker_that_died_with_it() -> None:
    it = busy()
    pids = {process.pid for process in it.processes}
    it.inject(kind="kill", target="forkserver")
    it.run(0.1)
    assert (it.said, {row.pid for row in it.rows}) == (["yes", "yes"], pids)


# --- what met nothing says so -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "terms"), WORKER)
def test_what_finds_no_worker_at_work_has_no_effect(kind: str, terms: dict[str, Any]) -> None:
    it = with_sessions()
    it.inject(kind=kind, count=1, **terms)
    it.run(2)
    assert [(row.effective, row.pid) for row in it.rows] == [("no", 0)]


@pytest.mark.parametrize(("kind", "terms"), WORKER)
def test_what_finds_no_worker_alive_says_that_the_pool_is_dead(kind: str, terms: dict[str, Any]) -> None:
    it = Room(1)
    it.inject(kind="refuse-start", target="pool", for_s=50.0)
    it.run(0)
    it.processes[0].die(KILLED)
    it.run(0.01)
    it.inject(kind=kind, count=1, coincide="any", **terms)
    it.run(2)
    assert it.said == ["pool-dead"]


@pytest.mark.parametrize("toward", ["worker", "pool", "both"])
@pytest.mark.parametrize(("kind", "terms"), [(kind, terms) for kind, terms in WORKER if kind in WIRES])
def test_what_befalls_a_wire_on_which_nothing_is_sent_has_no_effect(
    kind: str, terms: dict[str, Any], toward: str
) -> None:
    it = with_sessions()
    it.inject(kind=kind, count=1, coincide="any", toward=toward, **terms)
    it.run(2)
    assert it.said == ["no"]


@pytest.mark.parametrize("kind", ["duplicate", "corrupt", "truncate"])
def test_what_befalls_a_share_of_the_frames_has_no_effect_where_it_befell_none(kind: str) -> None:
    it = busy()
    it.inject(kind=kind, count=1, amount=1e-12, for_s=0.5)
    it.end(2)
    assert it.said == ["no"]


def test_a_worker_that_is_slow_while_it_has_nothing_to_do_has_no_effect() -> None:
    it = with_sessions()
    it.inject(kind="slow", count=1, amount=5.0, for_s=0.5, coincide="any")
    it.run(2)
    assert it.said == ["no"]


def test_a_worker_that_holds_no_states_loses_none() -> None:
    it = Room(1)
    it.inject(kind="lose-states", count=1, coincide="any")
    it.run(0.1)
    assert it.said == ["no"]


def test_states_that_nobody_held_excuse_nothing() -> None:
    it = Room(1)
    it.inject(kind="lose-states", count=1, coincide="any")
    it.run(0.1)
    assert not it.world.ledger.is_tampered


def test_states_that_were_lost_excuse_what_follows_from_it() -> None:
    it = with_sessions()
    it.inject(kind="lose-states", count=2, coincide="any")
    it.run(0.1)
    assert it.world.ledger.is_tampered


@pytest.mark.parametrize("kind", TABLE)
def test_a_table_excuses_nothing_as_long_as_nothing_was_harmed_in_it(kind: str) -> None:
    it = Room(1)
    it.inject(kind=kind, target="pool", count=2, patience_s=0.2)
    it.run(1)
    assert not it.world.ledger.is_tampered


@pytest.mark.parametrize("kind", TABLE)
def test_a_table_that_was_harmed_excuses_what_follows_from_it(kind: str) -> None:
    it = with_sessions()
    it.inject(kind=kind, target="pool", count=2)
    it.run(1)
    assert it.world.ledger.is_tampered


@pytest.mark.parametrize("kind", TABLE)
def test_a_table_without_sessions_is_looked_at_again_and_then_given_up(kind: str) -> None:
    it = Room(1)
    it.inject(kind=kind, target="pool", count=2, patience_s=0.2)
    it.run(0.19)
    before = list(it.rows)
    it.run(0.1)
    assert (before, it.said) == ([], ["no"])


def test_one_session_can_not_be_swapped() -> None:
    it = with_sessions(1)
    it.inject(kind="swap-affinity", target="pool", count=2, patience_s=0.1)
    it.run(1)
    assert it.said == ["no"]


@pytest.mark.parametrize(("kind", "terms"), STARTS)
def test_what_befalls_starts_has_no_effect_where_no_worker_is_started(kind: str, terms: dict[str, Any]) -> None:
    it = Room(2)
    it.inject(kind=kind, target="pool", **terms)
    it.run(1)
    assert it.said == ["no"]


def test_a_forkserver_without_workers_is_a_dead_pool() -> None:
    it = Room(1, up=False)
    it.inject(kind="kill", target="forkserver")
    it.run(0.01)
    assert it.said == ["pool-dead"]


def test_a_wire_that_is_cut_already_is_not_cut_again() -> None:
    it = Room(1)
    it.send("wait", 0.5, 1)
    for at_s in (0.01, 0.03):
        it.inject(kind="disconnect", count=1, at_s=at_s, patience_s=0.0)
    it.end()
    assert it.said == ["yes", "no"]


def test_a_stall_that_another_one_has_ended_was_not_found_stopped_to_the_end() -> None:
    it = Room(1)
    it.inject(kind="stall", count=1, coincide="any", for_s=0.1)
    it.inject(kind="stall", count=1, coincide="any", at_s=0.05, for_s=0.5)
    it.run(0.2)
    runs_on = it.processes[0].stopped_at is None
    it.run(1)
    assert it.said[1] == ("no" if runs_on else "yes")


def test_a_stall_that_met_work_took_effect() -> None:
    it = Room(1)
    it.inject(kind="stall", count=1, coincide="idle", for_s=0.2)
    it.run(0.05)
    it.send("answer", 1)
    it.run(1)
    assert it.said == ["yes"]


def test_what_layer_1_can_not_harm_takes_no_effect() -> None:
    it = Room(1)
    it.inject(kind="kill", target="parent")
    it.run(1)
    assert it.said != ["yes"]


# --- how long it lasts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "terms"), [*WORKER, *STARTS])
def test_what_lasts_has_its_row_when_it_is_over_and_the_others_at_once(kind: str, terms: dict[str, Any]) -> None:
    it = busy()
    begin = it.timeline.now
    whom = {"count": 1} if (kind, terms) in WORKER else {"target": "pool"}
    it.inject(kind=kind, **whom, **terms)
    it.end()
    (row,) = {(row.begin - begin, row.end - begin) for row in it.rows}
    assert row == (0, round(0.3 * SECOND_NS) if kind in LASTING else 0)


@pytest.mark.parametrize(("kind", "terms"), [*WORKER, *STARTS])
def test_what_still_lasts_is_concluded_when_the_run_is_over(kind: str, terms: dict[str, Any]) -> None:
    it = busy()
    whom = {"count": 1} if (kind, terms) in WORKER else {"target": "pool"}
    it.inject(kind=kind, **whom, **terms)
    it.end(0.05)
    assert len(it.rows) == 1


def test_a_stalled_worker_runs_again_when_the_run_is_over() -> None:
    it = busy()
    it.inject(kind="stall", count=2, for_s=30.0)
    it.run(0.01)
    before = [process.stopped_at is None for process in it.processes]
    it.conductor.finish()
    assert (before, [process.stopped_at is None for process in it.processes]) == ([False] * 2, [True] * 2)


def test_workers_can_be_started_again_when_it_is_over() -> None:
    it = Room(1)
    it.inject(kind="refuse-start", target="pool", for_s=0.2)
    it.run(0.5)
    assert it.world.start_fault is None


def test_a_wire_is_whole_again_when_it_is_over() -> None:
    it = Room(1)
    it.inject(kind="delay", count=1, coincide="any", amount=0.1, for_s=0.2)
    it.run(0.1)
    before = len(it.processes[0].inward.harms), len(it.processes[0].outward.harms)
    it.run(0.2)
    assert (before, it.processes[0].inward.harms, it.processes[0].outward.harms) == ((1, 1), [], [])


@pytest.mark.parametrize(("toward", "harms"), [("worker", (1, 0)), ("pool", (0, 1)), ("both", (1, 1))])
def test_a_wire_is_harmed_in_the_direction_that_is_said(toward: str, harms: tuple[int, int]) -> None:
    it = Room(1)
    it.inject(kind="partition", count=1, coincide="any", toward=toward, for_s=0.2)
    it.run(0.01)
    process = it.processes[0]
    assert (len(process.inward.harms), len(process.outward.harms)) == harms


def test_a_worker_is_as_quick_as_before_when_it_is_over() -> None:
    it = Room(1)
    it.inject(kind="slow", count=1, coincide="any", amount=4.0, for_s=0.2)
    it.run(0.1)
    before = it.processes[0].slowness
    it.run(0.2)
    assert (before, it.processes[0].slowness) == (4.0, 1.0)


def test_a_conductor_is_done_when_every_fault_is_over() -> None:
    it = busy()
    it.inject(kind="kill", count=1)
    it.inject(kind="stall", count=1, for_s=0.5)
    seen = []
    for _ in range(3):
        it.run(0.3)
        seen.append(it.conductor.is_done)
    assert seen == [False, True, True]


def test_what_is_over_last_was_healed_last() -> None:
    it = busy()
    begin = it.timeline.now
    it.inject(kind="stall", count=1, for_s=0.5)
    it.run(1)
    assert it.conductor.last_heal - begin == SECOND_NS // 2


# --- whom, and what they held -----------------------------------------------------------------------------------------


def test_the_row_of_a_kill_names_what_its_victim_had_begun() -> None:
    it = Room(1)
    op = it.send("wait", 0.5, 1, session=4)
    it.run(0.01)
    it.inject(kind="kill", count=1)
    it.run(0.1)
    assert [(row.held, row.sessions) for row in it.rows] == [((op,), (4,))]


def test_the_row_of_a_kill_names_the_sessions_of_what_its_victim_was_sent_and_had_not_begun() -> None:
    it = Room(1)
    it.send("wait", 0.5, 1, session=4)
    it.inject(kind="kill", count=1, coincide="any")
    it.end(0.1)
    assert [(row.held, row.sessions) for row in it.rows] == [((), (4,))]


def test_the_rows_of_a_killed_forkserver_name_the_sessions_of_what_its_workers_were_sent() -> None:
    it = Room(1)
    it.send("wait", 0.5, 1, session=4)
    it.inject(kind="kill", target="forkserver")
    it.end(0.1)
    assert [row.sessions for row in it.rows] == [(4,)]


def test_the_rows_of_a_killed_forkserver_name_what_its_workers_had_begun() -> None:
    it = Room(1)
    op = it.send("wait", 0.5, 1)
    it.run(0.01)
    it.inject(kind="kill", target="forkserver")
    it.run(0.1)
    assert [row.held for row in it.rows] == [(op,)]


def test_the_row_of_what_lasts_names_what_its_victim_took_up_meanwhile() -> None:
    it = Room(1)
    it.inject(kind="slow", count=1, coincide="any", amount=2.0, for_s=0.3)
    it.run(0.01)
    op = it.send("answer", 1)
    it.run(1)
    it.send("answer", 1)
    it.run(1)
    assert [row.held for row in it.rows] == [(op,)]


def test_the_row_of_lost_states_names_their_sessions() -> None:
    it = with_sessions(1)
    it.inject(kind="lose-states", share=1.0, coincide="any")
    it.run(0.1)
    assert [row.sessions for row in it.rows if row.effective == "yes"] == [(0,)]


def test_a_worker_that_lost_its_states_does_not_hold_them() -> None:
    it = with_sessions()
    it.inject(kind="lose-states", count=2, coincide="any")
    it.run(0.1)
    assert [process.states for process in it.processes] == [{}, {}]


@pytest.mark.parametrize(
    ("coincide", "fits"),
    [
        ("in-flight", {"busy", "behind"}),
        ("idle", {"idle"}),
        ("sent", {"behind"}),
        ("starting", {"starting"}),
        ("any", {"busy", "behind", "idle", "starting", "stopped"}),
    ],
)
def test_victims_are_found_at_what_they_are_to_be_found_at(coincide: Coincidence, fits: set[str]) -> None:
    it = Room(5)
    it.send("wait", 5.0, 1)
    it.send("wait", 5.0, 1)
    it.run(0.001)
    at_work = [process for process in it.processes if process.at is not None]
    others = [process for process in it.processes if process.at is None]
    at_work[1].receive([answer(9)])
    others[1].is_up = False
    others[2].stop()
    others[2].receive([answer(9)])
    found_at = ("busy", "behind", "idle", "starting", "stopped")
    names = {process.pid: name for process, name in zip((*at_work, *others), found_at, strict=True)}
    found = set()
    for seed in range(30):
        spec = FaultSpec(kind="lose-states", count=1, at_s=0.0, coincide=coincide, patience_s=0.0)
        Conductor(it.world, it.pool, it.record, UNLIMITED, seed).plan((spec,), it.timeline.now)
        it.run(0)
        found.add(names[it.rows[-1].pid])
    assert found == fits


def test_a_victim_with_an_answer_on_its_way_is_found() -> None:
    it = Room(1)
    op = it.send("answer", 1)
    it.inject(kind="kill", count=1, coincide="answered")
    it.run(0)
    while not it.rows and it.timeline.next < 1 << 60 and not it.ended(op):
        # Hunts look each millisecond: an answer is on its way for less, so this one is looked for right then.
        if it.processes[0].is_answering:
            it.inject(kind="kill", count=1, coincide="answered")
            it.run(0)
            break
        it.timeline.step()
    it.end(0.1)
    assert it.said == ["yes"]


def test_a_victim_that_fits_only_later_is_waited_for() -> None:
    it = Room(1)
    it.inject(kind="kill", count=1, patience_s=0.5)
    it.run(0.3)
    before = list(it.rows)
    it.send("wait", 0.5, 1)
    it.run(0.1)
    assert (before, it.said) == ([], ["yes"])


def test_a_fault_is_as_patient_as_it_says_though_the_clock_jumps() -> None:
    it = Room(1)
    it.inject(kind="jump-clock", target="pool", amount=30.0)
    it.inject(kind="kill", count=1, at_s=0.1, patience_s=1.5)
    it.run(30.3)
    it.send("wait", 0.5, 1)
    it.run(1)
    assert it.said == ["yes", "yes"]


# --- the blast radius -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [{"max_share": 0.5}, {"min_survivors": 1}])
def test_more_than_the_limits_allow_is_refused_and_nobody_is_harmed(limits: dict[str, Any]) -> None:
    given = Limits(**({"max_share": 1.0, "min_survivors": 0, "max_fault_s": 60.0, "max_processes": 9} | limits))
    it = Room(2, limits=given)
    it.inject(kind="kill", count=2, coincide="any", patience_s=0.1)
    it.run(1)
    assert [(row.effective, row.why.startswith("refused: ")) for row in it.rows] == [("no", True)]
    assert [process.is_dead for process in it.processes] == [False, False]


def test_a_share_of_the_workers_is_harmed() -> None:
    it = Room(4)
    it.inject(kind="kill", share=0.5, coincide="any")
    it.run(0)
    killed = sum(process.is_dead for process in it.processes)
    it.end()
    assert (len(it.rows), killed) == (2, 2)


# --- chance -----------------------------------------------------------------------------------------------------------


def test_leaving_a_fault_out_does_not_choose_other_victims_for_the_next() -> None:
    def victim(*more: FaultSpec) -> int:
        it = Room(4, seed=3)
        spec = FaultSpec(kind="lose-states", count=1, at_s=0.2, coincide="any")
        it.conductor.plan((*more, spec), it.timeline.now)
        it.run(1)
        return it.rows[-1].pid

    other = FaultSpec(kind="delay", count=4, at_s=0.1, for_s=0.01, amount=0.1, coincide="any")
    assert victim() == victim(other)


def test_two_faults_of_one_kind_and_moment_choose_each_for_itself() -> None:
    apart = 0
    for seed in range(20):
        it = Room(4, seed=seed)
        specs = [
            FaultSpec(kind="delay", count=1, at_s=0.1, for_s=0.1, amount=0.1, coincide="any", toward=toward)
            for toward in ("worker", "pool")
        ]
        it.conductor.plan(specs, it.timeline.now)
        it.end()
        one, other = it.rows
        apart += one.pid != other.pid
    assert 10 <= apart < 20


def test_faults_of_other_seeds_choose_other_victims() -> None:
    chosen = set()
    for seed in range(20):
        it = Room(4, seed=seed)
        it.inject(kind="lose-states", count=1, coincide="any")
        it.run(0.1)
        chosen.add(it.rows[0].pid)
    assert len(chosen) > 1


# --- in a run ---------------------------------------------------------------------------------------------------------


def test_a_fault_that_outlasts_the_run_is_concluded_at_its_end() -> None:
    slow = FaultSpec(kind="slow", count=1, amount=2.0, at_s=0.1, for_s=50.0, coincide="any")
    history = simulate(make_plan(slow, rate=50, stages=("open", "load", "close")))
    assert [row.effective for row in history.faults] == ["yes"]


def test_each_row_bears_the_number_of_its_fault() -> None:
    faults = tuple(FaultSpec(kind="lose-states", count=1, at_s=at_s, coincide="any") for at_s in (0.1, 0.2))
    assert [row.fault for row in simulate(make_plan(*faults, rate=50)).faults] == [0, 1]
