"""The pools that ship with the kit, and how a target is found by name and built."""

import inspect
import random
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, Final

import msgspec

from poolproof import references
from poolproof.errors import TargetError
from poolproof.extras import require
from poolproof.plan import PROMISES, Claims, Target
from poolproof.pools.executor import ExecutorPool
from poolproof.pools.protocol import ClosesSessions, Pool, SansIO, TakesOver

__all__ = [
    "BUNDLED",
    "CORES",
    "ClosesSessions",
    "Pool",
    "SansIO",
    "TakesOver",
    "assemble",
    "build",
    "build_core",
    "check_core",
    "find_core",
    "find_target",
]

CORES: Final = {"sessionpool": "poolproof.pools.sessionpool:SessionPoolCore"}
"""The bundled pools that layer 1 can simulate, and where their decisions are found without any I/O."""

BUNDLED: Final = {
    "loky": "poolproof.pools.loky:make",
    "multiprocessing-pool": "poolproof.pools.multiprocessing_pool:make",
    "pebble": "poolproof.pools.pebble:make",
    "process-pool-executor": "poolproof.pools.process_pool_executor:make",
    "sessionpool": "poolproof.pools.sessionpool:make",
    "thread-pool-executor": "poolproof.pools.thread_pool_executor:make",
}


def find_target(named: str | Callable[..., Any]) -> Target:
    """The target of a name, or of a factory. A user's module is not imported here: what it does, it does in the lab.

    Raises:
        TargetError: no such pool is bundled, and it is no `module:factory` either; the extra of a bundled one is not
            installed; the lab could not find that factory.
    """
    if not isinstance(named, str):
        reference = references.refer(named)
        return Target(name=reference, factory=reference)
    if named in BUNDLED:
        require(named)
        return Target(name=named, factory=BUNDLED[named])
    if not references.is_reference(named):
        raise TargetError(
            named,
            f"unknown target {named!r}: name one of {', '.join(sorted(BUNDLED))}, or module:factory (or "
            "script.py:factory) of your own",
        )
    return Target(name=named, factory=named)


def build(
    target: Target, workers: int, modules: tuple[str, ...] = (), options: Mapping[str, Any] | None = None
) -> Pool:
    """Call the factory of a target, with `workers=` (or `max_workers=`) if its signature accepts that.

    `modules=` is passed where it names that.

    Args:
        target: the pool.
        workers: how many.
        modules: what the operations import.
        options: what a plan gives the factory besides, by name.

    Raises:
        TargetError: the factory raises, or returns something that is no pool.
    """
    return assemble(target, _factory(target.name, target.factory), workers, modules, options)


def assemble(
    target: Target,
    factory: Callable[..., Any],
    workers: int,
    modules: tuple[str, ...] = (),
    options: Mapping[str, Any] | None = None,
) -> Pool:
    """As `build`, with a factory that is at hand; it may be a closure.

    Raises:
        TargetError: as `build` does.
    """
    parameters = _parameters(factory)
    arguments: dict[str, Any] = dict(options or {})
    if any(it.name == "workers" or it.kind is it.VAR_KEYWORD for it in parameters):
        arguments["workers"] = workers
    elif any(it.name == "max_workers" for it in parameters):  # executors as they are, without a factory around them
        arguments.setdefault("max_workers", workers)
    if any(it.name == "modules" for it in parameters):  # not by `**`, whose factory may hand on all that it gets
        arguments["modules"] = modules
    try:
        made = factory(**arguments)
    except BaseException as error:  # whatever the user's factory raises, SystemExit included
        raise TargetError(
            target.name, f"the factory {target.factory} raised {type(error).__name__}: {error}"
        ) from error
    if isinstance(made, Executor):
        own = getattr(made, "claims", None)
        return ExecutorPool(made) if own is None else ExecutorPool(made, _sound(target, own))
    if isinstance(made, Pool):
        made.claims = _sound(target, made.claims)
        return made
    raise TargetError(
        target.name,
        f"the factory {target.factory} returned something of type {type(made).__name__}: "
        "expected a concurrent.futures.Executor, or an object with submit(operation), close() and claims",
    )


def find_core(named: str | Callable[..., Any]) -> Target:
    """The target of a name, as layer 1 needs it: a pool's decisions without its I/O.

    Raises:
        TargetError: it offers none, or there is no such target.
    """
    bundled = isinstance(named, str) and named in CORES
    target = Target(name=str(named), factory=CORES[str(named)]) if bundled else find_target(named)
    offered = (
        None if isinstance(named, str) and named in BUNDLED and not bundled else _factory(target.name, target.factory)
    )
    if not (isinstance(offered, type) and all(getattr(offered, name, None) is not None for name in _CORE_MEMBERS)):
        raise TargetError(
            target.name,
            f"layer 1 simulates a pool's sans-I/O core, and {target.name!r} offers none: use --layer 2 or --layer 3, "
            f"or name a class with {', '.join(_CORE_MEMBERS)} (poolproof.pools.SansIO)",
        )
    return target


_CORE_MEMBERS: Final = ("claims", "make_core", "make_task", "tamper")


def build_core(target: Target, workers: int, options: Mapping[str, Any] | None = None) -> SansIO:
    """Make the decider of a target that `find_core` found.

    Raises:
        TargetError: it can't be made with these options.
    """
    factory = _factory(target.name, target.factory)
    try:
        made: SansIO = factory(workers, **(options or {}))
    except Exception as error:  # whatever the user's class raises
        raise TargetError(
            target.name, f"{target.factory} can't be made with {dict(options or {})}: {type(error).__name__}: {error}"
        ) from error
    return made


def check_core(target: Target) -> None:
    """Make a decider and its core once, before many are made by other processes.

    Raises:
        TargetError: it can't be made, or makes something that is no core.
    """
    made = build_core(target, 1)
    wanting = [name for name in _CORE_VALUES if not hasattr(made, name)]
    if wanting:
        raise TargetError(
            target.name, f"what {target.factory} makes has no {', '.join(wanting)}: see poolproof.pools.SansIO"
        )
    _sound(target, made.claims)
    try:
        core = made.make_core(random.Random(0))
    except Exception as error:  # whatever the user's class raises
        told = f"make_core of {target.factory} raised {type(error).__name__}: {error}"
        raise TargetError(target.name, told) from error
    missing = [name for name in _CORE_METHODS if not callable(getattr(core, name, None))]
    if missing:
        raise TargetError(
            target.name,
            f"make_core of {target.factory} returned something of type {type(core).__name__}, which has no "
            f"{', '.join(missing)}: expected what sessionpool.core.Core has",
        )


_CORE_VALUES: Final = ("claims", "workers", "max_queue", "is_strict", "max_runs", "look_s")

_CORE_METHODS: Final = (
    *("open", "submit", "withdraw", "forked", "ready", "replied", "exited", "doom", "recalled", "start_failed"),
    *("observed", "tick", "shutdown"),
)


def _sound(target: Target, claims: Any) -> Claims:
    """The claims as checks need them: of the right types, of promises that there are, with types that there are."""
    if not isinstance(claims, Claims):
        raise TargetError(
            target.name,
            f"the claims of {target.factory} are of type {type(claims).__name__}: expected "
            "poolproof.Claims(promises={...}, errors=(...))",
        )
    try:
        sound = msgspec.convert(msgspec.to_builtins(claims), Claims)
    except (msgspec.ValidationError, TypeError) as error:
        raise TargetError(
            target.name,
            f"the claims of {target.factory} can't be read: {error}; expected Claims(promises={{'NAME': "
            "Claim(made='promised' or 'declined', source='...')}, errors=('module.Type', ...))",
        ) from error
    unknown = sorted(sound.promises.keys() - set(PROMISES))
    if unknown:
        raise TargetError(
            target.name,
            f"the claims of {target.factory} name the promise {unknown[0]!r}, which there is not: name one of "
            + ", ".join(PROMISES),
        )
    return msgspec.structs.replace(
        sound,
        errors=tuple(_own_name(target, name) for name in sound.errors),
        overload=tuple(_own_name(target, name) for name in sound.overload),
    )


def _own_name(target: Target, name: str) -> str:
    """The name that a type gives itself: `concurrent.futures.BrokenExecutor` lives in `concurrent.futures._base`."""
    module, _, attribute = name.rpartition(".")
    try:
        found = references.load(f"{module}:{attribute}")
        return f"{found.__module__}.{found.__qualname__}"
    except Exception as error:  # whatever the user's module raises
        raise TargetError(
            target.name, f"the claims of {target.factory} name the exception {name!r}, which is not found: {error}"
        ) from error


def _factory(name: str, factory: str) -> Callable[..., Any]:
    try:
        found = references.load(factory)
    except TargetError:
        raise
    except BaseException as error:  # whatever the user's module raises while it is imported, SystemExit included
        hint = "; is its folder on the path?" if isinstance(error, ModuleNotFoundError) else ""
        raise TargetError(
            name, f"the target {name!r} can't be loaded: {type(error).__name__}: {error}{hint}"
        ) from error
    if not callable(found):
        raise TargetError(
            name, f"the target {name!r} is of type {type(found).__name__}, expected a callable that makes a pool"
        )
    return found  # type: ignore[no-any-return]  # a callable of unknown signature is what was asked for


def _parameters(factory: Callable[..., Any]) -> Sequence[inspect.Parameter]:
    try:
        return list(inspect.signature(factory).parameters.values())
    except (TypeError, ValueError):
        return ()
