"""Faults in a simulated world: each a harm with a beginning, an end and a proof that it took effect.

The same values of a plan that `poolproof.faults` injects into real processes; here the hunt needs no stop, since
nothing happens between a look and a blow.
"""

import random
from collections.abc import Callable, Iterable
from typing import Final, Literal, NamedTuple

from poolproof.errors import BlastRadiusError
from poolproof.faults import victims_wanted
from poolproof.history import Fault
from poolproof.plan import LASTING, ON_AFFINITY, ON_STARTS, FaultSpec, Limits
from poolproof.pools import SansIO
from poolproof.simulation.process import KILLED, Process, Watch
from poolproof.simulation.record import Record
from poolproof.simulation.timeline import SECOND_NS, Timeline
from poolproof.simulation.wire import Harm
from poolproof.simulation.world import StartFault, World

_HUNT_NS: Final = 1_000_000

_FITS: Final[dict[str, Callable[[Process], bool]]] = {
    "in-flight": lambda it: it.at is not None,
    "idle": lambda it: it.is_idle,
    "sent": lambda it: it.at is not None and it.waiting > 0,
    "answered": lambda it: it.is_answering,
    "starting": lambda it: not it.is_up,
    "any": lambda it: True,
}


class Hit(NamedTuple):
    """A worker in the moment in which it was hit."""

    pid: int
    start_time: int
    held: tuple[int, ...]


class Conductor:
    """Does to a world what a plan says, and writes down what came of it.

    Args:
        world: what is to be harmed.
        pool: whose core it is.
        record: where it is written down.
        limits: the blast radius.
        seed: of the run.
    """

    def __init__(self, world: World, pool: SansIO, record: Record, limits: Limits, seed: int) -> None:
        self._world = world
        self._timeline: Timeline = world.timeline
        self._pool = pool
        self._record = record
        self._limits = limits
        self._seed = seed
        self._open = 0
        self._lasting: list[Callable[[], None]] = []
        self._untold: list[Callable[[], None]] = []
        self.last_heal = 0
        self._to_come: list[_Injection] = []
        """The faults whose moment has not come."""
        self.struck: list[tuple[Hit, ...]] = []
        """The workers that were hit, fault by fault, as soon as they are; what came of it, the record tells later."""

    @property
    def is_done(self) -> bool:
        """Whether every fault is over."""
        return not self._open

    def plan(self, faults: Iterable[FaultSpec], origin: int) -> None:
        """Put the faults on the agenda, `origin` being the start of the measured window."""
        for number, spec in enumerate(faults):
            self._open += 1
            # A stream of its own, by what it is and not by its place: leaving one out does not reshuffle the others.
            who = f"{spec.count} {spec.share!r} {spec.toward}"
            chance = random.Random(f"poolproof fault {self._seed} {spec.kind} {spec.at_s!r} {who}")
            begin = origin - self._timeline.ahead + round(spec.at_s * SECOND_NS)
            injection = _Injection(number, spec, chance, begin + round(spec.patience_s * SECOND_NS))
            self._to_come.append(injection)
            self._timeline.at(begin, self._begin, injection)

    def call_off(self, why: str) -> None:
        """Leave out the faults that are still to come: they would befall a pool without load."""
        to_come, self._to_come = self._to_come, []
        for injection in to_come:
            self._missed(injection, "no", f"the load was given up before: {why}")

    def _begin(self, injection: "_Injection") -> None:
        if injection in self._to_come:  # else it was called off
            self._to_come.remove(injection)
            self._attempt(injection)

    def _attempt(self, injection: "_Injection") -> None:
        spec = injection.spec
        if spec.target == "worker":
            self._hunt(injection)
        elif spec.target == "forkserver":
            self._kill_forkserver(injection)
        elif spec.kind in ON_STARTS:
            self._harm_starts(injection)
        elif spec.kind in ON_AFFINITY:
            self._harm_affinity(injection)
        elif spec.kind == "jump-clock":
            self._timeline.jump(round(spec.amount * SECOND_NS))
            self._write(injection, None, self._timeline.now, "yes", f"the clock went forward by {spec.amount:g} s")
            self._over()
        else:
            self._missed(injection, "inapplicable", "layer 1 simulates no such thing")

    # --- workers ------------------------------------------------------------------------------------------------

    def _hunt(self, injection: "_Injection") -> None:
        spec = injection.spec
        live = [process for process in self._world.processes.values() if not process.is_dead]
        fitting = [process for process in live if _FITS[spec.coincide](process)]
        refused, wanted = "", 0
        try:
            wanted = victims_wanted(spec, len(live), self._limits) if live else 0
        except BlastRadiusError as error:
            refused = f"refused: {error}"  # more workers may be there at the next look
        if wanted and len(fitting) >= wanted:
            injection.chance.shuffle(fitting)
            self._strike(injection, fitting[:wanted])
        elif self._timeline.elapsed < injection.give_up:
            self._timeline.after(_HUNT_NS, self._attempt, injection)
        elif not live:
            self._missed(injection, "pool-dead", "no worker was alive")
        else:
            why = f"not enough {spec.coincide} victims within {spec.patience_s:g} s among {len(live)} live workers"
            self._missed(injection, "no", refused or why)

    def _strike(self, injection: "_Injection", victims: list[Process]) -> None:
        spec, begin = injection.spec, self._timeline.now
        self.struck.append(tuple(Hit(it.pid, it.start_time, tuple(it.in_hand())) for it in victims))
        harmed = []
        for process in victims:
            watch = process.watch(self._world.ledger.in_hands(process.number))
            harmed.append((process, watch, _HARMS[spec.kind](self._world, process, spec, injection.chance)))

        def conclude() -> None:
            for process, watch, heal in harmed:
                self._tell_later(injection, process, watch, begin, heal())

        self._last(spec.for_s if spec.kind in LASTING else 0.0, conclude)

    def _tell_later(
        self, injection: "_Injection", process: Process, watch: Watch, begin: int, effect: "_Effect"
    ) -> None:
        """Write down what befell a worker, once the pool has learnt of its end, or the run is over.

        Until then the pool goes on sending it what will be lost with it; and a stream that was torn is torn for good.
        """
        end, begun = self._timeline.now, tuple(sorted(watch.begun))
        self.last_heal = end

        def tell() -> None:
            self._untold.remove(tell)
            process.unwatch(watch)
            held, sessions = begun, set(effect.sessions)
            if process.is_dead:  # the states that it held are gone, and so are those that it was to make
                held = tuple(sorted(watch.begun))
                sessions |= {session for op in watch.sent if (session := self._record.session[op]) >= 0}
            effective: Literal["yes", "no"] = "yes" if effect.is_true else "no"
            self._write(injection, process, begin, effective, effect.why, held, tuple(sorted(sessions)), end=end)

        self._untold.append(tell)
        if process.is_dead or process.is_torn:
            self._world.at_burial(process, tell)
        else:
            tell()

    def _last(self, for_s: float, conclude: Callable[[], None]) -> None:
        """Conclude a harm once it has lasted so long, or the run ends."""
        if not for_s:
            conclude()
            self._over()
            return
        self._lasting.append(conclude)

        def end() -> None:
            if conclude in self._lasting:
                self._lasting.remove(conclude)
                conclude()
                self._over()

        self._timeline.after(round(for_s * SECOND_NS), end)

    def finish(self) -> None:
        """The run is over: what still lasts is undone and written down."""
        for conclude in self._lasting:
            conclude()
        self._lasting.clear()
        for tell in [*self._untold]:
            tell()

    # --- the pool -----------------------------------------------------------------------------------------------

    def _kill_forkserver(self, injection: "_Injection") -> None:
        begin = self._timeline.now
        watches = {
            process.number: process.watch(self._world.ledger.in_hands(process.number))
            for process in self._world.processes.values()
        }
        victims = self._world.lose_forkserver()
        for process in victims:
            effect = _Effect(True, "it died with the forkserver")
            self._tell_later(injection, process, watches[process.number], begin, effect)
        if not victims:
            self._write(injection, None, begin, "pool-dead", "no worker was alive to die with it")
        self._over()

    def _harm_starts(self, injection: "_Injection") -> None:
        spec, world, begin = injection.spec, self._world, self._timeline.now
        fault = world.start_fault = StartFault(spec.kind, round(spec.amount * SECOND_NS))

        def conclude() -> None:
            if world.start_fault is fault:
                world.start_fault = None
            why = f"{fault.met} workers were to be started meanwhile"
            self._write(injection, None, begin, "yes" if fault.met else "no", why)

        self._last(spec.for_s, conclude)

    def _harm_affinity(self, injection: "_Injection") -> None:
        spec, begin = injection.spec, self._timeline.now
        harmed = self._pool.tamper(self._world.core, spec.kind, max(1, spec.count), injection.chance)
        if harmed:
            self._world.ledger.is_tampered = True
            why = f"of {len(harmed)} sessions"
            self._write(injection, None, begin, "yes", why, sessions=tuple(sorted(harmed)))
            self._over()
        elif self._timeline.elapsed < injection.give_up:
            self._timeline.after(_HUNT_NS, self._attempt, injection)
        else:
            self._missed(injection, "no", "no session was open of which nothing waited")

    # --- the record ---------------------------------------------------------------------------------------------

    def _write(
        self,
        injection: "_Injection",
        process: Process | None,
        begin: int,
        effective: Literal["yes", "no", "pool-dead", "inapplicable"],
        why: str,
        held: tuple[int, ...] = (),
        sessions: tuple[int, ...] = (),
        end: int = 0,
    ) -> None:
        self._record.faults.append(
            Fault(
                fault=injection.number,
                kind=injection.spec.kind,
                target=injection.spec.describe(),
                pid=0 if process is None else process.pid,
                start_time=0 if process is None else process.start_time,
                begin=begin,
                end=end or self._timeline.now,
                effective=effective,
                why=why,
                held=held,
                sessions=sessions,
            )
        )
        self.last_heal = max(self.last_heal, end or self._timeline.now)

    def _missed(self, injection: "_Injection", effective: Literal["no", "pool-dead", "inapplicable"], why: str) -> None:
        self._write(injection, None, self._timeline.now, effective, why)
        self._over()

    def _over(self) -> None:
        self._open -= 1


class _Injection:
    """One fault on the agenda, with its own chance and the moment at which it is given up."""

    __slots__ = ("chance", "give_up", "number", "spec")

    def __init__(self, number: int, spec: FaultSpec, chance: random.Random, give_up: int) -> None:
        self.number = number
        self.spec = spec
        self.chance = chance
        self.give_up = give_up


class _Effect(NamedTuple):
    """Whether a harm took effect, how that is known, and which sessions lost their data by it."""

    is_true: bool
    why: str
    sessions: tuple[int, ...] = ()


Heal = Callable[[], _Effect]
"""Undoes a harm, as far as it can be undone, and tells what came of it."""


def _kill(world: World, process: Process, spec: FaultSpec, chance: random.Random) -> Heal:
    process.die(KILLED)
    return lambda: _Effect(process.is_dead, "its exit was seen")


def _stall(world: World, process: Process, spec: FaultSpec, chance: random.Random) -> Heal:
    process.stop()
    begun = process.begun

    def heal() -> _Effect:
        if process.is_dead:
            return _Effect(True, "it was stopped until something ended it")
        still = process.stopped_at is not None and process.begun == begun
        process.go_on()
        return _Effect(still, "it was found stopped to the end" if still else "something had it go on before the end")

    return heal


def _slow(world: World, process: Process, spec: FaultSpec, chance: random.Random) -> Heal:
    process.slow_down(spec.amount)
    met = process.watch(())

    def heal() -> _Effect:
        process.slow_down(1 / spec.amount)
        process.unwatch(met)
        return _Effect(bool(met.begun), f"{len(met.begun)} operations met it")

    return heal


def _disconnect(world: World, process: Process, spec: FaultSpec, chance: random.Random) -> Heal:
    was_cut = process.inward.is_closed and process.outward.is_closed
    world.cut(process)
    why = "its connection was cut already" if was_cut else "its connection was cut"
    return lambda: _Effect(not was_cut, why)


def _harm_wire(world: World, process: Process, spec: FaultSpec, chance: random.Random) -> Heal:
    streams = {"worker": (process.inward,), "pool": (process.outward,), "both": (process.inward, process.outward)}
    harms = [(stream, Harm(spec.kind, spec.amount, chance)) for stream in streams[spec.toward]]
    for stream, harm in harms:
        stream.harms.append(harm)

    def heal() -> _Effect:
        for stream, harm in harms:
            stream.heal(harm)
        met = sum(harm.met for _, harm in harms)
        return _Effect(met > 0, f"{met} frames met it")

    return heal


def _lose_states(world: World, process: Process, spec: FaultSpec, chance: random.Random) -> Heal:
    sessions = tuple(sorted({state.token for state in process.states.values() if state is not None}))
    process.states.clear()
    if sessions:  # else the ledger would be silenced for nothing
        world.ledger.is_tampered = True
    return lambda: _Effect(bool(sessions), f"it held the states of {len(sessions)} sessions", sessions)


_HARMS: Final[dict[str, Callable[[World, Process, FaultSpec, random.Random], Heal]]] = {
    "kill": _kill,
    "stall": _stall,
    "slow": _slow,
    "disconnect": _disconnect,
    "lose-states": _lose_states,
    **dict.fromkeys(("partition", "delay", "duplicate", "corrupt", "truncate"), _harm_wire),
}
"""What befalls one worker, by the kind of fault."""
