"""The standard set: what every pool is measured at, each benchmark by its name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from poolproof.errors import UsageError
from poolproof.performance.bench import Bench, Measured
from poolproof.performance.scenarios import failures, mixed, ramp_up, spike, sustained
from poolproof.performance.singles import affinity, initialisation, latency, scaling, throughput


@dataclass(frozen=True, slots=True, kw_only=True)
class Standard:
    """One benchmark of the set.

    Attributes:
        of: the targets that can be measured at it; none for all.
    """

    name: str
    description: str
    measure: Callable[[Bench], Measured]
    of: tuple[str, ...] = ()

    def unfit(self, target: object) -> str:
        """Why a target can't be measured at it; empty where it can."""
        if not self.of or target in self.of:
            return ""
        return f"{self.name}: only {', '.join(self.of)}, of the pools that are bundled, can be told how small it may be"


STANDARD: Final[dict[str, Standard]] = {
    name: Standard(
        name=name,
        description=(measure.__doc__ or "").strip(),
        measure=measure,
        of=("sessionpool",) if measure is scaling else (),
    )
    for name, measure in {
        "latency": latency,
        "throughput": throughput,
        "initialisation": initialisation,
        "affinity": affinity,
        "scaling": scaling,
        "ramp": ramp_up,
        "sustained": sustained,
        "spike": spike,
        "mixed": mixed,
        "failures": failures,
    }.items()
}
"""Every benchmark of the set, in the order in which they are run."""

SCENARIOS: Final = ("ramp", "sustained", "spike", "mixed", "failures")
"""Those that are load scenarios."""


def find_standard(names: tuple[str, ...], target: object) -> tuple[Standard, ...]:
    """The named benchmarks, in their own order; or all at which a target can be measured.

    Raises:
        UsageError: there is none of such a name, or the target can't be measured at one that is named.
    """
    unknown = [name for name in names if name not in STANDARD]
    if unknown:
        raise UsageError(f"unknown benchmark {unknown[0]!r}: name one of {', '.join(STANDARD)}")
    for name in names:
        if why := STANDARD[name].unfit(target):
            raise UsageError(why)
    return tuple(it for name, it in STANDARD.items() if name in names or (not names and not it.unfit(target)))
