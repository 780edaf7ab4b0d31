"""A failure that was injected: whom it befell, whether it lasts, and the proof that it took effect."""

import threading
from collections.abc import Callable

from poolproof.rig.values import Incarnation

Proof = tuple[bool, str]
"""Whether a fault took effect, and how that is known."""


class Failure:
    """One fault that was injected into a rigged pool.

    What lasts is undone once: by its time, by `heal`, or when the rig is closed, whoever comes first; the lock sees to
    that, or a worker that was stopped anew meanwhile would be resumed by the one who comes second.

    Attributes:
        kind: of the fault: `kill`, `stall`, …
        victims: the workers that it befell; none where it found none.
        held: the operations that they had begun and not ended, frozen at that moment.
        effective: whether it is proven to have taken effect; None while it lasts.
        why: how that is known, or why it did not.
    """

    def __init__(
        self,
        *,
        kind: str,
        victims: tuple[Incarnation, ...],
        held: tuple[int, ...],
        conclude: Callable[[], Proof],
        lasts: bool,
    ) -> None:
        self.kind = kind
        self.victims = victims
        self.held = held
        self.effective: bool | None = None
        self.why = "it lasts"
        self._conclude = conclude
        self._lock = threading.Lock()
        if not lasts:
            self.heal()

    @property
    def is_over(self) -> bool:
        """Whether it is undone, or was over at once."""
        return self.effective is not None

    def heal(self) -> None:
        """Undo it where it lasts, and prove its effect; harmless when repeated."""
        with self._lock:
            if self.effective is None:
                effective, self.why = self._conclude()
                self.effective = effective

    def __repr__(self) -> str:
        whom = ", ".join(map(str, self.victims)) or "nobody"
        how = {None: "lasts", True: "effective", False: "without effect"}[self.effective]
        return f"<{self.kind} of {whom}, {how}: {self.why}>"


def missed(kind: str, why: str) -> Failure:
    """A failure that befell nobody."""
    return Failure(kind=kind, victims=(), held=(), conclude=lambda: (False, why), lasts=False)
