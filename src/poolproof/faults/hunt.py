"""Finding victims that coincide with what a scenario asks for: stop, look, and only then strike.

Between a look and a blow a worker may end its operation. So the candidate is stopped first; what its records then tell
stays true until the blow falls, and the operations that it held are known exactly. One that does not fit is resumed.
"""

import random
import signal
from collections.abc import Callable, Sequence
from typing import Final

from poolproof.clock import now_ns
from poolproof.faults.protocol import Ledger, Victim
from poolproof.history import Follower, Worker
from poolproof.plan import FaultSpec
from poolproof.processes import Handle

_STOP_S: Final = 0.05


def fits(spec: FaultSpec, worker: Worker) -> bool:
    """Whether a worker does what the fault has to coincide with."""
    return bool(worker.running) if spec.coincide == "in-flight" else not worker.running


def stop_workers(
    spec: FaultSpec, count: int, workers: Sequence[Handle], follower: Follower, ledger: Ledger, rng: random.Random
) -> list[Victim]:
    """One attempt to stop `count` workers that coincide; all of them stopped, or none and an empty list."""
    follower.refresh()
    candidates = [handle for handle in workers if fits(spec, follower.workers[handle.process.identity])]
    if len(candidates) < count:
        return []  # before anything is stopped: a hunt must not disturb what it cannot strike
    rng.shuffle(candidates)
    victims: list[Victim] = []
    for handle in candidates:
        if len(victims) == count:
            break
        victim = _stop(handle, ledger, lambda h: follower.refresh_worker(*h.process.identity))
        if victim is None:
            continue
        if fits(spec, follower.workers[handle.process.identity]):
            victims.append(victim)
        else:
            resume(victim, ledger)
    if len(victims) == count:
        return victims
    for victim in victims:
        resume(victim, ledger)
    return []


def stop_parent(spec: FaultSpec, parent: Handle, follower: Follower, ledger: Ledger) -> list[Victim]:
    """One attempt to stop the pool's own process while workers hold operations."""
    victim = _stop(parent, ledger, lambda _: None)
    if victim is None:
        return []
    follower.refresh()
    victim.held = tuple(op for worker in follower.workers.values() for op in worker.running.values())
    if victim.held or spec.coincide == "idle":
        return [victim]
    resume(victim, ledger)
    return []


def resume(victim: Victim, ledger: Ledger) -> None:
    """Let a stopped process go on, unharmed."""
    victim.handle.send(signal.SIGCONT)
    ledger.healed(victim.handle)


def _stop(handle: Handle, ledger: Ledger, look: Callable[[Handle], Worker | None]) -> Victim | None:
    if not ledger.record(handle):
        return None
    begin = now_ns()
    if handle.send(signal.SIGSTOP) and handle.wait_stopped(_STOP_S):
        worker = look(handle)
        held = tuple(worker.running.values()) if worker else ()
        return Victim(handle=handle, begin=begin, held=held, offset=worker.offset if worker else 0)
    handle.send(signal.SIGCONT)
    ledger.healed(handle)
    return None
