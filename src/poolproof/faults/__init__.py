"""Real faults: each a harm with an undo record, a proof of its effect, and limits that are checked before it."""

from typing import Final

from poolproof.faults.blast import check_plan, victims_wanted
from poolproof.faults.hunt import resume, stop_parent, stop_workers
from poolproof.faults.kill import Kill
from poolproof.faults.means import Means, examine
from poolproof.faults.protocol import Fault, Ledger, Proof, Victim
from poolproof.faults.stall import Stall

__all__ = [
    "FAULTS",
    "Fault",
    "Ledger",
    "Means",
    "Proof",
    "Victim",
    "check_plan",
    "examine",
    "resume",
    "stop_parent",
    "stop_workers",
    "victims_wanted",
]

FAULTS: Final[dict[str, Fault]] = {"kill": Kill(), "stall": Stall()}
"""Every fault that can be injected, by the kind that a plan names."""
