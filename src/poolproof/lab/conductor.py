"""The conductor: injects the faults of a plan at their moments, watches the run's processes, tells of its progress.

One synchronous selector loop; all its state is owned by its one thread. It is woken by messages of keeper and lab, by
the pidfds of the lab's descendants, and by its own agenda of moments.
"""

import contextlib
import heapq
import itertools
import os
import random
import selectors
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from poolproof import faults, processes
from poolproof.clock import SECOND_NS, now_ns
from poolproof.errors import BlastRadiusError
from poolproof.history import Fault, Follower, Incarnation, Journal, Sample, Watched, read_plan
from poolproof.lab import boot, sweep, usage
from poolproof.lab.channel import Channel, Message
from poolproof.lab.usage import Role
from poolproof.plan import FaultSpec

_PROGRESS_NS: Final = SECOND_NS // 4
_HUNT_NS: Final = SECOND_NS // 500


class KeeperGoneError(Exception):
    """The keeper's end of the channel is closed: what it would have done is the conductor's to do."""


class UndoRecords:
    """The undo records, with the keeper: written there, and acknowledged, before anything is stopped."""

    def __init__(self, keeper: Channel) -> None:
        self._keeper = keeper
        self.deferred: list[Message] = []
        self.open: dict[tuple[int, int], processes.Handle] = {}

    def record(self, handle: processes.Handle) -> bool:
        identity = handle.process.identity
        self.open[identity] = handle
        if not self._keeper.send("undo", (handle.fd,), pid=identity[0], start_time=identity[1]):
            return False
        # What else the keeper says meanwhile must not be lost: the loop reads it afterwards.
        while True:
            received = self._keeper.receive()
            if received is None:
                raise KeeperGoneError
            message, _ = received
            if message["kind"] == "recorded" and (message["pid"], message["start_time"]) == identity:
                return True
            self.deferred.append(message)
            if message["kind"] in ("lab-ended", "finish"):
                return False  # the run is over: there is nothing left to harm

    def healed(self, handle: processes.Handle) -> None:
        pid, start_time = handle.process.identity
        if self.open.pop((pid, start_time), None) is not None:
            self._keeper.send("healed", pid=pid, start_time=start_time)


@dataclass(frozen=True, slots=True, kw_only=True)
class Living:
    """A process of the run that was seen alive, with the hold on it."""

    handle: processes.Handle
    seen: int
    command: str


class Conductor:
    """Conducts one run."""

    def __init__(self, orders: boot.Orders, keeper: Channel, lab: Channel) -> None:
        self._orders = orders
        self._folder = Path(orders.folder)
        self._plan = read_plan(self._folder)
        self._keeper, self._lab = keeper, lab
        self._keeper_pid = os.getppid()
        self._journal = Journal(self._folder)
        self._follower = Follower(self._folder)
        self._watched = Watched(self._folder)
        self._memory_mb = 0.0
        self._is_measuring = False
        self._given_up = False
        self._undo = UndoRecords(keeper)
        self._selector = selectors.DefaultSelector()
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._alive: dict[tuple[int, int], Living] = {}
        self._parent: processes.Handle | None = None
        self._faults_open = len(self._plan.scenario.faults)
        self._last_heal = 0
        self._finished = False

    def run(self) -> int:
        """Conduct until the keeper says that the run is over, or is gone."""
        try:
            self._loop()
        except KeeperGoneError:
            for handle in self._undo.open.values():
                handle.send(signal.SIGCONT)
            # First those that are held by pidfd: one that wiped its environment and lost its ancestors is found by
            # nothing else.
            self.look_around()
            for living in self._alive.values():
                if not sweep.cleans_up(living.handle.process):
                    living.handle.send(signal.SIGKILL)
            sweep.sweep(self._orders.token, (self._parent.process.pid,) if self._parent else ())
            shutil.rmtree(self._orders.temporary, ignore_errors=True)
            return 1
        return 0

    def _loop(self) -> None:
        self._selector.register(self._keeper, selectors.EVENT_READ, self._hear_keeper)
        self._selector.register(self._lab, selectors.EVENT_READ, self._hear_lab)
        while not self._finished:
            timeout = max(0.0, (self._agenda[0][0] - now_ns()) / SECOND_NS) if self._agenda else None
            for key, _ in self._selector.select(timeout):
                key.data()
            while self._undo.deferred:
                self._obey(self._undo.deferred.pop(0))
            while self._agenda and self._agenda[0][0] <= now_ns() and not self._finished:
                heapq.heappop(self._agenda)[2]()

    def _at(self, moment_ns: int, act: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (moment_ns, next(self._order), act))

    # --- messages -----------------------------------------------------------------------------------------------

    def _hear_keeper(self) -> None:
        received = self._keeper.receive()
        if received is None:
            raise KeeperGoneError
        self._obey(received[0])

    def _obey(self, message: Message) -> None:
        match message["kind"]:
            case "lab-started":
                self._parent = processes.Handle.open(message["pid"])
                self._watch()
                self._tell_progress()
            case "lab-ended":
                self._parent = None
                self._agenda.clear()  # no fault has anything left to meet
            case "finish":
                self._finish()

    def _hear_lab(self) -> None:
        received = self._lab.receive()
        if received is None:
            self._selector.unregister(self._lab)
            return
        message, _ = received
        if message["kind"] == "load-ended":
            self._take_usage()
            self._is_measuring = False
        elif message["kind"] == "measured":
            self._is_measuring = True
            self._measure_usage()
            for number, spec in enumerate(self._plan.scenario.faults):
                begin = message["start"] + round(spec.at_s * SECOND_NS)
                # A stream of its own for each fault: leaving one out does not reshuffle the others.
                rng = random.Random(f"poolproof fault {self._plan.seed} {number}")
                self._at(begin, Injection(self, number, spec, rng, begin + round(spec.patience_s * SECOND_NS)))
            self._tell_faults_over()

    def _tell_faults_over(self) -> None:
        if self._faults_open == 0:
            self._lab.send("faults-over", last_heal=self._last_heal)

    # --- the watch ----------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """See who lives below the lab and what the run uses; repeats itself."""
        if self._parent is not None and not self._parent.gone:
            self._sample(self.look_around())
            self._consider_giving_up()
            self._at(now_ns() + round(self._plan.watch_s * SECOND_NS), self._watch)

    def look_around(self) -> dict[int, processes.Process]:
        """Take hold of every new process of the run, so that the moment of its end will be known; all of them, by pid.

        The keeper is the root: a worker that was moved away from the lab by a double fork became the keeper's child.
        """
        below = processes.descendants(self._keeper_pid, processes.everyone())
        below.pop(os.getpid(), None)
        if self._parent is not None:
            below.pop(self._parent.process.pid, None)
        for process in below.values():
            if process.identity in self._alive or process.state == "Z":
                continue
            handle = processes.Handle.open(process.pid, process.start_time)
            if handle is None:
                continue
            self._alive[process.identity] = Living(
                handle=handle, seen=now_ns(), command=processes.command_line(process.pid)
            )
            self._selector.register(handle.fd, selectors.EVENT_READ, lambda h=handle: self._gone(h))
        return below

    def _sample(self, below: dict[int, processes.Process]) -> None:
        if len(below) > self._plan.limits.max_processes:
            why = f"the pool has {len(below)} processes, limits.max_processes = {self._plan.limits.max_processes}"
            self._keeper.send("abort", why=why)
        lab = None if self._parent is None else processes.look_up(self._parent.process.pid)
        if lab is None:
            return
        with contextlib.suppress(OSError):
            main_thread = processes.parse_stat(Path(f"/proc/{lab.pid}/task/{lab.pid}/stat").read_bytes())
            self._journal.write(
                Sample(
                    at=now_ns(),
                    processes=len(below),
                    zombies=sum(process.state == "Z" for process in below.values()),
                    memory_bytes=(memory := sum(processes.memory_bytes(pid) for pid in (lab.pid, *below))),
                    generator_ticks=main_thread.cpu_ticks,
                    lab_threads=lab.threads,
                    lab_files=len(processes.open_files(lab.pid)),
                )
            )

            self._memory_mb = memory / 1e6

    def _measure_usage(self) -> None:
        """See what each process uses, again and again while the load lasts."""
        if self._is_measuring and self._parent is not None and not self._parent.gone:
            self._take_usage()
            self._at(now_ns() + round(self._plan.usage_s * SECOND_NS), self._measure_usage)

    def _take_usage(self) -> None:
        lab = None if self._parent is None else self._parent.process
        if lab is None:
            return
        self._follower.refresh()
        for process in (lab, *(living.handle.process for living in self._alive.values())):
            role: Role = "worker" if process.identity in self._follower.workers else "other"
            used = usage.of_process(process, "lab" if process is lab else role)
            if used is not None:
                self._journal.write(used)
        self._journal.write(usage.of_host())

    def _consider_giving_up(self) -> None:
        """Tell the lab to send nothing more, once a condition of the plan for that holds."""
        aborts = self._plan.scenario.load.aborts
        if not (aborts and self._is_measuring) or self._given_up or (seen := self._watched.look()) is None:
            return
        for abort in aborts:
            ended, failed = self._watched.failures(now_ns() - round(abort.over_s * SECOND_NS))
            why = abort.met(ended=ended, failed=failed, backlog=seen.sent - seen.done, memory_mb=self._memory_mb)
            if why:
                self._given_up = True
                self._lab.send("give-up", why=why)
                self._call_off(why)
                return

    def _call_off(self, why: str) -> None:
        """Faults that are still to come would befall a pool without load."""
        for entry in [it for it in self._agenda if isinstance(it[2], Injection)]:
            self._agenda.remove(entry)
            injection = entry[2]
            assert isinstance(injection, Injection)  # noqa: S101 - by the line above
            self._missed(injection, "no", f"the load was given up before: {why}")
        heapq.heapify(self._agenda)

    def _gone(self, handle: processes.Handle) -> None:
        identity = handle.process.identity
        self._selector.unregister(handle.fd)
        self._write_incarnation(self._alive.pop(identity), now_ns())
        if identity not in self._undo.open:  # a fault that still holds it looks at it once more
            handle.close()

    def _write_incarnation(self, living: "Living", gone: int) -> None:
        process = living.handle.process
        self._journal.write(
            Incarnation(
                pid=process.pid,
                start_time=process.start_time,
                ppid=process.ppid,
                seen=living.seen,
                gone=gone,
                command=living.command,
            )
        )

    def workers(self) -> list[processes.Handle]:
        """The live incarnations that have probe records: the only processes that faults may choose among."""
        self.look_around()
        self._follower.refresh()
        known = (self._alive.get(identity) for identity in self._follower.workers)
        return [living.handle for living in known if living is not None and not living.handle.gone]

    def _tell_progress(self) -> None:
        if self._parent is None or self._finished:
            return
        if (seen := self._watched.look()) is not None:
            self._keeper.send("progress", sent=seen.sent, done=seen.done, failed=seen.failed)
        self._at(now_ns() + _PROGRESS_NS, self._tell_progress)

    def _finish(self) -> None:
        for living in self._alive.values():
            self._write_incarnation(living, now_ns() if living.handle.gone else 0)
        self._journal.close()
        self._finished = True

    # --- faults -------------------------------------------------------------------------------------------------

    def attempt(self, injection: "Injection") -> None:
        """Look for the victims of a fault once; strike where they are found, look again until patience ends."""
        spec = injection.spec
        live = self.workers()
        refused = ""
        if spec.target == "parent":
            if self._parent is None or self._parent.gone:
                return self._missed(injection, "no", "the pool's own process was gone already")
            victims = faults.stop_parent(spec, self._parent, self._follower, self._undo)
        else:
            victims = []
            try:
                wanted = faults.victims_wanted(spec, len(live), self._plan.limits) if live else 0
                if wanted:
                    victims = faults.stop_workers(spec, wanted, live, self._follower, self._undo, injection.rng)
            except BlastRadiusError as error:
                refused = f"refused: {error}"  # more workers may be there at the next look
        if victims:
            return self._strike(injection, victims)
        if now_ns() < injection.give_up:
            return self._at(now_ns() + _HUNT_NS, injection)
        if refused:
            return self._missed(injection, "no", refused)
        if not live and spec.target == "worker":
            if self._parent is not None and self._parent.process.identity in self._follower.workers:
                return self._missed(injection, "inapplicable", "the workers are threads of the pool's own process")
            return self._missed(injection, "pool-dead", "no worker with records was alive")
        return self._missed(
            injection,
            "no",
            f"not enough {spec.coincide} victims were found within {spec.patience_s:g} s among {len(live)} live workers"
            + ("; raise the rate, or take longer operations" if spec.coincide == "in-flight" else ""),
        )

    def _strike(self, injection: "Injection", victims: list[faults.Victim]) -> None:
        fault = faults.FAULTS[injection.spec.kind]
        if injection.spec.target == "parent":
            self._keeper.send("parent-death")
        for victim in victims:
            fault.harm(victim)
        if fault.lasting:
            end = victims[0].begin + round(injection.spec.for_s * SECOND_NS)
            self._at(end, lambda: self._conclude(injection, victims))
        else:
            self._conclude(injection, victims)

    def _conclude(self, injection: "Injection", victims: list[faults.Victim]) -> None:
        fault = faults.FAULTS[injection.spec.kind]
        for victim in victims:
            proof = fault.prove(victim, self._follower)
            fault.heal(victim)
            end = now_ns()
            self._undo.healed(victim.handle)
            self._last_heal = max(self._last_heal, end)
            self._journal.write(
                Fault(
                    fault=injection.number,
                    kind=injection.spec.kind,
                    target=injection.spec.describe(),
                    pid=victim.handle.process.pid,
                    start_time=victim.handle.process.start_time,
                    begin=victim.begin,
                    end=end,
                    effective="yes" if proof.effective else "no",
                    why=proof.why,
                    held=victim.held,
                )
            )
        self._over()

    def _missed(self, injection: "Injection", effective: Literal["no", "pool-dead", "inapplicable"], why: str) -> None:
        now = now_ns()
        self._journal.write(
            Fault(
                fault=injection.number,
                kind=injection.spec.kind,
                target=injection.spec.describe(),
                pid=0,
                start_time=0,
                begin=now,
                end=now,
                effective=effective,
                why=why,
            )
        )
        self._over()

    def _over(self) -> None:
        self._faults_open -= 1
        self._tell_faults_over()


class Injection:
    """One fault on the agenda, with its own random stream and the moment at which it is given up."""

    def __init__(self, conductor: Conductor, number: int, spec: FaultSpec, rng: random.Random, give_up: int) -> None:
        self._conductor = conductor
        self.number = number
        self.spec = spec
        self.rng = rng
        self.give_up = give_up

    def __call__(self) -> None:
        self._conductor.attempt(self)


def main(orders: boot.Orders, keeper_fd: int, lab_fd: int) -> int:
    """Conduct one run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    conductor = Conductor(orders, Channel.inherited(keeper_fd), Channel.inherited(lab_fd))
    return conductor.run()
