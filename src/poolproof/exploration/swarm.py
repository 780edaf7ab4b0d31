"""Random plans from a seed, swarm style: each run has a random subset of what could be in it.

A run with everything in it rarely reaches what needs one thing and the absence of another; many runs, each with a few
things, do (Groce and others, Swarm Testing, ISSTA 2012).
"""

import random
from collections.abc import Callable
from typing import Any, Final

from poolproof.plan import (
    ON_AFFINITY,
    ON_FRAMES,
    ON_STARTS,
    Bounds,
    FaultSpec,
    Limits,
    Load,
    Plan,
    Scenario,
    Stage,
    Step,
    Target,
)

_WHOLE: Final[tuple[Stage, ...]] = ("open", "probe-before", "load", "drain", "probe-after", "close")
_CLOSING: Final[tuple[tuple[Stage, ...], ...]] = (
    ("open", "load", "close"),
    ("close-loaded", "close-cancelling"),
)

_ALWAYS: Final = (
    "resolves-every-operation",
    "runs-at-most-once",
    "returns-the-right-result",
    "types-every-error",
    "closes-cleanly",
    "leaves-nothing-behind",
)

BOUNDS: Final = Bounds(open_s=20.0, close_s=8.0, drain_s=3.0, rendezvous_s=0.8, outlive_s=2.0, total_s=90.0)
LIMITS: Final = Limits(max_share=0.8, min_survivors=1, max_fault_s=60.0, max_processes=256)
"""What bounds the plans: a close may take longer than a worker that never hears of it is waited for."""

MOST_FAULTS: Final = 6

_HOLDING_BACK: Final = frozenset(
    {"stall", "slow", "partition", "delay", "truncate", "duplicate", "corrupt", "jump-clock"}
)
"""What makes an operation wait in a worker's hands, where no pool could let it go first."""

LONG_MS: Final = 50.0
"""Operations that take longer do not vary much: some of them would take longer than any bound."""

SHORT_S: Final = 0.25
"""A clock that jumps further has passed deadlines by more than anyone could have honoured them."""

Draw = Callable[[random.Random, float], dict[str, Any]]


def _at(chance: random.Random, window_s: float) -> float:
    return round(chance.uniform(0.05, 0.85) * window_s, 3)


def _lasting(chance: random.Random, window_s: float) -> float:
    return round(chance.choice((0.05, 0.2, 0.6)) * window_s * chance.uniform(0.5, 1.5), 3)


def _worker(chance: random.Random) -> dict[str, Any]:
    return {"count": 1} if chance.random() < 0.7 else {"share": round(chance.uniform(0.3, 0.8), 2)}


def _kill(chance: random.Random, window_s: float) -> dict[str, Any]:
    return _worker(chance) | {"coincide": chance.choice(("in-flight", "idle", "sent", "answered", "starting", "any"))}


def _stall(chance: random.Random, window_s: float) -> dict[str, Any]:
    long = round(chance.uniform(1.2, 2.5), 3)
    return _worker(chance) | {
        "for_s": long if chance.random() < 0.4 else _lasting(chance, window_s),
        "coincide": chance.choice(("in-flight", "idle", "any")),
    }


def _slow(chance: random.Random, window_s: float) -> dict[str, Any]:
    return _worker(chance) | {"for_s": _lasting(chance, window_s), "amount": float(chance.choice((2, 5, 20)))}


def _wire(chance: random.Random, window_s: float) -> dict[str, Any]:
    return {
        "count": 1,
        "for_s": _lasting(chance, window_s),
        "toward": chance.choice(("worker", "pool", "both")),
        "coincide": "any",
    }


def _frames(chance: random.Random, window_s: float) -> dict[str, Any]:
    return _wire(chance, window_s) | {"amount": chance.choice((0.1, 0.5, 1.0))}


def _partition(chance: random.Random, window_s: float) -> dict[str, Any]:
    long = round(chance.uniform(1.5, 3.0), 3)
    return _wire(chance, window_s) | ({"for_s": long} if chance.random() < 0.5 else {})


def _delay(chance: random.Random, window_s: float) -> dict[str, Any]:
    wire = _wire(chance, window_s) | {"amount": chance.choice((0.0005, 0.005, 0.05))}
    return wire | ({"count": 0, "share": 0.8} if chance.random() < 0.5 else {})


def _cut(chance: random.Random, window_s: float) -> dict[str, Any]:
    return {"count": 1, "coincide": chance.choice(("in-flight", "in-flight", "idle"))}


def _sessions(chance: random.Random, window_s: float) -> dict[str, Any]:
    return {"target": "pool", "count": chance.choice((1, 2, 4))}


def _starts(chance: random.Random, window_s: float) -> dict[str, Any]:
    for_good = round(chance.uniform(3.0, 6.0), 3)
    return {"target": "pool", "for_s": for_good if chance.random() < 0.25 else _lasting(chance, window_s)}


_FAULTS: Final[dict[str, Draw]] = {
    "kill": _kill,
    "kill-forkserver": lambda chance, window_s: {"kind": "kill", "target": "forkserver"},
    "stall": _stall,
    "slow": _slow,
    "disconnect": _cut,
    "partition": _partition,
    "delay": _delay,
    **dict.fromkeys(sorted(ON_FRAMES), _frames),
    "lose-states": lambda chance, window_s: {"count": 1, "coincide": "any"},
    **dict.fromkeys(sorted(ON_AFFINITY), _sessions),
    **dict.fromkeys(sorted(ON_STARTS - {"slow-start"}), _starts),
    "slow-start": lambda chance, window_s: _starts(chance, window_s) | {"amount": chance.choice((0.05, 0.5))},
    "jump-clock": lambda chance, window_s: {"target": "pool", "amount": chance.choice((0.1, 1.5, 30.0))},
}


def random_plan(target: Target, seed: int, *, layer: int = 1) -> Plan:
    """One plan, whole: its load, its faults, how the pool is made, and the promises that it examines."""
    chance = random.Random(f"poolproof swarm {seed}")
    workers = chance.choice((1, 2, 2, 3, 4))
    window_s = chance.choice((0.6, 1.5, 3.0)) if layer == 1 else 3.0
    stages = _WHOLE if chance.random() < 0.75 else chance.choice(_CLOSING)
    faults = _faults(chance, window_s, real=layer != 1) if "load" in stages else ()
    if "drain" not in stages:  # a close is bounded by the very clock that would jump
        faults = tuple(spec for spec in faults if spec.kind != "jump-clock")
    options = _options(chance, workers, faults) if layer == 1 else {}
    service_ms = chance.choice((0.05, 0.2, 2.0, 10.0, 50.0, 200.0)) if layer == 1 else 10.0
    load = _load(chance, workers, window_s, service_ms, options)
    scenario = Scenario(
        name=f"explored-{seed}",
        summary="drawn at random",
        stages=stages,
        examines=examined(stages, options, load, faults),
        load=load,
        faults=faults,
    )
    return Plan(
        target=target,
        workload="scripted",
        scenario=scenario,
        layer=layer,
        workers=workers,
        seed=seed,
        service_ms={"predict": service_ms, "batch": service_ms * (5 if service_ms > 1 else chance.choice((5, 400)))},
        service_spread=chance.choice((0.0, 0.3, 1.0) if service_ms < LONG_MS else (0.0, 0.3)),
        options=options,
        bounds=BOUNDS,
        limits=LIMITS,
    )


_CRASH_LOOPS: Final = 0.1
"""The share of the plans in which workers die and cannot be started anew for a while, and nothing else is wrong."""

_SHORT_LOOP_S: Final = 1.0
"""How long a pool that has workers left may be unable to start others, and be whole again soon after."""

_OVERFULL: Final = 10
"""How many times as much as may wait must come at the height of a load, for it to show what a full queue does."""

_NOT_BOUNDED: Final = frozenset({"min_workers", "operations", "age_s"})
"""Options with which a full queue says nothing of how much there is to do."""

_OFTEN: Final = {"stop_s": 0.8, "stall_s": 0.4}
"""Options without which a state is rarely reached."""


def _options(chance: random.Random, workers: int, faults: tuple[FaultSpec, ...]) -> dict[str, Any]:
    """How the pool is made; each of these in some runs only.

    What would make it refuse operations that are not too many, as its documentation says it does, is not drawn with a
    bounded queue: a pool that begins smaller, workers that are replaced, and sessions, which wait beside idle workers.
    """
    drawn: dict[str, Any] = {"affinity": chance.choice(("restart", "restart", "strict", "hint"))}
    maybe: dict[str, Callable[[], Any]] = {
        "max_queue": lambda: chance.choice((1, 3, 10)),
        "min_workers": lambda: chance.randint(1, workers),
        "ttl_s": lambda: chance.choice((0.05, 0.3)),
        "operations": lambda: chance.choice((3, 10)),
        "age_s": lambda: chance.choice((0.2, 1.0)),
        "stall_s": lambda: chance.choice((0.3, 1.0)),
        "start_s": lambda: chance.choice((0.1, 1.0)),
        "stop_s": lambda: chance.choice((0.05, 0.5)),
        "shrink_s": lambda: chance.choice((0.05, 0.2)),
        "max_retries": lambda: chance.choice((0, 1)),
    }
    for name, draw in maybe.items():
        if chance.random() < _OFTEN.get(name, 0.2):
            drawn[name] = draw()
    if drawn["affinity"] == "strict":
        drawn.pop("ttl_s", None)  # a strict session that has expired refuses all that comes, as documented
    if "shrink_s" in drawn:
        drawn["min_workers"] = 1
    if "max_queue" in drawn:
        drawn = {name: value for name, value in drawn.items() if name not in _NOT_BOUNDED}
    if any(spec.kind == "hang-start" for spec in faults):
        drawn.setdefault("start_s", 0.3)  # a minute by default, which is longer than anybody waits here
    return drawn


def _load(chance: random.Random, workers: int, window_s: float, service_ms: float, options: dict[str, Any]) -> Load:
    capacity = workers / (service_ms * 1.4 / 1000)
    rate = min(chance.choice((0.1, 0.4, 0.8)) * capacity, 200.0)
    steps: tuple[Step, ...] = (Step(rate=round(rate, 1), seconds=window_s),)
    if chance.random() < 0.25:
        high = min(4 * capacity, 1500.0)
        steps = (
            Step(rate=round(rate, 1), seconds=0.3 * window_s),
            Step(rate=round(high, 1), seconds=0.2 * window_s),
            Step(rate=round(rate, 1), seconds=0.5 * window_s),
        )
    return Load(
        steps=steps,
        arrivals=chance.choice(("poisson", "constant")),
        sessions=chance.choice((0, 1, 2, 6)) if options and "max_queue" not in options else 0,
        burst=chance.choice((1, 1, 3, 12) if service_ms > 1 else (1, 3, 12, 60)),
        # A worker that is ended for a deadline takes its strict sessions with it.
        deadline_s=chance.choice((0.0, 0.0, 0.03, 0.3)) if options.get("affinity") in ("restart", "hint") else 0.0,
        deadline_share=chance.choice((1.0, 1.0, 0.3)),
        idempotent=chance.choice((0.0, 0.0, 0.5, 1.0)),
        warm_up=2,
    )


def _faults(chance: random.Random, window_s: float, *, real: bool) -> tuple[FaultSpec, ...]:
    """A few, of kinds that are drawn first."""
    names = ["kill", "stall"] if real else sorted(_FAULTS)
    enabled = chance.sample(names, k=min(len(names), chance.choice((1, 2, 3, 5))))
    if not real and chance.random() < _CRASH_LOOPS:
        enabled = ["kill", chance.choice(("refuse-start", "fail-start"))]
    faults: list[FaultSpec] = []
    for _ in range(chance.randint(0, MOST_FAULTS)):
        name = chance.choice(enabled)
        drawn: dict[str, Any] = {"kind": name} | _FAULTS[name](chance, window_s)
        if real:
            drawn |= {"coincide": "in-flight"}
        spec = FaultSpec(at_s=_at(chance, window_s), **drawn)
        if spec.kind not in ON_STARTS or not any(it.kind in ON_STARTS and _overlap(it, spec) for it in faults):
            faults.append(spec)
    return tuple(sorted(faults, key=lambda spec: spec.at_s))


def _overlap(one: FaultSpec, other: FaultSpec) -> bool:
    return one.at_s < other.at_s + other.for_s and other.at_s < one.at_s + one.for_s


def _has_sessions(load: Load) -> bool:
    return bool(load.sessions) or any(entry.session >= 0 for entry in load.placed)


def _has_deadlines(load: Load) -> bool:
    return bool(load.deadline_s) or any(entry.deadline_s for entry in load.placed)


def is_fair(plan: Plan) -> bool:
    """Whether a plan asks of a pool nothing that its documentation does not promise: the rules that plans are drawn by.

    A plan that is made smaller must stay among them, or its failure would be no fault of the pool's.
    """
    stages, options, load = plan.scenario.stages, plan.options, plan.scenario.load
    kinds = {spec.kind for spec in plan.scenario.faults}
    is_strict = options.get("affinity", "restart") == "strict"
    return not (
        ("hang-start" in kinds and "start_s" not in options)
        or ("jump-clock" in kinds and "drain" not in stages)
        or ("probe-after" in stages and not {"probe-before", "load", "drain"} <= set(stages))
        or (is_strict and ("ttl_s" in options or _has_deadlines(load)))
        or ("max_queue" in options and (options.keys() & _NOT_BOUNDED or _has_sessions(load)))
    )


def examined(
    stages: tuple[Stage, ...], options: dict[str, Any], load: Load, faults: tuple[FaultSpec, ...]
) -> tuple[str, ...]:
    """The promises that such a run can tell something of.

    A pool that can't start workers, once it has lost all of them, gives up, and says so: what it promises of survival
    does not hold there. Nor does stickiness where a session is only preferred to stay, or is meant to end.
    """
    kinds = {spec.kind for spec in faults}
    examined = list(_ALWAYS)
    starts = [spec for spec in faults if spec.kind in ON_STARTS - {"slow-start"}]
    is_hopeless = bool(starts) and not (
        kinds <= {"kill", "refuse-start", "fail-start"}
        and all(spec.target != "forkserver" for spec in faults)
        and sum(spec.kind == "kill" for spec in faults) <= 1  # the limits leave one alive at each, and not of all
        and all(spec.for_s <= _SHORT_LOOP_S for spec in starts)
        and not options.keys() & {"operations", "age_s", "shrink_s"}
        and not _has_deadlines(load)
    )
    is_hopeless |= "start_s" in options and bool(kinds & {"slow-start", "jump-clock"})
    if kinds and not is_hopeless:
        examined.append("contains-the-blast")
        examined += ["restores-capacity"] * ("probe-after" in stages)
        if "kill" in kinds:
            examined.append("survives-worker-death")
    if "load" not in stages:
        return tuple(examined)
    if _has_sessions(load):
        examined += ["isolates-sessions", "keeps-session-order"]
        is_kept = options.get("affinity") != "hint" and not options.keys() & {"ttl_s", "operations", "age_s"}
        examined += ["keeps-sessions-sticky"] * is_kept
    elif not _has_deadlines(load) and not kinds & _HOLDING_BACK:
        examined.append("serves-fairly")
    if _has_deadlines(load) and not any(spec.kind == "jump-clock" and spec.amount > SHORT_S for spec in faults):
        examined.append("honours-deadlines")
    height = max(step.operations for step in load.steps)
    if "max_queue" in options and not faults and height > _OVERFULL * options["max_queue"]:
        examined.append("sheds-overload")
    return tuple(examined)
