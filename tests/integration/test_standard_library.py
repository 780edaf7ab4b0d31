"""What is known of two pools of the standard library is found by general means, each time with its evidence."""

from collections.abc import Callable

import pytest

from poolproof.checks import Evidence
from poolproof.config import Effective
from poolproof.experiment import Outcome, Proof
from poolproof.plan import PROMISES

EXECUTOR, POOL = "process-pool-executor", "multiprocessing-pool"

pytestmark = pytest.mark.layer(2)


@pytest.fixture
def examine(experiment: Callable[..., Proof], quick: Effective) -> Callable[[str, str], Outcome]:
    """Proves a target in one scenario."""
    return lambda target, scenario: experiment(target, scenarios=(scenario,), config=quick).scenarios[0]


def broken(outcome: Outcome, promise: str) -> tuple[Evidence, ...]:
    """The evidence that a promise was broken; it names an operation, a worker and a time."""
    (finding,) = [finding for finding in outcome.findings if finding.promise == promise]
    assert finding.verdict == "broken", finding
    for told_of in ("op", "pid", "at_s"):
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


@pytest.mark.parametrize("target", [EXECUTOR, POOL])
def test_neither_notices_a_stopped_worker(target: str, examine: Callable[[str, str], Outcome]) -> None:
    (unnoticed,) = [note for note in examine(target, "stall-one").notes if "nobody noticed" in note.text]

    assert None not in (unnoticed.op, unnoticed.pid, unnoticed.at_s)


@pytest.mark.parametrize("target", [EXECUTOR, POOL, "tests.pools.wild:threads"])
@pytest.mark.parametrize("seed", [1, 2])
def test_undisturbed_every_executor_keeps_what_is_examined(
    target: str, seed: int, experiment: Callable[..., Proof], quick: Effective
) -> None:
    proof = experiment(target, scenarios=("steady",), seed=seed, config=quick)

    doubted = {name: p for name, p in proof.promises.items() if p.verdict not in ("kept", None)}
    assert not doubted
    assert proof.verdict == "kept"
    assert set(proof.promises) == set(PROMISES)
