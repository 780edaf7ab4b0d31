"""What a fault is: a harm with a beginning, an end and a proof that it took effect."""

from dataclasses import dataclass, field
from typing import Protocol

from poolproof.history import Follower
from poolproof.processes import Handle


@dataclass(slots=True, kw_only=True)
class Victim:
    """One process in the hands of a fault.

    Attributes:
        handle: the hold on it.
        begin: when the harm began.
        held: the operations that it had begun and not ended, read while it was stopped, so that they are facts.
        offset: how far its records went then.
    """

    handle: Handle
    begin: int
    held: tuple[int, ...]
    offset: int = field(default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Whether a fault took effect, and how that is known."""

    effective: bool
    why: str


class Fault(Protocol):
    """One way to harm a process that is stopped already."""

    lasting: bool
    """Whether the harm goes on until it is healed; the others are over once they are done."""

    def harm(self, victim: Victim) -> None:
        """Do it."""

    def prove(self, victim: Victim, follower: Follower) -> Proof:
        """Tell whether it took effect: before the healing for a lasting one, else at once."""

    def heal(self, victim: Victim) -> None:
        """Undo it, where it can be undone; harmless when repeated."""


class Ledger(Protocol):
    """Where undo records are kept, safe from the death of whoever does the harm."""

    def record(self, handle: Handle) -> bool:
        """Return once the keeper holds what resumes this process; only where it does may the process be stopped."""

    def healed(self, handle: Handle) -> None:
        """The process runs again or is gone: its record is done with."""
