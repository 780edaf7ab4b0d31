"""What a comparison found, as it is returned, shown and written: schema `poolproof/regress-1`."""

from typing import Final, Literal

import msgspec

SCHEMA: Final = "poolproof/regress-1"

Verdict = Literal["pass", "regressed", "inconclusive"]


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """One side: the revision as it was asked for, the commit that it is, and the file that the target came from."""

    revision: str
    commit: str
    file: str


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """One metric.

    Attributes:
        metric: its name; what: in words; unit: of `base`, `head` and `floor`.
        better: which figures are better.
        verdict: None where it is not judged, because neither side has it; `why` says why.
        margin: the share by which it may get worse.
        floor: a smaller change is none.
        pairs: how many pairs it was judged by.
        base: the median of the base's figures.
        head: the median of the head's.
        ratio: head to base, the centre of what the pairs say.
        low: the lower end of its 95 % interval.
        high: the upper end.
        noise: the share by which a side differed from itself, the further end of the 95 % interval of the control arm.
        p_worse: of the test that it is worse by more than the margin or floor.
        p_within: of the test that it is worse by less.
        p_control: of the test that a side equals itself within it.
        why: what stood in the way of another verdict; empty where nothing did.
    """

    metric: str
    what: str
    unit: str
    better: Literal["lower", "higher"]
    verdict: Verdict | None
    margin: float
    floor: float
    pairs: int
    base: float | None = None
    head: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    noise: float | None = None
    p_worse: float | None = None
    p_within: float | None = None
    p_control: float | None = None
    why: str = ""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Head against base.

    Attributes:
        verdict: `regressed` if any metric is, else `inconclusive` if any is, else `pass`.
        target: what was measured, as `module:factory`.
        base: what it was before.
        head: what it is now.
        metrics: each metric, in the order of the margins.
        pairs: how many pairs of rounds were taken.
        seconds: how long the rounds took; the builds came before.
        notes: what should be known beside the figures.
        environment: the machine.
        schema: of this object as JSON.
    """

    verdict: Verdict
    target: str
    base: Build
    head: Build
    metrics: tuple[Judgement, ...]
    pairs: int
    seconds: float
    notes: tuple[str, ...] = ()
    environment: dict[str, str] = {}
    schema: str = SCHEMA


def overall(metrics: tuple[Judgement, ...]) -> Verdict:
    """The verdict over all metrics; where none could be judged, nothing can be told."""
    found = {it.verdict for it in metrics}
    if "regressed" in found:
        return "regressed"
    return "pass" if found <= {"pass", None} and "pass" in found else "inconclusive"
