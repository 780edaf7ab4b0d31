"""Proofs to be reported: each of one scenario that examined one promise that counts."""

from poolproof.checks import Verdict
from poolproof.experiment import Proof, combine
from tests.unit.histories import KILL, WORKER, Story, promised


def proof(verdict: Verdict = "broken", *, faults: bool = True, target: str = "some-pool") -> Proof:
    """A proof with that verdict, perhaps with a fault."""
    story = Story.of(
        *((KILL,) if faults else ()),
        claims=promised("restores-capacity"),
        examines=("restores-capacity",),
        target=target,
    )
    if faults:
        story.fails(0.9, by=WORKER, ended=False).struck(WORKER, 1.0, held=(0,))
    story.ops(20, 0.1).capacity(4, {"kept": 4, "broken": 2, "unknown": None}[verdict])
    return combine([(story.history(), "")])
