"""Small simulated worlds for tests: a whole one around the true core, and the surroundings of its parts."""

import math
import random
from collections.abc import Callable
from typing import Any, Literal

from poolproof.exploration.swarm import BOUNDS, LIMITS
from poolproof.history import Fault, Phase
from poolproof.plan import Claims, FaultSpec, Limits, Load, Placed, Plan, Scenario, Stage, Step
from poolproof.pools import find_core
from poolproof.pools.sessionpool import SessionPoolCore
from poolproof.simulation.client import Client
from poolproof.simulation.faults import Conductor
from poolproof.simulation.marks import Marks
from poolproof.simulation.process import Command, Process, State
from poolproof.simulation.timeline import SECOND_NS, Timeline
from poolproof.simulation.wire import LATENCY_NS, Stream
from poolproof.simulation.world import World
from sessionpool.core import Task
from sessionpool.errors import MalformedFrame
from sessionpool.wire import Frame, Kind

TARGET = find_core("sessionpool")
UNLIMITED = Limits(max_share=1.0, min_survivors=0, max_fault_s=60.0, max_processes=256)
LONG_NS = 10 * SECOND_NS
MS = SECOND_NS // 1000


def make_plan(
    *faults: FaultSpec,
    rate: float = 0.0,
    seconds: float = 1.0,
    placed: tuple[Placed, ...] = (),
    stages: tuple[Stage, ...] = ("open", "load", "drain", "close"),
    examines: tuple[str, ...] = ("resolves-every-operation", "closes-cleanly"),
    load: Load | None = None,
    workers: int = 2,
    seed: int = 1,
    limits: Limits = UNLIMITED,
    workload: str = "scripted",
    **options: str | int | float | bool | None,
) -> Plan:
    """A plan for layer 1, of a second without any load where nothing else is said."""
    return Plan(
        target=TARGET,
        workload=workload,
        scenario=Scenario(
            name="small",
            summary="a small one",
            stages=stages,
            examines=examines,
            load=load or Load(steps=(Step(rate=rate, seconds=seconds),), placed=placed, warm_up=2),
            faults=faults,
        ),
        layer=1,
        workers=workers,
        seed=seed,
        options=options,
        bounds=BOUNDS,
        limits=limits,
    )


class Room:
    """A pool's true core in a small world, with whoever harms it, told what to do by a test."""

    def __init__(
        self, workers: int = 2, *, up: bool = True, limits: Limits = UNLIMITED, seed: int = 1, **options: Any
    ) -> None:
        self.timeline = Timeline()
        self.client = Client(self.timeline, 3)
        self.record = self.client.record
        self.pool = SessionPoolCore(workers, **options)
        self.marks = Marks()
        self.world = World(self.timeline, self.pool, f"room {seed}", self.client, self.marks)
        self.conductor = Conductor(self.world, self.pool, self.record, limits, seed)
        if up:
            self.run(0.1)

    def run(self, seconds: float) -> None:
        self.world.run(self.timeline.now + round(seconds * SECOND_NS))

    def send(self, *command: Any, session: int = -1, deadline_s: float = 0.0, idempotent: bool = False) -> int:
        deadline = self.timeline.now + round(deadline_s * SECOND_NS) if deadline_s else 0
        op = self.client.prepare(
            0, Phase.MEASURED, command, session=session, deadline=deadline, idempotent=int(idempotent)
        )
        self.client.send(self.world, op)
        return op

    def inject(self, **spec: Any) -> FaultSpec:
        fault = FaultSpec(**({"at_s": 0.0} | spec))
        self.conductor.plan((fault,), self.timeline.now)
        return fault

    def ended(self, op: int) -> bool:
        return bool(self.record.done[op])

    def end(self, seconds: float = 1.0) -> None:
        """Let so much time pass, and have the conductor write down what is left to be told."""
        self.run(seconds)
        self.conductor.finish()

    @property
    def processes(self) -> list[Process]:
        return list(self.world.processes.values())

    @property
    def rows(self) -> list[Fault]:
        return self.record.faults

    @property
    def said(self) -> list[str]:
        """How effective each fault was, by its row."""
        return [row.effective for row in self.rows]

    @property
    def violations(self) -> list[tuple[str, str]]:
        return [(event.stage, event.detail) for event in self.record.lifecycle if event.event == "violation"]


class Pipe:
    """A stream, and what came out of it and when."""

    def __init__(self, timeline: Timeline | None = None, *, side: Literal["worker", "pool"] = "pool") -> None:
        self.timeline = timeline or Timeline()
        self.begin = self.timeline.now
        self.arrived: list[tuple[int, list[Frame]]] = []
        self.errors: list[MalformedFrame] = []
        self.stream = Stream(self.timeline, side, 1, self._take, self.errors.append)

    def _take(self, frames: list[Frame]) -> None:
        self.arrived.append((self.timeline.now - self.begin, frames))

    @property
    def numbers(self) -> list[int]:
        """The sequence numbers of what arrived, in order."""
        return [frame.sequence for _, frames in self.arrived for frame in frames]

    @property
    def moments(self) -> list[int]:
        return [at for at, _ in self.arrived]

    def send(self, *numbers: int) -> None:
        self.stream.send([answer(number) for number in numbers])

    def run(self, for_ns: int = LONG_NS) -> None:
        let_happen(self.timeline, self.timeline.now + for_ns)


def answer(sequence: int, body: Any = (1, 2)) -> Frame:
    return Frame(int(Kind.RESULT), 1, sequence, 0, 0, body)


def let_happen(timeline: Timeline, until: int) -> None:
    while timeline.next + timeline.ahead <= until:
        timeline.step()
    timeline.pass_until(until - timeline.ahead)


class Ground:
    """One worker process on a ground that gives it commands and remembers what it tells."""

    def __init__(self, *commands: Command) -> None:
        self.timeline = Timeline()
        self.commands = list(commands)
        self.rows: list[tuple[int, int]] = []
        self.ends: dict[int, int] = {}
        self.exits: list[str] = []
        self.answers: list[Frame] = []
        self.inward = Stream(self.timeline, "worker", 1, self.deliver, lambda error: self.process.refuse(error))
        self.outward = Stream(self.timeline, "pool", 1, self.answers.extend, lambda error: None)
        self.process = Process(1, 100, self, self.inward, self.outward)
        self.process.is_up = True
        self.begin = self.timeline.now

    def deliver(self, frames: list[Frame]) -> None:
        self.process.receive(frames)

    def command(self, op: int) -> Command:
        command: Command = self.commands[op]
        return command

    def began(self, process: Process, op: int, epoch: int) -> int:
        if epoch:
            process.states[epoch] = State(op, epoch)
        self.rows.append((op, self.timeline.now - self.begin))
        return len(self.rows) - 1

    def ended(self, row: int, command: Command) -> None:
        self.ends[row] = self.timeline.now - self.begin

    def died(self, process: Process, exit_: str) -> None:
        self.exits.append(exit_)

    def run(self, seconds: float = 10.0) -> None:
        let_happen(self.timeline, self.timeline.now + round(seconds * SECOND_NS))

    def call(self, *ops: int, epoch: int = 0, kind: Kind = Kind.CALL) -> None:
        """Give it operations, numbered from 1 as they are in the list of commands; they arrive at once."""
        self.process.receive([Frame(int(kind), 1, op + 1, epoch, 0, op) for op in ops])  # type: ignore[arg-type]

    def said(self, frame: Frame) -> Any:
        """What a frame carries, which in a simulated world is any value."""
        return frame.body

    @property
    def kinds(self) -> list[Kind]:
        """What the answers were."""
        return [Kind(frame.kind) for frame in self.answers]


class ScriptedCore:
    """A core that remembers what it is told, and decides what a test has put down for it."""

    def __init__(self, script: dict[str, list[Any]]) -> None:
        self.due = math.inf
        self.is_over = False
        self.is_observed = False
        self.told: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.script = {name: list(entries) for name, entries in script.items()}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)

        def method(now: float, *args: Any, **kwargs: Any) -> Any:
            self.told.append((name, args, kwargs))
            entries = self.script.get(name)
            found = entries.pop(0) if entries else []
            if isinstance(found, Exception):
                raise found
            return found

        return method

    def tellings(self, name: str) -> list[tuple[Any, ...]]:
        return [args for told, args, _ in self.told if told == name]


class ScriptedPool:
    """The pool of such a core."""

    claims = Claims()
    workers = 1
    is_strict = False
    max_runs = 1

    def __init__(self, script: dict[str, list[Any]], max_queue: int | None, look_s: float) -> None:
        self.max_queue = max_queue
        self.look_s = look_s
        self.core = ScriptedCore(script)

    def make_core(self, chance: random.Random) -> ScriptedCore:
        return self.core

    def make_task(self, op: int, *, kind: int, session: int | None, deadline_s: float | None, idempotent: bool) -> Task:
        return task(op)

    def tamper(self, core: Any, how: str, count: int, chance: random.Random) -> list[int]:
        return []


def task(op: int, sequence: int = 0, *, closes: bool = False) -> Task:
    """An operation as a core sends it."""
    made = Task(op, closes=closes)
    made.sequence = sequence
    return made


class Doubled:
    """A scripted core in a world, with its client."""

    def __init__(self, script: dict[str, list[Any]], max_queue: int | None = None, *, look_s: float = 1000.0) -> None:
        self.timeline = Timeline()
        self.client = Client(self.timeline, 3)
        self.pool = ScriptedPool(script, max_queue, look_s)
        self.core = self.pool.core
        self.world = World(self.timeline, self.pool, "doubled", self.client)

    def send(self, *command: Any) -> int:
        op = self.client.prepare(0, Phase.MEASURED, command)
        self.client.send(self.world, op)
        return op

    def run(self, seconds: float) -> None:
        self.world.run(self.timeline.now + round(seconds * SECOND_NS))

    @property
    def violations(self) -> list[tuple[str, str]]:
        return [(event.stage, event.detail) for event in self.client.record.lifecycle if event.event == "violation"]


__all__ = [
    "LATENCY_NS",
    "LIMITS",
    "MS",
    "SECOND_NS",
    "TARGET",
    "UNLIMITED",
    "Doubled",
    "Ground",
    "Pipe",
    "Room",
    "ScriptedCore",
    "answer",
    "make_plan",
    "task",
]
