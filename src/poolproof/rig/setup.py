"""Setting up a rig, and taking it down: bounded, with everything that had started gone whatever fails."""

import itertools
import os
import random
import shutil
import signal
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, Final

import msgspec

from poolproof import processes
from poolproof.config import Effective, load_config
from poolproof.errors import HungError, IsolationError, TargetError, UsageError
from poolproof.faults import Ledger
from poolproof.lab.sweep import cleans_up
from poolproof.plan import Limits, Target, Workload
from poolproof.pools import BUNDLED, CORES, Pool, assemble, build, find_target
from poolproof.references import importable
from poolproof.rig.presets import PRESETS, Preset
from poolproof.rig.real import RealStand, own_folder
from poolproof.rig.rig import Order, Rig, Work
from poolproof.rig.simulated import SimulatedStand
from poolproof.rig.stand import Stand
from poolproof.rig.values import Incarnation
from poolproof.waiting import Event, Publishes, bounded, translated
from poolproof.workloads import choose, load_workload, reference

DEFAULT_TARGET: Final = "sessionpool"

_OUTLIVE_S: Final = 2.0
"""How long a worker may outlive the close of its pool."""

_names = itertools.count(1)

Hears = Callable[[Rig], None]

Configured = Effective | Callable[[int], Effective]
"""The configuration of a layer, or where that of any is to be had."""

_hearers: list[Hears] = []
"""Who is told of each rig that is set up; the test's own thread adds and removes them."""


class LayerFallbackWarning(UserWarning):
    """A pool was opened on another layer than the one asked for, as the configuration allows."""


def hear_of_rigs(hears: Hears) -> Callable[[], None]:
    """Have every rig told that is set up from now on; returns what ends it."""
    _hearers.append(hears)
    return lambda: _hearers.remove(hears)


class _NoKeeper:
    """Where nobody keeps undo records: the process that stops a worker is the one that would have to die."""

    def record(self, handle: processes.Handle) -> bool:
        return True

    def healed(self, handle: processes.Handle) -> None:
        """Nobody is to be told."""


@contextmanager
def setup_isolated_pool(
    target: str | Callable[..., Any] | None = None,
    *,
    layer: int = 2,
    workers: int | None = None,
    workload: str | None = None,
    preset: str | None = None,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    config: Configured | None = None,
    name: str | None = None,
    ledger: Ledger | None = None,
) -> Iterator[Rig]:
    """A pool of its own for a test, in this process, gone when the block is left.

    Args:
        target: a bundled name, `module:factory`, or the factory itself, also one that is local to the test;
            `sessionpool` by default. On layer 1 it needs a sans-I/O core.
        layer: 1 simulated, 2 with scripted work, 3 with real work.
        workers: how many; by the preset, or the configuration, if it is not said.
        workload: bundled, or `module:name`; by the configuration if it is not said.
        preset: one of `PRESETS`, for `sessionpool` only.
        options: what the factory is given by name besides.
        seed: of payloads, victims and, on layer 1, of all that happens.
        config: of the layer, or what gives that of any layer, for those that it may fall back to; what ships with the
            kit, if it is not said.
        name: what events and messages call it.
        ledger: where undo records of faults are kept.

    Raises:
        UsageError: something that was asked for does not exist, or does not go together.
        IsolationError: the pool did not open in time, or did not close: the error names the stage, and whatever had
            started is gone.
    """
    problems = _problems(target, layer, workers, preset, options)
    if problems:
        raise UsageError(f"setup_isolated_pool: {'; '.join(problems)}")
    effective = configuration(config, layer)
    chosen = PRESETS[preset] if preset else Preset(workers=workers or effective.config.pool.workers)
    order = Order(
        name=name or f"pool-{next(_names)}",
        target=target or DEFAULT_TARGET,
        workers=workers or chosen.workers,
        preset=chosen,
        options=dict(options or {}),
        seed=seed,
        ledger=ledger or _NoKeeper(),
    )
    rig = open_rig(order, layer, workload, config)
    with handed_out(rig, effective.config.bounds.close_s):
        yield rig


def rehearse(layer: int, workload: str | None, effective: Effective) -> None:
    """Make a payload of each kind that a pool's operations would be of, as the test will.

    What a workload imports in the client it does so once, with what that leaves in the process (scikit-learn sets
    variables of the environment): whoever looks for what a test leaves has it happen before. What cannot be loaded is
    told when the pool is opened.
    """
    with suppress(Exception):
        for kind in _workload(layer, workload, effective)[1].kinds.values():
            kind.payload(random.Random(0))


def _workload(layer: int, workload: str | None, effective: Effective) -> tuple[str, Workload, str]:
    """The name of a layer's workload, the workload, and why it is not the best one, where it is not."""
    config = effective.config
    wanted, not_the_best = choose(workload or ("scripted" if layer == 1 else config.load.workload))
    service_ms = {"predict": config.service.predict_ms, "batch": config.service.batch_ms}
    return wanted, load_workload(wanted, service_ms), not_the_best


def configuration(config: Configured | None, layer: int) -> Effective:
    """That of a layer; what ships with the kit, where what was given is for another one."""
    if config is None:
        return load_config(layer)
    return config(layer) if callable(config) else config


def open_rig(order: Order, layer: int, workload: str | None, config: Configured | None) -> Rig:
    """Open a pool on a layer; where it cannot be, on those that the configuration of that layer falls back to.

    Whoever calls it is a context manager that a test enters: the warning is told of the test's line.

    Raises:
        TargetError: it can be opened on none of them; the last one's.
    """
    effective = configuration(config, layer)
    layers = [*dict.fromkeys((layer, *effective.config.pool.fallback))]
    missed: list[Event] = []
    for attempt, following in zip(layers, [*layers[1:], None], strict=True):
        is_first = attempt == layer
        own = effective if is_first else configuration(config if callable(config) else None, attempt)
        try:
            rig = _open(order, attempt, workload if is_first else None, own)
        except TargetError as error:
            if following is None:
                raise
            warnings.warn(
                f"layer {attempt} cannot start ({error}); the pool is opened on layer {following}, as pool.fallback "
                "in the configuration says",
                LayerFallbackWarning,
                stacklevel=4,
            )
            why = f"from layer {attempt} to layer {following}, as pool.fallback says: {error}"
            missed.append(Event(at_ns=0, source=order.name, subject="pool", what="fell-back", detail=why))
        else:
            rig.events.extend(replace(event, at_ns=rig.now_ns()) for event in missed)
            return rig
    raise AssertionError  # the last failure was raised


@contextmanager
def handed_out(rig: Rig, close_s: float) -> Iterator[None]:
    """A rig while somebody has it: whoever hears of rigs is told, and it is taken down in the end."""
    try:
        for hears in tuple(_hearers):
            hears(rig)
        yield
    finally:
        _take_down(rig, close_s)


def _problems(
    target: object, layer: object, workers: object, preset: str | None, options: Mapping[str, Any] | None
) -> list[str]:
    found = []
    if layer not in (1, 2, 3):
        found.append(f"layer = {layer!r}: expected 1, 2 or 3")
    if workers is not None and not (isinstance(workers, int) and workers >= 1):
        found.append(f"workers = {workers!r}: expected a number of 1 or more")
    if preset is None:
        return found
    if preset not in PRESETS:
        found.append(f"preset = {preset!r}: expected one of {', '.join(PRESETS)}")
    elif target not in (None, DEFAULT_TARGET):
        found.append(f"preset = {preset!r} is one of {DEFAULT_TARGET}, and target = {target!r} is another pool")
    elif taken := sorted(set(options or ()) & set(PRESETS[preset].options)):
        found.append(f"preset = {preset!r} sets {', '.join(taken)} already: leave them out of options, or the preset")
    return found


def _open(order: Order, layer: int, workload: str | None, effective: Effective) -> Rig:
    config, target, workers, preset = effective.config, order.target, order.workers, order.preset
    wanted, work, not_the_best = _workload(layer, workload, effective)
    found_at = importable(work.in_workers or reference(wanted))  # before there is anything that would have to be ended
    limits = msgspec.convert(msgspec.to_builtins(config.limits), Limits)
    given = {**preset.options, **order.options}
    stand: Stand
    records = ""
    if layer == 1:
        if not (isinstance(target, str) and (target in CORES or target not in BUNDLED)):
            told = target if isinstance(target, str) else getattr(target, "__qualname__", repr(target))
            raise TargetError(
                str(told),
                f"layer 1 simulates a pool's sans-I/O core, and {told!r} offers none: use layer 2 or 3, or name a "
                "class with such a core (poolproof.pools.SansIO)",
            )
        stand = SimulatedStand(target, workers, seed=order.seed, options=given, limits=limits)
        for spec in preset.simulated:
            stand.pool.inject(spec)
    else:
        folder = own_folder()
        records = str(folder / "executions")
        modules = ("poolproof.probe", *work.modules)

        def make() -> Pool:
            if isinstance(target, str):
                return build(find_target(target), workers, modules, {**given, **preset.real})
            known = getattr(target, "__qualname__", repr(target))
            return assemble(Target(name=known, factory=known), target, workers, modules, given)

        before = {process.identity for process in processes.offspring(os.getpid()).values()}
        try:
            stand = RealStand(make, folder, order.ledger, limits)
        except BaseException:
            end(it for it in processes.offspring(os.getpid()).values() if it.identity not in before and not _stays(it))
            shutil.rmtree(folder, ignore_errors=True)
            raise
    name = order.name
    rig = Rig(order, stand, Work(kinds=work.kinds, reference=found_at, records=records), layer=layer)
    if isinstance(stand.pool, Publishes):
        stand.pool.subscribe(lambda event: rig.events.publish(translated(event, name)))
    told = f"layer {layer}, {not_the_best or wanted}"
    rig.events.publish(Event(at_ns=rig.now_ns(), source=name, subject="pool", what="set-up", detail=told))
    return rig


def _stays(process: processes.Process) -> bool:
    """Whether a process is one that multiprocessing starts once, whoever needs it first."""
    return cleans_up(process) or "multiprocessing.forkserver" in processes.command_line(process.pid)


def _take_down(rig: Rig, bound_s: float) -> None:
    """Close the pool, in a thread of its own that is given up where it hangs; then nothing of it may be left."""
    problems = []
    interrupts: list[BaseException] = []
    workers: tuple[Incarnation, ...] = ()
    try:
        workers = rig.workers() if rig.layer != 1 and not rig.claims.in_process else ()
    except Exception as error:  # no descriptor is left to look with, say: it is closed all the same
        problems.append(f"the workers of {rig.name} could not be told: {type(error).__name__}: {error}")
    try:
        if rig.is_virtual:
            rig.close()
        else:
            bounded(rig.close, bound_s, f"closing the pool {rig.name}", held=interrupts)
    except HungError as error:
        problems.append(str(error))
    except Exception as error:
        problems.append(f"closing the pool {rig.name} failed: {type(error).__name__}: {error}")
    left = [
        found for it in workers if (found := processes.look_up(it.pid)) and found.identity == (it.pid, it.start_time)
    ]
    handles = [handle for it in left if (handle := processes.Handle.open(*it.identity)) is not None]
    deadline = time.monotonic() + _OUTLIVE_S
    alive = [handle.process for handle in handles if not handle.wait_gone(deadline - time.monotonic())]
    for handle in handles:
        handle.close()
    problems += [f"worker pid {it.pid} of the pool {rig.name} outlived its close by {_OUTLIVE_S:g} s" for it in alive]
    end(alive)
    try:
        rig.forget()
    except Exception as error:
        problems.append(f"the records of {rig.name} could not be put away: {type(error).__name__}: {error}")
    if interrupts:  # only now: what is left undone here nobody else would do
        interrupts[0].add_note("\n".join(("besides, when its pool was taken down:", *problems)))
        raise interrupts[0]
    if problems:
        raise IsolationError("", problems)


def end(some: Iterable[processes.Process]) -> None:
    """Kill these processes and wait until they are gone; those that are children of this one are reaped, by pid."""
    for process in some:
        handle = processes.Handle.open(*process.identity)
        if handle is None:
            continue
        with suppress(PermissionError):
            handle.send(signal.SIGKILL)
            handle.wait_gone(_OUTLIVE_S)
        handle.close()
        with suppress(ChildProcessError):
            os.waitpid(process.pid, os.WNOHANG)
