"""Results: what one benchmark measured on one machine at one commit, as values; no clock, no file."""

from typing import Final, Literal

import msgspec

RESULT_SCHEMA: Final = "poolproof/bench-1"

Better = Literal["lower", "higher"]


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of a benchmark.

    Attributes:
        name: what was measured, in words; the same in every result, for a history goes by it.
        value: in `unit`; None where it could not be told, and `note` says why.
        better: the direction in which it improves.
    """

    name: str
    value: float | None
    unit: str
    better: Better
    note: str = ""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one benchmark measured; also the JSON of `poolproof/bench-1`.

    Attributes:
        target: the pool, as the user named it.
        workers: how many it had.
        is_full: measured at full length, not shortened to be quick; the two are not compared.
        at: when, in ISO 8601 and UTC.
        commit: what was checked out, in full; empty where it could not be told.
        is_dirty: whether tracked files differed from that commit.
        machine: its description, as `machine.describe` gives it.
        fingerprint: which machines' figures may be compared, as `machine.fingerprint` gives it.
        histograms: by name, times in ns as HdrHistogram V2, base64.
        notes: what a reader of the figures has to know.
    """

    schema: Literal["poolproof/bench-1"] = RESULT_SCHEMA
    benchmark: str
    target: str
    layer: int
    workers: int
    is_full: bool
    at: str
    commit: str
    is_dirty: bool
    machine: dict[str, str]
    fingerprint: str
    figures: tuple[Figure, ...]
    histograms: dict[str, str] = {}
    notes: tuple[str, ...] = ()
