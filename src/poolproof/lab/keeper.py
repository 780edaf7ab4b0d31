"""The keeper: stands between the caller and a run, and ends the run whole, whoever dies. Standard library only.

It is the parent of conductor and lab and the subreaper of everything below, so an orphan of the run becomes its child
and is found. It holds, before any harm is done, a pidfd of whatever is about to be stopped. Who watches whom:

- the keeper watches the caller (pidfd and end-of-file), the conductor and the lab (pidfds: a forked worker inherits the
  lab's end of a channel, so end-of-file alone would not tell of the lab's death);
- the conductor watches the keeper by end-of-file and sweeps the run in its stead;
- the caller watches the keeper and sweeps last.

Its state is owned by its one thread; what wakes it is its selector.
"""

import ctypes
import json
import os
import select
import selectors
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any, Final

from poolproof import processes
from poolproof.lab import boot, sweep
from poolproof.lab.channel import Channel, Message
from poolproof.lab.undo import Stopped, reap

_PR_SET_CHILD_SUBREAPER: Final = 36
_DUMP_S: Final = 1.0
_FINISH_S: Final = 3.0


class Keeper:
    """One run, from the start of its processes to the death of the last of them."""

    def __init__(self, orders: boot.Orders, caller: Channel) -> None:
        self._orders = orders
        self._folder = Path(orders.folder)
        self._caller = caller
        self._selector = selectors.DefaultSelector()
        self._deadline = time.monotonic() + orders.total_s
        self._stage: tuple[str, float, float] | None = None
        self._stopped = Stopped()
        self._statuses: dict[int, int] = {}
        self._expects_parent_death = False
        self._lab_finished = False
        self._lab_crashed = False
        self._failure: Message | None = None
        self._interrupted = ""

    # --- the run ------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """See the run through; 0 however it ended, since how it ended is told to the caller."""
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        try:
            caller_pidfd = os.pidfd_open(self._orders.caller_pid)
        except ProcessLookupError:
            self._remove_folders(caller_died=True)
            return 0
        try:
            ended = self._conduct(caller_pidfd)
        finally:
            self._stopped.heal()
            sweep.sweep(self._orders.token, (os.getpid(),), reap=self._reap)
            caller = processes.look_up(self._orders.caller_pid)
            self._remove_folders(caller_died=caller is None or caller.state in ("Z", "X"))
        self._caller.send("ended", **ended)
        return 0

    def _conduct(self, caller_pidfd: int) -> dict[str, Any]:
        to_conductor, conductor_keeper = Channel.pair()
        to_lab, lab_keeper = Channel.pair()
        lab_conductor, conductor_lab = Channel.pair()
        self._to_conductor = to_conductor
        self._caller_pidfd = caller_pidfd
        self._conductor = self._start("conductor", conductor_keeper, conductor_lab)
        self._lab = self._start("lab", lab_keeper, lab_conductor)
        to_conductor.send("lab-started", pid=self._lab.process.pid)

        watched: dict[int, str] = {
            self._caller.fileno(): "caller",
            caller_pidfd: "caller-exit",
            to_conductor.fileno(): "conductor",
            to_lab.fileno(): "lab",
            self._conductor.fd: "conductor-exit",
            self._lab.fd: "lab-exit",
        }
        channels = {"caller": self._caller, "conductor": to_conductor, "lab": to_lab}
        for fd, name in watched.items():
            self._selector.register(fd, selectors.EVENT_READ, name)

        while True:
            events = self._selector.select(self._timeout())
            names = {key.data for key, _ in events}
            # 1. The caller is gone, or asks for the end: nobody waits for a result.
            if "caller-exit" in names:
                return {"reason": "the caller ended"}
            # 2. Messages, before exits: what a process said before it died counts.
            for name in names & channels.keys():
                received = channels[name].receive()
                if received is None:
                    self._selector.unregister(channels[name].fileno())
                    if name == "caller":
                        return {"reason": "the caller closed its channel"}
                    continue
                message, fds = received
                self._hear(message, fds)
            if self._interrupted:
                return {"reason": self._interrupted}
            # 3. The conductor is gone: nobody can conduct the faults, so the run is void.
            if "conductor-exit" in names:
                return {"reason": f"the conductor {self._how(self._conductor)}"}
            # 4. The lab is gone: as planned, by its own doing, or by a stranger's. What it said last is still heard.
            if "lab-exit" in names:
                self._hear_out(to_lab)
                self._hear_out(to_conductor)
                return self._lab_ended(self._how(self._lab))
            # 5. Time is up for the run, or for the lab's present stage.
            now = time.monotonic()
            if now >= self._deadline:
                return self._end_hung_lab("the run", self._orders.total_s)
            if self._stage is not None and now >= self._stage[1]:
                return self._end_hung_lab(self._stage[0], self._stage[2])

    def _hear_out(self, channel: Channel) -> None:
        while select.select([channel], [], [], 0)[0]:
            received = channel.receive()
            if received is None:
                return
            self._hear(*received)

    def _start(self, role: str, *ends: Channel) -> processes.Handle:
        for end in ends:
            os.set_inheritable(end.fileno(), True)
        environment = dict(os.environ) | {"TMPDIR": self._orders.temporary}
        log = os.open(self._folder / "output.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, boot.__file__, role, str(self._folder / "orders.json"), *(str(e.fileno()) for e in ends)],
            environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)],
            # A session of its own: a Ctrl-C of the terminal reaches neither.
            setsid=True,
        )
        os.close(log)
        for end in ends:
            end.close()  # at once: what is started next must not inherit it
        handle = processes.Handle.open(pid)
        assert handle is not None  # noqa: S101 - a child that was not reaped keeps its pid
        return handle

    def _timeout(self) -> float:
        moments = [self._deadline] + ([self._stage[1]] if self._stage else [])
        return max(0.0, min(moments) - time.monotonic())

    # --- what is heard ------------------------------------------------------------------------------------------

    def _hear(self, message: Message, fds: list[int]) -> None:
        match message["kind"]:
            case "undo":
                # Held before the harm: the conductor stops nothing until it has the answer.
                self._stopped.record(message, fds)
                self._to_conductor.send("recorded", pid=message["pid"], start_time=message["start_time"])
            case "healed":
                self._stopped.forget(message)
            case "crashed":
                self._lab_crashed = True
            case "finished":
                self._lab_finished = True
            case "parent-death":
                self._expects_parent_death = True
            case "stage":
                self._stage = (message["stage"], time.monotonic() + message["bound_s"], message["bound_s"])
                self._caller.send("stage", stage=message["stage"])
            case "stage-ended":
                self._stage = None
            case "progress":
                self._caller.send(**message)
            case "failed":
                self._failure = message
            case "abort":
                self._interrupted = message["why"]

    # --- how it ends --------------------------------------------------------------------------------------------

    def _lab_ended(self, how: str) -> dict[str, Any]:
        self._write("lifecycle", event="lab-ended", at=time.monotonic_ns(), detail=how)
        self._to_conductor.send("lab-ended")
        planned = self._lab_finished or self._expects_parent_death
        if planned or self._failure is not None:
            return self._settle({"reason": "" if planned else "failed", "failure": self._failure})
        # A stranger's SIGKILL (or the kernel's, out of memory) and the lab's own failure say nothing of the pool.
        own_doing = how != "was killed by SIGKILL" and not self._lab_crashed
        return self._settle({"reason": f"the lab {how}", "own_doing": own_doing}, wait=own_doing)

    def _end_hung_lab(self, stage: str, bound_s: float) -> dict[str, Any]:
        """End a lab that exceeded a bound; faulthandler, armed for SIGABRT, first writes every thread's stack."""
        self._write("lifecycle", event="hung", at=time.monotonic_ns(), stage=stage, detail=f"bound {bound_s:g} s")
        self._lab.send(signal.SIGCONT)
        self._lab.send(signal.SIGABRT)
        if not self._serve_until_gone([self._lab], _DUMP_S):
            self._lab.send(signal.SIGKILL)
            self._serve_until_gone([self._lab], _DUMP_S)
        self._write("lifecycle", event="lab-ended", at=time.monotonic_ns(), detail="ended by the keeper")
        self._to_conductor.send("lab-ended")
        return self._settle({"reason": "", "hung": stage})

    def _settle(self, ended: dict[str, Any], wait: bool = True) -> dict[str, Any]:
        """Give the lab's descendants their time to end, write down who did not, and let the conductor finish."""
        self._stopped.heal()
        deadline = time.monotonic() + (self._orders.outlive_s if wait else 0)
        spare = frozenset({self._conductor.process.pid})
        left = self._members(spare)
        while left and time.monotonic() < deadline:
            handles = [h for p in left.values() if (h := processes.Handle.open(p.pid, p.start_time)) is not None]
            self._serve_until_gone(handles, deadline - time.monotonic())
            for handle in handles:
                handle.close()
            left = self._members(spare)
            if self._caller_gone():
                return {"reason": "the caller ended"}
        for process in left.values() if wait else ():
            self._write(
                "leftovers",
                after="lab",
                what="process",
                owner=processes.command_line(process.pid) or process.name,
                detail=f"in state {process.state}, {self._orders.outlive_s:g} s after the lab had ended",
                pid=process.pid,
                start_time=process.start_time,
                at=time.monotonic_ns(),
            )
        self._to_conductor.send("finish")
        if not self._serve_until_gone([self._conductor], _FINISH_S):
            ended["reason"] = ended["reason"] or "the conductor did not finish"
        return ended

    def _serve_until_gone(self, handles: list[processes.Handle], bound_s: float) -> bool:
        """Wait until all of these are gone; False at the bound, or when the caller is gone, whom nothing may delay.

        The conductor is heard meanwhile: it may be waiting for the answer to an undo record.
        """
        deadline = time.monotonic() + bound_s
        waiting = {handle.fd for handle in handles}
        conductor = self._to_conductor.fileno()
        poller = select.poll()  # not select(): a pool that forked wildly has more processes than that can watch
        for fd in (*waiting, self._caller_pidfd, conductor):
            poller.register(fd, select.POLLIN)
        while waiting:
            remaining_s = deadline - time.monotonic()
            ready = {fd for fd, _ in poller.poll(max(0.0, remaining_s) * 1000)}
            if self._caller_pidfd in ready or (remaining_s <= 0 and not ready):
                return False
            if conductor in ready:
                received = self._to_conductor.receive()
                if received is None:
                    poller.unregister(conductor)
                else:
                    self._hear(*received)
            for fd in waiting & ready:
                poller.unregister(fd)
            waiting -= ready
        return True

    def _caller_gone(self) -> bool:
        return bool(select.select([self._caller_pidfd], [], [], 0)[0])

    def _members(self, spare: frozenset[int]) -> dict[int, processes.Process]:
        self._reap()
        return sweep.members(self._orders.token, (os.getpid(),), spare)

    def _reap(self) -> None:
        self._statuses |= reap()

    def _how(self, handle: processes.Handle) -> str:
        self._reap()
        status = self._statuses.get(handle.process.pid)
        if status is None:
            return "ended"
        code = os.waitstatus_to_exitcode(status)
        return f"exited with status {code}" if code >= 0 else f"was killed by {signal.Signals(-code).name}"

    def _write(self, table: str, **row: Any) -> None:
        """Append a row to a journal; the same format as `poolproof.history`, which this small process can't import."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        fd = os.open(self._folder / f"{table}.jsonl", flags, 0o600)
        os.write(fd, json.dumps(row).encode() + b"\n")
        os.close(fd)

    def _remove_folders(self, caller_died: bool) -> None:
        shutil.rmtree(self._orders.temporary, ignore_errors=True)
        if caller_died and self._orders.discard:
            shutil.rmtree(self._orders.discard, ignore_errors=True)


def main(orders: boot.Orders, caller_fd: int) -> int:
    """Keep one run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return Keeper(orders, Channel.inherited(caller_fd)).run()
