"""The fault `kill`: SIGKILL, the death that no worker sees coming."""

import signal
from typing import Final

from poolproof.faults.protocol import Proof, Victim
from poolproof.history import Follower

_DEATH_S: Final = 2.0


class Kill:
    """Ends its victim at once; the end is final, so there is nothing to heal."""

    lasting = False

    def harm(self, victim: Victim) -> None:
        victim.handle.send(signal.SIGKILL)

    def prove(self, victim: Victim, follower: Follower) -> Proof:
        if victim.handle.wait_gone(_DEATH_S):
            return Proof(effective=True, why="its pidfd reported the exit")
        return Proof(effective=False, why=f"it was still alive {_DEATH_S:g} s after SIGKILL")

    def heal(self, victim: Victim) -> None:
        """Death is not undone."""
