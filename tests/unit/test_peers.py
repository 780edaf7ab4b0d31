"""The pools of other projects, seen through their adapters; what they need is the extra `peers`."""

from concurrent.futures import CancelledError, Future
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from poolproof.plan import Claims, Operation
from poolproof.pools import Pool
from poolproof.probe import Call

OPERATION = Operation(op=1, kind="obey", call=Call("/nowhere", "w:w", 1, "obey", None))


def qualified(kind: type) -> set[str]:
    return {f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__}


# --- loky ---------------------------------------------------------------------------------------------------------

loky = pytest.importorskip("loky")
from poolproof.pools import loky as loky_pool  # noqa: E402 - it can't be imported without its extra


class Loky:
    """Stands where loky hands out its reusable executor: each is new, and notes what is done to it."""

    def __init__(self) -> None:
        self.made: list[ReusableExecutor] = []

    def get_reusable_executor(self, max_workers: int) -> "ReusableExecutor":
        self.made.append(ReusableExecutor(max_workers))
        return self.made[-1]


class ReusableExecutor:
    def __init__(self, max_workers: int) -> None:
        self.max_workers = max_workers
        self.given: list[Any] = []
        self.closed: list[dict[str, bool]] = []

    def submit(self, fn: Any) -> "Future[Any]":
        self.given.append(fn)
        return Future()

    def shutdown(self, **how: bool) -> None:
        self.closed.append(how)


@pytest.fixture
def reusable(monkeypatch: pytest.MonkeyPatch) -> Loky:
    made = Loky()
    monkeypatch.setattr(loky_pool, "get_reusable_executor", made.get_reusable_executor)
    return made


def test_loky_is_a_pool(reusable: Loky) -> None:
    assert isinstance(loky_pool.make(3), Pool)


def test_loky_starts_with_its_pool_and_has_the_workers_that_were_asked_for(reusable: Loky) -> None:
    loky_pool.make(3)
    assert [executor.max_workers for executor in reusable.made] == [3]


def test_loky_is_asked_for_its_executor_anew_at_each_submit(reusable: Loky) -> None:
    pool = loky_pool.make(3)
    pool.submit(OPERATION)
    pool.submit(OPERATION)
    assert [(executor.max_workers, executor.given) for executor in reusable.made[1:]] == [(3, [OPERATION.call])] * 2


@pytest.mark.parametrize("cancel", [False, True])
def test_loky_waits_for_what_it_was_given_or_ends_its_workers(cancel: bool, reusable: Loky) -> None:
    pool = loky_pool.make(3)
    pool.submit(OPERATION)
    pool.close(cancel=cancel)
    assert [executor.closed for executor in reusable.made] == [[], [{"wait": True, "kill_workers": cancel}]]


def test_loky_does_not_end_its_workers_by_itself(reusable: Loky) -> None:
    pool = loky_pool.make(3)
    pool.close()
    assert reusable.made[0].closed[0]["kill_workers"] is False


def test_loky_is_not_started_again_by_what_comes_after_its_close(reusable: Loky) -> None:
    pool = loky_pool.make(3)
    pool.close()
    pool.submit(OPERATION)
    assert [executor.given for executor in reusable.made] == [[OPERATION.call]]


@pytest.mark.parametrize("name", ["BrokenProcessPool", "TerminatedWorkerError", "ShutdownExecutorError"])
def test_the_documented_errors_of_loky_are_listed_by_the_names_that_they_have(name: str) -> None:
    assert qualified(getattr(loky.process_executor, name)) & set(loky_pool.CLAIMS.errors)


def test_what_loky_cancelled_raises_what_is_listed() -> None:
    assert qualified(CancelledError) & set(loky_pool.CLAIMS.errors)


@pytest.mark.parametrize(
    ("promise", "made"),
    [
        ("survives-worker-death", "promised"),
        ("contains-the-blast", "declined"),
        ("degrades-gracefully", "declined"),
        ("restores-capacity", "undeclared"),
        ("keeps-sessions-sticky", "undeclared"),
    ],
)
def test_loky_breaks_as_a_whole_and_is_replaced(promise: str, made: str) -> None:
    assert loky_pool.CLAIMS.made(promise) == made


# --- pebble -------------------------------------------------------------------------------------------------------

pebble = pytest.importorskip("pebble")
from poolproof.pools import pebble as pebble_pool  # noqa: E402 - it can't be imported without its extra

NOW_NS = 5_000_000_000


class ProcessPool:
    """Stands where pebble makes its pool, and notes what is done to it."""

    made: "ProcessPool"

    def __init__(self, max_workers: int) -> None:
        self.max_workers = max_workers
        self.given: list[tuple[Any, float | None]] = []
        self.closed: list[str] = []
        ProcessPool.made = self

    def schedule(self, function: Any, *, timeout: float | None) -> "Future[Any]":
        self.given.append((function, timeout))
        return Future()

    def close(self) -> None:
        self.closed.append("close")

    def stop(self) -> None:
        self.closed.append("stop")

    def join(self) -> None:
        self.closed.append("join")


@pytest.fixture
def of_processes(monkeypatch: pytest.MonkeyPatch) -> pebble_pool.PebblePool:
    monkeypatch.setattr(pebble_pool, "ProcessPool", ProcessPool)
    monkeypatch.setattr(pebble_pool, "time", SimpleNamespace(monotonic_ns=lambda: NOW_NS))
    return pebble_pool.make(3)


def test_pebble_is_a_pool_with_the_workers_that_were_asked_for(of_processes: pebble_pool.PebblePool) -> None:
    assert isinstance(of_processes, Pool)
    assert ProcessPool.made.max_workers == 3


def test_pebble_is_given_the_call_of_an_operation(of_processes: pebble_pool.PebblePool) -> None:
    of_processes.submit(OPERATION)
    assert ProcessPool.made.given == [(OPERATION.call, None)]


@pytest.mark.parametrize(("left_ns", "timeout_s"), [(1_500_000_000, 1.5), (1_000_000, 0.001), (0, 0.001), (-7, 0.001)])
def test_what_is_left_until_its_deadline_is_the_time_that_pebble_gives_an_operation(
    left_ns: int, timeout_s: float, of_processes: pebble_pool.PebblePool
) -> None:
    of_processes.submit(replace(OPERATION, deadline_ns=NOW_NS + left_ns))
    assert ProcessPool.made.given == [(OPERATION.call, timeout_s)]


@pytest.mark.parametrize(("cancel", "closed"), [(False, ["close", "join"]), (True, ["stop", "join"])])
def test_pebble_is_closed_or_stopped_and_waited_for(
    cancel: bool, closed: list[str], of_processes: pebble_pool.PebblePool
) -> None:
    of_processes.close(cancel=cancel)
    assert ProcessPool.made.closed == closed


def test_pebble_is_not_stopped_by_itself(of_processes: pebble_pool.PebblePool) -> None:
    of_processes.close()
    assert "stop" not in ProcessPool.made.closed


@pytest.mark.parametrize("error", [TimeoutError, CancelledError, pebble.ProcessExpired])
def test_the_documented_errors_of_pebble_are_listed_by_the_names_that_they_have(error: type) -> None:
    assert qualified(error) & set(pebble_pool.CLAIMS.errors)


@pytest.mark.parametrize(
    ("promise", "made"),
    [
        ("survives-worker-death", "promised"),
        ("contains-the-blast", "undeclared"),
        ("honours-deadlines", "undeclared"),
    ],
)
def test_pebble_deals_with_dead_workers(promise: str, made: str) -> None:
    assert pebble_pool.CLAIMS.made(promise) == made


@pytest.mark.parametrize("claims", [loky_pool.CLAIMS, pebble_pool.CLAIMS])
def test_every_claim_of_theirs_names_its_source(claims: Claims) -> None:
    assert all(claim.source for claim in claims.promises.values())
    assert not claims.in_process
