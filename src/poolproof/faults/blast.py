"""The blast radius: how much a fault may harm; refused beyond it, before anything is harmed."""

import math

from poolproof.errors import BlastRadiusError
from poolproof.plan import FaultSpec, Limits


def victims_wanted(spec: FaultSpec, live: int, limits: Limits) -> int:
    """How many of `live` workers a fault is to harm: its count, or its share.

    A share is rounded up, or down where it is the rounding alone that would exceed the limits (60 % of two workers).

    Raises:
        BlastRadiusError: that would be more than the limits allow.
    """
    wanted = math.ceil(spec.share * live - 1e-9) if spec.share else spec.count
    if spec.share and _exceeds(wanted, live, limits) and not _exceeds(math.floor(spec.share * live), live, limits):
        wanted = math.floor(spec.share * live)
    if wanted > limits.max_share * live + 1e-9:
        raise BlastRadiusError(
            f"{spec.describe()}: {wanted} of {live} workers are more than limits.max_share = {limits.max_share:g}; "
            "lower the share or raise the limit"
        )
    if live - wanted < limits.min_survivors:
        raise BlastRadiusError(
            f"{spec.describe()}: {live - wanted} of {live} workers would survive, limits.min_survivors = "
            f"{limits.min_survivors}; lower the count or the limit"
        )
    return wanted


def _exceeds(wanted: int, live: int, limits: Limits) -> bool:
    return wanted > limits.max_share * live + 1e-9 or live - wanted < limits.min_survivors


def check_plan(faults: tuple[FaultSpec, ...], workers: int, limits: Limits) -> None:
    """Refuse a plan whose faults go beyond the limits, were all its workers alive.

    Raises:
        BlastRadiusError: with the first fault that does.
    """
    for spec in faults:
        if spec.target == "worker":
            victims_wanted(spec, workers, limits)
    total = sum(spec.for_s for spec in faults)
    if total > limits.max_fault_s:
        raise BlastRadiusError(
            f"the faults last {total:g} s together, limits.max_fault_s = {limits.max_fault_s:g}; shorten them"
        )
