"""Random lives of a pool, in a world that checks every step.

`SESSIONPOOL_EXAMPLES=20000 pytest tests/unit/sessionpool/test_core_model.py` looks for longer, and elsewhere each time.
"""

import os
from typing import Any

from hypothesis import HealthCheck
from hypothesis import settings as profile
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from sessionpool.settings import Recycling, Restarts, Sessions, Settings, Timing
from sessionpool.wire import Kind
from tests.unit.sessionpool.world import Record, Worker, World

EXAMPLES = int(os.environ.get("SESSIONPOOL_EXAMPLES", "0"))

KEYS = st.sampled_from(["ann", "bob", "eve"])
AFFINITIES = st.sampled_from([None, None, "strict", "restart", "hint"])
COSTS = st.sampled_from(["quick", "quick", "other"])
TOOK_NS = st.sampled_from([0, 1000, 1000, 100_000, 2_000_000, 10**9])
WHICH = st.integers(0, 7)
SECONDS = st.sampled_from([0.0, 0.001, 0.05, 0.3, 1.0, 6.0])


@st.composite
def pools(draw: st.DrawFn) -> Settings:
    most = draw(st.integers(1, 4))
    rare = st.sampled_from([False, False, False, True])
    return Settings(
        min_workers=draw(st.integers(1, most)),
        max_workers=most,
        max_queue=draw(st.sampled_from([None, None, 0, 1, 3])),
        sessions=Sessions(
            affinity=draw(st.sampled_from(["strict", "restart", "hint"])),
            ttl_s=draw(st.sampled_from([None, None, 0.5, 5.0])),
            max_count=draw(st.sampled_from([None, None, 1, 2])),
        ),
        recycling=Recycling(
            operations=draw(st.sampled_from([1, 3])) if draw(rare) else None,
            age_s=draw(st.sampled_from([0.7, 10.0])) if draw(rare) else None,
            memory_bytes=(64 << 20) if draw(rare) else None,
        ),
        timing=Timing(
            start_s=0.1 if draw(rare) else 5.0,
            grow_s=draw(st.sampled_from([0.05, 0.0])),
            shrink_s=draw(st.sampled_from([5.0, 0.3])),
        ),
        restarts=Restarts(max_failures=draw(st.sampled_from([1, 3, 5])), max_retries=draw(st.integers(0, 2))),
    )


class Lives(RuleBasedStateMachine):
    """One life of a pool; at its end everybody does their part, and the same life is told to another core."""

    world: World

    @initialize(
        settings=pools(), seed=st.integers(0, 3), observed=st.booleans(), up=st.sampled_from([True, True, False])
    )
    def begin(self, settings: Settings, seed: int, observed: bool, up: bool) -> None:
        self.world = World(settings, seed=seed, observed=observed)
        for it in list(self.world.workers.values()) if up else ():
            self.world.fork(it)
            self.world.ready(it)

    def worker(self, which: int, *, up: bool = True) -> Worker | None:
        found = [it for it in self.world.workers.values() if (it.phase == "up") is up]
        return found[which % len(found)] if found else None

    def busy(self, which: int) -> Worker | None:
        found = [it for it in self.world.workers.values() if it.inbox or it.at or it.outbox]
        return found[which % len(found)] if found else self.worker(which)

    def waiting(self) -> list[Record]:
        return [one for one in self.world.open_records.values() if one.place == "waiting"]

    # --- clients ------------------------------------------------------------------------------------------------------

    @rule(cost=COSTS, idempotent=st.booleans(), count=st.integers(1, 4))
    def submit(self, cost: str, idempotent: bool, count: int) -> None:
        for _ in range(count):
            self.world.submit(cost=cost, idempotent=idempotent)

    @rule(deadline_s=st.sampled_from([0.01, 0.3, 5.0]), idempotent=st.booleans(), key=st.none() | KEYS)
    def submit_with_deadline(self, deadline_s: float, idempotent: bool, key: str | None) -> None:
        self.world.submit(deadline_s=deadline_s, idempotent=idempotent, key=key, cost="quick")

    @rule(
        key=KEYS,
        affinity=AFFINITIES,
        existing=st.sampled_from([False, False, True]),
        idempotent=st.booleans(),
        cost=COSTS,
        count=st.integers(1, 4),
    )
    def submit_to_session(
        self, key: str, affinity: Any, existing: bool, idempotent: bool, cost: str, count: int
    ) -> None:
        for _ in range(count):
            self.world.submit(key=key, affinity=affinity, existing=existing, idempotent=idempotent, cost=cost)

    @precondition(lambda self: self.worker(0))
    @rule(
        which=WHICH,
        keys=st.lists(st.none() | KEYS, min_size=1, max_size=8),
        affinity=AFFINITIES,
        idempotent=st.booleans(),
    )
    def burst(self, which: int, keys: list[str | None], affinity: Any, idempotent: bool) -> None:
        """Short operations that pile up while everybody is at work, so that a worker is sent several at once."""
        for it in list(self.world.workers.values()):
            self.world.submit(cost="quick")
            self.world.work(it)
        for it in list(self.world.workers.values()):
            self.world.submit(cost="quick")
            self.world.begin(it)
        for key in keys:
            self.world.submit(key=key, affinity=affinity if key else None, idempotent=idempotent, cost="quick")
        self.finish(which, Kind.RESULT)
        self.deliver(which, 8)

    @precondition(lambda self: self.worker(0))
    @rule(which=WHICH, seconds=st.sampled_from([0.021, 0.03]), count=st.integers(0, 3), sees=st.booleans())
    def dawdle(self, which: int, seconds: float, count: int, sees: bool) -> None:
        """One operation takes longer than those before it, and what was sent behind it is recalled."""
        it = self.busy(which)
        assert it is not None
        self.world.begin(it)
        self.world.advance(seconds)
        for _ in range(count):
            self.world.finish(it)
            self.world.begin(it)
        if sees:
            self.world.see_recall(it)

    @precondition(lambda self: self.worker(0))
    @rule(
        which=WHICH,
        keys=st.lists(st.none() | KEYS, min_size=2, max_size=8),
        affinity=AFFINITIES,
        lost=WHICH,
        count=st.integers(1, 8),
        idle=st.booleans(),
    )
    def refuse_a_part(
        self, which: int, keys: list[str | None], affinity: Any, lost: int, count: int, idle: bool
    ) -> None:
        """Of what a worker was sent at once, it does not hold the session of some; others idle when that is told."""
        for key in keys:
            self.world.submit(key=key, affinity=affinity if key else None, cost="quick")
        self.everybody_works(1000)
        self.burst(which, keys, affinity, idempotent=False)
        it = self.busy(which)
        assert it is not None
        self.world.forget_one(it, lost)
        while self.world.begin(it) | self.world.finish(it):
            pass
        for other in list(self.world.workers.values()) if idle else ():
            if other is not it:
                self.world.work(other)
        self.world.deliver(it, count)

    @precondition(lambda self: self.worker(0))
    @rule(which=WHICH, took_ns=st.sampled_from([240_000, 450_000]), count=st.integers(2, 6), answered=st.booleans())
    def return_all(self, which: int, took_ns: int, count: int, answered: bool) -> None:
        """All that a worker holds in advance is recalled, which is as much as it may hold; it is slow to see that."""
        it = self.worker(which)
        assert it is not None
        self.world.submit(cost=f"{took_ns} ns")
        self.everybody_works(took_ns)
        for other in list(self.world.workers.values()):
            self.world.submit(cost="quick")
            self.world.begin(other)
        for _ in range(count):
            self.world.submit(cost=f"{took_ns} ns")
        self.finish(which, Kind.RESULT)
        self.deliver(which, 8)
        self.world.begin(it)
        self.world.advance(0.021)
        if answered:
            self.world.finish(it, took_ns)
            self.world.deliver(it)
        self.world.see_recall(it)

    @rule(key=KEYS)
    def close_session(self, key: str) -> None:
        self.world.submit(key=key, closes=True)

    @precondition(lambda self: self.waiting())
    @rule(which=WHICH)
    def cancel(self, which: int) -> None:
        waiting = self.waiting()
        self.world.withdraw(waiting[which % len(waiting)])

    # --- workers ------------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.worker(0, up=False))
    @rule(which=WHICH, far=st.booleans())
    def come_up(self, which: int, far: bool) -> None:
        it = self.worker(which, up=False)
        assert it is not None
        if it.is_killed:
            self.world.die(it)
            return
        self.world.fork(it)
        if far:
            self.world.ready(it)

    @precondition(lambda self: self.worker(0, up=False))
    @rule(which=WHICH, tells=st.booleans())
    def fail_to_start(self, which: int, tells: bool) -> None:
        it = self.worker(which, up=False)
        assert it is not None
        if tells:
            self.world.fail_to_start(it)
        else:
            self.world.die(it, exit_="exit status 1")

    @precondition(lambda self: self.worker(0))
    @rule(which=WHICH, took_ns=TOOK_NS, count=st.integers(1, 8))
    def work(self, which: int, took_ns: int, count: int) -> None:
        it = self.busy(which)
        for _ in range(count if it else 0):
            assert it is not None
            if not (self.world.begin(it) | self.world.finish(it, took_ns)):
                break

    @precondition(lambda self: self.worker(0))
    @rule(which=WHICH, kind=st.sampled_from([Kind.RESULT, Kind.ERROR, Kind.UNREADABLE]))
    def finish(self, which: int, kind: Kind) -> None:
        it = self.busy(which)
        if it is not None:
            self.world.finish(it, kind=kind)

    @precondition(lambda self: self.worker(0))
    @rule(which=WHICH, count=st.integers(1, 8))
    def deliver(self, which: int, count: int) -> None:
        it = self.busy(which)
        if it is not None:
            self.world.deliver(it, count)

    @rule(took_ns=TOOK_NS)
    def everybody_works(self, took_ns: int) -> None:
        for it in list(self.world.workers.values()):
            self.world.work(it, took_ns)

    @precondition(lambda self: self.worker(0))
    @rule(which=WHICH, lost=st.integers(0, 2))
    def die(self, which: int, lost: int) -> None:
        it = self.busy(which)
        if it is not None:
            self.world.die(it, lost=lost)

    @rule()
    def the_killed_die(self) -> None:
        for it in list(self.world.workers.values()):
            if it.is_killed or it.has_left or it.has_failed:
                self.world.die(it)

    @precondition(lambda self: self.worker(0))
    @rule(which=WHICH)
    def lose_states(self, which: int) -> None:
        it = self.busy(which)
        if it is not None:
            self.world.forget_all(it)

    @rule()
    def recalls_are_seen(self) -> None:
        for it in list(self.world.workers.values()):
            self.world.see_recall(it)

    @precondition(lambda self: self.worker(0))
    @rule(which=WHICH)
    def tear(self, which: int) -> None:
        it = self.busy(which)
        if it is not None:
            self.world.doom(it)

    @precondition(lambda self: self.worker(0))
    @rule(which=WHICH, goes_on=st.booleans())
    def stop(self, which: int, goes_on: bool) -> None:
        it = self.worker(which)
        assert it is not None
        if goes_on:
            self.world.go_on(it)
        else:
            self.world.stop(it)

    @precondition(lambda self: self.worker(0))
    @rule(which=WHICH, looks=st.integers(0, 3), arrives=st.booleans(), seconds=st.sampled_from([0.3, 0.8]))
    def go_on_between_two_looks(self, which: int, looks: int, arrives: bool, seconds: float) -> None:
        """A worker that was seen stopped answers, and is stopped again before anybody looks."""
        it = self.busy(which)
        assert it is not None
        self.world.begin(it)
        self.world.stop(it)
        self.world.advance(0.25 * looks, looks=True)
        if it.number not in self.world.workers or it.is_killed:
            return
        self.world.go_on(it)
        self.world.finish(it)
        if arrives:
            self.world.deliver(it)
        self.world.stop(it)
        self.world.advance(seconds, looks=True)

    @precondition(lambda self: self.world.settings.recycling.memory_bytes)
    @rule(which=WHICH)
    def grow_large(self, which: int) -> None:
        it = self.worker(which)
        if it is not None:
            it.memory = 65 << 20

    # --- time ---------------------------------------------------------------------------------------------------------

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        self.world.advance(seconds)

    @rule(seconds=st.sampled_from([0.3, 1.0, 3.0]))
    def time_is_watched(self, seconds: float) -> None:
        self.world.advance(seconds, looks=True)

    @rule(seconds=SECONDS, looks=st.booleans())
    def the_observer_pauses(self, seconds: float, looks: bool) -> None:
        self.world.pause(seconds)
        for it in list(self.world.workers.values()) if looks else ():
            self.world.look(it)

    @rule()
    def tick(self) -> None:
        self.world.tick()

    @rule(looks=st.booleans())
    def everybody_settles(self, looks: bool) -> None:
        self.world.settle()
        assert (self.world.core.snapshot().queued, self.world.core.snapshot().running) == (0, 0)

    # --- the end ------------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.world.script) > 60)
    @rule(how=st.sampled_from(["", "", "cancel", "immediate"]), really=st.sampled_from([False, False, True]))
    def shut_down(self, how: str, really: bool) -> None:
        if really:
            self.world.shutdown(cancel=how == "cancel", immediate=how == "immediate")

    @precondition(lambda self: len(self.world.script) > 90)
    @rule(really=st.sampled_from([False] * 7 + [True]))
    def give_up(self, really: bool) -> None:
        if really:
            self.world.give_up()

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        self.world.settle()
        self.world.shutdown()
        self.world.settle()
        assert self.world.core.is_over
        assert self.world.replay() == self.world.told, "the same events had other effects"


Lives.TestCase.settings = profile(
    max_examples=EXAMPLES or 200,
    stateful_step_count=50,
    derandomize=not EXAMPLES,
    report_multiple_bugs=False,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestLives = Lives.TestCase
