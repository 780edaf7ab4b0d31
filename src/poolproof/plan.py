"""What shall happen, as plain values: operations, workloads, load, faults, scenarios and plans. Nothing here acts."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from poolproof.probe import Call

SCHEMA: Final = "poolproof/plan-1"

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
    """

    kinds: Mapping[str, Kind]
    setup: Callable[[], None] | None = None
    modules: tuple[str, ...] = ()


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
    """

    promises: dict[str, Claim] = {}
    errors: tuple[str, ...] = ()
    overload: tuple[str, ...] = ()
    detection_s: float = 1.0
    in_process: bool = False

    def made(self, promise: str) -> Made:
        """How this pool stands to a promise."""
        if promise in self.promises:
            return self.promises[promise].made
        return "implied" if promise in IMPLIED else "undeclared"


# --- load -------------------------------------------------------------------------------------------------------


class Step(Value, frozen=True, kw_only=True):
    """A rate held for a while, operations a second or multiples of the pool's capacity; a rate of 0 is a pause."""

    rate: float
    seconds: float


class Placed(Value, frozen=True, kw_only=True):
    """One operation of a certain kind at a certain moment, beside the mix; `deadline_s` after it is due, 0 for none."""

    at_s: float
    kind: str
    deadline_s: float = 0.0


class Load(Value, frozen=True, kw_only=True):
    """Open-loop load: operations are due when the schedule says, whatever became of the earlier ones.

    Attributes:
        steps: the rates, one after the other; a single step is constant load.
        service_s: what one operation occupies a worker for. Where it is given, rates are multiples of the pool's
            capacity (as many a second as it was seen to do at once, divided by this); else operations a second.
        arrivals: evenly spaced, or a Poisson process of the same rate.
        sessions: how many sessions the operations are spread over; 0 for none.
        burst: how many operations of one session are due at once.
        deadline_s: within what time of being due the operations of the mix must have ended; 0 for no deadline.
        placed: single operations of the workload, or of the kit's awkward one.
        warm_up: operations that are sent and drained before the measured window.
    """

    steps: tuple[Step, ...]
    service_s: float = 0.0
    arrivals: Literal["constant", "poisson"] = "poisson"
    sessions: int = 0
    burst: int = 1
    deadline_s: float = 0.0
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
        steps = tuple(Step(rate=step.rate * per_s, seconds=step.seconds) for step in self.steps)
        return msgspec.structs.replace(self, steps=steps, service_s=0.0)


# --- faults -----------------------------------------------------------------------------------------------------


class FaultSpec(Value, frozen=True, kw_only=True):
    """A harm to be done: what, to whom, when, and what it must meet to prove anything.

    Attributes:
        kind: `kill` or `stall`.
        target: `worker`, chosen among the incarnations with probe records, or `parent`, the pool's own process.
        count: how many workers; alternative to `share`.
        share: what share of the live workers, rounded up.
        at_s: when, after the start of the measured window.
        for_s: how long it lasts, where it can be undone.
        coincide: what the victims must be found doing: `in-flight` operations, or `idle`.
        patience_s: for how long victims that coincide are looked for.
    """

    kind: Literal["kill", "stall"]
    at_s: float
    target: Literal["worker", "parent"] = "worker"
    count: int = 0
    share: float = 0.0
    for_s: float = 0.0
    coincide: Literal["in-flight", "idle"] = "in-flight"
    patience_s: float = 1.5

    def describe(self) -> str:
        """The fault in a few words."""
        whom = (
            "the pool's own process"
            if self.target == "parent"
            else f"{self.share:.0%} of the workers"
            if self.share
            else f"{self.count} worker{'s' if self.count != 1 else ''}"
        )
        lasting = f" for {self.for_s:g} s" if self.for_s else ""
        return f"{self.kind} {whom} ({self.coincide}) at {self.at_s:g} s{lasting}"


# --- the whole --------------------------------------------------------------------------------------------------

STARTS: Final = 2
"""How many times the observed start of a pool is waited for, on top of every bound within which a worker may start."""

CYCLES: Final = 3
"""How often the stage `cycles` opens and closes the pool again after the first, uncounted time."""

Stage = Literal[
    "cycles", "open", "probe-before", "load", "drain", "probe-after", "close", "close-loaded", "close-cancelling"
]


class Scenario(Value, frozen=True, kw_only=True):
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
    """

    schema: str = SCHEMA
    target: Target
    workload: str
    scenario: Scenario
    layer: int
    workers: int
    seed: int
    service_ms: dict[str, float] = {}
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


def encode(plan: Plan) -> bytes:
    """The plan as JSON, for its run folder."""
    return msgspec.json.format(msgspec.json.encode(plan), indent=2)


def decode(text: bytes) -> Plan:
    """Read a plan back.

    Raises:
        msgspec.ValidationError: it is of another schema, or not a plan.
    """
    plan = msgspec.json.decode(text, type=Plan)
    if plan.schema != SCHEMA:
        raise msgspec.ValidationError(f"schema {plan.schema!r}, expected {SCHEMA!r}")
    return plan
