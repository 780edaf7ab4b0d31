"""One plan carried out in a simulated world, stage by stage, as `poolproof.lab` does with real processes."""

import sys
from collections.abc import Callable
from typing import Any, Final

import msgspec

from poolproof import probe
from poolproof.errors import UsageError
from poolproof.history import History, Leftover, Lifecycle, Phase
from poolproof.load import Users, expect_kinds, mix_and_placed, most_turns, payload_source, schedule, stream, turns
from poolproof.plan import ATTEMPTS, CYCLE_OPERATIONS, CYCLES, LEAD_NS, SLACK_S, STARTS, Load, Placed, Plan, Step
from poolproof.pools import build_core
from poolproof.simulation.client import Client
from poolproof.simulation.faults import Conductor
from poolproof.simulation.guard import no_real_world
from poolproof.simulation.marks import Marks
from poolproof.simulation.meeting import Meeting
from poolproof.simulation.record import Record
from poolproof.simulation.timeline import SECOND_NS, Timeline
from poolproof.simulation.world import StuckError, World
from poolproof.workloads import load_workload
from poolproof.workloads.commands import is_command

_QUIET_NS: Final = SECOND_NS // 10
_LOOK_NS: Final = SECOND_NS // 10
"""How often it is looked whether a load is to be given up."""

ENVIRONMENT: Final = {"python": "virtual time", "system": "simulated", "cores": "-", "memory_gib": "-"}


def simulate(plan: Plan, marks: Marks | None = None) -> History:
    """Carry a plan out under a virtual clock: the same plan gives the same history, to the byte.

    Args:
        plan: for layer 1, with a workload of scripted commands.
        marks: where interesting states are counted.

    Raises:
        UsageError: the workload has operations that no simulated worker can obey.
        TargetError: the target can't be made.
    """
    lab = Lab(plan, marks)
    with no_real_world():
        return lab.run()


class HungError(Exception):
    """A stage did not end within its bound."""


class Lab:
    """One experiment's pool and its client, in virtual time."""

    def __init__(self, plan: Plan, marks: Marks | None) -> None:
        self._plan = plan
        self._marks = marks
        self._pool = build_core(plan.target, plan.workers, plan.options)
        self._timeline = Timeline()
        self._client = Client(self._timeline, self._pool.max_runs)
        self._record = self._client.record
        self._rng = payload_source(plan.seed)
        self._openings = 0
        self._start_s = 0.0
        self._ready_s = plan.bounds.open_s
        self._capacity_before = 0
        self._last_heal = 0
        self._stage = ""
        self._conductor: Conductor | None = None
        self._world: World | None = None
        workload = load_workload(plan.works_on, plan.service_ms, plan.service_spread)
        wanted = {entry.kind for entry in plan.scenario.load.placed if entry.kind}
        if strange := sorted(wanted - workload.kinds.keys()):
            raise UsageError(f"the workload {plan.works_on!r} has no kind {strange[0]!r}, which the plan places")
        if wrong := [
            f"scenario.load.placed[{number}]: {list(entry.command)!r} is no scripted command"
            for number, entry in enumerate(plan.scenario.load.placed)
            if entry.command and not is_command(entry.command)
        ]:
            raise UsageError("; ".join(wrong))
        mix, placed = mix_and_placed(plan.scenario.load, workload.kinds)
        self._kinds = {**mix, **placed}
        expect_kinds(plan.scenario.objectives, self._kinds)
        self._mix_of_users = mix
        self._names = (*self._kinds, probe.RENDEZVOUS)
        self._makers = [kind.payload for kind in self._kinds.values()]
        self._mix = [self._names.index(name) for name in mix]
        for name, kind in self._kinds.items():
            command = kind.payload(payload_source(plan.seed))
            if not is_command(command):
                raise UsageError(
                    f"layer 1 simulates operations that obey scripted commands, and {name!r} of the workload "
                    f"{plan.works_on!r} is none: use --workload scripted, or --layer 2"
                )

    def run(self) -> History:
        """Go through the scenario's stages; one that hangs is the last."""
        stages: dict[str, Callable[[], None]] = {
            "cycles": self._cycles,
            "open": self._open,
            "probe-before": self._probe_before,
            "load": self._load,
            "drain": self._drain,
            "probe-after": self._probe_after,
            "close": self._close,
            "close-loaded": self._close_loaded,
            "close-cancelling": lambda: self._close_loaded(cancel=True),
        }
        event = self._record.event
        try:
            for name in self._plan.scenario.stages:
                stages[name]()
            self._begin("settle")
            self._drain_until(self._timeline.now + self._patience_ns())
            self._end("settle")
        except HungError:
            event("hung", self._stage)
            event("hung-in", self._stage, detail=self._opened.describe())
        except StuckError as error:
            self._client.violated("resolves-every-operation", str(error))
            event("hung", self._stage, detail=str(error))
        if self._conductor is not None:
            self._conductor.finish()
        event("lab-ended")
        return self._record.history(self._plan, self._pool.claims, self._names, ENVIRONMENT)

    # --- operations ---------------------------------------------------------------------------------------------

    def _send(self, op: int) -> bool:
        return self._client.send(self._opened, op)

    @property
    def _opened(self) -> World:
        assert self._world is not None  # noqa: S101 - no scenario uses what it did not open
        return self._world

    def _send_now(self, count: int, phase: Phase) -> None:
        for index in range(count):
            kind = self._mix[index % len(self._mix)]
            self._send(self._client.prepare(kind, phase, self._makers[kind](self._rng)))

    def _drain_until(self, moment: int, leave: int = 0) -> bool:
        """Let time pass until all but so many operations have ended; whether they have."""
        return self._opened.run_while(lambda: self._client.unresolved > leave, moment)

    # --- stages -------------------------------------------------------------------------------------------------

    def _begin(self, stage: str, bound_s: float | None = None) -> None:
        self._stage = stage
        self._record.event("stage", stage, bound_s)

    def _end(self, stage: str) -> None:
        self._record.event("stage-ended", stage)

    def _open(self) -> None:
        began, timeline = self._timeline.now, self._timeline
        self._begin("open")
        self._openings += 1
        seed = f"poolproof world {self._plan.seed} {self._openings}"
        self._world = World(timeline, self._pool, seed, self._client, self._marks)
        self._end("open")
        self._begin("ready")
        lost = self._client.unresolved
        self._send_now(1, Phase.WARM_UP)
        if self._drain_until(timeline.now + round(self._ready_s * SECOND_NS), lost):
            took_s = (timeline.now - began) / SECOND_NS
            self._start_s = max(self._start_s, took_s)
            self._record.event("ready", "ready", took_s)
        else:
            self._ready_s = 0.0
        self._end("ready")

    def _cycles(self) -> None:
        """Open and close the pool four times: what grows with each of the last three is left behind by the pool."""
        for cycle in range(CYCLES + 1):
            self._open()
            self._begin("cycle")
            self._send_now(CYCLE_OPERATIONS * self._plan.workers, Phase.PROBE)
            self._drain_until(self._timeline.now + self._patience_ns())
            self._end("cycle")
            self._close()
            left = [leftover.pid for leftover in self._record.leftovers]
            self._record.event("residue", f"processes, cycle {cycle}", len(left), ", ".join(map(str, left)))

    def _probe_before(self) -> None:
        first_s = self._plan.first_probe_s(self._start_s)
        self._capacity_before = self._probe("probe-before", self._plan.workers, first_s)

    def _probe_after(self) -> None:
        self._probe("probe-after", self._capacity_before or self._plan.workers, STARTS * self._start_s)

    def _probe(self, stage: str, enough: int, first_s: float) -> int:
        """The most operations seen running at once, of up to three attempts; the first may take longer."""
        workers, timeout_s = self._plan.workers, self._plan.bounds.rendezvous_s
        kind, best = self._names.index(probe.RENDEZVOUS), 0
        self._begin(stage)
        for attempt in range(ATTEMPTS):
            patience_s = max(timeout_s, first_s) if attempt == 0 else timeout_s
            before = self._client.unresolved
            meeting = Meeting()
            accepted = sum(
                [self._send(self._client.prepare(kind, Phase.PROBE, ("meet", meeting))) for _ in range(workers)]
            )
            if accepted:
                until = self._timeline.now + round(patience_s * SECOND_NS)
                self._opened.run_while(lambda it=meeting: it.present < workers, until)  # type: ignore[misc]
                best = max(best, meeting.most)
            meeting.release()
            self._drain_until(self._timeline.now + round(timeout_s * SECOND_NS), before)
            if best >= enough or not accepted:
                break
        self._record.event("capacity", stage, best)
        self._end(stage)
        return best

    def _load(self) -> None:
        plan, load, timeline, record = self._plan, self._plan.scenario.load, self._timeline, self._record
        world = self._opened
        self._begin("warm-up")
        self._send_now(max(load.warm_up, len(self._mix)), Phase.WARM_UP)
        self._drain_until(timeline.now + self._patience_ns())
        self._end("warm-up")
        self._begin("load", load.seconds)
        start = timeline.now + LEAD_NS
        record.lifecycle.append(Lifecycle(event="measured", at=start, stage="load", detail="virtual time"))
        conductor = self._conductor = Conductor(world, self._pool, record, plan.limits, plan.seed)
        conductor.plan(plan.scenario.faults, start)
        given_up = self._serve(start) if load.model == "closed" else self._release(start)
        if given_up:
            conductor.call_off(given_up)
        else:
            world.run(max(timeline.now, start + round(load.seconds * SECOND_NS)))
        if not self._plan.scenario.closes_under_load:
            until = timeline.now + round((plan.scenario.fault_s + SLACK_S) * SECOND_NS)
            world.run_while(lambda: not conductor.is_done, until)
        self._last_heal = conductor.last_heal
        self._end("load")

    def _release(self, start: int) -> str:
        """Open load: each operation at its moment; why it was given up, or nothing."""
        plan, load, timeline, world = self._plan, self._plan.scenario.load, self._timeline, self._opened
        at_once = self._capacity_before if load.service_s and self._capacity_before else plan.workers
        laid_out = schedule(load.at_capacity(min(at_once, plan.workers)), self._kinds, plan.seed)
        dues = (laid_out.due_ns + start).tolist()
        deadlines = laid_out.deadline_ns.tolist()
        kinds, sessions, sequences = laid_out.kind.tolist(), laid_out.session.tolist(), laid_out.session_seq.tolist()
        idempotent = laid_out.idempotent.tolist()
        run, prepare, send, makers, rng = world.run, self._client.prepare, self._client.send, self._makers, self._rng
        look = start + _LOOK_NS if load.aborts else sys.maxsize
        for row, due in enumerate(dues):
            while due > look:
                run(look)
                look += _LOOK_NS
                if why := self._to_be_given_up():
                    self._record.event("given-up", "load", len(dues) - row, why)
                    return why
            if due > timeline.now:
                run(due)
            deadline = deadlines[row]
            op = prepare(
                kinds[row],
                Phase.MEASURED,
                laid_out.commands.get(row) or makers[kinds[row]](rng),
                session=sessions[row],
                session_seq=sequences[row],
                due=due,
                deadline=due + deadline if deadline else 0,
                idempotent=idempotent[row],
            )
            send(world, op)
        return ""

    def _serve(self, start: int) -> str:
        """Closed load: users, each of whom waits for the end of what was sent before the next; why it was given up."""
        load, timeline, world, client, record = (
            self._plan.scenario.load,
            self._timeline,
            self._opened,
            self._client,
            self._record,
        )
        users = Users(load, stream(self._plan.seed, "thoughts"), start)
        count = most_turns(load)
        laid_out = turns(load, self._mix_of_users, self._plan.seed, count)
        ended: list[int] = []
        client.ended = lambda op, _: ended.append(op)
        sent, look = 0, start + _LOOK_NS
        try:
            while timeline.now < users.end and sent < count:
                if users.next_ns <= timeline.now:
                    kind, due = int(laid_out.kind[sent]), users.send(self._record.next_op)
                    deadline = int(laid_out.deadline_ns[sent])
                    op = client.prepare(
                        kind,
                        Phase.MEASURED,
                        self._makers[kind](self._rng),
                        session=int(laid_out.session[sent]),
                        session_seq=int(laid_out.session_seq[sent]),
                        due=due,
                        deadline=due + deadline if deadline else 0,
                        idempotent=int(laid_out.idempotent[sent]),
                    )
                    self._send(op)
                    sent += 1
                else:
                    world.run_while(lambda: not ended, min(users.next_ns, look))
                while ended:
                    op = ended.pop(0)
                    users.ended(op, record.done[op])
                if timeline.now >= look:
                    look += _LOOK_NS
                    if why := self._to_be_given_up():
                        record.event("given-up", "load", 0, why)
                        return why
            if sent == count and not load.turns:
                record.event("exhausted", "load", count)
            return ""
        finally:
            client.ended = None

    def _to_be_given_up(self) -> str:
        """Why the load is to be given up by now, in words; empty where it is not."""
        record, now = self._record, self._timeline.now
        for abort in self._plan.scenario.load.aborts:
            ended, failed = record.failures(now - round(abort.over_s * SECOND_NS))
            why = abort.met(ended=ended, failed=failed, backlog=self._client.unresolved, memory_mb=0.0)
            if why:
                return why
        return ""

    def _drain(self) -> None:
        self._begin("drain")
        self._drain_until(max(self._timeline.now, self._last_heal) + self._patience_ns())
        self._record.event("drained", "drain", self._client.unresolved)
        if not self._client.unresolved:
            self._opened.run(self._timeline.now + _QUIET_NS)
            self._opened.ledger.leaks()
        self._end("drain")

    def _close(self, *, cancel: bool = False, backlog_s: float = 0.0) -> None:
        world, timeline, record = self._opened, self._timeline, self._record
        bound_s = self._plan.close_bound_s(self._pool.claims, self._start_s) + backlog_s
        self._begin("close", bound_s)
        record.event("closing", "close", self._client.unresolved, "cancelling" if cancel else "")
        world.tell(world.core.shutdown, cancel=cancel)
        if not world.run_while(lambda: not world.core.is_over, timeline.now + round(bound_s * SECOND_NS)):
            raise HungError
        record.event("closed", "close")
        self._end("close")
        self._begin("after-close")
        outlive_s = self._plan.bounds.outlive_s
        world.run(timeline.now + round(outlive_s * SECOND_NS))  # all of it: one that is to be forked yet has no process
        for process in world.processes.values():
            record.leftovers.append(
                Leftover(
                    after="close",
                    what="process",
                    owner="simulated worker",
                    detail=f"a worker, {outlive_s:g} s after close",
                    pid=process.pid,
                    start_time=process.start_time,
                    at=timeline.now,
                )
            )
        self._send_now(1, Phase.AFTER_CLOSE)
        self._end("after-close")

    def _close_loaded(self, *, cancel: bool = False) -> None:
        """Close with work in flight and more of it queued; what was accepted must still be resolved."""
        self._open()
        self._begin("fill")
        timeline, lost = self._timeline, self._client.unresolved
        before = timeline.now
        self._send_now(1, Phase.WARM_UP)
        self._drain_until(before + self._patience_ns(), lost)
        service_s = (timeline.now - before) / SECOND_NS
        each = self._plan.shutdown_operations(self._pool.claims, self._start_s, service_s)
        count = each * self._plan.workers
        self._send_now(count, Phase.MEASURED)
        self._drain_until(timeline.now + self._patience_ns(), lost + count - 1)
        self._end("fill")
        self._close(cancel=cancel, backlog_s=each * service_s)

    # --- bounds -------------------------------------------------------------------------------------------------

    def _patience_ns(self) -> int:
        return round(self._plan.resolution_s(self._pool.claims, self._start_s) * SECOND_NS)


def _terms(record: Record, op: int) -> dict[str, Any]:
    """What is special about an operation; a plan is not to say what is not."""
    terms: dict[str, Any] = {}
    if record.deadline[op]:
        terms["deadline_s"] = (record.deadline[op] - record.due[op]) / SECOND_NS
    if record.session[op] >= 0:
        terms["session"] = record.session[op]
    if record.idempotent[op]:
        terms["idempotent"] = True
    return terms


def materialise(plan: Plan) -> Plan:
    """The same plan, with every operation of its load written out: what happens is the same, to the byte.

    What is written out can be left out one by one, and nothing else changes by that.
    """
    lab = Lab(plan, None)
    with no_real_world():
        lab.run()
    record = lab._record
    measured = [op for op, phase in enumerate(record.phase) if phase == Phase.MEASURED and record.due[op]]
    origin = next((event.at for event in record.lifecycle if event.event == "measured"), 0)
    placed = tuple(
        Placed(
            at_s=(record.due[op] - origin) / SECOND_NS,
            kind=lab._names[record.kind[op]],
            command=lab._client.command(op),
            **_terms(record, op),
        )
        for op in measured
    )
    load = plan.scenario.load
    spelled = Load(steps=(Step(rate=0.0, seconds=load.seconds),), placed=placed, warm_up=load.warm_up)
    scenario = msgspec.structs.replace(plan.scenario, load=spelled)
    return msgspec.structs.replace(plan, scenario=scenario)
