"""Pools that tests ask for by name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from poolproof.plan import FaultSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A pool that shows one thing.

    Attributes:
        workers: how many.
        options: what the factory of `sessionpool` is given by name, on every layer.
        real: what it is given besides on layers 2 and 3.
        simulated: what befalls the pool on layer 1 from the beginning, in its place.
        starts: whether its workers ever get ready.
    """

    workers: int
    options: Mapping[str, Any] = field(default_factory=dict)
    real: Mapping[str, Any] = field(default_factory=dict)
    simulated: tuple[FaultSpec, ...] = ()
    starts: bool = True


# A reference to a function of this room would have each worker import it, with numpy and all, before it fails.
_REFUSES: Final = {
    "initializer": exec,
    "initargs": ("raise RuntimeError(\"workers of the preset 'failing-to-start' do not start\")",),
}
_QUICK_FAILURE: Final = {"max_failures": 3, "backoff_s": 0.01, "max_backoff_s": 0.05}
_LONG_S: Final = 3000.0

PRESETS: Final[Mapping[str, Preset]] = {
    "small": Preset(workers=2),
    "sticky": Preset(workers=3, options={"affinity": "strict"}),
    "saturating": Preset(workers=2, options={"max_queue": 4}),
    "growing": Preset(workers=4, options={"min_workers": 1, "grow_s": 0.02, "shrink_s": 0.2}),
    "failing-to-start": Preset(
        workers=2,
        options=_QUICK_FAILURE,
        real=_REFUSES,
        simulated=(FaultSpec(kind="fail-start", at_s=0.0, target="pool", for_s=_LONG_S),),
        starts=False,
    ),
}
"""Two workers; sessions that never leave theirs; a queue of four; one worker that may become four; none that starts."""
