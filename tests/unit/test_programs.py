"""Programs of DSPy's in a session's state: what they need is the extra `dspy`, what the client does needs nothing."""

import pickle
import random
import threading
from typing import Any

import pytest

from poolproof import cli, extras
from poolproof.errors import TargetError
from poolproof.workloads import load_workload, programs
from poolproof.workloads.programs import NAMES, NoSuchProgramError

KINDS = programs.workload().kinds
REASON = "needs the extra dspy: pip install 'poolproof[dspy]'"


@pytest.fixture
def dspy() -> Any:
    """DSPy, with this process's own programs made, as in a worker."""
    module = pytest.importorskip("dspy", reason=REASON)
    programs.prepare()
    return module


def payload(kind: str, seed: int = 1) -> Any:
    return KINDS[kind].payload(random.Random(seed))


def answer(name: str, number: int) -> int:
    return programs.RECIPES[name].answer(number)


# --- without DSPy -------------------------------------------------------------------------------------------------


def test_programs_are_found_by_the_name_of_what_they_are_made_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda module: module)
    assert set(load_workload("dspy", {}).kinds) == {"predict", "batch", "create", "execute", "delete"}


def test_without_the_extra_they_are_refused_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda module: None)
    with pytest.raises(TargetError, match=r"not installed here: pip install 'poolproof\[dspy\]'$"):
        load_workload("dspy", {})


def test_without_the_extra_a_proof_ends_with_status_2_and_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda module: None)
    assert cli._run(["prove", "sessionpool", "--workload", "dspy"]) == 2
    assert "pip install 'poolproof[dspy]'" in capsys.readouterr().err


@pytest.mark.parametrize("kind", KINDS)
def test_a_payload_comes_from_the_seed(kind: str) -> None:
    assert [payload(kind, seed) for seed in range(9)] == [payload(kind, seed) for seed in range(9)]
    assert any(payload(kind, 0) != payload(kind, seed) for seed in range(9))


@pytest.mark.parametrize("kind", KINDS)
def test_a_payload_pickles(kind: str) -> None:
    assert pickle.loads(pickle.dumps(payload(kind))) == payload(kind)


def test_some_executions_make_what_they_need_and_some_do_not() -> None:
    assert {payload("execute", seed)[2] for seed in range(50)} == {"create", "raise"}


def test_predict_comes_nine_times_as_often_as_batch() -> None:
    assert KINDS["predict"].weight == 9 * KINDS["batch"].weight


def test_a_program_that_is_not_there_is_an_error_of_the_users_own_that_execute_may_end_with() -> None:
    name = f"{NoSuchProgramError.__module__}.{NoSuchProgramError.__qualname__}"
    assert {kind: (it.raises, it.may_return) for kind, it in KINDS.items() if it.raises} == {"execute": ((name,), True)}


def test_the_error_crosses_with_the_programs_name() -> None:
    error = pickle.loads(pickle.dumps(NoSuchProgramError("sums")))
    assert (error.name, str(error)) == ("sums", str(NoSuchProgramError("sums")))
    assert "no program 'sums' in this session" in str(error)


@pytest.mark.parametrize(
    ("kind", "given", "wrong"),
    [
        ("predict", ("squares", 7), [50, "49", None, [49]]),
        ("batch", [("squares", 7), ("doubles", 7)], [[49], [14, 49], None, 49]),
        ("create", "sums", [("sums", ("question", "answer")), ("squares", ("question", "answer")), None]),
        ("execute", ("squares", 7, "create"), [(50, 1), (49, 0), (49, None), (49,), 49, None, []]),
        ("delete", "squares", [("sums", 3), ("squares", -1), ("squares", "3"), None, "squares"]),
    ],
)
def test_what_is_not_the_answer_does_not_verify(kind: str, given: Any, wrong: list[Any]) -> None:
    assert [KINDS[kind].verify(given, result) for result in wrong] == [False] * len(wrong)


# --- with DSPy ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("dspy")
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_worker_does_verifies_in_whatever_order_it_comes(kind: str) -> None:
    state: dict[str, Any] = {}
    for seed in range(30):
        given = payload(kind, seed)
        try:
            result = KINDS[kind].call(given, state)
        except NoSuchProgramError as error:
            assert (error.name, given[2]) == (given[0], "raise")  # noqa: PT017 - most do not raise
        else:
            assert KINDS[kind].verify(given, pickle.loads(pickle.dumps(result)))


@pytest.mark.usefixtures("dspy")
@pytest.mark.parametrize("name", NAMES)
def test_a_program_is_created_executed_and_deleted(name: str) -> None:
    state: dict[str, Any] = {}
    assert programs.create(name, state) == (name, programs.RECIPES[name].fields)
    runs = [programs.execute((name, number, "raise"), state) for number in (0, 42, programs.QUESTIONS - 1)]
    assert runs == [(answer(name, 0), 1), (answer(name, 42), 2), (answer(name, programs.QUESTIONS - 1), 3)]
    assert programs.delete(name, state) == (name, 3)
    with pytest.raises(NoSuchProgramError, match=name):
        programs.execute((name, 0, "raise"), state)


@pytest.mark.usefixtures("dspy")
def test_a_program_that_went_with_its_worker_is_missed() -> None:
    programs.create("squares", {})
    with pytest.raises(NoSuchProgramError, match="squares"):
        programs.execute(("squares", 3, "raise"), {})


@pytest.mark.usefixtures("dspy")
def test_without_a_session_each_execution_can_make_what_it_needs() -> None:
    assert [programs.execute(("squares", 3, "create"), {}) for _ in range(2)] == [(9, 1), (9, 1)]


@pytest.mark.usefixtures("dspy")
def test_a_program_created_again_begins_to_count_anew() -> None:
    state: dict[str, Any] = {}
    programs.execute(("squares", 3, "create"), state)
    programs.create("squares", state)
    assert programs.delete("squares", state) == ("squares", 0)


def test_what_was_never_created_can_be_deleted() -> None:
    assert programs.delete("squares", {}) == ("squares", None)


@pytest.mark.usefixtures("dspy")
def test_what_answers_is_a_language_model_of_the_programs_own() -> None:
    state: dict[str, Any] = {}
    for name in NAMES:
        programs.create(name, state)
    models = [program.lm for program in state["programs"].values()]
    assert {type(model).__name__ for model in models} == {"DummyLM"}
    assert len({id(model) for model in models}) == len(NAMES)


def test_another_thread_can_run_a_program_too(dspy: Any) -> None:
    program, answers = programs.make("sums"), list[int]()
    thread = threading.Thread(target=lambda: answers.append(programs.run(program, "sums", 10)))
    thread.start()
    thread.join()
    assert answers == [55]
    assert dspy.settings.lm is None


def test_a_run_leaves_no_history_that_would_grow(dspy: Any) -> None:
    program = programs.make("sums")
    for number in range(3):
        programs.run(program, "sums", number)
    [predictor] = program.module.predictors()
    assert [len(it.history) for it in (program.lm, program.module, predictor)] == [0, 0, 0]
    assert not dspy.settings.trace


@pytest.mark.usefixtures("dspy")
def test_each_process_makes_programs_of_its_own() -> None:
    inherited = programs._own("sums")
    programs.prepare()
    assert programs._own("sums") is not inherited
