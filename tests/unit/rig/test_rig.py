"""What a rig of layer 1 does: the same code stands on real pools, which the integration suite tries."""

import itertools
from collections.abc import Iterator
from functools import cache

import pytest

from poolproof.config import Effective, load_config
from poolproof.errors import (
    EvidenceError,
    TargetError,
    UsageError,
    WaitTimeoutError,
    WrongResultError,
)
from poolproof.rig import (
    PRESETS,
    Binding,
    Incarnation,
    Rig,
    exhaust,
    fill,
    grow_pool,
    hear_of_rigs,
    inject_worker_failure,
    monitor_pool_performance,
    observe_scaling,
    run_concurrent_operations,
    setup_isolated_pool,
    shrink_pool,
    synchronize_pool_operations,
    wait_for_pool_condition,
    wait_for_pool_idle,
    wait_for_pool_ready,
    wait_for_process_restart,
    wait_for_session_affinity,
    wait_for_workers_initialized,
    warm_pool_workers,
)


@cache
def config() -> Effective:
    return load_config(1)


@pytest.fixture
def pool() -> Iterator[Rig]:
    with setup_isolated_pool(layer=1, workers=3, config=config()) as it:
        yield it


# --- operations ---------------------------------------------------------------------------------------------------


def test_a_result_is_verified(pool: Rig) -> None:
    with pytest.raises(WrongResultError, match=r"operation 0 \(obey\): the payload .* does not give \('garbled', 7\)"):
        pool.submit("obey", ("garble", 7)).result()


def test_an_operation_that_does_not_end_is_told_with_the_state_of_its_pool(pool: Rig) -> None:
    with pytest.raises(
        WaitTimeoutError, match=r"waited 5 s for the end of operation 0 \(obey\): the state then: 1 pend"
    ):
        pool.submit("obey", ("wait", 60.0, 1)).result(5)


def test_a_kind_that_there_is_not_is_refused_with_those_that_there_are(pool: Rig) -> None:
    with pytest.raises(UsageError, match="no kind 'guess': send one of predict, batch, obey"):
        pool.submit("guess")


def test_nothing_is_sent_to_a_pool_that_is_closed(pool: Rig) -> None:
    pool.close()
    with pytest.raises(UsageError, match="is closed: nothing can be sent to it any more"):
        pool.submit()


def test_operations_are_counted_by_how_they_ended(pool: Rig) -> None:
    ends = [pool.submit("obey", command) for command in (("answer", 1), ("fail", "x"), ("garble", 2))]
    wait_for_pool_idle(pool)
    state = pool.state()
    assert ([it.end for it in ends], state.completed, state.failed) == (["ok", "error", "wrong"], 1, 2)


def test_what_was_before_the_test_does_not_count(pool: Rig) -> None:
    pool.submit(session="s").result()
    pool.begin_anew()
    assert (pool.operations, pool.state().completed, pool.sessions, len(pool.executions())) == ((), 0, (), 0)


def test_the_test_does_not_begin_while_something_is_under_way(pool: Rig) -> None:
    pool.submit()
    with pytest.raises(UsageError, match="1 operations have not ended"):
        pool.begin_anew()


def test_the_end_of_an_operation_is_an_event(pool: Rig) -> None:
    sent = pool.submit()
    sent.result()
    ended = [event for event in pool.events.since() if event.what == "ended"]
    assert [(event.who, event.detail) for event in ended] == [(sent.op, "ok")]


def test_the_end_of_an_operation_names_the_error(pool: Rig) -> None:
    pool.submit("obey", ("fail", "x")).exception()
    assert [event.detail for event in pool.events.since() if event.what == "ended"] == ["error, ScriptedError"]


def test_a_run_reads_as_what_came_of_it(pool: Rig) -> None:
    run = run_concurrent_operations(pool, kind="obey", payloads=[("answer", 1), ("fail", "x")])
    assert repr(run).startswith("<run of 2 operations (1 ok, 1 error) in 0.0")
    assert repr(run).endswith("; the first error: ScriptedError('x')>")


def test_what_the_pool_publishes_is_heard(pool: Rig) -> None:
    pool.submit(session="s").result()
    assert {"ready", "opened", "resolved"} <= {event.what for event in pool.events.since()}


def test_a_closed_session_begins_anew(pool: Rig) -> None:
    pool.submit(session="s").result()
    first = pool.binding("s")
    pool.close_session("s")
    pool.submit(session="s").result()
    again = pool.binding("s")
    assert first is not None
    assert again is not None
    assert (first.epoch != again.epoch, pool.closings("s")) == (True, 1)


def test_nothing_is_known_of_a_session_that_was_never_used(pool: Rig) -> None:
    with pytest.raises(UsageError, match="nothing was sent to a session 'u'"):
        pool.binding("u")


# --- waits --------------------------------------------------------------------------------------------------------


def test_initialized_are_distinct_workers_that_are_at_an_operation_at_once(pool: Rig) -> None:
    assert len(set(wait_for_workers_initialized(pool))) == 3


def test_more_workers_than_there_can_be_are_waited_for_in_vain(pool: Rig) -> None:
    with pytest.raises(WaitTimeoutError, match=r"4 operations side by side .*: 3 were there"):
        wait_for_workers_initialized(pool, 4, timeout=2)


def test_one_worker_at_two_operations_is_not_two(pool: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    one = wait_for_pool_ready(pool)
    seen = pool.running
    monkeypatch.setattr(pool, "running", lambda: tuple((one, op) for _, op in seen()))
    with pytest.raises(WaitTimeoutError, match="some worker was at two of them"):
        wait_for_workers_initialized(pool, 2, timeout=1)


def test_a_pool_is_not_idle_while_a_worker_is_at_what_has_ended_for_its_client(
    pool: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([((Incarnation(7, 1, 7), 3),)] * 3)
    monkeypatch.setattr(pool, "running", lambda: next(looks, ()))
    pool.every(1.0, lambda: None)  # in virtual time nothing would happen meanwhile
    wait_for_pool_idle(pool)
    assert next(looks, None) is None


def test_a_pool_that_never_starts_is_not_ready_and_says_why() -> None:
    with (
        setup_isolated_pool(layer=1, preset="failing-to-start", config=config()) as pool,
        pytest.raises(WaitTimeoutError, match="PoolBroken"),
    ):
        wait_for_pool_ready(pool, timeout=5)


def test_a_pool_that_is_at_something_is_not_idle(pool: Rig) -> None:
    pool.submit("obey", ("wait", 10.0, 1))
    with pytest.raises(WaitTimeoutError, match="idle"):
        wait_for_pool_idle(pool, timeout=5)


def test_idle_is_when_everything_has_ended(pool: Rig) -> None:
    pool.submit("obey", ("wait", 10.0, 1))
    state = wait_for_pool_idle(pool, timeout=11)
    assert (state.pending, state.running, state.completed) == (0, 0, 1)


def test_a_session_is_bound_where_its_operations_are_begun(pool: Rig) -> None:
    assert wait_for_session_affinity(pool, "s") == pool.binding("s")


def test_a_session_that_is_somewhere_else_each_time_is_not_bound(pool: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    epochs = itertools.count()
    monkeypatch.setattr(pool, "binding", lambda session: Binding(Incarnation(7, 1, 7), next(epochs)))
    with pytest.raises(WaitTimeoutError, match=r"session 's' of .* in one place"):
        wait_for_session_affinity(pool, "s", timeout=0.5)


def test_a_session_is_bound_after_as_many_operations_in_one_place_as_are_asked_for(pool: Rig) -> None:
    wait_for_session_affinity(pool, "s", times=5)
    assert len(pool.operations) == 5


def test_a_restart_is_over_when_others_answer_in_the_stead_of_the_lost(pool: Rig) -> None:
    before = set(wait_for_workers_initialized(pool))
    with synchronize_pool_operations(pool):
        lost = inject_worker_failure(pool)
    answering = set(wait_for_process_restart(pool, lost))
    assert (len(answering), answering & set(lost.victims), len(answering - before)) == (3, set(), 1)


def test_there_is_no_restart_after_a_failure_that_befell_nobody(pool: Rig) -> None:
    with pytest.raises(UsageError, match="befell nobody"):
        wait_for_process_restart(pool, inject_worker_failure(pool))


def test_a_worker_that_lives_is_not_restarted(pool: Rig) -> None:
    alive = wait_for_pool_ready(pool)
    with pytest.raises(WaitTimeoutError, match=f"the end of pid {alive.pid}"):
        wait_for_process_restart(pool, alive, timeout=1)


def test_a_condition_is_shown_what_the_kit_sees(pool: Rig) -> None:
    pool.submit("obey", ("wait", 5.0, 1))
    assert wait_for_pool_condition(pool, lambda state: state.running == 1).queued == 0


def test_a_condition_that_never_pleases_is_told_with_the_last_state(pool: Rig) -> None:
    with pytest.raises(WaitTimeoutError, match=r"waited 1 s for ten of them: .* 0 pending"):
        wait_for_pool_condition(pool, lambda state: state.completed == 10, timeout=1, what="ten of them")


def test_operations_that_line_up_stay_until_they_are_released(pool: Rig) -> None:
    with synchronize_pool_operations(pool) as held:
        pool.pass_time(60)
        staying = held.present
    assert (staying, [it.end for it in held.operations]) == (3, ["ok"] * 3)


def test_who_leaves_a_lineup_by_its_death_is_not_present(pool: Rig) -> None:
    with synchronize_pool_operations(pool) as held:
        inject_worker_failure(pool)
        assert held.present == 2


def test_waits_take_no_real_time_on_layer_1(pool: Rig) -> None:
    before = pool.now_ns()
    with pytest.raises(WaitTimeoutError):
        wait_for_workers_initialized(pool, 4, timeout=3600)
    assert pool.now_ns() - before >= 3600 * 10**9


# --- helpers ------------------------------------------------------------------------------------------------------


def test_warming_tells_when_each_worker_was_there(pool: Rig) -> None:
    warm = warm_pool_workers(pool)
    assert (len(warm.ready_ms), warm.wall_ms, warm.answered) == (3, max(warm.ready_ms.values()), 3)


def test_a_run_tells_results_ends_and_what_ran_side_by_side(pool: Rig) -> None:
    run = run_concurrent_operations(pool, payloads=[("wait", 0.01, number) for number in range(30)], kind="obey")
    assert (run.ok, run.parallelism, run.results, run.errors) == (30, 3, tuple(range(30)), ())


def test_a_run_keeps_no_more_under_way_than_it_may(pool: Rig) -> None:
    assert run_concurrent_operations(pool, 12, at_once=2).parallelism == 2


def test_a_run_tells_what_failed(pool: Rig) -> None:
    run = run_concurrent_operations(pool, kind="obey", payloads=[("answer", 1), ("fail", "x")])
    assert (run.ends, [type(error).__name__ for error in run.errors]) == ({"ok": 1, "error": 1}, ["ScriptedError"])


def test_a_run_tells_what_was_refused() -> None:
    with setup_isolated_pool(layer=1, preset="saturating", config=config()) as pool:
        wait_for_pool_ready(pool)
        run = run_concurrent_operations(pool, 40)
    assert run.ends["rejected"] == len(run.errors) == 40 - run.ok > 0


def test_a_run_mixes_kinds_by_their_weights(pool: Rig) -> None:
    run = run_concurrent_operations(pool, 40)
    assert [it.kind for it in run.operations].count("batch") == 4


def test_a_run_takes_turns_in_its_sessions(pool: Rig) -> None:
    run = run_concurrent_operations(pool, 6, sessions=["a", "b", "c"])
    assert [it.session for it in run.operations] == ["a", "b", "c"] * 2


@pytest.mark.parametrize("wrong", [{"count": 0}, {"at_once": 0}, {"payloads": []}])
def test_a_run_of_nothing_is_refused(pool: Rig, wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="expected 1 or more"):
        run_concurrent_operations(pool, **wrong)  # type: ignore[arg-type] # each is one of its own arguments


def test_a_monitor_samples_at_its_interval_and_at_both_ends(pool: Rig) -> None:
    with monitor_pool_performance(pool, 1.0) as monitor:
        pool.pass_time(3.5)
    assert len(monitor.samples) == 5


def test_a_monitor_tells_throughput_and_utilisation(pool: Rig) -> None:
    wait_for_workers_initialized(pool)
    with monitor_pool_performance(pool, 0.5) as monitor:
        run_concurrent_operations(pool, kind="obey", payloads=[("wait", 1.0, number) for number in range(6)])
    assert monitor.throughput == pytest.approx(3.0, rel=0.01)
    assert monitor.utilisation == pytest.approx(2 / 3)


def test_a_monitor_of_layer_1_measures_no_memory(pool: Rig) -> None:
    with monitor_pool_performance(pool) as monitor:
        pool.pass_time(1)
    assert monitor.peak_pss_bytes is None


def test_a_monitor_that_has_not_ended_tells_no_throughput(pool: Rig) -> None:
    with (
        monitor_pool_performance(pool, 10.0) as monitor,
        pytest.raises(EvidenceError, match=r"1 samples of .* were taken, two are the least"),
    ):
        _ = monitor.throughput


def test_a_monitor_needs_a_time_between_samples(pool: Rig) -> None:
    with pytest.raises(UsageError, match=r"interval = 0\.0"), monitor_pool_performance(pool, 0.0):
        pass


def test_a_full_pool_has_all_workers_busy_and_so_much_waiting(pool: Rig) -> None:
    with fill(pool, 5) as full:
        pool.pass_time(10)
        state = pool.state()
        assert (state.running, state.queued, full.held.present) == (3, 5, 3)


def test_an_exhausted_pool_tells_what_it_took_and_what_it_refused_with() -> None:
    with setup_isolated_pool(layer=1, preset="saturating", config=config()) as pool, exhaust(pool) as it:
        assert (len(it.accepted), type(it.refusal).__name__) == (4, "PoolSaturated")


def test_a_pool_that_refuses_nothing_tells_nothing_of_how_it_is_when_it_is_full(pool: Rig) -> None:
    with pytest.raises(EvidenceError, match="took 9 operations while all its workers were busy"), exhaust(pool, most=9):
        pass


def test_a_pool_grows_under_pressure_and_shrinks_without() -> None:
    with (
        setup_isolated_pool(layer=1, preset="growing", config=config()) as pool,
        observe_scaling(pool) as scaling,
    ):
        wait_for_pool_ready(pool)
        assert len(grow_pool(pool, 4)) == 4
        assert len(shrink_pool(pool, 1)) == 1
    assert (scaling.most, scaling.sizes[-1].workers) == (4, 1)


def test_a_pool_that_cannot_grow_so_far_is_told(pool: Rig) -> None:
    with pytest.raises(WaitTimeoutError):
        grow_pool(pool, 4, timeout=5)


def test_a_pool_that_does_not_shrink_is_told(pool: Rig) -> None:
    wait_for_workers_initialized(pool)
    with pytest.raises(WaitTimeoutError, match="with 1 workers"):
        shrink_pool(pool, 1, timeout=5)


# --- failures -----------------------------------------------------------------------------------------------------


def test_a_failure_tells_its_victim_and_what_that_held(pool: Rig) -> None:
    with synchronize_pool_operations(pool) as held:
        killed = inject_worker_failure(pool)
        at = {worker: it.op for worker, it in zip(held.workers, held.operations, strict=True)}
    assert killed.effective
    assert killed.held == (at[killed.victims[0]],)


def test_a_failure_that_finds_nobody_at_work_harms_nobody(pool: Rig) -> None:
    wait_for_workers_initialized(pool)
    missed = inject_worker_failure(pool, patience_s=1)
    assert (missed.effective, missed.victims, len(pool.workers())) == (False, (), 3)


def test_what_lasts_goes_on_until_it_is_healed_or_its_time_is_up(pool: Rig) -> None:
    sent = pool.submit("obey", ("wait", 0.1, 1))
    stalled = inject_worker_failure(pool, "stall", for_s=0.5)
    seen = [stalled.effective]
    stalled.heal()
    assert ([*seen, stalled.effective], sent.exception()) == ([None, True], None)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"kind": "slow"}, "expected a factor above 1"),
        ({"count": 1, "share": 0.5}, ""),
        ({"kind": "lose-affinity"}, "target = worker: expected pool"),
    ],
)
def test_a_failure_that_makes_no_sense_is_refused(pool: Rig, wrong: dict[str, object], told: str) -> None:
    if told:
        with pytest.raises(UsageError, match=told):
            inject_worker_failure(pool, **wrong)  # type: ignore[arg-type] # each is one of its own arguments
    else:
        with synchronize_pool_operations(pool):
            assert len(inject_worker_failure(pool, **wrong).victims) == 2  # type: ignore[arg-type]


# --- setting up ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"layer": 4}, "layer = 4: expected 1, 2 or 3"),
        ({"workers": 0}, "workers = 0: expected a number of 1 or more"),
        ({"preset": "tiny"}, "preset = 'tiny': expected one of small, sticky"),
        (
            {"preset": "small", "target": "loky"},
            "preset = 'small' is one of sessionpool, and target = 'loky' is another",
        ),
        ({"preset": "saturating", "options": {"max_queue": 1}}, "sets max_queue already"),
    ],
)
def test_what_cannot_be_set_up_is_refused(wrong: dict[str, object], told: str) -> None:
    with (
        pytest.raises(UsageError, match=told),
        setup_isolated_pool(**({"layer": 1, "config": config()} | wrong)),  # type: ignore[arg-type]
    ):
        pass


def test_everything_that_is_wrong_is_told_at_once() -> None:
    with (
        pytest.raises(UsageError, match=r"workers = 0.*preset = 'tiny'"),
        setup_isolated_pool(layer=1, workers=0, preset="tiny", config=config()),
    ):
        pass


def test_a_pool_without_a_core_cannot_be_simulated() -> None:
    with (
        pytest.raises(TargetError, match="layer 1 simulates a pool's sans-I/O core, and 'loky' offers none"),
        setup_isolated_pool("loky", layer=1, config=config()),
    ):
        pass


def test_who_asks_is_told_of_each_rig_that_is_set_up() -> None:
    heard = list[Rig]()
    end = hear_of_rigs(heard.append)
    with setup_isolated_pool(layer=1, config=config()) as pool:
        pass
    end()
    with setup_isolated_pool(layer=1, config=config()):
        pass
    assert heard == [pool]


@pytest.mark.parametrize("preset", [name for name, it in PRESETS.items() if it.starts])
def test_a_preset_opens_with_the_workers_that_it_names(preset: str) -> None:
    with setup_isolated_pool(layer=1, preset=preset, config=config()) as pool:
        assert len(wait_for_workers_initialized(pool)) == PRESETS[preset].workers == pool.size


def test_the_same_seed_gives_the_same_run() -> None:
    def events(seed: int) -> list[str]:
        with setup_isolated_pool(layer=1, workers=3, seed=seed, name="p", config=config()) as pool:
            run_concurrent_operations(pool, 20)
            return [str(event) for event in pool.events.since()]

    assert events(5) == events(5) != events(6)
