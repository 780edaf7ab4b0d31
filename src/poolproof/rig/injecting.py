"""Failures of workers, from a test, in one call."""

from typing import Literal

from poolproof.errors import UsageError
from poolproof.plan import LASTING, Coincidence, FaultKind, FaultSpec, faulty
from poolproof.rig.failure import Failure
from poolproof.rig.rig import Rig


def inject_worker_failure(
    pool: Rig,
    kind: FaultKind = "kill",
    *,
    count: int = 0,
    share: float = 0.0,
    coincide: Coincidence = "in-flight",
    for_s: float = 0.0,
    amount: float = 0.0,
    toward: Literal["worker", "pool", "both"] = "both",
    patience_s: float = 1.5,
    seed: int = 0,
) -> Failure:
    """Harm workers of a pool, once they do what the fault has to coincide with.

    It returns when the harm is done and proven, or in effect where it lasts. Where no worker was found that coincides,
    the failure says so: `effective` is False, and nobody was harmed.

    Args:
        pool: the rig.
        kind: `kill`, `stall`; on layer 1 also what befalls a worker there (`slow`, `disconnect`, `partition`, …).
        count: how many workers; one, where neither this nor a share is said.
        share: of the living workers.
        coincide: what they must be found doing: operations `in-flight`, or nothing (`idle`).
        for_s: how long it lasts, where it can be undone; `Failure.heal` undoes it before.
        amount: how much of it, see `plan.FaultKind`.
        toward: which direction of a wire.
        patience_s: for how long victims are looked for.
        seed: by which they are chosen.

    Raises:
        UsageError: it makes no sense on this layer; all that is wrong is told.
        BlastRadiusError: it would harm more than the limits of the configuration allow; nothing was harmed.
    """
    spec = FaultSpec(
        kind=kind,
        at_s=0.0,
        count=0 if share else count or 1,
        share=share,
        for_s=for_s or (1.0 if kind in LASTING else 0.0),
        amount=amount,
        toward=toward,
        coincide=coincide,
        patience_s=patience_s,
    )
    if wrong := faulty(spec, pool.layer):
        raise UsageError(f"inject_worker_failure: {'; '.join(wrong)}")
    return pool.inject(spec, seed=seed)
