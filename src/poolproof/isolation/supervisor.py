"""A supervisor's decisions: whom to restart when a worker ends, in what order, after what delay, and when to give up.

It starts, stops and watches nothing, and has no clock: it is told what happened and at what time, and answers with what
is to be done, in order.

The strategies and the restart intensity are those of Erlang/OTP (Design Principles, "Supervisor Behaviour", sections
Restart Strategy, Maximum Restart Intensity and Stopping; `stdlib/src/supervisor.erl`, `add_restart/1` and
`terminate_children/1`), with every worker a permanent one. OTP restarts at once; the delay before a restart grows here
with each failure in a row, with "equal jitter" (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog,
2015).
"""

import math
import random
from collections import deque
from dataclasses import dataclass
from typing import Final, Literal

Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
STRATEGIES: Final[tuple[Strategy, ...]] = ("one_for_one", "one_for_all", "rest_for_one")

State = Literal["waiting", "starting", "ready", "stopping", "gone"]
"""Of a worker: it is to be started, was started, has answered, is being stopped, is not to be started any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How a supervisor goes about it.

    Attributes:
        strategy: who is restarted when a worker ends: it alone, all, or it and those started after it.
        backoff_s: the delay before the restart after a first failure; it doubles with each further one in a row.
        max_backoff_s: no delay is longer.
        max_restarts: how many failures within `within_s` are met with a restart; one more, and the supervisor gives up.
        within_s: the time in which these are counted; a worker that was ready for as long starts anew at `backoff_s`.
        start_s: how long a worker may take until it is ready, before it is killed, which counts as a failure.
        stop_s: how long a worker may take to stop, before it is killed.
    """

    strategy: Strategy = "one_for_one"
    backoff_s: float = 0.05
    max_backoff_s: float = 1.0
    max_restarts: int = 5
    within_s: float = 5.0
    start_s: float = 10.0
    stop_s: float = 1.0

    def problems(self) -> list[str]:
        """Everything in it that makes no sense."""
        found = []
        if self.strategy not in STRATEGIES:
            found.append(f"strategy = {self.strategy!r}: expected one of {', '.join(STRATEGIES)}")
        found += [
            f"{name} = {value!r}: expected a time of 0 or more, in seconds"
            for name, value in (("backoff_s", self.backoff_s), ("max_backoff_s", self.max_backoff_s))
            if not is_number(value) or value < 0
        ]
        found += [
            f"{name} = {value!r}: expected a time above 0, in seconds"
            for name, value in (("within_s", self.within_s), ("start_s", self.start_s), ("stop_s", self.stop_s))
            if not is_number(value) or value <= 0
        ]
        if not is_whole(self.max_restarts) or self.max_restarts < 0:
            found.append(f"max_restarts = {self.max_restarts!r}: expected a number of 0 or more")
        if is_number(self.backoff_s) and is_number(self.max_backoff_s) and self.max_backoff_s < self.backoff_s:
            found.append(
                f"max_backoff_s = {self.max_backoff_s!r}: expected no less than backoff_s = {self.backoff_s!r}"
            )
        return found


def is_number(value: object) -> bool:
    """Whether it is a finite number; a truth value is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_whole(value: object) -> bool:
    """Whether it is a whole number; a truth value is none."""
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class Start:
    """Start a worker's next life, the first of which is 1."""

    name: str
    life: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Ask a worker to stop."""

    name: str
    life: int


@dataclass(frozen=True, slots=True)
class Kill:
    """End a worker that did not stop, or was not ready, in time."""

    name: str
    life: int


@dataclass(frozen=True, slots=True)
class Tell:
    """Publish what happened: to a life of a worker, or, without a name, to the supervisor itself."""

    what: str
    name: str | None = None
    life: int = 0
    detail: str = ""


Deed = Start | Stop | Kill | Tell


@dataclass(slots=True)
class _Worker:
    name: str
    state: State = "waiting"
    life: int = 0
    failures: int = 0  # in a row
    not_before: float = -math.inf
    ready_at: float = 0.0
    deadline: float = math.inf  # of its start, or its stop
    is_due_to_stop: bool = False  # with others, in their order; its own end meanwhile is no failure any more
    is_wanted: bool = True
    was_killed: str = ""


class Supervisor:
    """Decides for a number of workers, in the order in which they were added.

    Every method that tells of something returns what is to be done, in order. Times are seconds on any clock that never
    goes back.
    """

    def __init__(self, policy: Policy, rng: random.Random) -> None:
        self._policy = policy
        self._rng = rng
        self._workers: dict[str, _Worker] = {}
        self._failed_at: deque[float] = deque()
        self.state: Literal["running", "gave-up", "stopping", "stopped"] = "running"
        self.is_over = False
        """Whether it gave up or was stopped, and every worker is gone."""

    def worker_state(self, name: str) -> State:
        """What is with a worker; one that is not known yet waits to be, unless nobody is started any more."""
        worker = self._workers.get(name)
        if worker is None:
            return "waiting" if self.state == "running" else "gone"
        return worker.state

    def due(self) -> float:
        """When `tick` is to be called at the latest; infinity where nothing is waited for but what is told."""
        moments = [it.deadline for it in self._workers.values()]
        if not self._is_busy_stopping():
            moments += [
                it.not_before for it in self._workers.values() if it.state == "waiting" and self._may_follow(it)
            ]
        return min(moments, default=math.inf)

    # --- what is told -------------------------------------------------------------------------------------------

    def add(self, name: str, now: float) -> list[Deed]:
        """Have one more worker, after all others in the order.

        Raises:
            ValueError: there is, or was, one of this name; or nothing is started any more.
        """
        if name in self._workers:
            raise ValueError(f"there is a worker {name!r} already")
        if self.state != "running":
            raise ValueError(f"the supervisor is {self.state}: it starts nobody any more")
        self._workers[name] = _Worker(name)
        return self._go_on(now)

    def halt(self, name: str, now: float) -> list[Deed]:
        """Stop one worker for good (OTP's `terminate_child`)."""
        worker = self._workers.get(name)
        if worker is None:  # everything was over before it was added
            return []
        worker.is_wanted = False
        if worker.state == "waiting":
            worker.state = "gone"
        elif worker.state in ("starting", "ready"):
            worker.is_due_to_stop = True
        return self._go_on(now)

    def ready(self, name: str, life: int, now: float) -> list[Deed]:
        """A worker has answered."""
        worker = self._workers[name]
        if worker.life != life or worker.state != "starting":  # from a life that is over, or is to be
            return []
        worker.state, worker.ready_at, worker.deadline = "ready", now, math.inf
        return [Tell("ready", name, life), *self._go_on(now)]

    def exited(self, name: str, life: int, how: str, now: float) -> list[Deed]:
        """A life of a worker is over, or could not be begun."""
        worker = self._workers[name]
        if worker.life != life or worker.state not in ("starting", "ready", "stopping"):
            return []
        if worker.was_killed:
            how = f"{how}: {worker.was_killed}"
        was_asked, was_ready = worker.state == "stopping", worker.state == "ready"
        was_due = worker.is_due_to_stop
        worker.state = "waiting" if worker.is_wanted and self.state == "running" else "gone"
        worker.deadline, worker.is_due_to_stop, worker.was_killed = math.inf, False, ""
        deeds: list[Deed] = [Tell("gone" if was_asked else "exited", name, life, how)]
        if not was_asked and not was_due and self.state == "running":
            if was_ready and now - worker.ready_at >= self._policy.within_s:
                worker.failures = 0
            deeds += self._failed(worker, now)
        return deeds + self._go_on(now)

    def tick(self, now: float) -> list[Deed]:
        """Time has passed."""
        deeds: list[Deed] = []
        for worker in self._workers.values():
            if worker.deadline <= now:
                worker.deadline = math.inf
                stop_s, start_s = self._policy.stop_s, self._policy.start_s
                worker.was_killed = (
                    f"killed, for it did not stop within {stop_s:g} s"
                    if worker.state == "stopping"
                    else f"killed, for it was not ready within {start_s:g} s"
                )
                deeds.append(Kill(worker.name, worker.life))
        return deeds + self._go_on(now)

    def stop(self, now: float) -> list[Deed]:
        """Stop everybody, the last first."""
        if self.state != "running":
            return []
        self.state = "stopping"
        self._end_all()
        return [Tell("stopping"), *self._go_on(now)]

    # --- what follows -------------------------------------------------------------------------------------------

    def _failed(self, worker: _Worker, now: float) -> list[Deed]:
        policy = self._policy
        self._failed_at.append(now)
        while now - self._failed_at[0] > policy.within_s:
            self._failed_at.popleft()
        if len(self._failed_at) > policy.max_restarts:
            self.state = "gave-up"
            many = len(self._failed_at)
            detail = (
                f"{many} failure{'s' if many > 1 else ''} within {policy.within_s:g} s, the last of {worker.name}: "
                f"more than max_restarts = {policy.max_restarts}"
            )
            self._end_all()
            return [Tell("gave-up", detail=detail)]
        worker.failures += 1
        # The exponent is bounded, for 2.0 ** 1024 is an error and no large delay.
        full = min(policy.max_backoff_s, policy.backoff_s * 2.0 ** min(worker.failures - 1, 64))
        delay = full / 2 + self._rng.random() * full / 2
        worker.not_before = now + delay
        others = self._restarted_with(worker)
        for it in others:
            it.not_before = now + delay
            it.is_due_to_stop = it.state in ("starting", "ready")
        along = f", with {', '.join(it.name for it in others)}" if others else ""
        return [Tell("restarting", worker.name, worker.life, f"in {delay:.3f} s{along}")]

    def _restarted_with(self, worker: _Worker) -> list[_Worker]:
        """Who else is restarted when this one has failed."""
        if self._policy.strategy == "one_for_one":
            return []
        workers = list(self._workers.values())
        first = 0 if self._policy.strategy == "one_for_all" else workers.index(worker)
        return [it for it in workers[first:] if it.is_wanted and it is not worker]

    def _end_all(self) -> None:
        for it in self._workers.values():
            it.is_wanted = False
            if it.state == "waiting":
                it.state = "gone"
            it.is_due_to_stop = it.state in ("starting", "ready")

    def _is_busy_stopping(self) -> bool:
        return any(it.state == "stopping" or it.is_due_to_stop for it in self._workers.values())

    def _may_follow(self, worker: _Worker) -> bool:
        """Whether a worker that waits may be started, as far as the others go.

        1. One for one, and it ran before: it has nothing to do with the others.
        2. Else those before it come first, as far as they are wanted: each is started when the one before is ready.
           With one for one it is enough that they were started once: their failures are their own.
        """
        is_alone = self._policy.strategy == "one_for_one"
        if is_alone and worker.life:
            return True
        for it in self._workers.values():
            if it is worker:
                return True
            if not it.is_wanted:
                continue
            if it.state != "ready" and not (is_alone and it.state == "waiting" and it.life):
                return False
        return True

    def _go_on(self, now: float) -> list[Deed]:
        """Stop who is due to, one at a time and the last first; once nobody is, start who may be, the first first.

        As in OTP nobody is started while somebody is being stopped.
        """
        deeds: list[Deed] = []
        if not any(it.state == "stopping" for it in self._workers.values()):
            due = [it for it in self._workers.values() if it.is_due_to_stop]
            if due:
                last = due[-1]
                last.state, last.is_due_to_stop, last.deadline = "stopping", False, now + self._policy.stop_s
                deeds += [Tell("stopping", last.name, last.life), Stop(last.name, last.life)]
        if self.state == "running" and not self._is_busy_stopping():
            for it in self._workers.values():
                if it.state == "waiting" and it.not_before <= now and self._may_follow(it):
                    it.life += 1
                    it.state, it.deadline = "starting", now + self._policy.start_s
                    deeds += [Start(it.name, it.life), Tell("starting", it.name, it.life)]
        elif self.state in ("stopping", "gave-up") and not self.is_over:
            self.is_over = all(it.state == "gone" for it in self._workers.values())
            if self.is_over:
                self.state = "gave-up" if self.state == "gave-up" else "stopped"
                deeds.append(Tell("gone"))
        return deeds
