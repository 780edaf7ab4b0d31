"""The lab: builds the pool and drives it, stage by stage. A pool that hangs costs this process and nothing else.

Before each stage it tells the keeper how long the stage may take; the stage itself then calls the pool on this thread
and needs no time-out of its own.
"""

import contextlib
import faulthandler
import gc
import random
import resource
import select
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from poolproof import probe, processes
from poolproof.clock import SECOND_NS, best_timer, now_ns
from poolproof.errors import TargetError, UsageError
from poolproof.history import ClientColumns, Journal, Leftover, Lifecycle, Phase, read_plan, write_claims
from poolproof.lab import boot
from poolproof.lab.channel import Channel
from poolproof.lab.rendezvous import Rendezvous
from poolproof.lab.residue import HOST_WIDE, settle, snapshot, surviving_workers
from poolproof.load import (
    STOCK,
    Client,
    Schedule,
    Stock,
    Users,
    expect_kinds,
    mix_and_placed,
    most_turns,
    payload_source,
    release,
    schedule,
    serve,
    stream,
    turns,
)
from poolproof.plan import (
    ATTEMPTS,
    CYCLE_OPERATIONS,
    CYCLES,
    LEAD_NS,
    SHUTDOWN_OPERATIONS,
    SLACK_S,
    STARTS,
    Claims,
    Kind,
)
from poolproof.pools import Pool, build
from poolproof.references import importable
from poolproof.workloads import awkward, load_workload, reference

TARGET_FAILED: Final = 64
"""Exit status of a lab whose target or workload could not be loaded or built; that it was so, its message says."""
LAB_FAILED: Final = 70
"""Exit status of a lab that failed by an error of its own, and said so; its traceback is in output.txt."""
_LOOK_NS: Final = 50_000_000
"""How often the generator looks whether its load was given up: seldom enough to cost nothing."""


class Lab:
    """One experiment's pool and its client."""

    def __init__(self, orders: boot.Orders, keeper: Channel, conductor: Channel) -> None:
        self._folder = Path(orders.folder)
        self._plan = read_plan(self._folder)
        self._keeper, self._conductor = keeper, conductor
        self._journal = Journal(self._folder)
        self._claims = Claims()
        self._pool: Pool | None = None
        self._last_heal = 0
        self._faults_over = False
        self._given_up = ""
        self._looked = 0
        self._capacity_before = 0
        self._ready_s = self._plan.bounds.open_s
        self._start_s = 0.0

    def run(self) -> int:
        """Go through the scenario's stages."""
        stages: dict[str, Callable[[], None]] = {
            "cycles": self._cycles,
            "open": self._open,
            "probe-before": self._probe_before,
            "load": self._load,
            "drain": self._drain,
            "probe-after": self._probe_after,
            "close": self._close,
            "close-loaded": self._close_loaded,
            "close-cancelling": self._close_cancelling,
        }
        try:
            self._prepare()
            for name in self._plan.scenario.stages:
                # A stage that closes announces the close itself, with a bound that is the close's alone.
                stages[name]()
            with self._stage("settle", self._drain_bound()):
                self._client.drain(now_ns() + round(self._patience_s() * SECOND_NS))
            self._keeper.send("finished")  # told from a pool that ends its own process with the same status
        except TargetError as error:
            self._keeper.send("failed", target=error.target, why=str(error))
            return TARGET_FAILED
        except Exception:  # an error of the kit's own must not look like the pool's
            traceback.print_exc()
            self._keeper.send("crashed")
            return LAB_FAILED
        self._journal.close()
        return 0

    @contextlib.contextmanager
    def _stage(self, name: str, bound_s: float) -> Iterator[None]:
        self._keeper.send("stage", stage=name, bound_s=bound_s)
        self._journal.write(Lifecycle(event="stage", at=now_ns(), stage=name, value=bound_s))
        yield
        self._journal.write(Lifecycle(event="stage-ended", at=now_ns(), stage=name))
        self._keeper.send("stage-ended", stage=name)

    def _event(self, event: str, stage: str, value: float | None = None, detail: str = "") -> None:
        self._journal.write(Lifecycle(event=event, at=now_ns(), stage=stage, value=value, detail=detail))

    # --- before any pool ----------------------------------------------------------------------------------------

    def _lay_out(self, kinds: dict[str, Kind], at_once: int) -> Schedule:
        return schedule(self._plan.scenario.load.at_capacity(at_once), kinds, self._plan.seed)

    def _prepare(self) -> None:
        """Lay out everything that the load needs, so that nothing is made while it runs."""
        plan = self._plan
        with self._stage("prepare", plan.bounds.open_s):
            workload = load_workload(plan.works_on, plan.service_ms, plan.service_spread)
            self._modules = workload.modules
            kinds: dict[str, Kind] = dict(workload.kinds)
            wanted = {entry.kind for entry in plan.scenario.load.placed}
            awkwards = {name: kind for name, kind in awkward.workload.kinds.items() if name in wanted}
            if taken := sorted(awkwards.keys() & kinds.keys()):
                raise TargetError(
                    plan.works_on,
                    f"the workload {plan.works_on!r} has a kind {taken[0]!r}, like one of the kit's own that the "
                    f"scenario {plan.scenario.name} sends: rename it",
                )
            # Workers may be started without the caller's own script.
            self._found_at = found_at = importable(workload.in_workers or reference(plan.works_on))
            references = dict.fromkeys(kinds, found_at) | dict.fromkeys(awkwards, awkward.REFERENCE)
            try:
                mix, placed = mix_and_placed(plan.scenario.load, kinds, awkwards)
                laid_out = {**mix, **placed}
                expect_kinds(plan.scenario.objectives, laid_out)
            except UsageError as error:
                raise TargetError(plan.works_on, f"the workload {plan.works_on!r}: {error}") from error
            # A pool that does fewer operations at once than it has workers is offered fewer: see `_load`.
            self._schedule: Schedule | None = self._lay_out(laid_out, plan.workers)
            names = (*laid_out, probe.RENDEZVOUS)
            reserve = (
                max(plan.scenario.load.warm_up, len(mix))
                + 2 * ATTEMPTS * plan.workers
                + (CYCLES + 1) * (CYCLE_OPERATIONS * plan.workers + 2)
                + 2 * (SHUTDOWN_OPERATIONS * plan.workers + 3)
                + 1
                + 1
            )
            room = most_turns(plan.scenario.load) if plan.scenario.load.model == "closed" else len(self._schedule)
            self._columns = ClientColumns(self._folder, names, room + reserve)
            self._client = Client(folder=self._folder, columns=self._columns, kinds=laid_out, journal=self._journal)
            self._rng = payload_source(plan.seed)
            self._names, self._kinds, self._references = names, laid_out, references
            for name in mix:
                # What making them imports is imported now: a pool whose threads fork meanwhile would hand a lock of the
                # import system on to its workers, with nobody to release it.
                self._make_payload(name, payload_source(plan.seed))
            self._mix = [self._names.index(name) for name in mix]
            self._mix_of_users = mix

    def _prepare_operation(self, kind: int, phase: Phase) -> int:
        name = self._names[kind]
        return self._client.prepare(kind, self._references[name], phase, self._make_payload(name, self._rng))

    def _provide(self, op: int, command: Any = ()) -> None:
        """Make one operation ready that was laid out."""
        name = self._names[self._columns.kind[op]]
        self._client.provide(op, self._references[name], command or self._make_payload(name, self._rng))

    def _make_payload(self, name: str, rng: random.Random) -> Any:
        try:
            return self._kinds[name].payload(rng)
        except Exception as error:  # the user's own function
            raise TargetError(
                self._plan.works_on, f"the workload {self._plan.works_on!r}: payload of {name!r} raised {error!r}"
            ) from error

    def _send_now(self, count: int, phase: Phase) -> None:
        for index in range(count):
            op = self._prepare_operation(self._mix[index % len(self._mix)], phase)
            self._client.send(op)

    # --- stages -------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        began = now_ns()
        with self._stage("open", self._plan.bounds.open_s):
            self._pool = self._client.pool = build(
                self._plan.target, self._plan.workers, self._modules, self._plan.options
            )
            self._claims = self._pool.claims
            write_claims(self._folder, self._claims)
        with self._stage("ready", self._plan.bounds.open_s + SLACK_S):
            # Readiness is shown by an answer, however long the workers take to start; one that never came is not
            # waited for again.
            lost = self._client.drain(now_ns())  # what ended during a close is no answer of this pool
            self._send_now(1, Phase.WARM_UP)
            if self._client.drain(now_ns() + round(self._ready_s * SECOND_NS), leave=lost) > lost:
                self._ready_s = 0.0
            else:
                took_s = (now_ns() - began) / SECOND_NS
                self._start_s = max(self._start_s, took_s)
                self._event("ready", "ready", took_s)
            self._refuse_bad_payloads()

    def _cycles(self) -> None:
        """Open and close the pool four times: what grows with each of the last three is left behind by the pool."""
        baseline, began = snapshot(), now_ns()
        counts: list[dict[str, int]] = []
        for cycle in range(CYCLES + 1):
            self._open()
            with self._stage("cycle", self._drain_bound()):
                self._send_now(CYCLE_OPERATIONS * self._plan.workers, Phase.PROBE)
                self._client.drain(now_ns() + round(self._patience_s() * SECOND_NS))
            self._close()
            with self._stage("cycle", SLACK_S):
                gc.collect()
                seen = settle(baseline, bound_s=1.0 if cycle else 0.2)
                # What an interpreter sets up once is no residue: the first close is where counting starts.
                baseline = baseline if cycle else seen
                for category, names in seen.items():
                    detail = ", ".join(sorted(names - baseline[category])[:5])
                    self._event("residue", f"{category}, cycle {cycle}", len(names), detail)
            counts.append({category: len(names) for category, names in seen.items()})
        suspects = [category for category in HOST_WIDE if all(a[category] < b[category] for a, b in pairwise(counts))]
        if suspects:
            with self._stage("cycle", SLACK_S):
                # Others on this machine may make such things too: if they grow without any pool, nothing can be told.
                alone = settle(baseline, bound_s=(now_ns() - began) / SECOND_NS / CYCLES)
                for category in suspects:
                    if len(alone[category]) > counts[-1][category]:
                        self._event("foreign-residue", category, len(alone[category]))

    def _probe_before(self) -> None:
        self._capacity_before = self._probe("probe-before", self._plan.workers, self._plan.first_probe_s(self._start_s))

    def _probe_after(self) -> None:
        # Workers that were lost may still be starting.
        self._probe("probe-after", self._capacity_before or self._plan.workers, STARTS * self._start_s)

    def _probe(self, stage: str, enough: int, first_s: float = 0.0) -> int:
        """The most operations seen running at once, of up to three attempts; the first may take longer."""
        workers, timeout_s = self._plan.workers, self._plan.bounds.rendezvous_s
        kind = self._names.index(probe.RENDEZVOUS)
        best = 0
        bound_s = first_s + ATTEMPTS * 2 * timeout_s + SLACK_S
        with self._stage(stage, bound_s), contextlib.closing(Rendezvous()) as rendezvous:
            for attempt in range(ATTEMPTS):
                patience_s = max(timeout_s, first_s) if attempt == 0 else timeout_s
                before = self._client.drain(now_ns())
                payload = (rendezvous.address, bound_s)
                prepared = [self._client.prepare(kind, self._found_at, Phase.PROBE, payload) for _ in range(workers)]
                accepted = sum([self._client.send(op) for op in prepared])
                if accepted:
                    best = max(best, rendezvous.gather(workers, patience_s))
                self._client.drain(now_ns() + round(timeout_s * SECOND_NS), leave=before)
                if best >= enough or not accepted:  # a pool that refuses them all has no capacity to wait for
                    break
            self._event("capacity", stage, best)
        return best

    def _load(self) -> None:
        load, client = self._plan.scenario.load, self._client
        with self._stage("warm-up", self._drain_bound()):
            self._send_now(max(load.warm_up, len(self._mix)), Phase.WARM_UP)
            client.drain(now_ns() + round(self._patience_s() * SECOND_NS))
            self._refuse_bad_payloads()
        if load.model == "closed":
            self._serve()
        else:
            self._release()
        if not self._plan.scenario.closes_under_load:
            with self._stage("faults", self._plan.scenario.fault_s + SLACK_S):
                self._await_end_of_faults()

    def _release(self) -> None:
        """Open load: each operation at its moment."""
        load, client = self._plan.scenario.load, self._client
        laid_out, self._schedule = self._schedule, None
        assert laid_out is not None  # noqa: S101 - a scenario has one load
        with self._stage("prepare", self._plan.bounds.open_s + min(len(laid_out), STOCK) / 1_000):
            if load.service_s and 0 < self._capacity_before < self._plan.workers:
                laid_out = self._lay_out(self._kinds, self._capacity_before)
            first, commands = client.lay_out(laid_out), laid_out.commands
            stock = Stock(lambda op: self._provide(op, commands.get(op - first)), first, len(laid_out))
            stock.fill(first)
            gc.collect()
            gc.freeze()  # thousands of prepared operations are not to be walked by each collection
        with (
            self._stage("load", load.seconds + self._plan.scenario.fault_s + 2 * SLACK_S),
            contextlib.closing(best_timer()) as timer,
        ):
            start = now_ns() + LEAD_NS
            due = client.set_due(first, laid_out, start)
            del laid_out  # all of it stands in the columns now
            self._begin_measuring(start, timer.means)
            sent = release(client.send, first, due, timer, stock=stock, between=self._between)
            self._end_measuring(first + sent, len(due) - sent)
        gc.unfreeze()

    def _serve(self) -> None:
        """Closed load: users, each of whom waits for the end of what was sent before the next."""
        load, client, columns = self._plan.scenario.load, self._client, self._columns
        with self._stage("prepare", self._plan.bounds.open_s):
            count = most_turns(load)
            laid_out = turns(load, self._mix_of_users, self._plan.seed, count)
            first, deadline_ns = client.lay_out(laid_out), laid_out.deadline_ns

        def send(op: int, ready: int) -> None:
            columns.due[op] = ready
            if after := int(deadline_ns[op - first]):
                columns.deadline[op] = ready + after
            self._provide(op)
            client.send(op)

        def next_ended(until: int) -> tuple[int, int] | None:
            op = client.next_ended(min(until, now_ns() + _LOOK_NS))  # where nothing ends, it may have been given up
            return None if op < 0 else (op, columns.done[op])

        with self._stage("load", load.seconds + self._plan.scenario.fault_s + 2 * SLACK_S):
            start = now_ns() + LEAD_NS
            self._begin_measuring(start, "queue")
            users = Users(load, stream(self._plan.seed, "thoughts"), start)
            sent = serve(users, send, next_ended, first, count, between=self._between)
            self._end_measuring(first + sent, 0)
            if sent == count and not load.turns:
                self._event("exhausted", "load", count)

    def _begin_measuring(self, start: int, means: str) -> None:
        self._journal.write(Lifecycle(event="measured", at=start, stage="load", detail=means))
        self._conductor.send("measured", start=start)
        self._looked, self._given_up = start, ""

    def _end_measuring(self, first_unsent: int, count: int) -> None:
        self._conductor.send("load-ended")
        self._client.take_back(first_unsent)
        if self._given_up:
            self._event("given-up", "load", count, self._given_up)

    def _between(self) -> bool:
        """Between two batches: forget what has ended, and hear now and then whether the load is given up."""
        if self._plan.scenario.load.model == "open":
            self._client.reap()
        now = now_ns()
        if now - self._looked > _LOOK_NS:
            self._looked = now
            while select.select([self._conductor], [], [], 0)[0] and self._hear_conductor():
                pass
        return bool(self._given_up)

    def _hear_conductor(self) -> bool:
        """Take in one message of the conductor; whether there may be more."""
        received = self._conductor.receive()
        if received is None:
            self._faults_over = True
            return False
        message, _ = received
        if message["kind"] == "give-up":
            self._given_up = message["why"]
        else:
            self._last_heal, self._faults_over = message["last_heal"], True
        return True

    def _refuse_bad_payloads(self) -> None:
        found = self._client.fault_of_payload()
        if found is not None:
            kind, why = found
            raise TargetError(
                self._plan.works_on,
                f"the workload {self._plan.works_on!r}: the payload of the kind {kind!r} does not pickle ({why}), so "
                "no worker process can get it; let its `payload` return plain data",
            )

    def _await_end_of_faults(self) -> None:
        while not self._faults_over and self._hear_conductor():
            pass

    def _drain(self) -> None:
        with self._stage("drain", self._drain_bound()):
            end = max(now_ns(), self._last_heal) + round(self._patience_s() * SECOND_NS)
            still_open = self._client.drain(end)
            self._event("drained", "drain", still_open)

    def _close(self, *, cancel: bool = False, backlog_s: float = 0.0) -> None:
        pool = self._pool
        assert pool is not None  # noqa: S101 - no scenario closes what it did not open
        with self._stage("close", self._close_bound() + backlog_s):
            self._event("closing", "close", self._client.unresolved(), "cancelling" if cancel else "")
            try:
                pool.close(cancel=cancel)
            except BaseException as error:  # a pool may raise anything, and that is what shall be known
                self._event("close-raised", "close", detail=f"{type(error).__name__}: {error}")
            self._event("closed", "close")
        with self._stage("after-close", self._plan.bounds.outlive_s + SLACK_S):
            for process in surviving_workers(self._folder / "executions", self._plan.bounds.outlive_s):
                self._journal.write(
                    Leftover(
                        after="close",
                        what="process",
                        owner=processes.command_line(process.pid) or process.name,
                        detail=f"a worker in state {process.state}, {self._plan.bounds.outlive_s:g} s after close",
                        pid=process.pid,
                        start_time=process.start_time,
                        at=now_ns(),
                    )
                )
            self._send_now(1, Phase.AFTER_CLOSE)  # last: a pool may start a worker because it is asked to
        self._pool = self._client.pool = None

    def _close_loaded(self, *, cancel: bool = False) -> None:
        """Close with work in flight and more of it queued; what was accepted must still be resolved."""
        self._open()
        with self._stage("fill", self._drain_bound()):
            # As much work as a bounded close can still work off: what one operation takes tells how much that is.
            before, lost = now_ns(), self._client.drain(now_ns())
            self._send_now(1, Phase.WARM_UP)
            self._client.drain(before + round(self._patience_s() * SECOND_NS), leave=lost)
            service_s = (now_ns() - before) / SECOND_NS
            each = self._plan.shutdown_operations(self._claims, self._start_s, service_s)
            count = each * self._plan.workers
            self._send_now(count, Phase.MEASURED)
            # The first answer shows that workers are at it; the others are running or queued.
            self._client.drain(now_ns() + round(self._patience_s() * SECOND_NS), leave=lost + count - 1)
        self._close(cancel=cancel, backlog_s=each * service_s)

    def _close_cancelling(self) -> None:
        self._close_loaded(cancel=True)

    # --- bounds -------------------------------------------------------------------------------------------------

    def _patience_s(self) -> float:
        return self._plan.resolution_s(self._claims, self._start_s)

    def _drain_bound(self) -> float:
        return self._patience_s() + SLACK_S

    def _close_bound(self) -> float:
        return self._plan.close_bound_s(self._claims, self._start_s)


def main(orders: boot.Orders, keeper_fd: int, conductor_fd: int) -> int:
    """Run one lab."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))  # the keeper's SIGABRT asks for stacks, not for a core
    if orders.directory not in sys.path:
        sys.path.insert(0, orders.directory)
    stacks = (Path(orders.folder) / "stacks.txt").open("w")
    faulthandler.enable(stacks, all_threads=True)
    return Lab(orders, Channel.inherited(keeper_fd), Channel.inherited(conductor_fd)).run()
