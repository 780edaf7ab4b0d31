"""The mode `pool_testing`: a pool of the chosen layer, warmed, watched and monitored, and the proof that nothing stays.

It composes `contamination_detection` (the baseline is taken first, and compared last) and `supervision_testing` (whose
monitor watches the pool's workers). To the pool it adds nothing: its workers are known by the records that they leave.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from poolproof.config import Effective
from poolproof.errors import AffinityError, EvidenceError, IsolationError, UsageError
from poolproof.isolation import contamination, supervision
from poolproof.isolation.scene import Scene
from poolproof.rig import (
    Incarnation,
    Monitor,
    Rig,
    monitor_pool_performance,
    notices,
    setup_isolated_pool,
    verify_session_affinity,
    warm_pool_workers,
)
from poolproof.rig.keeper import guardian
from poolproof.rig.setup import rehearse
from poolproof.waiting import EventStream, Publishes, translated, wait_for

T = TypeVar("T")

_VERIFIED: Final = 2
"""How many sessions are tried before the test begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What can be asked of this mode.

    Attributes:
        layer: 1, 2 or 3; the test's, by `@pytest.mark.layer` or `--layer`, if it is not said.
        target: the pool: a bundled name, `module:factory`, or a factory; `sessionpool` if it is not said.
        workers: how many; by the preset, or by `config/layer_N.toml`.
        workload: what its operations are; by the configuration.
        preset: a pool by name, see `poolproof.rig.PRESETS`.
        options: what the factory is given by name.
        seed: of the payloads and, on layer 1, of all that happens; the scene's if it is not said.
        opens: whether the mode opens a pool; else the test opens its own, and has them adopted.
        warm: whether all workers have answered before the test begins.
        verify_sessions: whether it is verified, before and after, that sessions keep to their workers; where the pool
            does not promise that, it is not.
        sample_s: how often the pool is sampled, in seconds of its clock; 0 for at the begin and the end alone.
        watch: the kinds of contamination that are looked for; all, if it is not said.
        ignore: regular expressions of what is no contamination.
        settle_s: how long what is about to go may take.
    """

    layer: int | None = None
    target: str | Callable[..., Any] | None = None
    workers: int | None = None
    workload: str | None = None
    preset: str | None = None
    options: Mapping[str, Any] | Any = field(default_factory=dict)
    seed: int | None = None
    opens: bool = True
    warm: bool = True
    verify_sessions: bool = True
    sample_s: float = 0.1
    watch: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = ()
    settle_s: float = 1.0

    def problems(self) -> list[str]:
        """Everything in them that makes no sense; what the pool itself refuses is told when it is set up."""
        found = []
        if self.layer not in (None, 1, 2, 3):
            found.append(f"layer = {self.layer!r}: expected 1, 2 or 3")
        if not _is_interval(self.sample_s):
            found.append(f"sample_s = {self.sample_s!r}: expected seconds, 0.001 or more; 0 for none in between")
        if self.preset == "failing-to-start" and self.warm:
            found.append("preset = 'failing-to-start' never gets warm: say warm=False")
        if not self.warm and self.verify_sessions and self.preset == "failing-to-start":
            found.append("preset = 'failing-to-start' serves no session: say verify_sessions=False")
        if not isinstance(self.options, Mapping):
            found.append(f"options = {self.options!r}: expected a mapping of names to values")
        named = [
            name
            for name in ("target", "workers", "workload", "preset", "options")
            if getattr(self, name) not in (None, {})
        ]
        if not self.opens and named:
            found.append(f"opens = False: no pool is opened that {', '.join(named)} would be for: leave them out")
        return found + self.detection().problems()

    def detection(self) -> contamination.Options:
        """What of them is for the detection of contamination."""
        watch = contamination.KINDS if self.watch is None else self.watch
        return contamination.Options(watch=watch, ignore=self.ignore, settle_s=self.settle_s)


def _is_interval(value: object) -> bool:
    return isinstance(value, int | float) and (value == 0 or 0.001 <= value < 3600)


class PoolTesting:
    """What a test in this mode has to hand.

    Attributes:
        events: everything that is published about its pools.
        config: of its layer.
        detection: what looks for contamination; its `check()` does so at once.
    """

    def __init__(self, scene: Scene, config: Effective, detection: contamination.Detection) -> None:
        self._scene = scene
        self._pool: Rig | None = None
        self._metrics: Monitor | None = None
        self.events = EventStream()
        self.config = config
        self.detection = detection

    @property
    def pool(self) -> Rig:
        """The rig of the test's pool.

        Raises:
            UsageError: the mode was told to open none.
        """
        if self._pool is None:
            raise UsageError(f"{self._scene.test}: opens=False: the test opens its pools by itself, and adopts them")
        return self._pool

    @property
    def metrics(self) -> Monitor:
        """The samples of the pool so far."""
        self.pool  # noqa: B018 - it says what is wrong where there is none
        assert self._metrics is not None  # noqa: S101 - it comes with the pool
        return self._metrics

    @property
    def workers(self) -> tuple[Incarnation, ...]:
        """The workers that live and have begun any operation."""
        return self.pool.workers()

    def adopt(self, pool: T, *, close: Callable[[], object] | None = None, name: str = "") -> T:
        """Take charge of a pool that the test, or a fixture of its project, has opened by itself.

        What it publishes is heard, and it is closed at the end, within the bound of the configuration; closing it
        before does no harm. That nothing of it stays, is looked after like everything else.

        Args:
            pool: any.
            close: ends it; its `shutdown`, `terminate` or `close`, if it is not said.
            name: what its events call it.

        Raises:
            UsageError: how it is closed cannot be told.
        """
        known = name or type(pool).__name__
        ends = close or _ending_of(pool)
        if ends is None:
            raise UsageError(f"{known} has neither shutdown, terminate nor close: say close=…")
        if isinstance(pool, Publishes):
            pool.subscribe(lambda event: self.events.publish(translated(event, known)))
        bound_s = self.config.config.bounds.close_s

        def close_it() -> None:
            ends()

        self._scene.teardown.push(f"closing {known}", close_it, bound_s=bound_s)
        return pool


def _ending_of(pool: object) -> Callable[[], object] | None:
    """What ends a pool: `shutdown` of an executor, `terminate` and `join` of a `multiprocessing.Pool`, or `close`."""
    names = [name for name in ("shutdown", "terminate", "close") if callable(getattr(pool, name, None))]
    if not names:
        return None

    def end() -> None:
        getattr(pool, names[0])()
        if names[0] == "terminate" and hasattr(pool, "join"):
            pool.join()

    return end


def enter(scene: Scene, options: Options) -> PoolTesting:
    """Set up the pool of a test: detection first, then the pool, its watch, its first answers, and its samples."""
    layer = options.layer or scene.layer or 2
    config = scene.config(layer)
    if {layer, *config.config.pool.fallback} != {1}:
        with scene.stage("the keeper"):  # both outlive the test, so they come before the baseline
            guardian().start(stderr_fd=scene.faulthandler_fd)
            notices.prepare()
    if options.opens:
        with scene.stage("the workload"):  # so does what it imports in this process
            rehearse(layer, options.workload, config)
    with scene.stage("contamination_detection"):
        detection = contamination.enter(scene, options.detection())
    with scene.stage("supervision_testing"):
        supervised = supervision.enter(scene, supervision.Options())
    context = PoolTesting(scene, config, detection)
    scene.teardown.push(
        "hearing its events", lambda: [f"a subscriber of the events raised {it!r}" for it in context.events.raised]
    )
    if options.opens:
        _open(scene, options, layer, context, supervised)
    return context


def _open(
    scene: Scene, options: Options, layer: int, context: PoolTesting, supervised: supervision.Supervision
) -> None:
    """Open the pool of the test, and see it at work before the test does."""
    bounds = context.config.config.bounds
    with scene.stage("opening the pool"):
        block = setup_isolated_pool(
            options.target,
            layer=layer,
            workers=options.workers,
            workload=options.workload,
            preset=options.preset,
            options=options.options,
            seed=scene.seed if options.seed is None else options.seed,
            config=scene.config,
            ledger=guardian() if guardian().pid is not None else None,
        )
        pool = context._pool = block.__enter__()
        context.config = scene.config(pool.layer)  # another one, where the configuration falls back
        scene.teardown.push("closing the pool", lambda: _leave(block, pool))
        pool.subscribe(context.events.publish)
    if pool.layer != 1:
        folder = pool.records.parent
        guardian().add_folder(folder)  # it removes it where this process dies
        scene.teardown.push("keeping its folder", lambda: guardian().remove_folder(folder))
        with scene.stage("watching its workers"):
            supervised.monitor(pool.records, pool.events)
    sticky = options.verify_sessions and pool.claims.made("keeps-sessions-sticky") == "promised"
    if options.warm:
        with scene.stage("warming its workers"):
            warm_pool_workers(pool, operations=0, timeout=bounds.open_s)
        if sticky:
            with scene.stage("verifying its sessions"):
                _try_sessions(pool)
    wait_for(lambda: not pool.pending, timeout=bounds.open_s, on=pool, what="the end of what warmed it")
    pool.begin_anew()
    if sticky:
        scene.teardown.push("verifying the sessions of the test", lambda: _verify(pool))
    with ExitStack() as stack:
        context._metrics = stack.enter_context(monitor_pool_performance(pool, options.sample_s or None))
        scene.teardown.push("the last sample", stack.pop_all().close)


def _leave(block: Any, pool: Rig) -> list[str]:
    try:
        block.__exit__(None, None, None)
    except IsolationError as error:
        return list(error.problems)
    return [f"a subscriber of {pool.name}'s events raised {error!r}" for error in pool.events.raised]


def _try_sessions(pool: Rig) -> None:
    """Whether sessions stay where they are, as long as nothing happens to anybody."""
    keys = [f"poolproof warm-up {number}" for number in range(_VERIFIED)]
    for _ in range(2):
        for sent in [pool.touch(session=key) for key in keys]:
            sent.result()
    verify_session_affinity(pool, keys)
    if pool.can_close_sessions:
        for key in keys:
            pool.close_session(key)


def _verify(pool: Rig) -> list[str]:
    """What is wrong with the sessions of the test; those whose worker died may have gone on afresh."""
    try:
        verify_session_affinity(pool, excuse_deaths=True)
    except AffinityError as error:
        return list(error.problems)
    except EvidenceError:  # the test used none, each only once, or one whose operations were refused; nothing is wrong
        return []
    return []
