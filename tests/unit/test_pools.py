import inspect
import random
import sys
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest

from poolproof import extras, references
from poolproof.errors import TargetError
from poolproof.plan import IMPLIED, PROMISES, Claim, Claims, Operation, Target
from poolproof.pools import (
    BUNDLED,
    Pool,
    build,
    check_core,
    find_core,
    find_target,
    multiprocessing_pool,
    process_pool_executor,
    thread_pool_executor,
)
from poolproof.pools.executor import EXECUTOR_CLAIMS, ExecutorPool
from poolproof.pools.sessionpool import SessionPoolCore
from poolproof.probe import Call
from tests.unit import samples

HERE = "tests.unit.samples"


def target(attribute: str, module: str = HERE) -> Target:
    return Target(name="mine", factory=f"{module}:{attribute}")


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_pool_is_found_by_its_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda module: module)
    assert find_target(name) == Target(name=name, factory=BUNDLED[name])


@pytest.mark.parametrize("name", BUNDLED)
def test_the_factory_of_a_bundled_pool_is_there(name: str) -> None:
    if not extras.installed(name):
        pytest.skip(f"{extras.install_command(name)} was not run")
    assert inspect.signature(references.load(BUNDLED[name])).parameters.keys() - {"modules", "options"} == {"workers"}


@pytest.mark.parametrize("name", ["loky", "pebble"])
def test_a_bundled_pool_whose_extra_is_missing_is_refused_with_what_installs_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda module: None)
    with pytest.raises(TargetError, match=r"not installed here: pip install 'poolproof\[peers\]'$"):
        find_target(name)


def test_a_factory_itself_is_found_by_where_it_is_defined() -> None:
    found_at = f"{HERE}:executor"
    assert find_target(samples.executor) == Target(name=found_at, factory=found_at)


def test_a_factory_that_no_other_process_finds_is_refused() -> None:
    with pytest.raises(TargetError, match="is a lambda"):
        find_target(lambda workers: samples.executor(workers))


@pytest.mark.parametrize("name", ["module:factory", "a.b.c:d", "a:b.c", "_private:make", "here/pool.py:make"])
def test_a_factory_is_its_own_name(name: str) -> None:
    assert find_target(name) == Target(name=name, factory=name)


def test_finding_a_target_does_not_import_it() -> None:
    assert find_target("no.such.module:make").factory == "no.such.module:make"


@pytest.mark.parametrize(
    "name", ["", "process-pool", ":", "a:", ":b", "a", "a b:c", "a:b:c", "a..b:c", ".a:b", "a:b-c", "a/b:c", "[red]:x"]
)
def test_what_is_neither_bundled_nor_a_factory_is_refused_with_what_there_is(name: str) -> None:
    with pytest.raises(TargetError) as caught:
        find_target(name)
    assert str(caught.value) == (
        f"unknown target {name!r}: name one of loky, multiprocessing-pool, pebble, process-pool-executor, "
        "sessionpool, thread-pool-executor, or module:factory (or script.py:factory) of your own"
    )


def test_a_refusal_names_the_target() -> None:
    with pytest.raises(TargetError) as caught:
        find_target("nothing")
    assert caught.value.target == "nothing"


def built(attribute: str) -> Pool:
    return build(target(attribute), 3)


def test_an_executor_becomes_a_pool() -> None:
    assert isinstance(built("executor"), ExecutorPool)


def test_an_object_of_the_protocol_is_a_pool_as_it_is() -> None:
    assert isinstance(built("pool"), samples.InlinePool)


def test_a_factory_may_lie_deeper_in_its_module() -> None:
    assert isinstance(built("Factories.pool"), samples.InlinePool)


@pytest.mark.parametrize(
    ("attribute", "workers"), [("executor", 3), ("executor_of_any_options", 3), ("executor_without_options", None)]
)
def test_a_factory_is_told_the_workers_if_it_takes_them(attribute: str, workers: int | None) -> None:
    pool = built(attribute)
    assert isinstance(pool, ExecutorPool)
    assert isinstance(pool._executor, samples.InlineExecutor)
    assert pool._executor.workers == workers


def test_a_class_serves_as_a_factory() -> None:
    pool = built("InlinePool")
    assert isinstance(pool, samples.InlinePool)
    assert pool.workers == 3


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (target("x", "no.such.module"), "the target 'mine' can't be loaded: ModuleNotFoundError: No module named 'no'"),
        (target("nothing"), "the target 'mine' can't be loaded: AttributeError"),
        (target("NOT_CALLABLE"), "the target 'mine' is of type int, expected a callable that makes a pool"),
        (target("raising"), f"the factory {HERE}:raising raised OSError: no room"),
        (target("exiting"), f"the factory {HERE}:exiting raised SystemExit: enough"),
        (target("interrupted"), f"the factory {HERE}:interrupted raised KeyboardInterrupt: "),
        (
            target("no_pool"),
            f"the factory {HERE}:no_pool returned something of type list: expected a concurrent.futures.Executor",
        ),
        (target("Unclaiming"), f"the factory {HERE}:Unclaiming returned something of type Unclaiming: expected"),
        (
            target("Misclaiming"),
            f"the claims of {HERE}:Misclaiming are of type dict: expected poolproof.Claims(promises={{...}}",
        ),
    ],
)
def test_what_can_not_be_built_is_refused_with_the_cause(made: Target, message: str) -> None:
    with pytest.raises(TargetError) as caught:
        build(made, 3)
    assert str(caught.value).startswith(message)
    assert caught.value.target == "mine"


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("raise SystemExit('enough')", "SystemExit: enough"),
        ("raise SystemExit", "SystemExit: "),
        ("raise KeyboardInterrupt", "KeyboardInterrupt: "),
        ("import no_such_dependency", "ModuleNotFoundError: No module named 'no_such_dependency'; is its folder on"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_module_that_can_not_be_imported_is_refused_with_the_cause(
    line: str, cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ill_module.py").write_text(line, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TargetError) as caught:
        build(target("make", "ill_module"), 3)
    assert str(caught.value).startswith(f"the target 'mine' can't be loaded: {cause}")


def test_a_target_in_a_script_is_built_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "script_with_a_pool.py"
    script.write_text(f"from {HERE} import executor", encoding="utf-8")
    monkeypatch.setattr(sys, "path", [*sys.path])
    pool = build(Target(name="mine", factory=f"{script}:executor"), 3)
    del sys.modules["script_with_a_pool"]
    assert isinstance(pool, ExecutorPool)


def test_a_script_that_is_not_there_is_refused_as_such(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"^there is no script "):
        build(Target(name="mine", factory=f"{tmp_path}/nothing.py:make"), 3)


def test_a_module_that_exits_is_not_said_to_be_off_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ill_module.py").write_text("raise SystemExit", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TargetError) as caught:
        build(target("make", "ill_module"), 3)
    assert "on the path" not in str(caught.value)


def operation() -> Operation:
    return Operation(op=1, kind="obey", call=Call("/nowhere", "w:w", 1, "obey", None))


def test_an_executor_is_given_the_call_of_an_operation() -> None:
    given: list[object] = []

    class Executor(samples.InlineExecutor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
            given.append((fn, args, kwargs))
            return Future()

    made = operation()
    ExecutorPool(Executor()).submit(made)
    assert given == [(made.call, (), {})]


@pytest.mark.parametrize("cancel", [True, False])
def test_closing_an_executor_waits_and_cancels_if_asked(cancel: bool) -> None:
    executor = samples.InlineExecutor()
    ExecutorPool(executor).close(cancel=cancel)
    assert executor.closed == [{"wait": True, "cancel": cancel}]


def test_closing_an_executor_does_not_cancel_by_itself() -> None:
    executor = samples.InlineExecutor()
    ExecutorPool(executor).close()
    assert executor.closed[0]["cancel"] is False


def test_an_executor_claims_what_its_documentation_says_of_all() -> None:
    assert ExecutorPool(samples.InlineExecutor()).claims == EXECUTOR_CLAIMS


def test_an_executor_of_processes_does_not_work_in_the_labs_own() -> None:
    assert not ExecutorPool(samples.InlineExecutor()).claims.in_process


def test_an_executor_of_threads_works_in_the_labs_own_process_whatever_else_it_claims() -> None:
    claims = Claims(detection_s=7)
    with ThreadPoolExecutor(1) as executor:  # it starts a thread with its first operation only
        assert ExecutorPool(executor, claims).claims == Claims(detection_s=7, in_process=True)


def test_an_executor_may_claim_to_work_in_the_labs_own_process() -> None:
    assert ExecutorPool(samples.InlineExecutor(), Claims(in_process=True)).claims.in_process


def test_the_thread_pool_executor_has_as_many_threads_as_workers_were_asked_for() -> None:
    pool = thread_pool_executor.make(3)
    assert isinstance(pool._executor, ThreadPoolExecutor)
    assert (pool._executor._max_workers, pool.claims.in_process) == (3, True)


def test_the_documentation_of_the_thread_pool_executor_promises_and_declines_nothing() -> None:
    claims = thread_pool_executor.make(1).claims
    assert {claims.made(promise) for promise in PROMISES if promise not in IMPLIED} == {"undeclared"}


@pytest.mark.parametrize("error", [CancelledError, BrokenProcessPool])
def test_the_documented_errors_of_executors_are_listed_by_the_names_that_they_have(error: type) -> None:
    names = {f"{base.__module__}.{base.__qualname__}" for base in error.__mro__}
    assert names & set(EXECUTOR_CLAIMS.errors)


@pytest.mark.parametrize("claims", [process_pool_executor.CLAIMS, multiprocessing_pool.CLAIMS, EXECUTOR_CLAIMS])
def test_every_claim_names_its_source(claims: Claims) -> None:
    assert all(claim.source for claim in claims.promises.values())


@pytest.mark.parametrize(
    "promise", ["survives-worker-death", "contains-the-blast", "restores-capacity", "degrades-gracefully"]
)
def test_the_process_pool_executor_declines_to_outlive_its_workers(promise: str) -> None:
    assert process_pool_executor.CLAIMS.made(promise) == "declined"


@pytest.mark.parametrize("promise", ["survives-worker-death", "contains-the-blast", "restores-capacity"])
def test_the_multiprocessing_pool_is_silent_about_dead_workers(promise: str) -> None:
    assert multiprocessing_pool.CLAIMS.made(promise) == "undeclared"


# --- claims -----------------------------------------------------------------------------------------------------------


class ClaimingExecutor(ThreadPoolExecutor):
    """An executor that says something of itself."""

    def __init__(self, claims: Any) -> None:
        super().__init__(1)
        self.claims = claims


def claiming(monkeypatch: pytest.MonkeyPatch, claims: Any) -> Pool:
    """The pool that is built of an executor with such claims."""
    monkeypatch.setattr(samples, "executor", lambda: ClaimingExecutor(claims))
    return build(target("executor"), 1)


def test_what_an_executor_says_of_itself_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    promised = Claims(promises={"restores-capacity": Claim(made="promised", source="its README")})
    assert claiming(monkeypatch, promised).claims.made("restores-capacity") == "promised"


def test_an_exception_is_known_by_the_name_that_it_gives_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    claims = Claims(errors=("concurrent.futures.BrokenExecutor",), overload=("queue.Full",))
    sound = claiming(monkeypatch, claims).claims
    assert sound.errors == ("concurrent.futures._base.BrokenExecutor",)
    assert sound.overload == ("queue.Full",)


@pytest.mark.parametrize(
    ("claims", "cause"),
    [
        ({"errors": ()}, "are of type dict: expected poolproof.Claims"),
        (Claims(promises={"survive-worker-death": Claim(made="promised", source="")}), "'survive-worker-death', which"),
        (Claims(promises={"restores-capacity": "promised"}), "can't be read"),  # type: ignore[dict-item]  # the point
        (Claims(errors="builtins.OSError"), "can't be read"),  # type: ignore[arg-type]  # the point
        (Claims(errors=(OSError,)), "can't be read"),  # type: ignore[arg-type]  # the point
        (Claims(errors=("BrokenProcessPool",)), "'BrokenProcessPool', which is not found"),
        (Claims(overload=("queue.Fuller",)), "'queue.Fuller', which is not found"),
    ],
)
def test_claims_that_mean_nothing_are_refused(claims: Any, cause: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TargetError) as caught:
        claiming(monkeypatch, claims)
    assert cause in str(caught.value)


# --- what layer 1 simulates -------------------------------------------------------------------------------------------


class Valueless(SessionPoolCore):
    """Does not say how often its operations are run, nor how often it looks."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        del self.max_runs, self.look_s


class Misclaimed(SessionPoolCore):
    """Says of itself what cannot be read."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self.claims = {}  # type: ignore[assignment]  # the point


class Stumbling(SessionPoolCore):
    """Makes no core."""

    def make_core(self, chance: random.Random) -> Any:
        raise OSError("no room")


class Coreless(SessionPoolCore):
    """Forgets to return its core."""

    def make_core(self, chance: random.Random) -> Any:
        return None


def test_the_bundled_core_can_be_simulated() -> None:
    check_core(find_core("sessionpool"))


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (Valueless, "what {} makes has no max_runs, look_s: see poolproof.pools.SansIO"),
        (Misclaimed, "the claims of {} are of type dict: expected poolproof.Claims"),
        (Stumbling, "make_core of {} raised OSError: no room"),
        (Coreless, "make_core of {} returned something of type NoneType, which has no open, submit, withdraw, "),
    ],
)
def test_what_makes_no_core_is_refused_with_the_cause(kind: type[SessionPoolCore], told: str) -> None:
    found = find_core(kind)
    with pytest.raises(TargetError) as caught:
        check_core(found)
    assert str(caught.value).startswith(told.format(found.factory))


@pytest.mark.parametrize(("affinity", "end"), [("strict", True), ("restart", False), ("hint", False)])
def test_only_the_strict_sessions_of_the_bundled_core_end_with_their_worker(affinity: str, end: bool) -> None:
    assert SessionPoolCore(1, affinity=affinity).claims.sessions_end is end
