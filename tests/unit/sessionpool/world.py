"""A small world around a `Core`: it carries out effects on workers that are lists, and checks each of them.

A worker here takes what it was sent in order, writes its progress truthfully, and answers what it ran. Nothing happens
by itself: whoever drives the world forks, makes ready, begins, finishes, delivers, kills and moves the clock. What must
hold of every pool is asserted on each step; `settle` lets everybody do their part and asserts that nothing is left.
"""

import math
import random
from collections import Counter, deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from sessionpool.core import (
    PREFETCH_S,
    WAITING,
    Core,
    Drop,
    Effect,
    Forget,
    Kill,
    PoolBroken,
    Publish,
    Recall,
    Resolve,
    Send,
    Start,
    Stop,
    Task,
)
from sessionpool.errors import (
    DeadlineExceeded,
    PoolClosed,
    PoolSaturated,
    SessionLost,
    WorkerDied,
)
from sessionpool.events import Snapshot
from sessionpool.progress import SETTLE_S
from sessionpool.settings import Affinity, Settings
from sessionpool.wire import Frame, Kind

Phase = Literal["wanted", "forked", "up"]
Said = tuple[str, float, dict[str, Any]]
"""What the core was told: by which method, when, and with what."""

TICKS_PER_S: Final = 150
"""More than so many is a busy spin: growth, the most frequent, looks a hundred times."""

_SLACK_S: Final = 1e-9
_ROUNDS: Final = 2000


@dataclass(slots=True, eq=False)
class Record:
    """What the world knows of one operation."""

    task: Task
    generation: int
    since: float
    place: int | Literal["waiting", "done"] = "waiting"
    """Waiting, over, or the worker that holds it."""
    worker: int = 0
    """That held it last."""
    is_taken: bool = False
    begun: int = 0
    passed: int = 0
    """How often a worker's progress passed it without it being run, for it was recalled or refused; from outside that
    looks as if it had begun."""
    executed: int = 0
    answers: list[Frame] = field(default_factory=list)
    outcome: Any = None


@dataclass(slots=True)
class Order:
    """One thing that a worker was sent."""

    kind: Kind
    record: Record | None = None
    sequence: int = 0
    epoch: int = 0


@dataclass(slots=True, eq=False)
class Worker:
    """A worker process, as far as it matters."""

    number: int
    since: float
    phase: Phase = "wanted"
    pid: int | None = None
    inbox: deque[Order] = field(default_factory=deque)
    at: Order | None = None
    """What it is at."""
    outbox: list[Frame] = field(default_factory=list)
    held: list[Record] = field(default_factory=list)
    begun: int = 0
    answered: int = 0
    sequence: int = 0
    epochs: set[int] = field(default_factory=set)
    opened: set[int] = field(default_factory=set)
    """The epochs that it ever opened."""
    forgotten: set[int] = field(default_factory=set)
    memory: int = 1 << 20
    recalled: tuple[int, int] | None = None
    """The sequence numbers of what it is not to begin any more."""
    recall_due: float = math.inf
    is_killed: bool = False
    is_asked_to_stop: bool = False
    asked_at: float = 0.0
    has_left: bool = False
    has_failed: bool = False
    stopped_at: float | None = None
    went_on_from: float | None = None
    """When it was stopped last, as long as neither a look nor its progress words have shown that it went on."""
    still_since: float = 0.0
    """Since when its progress words are what they are, and it holds what it holds."""
    looked_at: float = -math.inf
    watched_since: float = 0.0
    """Since when it is looked at without a pause."""

    @property
    def is_leaving(self) -> bool:
        return self.is_killed or self.is_asked_to_stop


class World:
    """A core, its workers, and a clock that is moved by hand.

    Args:
        settings: the pool's.
        seed: of the core's chance.
        observed: whether events are wanted.
    """

    def __init__(self, settings: Settings, *, seed: int = 0, observed: bool = False) -> None:
        self.settings = settings
        self.now = 0.0
        self.seed = seed
        self.observed = observed
        self.core = self._make()
        self.workers: dict[int, Worker] = {}
        self.records: dict[int, Record] = {}
        self.open_records: dict[int, Record] = {}
        self.script: list[Said] = []
        """Everything that the core was told, to be told again to another one."""
        self.told: list[Any] = []
        """Every effect, in words that can be compared."""
        self.effects: list[Effect] = []
        """Those of the last step."""
        self.is_shut = False
        self.cancels = False
        self.is_immediate = False
        self.was_given_up = False
        self._tasks: dict[int, Task] = {}
        self._terms: dict[int, dict[str, Any]] = {}
        self._generations: Counter[Hashable] = Counter()
        self._epochs: dict[int, tuple[int, Hashable, int]] = {}
        """Of each epoch: its worker, its session's key, and which session of that key."""
        self._epochs_of: dict[tuple[Hashable, int], set[int]] = {}
        self._executed: dict[tuple[Hashable, int], int] = {}
        """The number of the operation that each session executed last."""
        self._not_strict: set[tuple[Hashable, int]] = set()
        self._ended: Counter[int] = Counter()
        self._had_stalled = False
        self._may_return: list[Record] = []
        """What a worker may lose in this step without being done with it."""
        self._step("open")

    def _make(self) -> Core:
        core = Core(self.settings, random.Random(self.seed))
        core.is_observed = self.observed
        return core

    # --- clients ------------------------------------------------------------------------------------------------------

    def submit(
        self,
        *,
        key: str | None = None,
        affinity: Affinity | None = None,
        existing: bool = False,
        closes: bool = False,
        deadline_s: float | None = None,
        idempotent: bool = False,
        cost: Hashable = None,
        size: int = 0,
    ) -> Record | None:
        """Submit an operation; None where it was refused, which has to be for a reason."""
        index = len(self._terms)
        self._terms[index] = {
            "size": size,
            "cost": cost,
            "has_session": key is not None,
            "key": key,
            "affinity": affinity,
            "existing": existing,
            "closes": closes,
            "deadline_s": deadline_s,
            "idempotent": idempotent,
        }
        task = self._tasks[index] = Task(index, **self._terms[index])
        before = self.core.snapshot()
        record = Record(task, self._generations[key], self.now)
        self.records[index] = self.open_records[index] = record
        session = (key, record.generation)
        if key is not None and (affinity or self.settings.sessions.affinity) != "strict" and not closes:
            self._not_strict.add(session)
        refusal: PoolSaturated | PoolBroken | PoolClosed | None = None
        try:
            self._step("submit", task=index)
        except (PoolSaturated, PoolBroken, PoolClosed) as error:
            refusal = error
        if isinstance(refusal, PoolSaturated):
            limit = self.settings.max_queue if refusal.what == "queue" else self.settings.sessions.max_count
            held = before.queued if refusal.what == "queue" else before.sessions
            assert limit is not None
            assert held >= limit, f"refused, with {held} of {limit} {refusal.what}"
            assert not closes, "the end of a session was refused"
            assert self.core.snapshot() == before, "a refused operation left a trace"
        elif refusal is not None:
            assert before.broken if isinstance(refusal, PoolBroken) else before.closed
        else:
            if closes:
                self._generations[key] += 1
            if record.place == "waiting" and not closes and self.settings.max_queue is not None:
                assert before.queued < self.settings.max_queue, "more wait than may"
            return record
        record.place = "done"
        self.open_records.pop(index)
        self.check()
        return None

    def withdraw(self, record: Record) -> None:
        """Cancel an operation, as its client may while no worker has taken it; the end of a session never."""
        if record.place != "waiting" or record.is_taken or record.task.closes:
            return
        self._leave(record, "withdrawn")
        self._step("withdraw", task=record.task.payload)

    def shutdown(self, *, cancel: bool = False, immediate: bool = False) -> None:
        self.is_shut = True
        self.cancels |= cancel or immediate
        self.is_immediate |= immediate
        self._step("shutdown", cancel=cancel, immediate=immediate)
        if immediate:
            assert not self.open_records, "an immediate shutdown left operations"

    def give_up(self) -> None:
        self.was_given_up = True
        self._step("give_up", error=PoolBroken("the driver failed"))
        assert not self.open_records, "operations outlived the pool"

    # --- workers ------------------------------------------------------------------------------------------------------

    def fork(self, it: Worker) -> None:
        if it.phase == "wanted":
            it.phase, it.pid = "forked", 1000 + it.number
            self._step("forked", worker=it.number, pid=it.pid)

    def ready(self, it: Worker) -> None:
        if it.phase == "forked" and not it.has_failed:
            it.phase = "up"
            it.still_since = self.now
            self._step("ready", worker=it.number)

    def fail_to_start(self, it: Worker, words: str = "no luck") -> None:
        """Without a process it is over at once; with one it tells how its initialiser failed, and dies thereafter."""
        if it.phase == "up" or it.has_failed:
            return
        it.has_failed = True
        if it.phase == "wanted":
            del self.workers[it.number]
        self._step("start_failed", worker=it.number, words=words)

    def begin(self, it: Worker) -> bool:
        """It looks at the next thing that it was sent; whether there was one."""
        if it.phase != "up" or it.at is not None or it.stopped_at is not None or it.has_left or not it.inbox:
            return False
        order = it.inbox.popleft()
        if order.kind is Kind.STOP:
            it.has_left = True
            return True
        if order.sequence:
            it.begun = order.sequence
            it.still_since = self.now
            it.went_on_from = None
        if order.record is None:
            it.epochs.discard(order.epoch)
            return True
        record = order.record
        if it.recalled is not None and it.recalled[0] <= order.sequence <= it.recalled[1]:
            record.passed += 1
            self._answer(it, order, Kind.RETURNED, 0)
            return True
        assert record.place in (it.number, "done"), "a worker begins what was taken from it"
        assert record.place == "done" or record.task.sequence == order.sequence, "a worker begins what was sent anew"
        if order.kind is Kind.CALL and order.epoch and order.epoch not in it.epochs:
            record.passed += 1
            self._answer(it, order, Kind.REFUSED, 0)
            return True
        record.begun += 1
        if order.kind is Kind.OPEN:
            it.epochs.add(order.epoch)
            it.opened.add(order.epoch)
        elif order.kind is Kind.FORGET:
            it.epochs.discard(order.epoch)
            self._answer(it, order, Kind.FORGOTTEN, 0)
            return True
        self._execute(it, order, record)
        it.at = order
        return True

    def finish(self, it: Worker, took_ns: int = 1000, kind: Kind = Kind.RESULT) -> bool:
        """It ends what it is at; whether it was at something."""
        if it.at is None or it.stopped_at is not None:
            return False
        order, it.at = it.at, None
        self._answer(it, order, kind, took_ns)
        return True

    def deliver(self, it: Worker, count: int = 1 << 30) -> bool:
        """Its first answers arrive, together; whether there were any."""
        frames, it.outbox = it.outbox[:count], it.outbox[count:]
        if frames:
            self._may_return = [one for one in it.held for frame in frames if _gives_back(frame, one)]
            self._step("replied", worker=it.number, frames=frames)
        return bool(frames)

    def work(self, it: Worker, took_ns: int = 1000) -> bool:
        """It runs all that it was sent, and its answers arrive together; whether it did anything."""
        did = False
        while self.begin(it) | self.finish(it, took_ns):
            did = True
        return self.deliver(it) or did

    def die(self, it: Worker, *, lost: int = 0, exit_: str = "signal SIGKILL") -> None:
        """It ends; what it answered arrives before, but for the last ones where they were still its own."""
        if it.phase == "wanted":
            self.fork(it)
        if it.number not in self.workers:
            return
        del it.outbox[max(0, len(it.outbox) - lost) :]
        self.deliver(it)
        begun = it.begun
        del self.workers[it.number]
        for record in it.held:
            record.place = "waiting"
        self._step("exited", worker=it.number, started=begun, exit=exit_)

    def see_recall(self, it: Worker) -> None:
        """It surely sees what was recalled."""
        if it.recall_due < math.inf:
            it.recall_due = math.inf
            self._may_return = list(it.held)
            self._step("recalled", worker=it.number, begun=it.begun)

    def forget_all(self, it: Worker) -> None:
        """It loses its states, and does not know it."""
        it.epochs.clear()

    def forget_one(self, it: Worker, which: int) -> None:
        """It loses one of its states, and does not know it."""
        if it.epochs:
            it.epochs.remove(sorted(it.epochs)[which % len(it.epochs)])

    def stop(self, it: Worker) -> None:
        """Its process is stopped, as by SIGSTOP; where nobody could see that it went on, it still is."""
        if it.stopped_at is None:
            it.stopped_at = self.now if it.went_on_from is None else it.went_on_from

    def go_on(self, it: Worker) -> None:
        if it.stopped_at is not None:
            it.went_on_from, it.stopped_at = it.stopped_at, None
            it.still_since = self.now

    def look(self, it: Worker) -> None:
        """It is looked at from outside, truthfully."""
        if it.phase == "wanted":
            return
        if self.now - it.looked_at > self.settings.timing.stall_s:
            it.watched_since = self.now
        it.looked_at = self.now
        it.went_on_from = None
        self._had_stalled |= it.stopped_at is not None
        self._step(
            "observed",
            worker=it.number,
            is_stopped=it.stopped_at is not None,
            memory=it.memory,
            progress=(it.begun, it.answered),
            is_silent=not it.outbox,
        )

    def doom(self, it: Worker, reason: str = "its wire is torn") -> None:
        self._step("doom", worker=it.number, reason=reason)

    # --- time ---------------------------------------------------------------------------------------------------------

    def pause(self, seconds: float) -> None:
        """Time passes and nobody acts."""
        self.now += seconds

    def tick(self) -> None:
        self._step("tick")
        for record in self.open_records.values():
            if record.task.deadline_s is not None and record.since + record.task.deadline_s <= self.now:
                assert isinstance(record.place, int), "an operation waits beyond its deadline"
                assert self.workers[record.place].is_killed, "an operation runs beyond its deadline"

    def advance(self, seconds: float, *, looks: bool = False) -> None:
        """Time passes, with ticks as they are due, and looks at the workers where they are wanted."""
        until = self.now + seconds
        look_s = self.settings.timing.stall_s / 4
        look_at = self.now + look_s if looks else math.inf
        ticks = at_once = 0
        while True:
            recall_at = min((it.recall_due for it in self.workers.values()), default=math.inf)
            at = max(self.now, min(self.core.due, look_at, recall_at))
            if at > until:
                break
            at_once = at_once + 1 if at == self.now else 0
            assert at_once < 6, f"ticks at {self.now} bring no end of ticks at {self.now}"
            self.now = at
            if at >= look_at:
                look_at = at + look_s
                for it in list(self.workers.values()):
                    self.look(it)
            for it in list(self.workers.values()):
                if it.recall_due <= at:
                    self.see_recall(it)
            if self.core.due <= at:
                ticks += 1
                self.tick()
        most = 20 + len(self.records) + TICKS_PER_S * seconds
        assert ticks <= most, f"{ticks} ticks within {seconds} s"
        self.now = until

    # --- everything comes to its end ----------------------------------------------------------------------------------

    def settle(self) -> None:
        """Everybody does their part until nothing is left to do.

        Raises:
            AssertionError: something stays undone.
        """
        for _ in range(_ROUNDS):
            did = False
            for it in list(self.workers.values()):
                self.go_on(it)
                if it.is_killed or it.has_left or it.has_failed:
                    self.die(it, exit_="exit status 0")
                    did = True
                elif it.phase == "wanted":
                    self.fork(it)
                    did = True
                elif it.phase == "forked":
                    self.ready(it)
                    did = True
                else:
                    did |= it.recall_due < math.inf
                    self.see_recall(it)
                    did |= self.work(it)
                    if it.went_on_from is not None:
                        self.look(it)
                        did = True
            if did:
                continue
            if not self.open_records and (not self.is_shut or self.core.is_over):
                return
            left = [(index, one.place) for index, one in self.open_records.items()]
            assert self.core.due < math.inf, f"nothing will ever happen, and there is {left}: {self.core.snapshot()}"
            self.advance(max(0.0, self.core.due - self.now))
        raise AssertionError(f"it does not come to rest: {self.core.snapshot()}")

    def replay(self) -> list[Any]:
        """The effects of a fresh core that is told the same."""
        core = self._make()
        tasks: dict[int, Task] = {}
        told: list[Any] = []
        for said in self.script:
            try:
                told += map(_in_words, self._say(core, tasks, said))
            except (PoolSaturated, PoolClosed, PoolBroken) as refusal:
                told.append(repr(refusal))
        return told

    # --- steps --------------------------------------------------------------------------------------------------------

    def _say(self, core: Core, tasks: dict[int, Task], said: Said) -> list[Effect]:
        method, now, arguments = said
        if "task" in arguments:
            index = arguments["task"]
            if index not in tasks:
                tasks[index] = Task(index, **self._terms[index])
            arguments = {"task": tasks[index]}
        effects: list[Effect] = getattr(core, method)(now, **arguments)
        return effects

    def _step(self, method: str, **arguments: Any) -> None:
        was_broken = self.core.snapshot().broken
        said = (method, self.now, arguments)
        self.script.append(said)
        try:
            self.effects = self._say(self.core, self._tasks, said)
        except (PoolSaturated, PoolClosed, PoolBroken) as refusal:
            self.told.append(repr(refusal))
            raise
        self.told += map(_in_words, self.effects)
        if self.core.snapshot().broken and not was_broken and not self.was_given_up:
            assert not [it for it in self.workers.values() if it.phase == "up" and not it.is_asked_to_stop], (
                "it broke with a worker left"
            )
        self._take_back()
        has_prefetched = False
        late: list[Recall] = []
        for effect in self.effects:
            match effect:
                case Start(number):
                    assert number not in self.workers, "a number was given twice"
                    assert not self.is_shut or self.open_records, "a worker is started, and nothing is left to do"
                    self.workers[number] = Worker(number, self.now, looked_at=self.now, watched_since=self.now)
                case Send(number, tasks):
                    has_prefetched |= self._send(self.workers[number], tasks)
                case Forget(number, epoch):
                    self._forget(number, epoch)
                case Stop(number):
                    it = self.workers[number]
                    assert not it.held, "a worker that holds operations was asked to stop"
                    assert not it.is_leaving, "a worker on its way out was asked to stop"
                    it.is_asked_to_stop, it.asked_at = True, self.now
                    it.inbox.append(Order(Kind.STOP))
                case Kill(number):
                    self._kill(number)
                case Recall(number, first, last):
                    it = self.workers[number]
                    assert it.held, "nothing was recalled"
                    assert first > it.held[0].task.sequence, "what a worker is at was recalled"
                    if (it.recalled or (0, 0))[1] <= it.begun < first:
                        it.recalled, it.recall_due = (first, last), self.now + SETTLE_S
                    else:  # there is one word for it, and what was recalled before is not passed; or this is
                        late.append(effect)
                case Resolve(task, answer):
                    self._resolve(self._record_of(task), answer)
                case Drop(task):
                    assert self.cancels, "an operation was cancelled by nobody"
                    record = self._record_of(task)
                    assert record.place == "waiting", "an operation that a worker holds was cancelled"
                    self._leave(record, "dropped")
                case Publish(event):
                    assert event.at_s == self.now
                    if event.what in ("resolved", "withdrawn"):
                        self._ended[event.operation] += 1
                        assert self._ended[event.operation] == 1, "an operation's end was published twice"
        self.check()
        if has_prefetched:
            assert not self.core.snapshot().ready, "one worker holds work in advance while another one is idle"
        for effect in late:
            self._step("recalled", worker=effect.worker, begun=effect.last)

    def _take_back(self) -> None:
        """What came back in this step is not held any more, whether it waits now or was sent anew."""
        sent = {id(task) for effect in self.effects if isinstance(effect, Send) for task in effect.tasks}
        for record in self._may_return:
            if isinstance(record.place, int) and (record.task.state == WAITING or id(record.task) in sent):
                self.workers[record.place].held.remove(record)
                record.place = "waiting"
        self._may_return = []

    def _record_of(self, task: Task) -> Record:
        record = self.records[task.payload]
        assert record.place != "done", "an operation was resolved twice"
        return record

    def _leave(self, record: Record, outcome: Any) -> None:
        if isinstance(record.place, int) and record.place in self.workers:
            self.workers[record.place].held.remove(record)
        record.place = "done"
        record.outcome = outcome
        del self.open_records[record.task.payload]

    def _send(self, it: Worker, tasks: list[Task]) -> bool:
        assert it.phase == "up", "operations were sent to a worker that is not ready"
        assert not it.is_leaving, "operations were sent to a worker that was to go"
        has_prefetched = False
        for task in tasks:
            record = self.records[task.payload]
            assert record.place == "waiting", f"what is at {record.place} was sent"
            record.place, record.worker, record.is_taken = it.number, it.number, True
            it.sequence += 1
            assert task.sequence == it.sequence, "the sequence has a gap"
            if task.deadline_s is not None:
                assert self.now < record.since + task.deadline_s, "an operation was sent after its deadline"
            if it.held:
                has_prefetched = True
                assert task.deadline_s is None, "an operation with a deadline was sent in advance"
                held = sum(one.task.estimate for one in it.held) + task.estimate
                assert held <= PREFETCH_S + _SLACK_S, f"a worker holds work for {held} s in advance"
            else:
                it.still_since = self.now
            it.held.append(record)
            if task.key is not None:
                self._check_epoch(it, record)
            kind = Kind.FORGET if task.closes else Kind.OPEN if task.opens else Kind.CALL
            it.inbox.append(Order(kind, record, task.sequence, task.epoch))
        return has_prefetched

    def _check_epoch(self, it: Worker, record: Record) -> None:
        task = record.task
        session = (task.key, record.generation)
        bound = self._epochs.setdefault(task.epoch, (it.number, *session))
        assert bound == (it.number, *session), "an epoch has two workers, or two sessions"
        assert task.epoch not in it.forgotten, "an epoch that is over is used"
        epochs = self._epochs_of.setdefault(session, set())
        is_new = task.epoch not in epochs
        ahead = [one for one in it.held if one is not record and one.task.epoch == task.epoch and one.task.opens]
        is_open = task.epoch in it.opened or bool(ahead)
        assert task.closes or task.opens != is_open, "an epoch is opened by its first operation, and by no other one"
        epochs.add(task.epoch)
        assert len(epochs) == 1 or session in self._not_strict, "a strict session goes on with a fresh state"
        if is_new and len(epochs) > 1:
            held = [one for other in self.workers.values() for one in other.held]
            held = [one for one in held if (one.task.key, one.generation) == session]
            assert all(one.task.epoch == task.epoch for one in held), "a session is in two epochs at once"

    def _forget(self, number: int, epoch: int) -> None:
        it = self.workers.get(number)
        assert self._epochs[epoch][0] == number, "a worker is told to forget what it never knew"
        if it is not None:
            it.forgotten.add(epoch)
            assert all(one.task.epoch != epoch for one in it.held), "an epoch ends with operations under way"
            it.inbox.append(Order(Kind.FORGET, None, 0, epoch))

    def _kill(self, number: int) -> None:
        it = self.workers.get(number)
        if it is None:  # it could not even be forked
            return
        assert not it.is_killed, "a worker was killed twice"
        it.is_killed = True
        reason = self.core._workers[number].doom
        assert reason is not None
        why = reason[0]
        timing = self.settings.timing
        watched = max(it.still_since, it.watched_since)
        if "deadline" in why:
            passed = [one for one in it.held if one.task.deadline_at <= self.now]
            assert passed, "a worker was killed for a deadline that had not passed"
        elif "not ready" in why:
            assert it.phase != "up"
            assert self.now >= it.since + timing.start_s
        elif "not left" in why:
            assert self.now >= it.asked_at + timing.stop_s
        elif "it was stopped" in why:
            assert it.stopped_at is not None, "a worker was killed as stopped, and is not"
            still = self.now - max(it.stopped_at, it.watched_since)
            assert still >= timing.stall_s - _SLACK_S, "a worker was killed as stopped, having had no chance"
        elif "did not take up" in why:
            assert it.at is None, "a worker was killed as standing still, and is at work"
            assert it.inbox, "a worker was killed as standing still, and has nothing to do"
            assert self.now - watched >= timing.stall_s - _SLACK_S, "a worker was killed that had no chance"
        else:
            assert "did not arrive" not in why, "an answer arrives, and was not awaited"

    def _execute(self, it: Worker, order: Order, record: Record) -> None:
        task = record.task
        record.executed += 1
        most = 1 + self.settings.restarts.max_retries if task.idempotent else 1
        assert record.executed <= most, f"executed {record.executed} times, and {most} is the most"
        if task.key is not None and record.place != "done":
            session = (task.key, record.generation)
            assert task.number >= self._executed.get(session, 0), "a session's operations were executed out of order"
            self._executed[session] = task.number

    def _answer(self, it: Worker, order: Order, kind: Kind, took_ns: int) -> None:
        frame = Frame(int(kind), it.number, order.sequence, order.epoch, took_ns, b"")
        if order.record is not None:
            order.record.answers.append(frame)
        it.outbox.append(frame)
        it.answered = order.sequence
        it.still_since = self.now
        it.went_on_from = None

    def _resolve(self, record: Record, answer: object) -> None:
        task = record.task
        match answer:
            case Frame():
                assert any(answer is one for one in record.answers), "an answer that is another's"
                assert answer.kind not in (Kind.REFUSED, Kind.RETURNED), "what was not run is no answer"
            case None:
                assert task.closes, "an operation ended with nothing"
            case DeadlineExceeded():
                assert task.deadline_s is not None
                assert self.now >= record.since + task.deadline_s, "a deadline came early"
                assert answer.started or not record.begun, "a deadline says of a started operation that it never was"
            case WorkerDied():
                assert record.begun + record.passed, "an operation failed with a worker that had not come to it"
                assert record.worker not in self.workers, "an operation failed with a worker that lives"
                assert answer.attempts >= 1
                if task.idempotent:
                    assert record.begun + record.passed > self.settings.restarts.max_retries, (
                        "it was not tried as often as it may be"
                    )
            case SessionLost():
                assert not task.closes, "the end of a session failed"
                assert not record.executed or task.idempotent, "an operation that ran failed as if it had not"
            case PoolBroken():
                assert self.core.snapshot().broken
            case PoolClosed():
                assert self.is_immediate
                assert isinstance(record.place, int), "an operation that waited was failed"
            case _:
                raise AssertionError(f"it ended with {answer!r}")
        self._leave(record, answer)

    # --- what holds between any two steps -----------------------------------------------------------------------------

    def check(self) -> None:
        """Compare what the pool says of itself with what is."""
        seen = self.core.snapshot()
        waiting = [one for one in self.open_records.values() if one.place == "waiting"]
        assert seen.queued == len(waiting), f"{len(waiting)} wait: {seen}"
        assert seen.running == len(self.open_records) - len(waiting), f"of {len(self.open_records)}: {seen}"
        self._check_workers(seen)
        most = self.settings.sessions.max_count
        assert most is None or seen.sessions <= most, f"more sessions than {most}"
        assert seen.closed or not self.is_shut
        idle = {it.number for it in self.core.workers() if it.state == "ready"} & self.workers.keys()
        idle -= {number for number in idle if self.workers[number].is_leaving}
        if idle:
            assert all(one.task.has_session for one in waiting), "an operation waits while a worker is idle"
            if self.settings.recycling.operations is None and self.settings.recycling.age_s is None:
                for one in waiting:
                    session = one.task.session
                    assert session is not None
                    home = session.worker
                    is_first = session.sent == 0
                    assert not is_first or (home is not None and home.number not in idle), (
                        "an operation waits while a worker is idle that may take its session"
                    )

    def _check_workers(self, seen: Snapshot) -> None:
        workers = self.workers.values()
        leaving = sum(it.is_leaving for it in workers)
        starting = sum(it.phase != "up" and not it.is_leaving for it in workers)
        up = len(workers) - leaving - starting
        empty = sum(it.phase == "up" and not it.is_leaving and not it.held for it in workers)
        assert (seen.stopping, seen.starting) == (leaving, starting), f"{leaving} leave and {starting} start: {seen}"
        assert seen.ready + seen.busy + seen.stalled == up, f"{up} are up: {seen}"
        assert seen.ready <= empty
        assert self._had_stalled or seen.ready == empty, f"{empty} are idle: {seen}"
        draining = sum(not it.is_leaving and self.core._workers[it.number].is_draining for it in workers)
        living = len(workers) - leaving - draining
        assert living <= self.settings.max_workers, f"{living} workers"
        can_grow = self.settings.min_workers < self.settings.max_workers and living < self.settings.max_workers
        if can_grow and not leaving and not seen.broken:
            waiting = any(one.place == "waiting" and one.task.key is None for one in self.open_records.values())
            assert not waiting or self.core.due < math.inf, "operations wait, and the pool is not going to grow"


def _gives_back(frame: Frame, record: Record) -> bool:
    return frame.kind in (Kind.REFUSED, Kind.RETURNED, Kind.FORGOTTEN) and any(frame is one for one in record.answers)


def _in_words(effect: Effect) -> Any:
    match effect:
        case Send(number, tasks):
            return ("send", number, [(it.payload, it.sequence, it.epoch, it.opens, it.attempts) for it in tasks])
        case Resolve(task, answer):
            return ("resolve", task.payload, repr(answer))
        case Drop(task):
            return ("drop", task.payload)
        case _:
            return repr(effect)
