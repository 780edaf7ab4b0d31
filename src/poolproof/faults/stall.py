"""The fault `stall`: SIGSTOP, later SIGCONT; the worker holds what it holds and does nothing."""

import signal

from poolproof.faults.protocol import Proof, Victim
from poolproof.history import Follower


class Stall:
    """Leaves its victim stopped, as it was found, until it is healed."""

    lasting = True

    def harm(self, victim: Victim) -> None:
        victim.handle.send(signal.SIGSTOP)

    def prove(self, victim: Victim, follower: Follower) -> Proof:
        if victim.handle.gone:
            return Proof(effective=True, why="it was stopped until something ended it")
        if (state := victim.handle.state()) != "T":
            return Proof(effective=False, why=f"it was in state {state}, not stopped, when the stall was to end")
        worker = follower.refresh_worker(*victim.handle.process.identity)
        if worker.offset != victim.offset:
            return Proof(effective=False, why="it wrote records although it was stopped")
        return Proof(effective=True, why="it was found stopped to the end and wrote no record")

    def heal(self, victim: Victim) -> None:
        victim.handle.send(signal.SIGCONT)
