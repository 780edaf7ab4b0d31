"""The stand of layers 2 and 3: a pool in this very process, whose workers' records are followed while they work."""

import os
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import psutil

from poolproof import faults, probe, processes
from poolproof.clock import now_ns
from poolproof.errors import BlastRadiusError
from poolproof.faults import Ledger, Victim
from poolproof.history import Executions, Follower, read_records
from poolproof.history.records import FOLDER as RECORDS
from poolproof.lab.rendezvous import Rendezvous
from poolproof.plan import FaultSpec, Limits, Operation
from poolproof.pools import ClosesSessions, Pool
from poolproof.probe import RENDEZVOUS
from poolproof.rig.failure import Failure, Proof, missed
from poolproof.rig.values import Incarnation, Usage
from poolproof.waiting import wait_for

_PATIENCE_S: Final = 3600.0
"""How long an operation of a lineup stays that nobody releases: as long as any test."""


class RealStand:
    """A pool of real workers in this process, as a rig uses it.

    Args:
        make: makes the pool.
        folder: of its own, for the records; removed at the close.
        ledger: where undo records are kept before a worker is stopped.
        limits: the blast radius of faults.
    """

    is_virtual = False
    touch = (RENDEZVOUS, ("\0poolproof-nobody", 0.1))
    """A rendezvous with nobody."""

    def __init__(self, make: Callable[[], Pool], folder: Path, ledger: Ledger, limits: Limits) -> None:
        self._folder = folder
        (folder / RECORDS).mkdir()
        self._ledger = ledger
        self._limits = limits
        self._reading = threading.Lock()
        """Guards the follower: two that read on at once would take what the other one read for read by itself."""
        self._follower = Follower(folder)
        self._final: Executions | None = None
        self._has_ended = False
        self._lasting: list[tuple[Failure, threading.Timer]] = []
        self.pool: Pool = make()
        self.claims = self.pool.claims
        self.can_close_sessions = isinstance(self.pool, ClosesSessions)

    def now_ns(self) -> int:
        return now_ns()

    def submit(self, operation: Operation) -> "Future[Any]":
        return self.pool.submit(operation)

    def close_session(self, session: int) -> "Future[Any]":
        assert isinstance(self.pool, ClosesSessions)  # noqa: S101 - `can_close_sessions` was asked before
        return self.pool.close_session(session)

    def drive(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        raise NotImplementedError("real time goes on by itself")

    def executions(self) -> Executions:
        return read_records(self._folder)[0] if self._final is None else self._final

    def running(self) -> list[tuple[Incarnation, int]]:
        alive = self._alive()
        with self._reading:
            return [
                (Incarnation(*identity, tid), op)
                for identity in alive
                for tid, op in self._follower.workers[identity].running.items()
            ]

    def living(self) -> tuple[Incarnation, ...]:
        if self.claims.in_process:
            found = self.executions()
            here = {int(tid) for tid in os.listdir("/proc/self/task")}
            threads = dict.fromkeys(zip(found.pid.tolist(), found.start_time.tolist(), found.tid.tolist(), strict=True))
            return tuple(Incarnation(*it) for it in threads if it[2] in here)
        return tuple(Incarnation(pid, start_time, pid) for pid, start_time in self._alive())

    def _alive(self) -> dict[tuple[int, int], None]:
        """Those that have left records and are no zombies."""
        with self._reading:
            if self._final is None:
                self._follower.refresh()
            known = [*self._follower.workers]
        alive: dict[tuple[int, int], None] = {}
        for identity in known:
            found = processes.look_up(identity[0])
            if found is not None and found.identity == identity and found.state not in "ZX":
                alive[identity] = None
        return alive

    def line_up(self) -> "RealLineup":
        return RealLineup(self.pool)

    def every(self, seconds: float, call: Callable[[], object]) -> Callable[[], None]:
        over = threading.Event()

        def go_on() -> None:
            while not over.wait(seconds):
                call()

        thread = threading.Thread(target=go_on, name="poolproof every", daemon=True)
        thread.start()

        def stop() -> None:
            over.set()
            thread.join()

        return stop

    def pass_time(self, seconds: float) -> None:
        threading.Event().wait(seconds)

    def usage(self, worker: Incarnation) -> Usage | None:
        try:
            process = psutil.Process(worker.pid)
            with process.oneshot():
                memory, times = process.memory_full_info(), process.cpu_times()
                return Usage(
                    cpu_s=times.user + times.system,
                    rss_bytes=memory.rss,
                    pss_bytes=memory.pss,
                    uss_bytes=memory.uss,
                    threads=process.num_threads(),
                    files=process.num_fds(),
                )
        except psutil.Error:  # gone, or not ours to look at
            return None

    def inject(self, spec: FaultSpec, seed: int) -> Failure:
        rng = random.Random(f"poolproof fault {seed}")
        fault = faults.FAULTS[spec.kind]
        deadline = time.monotonic() + spec.patience_s
        handles: dict[tuple[int, int], processes.Handle] = {}
        try:
            victims: list[Victim] = []
            refused: list[BlastRadiusError] = []

            def hunt() -> bool:
                for identity in self._alive():
                    if identity not in handles and identity[0] != os.getpid():
                        handle = processes.Handle.open(*identity)
                        if handle is not None:
                            handles[identity] = handle
                live = [handle for handle in handles.values() if not handle.gone]
                try:
                    wanted = faults.victims_wanted(spec, len(live), self._limits) if live else 0
                except BlastRadiusError as error:  # more workers may be there at the next look
                    refused[:] = [error]
                    return False
                if wanted:
                    with self._reading:
                        victims.extend(faults.stop_workers(spec, wanted, live, self._follower, self._ledger, rng))
                return bool(victims)

            with suppress(TimeoutError):
                wait_for(hunt, timeout=max(0.001, deadline - time.monotonic()), what="victims")
            if not victims and refused:
                raise refused[0]
            if not victims:
                _close(handles.values())
                seen = f"among {len(handles)} workers with records" if handles else "for no worker left any record"
                return missed(spec.kind, f"no {spec.coincide} victims within {spec.patience_s:g} s {seen}")
        except BaseException:
            _close(handles.values())
            raise
        chosen = {victim.handle for victim in victims}
        _close(handle for handle in handles.values() if handle not in chosen)
        return self._strike(spec, fault, victims)

    def _strike(self, spec: FaultSpec, fault: faults.Fault, victims: list[Victim]) -> Failure:
        for victim in victims:
            fault.harm(victim)

        def conclude() -> Proof:
            proofs = []
            for victim in victims:
                with self._reading:
                    proofs.append(fault.prove(victim, self._follower))
                fault.heal(victim)
                self._ledger.healed(victim.handle)
                victim.handle.close()
            why = "; ".join(dict.fromkeys(proof.why for proof in proofs))
            return all(proof.effective for proof in proofs), why

        failure = Failure(
            kind=spec.kind,
            victims=tuple(_incarnation(victim.handle) for victim in victims),
            held=tuple(op for victim in victims for op in victim.held),
            conclude=conclude,
            lasts=fault.lasting,
        )
        if fault.lasting:
            timer = threading.Timer(spec.for_s, failure.heal)
            timer.name, timer.daemon = "poolproof heal", True
            timer.start()
            self._lasting.append((failure, timer))
        return failure

    def says(self) -> str:
        return repr(self.pool)

    def close(self, *, cancel: bool = False) -> None:
        wrong: list[Exception] = []
        for failure, timer in self._lasting:
            timer.cancel()
            try:
                failure.heal()  # a pool may wait for a worker that is stopped
            except Exception as error:  # the others are to be healed, and the pool to be closed, all the same
                wrong.append(error)
        self.pool.close(cancel=cancel)
        self._has_ended = True
        if wrong:
            raise wrong[0]

    def forget(self) -> None:
        """Remove the folder; what the records tell is still known."""
        self._final = read_records(self._folder)[0]
        # Threads of this process wrote to a file that is kept open for more of them. Where the pool has not ended, some
        # may still: a descriptor that is closed under them would be somebody else's by then.
        recorder = probe._recorders.pop(str(self._folder / RECORDS), None) if self._has_ended else None
        if recorder is not None:
            os.close(recorder.fd)
        for _, timer in self._lasting:
            timer.join()
        shutil.rmtree(self._folder, ignore_errors=True)


class RealLineup:
    """Operations that stay in real workers."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._meeting = Rendezvous()
        self._is_over = False
        self.payload = (self._meeting.address, _PATIENCE_S)

    def submit(self, operation: Operation) -> "Future[Any]":
        return self._pool.submit(operation)

    @property
    def present(self) -> int:
        return 0 if self._is_over else self._meeting.assemble(0, 0.0)

    def gather(self, expected: int, timeout_s: float) -> int:
        return self._meeting.assemble(expected, timeout_s)

    def release(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._meeting.close()


def _incarnation(handle: processes.Handle) -> Incarnation:
    process = handle.process
    return Incarnation(process.pid, process.start_time, process.pid)


def _close(handles: Iterable[processes.Handle]) -> None:
    for handle in handles:
        handle.close()


def own_folder() -> Path:
    """A folder for the records of one rig."""
    return Path(tempfile.mkdtemp(prefix="pp-"))
