"""poolproof proves worker pools: real load, real faults, and a record that is judged afterwards.

The names here are imported when they are first used: workers import `poolproof.probe`, and must stay light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from poolproof.config import load_config
    from poolproof.experiment import Proof, judge_folder, prove
    from poolproof.plan import Claim, Claims, Kind, Operation, Workload
    from poolproof.pools import Pool

__all__ = [
    "Claim",
    "Claims",
    "Kind",
    "Operation",
    "Pool",
    "Proof",
    "Workload",
    "judge_folder",
    "load_config",
    "prove",
]

_HOMES = {
    "poolproof.config": ("load_config",),
    "poolproof.experiment": ("Proof", "judge_folder", "prove"),
    "poolproof.plan": ("Claim", "Claims", "Kind", "Operation", "Workload"),
    "poolproof.pools": ("Pool",),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module 'poolproof' has no attribute {name!r}")
