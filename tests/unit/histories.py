"""Tells synthetic histories: what happened to each operation, worker and fault, in seconds of the measured window."""

from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np

from poolproof.history import (
    Error,
    Executions,
    Fault,
    History,
    Incarnation,
    Leftover,
    Lifecycle,
    Operations,
    Outcome,
    Phase,
    column_types,
)
from poolproof.plan import Bounds, Claim, Claims, FaultSpec, Limits, Load, Plan, Scenario, Stage, Step, Target
from poolproof.workloads import awkward

ORIGIN = 1_000_000_000_000
"""The CLOCK_MONOTONIC moment, ns, at which the measured window of every story begins."""

WORKER = 11
"""The pid of the worker that does whatever a story gives to none in particular."""

KINDS = ("predict", "batch", *awkward.workload.kinds)
LOADED: tuple[Stage, ...] = ("open", "probe-before", "load", "drain", "probe-after", "close")

KILL = FaultSpec(kind="kill", count=1, at_s=1.0)
STALL = FaultSpec(kind="stall", count=1, at_s=1.0, for_s=2.0)
KILL_PARENT = FaultSpec(kind="kill", target="parent", at_s=1.0)


def ns(seconds: float) -> int:
    """A moment of a story as histories write it."""
    return ORIGIN + round(seconds * 1e9)


def born(pid: int) -> int:
    """The start time of the process with that pid, in every story."""
    return pid * 100


def make_plan(
    *,
    examines: tuple[str, ...] = (),
    faults: tuple[FaultSpec, ...] = (),
    stages: tuple[Stage, ...] = LOADED,
    seconds: float = 4.0,
    load: Load | None = None,
    workload: str = "",
    name: str = "story",
    target: str = "some-pool",
    layer: int = 2,
) -> Plan:
    """A plan of four workers whose operations may take 3 s beyond the last heal."""
    return Plan(
        target=Target(name=target, factory="some.module:factory"),
        workload="scripted",
        scenario=Scenario(
            name=name,
            summary="a story",
            stages=stages,
            examines=examines,
            load=load or Load(steps=(Step(rate=100, seconds=seconds),)),
            workload=workload,
            faults=faults,
        ),
        layer=layer,
        workers=4,
        seed=1,
        bounds=Bounds(open_s=20, close_s=4, drain_s=3, rendezvous_s=0.8, outlive_s=2, total_s=90),
        limits=Limits(max_share=0.8, min_survivors=1, max_fault_s=60, max_processes=256),
    )


@dataclass
class Story:
    """A history in the making; each method adds one thing that happened and returns the story."""

    plan: Plan = field(default_factory=make_plan)
    claims: Claims = field(default_factory=Claims)
    _operations: list[dict[str, int]] = field(default_factory=list)
    _executions: list[dict[str, int]] = field(default_factory=list)
    _errors: dict[tuple[str, tuple[str, ...], str], int] = field(default_factory=dict)
    _incarnations: list[Incarnation] = field(default_factory=list)
    _faults: list[Fault] = field(default_factory=list)
    _lifecycle: list[Lifecycle] = field(default_factory=list)
    _leftovers: list[Leftover] = field(default_factory=list)
    _damaged: int = 0
    _states: dict[tuple[int, int, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.event("measured", 0.0, "load")

    @classmethod
    def of(cls, *faults: FaultSpec, claims: Claims | None = None, **plan: Any) -> Self:
        """A story with these faults in its plan."""
        return cls(make_plan(faults=faults, **plan), claims or Claims())

    # --- operations ---------------------------------------------------------------------------------------------

    def op(
        self,
        at: float,
        took: float | None = 0.1,
        *,
        outcome: Outcome = Outcome.OK,
        kind: str = "predict",
        phase: Phase = Phase.MEASURED,
        by: int | None = WORKER,
        due: float | None = None,
        accepted: float | None = None,
        echoed: int | None = None,
        error: int = -1,
        idempotent: bool = False,
        ended: bool = True,
        sent: bool = True,
        session: int = -1,
        deadline: float | None = None,
        **ran: Any,
    ) -> Self:
        """One operation that was sent at a moment and done `took` later (None: never), run by one worker or none.

        What else that worker found is told as to `ran`.
        """
        assert by is not None or not ran
        op = len(self._operations)
        done = None if took is None else at + took
        self._operations.append(
            {
                "op": op,
                "kind": KINDS.index(kind),
                "phase": phase,
                "session": session,
                "session_seq": -1 if session < 0 else sum(row["session"] == session for row in self._operations),
                "deadline": 0 if deadline is None else ns(deadline),
                "idempotent": idempotent,
                "due": ns(at if due is None else due) if phase is Phase.MEASURED else 0,
                "sent": ns(at) if sent else 0,
                "accepted": ns(at if accepted is None else accepted) if sent else 0,
                "done": 0 if done is None else ns(done),
                "cancelled_at": 0,
                "outcome": Outcome.UNRESOLVED if took is None else outcome,
                "error": error,
                "echoed": (op if outcome is Outcome.OK and done is not None else -1) if echoed is None else echoed,
            }
        )
        if by is not None:
            self.ran(op, by, at + 0.001, None if done is None or not ended else done - 0.001, **ran)
        return self

    def ops(self, count: int, start: float, gap: float = 0.01, **each: Any) -> Self:
        """So many operations alike, one after the other."""
        for number in range(count):
            self.op(start + number * gap, **each)
        return self

    def fails(
        self,
        at: float,
        error: str = "builtins.RuntimeError",
        *,
        bases: tuple[str, ...] = ("builtins.Exception",),
        message: str = "it failed",
        outcome: Outcome = Outcome.POOL_ERROR,
        took: float = 0.1,
        by: int | None = None,
        **more: Any,
    ) -> Self:
        """One operation that ended with an error; no worker began it unless one is named."""
        number = self._errors.setdefault((error, bases, message), len(self._errors))
        return self.op(at, took, outcome=outcome, error=number, by=by, **more)

    def hangs(self, at: float, *, by: int | None = WORKER, **more: Any) -> Self:
        """One operation that never ended; its worker, if any, began it and left no end."""
        return self.op(at, None, by=by, **more)

    def waits(self, at: float, began: float, took: float = 0.01, *, by: int = WORKER, **more: Any) -> Self:
        """One operation that waited for its turn: sent at a moment, begun at a later one and done `took` after that."""
        op = len(self._operations)
        return self.op(at, began - at + took, by=None, **more).ran(op, by, began, began + took)

    def ran(
        self,
        op: int,
        by: int,
        started: float,
        ended: float | None,
        *,
        tid: int | None = None,
        life: int | None = None,
        found: int | None = None,
        epoch: int | None = None,
        counter: int | None = None,
    ) -> Self:
        """One execution of an operation; `ended` None where its worker left no end of it.

        Where the operation has a session, each worker or thread keeps one state for it: `found`, `epoch` and `counter`
        say what it was where that is not so. `life` is the start time of another process of the same pid.
        """
        known = 0 <= op < len(self._operations)
        session = self._operations[op]["session"] if known else -1
        state = (session, by, by if tid is None else tid)
        if session >= 0:
            self._states[state] = self._states.get(state, 0) + 1
        own_epoch = 1 + list(self._states).index(state) if session >= 0 else 0
        self._executions.append(
            {
                "op": op,
                "pid": by,
                "start_time": born(by) if life is None else life,
                "tid": by if tid is None else tid,
                "started": ns(started),
                "ended": 0 if ended is None else ns(ended),
                "raised": 0,
                "error_type": 0,
                "session": session if found is None else found,
                "epoch": own_epoch if epoch is None else epoch,
                "counter": self._states.get(state, 0) if counter is None else counter,
            }
        )
        return self

    # --- workers and faults -------------------------------------------------------------------------------------

    def lived(self, pid: int, seen: float = -1.0, gone: float | None = None) -> Self:
        """One process below the lab, from when it was first seen until it was gone."""
        self._incarnations.append(
            Incarnation(
                pid=pid,
                start_time=born(pid),
                ppid=1,
                seen=ns(seen),
                gone=0 if gone is None else ns(gone),
                command="worker",
            )
        )
        return self

    def struck(
        self,
        pid: int,
        at: float,
        until: float | None = None,
        *,
        held: tuple[int, ...] = (),
        fault: int = 0,
        effective: Literal["yes", "no", "pool-dead", "inapplicable"] = "yes",
        why: str = "seen",
        sessions: tuple[int, ...] = (),
    ) -> Self:
        """One fault of the plan done to one process."""
        spec = self.plan.scenario.faults[fault]
        self._faults.append(
            Fault(
                fault=fault,
                kind=spec.kind,
                target=spec.describe(),
                pid=pid,
                start_time=born(pid),
                begin=ns(at),
                end=ns(at if until is None else until),
                effective=effective,
                why=why,
                held=held,
                sessions=sessions,
            )
        )
        return self

    # --- the run ------------------------------------------------------------------------------------------------

    def event(self, event: str, at: float, stage: str = "", value: float | None = None, detail: str = "") -> Self:
        """One event of the run itself."""
        self._lifecycle.append(Lifecycle(event=event, at=ns(at), stage=stage, value=value, detail=detail))
        return self

    def watched(self, until: float) -> Self:
        """The run was watched to this moment."""
        return self.event("lab-ended", until, detail="exited with status 0")

    def capacity(self, before: float | None, after: float | None, *, at: float = 9.0) -> Self:
        """What the rendezvous saw before and after the load; None where it was not measured."""
        if before is not None:
            self.event("capacity", -1.0, "probe-before", before)
        self.event("stage", at - 1, "probe-after", 5.0)
        return self if after is None else self.event("capacity", at, "probe-after", after)

    def closes(self, at: float = 10.0, in_flight: float = 0, *, took: float | None = 0.5) -> Self:
        """One close of the pool; `took` None where it was not seen to return."""
        self.event("stage", at, "close", 4.0)
        self.event("closing", at, "close", in_flight)
        return self if took is None else self.event("closed", at + took, "close")

    def left(self, pid: int, after: str = "close", at: float = 12.0, what: str = "process") -> Self:
        """Something that stayed behind."""
        self._leftovers.append(
            Leftover(
                after=after,
                what=what,
                owner="python -c worker",
                detail="alive",
                pid=pid,
                start_time=born(pid),
                at=ns(at),
            )
        )
        return self

    def residue(self, category: str, *counts: int) -> Self:
        """How much of a category was there after each cycle of opening and closing."""
        for cycle, count in enumerate(counts):
            self.event("residue", -9.0 + cycle, f"{category}, cycle {cycle}", count, f"extra {cycle}")
        return self

    def damaged(self, size: int) -> Self:
        """So many bytes of the execution records can't be read."""
        self._damaged = size
        return self

    def history(self) -> History:
        """The story as a history."""
        executions = sorted(self._executions, key=lambda row: row["started"])
        return History(
            plan=self.plan,
            claims=self.claims,
            kinds=KINDS,
            operations=Operations(**_columns(Operations, self._operations)),
            executions=Executions(**_columns(Executions, executions)),
            errors=tuple(
                Error(error=number, type=name, bases=bases, message=message, cause="")
                for (name, bases, message), number in self._errors.items()
            ),
            incarnations=tuple(self._incarnations),
            faults=tuple(self._faults),
            lifecycle=tuple(self._lifecycle),
            leftovers=tuple(self._leftovers),
            damaged_bytes=self._damaged,
            environment={"python": "CPython"},
        )


def promised(*promises: str) -> Claims:
    """The claims of a pool that promises these."""
    return Claims(promises={name: Claim(made="promised", source="its documentation") for name in promises})


def _columns(table: type[Any], rows: list[dict[str, int]]) -> dict[str, Any]:
    return {name: np.array([row[name] for row in rows], dtype=kind) for name, kind in column_types(table).items()}
