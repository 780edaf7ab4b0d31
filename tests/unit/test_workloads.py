import math
import os
import pickle
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from poolproof import extras, references
from poolproof.errors import TargetError
from poolproof.plan import Workload
from poolproof.workloads import DEFAULT, awkward, choose, commands, load_workload, reference, scripted
from poolproof.workloads.commands import ScriptedError, obey
from tests.unit import samples

HERE = "tests.unit.samples"
RNG = random.Random(1)


# --- finding ------------------------------------------------------------------------------------------------------


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes the optional packages that it is told the only ones that are installed."""

    def install(*modules: str) -> None:
        monkeypatch.setattr(extras, "find_spec", lambda module: module if module in modules else None)

    return install


@pytest.mark.parametrize(
    ("name", "found_at"),
    [
        ("digits", "poolproof.workloads.digits:workload"),
        ("dspy", "poolproof.workloads.programs:workload"),
        ("scripted", "poolproof.workloads.scripted:workload"),
        ("waits", "poolproof.workloads.scripted:waits"),
    ],
)
def test_a_bundled_workload_is_found_by_its_name(name: str, found_at: str, only: Callable[..., None]) -> None:
    only("sklearn", "dspy")
    assert reference(name) == found_at


def test_a_bundled_workload_whose_extra_is_missing_is_refused_with_what_installs_it(only: Callable[..., None]) -> None:
    only()
    with pytest.raises(TargetError, match=r"not installed here: pip install 'poolproof\[work\]'$"):
        reference("digits")


@pytest.mark.parametrize("name", ["mine:workload", "a.b:c.d", "here/work.py:workload"])
def test_a_workload_of_ones_own_is_its_own_reference(name: str) -> None:
    assert reference(name) == name


@pytest.mark.parametrize("name", ["", "default", "mine:", ":workload", ":", ".samples:doubling", "a/b:c"])
def test_what_is_neither_bundled_nor_a_reference_is_refused(name: str) -> None:
    with pytest.raises(TargetError) as caught:
        reference(name)
    assert str(caught.value) == (
        f"unknown workload {name!r}: name one of default, answers, digits, dspy, linear, scripted, waits, or "
        "module:name (or script.py:name) of your own"
    )
    assert caught.value.target == name


def test_real_work_is_the_default_where_its_extra_is_installed(only: Callable[..., None]) -> None:
    only("sklearn")
    assert choose(DEFAULT) == ("digits", "")


def test_the_default_goes_by_its_name() -> None:
    assert DEFAULT == "default"


def test_scripted_work_is_the_default_where_no_extra_is_installed_and_says_what_installs_it(
    only: Callable[..., None],
) -> None:
    only()
    assert choose(DEFAULT) == ("scripted", "scripted work, since real work needs pip install 'poolproof[work]'")


@pytest.mark.parametrize("name", ["digits", "scripted", "mine:workload", ""])
def test_a_workload_that_was_named_is_taken_whatever_is_installed(name: str, only: Callable[..., None]) -> None:
    only()
    assert choose(name) == (name, "")


def test_a_workload_is_loaded() -> None:
    assert load_workload(f"{HERE}:doubling", {}) is samples.doubling


def test_a_function_makes_the_workload() -> None:
    assert load_workload(f"{HERE}:by_function", {}) is samples.doubling


def test_a_function_that_takes_them_gets_the_service_times() -> None:
    assert set(load_workload(f"{HERE}:by_function_with_times", {"predict": 3.0}).kinds) == {"predict"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no.such.module:workload", "can't be loaded: .*No module named 'no'"),
        (f"{HERE}:nothing", "can't be loaded: .*no attribute 'nothing'"),
        (f"{HERE}:NOT_CALLABLE", "is of type int, expected a poolproof Workload"),
        (f"{HERE}:Unclaiming", "is of type type, expected a poolproof Workload"),
        (f"{HERE}:weightless", "has no kind with a weight above 0"),
        (f"{HERE}:negative", "negative|weight"),
        (f"{HERE}:by_broken_function", "ValueError: no data here"),
        (".samples:doubling", "unknown workload"),
        ("/nowhere/work.py:workload", "there is no script /nowhere/work.py"),
    ],
)
def test_what_can_not_be_loaded_is_refused_with_the_cause(name: str, message: str) -> None:
    with pytest.raises(TargetError, match=message) as caught:
        load_workload(name, {})
    assert caught.value.target == name


def test_a_module_that_fails_while_it_is_imported_is_refused_with_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fails_at_import.py").write_text("raise ZeroDivisionError('at import')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TargetError, match="at import"):
        load_workload("fails_at_import:workload", {})


# --- scripted -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "result"),
    [(("answer", 5), 5), (("wait", 0.0, 6), 6), (("garble", 5), ("garbled", 5)), (("allocate", 1), 1)],
)
def test_a_command_is_obeyed(payload: tuple[Any, ...], result: Any) -> None:
    assert obey(payload, {}) == result


@pytest.mark.parametrize(
    ("payload", "right"),
    [
        (("wait", 0, 1), True),
        (("wait", -0.1, 1), False),
        (("wait", math.inf, 1), False),
        (("wait", math.nan, 1), False),
        (("allocate", 0), True),
        (("allocate", -1), False),
    ],
)
def test_a_command_takes_a_time_or_a_size_of_0_or_more(payload: tuple[Any, ...], right: bool) -> None:
    assert commands.is_command(payload) is right


def test_the_command_fail_raises() -> None:
    with pytest.raises(ScriptedError, match=r"^no$"):
        obey(("fail", "no"), {})


def test_the_command_exit_leaves_without_ado(monkeypatch: pytest.MonkeyPatch) -> None:
    statuses: list[int] = []
    monkeypatch.setattr(os, "_exit", statuses.append)
    obey(("exit", 3), {})
    assert statuses == [3]


def test_the_command_hang_waits_again_whenever_it_wakes(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    def wake(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            raise InterruptedError

    monkeypatch.setattr("time.sleep", wake)
    with pytest.raises(InterruptedError):
        obey(("hang",), {})
    assert len(waits) == 3


@pytest.mark.parametrize(("result", "right"), [(5, True), (("garbled", 5), False), (None, False)])
def test_a_scripted_answer_is_right_if_it_is_the_last_argument(result: Any, right: bool) -> None:
    assert scripted.expected(("answer", 5), result) is right


def test_predict_comes_nine_times_as_often_as_batch_and_obey_only_where_it_is_placed() -> None:
    assert {name: kind.weight for name, kind in scripted.workload().kinds.items()} == {
        "predict": 9,
        "batch": 1,
        "obey": 0,
    }


def test_a_workload_of_waits_takes_one_known_time() -> None:
    command, duration, _ = scripted.waits().kinds["wait"].payload(RNG)
    assert (command, duration) == ("wait", 0.02)


def test_an_overdue_operation_takes_its_time_and_then_ends() -> None:
    command, duration, _ = scripted.waits().kinds["overdue"].payload(RNG)
    assert (command, duration) == ("wait", 1.5)


def test_an_overdue_operation_comes_only_where_it_is_placed() -> None:
    assert {name: kind.weight for name, kind in scripted.waits().kinds.items()} == {"wait": 1, "overdue": 0}


@pytest.mark.parametrize("kind", ["wait", "overdue", "predict", "batch", "obey", "answer"])
def test_each_scripted_operation_returns_a_number_of_its_own(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    made = {**scripted.workload().kinds, **scripted.waits().kinds, **scripted.answers().kinds}[kind]
    one, other = made.payload(RNG), made.payload(RNG)
    assert made.verify(one, made.call(one, {}))
    assert not made.verify(one, made.call(other, {}))


@pytest.mark.parametrize("workload", [scripted.workload(), scripted.waits(), scripted.answers()])
def test_workers_find_every_scripted_kind_in_what_they_import(workload: Workload) -> None:
    in_workers = references.load(workload.in_workers)
    assert {name: in_workers.kinds[name].call for name in workload.kinds} == dict.fromkeys(workload.kinds, obey)
    assert in_workers.setup is workload.setup
    assert workload.modules == (commands.__name__,)


def test_waits_are_loaded_without_the_service_times_that_are_configured() -> None:
    waits = load_workload("waits", {"wait": 700.0})
    assert waits.kinds["wait"].payload(RNG)[1] == 0.02


@pytest.mark.parametrize(("kind", "seconds"), [("predict", 0.002), ("batch", 0.05)])
def test_a_scripted_operation_takes_the_configured_time_or_the_default(kind: str, seconds: float) -> None:
    command, duration, _ = scripted.workload({"predict": 2.0}).kinds[kind].payload(RNG)
    assert (command, duration) == ("wait", seconds)


class Stretched(random.Random):
    """The chance by which everything takes so many times as long."""

    def __init__(self, factor: float) -> None:
        super().__init__(1)
        self.factor = factor

    def lognormvariate(self, mu: float = 0.0, sigma: float = 1.0) -> float:
        return self.factor


@pytest.mark.parametrize(("factor", "seconds"), [(0.5, 0.005), (10.0, 0.1), (1e6, 0.1)])
def test_a_scripted_operation_of_varying_length_takes_ten_times_the_usual_at_most(
    factor: float, seconds: float
) -> None:
    made = scripted.workload(spread=1.0).kinds["predict"].payload(Stretched(factor))
    assert made[1] == pytest.approx(seconds)


# --- awkward ------------------------------------------------------------------------------------------------------

KINDS = awkward.workload.kinds


def call(kind: str) -> Any:
    return KINDS[kind].call(KINDS[kind].payload(RNG), {})


def qualified(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"


RAISING = ["raises", "raises-unpicklable", "raises-base-exception", "calls-sys-exit", "raises-unloadable"]


@pytest.mark.parametrize("kind", RAISING)
def test_a_kind_that_raises_raises_what_it_names(kind: str) -> None:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - of which type is what is asked
        call(kind)
    assert qualified(caught.value) in KINDS[kind].raises


def raised_by(attempt: Callable[[], Any]) -> BaseException:
    try:
        attempt()
    except BaseException as error:
        return error
    raise AssertionError("it did not raise")


def test_an_ordinary_error_pickles_both_ways() -> None:
    error = raised_by(lambda: call("raises"))
    assert qualified(pickle.loads(pickle.dumps(error))) == qualified(error)


def test_what_is_no_exception_is_none() -> None:
    assert not isinstance(raised_by(lambda: call("raises-base-exception")), Exception)


def test_the_exit_is_that_of_sys_exit() -> None:
    assert isinstance(raised_by(lambda: call("calls-sys-exit")), SystemExit)


def test_an_unpicklable_error_refuses_to_pickle_by_the_error_that_its_kind_names() -> None:
    error = raised_by(lambda: call("raises-unpicklable"))
    assert qualified(raised_by(lambda: pickle.dumps(error))) in KINDS["raises-unpicklable"].raises


def test_an_unloadable_error_pickles_but_does_not_unpickle() -> None:
    content = pickle.dumps(raised_by(lambda: call("raises-unloadable")))
    assert qualified(raised_by(lambda: pickle.loads(content))) in KINDS["raises-unloadable"].raises


def test_an_unpicklable_payload_refuses_to_pickle_by_the_error_that_its_kind_names() -> None:
    payload = KINDS["takes-unpicklable"].payload(RNG)
    assert qualified(raised_by(lambda: pickle.dumps(payload))) in KINDS["takes-unpicklable"].raises


def test_an_unpicklable_result_refuses_to_pickle_by_the_error_that_its_kind_names() -> None:
    result = call("returns-unpicklable")
    assert qualified(raised_by(lambda: pickle.dumps(result))) in KINDS["returns-unpicklable"].raises


@pytest.mark.parametrize("kind", ["takes-unpicklable", "returns-unpicklable", "returns-64-mb"])
def test_what_a_kind_returns_verifies(kind: str) -> None:
    assert KINDS[kind].verify(None, call(kind))


@pytest.mark.parametrize("kind", ["takes-unpicklable", "returns-unpicklable", "returns-64-mb"])
@pytest.mark.parametrize("result", [None, "other", b"\x5a"])
def test_anything_else_does_not_verify(kind: str, result: Any) -> None:
    assert not KINDS[kind].verify(None, result)


def test_the_large_result_has_64_megabytes() -> None:
    assert sys.getsizeof(call("returns-64-mb")) >= 64 << 20


def test_only_kinds_that_stumble_over_pickling_may_return_although_they_may_raise() -> None:
    assert {name for name, kind in KINDS.items() if kind.may_return} == {"takes-unpicklable", "returns-unpicklable"}
