"""The modes by their names: what options each takes, which may stand within which, and how one is entered."""

import dataclasses
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from poolproof.config import load_config
from poolproof.errors import IsolationError, PoolproofError, TargetError, UsageError
from poolproof.isolation import basic, contamination, full, names, pools, signals, supervision
from poolproof.isolation.pools import PoolTesting
from poolproof.isolation.scene import Scene
from poolproof.isolation.teardown import Teardown


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """One mode of isolation.

    Attributes:
        options: a dataclass whose fields are its options; its `problems()` tells all that is wrong with them.
        enter: sets it up, pushes what undoes that on `scene.teardown`, and returns its context.
        nests: whether it may stand within itself.
    """

    options: type[Any]
    enter: Callable[[Scene, Any], Any]
    nests: bool = True


MODES: Final[Mapping[str, Mode]] = {
    "basic": Mode(options=basic.Options, enter=basic.enter),
    "registry": Mode(options=names.Options, enter=names.enter),
    "signal_routing": Mode(options=signals.Options, enter=signals.enter),
    "full_isolation": Mode(options=full.Options, enter=full.enter),
    "contamination_detection": Mode(options=contamination.Options, enter=contamination.enter),
    "supervision_testing": Mode(options=supervision.Options, enter=supervision.enter),
    "pool_testing": Mode(options=pools.Options, enter=pools.enter, nests=False),
}


def resolve(name: str, given: Mapping[str, Any], around: tuple[str, ...] = ()) -> tuple[Mode, Any]:
    """The mode of a name, and its options; nothing is entered.

    Args:
        name: of the mode.
        given: its options by name.
        around: the modes that it stands within.

    Raises:
        UsageError: there is no such mode, it may not stand there, or its options make no sense: all of it at once.
    """
    mode = MODES.get(name)
    if mode is None:
        raise UsageError(f"unknown isolation mode {name!r}: expected one of {', '.join(MODES)}")
    problems: list[str] = []
    if name in around and not mode.nests:
        problems.append("it stands within itself, and cannot; for a second pool call setup_isolated_pool")
    known = {field.name: field for field in dataclasses.fields(mode.options)}
    problems += [
        f"unknown option {option!r}: expected one of {', '.join(known) or 'none at all'}"
        for option in given
        if option not in known
    ]
    missing = [
        option
        for option, field in known.items()
        if option not in given and field.default is field.default_factory is dataclasses.MISSING
    ]
    problems += [f"option {option!r} is missing" for option in missing]
    options = None
    if not missing:
        options = mode.options(**{option: value for option, value in given.items() if option in known})
        problems += options.problems()
    if problems:
        raise UsageError(f"isolation mode {name!r}: {'; '.join(problems)}")
    return mode, options


_around: ContextVar[Scene | None] = ContextVar("poolproof_scene", default=None)
"""The scene of the innermost block that is open here: one within it that names none stands in the same."""

_ABSENT: Final = object()


@contextmanager
def isolated(name: str, *, scene: Scene | None = None, **given: Any) -> Iterator[Any]:
    """A mode as a context manager; its value is the mode's context.

    Args:
        name: of the mode.
        scene: of the test; the plugin has one for each. Without it, that of the block around this one, and where
            there is none either, one is made up.
        given: the mode's options.

    Raises:
        UsageError: as `resolve` does, or the mode cannot be used here.
        IsolationError: it could not be set up (the error names the stage, and what had started is gone), or something
            was left behind. Where the block itself raises, that is told, with what was left behind as a note to it.
    """
    outside = _around.get()
    here = scene or outside or scene_of("with isolated(...)")
    mode, options = resolve(name, given, tuple(here.outer))
    inner = dataclasses.replace(here, teardown=Teardown(), outer={**here.outer}, stages=[])
    before = here.outer.get(name, _ABSENT)
    is_entered = False
    failed: BaseException | None = None
    # One `try` from the first thing that is begun to the last: an interrupt finds no gap between.
    try:
        context = mode.enter(inner, options)
        is_entered = True
        here.outer[name] = context  # who enters another mode within sees this one around it
        _around.set(here)
        yield context
    except BaseException as error:
        failed = error
        raise
    finally:
        # By its value, not by a token: the end of an asynchronous test may run in another context than its beginning.
        _around.set(outside)
        if before is not _ABSENT:
            here.outer[name] = before
        elif is_entered:
            here.outer.pop(name, None)
        left = inner.teardown.run()
        if not is_entered and isinstance(failed, Exception) and not _is_refusal(failed):
            raise IsolationError(here.test, [_what_failed(name, inner.stages, failed), *left]) from failed
        if left and (failed is None or _is_no_failure(failed)):
            raise IsolationError(here.test, left) from failed
        if left and failed is not None:
            failed.add_note("\n".join(("besides, when it was over:", *left)))


def _is_refusal(error: Exception) -> bool:
    """Whether the mode refused what it was asked for: that is the caller's mistake, and stays a `UsageError`."""
    return isinstance(error, UsageError) and not isinstance(error, TargetError)


def _is_no_failure(error: BaseException) -> bool:
    """Whether an exception ends a block without failing it, so that a note to it would be lost."""
    # By their names: pytest need not be installed, nor unittest be loaded.
    return isinstance(error, GeneratorExit) or type(error).__name__ in ("Skipped", "SkipTest")


def _what_failed(name: str, stages: Sequence[str], error: Exception) -> str:
    at = f", at the stage {' > '.join(stages)!r}" if stages else ""
    # An error of the kit's own says all in its text; of another's the type belongs to it.
    said = str(error) if isinstance(error, PoolproofError) else f"{type(error).__name__}: {error}"
    return f"{name} could not be set up{at}: {said}"


def scene_of(test: str, *, seed: int | None = None) -> Scene:
    """Surroundings for a block that no plugin has made any for."""
    return Scene(
        test=test,
        seed=random.SystemRandom().getrandbits(32) if seed is None else seed,
        worker="main",
        config=load_config,
    )


def setup_pool_testing(*, scene: Scene | None = None, **given: Any) -> AbstractContextManager[PoolTesting]:
    """The mode `pool_testing` as a context manager; see `poolproof.isolation.pools.Options` for what it takes.

    Raises:
        UsageError, IsolationError: as `isolated` does.
    """
    return isolated("pool_testing", scene=scene, **given)
