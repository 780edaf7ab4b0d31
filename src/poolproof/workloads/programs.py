"""Programs, as those who use DSPy have them: made in a session, run there many times, deleted. Needs the extra `dspy`.

They run on DSPy's own DummyLM, which answers from a table: nothing asks the network, and nothing is kept on disk. What
a program answers follows from its name and from what it is asked, so it is verified without DSPy, whichever worker ran
it. How often it ran is part of the session's state, and begins anew where that was lost.

A call without a session has an empty state of its own: then `execute` makes its program first, where it is told to.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Final, Literal

from poolproof.plan import Kind, Workload

BATCH: Final = 16
QUESTIONS: Final = 100
"""What can be asked of each program; its language model has an answer for each."""

SIGNATURE: Final = "question -> answer: int"

_CREATES: Final = 0.75
"""The share of `execute` that makes a program where there is none; the others find out that it is gone."""

_PROGRAMS: Final = "programs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a program is made, and what it shall answer.

    Attributes:
        module: what of DSPy's it is.
        fields: those of its signature, once that module has it.
        question: with a place for a number.
        answer: to the question about that number.
    """

    module: Literal["Predict", "ChainOfThought"]
    fields: tuple[str, ...]
    question: str
    answer: Callable[[int], int]


RECIPES: Final[Mapping[str, Recipe]] = {
    "squares": Recipe(
        module="Predict", fields=("question", "answer"), question="What is {} squared?", answer=lambda n: n * n
    ),
    "doubles": Recipe(
        module="Predict", fields=("question", "answer"), question="What is twice {}?", answer=lambda n: 2 * n
    ),
    "sums": Recipe(
        module="ChainOfThought",
        fields=("question", "reasoning", "answer"),
        question="What do the numbers from 1 to {} add up to?",
        answer=lambda n: n * (n + 1) // 2,
    ),
}

NAMES: Final = tuple(RECIPES)

Missing = Literal["create", "raise"]
"""What `execute` does where there is no such program."""


class NoSuchProgramError(Exception):
    """A program was to be run that is not there: an error of the user's own, which a pool hands on as itself.

    Attributes:
        name: the program's.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return (
            f"there is no program {self.name!r} in this session: it was never created, or was deleted, or went with "
            "the worker that held the session"
        )


@dataclass(slots=True, kw_only=True)
class Program:
    """A program of DSPy's with a language model of its own."""

    module: Any
    lm: Any
    runs: int = 0


@cache
def _dspy() -> Any:
    return import_module("dspy")


def prepare() -> None:
    """Make this process's own programs: those that were inherited by a fork are not taken over."""
    _dspy().configure_cache(enable_disk_cache=False, enable_memory_cache=False)
    _own.cache_clear()
    for name in NAMES:
        run(_own(name), name, 0)  # the first run of each imports what it needs of DSPy


@cache
def _own(name: str) -> Program:
    return make(name)


def make(name: str) -> Program:
    """A program by its recipe."""
    dspy, recipe = _dspy(), RECIPES[name]
    thought = {"reasoning": "It can be looked up."} if "reasoning" in recipe.fields else {}
    answers = {recipe.question.format(n): {**thought, "answer": recipe.answer(n)} for n in range(QUESTIONS)}
    return Program(module=getattr(dspy, recipe.module)(SIGNATURE), lm=import_module("dspy.utils").DummyLM(answers))


def run(program: Program, name: str, number: int) -> int:
    """What a program answers."""
    # The settings of DSPy belong to a thread, and a worker may have several. Kept for each run, its history and its
    # trace would grow for as long as the worker lives.
    with _dspy().context(lm=program.lm, disable_history=True, trace=None):
        return int(program.module(question=RECIPES[name].question.format(number)).answer)


# --- what workers do --------------------------------------------------------------------------------------------


def create(payload: str, state: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Make a program under its name, in place of what was there; returns the name and the fields of its signature."""
    program = make(payload)
    state.setdefault(_PROGRAMS, {})[payload] = program
    [predictor] = program.module.predictors()
    return payload, tuple(predictor.signature.fields)


def execute(payload: tuple[str, int, Missing], state: dict[str, Any]) -> tuple[int, int]:
    """Run the session's program of a name; returns its answer, and how often it has run by now.

    Raises:
        NoSuchProgramError: it is not there, and is not to be made.
    """
    name, number, missing = payload
    programs: dict[str, Program] = state.setdefault(_PROGRAMS, {})
    if name not in programs:
        if missing == "raise":
            raise NoSuchProgramError(name)
        programs[name] = make(name)
    program = programs[name]
    answer = run(program, name, number)
    program.runs += 1
    return answer, program.runs


def delete(payload: str, state: dict[str, Any]) -> tuple[str, int | None]:
    """Take a program away; returns its name, and how often it had run, or None where there was none."""
    program: Program | None = state.get(_PROGRAMS, {}).pop(payload, None)
    return payload, None if program is None else program.runs


def predict(payload: tuple[str, int], state: dict[str, Any]) -> int:
    """Run a program of the worker's own, once."""
    name, number = payload
    return run(_own(name), name, number)


def batch(payload: list[tuple[str, int]], state: dict[str, Any]) -> list[int]:
    """Run programs of the worker's own, many times."""
    return [run(_own(name), name, number) for name, number in payload]


# --- what the client makes and verifies, without DSPy -----------------------------------------------------------


def _name(rng: random.Random) -> str:
    return rng.choice(NAMES)


def _question(rng: random.Random) -> tuple[str, int]:
    return _name(rng), rng.randrange(QUESTIONS)


def _execution(rng: random.Random) -> tuple[str, int, Missing]:
    return (*_question(rng), "create" if rng.random() < _CREATES else "raise")


def _questions(rng: random.Random) -> list[tuple[str, int]]:
    return [_question(rng) for _ in range(BATCH)]


def _is_created(payload: str, result: Any) -> bool:
    return bool(result == (payload, RECIPES[payload].fields))


def _is_executed(payload: tuple[str, int, Missing], result: Any) -> bool:
    name, number, _ = payload
    match result:
        case (answer, int(runs)):
            return bool(answer == RECIPES[name].answer(number) and runs >= 1)
    return False


def _is_deleted(payload: str, result: Any) -> bool:
    match result:
        case (name, None):
            return bool(name == payload)
        case (name, int(runs)):
            return bool(name == payload and runs >= 0)
    return False


def _is_answered(payload: tuple[str, int], result: Any) -> bool:
    return _are_answered([payload], [result])


def _are_answered(payload: list[tuple[str, int]], result: Any) -> bool:
    return bool(result == [RECIPES[name].answer(number) for name, number in payload])


def workload() -> Workload:
    """`predict` and `batch` as everywhere, and what is done with the programs of a session: mostly `execute`."""
    return Workload(
        kinds={
            "predict": Kind(weight=9, payload=_question, call=predict, verify=_is_answered),
            "batch": Kind(weight=1, payload=_questions, call=batch, verify=_are_answered),
            "create": Kind(weight=2, payload=_name, call=create, verify=_is_created),
            "execute": Kind(
                weight=7,
                payload=_execution,
                call=execute,
                verify=_is_executed,
                raises=(f"{__name__}.{NoSuchProgramError.__qualname__}",),
                may_return=True,
            ),
            "delete": Kind(weight=1, payload=_name, call=delete, verify=_is_deleted),
        },
        setup=prepare,
        modules=(__name__, "dspy", "dspy.utils"),
    )
