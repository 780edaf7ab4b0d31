"""Faults as plain values: what, to whom, when, and what they must meet to prove anything."""

import math
from collections.abc import Iterator
from itertools import combinations
from typing import Final, Literal

from poolproof.plan.value import Value

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


def clashes(faults: tuple[FaultSpec, ...]) -> Iterator[str]:
    """Windows that overlap though only one of them can be in effect: what becomes of a worker that is started."""
    starts = [(number, spec) for number, spec in enumerate(faults) if spec.kind in ON_STARTS]
    for (first, one), (second, other) in combinations(starts, 2):
        if one.at_s < other.at_s + other.for_s and other.at_s < one.at_s + one.for_s:
            yield (
                f"scenario.faults[{first}] ({one.kind}) and scenario.faults[{second}] ({other.kind}) overlap: a worker "
                "can be started in one way only"
            )
