"""What shall happen, as plain values: operations, workloads, load, faults, scenarios and plans. Nothing here acts."""

import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any, Final, Literal, get_args

import msgspec

from poolproof.probe import Call

SCHEMA: Final = "poolproof/plan-2"

Made = Literal["implied", "promised", "declined", "undeclared"]

IMPLIED: Final = (
    "resolves-every-operation",
    "runs-at-most-once",
    "returns-the-right-result",
    "types-every-error",
    "closes-cleanly",
    "leaves-nothing-behind",
)
"""The promises that whoever offers a pool makes by that alone."""

PROMISES: Final = (
    *IMPLIED,
    "survives-worker-death",
    "contains-the-blast",
    "restores-capacity",
    "degrades-gracefully",
    "keeps-sessions-sticky",
    "isolates-sessions",
    "keeps-session-order",
    "sheds-overload",
    "serves-fairly",
    "honours-deadlines",
)
"""Every promise that this version can examine, in the order of the tables."""


class Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of the values that a plan is written down with."""


# --- what the operations are ------------------------------------------------------------------------------------


def _equal(payload: Any, result: Any) -> bool:
    return bool(payload == result)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of operation.

    Attributes:
        weight: its share of the mix, relative to the others; 0 keeps it out of the mix, for scenarios that place it.
        payload: makes one argument from a seeded random source; must pickle, unless not pickling is the point.
        call: runs in the worker on the payload and the session's own state (an empty dict where there is no session).
        verify: tells in the client whether the result is the right one for that payload.
        raises: names (`module.Type`) of exceptions of the user's own with which this kind may end; where there are
            any, a plain return is a wrong result unless `may_return`.
        may_return: whether it may also return although it may raise.
    """

    call: Callable[[Any, dict[str, Any]], Any]
    payload: Callable[[random.Random], Any]
    verify: Callable[[Any, Any], bool] = _equal
    weight: float = 1.0
    raises: tuple[str, ...] = ()
    may_return: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What the operations are.

    Attributes:
        kinds: by their names, with weights.
        setup: what a worker process does once before its first operation.
        modules: what the operations import; a pool that can import once for all its workers is told.
        in_workers: the reference (`module:name`) of what workers import in place of the whole workload, where that
            would import what they do not need: something with the same `kinds`, each with its `call`, and `setup`.
            Empty for the workload itself.
    """

    kinds: Mapping[str, Kind]
    setup: Callable[[], None] | None = None
    modules: tuple[str, ...] = ()
    in_workers: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One request as a pool gets it.

    Attributes:
        op: its number in this run, echoed by the worker.
        call: what to run in a worker: `call()`, or `call(state)` with the session's state.
        session: the session that it belongs to, or None.
        deadline_ns: the CLOCK_MONOTONIC moment by which it must have ended, or None.
        idempotent: whether the pool may run it again.
    """

    op: int
    kind: str
    call: Call
    session: int | None = None
    deadline_ns: int | None = None
    idempotent: bool = False


# --- what a pool claims -----------------------------------------------------------------------------------------


class Claim(Value, frozen=True, kw_only=True):
    """What a pool's own documentation says of one promise, and where."""

    made: Literal["promised", "declined"]
    source: str


class Claims(Value, frozen=True, kw_only=True):
    """What a pool says of itself; the implied promises need not be listed.

    Attributes:
        promises: the promises that it makes or declines; those not listed are implied or undeclared.
        errors: names (`module.Type`) of the exceptions, bases included, that it fails operations with.
        overload: those with which it refuses what is more than it can take; they need not stand in `errors` too.
        detection_s: within what time it notices a dead worker.
        in_process: whether its work is done in the lab's own process (threads).
        sessions_end: whether a session may be over for good once its worker is lost, so that all that comes fails.
    """

    promises: dict[str, Claim] = {}
    errors: tuple[str, ...] = ()
    overload: tuple[str, ...] = ()
    detection_s: float = 1.0
    in_process: bool = False
    sessions_end: bool = True

    def made(self, promise: str) -> Made:
        """How this pool stands to a promise."""
        if promise in self.promises:
            return self.promises[promise].made
        return "implied" if promise in IMPLIED else "undeclared"


# --- load -------------------------------------------------------------------------------------------------------


class Step(Value, frozen=True, kw_only=True, omit_defaults=True):
    """A rate held for a while, or changed evenly to another one; a rate of 0 is a pause.

    Attributes:
        rate: operations a second, or multiples of the pool's capacity.
        to: the rate at the end, in the same unit; None for the same all along.
    """

    rate: float
    seconds: float
    to: float | None = None

    @property
    def operations(self) -> float:
        """How many are due within it on average."""
        return (self.rate + (self.rate if self.to is None else self.to)) / 2 * self.seconds


class Placed(Value, frozen=True, kw_only=True, omit_defaults=True):
    """One operation at a certain moment, beside the mix.

    Attributes:
        deadline_s: after it is due; 0 for none.
        session: that it belongs to; -1 for none.
        command: what a scripted operation obeys, instead of a payload that its kind makes.
    """

    at_s: float
    kind: str
    deadline_s: float = 0.0
    session: int = -1
    idempotent: bool = False
    command: tuple[str | int | float, ...] = ()


class Load(Value, frozen=True, kw_only=True, omit_defaults=True):
    """Open-loop load: operations are due when the schedule says, whatever became of the earlier ones.

    Attributes:
        steps: the rates, one after the other; a single step is constant load.
        service_s: what one operation occupies a worker for. Where it is given, rates are multiples of the pool's
            capacity (as many a second as it was seen to do at once, divided by this); else operations a second.
        arrivals: evenly spaced, or a Poisson process of the same rate.
        sessions: how many sessions the operations are spread over; 0 for none.
        burst: how many operations of one session are due at once.
        deadline_s: within what time of being due the operations of the mix must have ended; 0 for no deadline.
        deadline_share: of how many of them that is so.
        idempotent: which share of the mix is declared idempotent.
        placed: single operations of the workload, or of the kit's awkward one.
        warm_up: operations that are sent and drained before the measured window.
    """

    steps: tuple[Step, ...]
    service_s: float = 0.0
    arrivals: Literal["constant", "poisson"] = "poisson"
    sessions: int = 0
    burst: int = 1
    deadline_s: float = 0.0
    deadline_share: float = 1.0
    idempotent: float = 0.0
    placed: tuple[Placed, ...] = ()
    warm_up: int = 8

    @property
    def seconds(self) -> float:
        """How long the measured window lasts."""
        return sum(step.seconds for step in self.steps)

    def at_capacity(self, at_once: int) -> "Load":
        """This load in operations a second, for a pool that does so many operations at once."""
        if not self.service_s:
            return self
        per_s = at_once / self.service_s
        steps = tuple(
            Step(rate=step.rate * per_s, seconds=step.seconds, to=None if step.to is None else step.to * per_s)
            for step in self.steps
        )
        return msgspec.structs.replace(self, steps=steps, service_s=0.0)


# --- faults -----------------------------------------------------------------------------------------------------


FaultKind = Literal[
    "kill",
    "stall",
    "slow",
    "disconnect",
    "partition",
    "delay",
    "duplicate",
    "corrupt",
    "truncate",
    "lose-states",
    "lose-affinity",
    "swap-affinity",
    "stale-affinity",
    "refuse-start",
    "fail-start",
    "slow-start",
    "hang-start",
    "jump-clock",
]
"""What can be done to a pool; which of it a layer can do, `problems` says.

- `kill`, `stall`, `slow` (`amount` times as slow): to processes.
- `disconnect`, `partition`, `delay` (by `amount` seconds on average), `duplicate`, `corrupt`, `truncate` (of `amount`,
  a share, of the frames): to the wire of a worker, in the direction `toward`.
- `lose-states`: a worker loses the states that it holds, and does not know it.
- `lose-affinity`, `swap-affinity`, `stale-affinity`: the pool's table of sessions loses entries, exchanges them, or has
  them point at the dead.
- `refuse-start`, `fail-start`, `slow-start` (by `amount` seconds), `hang-start`: to every worker that is to be started.
- `jump-clock`: the clock goes forward by `amount` seconds at once, as after the suspension of a machine.
"""

TARGETS: Final[dict[str, tuple[str, ...]]] = {
    "kill": ("worker", "parent", "forkserver"),
    **dict.fromkeys(
        ("stall", "slow", "disconnect", "partition", "delay", "duplicate", "corrupt", "truncate", "lose-states"),
        ("worker",),
    ),
    **dict.fromkeys(
        (
            *("lose-affinity", "swap-affinity", "stale-affinity"),
            *("refuse-start", "fail-start", "slow-start", "hang-start"),
            "jump-clock",
        ),
        ("pool",),
    ),
}
"""What each fault can befall."""

LASTING: Final = frozenset(
    {"stall", "slow", "partition", "delay", "duplicate", "corrupt", "truncate"}
    | {"refuse-start", "fail-start", "slow-start", "hang-start"}
)
"""The faults that go on until they are healed; the others are done once they have begun."""

ON_STARTS: Final = frozenset({"refuse-start", "fail-start", "slow-start", "hang-start"})
ON_FRAMES: Final = frozenset({"duplicate", "corrupt", "truncate"})
ON_AFFINITY: Final = frozenset({"lose-affinity", "swap-affinity", "stale-affinity"})

REAL: Final = frozenset({"kill", "stall"})
"""The faults that layers 2 and 3 can inject."""

Coincidence = Literal["in-flight", "idle", "sent", "answered", "starting", "any"]


class FaultSpec(Value, frozen=True, kw_only=True, omit_defaults=True):
    """A harm to be done: what, to whom, when, and what it must meet to prove anything.

    Attributes:
        target: `worker`, chosen among the incarnations with probe records; `parent`, the pool's own process;
            `forkserver`; or `pool`, where it befalls the pool as a whole.
        count: how many workers, or sessions; alternative to `share`.
        share: what share of the live workers, rounded up.
        at_s: when, after the start of the measured window.
        for_s: how long it lasts, where it can be undone.
        amount: how much of it, see `FaultKind`.
        toward: which direction of a wire it befalls, that to the worker, that to the pool, or both.
        coincide: what the victims must be found doing: operations `in-flight`, or nothing (`idle`). On layer 1 also
            with an operation `sent` and not begun, or `answered` and the answer on its way; `starting`; or `any`.
        patience_s: for how long victims that coincide are looked for.
    """

    kind: FaultKind
    at_s: float
    target: Literal["worker", "parent", "forkserver", "pool"] = "worker"
    count: int = 0
    share: float = 0.0
    for_s: float = 0.0
    amount: float = 0.0
    toward: Literal["worker", "pool", "both"] = "both"
    coincide: Coincidence = "in-flight"
    patience_s: float = 1.5

    def describe(self) -> str:
        """The fault in a few words."""
        workers = (
            f"{self.share:.0%} of the workers" if self.share else f"{self.count} worker{'s' if self.count != 1 else ''}"
        )
        whom = {
            "parent": f"the pool's own process ({self.coincide})",
            "forkserver": "the pool's forkserver",
            "pool": f"the pool{f' ({self.count} sessions)' if self.count else ''}",
            "worker": f"{workers} ({self.coincide})",
        }[self.target]
        by = f" by {self.amount:g}" if self.amount else ""
        lasting = f" for {self.for_s:g} s" if self.for_s else ""
        return f"{self.kind} {whom}{by} at {self.at_s:g} s{lasting}"


# --- the whole --------------------------------------------------------------------------------------------------

STARTS: Final = 2
"""How many times the observed start of a pool is waited for, on top of every bound within which a worker may start."""

CYCLES: Final = 3
"""How often the stage `cycles` opens and closes the pool again after the first, uncounted time."""

CYCLE_OPERATIONS: Final = 2
"""How many operations a worker each of those times."""

SHUTDOWN_OPERATIONS: Final = 10
"""How many operations a worker, at most, a pool is given that is closed at work."""

ATTEMPTS: Final = 3
"""How often it is tried at most to have as many operations at once as there are workers."""

LEAD_NS: Final = 50_000_000
"""How long before its measured window everything of a load is laid out."""

SLACK_S: Final = 5.0
"""What is added to a bound, so that whoever keeps his own is not ended for telling so late."""

Stage = Literal[
    "cycles", "open", "probe-before", "load", "drain", "probe-after", "close", "close-loaded", "close-cancelling"
]


class Scenario(Value, frozen=True, kw_only=True, omit_defaults=True):
    """A named experiment together with the promises that it examines.

    Attributes:
        stages: what the lab does, in order.
        examines: the promises that are judged on its history.
        workload: its own, where a promise can be measured with certain operations alone; empty for the run's.
    """

    name: str
    summary: str
    stages: tuple[Stage, ...]
    examines: tuple[str, ...]
    load: Load
    workload: str = ""
    faults: tuple[FaultSpec, ...] = ()

    @property
    def closes_under_load(self) -> bool:
        """Whether the pool is closed right after the load: what faults are to come, come while it closes."""
        return ("load", "close") in pairwise(self.stages)

    @property
    def fault_s(self) -> float:
        """How long the faults may take to be over, one after the other."""
        return sum(fault.for_s + fault.patience_s for fault in self.faults)


class Bounds(Value, frozen=True, kw_only=True):
    """How long anything may take, in seconds; whoever exceeds its bound is ended, and that is recorded."""

    open_s: float
    close_s: float
    drain_s: float
    rendezvous_s: float
    outlive_s: float
    total_s: float


class Limits(Value, frozen=True, kw_only=True):
    """The blast radius: faults beyond it are refused before anything is harmed."""

    max_share: float
    min_survivors: int
    max_fault_s: float
    max_processes: int


class Target(Value, frozen=True, kw_only=True):
    """The pool to be proven, and the reference of its factory; what it claims is known once it is built."""

    name: str
    factory: str


class Plan(Value, frozen=True, kw_only=True):
    """One experiment whole: judged again from a saved file, it means the same.

    Attributes:
        workload: the run's, for scenarios that have none of their own.
        service_ms: how long the scripted operations occupy a worker, by kind.
        service_spread: by how much that varies: the sigma of a lognormal distribution with that median.
        options: what the target's factory is given by name, beside the number of workers.
    """

    schema: str = SCHEMA
    target: Target
    workload: str
    scenario: Scenario
    layer: int
    workers: int
    seed: int
    service_ms: dict[str, float] = {}
    service_spread: float = 0.0
    options: dict[str, str | int | float | bool | None] = {}
    bounds: Bounds
    limits: Limits
    watch_s: float = 0.1

    @property
    def works_on(self) -> str:
        """The workload that is run: the scenario's own, else the run's."""
        return self.scenario.workload or self.workload

    def resolution_s(self, claims: Claims, start_s: float) -> float:
        """How long after the last heal or send an operation may stay unresolved, in seconds.

        Args:
            claims: what the pool says of itself.
            start_s: how long a fresh pool was seen to take to its first answer: a lost worker has to be started anew,
                perhaps beside others, and that takes what the imports and the setup of the user's work take.
        """
        return max(self.bounds.drain_s, 3 * claims.detection_s) + STARTS * start_s

    def close_bound_s(self, claims: Claims, start_s: float) -> float:
        """How long a close may take, in seconds: it may have to wait for workers that are just being started."""
        return max(self.bounds.close_s, 3 * claims.detection_s) + STARTS * start_s

    def first_probe_s(self, start_s: float) -> float:
        """How long the first probe of a fresh pool's capacity may take, in seconds: not all workers may be up yet."""
        return max(self.bounds.open_s / 4, STARTS * start_s)

    def shutdown_operations(self, claims: Claims, start_s: float, service_s: float) -> int:
        """How many operations of so many seconds a worker can still be worked off by a bounded close."""
        return max(2, min(SHUTDOWN_OPERATIONS, int(self.close_bound_s(claims, start_s) / 2 / max(service_s, 1e-6))))


def encode(plan: Plan) -> bytes:
    """The plan as JSON, for its run folder."""
    return msgspec.json.format(msgspec.json.encode(plan), indent=2)


def decode(text: bytes) -> Plan:
    """Read a plan back.

    Raises:
        msgspec.DecodeError: it is no JSON, of another schema, not a plan, or one that makes no sense; everything that
            is wrong is told at once.
    """
    return convert(msgspec.json.decode(text))


def convert(content: Any) -> Plan:
    """A plan from what its JSON holds.

    Raises:
        msgspec.ValidationError: as `decode` does.
    """
    if not isinstance(content, dict):
        raise msgspec.ValidationError("a plan is an object")
    # Its version first: a plan of another version may have another shape.
    if content.get("schema") != SCHEMA:
        raise msgspec.ValidationError(f"schema {content.get('schema')!r}, expected {SCHEMA!r}")
    sound = dict(content)
    wrong = list(_misshapen(sound))
    try:
        plan = msgspec.convert(sound, Plan)
    except msgspec.ValidationError as error:
        wrong.append(str(error))
    else:
        wrong += problems(plan)
    if wrong:
        raise msgspec.ValidationError("; ".join(wrong))
    return plan


def _misshapen(content: dict[str, Any]) -> Iterator[str]:
    """The faults, steps and placed operations that are none; a harmless one takes the place of each in `content`."""
    scenario = content.get("scenario")
    if not isinstance(scenario, dict):
        return
    scenario = content["scenario"] = dict(scenario)
    yield from _each(scenario, "scenario.faults", "faults", FaultSpec, {"kind": "kill", "at_s": 0.0, "count": 1})
    load = scenario.get("load")
    if isinstance(load, dict):
        load = scenario["load"] = dict(load)
        yield from _each(load, "scenario.load.steps", "steps", Step, {"rate": 0.0, "seconds": 1e9})
        yield from _each(load, "scenario.load.placed", "placed", Placed, {"at_s": 0.0, "kind": ""})


def _each(home: dict[str, Any], where: str, key: str, kind: type[Value], harmless: dict[str, Any]) -> Iterator[str]:
    entries = home.get(key)
    if not isinstance(entries, list):
        return
    entries = home[key] = [*entries]
    for number, entry in enumerate(entries):
        try:
            msgspec.convert(entry, kind)
        except msgspec.ValidationError as error:
            named = f" ({entry['kind']!r})" if isinstance(entry, dict) and "kind" in entry else ""
            known = f", expected one of {', '.join(get_args(FaultKind))}" if str(error).endswith("`$.kind`") else ""
            yield f"{where}[{number}]{named}: {error}{known if kind is FaultSpec else ''}"
            entries[number] = harmless


_NEEDS_POOL: Final = frozenset({"probe-before", "load", "drain", "probe-after", "close"})

LONGEST_S: Final = 7 * 86_400.0
"""How long a load may last."""

MOST_SPREAD: Final = 5.0
"""The largest sigma of service times that means anything: by then they differ by factors of hundreds."""

MAX_OPERATIONS: Final = 20_000_000
"""The most that one plan may offer: what fits in the memory of a machine like ours."""


def problems(plan: Plan) -> list[str]:
    """Everything in a plan that makes no sense, each in a few words; none where it can be run."""
    scenario, found = plan.scenario, []
    load = scenario.load
    for number, step in enumerate(load.steps):
        where = f"scenario.load.steps[{number}]"
        if not (0 <= step.seconds < math.inf):
            found.append(f"{where}: seconds = {step.seconds:g}: expected a time of 0 or more")
        if any(not 0 <= rate < math.inf for rate in (step.rate, step.to or 0.0)):
            found.append(f"{where}: a rate below 0, or without end")
    for number, entry in enumerate(load.placed):
        if not (0 <= entry.at_s < math.inf and 0 <= entry.deadline_s < math.inf):
            found.append(
                f"scenario.load.placed[{number}]: at_s = {entry.at_s:g}, deadline_s = {entry.deadline_s:g}: "
                "expected times of 0 or more"
            )
    found += [
        f"scenario.load: {name} = {getattr(load, name):g}: expected a share between 0 and 1"
        for name in ("idempotent", "deadline_share")
        if not 0 <= getattr(load, name) <= 1
    ]
    if load.burst < 1 or load.sessions < 0 or load.deadline_s < 0:
        found.append("scenario.load: burst below 1, or sessions or deadline_s below 0")
    expected = sum(step.operations for step in load.steps) + len(load.placed)
    if not load.service_s and expected > MAX_OPERATIONS:
        found.append(
            f"scenario.load: about {expected:,.0f} operations, the most is {MAX_OPERATIONS:,}: lower the rate or the "
            "seconds"
        )
    if not load.steps:
        found.append("scenario.load: steps is empty: expected one or more")
    if not 0 <= load.warm_up <= MAX_OPERATIONS:
        found.append(f"scenario.load: warm_up = {load.warm_up}: expected a number of operations")
    if not 0 <= load.service_s < math.inf:
        found.append(f"scenario.load: service_s = {load.service_s:g}: expected a time of 0 or more")
    if load.seconds > LONGEST_S:
        found.append(f"scenario.load: it lasts {load.seconds:g} s, a week ({LONGEST_S:g} s) is the most")
    lasting = sum(spec.for_s for spec in scenario.faults)
    if lasting > plan.limits.max_fault_s:
        found.append(
            f"scenario.faults: they last {lasting:g} s together, limits.max_fault_s = {plan.limits.max_fault_s:g}"
        )
    if not 1 <= plan.workers <= plan.limits.max_processes:
        found.append(f"workers = {plan.workers}: expected 1 to limits.max_processes = {plan.limits.max_processes}")
    wrong = [name for name, value in msgspec.structs.asdict(plan.bounds).items() if not 0 < value < math.inf]
    found += [f"bounds: {name} is no time above 0" for name in wrong]
    if plan.layer not in (1, 2, 3):
        found.append(f"layer = {plan.layer}: expected 1, 2 or 3")
    if any(not 0 <= ms < math.inf for ms in plan.service_ms.values()):
        found.append("service_ms: expected times of 0 or more")
    if not 0 <= plan.service_spread <= MOST_SPREAD:
        found.append(f"service_spread = {plan.service_spread:g}: expected 0 to {MOST_SPREAD:g}")
    found += _out_of_order(scenario.stages)
    found += [f"scenario.examines: unknown promise {name!r}" for name in scenario.examines if name not in PROMISES]
    for number, spec in enumerate(scenario.faults):
        found += [f"scenario.faults[{number}] ({spec.kind}): {what}" for what in faulty(spec, plan.layer)]
        if spec.at_s > load.seconds:
            told = f"at_s = {spec.at_s:g}: the load is over after {load.seconds:g} s"
            found.append(f"scenario.faults[{number}] ({spec.kind}): {told}")
    found += _clashes(scenario.faults)
    return found


def _out_of_order(stages: tuple[Stage, ...]) -> Iterator[str]:
    """The stages for which no pool is open."""
    is_open = False
    if not stages:
        yield "scenario.stages is empty: expected one or more"
    for number, stage in enumerate(stages):
        if stage in _NEEDS_POOL and not is_open:
            yield f"scenario.stages[{number}]: {stage!r} needs a pool, and none is open: put 'open' before it"
        is_open = stage == "open" or (is_open and stage in _NEEDS_POOL and stage != "close")


def faulty(spec: FaultSpec, layer: int = 1) -> list[str]:
    """Everything in a fault by itself that makes no sense on a layer, each in a few words."""
    return list(_senseless(spec, layer))


def _senseless(spec: FaultSpec, layer: int) -> Iterator[str]:
    for name in ("at_s", "for_s", "amount", "patience_s", "count", "share"):
        if not 0 <= getattr(spec, name) < math.inf:
            yield f"{name} = {getattr(spec, name):g}: expected 0 or more"
    if spec.target not in TARGETS[spec.kind]:
        yield f"target = {spec.target}: expected {' or '.join(TARGETS[spec.kind])}"
    if spec.target == "worker" and bool(spec.count) == bool(spec.share):
        yield "expected either a count or a share of the workers"
    if spec.share > 1:
        yield f"share = {spec.share:g}: expected at most 1"
    if spec.kind in LASTING and not spec.for_s:
        yield "for_s is missing: it would be over when it begins"
    if spec.kind not in LASTING and spec.for_s:
        yield f"for_s = {spec.for_s:g}: it is done at once, and does not last"
    if spec.kind in ON_FRAMES and not 0 < spec.amount <= 1:
        yield f"amount = {spec.amount:g}: expected a share of the frames above 0"
    if spec.kind in ("delay", "slow-start", "jump-clock") and not spec.amount:
        yield "amount is missing: expected seconds"
    if spec.kind == "slow" and spec.amount <= 1:
        yield f"amount = {spec.amount:g}: expected a factor above 1"
    if layer == 1 and spec.target == "parent":
        yield "layer 1 simulates no process that the pool is in: use layer 2 or 3"
    if layer in (2, 3) and (spec.kind not in REAL or spec.target not in ("worker", "parent")):
        yield f"only layer 1 can do that to the {spec.target}, and this is a plan for layer {layer}"
    if layer in (2, 3) and spec.coincide not in ("in-flight", "idle"):
        yield f"coincide = {spec.coincide}: only layer 1 can see that, and this is a plan for layer {layer}"


def _clashes(faults: tuple[FaultSpec, ...]) -> Iterator[str]:
    """Windows that overlap though only one of them can be in effect: what becomes of a worker that is started."""
    starts = [(number, spec) for number, spec in enumerate(faults) if spec.kind in ON_STARTS]
    for (first, one), (second, other) in combinations(starts, 2):
        if one.at_s < other.at_s + other.for_s and other.at_s < one.at_s + one.for_s:
            yield (
                f"scenario.faults[{first}] ({one.kind}) and scenario.faults[{second}] ({other.kind}) overlap: a worker "
                "can be started in one way only"
            )
