"""Verdicts, how they combine, and the evidence that goes with them."""

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

Verdict = Literal["kept", "unknown", "broken"]
ORDER: Final[tuple[Verdict, ...]] = ("kept", "unknown", "broken")

SHOWN: Final = 5
"""How many violations are told in full; the others are counted."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One fact from the record, in words, with the operation, the worker and the time that it speaks of."""

    text: str
    scenario: str = ""
    op: int | None = None
    pid: int | None = None
    start_time: int | None = None
    at_s: float | None = None


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found out about one promise from one history."""

    promise: str
    verdict: Verdict
    evidence: tuple[Evidence, ...] = ()


Answer = tuple[Verdict, list[Evidence]]
"""What a check returns."""


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """kept < unknown < broken; nothing at all could not be told."""
    return max(verdicts, key=ORDER.index, default="unknown")


def unknown(reason: str) -> Answer:
    """The answer of a check that could not tell."""
    return "unknown", [Evidence(text=reason)]
