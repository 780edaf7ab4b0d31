"""Long runs as they would have been written down, made of whole arrays: `python -m tests.performance.long_history`.

A sound run walks every check to its end and keeps every promise; a bad one breaks them, so that evidence is told too.
"""

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from poolproof import plan as plans
from poolproof.experiment import environment
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
    Sample,
    column_types,
    save,
)
from poolproof.plan import (
    CYCLES,
    PROMISES,
    Bounds,
    Claim,
    Claims,
    FaultSpec,
    Limits,
    Load,
    Placed,
    Plan,
    Scenario,
    Step,
    Target,
)
from poolproof.probe import RENDEZVOUS, type_mark
from poolproof.workloads import awkward

I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Columns = dict[str, np.ndarray]

ORIGIN: Final = 1_000_000_000_000
SECOND: Final = 1_000_000_000
MILLISECOND: Final = 1_000_000

WORKERS: Final = 8
SERVICE_S: Final = 0.003
RATE: Final = 0.75
PEAK: Final = 2.4
"""Rates in multiples of the capacity: the usual one, and that of one overload."""
PEAK_AT: Final = 0.1
PEAK_NS: Final = 2 * SECOND
FILL_NS: Final = SECOND // 10
"""The overload comes after a tenth of the window; at first the pool takes everything, until its queue is full."""
ADMITTED: Final = 0.98 / PEAK
"""The share of what comes then that it takes: no more than it can do, so that its queue stays as it is."""

SESSIONS: Final = 240
BURST: Final = 3
LIFE: Final = 5_000
"""After so many executions the pool replaces a worker."""

KILLS: Final = (0.55, 0.60, 0.65, 0.75, 0.80)
STALLS: Final = (0.58, 0.70)
"""When faults strike, as shares of the operations; the awkward ones are sent before all of them."""
AWKWARD: Final = 0.50
STALL_NS: Final = 2 * SECOND
REPLACED_NS: Final = 50 * MILLISECOND

EASY_NS: Final = 5 * SECOND // 2
DISTINCT: Final = 4_000
"""How many messages the users' own errors have."""

KINDS: Final = ("predict", "batch", *awkward.workload.kinds, RENDEZVOUS)
SATURATED: Final = "somepool.PoolSaturated"
DIED: Final = "somepool.WorkerDied"
EXPIRED: Final = "somepool.DeadlineExceeded"
STRANGE: Final = "builtins.KeyError"
OWN: Final = "some.workload.BadInput"

CLAIMS: Final = Claims(
    promises={name: Claim(made="promised", source="its documentation") for name in PROMISES},
    errors=(DIED, EXPIRED),
    overload=(SATURATED,),
)


@dataclass(slots=True)
class _Errors:
    """The table of errors while it is filled; a block of numbers a type."""

    rows: list[Error]

    def add(self, name: str, count: int, message: str = "it happened") -> int:
        """So many distinct errors of one type; the number of the first."""
        first = len(self.rows)
        self.rows += [
            Error(
                error=first + index,
                type=name,
                bases=("builtins.Exception", "builtins.BaseException"),
                message=f"{message} ({index})",
                cause="",
            )
            for index in range(count)
        ]
        return first


def long_history(count: int, *, bad: bool = False, seed: int = 1) -> History:
    """A run of so many operations.

    Args:
        count: all of its operations, those beside the load included; 20,000 or more.
        bad: whether it breaks what can be broken, at a percent of the operations each.
        seed: of everything random in it.
    """
    rng = np.random.default_rng(seed)
    errors = _Errors([])
    loaded = count - _BESIDE
    extra_s = (PEAK / RATE - 1) * PEAK_NS / SECOND
    window = round((loaded * SERVICE_S / WORKERS / RATE - extra_s) * SECOND)
    operations = _offer(rng, loaded, window)
    held = _refuse(rng, operations, errors, window)
    slot, victims = _place(rng, operations, held)
    executions, struck = _serve(rng, operations, held, slot, victims)
    _resolve(rng, operations, executions, errors, held, struck)
    lives = _number_lives(executions, slot, victims)
    _keep_states(rng, operations, executions)
    operations, executions = _beside(operations, executions, errors, window, lives)
    scenario = _scenario(window, operations, struck)
    table = Operations(**_typed(Operations, operations))
    faults = _faults(scenario, executions, struck)
    history = History(
        plan=_plan(scenario, seed),
        claims=CLAIMS,
        kinds=KINDS,
        operations=table,
        executions=_in_order(executions),
        errors=tuple(errors.rows),
        incarnations=_incarnations(executions, faults, window),
        faults=faults,
        samples=_samples(window),
        lifecycle=_lifecycle(window),
        environment=environment(),
    )
    return _spoil(rng, history, errors) if bad else history


def one_after_the_other(ready: I64, took: I64) -> I64:
    """When each of a queue's operations is over, where one is served at a time: Lindley's recursion as a running sum.

    Args:
        ready: when each was there to be served, in the order of service; shape (n,).
        took: for how long each occupied its server; shape (n,).
    """
    passed = np.cumsum(took)
    return np.asarray(np.maximum.accumulate(ready - passed + took) + passed)


# --- the load ---------------------------------------------------------------------------------------------------

_PROBES: Final = 3 * WORKERS
_WARM_UP: Final = 64
_BESIDE: Final = _WARM_UP + 2 * _PROBES + 1


def _steps(window: int) -> tuple[tuple[float, int], ...]:
    """Rates in multiples of the capacity, and for how many ns each."""
    before = round(PEAK_AT * window)
    return (RATE, before), (PEAK, PEAK_NS), (RATE, window - before - PEAK_NS)


def _offer(rng: np.random.Generator, count: int, window: int) -> Columns:
    """What was offered, when, and when the generator sent it."""
    steps = _steps(window)
    weight = np.array([rate * took for rate, took in steps])
    ends = np.round(np.cumsum(weight) / weight.sum() * count).astype(np.int64)
    edges = np.cumsum([0, *(took for _, took in steps)])
    number = np.arange(count)
    step = np.searchsorted(ends, number, side="right")
    due = ORIGIN + np.sort(edges[step] + rng.random(count) * (edges[step + 1] - edges[step])).astype(np.int64)
    burst = number // BURST
    of_session = (rng.random(burst[-1] + 1) < 0.3)[burst]
    session = np.where(of_session, rng.integers(0, SESSIONS, burst[-1] + 1)[burst], -1)
    due = np.where(of_session, due[burst * BURST], due)
    accepted = one_after_the_other(due + 30_000, np.full(count, 20_000))
    deadline = np.where(rng.random(count) < 0.1, due + EASY_NS, 0)
    return {
        "kind": (rng.random(count) < 0.1).astype(np.int64),
        "phase": np.full(count, Phase.MEASURED),
        "session": session,
        "session_seq": _rank(session),
        "deadline": deadline,
        "idempotent": (rng.random(count) < 0.0002) & ~of_session,
        "due": due,
        "sent": accepted - 20_000,
        "accepted": accepted,
        "done": np.zeros(count, dtype=np.int64),
        "cancelled_at": np.zeros(count, dtype=np.int64),
        "outcome": np.full(count, Outcome.OK),
        "error": np.full(count, -1),
        "echoed": number,
    }


def _refuse(rng: np.random.Generator, operations: Columns, errors: _Errors, window: int) -> I64:
    """Refuse most of the overload at once, and a little of it once its time was up; the numbers of what was served."""
    at = operations["due"] - ORIGIN - round(PEAK_AT * window)
    number = np.arange(len(at))
    # One at a time out of so many, and not by chance: a queue that is fed at random runs empty now and then.
    admitted = np.floor((number + 1) * ADMITTED) > np.floor(number * ADMITTED)
    refused = (at >= FILL_NS) & (at < PEAK_NS) & ~admitted
    operations["outcome"][refused] = Outcome.REJECTED
    operations["error"][refused] = errors.add(SATURATED, 1, "the queue is full")
    operations["done"][refused] = operations["accepted"][refused]
    waited = refused & (rng.random(len(at)) < 0.02)
    operations["outcome"][waited] = Outcome.POOL_ERROR
    operations["error"][waited] = errors.add(EXPIRED, 1, "waited too long")
    operations["deadline"][waited] = operations["accepted"][waited] + 20 * MILLISECOND
    operations["done"][waited] = operations["deadline"][waited] + MILLISECOND
    operations["echoed"][refused] = -1
    operations["idempotent"] &= ~refused
    return np.flatnonzero(~refused)


def _place(rng: np.random.Generator, operations: Columns, held: I64) -> tuple[I64, dict[int, int]]:
    """The worker's place that serves each operation that was taken, and the place of each victim by its position."""
    session = operations["session"][held]
    slot = np.where(session >= 0, session % WORKERS, rng.integers(0, WORKERS, len(held)))
    due = operations["due"][held]
    victims: dict[int, int] = {}
    for number, share in enumerate((*KILLS, *STALLS)):
        place = number % WORKERS
        later = np.arange(round(share * len(held)), len(held))
        victim = int(later[np.flatnonzero((slot[later] == place) & (session[later] < 0))[0]])
        victims[victim] = place
        operations["idempotent"][held[victim]] = False
        if number >= len(KILLS):
            # Nothing new waits behind a worker that is stopped, but what belongs to its sessions does.
            away = (slot == place) & (session < 0) & (due > due[victim]) & (due < due[victim] + 2 * STALL_NS)
            away[victim] = False
            slot[away] = (place + rng.integers(1, WORKERS, np.count_nonzero(away))) % WORKERS
    return slot, victims


def _serve(
    rng: np.random.Generator, operations: Columns, held: I64, slot: I64, victims: dict[int, int]
) -> tuple[Columns, dict[int, tuple[int, int]]]:
    """The executions of what was taken, and the moment at which each victim (by its position) was harmed."""
    took = np.round(rng.uniform(0.5, 1.5, len(held)) * SERVICE_S * SECOND).astype(np.int64)
    occupied = took.copy()
    for number, victim in enumerate(victims):
        occupied[victim] += REPLACED_NS if number < len(KILLS) else STALL_NS
    over = np.empty(len(held), dtype=np.int64)
    for place in range(WORKERS):
        mine = np.flatnonzero(slot == place)
        over[mine] = one_after_the_other(operations["accepted"][held[mine]] + 50_000, occupied[mine])
    started, ended = over - occupied, over.copy()
    struck = {}
    for number, (victim, place) in enumerate(victims.items()):
        moment = int(started[victim] + took[victim] // 2)
        struck[victim] = (moment, place)
        if number < len(KILLS):
            ended[victim] = 0
    executions = {
        "op": held,
        "slot": slot,
        "started": started,
        "ended": ended,
        "raised": np.zeros(len(held), dtype=np.int64),
        "error_type": np.zeros(len(held), dtype=np.int64),
    }
    return executions, struck


def _resolve(
    rng: np.random.Generator,
    operations: Columns,
    executions: Columns,
    errors: _Errors,
    held: I64,
    struck: dict[int, tuple[int, int]],
) -> None:
    """How everything that was taken ended, for its client and in the worker's record."""
    operations["done"][held] = executions["ended"] + 60_000
    plain = np.ones(len(held), dtype=bool)

    def fails(rows: np.ndarray, outcome: Outcome, error: Any, mark: str = "") -> None:
        ops = held[rows]
        plain[rows] = False
        operations["outcome"][ops], operations["error"][ops], operations["echoed"][ops] = outcome, error, -1
        if mark:
            executions["raised"][rows], executions["error_type"][rows] = 1, type_mark(mark)

    for number, (victim, (moment, _)) in enumerate(struck.items()):
        plain[victim] = False
        if number < len(KILLS):
            fails(np.array([victim]), Outcome.POOL_ERROR, errors.add(DIED, 1, "a worker died"))
            operations["done"][held[victim]] = moment + 5 * MILLISECOND
    position = round(AWKWARD * len(held))
    for number, (name, kind) in enumerate(awkward.workload.kinds.items()):
        rows = np.array([position + 100 * number])
        operations["kind"][held[rows]] = KINDS.index(name)
        operations["session"][held[rows]] = operations["session_seq"][held[rows]] = -1
        operations["idempotent"][held[rows]] = False
        plain[rows] = False
        if kind.raises and not kind.may_return:
            fails(rows, Outcome.USER_ERROR, errors.add(kind.raises[0], 1), kind.raises[0])
    # Between overload and deaths: what fails in the one looks refused, and after the last death nothing may fail.
    between = np.abs(np.arange(len(held)) / len(held) - 0.3) < 0.1
    tight = np.flatnonzero(plain & between & (rng.random(len(held)) < 0.01))
    fails(tight, Outcome.POOL_ERROR, errors.add(EXPIRED, 1, "too late"), EXPIRED)
    operations["deadline"][held[tight]] = executions["ended"][tight] - 300_000
    own = np.flatnonzero(plain & (rng.random(len(held)) < 0.01))
    fails(
        own, Outcome.USER_ERROR, errors.add(OWN, DISTINCT, "no such label") + rng.integers(0, DISTINCT, len(own)), OWN
    )
    operations["idempotent"][held[~plain]] = False


def _number_lives(executions: Columns, slot: I64, victims: dict[int, int]) -> int:
    """Give each execution the pid of its worker's incarnation; how many there were.

    A place has a new one after each `LIFE` executions and after each kill.
    """
    died = np.zeros(len(slot), dtype=np.int64)
    died[list(victims)[: len(KILLS)]] = 1
    life = np.empty(len(slot), dtype=np.int64)
    for place in range(WORKERS):
        mine = np.flatnonzero(slot == place)
        deaths = np.cumsum(died[mine]) - died[mine]
        life[mine] = (np.arange(len(mine)) // LIFE + deaths) * WORKERS + place
    distinct = np.unique(life)
    executions["pid"] = 2_000 + np.searchsorted(distinct, life)
    executions["start_time"] = executions["pid"] * 7 + 100_000
    executions["tid"] = executions["pid"].copy()
    return len(distinct)


def _keep_states(rng: np.random.Generator, operations: Columns, executions: Columns) -> None:
    """The state of its session that each execution found, and the second run of what may run twice."""
    again = np.flatnonzero(operations["idempotent"][executions["op"]])
    half = (executions["started"][again] + executions["ended"][again]) // 2
    second = {name: column[again] for name, column in executions.items()}
    second["started"] = half
    executions["ended"][again] = half - 1_000
    executions["raised"][again], executions["error_type"][again] = 1, type_mark("builtins.ConnectionError")
    for name, column in executions.items():
        executions[name] = np.concatenate([column, second[name]])
    session = operations["session"][executions["op"]]
    state = np.where(session >= 0, session + SESSIONS * executions["pid"], -1)
    executions["session"] = session
    salt = np.uint64(rng.integers(1, 1 << 62))
    executions["epoch"] = np.where(session >= 0, state.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) ^ salt, 0)
    by_start = np.argsort(executions["started"], kind="stable")
    counter = np.empty(len(state), dtype=np.int64)
    counter[by_start] = _rank(state[by_start]) + 1
    executions["counter"] = counter


def _rank(groups: np.ndarray) -> np.ndarray:
    """How many earlier rows are of the same group; -1 where the group is negative."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    rank = np.empty(len(groups), dtype=np.int64)
    rank[order] = np.arange(len(groups)) - np.searchsorted(ordered, ordered)
    return np.where(groups < 0, -1, rank)


# --- beside the load --------------------------------------------------------------------------------------------


def _beside(
    operations: Columns, executions: Columns, errors: _Errors, window: int, lives: int
) -> tuple[Columns, Columns]:
    """Put the warm-up and the probes of capacity around the load, and one operation after the close."""
    first, last = _of_each_place(executions, last=False), _of_each_place(executions, last=True)
    refused = errors.add("builtins.RuntimeError", 1, "cannot schedule new futures after shutdown")
    end = ORIGIN + window
    probe = KINDS.index(RENDEZVOUS)
    groups = [
        (_PROBES, Phase.PROBE, probe, ORIGIN - 2 * SECOND, first),
        (_WARM_UP, Phase.WARM_UP, 0, ORIGIN - SECOND, first),
        (_PROBES, Phase.PROBE, probe, end + 4 * SECOND, last),
        (1, Phase.AFTER_CLOSE, 0, end + 6 * SECOND, None),
    ]
    parts: list[Columns] = []
    ran: list[Columns] = []
    before = _PROBES + _WARM_UP
    op = 0
    for number, (count, phase, kind, moment, workers) in enumerate(groups):
        if number == 2:
            op += len(operations["due"])
        index = np.arange(count)
        sent = moment + index // WORKERS * 100 * MILLISECOND + index % WORKERS * 20_000
        part = {name: np.zeros(count, dtype=np.int64) for name in operations}
        part["kind"][:], part["phase"][:], part["session"][:], part["session_seq"][:] = kind, phase, -1, -1
        part["sent"], part["accepted"] = sent, sent + 15_000
        part["done"], part["error"], part["echoed"] = sent + 9 * MILLISECOND, np.full(count, -1), op + index
        part["outcome"][:] = Outcome.OK
        if workers is None:
            part["outcome"][:], part["error"][:], part["echoed"][:] = Outcome.REJECTED, refused, -1
        else:
            row = workers[index % WORKERS]
            execution = {name: column[row] for name, column in executions.items()}
            execution["op"], execution["started"] = op + index, sent + MILLISECOND
            execution["ended"] = sent + 8 * MILLISECOND
            execution["raised"], execution["error_type"] = np.zeros((2, count), dtype=np.int64)
            execution["session"] = np.full(count, -1)
            execution["epoch"] = execution["counter"] = np.zeros(count, dtype=np.int64)
            ran.append(execution)
        parts.append(part)
        op += count
    operations["echoed"] = np.where(operations["echoed"] >= 0, operations["echoed"] + before, -1)
    executions["op"] = executions["op"] + before
    parts.insert(2, operations)
    ran.insert(2, executions)
    joined = {name: np.concatenate([part[name] for part in parts]) for name in operations}
    return joined, {name: np.concatenate([part[name] for part in ran]) for name in executions}


def _of_each_place(executions: Columns, *, last: bool) -> I64:
    """The first or the last execution of each place."""
    started = executions["started"] if last else -executions["started"]
    order = np.argsort(started, kind="stable")
    row = np.empty(WORKERS, dtype=np.int64)
    row[executions["slot"][order]] = order
    return row


def _in_order(executions: Columns) -> Executions:
    by_start = np.argsort(executions["started"], kind="stable")
    return Executions(**_typed(Executions, {name: column[by_start] for name, column in executions.items()}))


def _typed(table: type[Any], columns: Columns) -> dict[str, Any]:
    rows = np.arange(len(next(iter(columns.values()))))
    return {name: columns.get(name, rows).astype(kind) for name, kind in column_types(table).items()}


# --- the run ----------------------------------------------------------------------------------------------------


def _scenario(window: int, operations: Columns, struck: dict[int, tuple[int, int]]) -> Scenario:
    faults = []
    for number, (moment, _) in enumerate(struck.values()):
        at_s = (moment - ORIGIN) / SECOND
        stall = number >= len(KILLS)
        faults.append(
            FaultSpec(kind="stall" if stall else "kill", count=1, at_s=at_s, for_s=STALL_NS / SECOND if stall else 0.0)
        )
    awkwards = np.flatnonzero((operations["kind"] > 1) & (operations["kind"] < len(KINDS) - 1))
    return Scenario(
        name="long",
        summary="everything at once, for as long as it takes",
        stages=("cycles", "open", "probe-before", "load", "drain", "probe-after", "close"),
        examines=PROMISES,
        load=Load(
            steps=tuple(Step(rate=rate, seconds=took / SECOND) for rate, took in _steps(window)),
            service_s=1.15
            * SERVICE_S,  # with what lies between two operations: the load before the loss is near capacity
            sessions=SESSIONS,
            burst=BURST,
            placed=tuple(
                Placed(
                    at_s=float(operations["due"][op] - ORIGIN) / SECOND,
                    kind=KINDS[int(operations["kind"][op])],
                )
                for op in awkwards
            ),
            warm_up=_WARM_UP,
        ),
        faults=tuple(faults),
    )


def _plan(scenario: Scenario, seed: int) -> Plan:
    return Plan(
        target=Target(name="some-pool", factory="some.module:factory"),
        workload="scripted",
        scenario=scenario,
        layer=2,
        workers=WORKERS,
        seed=seed,
        service_ms={"predict": SERVICE_S * 1e3, "batch": SERVICE_S * 1e3},
        bounds=Bounds(open_s=20, close_s=4, drain_s=3, rendezvous_s=0.8, outlive_s=2, total_s=7200),
        limits=Limits(max_share=0.8, min_survivors=1, max_fault_s=60, max_processes=256),
    )


def _faults(scenario: Scenario, executions: Columns, struck: dict[int, tuple[int, int]]) -> tuple[Fault, ...]:
    faults = []
    for number, (spec, (moment, place)) in enumerate(zip(scenario.faults, struck.values(), strict=True)):
        begun = (executions["slot"] == place) & (executions["started"] < moment)
        running = begun & ((executions["ended"] > moment) | (executions["ended"] == 0))
        # A kill leaves the end open for good: of those, the last one is this one's.
        row = np.flatnonzero(running)[np.argmax(executions["started"][running])]
        faults.append(
            Fault(
                fault=number,
                kind=spec.kind,
                target=spec.describe(),
                pid=int(executions["pid"][row]),
                start_time=int(executions["start_time"][row]),
                begin=moment,
                end=moment + (STALL_NS if spec.kind == "stall" else MILLISECOND),
                effective="yes",
                why="its state was seen",
                held=(int(executions["op"][row]),),
            )
        )
    return tuple(sorted(faults, key=lambda fault: fault.begin))


def _incarnations(executions: Columns, faults: tuple[Fault, ...], window: int) -> tuple[Incarnation, ...]:
    """Every life of a worker, gone as soon as the next one of its place began, and the helper beside them."""
    order = np.argsort(executions["started"], kind="stable")
    pid, slot, started = (executions[name][order] for name in ("pid", "slot", "started"))
    _, first = np.unique(pid, return_index=True)
    by_place = first[np.lexsort((started[first], slot[first]))]
    closed = ORIGIN + window + 5 * SECOND
    rows = []
    for row, following in zip(by_place.tolist(), [*by_place[1:].tolist(), None], strict=True):
        succeeded = following is not None and slot[following] == slot[row]
        rows.append(
            Incarnation(
                pid=int(pid[row]),
                start_time=int(pid[row]) * 7 + 100_000,
                ppid=1_000,
                seen=int(started[row]) - 5 * MILLISECOND,
                gone=int(started[following]) - 100_000 if following is not None and succeeded else closed,
                command="python -c worker",
            )
        )
    tracker = Incarnation(
        pid=1_001, start_time=99_999, ppid=1_000, seen=ORIGIN - 3 * SECOND, gone=closed + SECOND, command="tracker"
    )
    return (tracker, *sorted(rows, key=lambda life: life.seen))


def _samples(window: int) -> tuple[Sample, ...]:
    """What the conductor saw every 100 ms; the generator uses a quarter of a core."""
    return tuple(
        Sample(
            at=ORIGIN - 3 * SECOND + number * SECOND // 10,
            processes=WORKERS + 2,
            zombies=0,
            memory_bytes=400 << 20,
            generator_ticks=number * 5 // 2,
            lab_threads=4,
            lab_files=40,
        )
        for number in range((window + 10 * SECOND) // (SECOND // 10))
    )


_RESIDUES: Final = tuple(f"category {number}" for number in range(40))


def _lifecycle(window: int) -> tuple[Lifecycle, ...]:
    events: list[Lifecycle] = []

    def event(name: str, at_s: float, stage: str = "", value: float | None = None) -> None:
        events.append(Lifecycle(event=name, at=ORIGIN + round(at_s * SECOND), stage=stage, value=value))

    def whole(stage: str, at_s: float, took_s: float) -> None:
        event("stage", at_s, stage, 5.0)
        event("stage-ended", at_s + took_s, stage)

    seconds = window / SECOND
    for cycle in range(CYCLES + 1):
        at_s = -20.0 + 4 * cycle
        for stage in ("open", "ready", "cycle"):
            whole(stage, at_s, 0.5)
        event("ready", at_s + 0.4, "ready", 0.2)
        event("closing", at_s + 1, "close", 0)
        event("closed", at_s + 1.5, "close")
        for category in _RESIDUES:
            event("residue", at_s + 2, f"{category}, cycle {cycle}", 3)
    whole("open", -4, 0.5)
    event("ready", -3.5, "ready", 0.2)
    event("stage", -2, "probe-before", 9.0)
    event("capacity", -1.5, "probe-before", WORKERS)
    event("stage", -0.1, "load", seconds)
    event("measured", 0, "load")
    event("stage-ended", seconds + 0.5, "load")
    event("drained", seconds + 3.5, "drain", 0)
    event("stage", seconds + 3.9, "probe-after", 9.0)
    event("capacity", seconds + 4.8, "probe-after", WORKERS)
    event("stage", seconds + 5, "close", 4.0)
    event("closing", seconds + 5, "close", 0)
    event("closed", seconds + 5.5, "close")
    whole("settle", seconds + 7, 0.1)
    event("lab-ended", seconds + 8)
    return tuple(events)


# --- what can go wrong ------------------------------------------------------------------------------------------

_SILENT_NS: Final = 4 * SECOND


def _spoil(rng: np.random.Generator, history: History, errors: _Errors) -> History:
    """Break whatever can be broken, at a percent of the operations or of the executions each."""
    operations = {name: getattr(history.operations, name).astype(np.int64) for name in column_types(Operations)}
    executions = {name: getattr(history.executions, name).copy() for name in column_types(Executions)}
    count, width = len(history.operations), len(history.executions)
    fine = (operations["phase"] == Phase.MEASURED) & (operations["outcome"] == Outcome.OK)
    fate = np.where(fine, rng.random(count), 2.0)

    def share(number: int) -> Mask:
        return np.asarray((fate >= 0.01 * number) & (fate < 0.01 * (number + 1)))

    _silence(operations, history)
    lost, wrong, strange, cancelled, overtaken, belated, hidden = (share(number) for number in range(7))
    belated &= operations["session"] < 0
    overtaken &= operations["session"] < 0
    operations["echoed"][lost | strange | cancelled] = -1
    operations["outcome"][lost], operations["done"][lost] = Outcome.UNRESOLVED, 0
    operations["outcome"][wrong] = Outcome.WRONG
    operations["echoed"][wrong] += rng.integers(-1, 2, np.count_nonzero(wrong))
    operations["outcome"][strange] = Outcome.POOL_ERROR
    operations["error"][strange] = errors.add(STRANGE, 50) + rng.integers(0, 50, np.count_nonzero(strange))
    operations["outcome"][cancelled] = Outcome.CANCELLED
    operations["done"][overtaken] += SECOND
    operations["deadline"][belated] = operations["done"][belated] - SECOND
    refused = (operations["outcome"] == Outcome.REJECTED) & (operations["phase"] == Phase.MEASURED)
    late = refused & (rng.random(count) < 0.01)
    operations["done"][late] += SECOND
    unjudged = wrong & (rng.random(count) < 0.1)
    operations["error"][unjudged] = 0

    ran = executions["op"]
    executions["started"][overtaken[ran]] += SECOND
    executions["ended"][overtaken[ran]] += SECOND
    executions["ended"][lost[ran]] = 0
    of_session = executions["session"] >= 0
    whim = np.where(of_session, rng.random(width), 2.0)
    executions["session"][whim < 0.01] += 1
    executions["epoch"][(whim >= 0.01) & (whim < 0.02)] += np.uint64(1)
    hasty = (whim >= 0.03) & (whim < 0.04)
    executions["started"][hasty] -= 20 * MILLISECOND
    moved = np.flatnonzero((whim >= 0.02) & (whim < 0.03))
    for name in ("pid", "start_time", "tid"):
        executions[name][moved] = executions[name][np.maximum(moved - 1, 0)]
    doubled = np.flatnonzero(rng.random(width) < 0.01)
    twin = {name: column[doubled] for name, column in executions.items()}
    twin["started"] = twin["started"] + 100_000
    # A hundred of those that were refused were begun nevertheless.
    turned_away = np.flatnonzero(refused)[:100]
    begun_anyway = {name: column[: len(turned_away)].copy() for name, column in executions.items()}
    begun_anyway["op"] = turned_away
    begun_anyway["started"] = operations["sent"][turned_away] + MILLISECOND
    begun_anyway["ended"] = begun_anyway["started"] + MILLISECOND
    # What was lost or hidden is in part what no worker ever wrote down.
    kept = ~(hidden[ran] | (lost[ran] & (rng.random(width) < 0.5)))
    joined = {
        name: np.concatenate([column[kept], twin[name], begun_anyway[name]]) for name, column in executions.items()
    }

    end = history.operations.sent.max() + 20 * SECOND
    leftovers = tuple(
        Leftover(
            after="lab" if number % 2 else "close",
            what="process",
            owner="python -c worker",
            detail="alive",
            pid=life.pid,
            start_time=life.start_time,
            at=int(end),
        )
        for number, life in enumerate(history.incarnations[-40:])
    )
    lifecycle = tuple(
        msgspec.structs.replace(event, value=WORKERS - 2)
        if (event.event, event.stage) == ("capacity", "probe-after")
        else event
        for event in history.lifecycle
        if event.event != "closed"
    )
    hung = Lifecycle(event="hung", at=int(end), stage="close", detail="bound 4 s")
    return dataclasses.replace(
        history,
        operations=Operations(**_typed(Operations, operations)),
        executions=_in_order(joined),
        errors=tuple(errors.rows),
        lifecycle=(*lifecycle, hung),
        leftovers=leftovers,
    )


def _silence(operations: Columns, history: History) -> None:
    """Let the pool answer nothing for 4 s of each minute, and after the first death."""
    answered = operations["phase"] == Phase.MEASURED
    answered &= operations["outcome"] != Outcome.REJECTED
    minute, within = np.divmod(operations["done"] - ORIGIN, 60 * SECOND)
    silenced = answered & (within < _SILENT_NS) & (minute > 0)
    operations["done"][silenced] += _SILENT_NS - within[silenced]
    since = operations["done"] - min(fault.begin for fault in history.faults if fault.kind == "kill")
    silenced = answered & (since >= 0) & (since < _SILENT_NS)
    operations["done"][silenced] += _SILENT_NS - since[silenced]


def main(folder: str, count: str, kind: str = "sound") -> None:
    """Save one, `sound` or `bad`, in a folder of its own, as a run would have left it."""
    home = Path(folder)
    home.mkdir(parents=True)
    history = long_history(int(count), bad=kind == "bad")
    (home / "plan.json").write_bytes(plans.encode(history.plan))
    save(history, home)


if __name__ == "__main__":
    main(*sys.argv[1:])
