"""What is known of pools that other people wrote is found by general means, each time with its evidence."""

import os
from collections.abc import Callable

import pytest

from poolproof.checks import Evidence
from poolproof.config import Effective
from poolproof.experiment import Outcome, Proof
from poolproof.plan import PROMISES

EXECUTOR, POOL, THREADS = "process-pool-executor", "multiprocessing-pool", "thread-pool-executor"
LOKY, PEBBLE = "loky", "pebble"

pytestmark = pytest.mark.layer(2)


@pytest.fixture
def examine(experiment: Callable[..., Proof], quick: Effective) -> Callable[[str, str], Outcome]:
    """Proves a target in one scenario."""
    return lambda target, scenario: experiment(target, scenarios=(scenario,), config=quick).scenarios[0]


def broken(outcome: Outcome, promise: str) -> tuple[Evidence, ...]:
    """The evidence that a promise was broken; it names an operation, a worker and a time."""
    return broken_by(outcome, promise, "op", "pid", "at_s")


def broken_by(outcome: Outcome, promise: str, *names: str) -> tuple[Evidence, ...]:
    """The evidence that a promise was broken, which names so much."""
    (finding,) = [finding for finding in outcome.findings if finding.promise == promise]
    assert finding.verdict == "broken", finding
    for told_of in names:
        assert any(getattr(evidence, told_of) is not None for evidence in finding.evidence), finding.evidence
    return finding.evidence


def told(evidence: tuple[Evidence, ...]) -> str:
    return "\n".join(entry.text for entry in evidence)


def test_a_killed_worker_of_multiprocessing_leaves_its_operation_unresolved_and_the_close_hanging(
    examine: Callable[[str, str], Outcome],
) -> None:
    outcome = examine(POOL, "kill-one")

    assert "was never resolved" in told(broken(outcome, "resolves-every-operation"))
    assert "closing did not return" in told(broken(outcome, "closes-cleanly"))


def test_multiprocessing_loses_operations_that_exit_or_whose_exception_does_not_unpickle(
    examine: Callable[[str, str], Outcome],
) -> None:
    lost = told(broken(examine(POOL, "awkward-work"), "resolves-every-operation"))

    assert "(calls-sys-exit)" in lost
    assert "(raises-unloadable)" in lost


def test_a_killed_worker_of_the_executor_takes_operations_along_that_it_did_not_hold_and_no_later_one_succeeds(
    examine: Callable[[str, str], Outcome],
) -> None:
    outcome = examine(EXECUTOR, "kill-one")

    assert "which did not hold it" in told(broken(outcome, "contains-the-blast"))
    assert ", 0 succeeded" in told(broken(outcome, "survives-worker-death"))


def test_one_exception_that_does_not_unpickle_breaks_the_executor_for_innocents(
    examine: Callable[[str, str], Outcome],
) -> None:
    assert "(raises-unloadable)" in told(broken(examine(EXECUTOR, "awkward-work"), "contains-the-blast"))


def test_the_workers_of_the_executor_outlive_their_parent(examine: Callable[[str, str], Outcome]) -> None:
    evidence = broken(examine(EXECUTOR, "parent-death"), "leaves-nothing-behind")

    assert "outlived the pool's own process" in told(evidence)


@pytest.mark.parametrize("target", [EXECUTOR, POOL, LOKY, PEBBLE])
def test_nobody_notices_a_stopped_worker(target: str, examine: Callable[[str, str], Outcome]) -> None:
    (unnoticed,) = [note for note in examine(target, "stall-one").notes if "nobody noticed" in note.text]

    assert None not in (unnoticed.op, unnoticed.pid, unnoticed.at_s)


def test_the_death_of_an_idle_worker_ends_pebble_for_good(examine: Callable[[str, str], Outcome]) -> None:
    outcome = examine(PEBBLE, "kill-idle")

    assert ", 0 succeeded" in told(broken(outcome, "survives-worker-death"))
    refused = told(broken_by(outcome, "types-every-error", "op", "at_s"))  # by no worker: none is left
    assert "builtins.RuntimeError: Unexpected error within the Pool" in refused


def test_an_argument_that_refuses_to_pickle_is_never_resolved_by_pebble(
    examine: Callable[[str, str], Outcome],
) -> None:
    assert "(takes-unpicklable)" in told(broken(examine(PEBBLE, "awkward-work"), "resolves-every-operation"))


def test_pebble_ends_what_runs_past_its_deadline_and_lets_wait_what_waits(
    examine: Callable[[str, str], Outcome],
) -> None:
    late = told(broken(examine(PEBBLE, "deadlines"), "honours-deadlines"))

    assert "(wait)" in late
    assert "(overdue)" not in late


def test_loky_fails_what_the_dead_worker_did_not_hold_and_goes_on_with_a_fresh_executor(
    examine: Callable[[str, str], Outcome],
) -> None:
    # At 1.2 times the capacity others are under way for certain.
    assert "which did not hold it" in told(broken(examine(LOKY, "degradation"), "contains-the-blast"))

    outcome = examine(LOKY, "kill-one")
    (survival,) = [finding for finding in outcome.findings if finding.promise == "survives-worker-death"]
    assert survival.verdict == "kept", survival


def test_the_workers_of_loky_outlive_their_parent_and_none_of_its_semaphores_outlives_the_run(
    examine: Callable[[str, str], Outcome],
) -> None:
    outcome = examine(LOKY, "parent-death")

    assert "outlived the pool's own process" in told(broken(outcome, "leaves-nothing-behind"))
    # By the process that made them: other tests may have semaphores of loky's at this moment, too.
    (parent,) = outcome.faults
    assert not {name for name in os.listdir("/dev/shm") if name.startswith(f"sem.loky-{parent.pid}-")}


def test_the_scenarios_of_workers_that_die_are_skipped_for_threads_and_the_others_run(
    experiment: Callable[..., Proof], quick: Effective
) -> None:
    proof = experiment(THREADS, scenarios=("sessions", "kill-one"), config=quick)

    assert [outcome.name for outcome in proof.scenarios] == ["sessions"]
    assert not proof.scenarios[0].faults
    assert proof.promises["keeps-sessions-sticky"].verdict == "broken"
    assert "there is no worker process to harm" in proof.skipped["kill-one"]


@pytest.mark.parametrize("target", [EXECUTOR, POOL, THREADS, LOKY, PEBBLE, "tests.pools.wild:threads"])
@pytest.mark.parametrize("seed", [1, 2])
def test_undisturbed_every_pool_keeps_what_is_examined(
    target: str, seed: int, experiment: Callable[..., Proof], quick: Effective
) -> None:
    proof = experiment(target, scenarios=("steady",), seed=seed, config=quick)

    doubted = {name: p for name, p in proof.promises.items() if p.verdict not in ("kept", None)}
    assert not doubted
    assert proof.verdict == "kept"
    assert set(proof.promises) == set(PROMISES)
