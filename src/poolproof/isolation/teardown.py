"""Undoing what a test's isolation set up: in reverse, each step bounded, and none skipped since another failed."""

import contextlib
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from poolproof.errors import HungError, HungTestError
from poolproof.waiting import bounded

Undo = Callable[[], Iterable[str] | None]
"""One step: undoes something, and tells what is wrong, if anything is."""


@dataclass(frozen=True, slots=True)
class _Step:
    name: str
    undo: Undo
    bound_s: float


class Teardown:
    """A stack of steps. It is used by one thread, the test's own.

    A step with a bound runs in a thread of its own, since nothing else can be left alone once it hangs; that thread is
    then given up, and told of with its stack. One without a bound runs here: what only restores values, and what only
    the main thread may do.
    """

    def __init__(self) -> None:
        self._steps: list[_Step] = []

    def push(self, name: str, undo: Undo, *, bound_s: float = 0.0) -> None:
        """Put a step on top.

        Args:
            name: what it does, in words.
            undo: the step.
            bound_s: how long it may take; 0 for what cannot hang, and runs on this thread.
        """
        self._steps.append(_Step(name, undo, bound_s))

    def run(self) -> list[str]:
        """Carry out all steps, the last first; everything that is wrong.

        Raises:
            KeyboardInterrupt: somebody asked for the end meanwhile. It waits until every step was carried out, for
                what they undo nobody else does; what was wrong is a note to it.
        """
        problems: list[str] = []
        interrupts: list[BaseException] = []
        while self._steps:
            step = self._steps.pop()
            try:
                problems += _within(step, interrupts) if step.bound_s else _listed(step.undo())
            except (KeyboardInterrupt, HungTestError) as interrupt:
                interrupts.append(interrupt)
                problems.append(f"{step.name} was interrupted")
            except BaseException as error:  # whatever it is (`pytest.fail` is no Exception), the next step runs
                problems.append(f"{step.name} failed: {type(error).__name__}: {error}{_where(error)}")
        if interrupts:
            if problems:
                interrupts[0].add_note("\n".join(("besides, when it was over:", *problems)))
            raise interrupts[0]
        return problems


def _within(step: _Step, interrupts: list[BaseException]) -> list[str]:
    """Carry out a step in a thread of its own; nothing is waited for longer than its bound."""
    try:
        return bounded(lambda: _listed(step.undo()), step.bound_s, step.name, held=interrupts)
    except HungError as error:
        return [str(error)]


def _listed(told: Iterable[str] | None) -> list[str]:
    """What a step told; a single text is one problem, not one for each of its letters."""
    return [told] if isinstance(told, str) else list(told or ())


def _where(error: BaseException) -> str:
    with contextlib.suppress(IndexError):
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return f" ({frame.filename}:{frame.lineno})"
    return ""
