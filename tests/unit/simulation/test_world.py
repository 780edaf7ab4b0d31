import random
from typing import Any

import pytest

from poolproof.history import Outcome, Phase
from poolproof.simulation import world
from poolproof.simulation.process import KILLED
from poolproof.simulation.timeline import NEVER
from poolproof.simulation.wire import Harm
from poolproof.simulation.world import DEATH_NS, FORK_NS, IMPORT_NS, StartFault, StuckError
from sessionpool.core import Forget, Kill, Recall, Resolve, Send, Start, Stop
from sessionpool.errors import PoolClosed, PoolSaturated
from sessionpool.wire import Frame, Kind
from tests.unit.simulation.worlds import MS, SECOND_NS, Doubled, Room, answer, task

WAIT: tuple[Any, ...] = ("wait", 0.1, 7)


def with_worker(*, look_s: float = 1000.0, **script: list[Any]) -> Doubled:
    """A scripted core whose only worker is up."""
    it = Doubled({"open": [[Start(1)]]} | script, look_s=look_s)
    it.run(0.1)
    return it


# --- workers come -----------------------------------------------------------------------------------------------------


def test_a_worker_is_forked_once_the_forkserver_has_its_imports_and_is_ready_some_time_later() -> None:
    it = Doubled({"open": [[Start(1)]]})
    it.run((IMPORT_NS + FORK_NS) / SECOND_NS)
    forked = list(it.core.tellings("forked"))
    early = it.core.tellings("ready")
    it.run(0.02)
    assert (len(forked), early, it.core.tellings("ready")) == (1, [], [(1,)])


def test_each_worker_has_a_process_of_its_own() -> None:
    it = Doubled({"open": [[Start(1), Start(2)]]})
    it.run(0.1)
    pids = [pid for _, pid in it.core.tellings("forked")]
    assert len(set(pids)) == 2


def test_a_worker_that_is_to_be_killed_before_it_is_forked_dies_right_after() -> None:
    it = Doubled({"open": [[Start(1), Kill(1)]]})
    it.run(0.2)
    assert [name for name, *_ in it.core.told] == ["open", "forked", "exited"]


def test_a_worker_that_is_killed_while_it_starts_is_never_ready() -> None:
    it = Doubled({"open": [[Start(1)]], "forked": [[Kill(1)]]})
    it.run(0.2)
    assert (it.core.tellings("ready"), len(it.core.tellings("exited"))) == ([], 1)


@pytest.mark.parametrize(
    ("kind", "amount_ns", "told"),
    [
        ("refuse-start", 0, ["open", "start_failed"]),
        ("fail-start", 0, ["open", "forked", "start_failed", "exited"]),
        ("hang-start", 0, ["open", "forked"]),
        ("slow-start", SECOND_NS, ["open", "forked"]),
    ],
)
def test_a_worker_that_can_not_be_started_well_is_told_so(kind: str, amount_ns: int, told: list[str]) -> None:
    it = Doubled({"open": [[Start(1)]]})
    it.world.start_fault = fault = StartFault(kind, amount_ns)
    it.run(0.5)
    assert ([name for name, *_ in it.core.told], fault.met) == (told, 1)


def test_a_slow_start_is_over_after_as_long_as_it_says() -> None:
    it = Doubled({"open": [[Start(1)]]})
    it.world.start_fault = StartFault("slow-start", SECOND_NS)
    it.run(1.2)
    assert it.core.tellings("ready") == [(1,)]


def test_a_start_that_is_refused_leaves_no_process() -> None:
    it = Doubled({"open": [[Start(1)]]})
    it.world.start_fault = StartFault("refuse-start", 0)
    it.run(0.5)
    assert (it.world.processes, it.client.record.lifecycle) == ({}, [])


def test_a_stopped_worker_is_not_ready_before_it_goes_on() -> None:
    it = Doubled({"open": [[Start(1)]]})
    it.run((IMPORT_NS + FORK_NS) / SECOND_NS)
    process = it.world.processes[1]
    process.stop()
    it.run(1)
    before = list(it.core.tellings("ready"))
    process.go_on()
    it.run(0.01)
    assert (before, it.core.tellings("ready")) == ([], [(1,)])


# --- workers go -------------------------------------------------------------------------------------------------------


def test_the_pool_hears_of_a_death_a_little_later_and_how_far_the_worker_had_come() -> None:
    it = with_worker(submit=[[Send(1, [task(0, 1)])]])
    it.send("exit", 3)
    it.run(0.1)
    (told,) = [(args, kwargs) for name, args, kwargs in it.core.told if name == "exited"]
    assert told == ((1,), {"started": 1, "exit": "exit status 3"})


def test_a_dead_worker_is_there_until_the_pool_is_told() -> None:
    it = with_worker()
    it.world.processes[1].die(KILLED)
    it.run(DEATH_NS / 2 / SECOND_NS)
    before = list(it.world.processes)
    it.run(DEATH_NS / SECOND_NS)
    assert (before, list(it.world.processes)) == ([1], [])


def test_an_answer_that_is_long_on_its_way_is_told_before_the_death_of_its_worker() -> None:
    it = with_worker(submit=[[Send(1, [task(0, 1)])]])
    process = it.world.processes[1]
    process.outward.harms.append(Harm("delay", 10.0, random.Random(1)))
    it.send("answer", 3)
    it.run(0.01)
    process.die(KILLED)
    it.run(0.01)
    assert [name for name, *_ in it.core.told][-2:] == ["replied", "exited"]


def test_a_worker_that_is_asked_to_leave_does() -> None:
    it = with_worker(ready=[[Stop(1)]])
    it.run(0.1)
    assert [kwargs["exit"] for name, _, kwargs in it.core.told if name == "exited"] == ["exit status 0"]


def test_a_worker_that_is_to_be_killed_is() -> None:
    it = with_worker(ready=[[Kill(1)]])
    assert [kwargs["exit"] for name, _, kwargs in it.core.told if name == "exited"] == [KILLED]


@pytest.mark.parametrize("effect", [Kill(9), Stop(9), Forget(9, 1), Recall(9, 1, 2)])
def test_nothing_comes_of_what_is_done_to_a_worker_that_is_not_there(effect: Any) -> None:
    it = with_worker(ready=[[effect]])
    it.run(0.1)
    assert (it.violations, list(it.world.processes)) == ([], [1])


# --- operations -------------------------------------------------------------------------------------------------------


def test_what_is_sent_to_a_worker_is_answered_by_it() -> None:
    it = with_worker(submit=[[Send(1, [task(0, 1)])]])
    it.send(*WAIT)
    it.run(1)
    (told,) = it.core.tellings("replied")
    assert [(frame.sequence, frame.body) for frame in told[1]] == [(1, (0, 7))]


@pytest.mark.parametrize(
    ("opens", "closes", "kind"), [(False, False, Kind.CALL), (True, False, Kind.OPEN), (False, True, Kind.FORGET)]
)
def test_an_operation_is_sent_as_what_it_is_to_its_session(opens: bool, closes: bool, kind: Kind) -> None:
    it = with_worker()
    made = task(0, 1, closes=closes)
    made.opens, made.epoch = opens, 5
    it.core.script["submit"] = [[Send(1, [made])]]
    process = it.world.processes[1]
    process.stop()
    it.send("answer", 1)
    it.run(0.01)
    assert [(frame.kind, frame.sequence, frame.epoch) for frame in process._inbox] == [(kind, 1, 5)]


def test_an_answer_resolves_the_operation() -> None:
    it = with_worker(submit=[[Send(1, [task(0, 1)])]])
    frame = Frame(int(Kind.RESULT), 1, 1, 0, 0, (0, 7))  # type: ignore[arg-type]
    it.core.script["replied"] = [[Resolve(task(0), frame)]]
    op = it.send(*WAIT)
    it.run(1)
    assert (it.client.record.outcome[op], it.client.unresolved) == (Outcome.OK, 0)


def test_an_answer_that_is_another_operations_is_wrong() -> None:
    frame = Frame(int(Kind.RESULT), 1, 1, 0, 0, (5, 7))  # type: ignore[arg-type]
    it = with_worker(submit=[[Send(1, [task(0, 1)])]], replied=[[Resolve(task(0), frame)]])
    op = it.send(*WAIT)
    it.run(1)
    assert (it.client.record.outcome[op], it.client.record.echoed[op]) == (Outcome.WRONG, 5)


def test_what_is_sent_to_a_worker_that_is_gone_is_a_violation() -> None:
    it = with_worker(submit=[[Send(9, [task(0, 1)])]])
    it.send(*WAIT)
    assert it.violations == [("survives-worker-death", "sent operation 0 to worker 9, which is gone")]


def test_what_is_sent_to_a_worker_whose_death_nobody_knows_of_is_none() -> None:
    it = with_worker(submit=[[Send(1, [task(0, 1)])]])
    it.world.processes[1].die(KILLED)
    it.send(*WAIT)
    assert it.violations == []


def test_an_operation_that_is_resolved_twice_is_a_violation() -> None:
    it = with_worker(submit=[[Resolve(task(0), PoolClosed("")), Resolve(task(0), PoolClosed(""))]])
    it.send(*WAIT)
    assert it.violations == [("returns-the-right-result", "operation 0 was resolved a second time")]


# --- how many wait ----------------------------------------------------------------------------------------------------


def room(**options: Any) -> Room:
    return Room(1, **options)


def test_nothing_waits_at_first() -> None:
    assert room().world.ledger.waiting == 0


def test_what_a_worker_takes_at_once_does_not_wait() -> None:
    it = room()
    it.send(*WAIT)
    assert it.world.ledger.waiting == 0


def test_what_no_worker_was_sent_waits() -> None:
    it = room()
    for _ in range(4):
        it.send(*WAIT)
    assert it.world.ledger.waiting == 3


def test_what_is_sent_later_waits_no_more() -> None:
    it = room()
    for _ in range(4):
        it.send(*WAIT)
    it.run(0.15)
    assert it.world.ledger.waiting == 2


def test_nothing_waits_once_all_is_done() -> None:
    it = room()
    for _ in range(4):
        it.send(*WAIT)
    it.run(1)
    assert it.world.ledger.waiting == 0


def test_what_fails_while_it_waits_waits_no_more() -> None:
    it = room()
    it.send(*WAIT)
    it.send(*WAIT, deadline_s=0.01)
    it.run(0.05)
    assert it.world.ledger.waiting == 0


def test_what_is_withdrawn_waits_no_more() -> None:
    it = room()
    it.send(*WAIT)
    op = it.send(*WAIT)
    assert (it.world.withdraw(op), it.world.ledger.waiting) == (True, 0)


def test_what_a_worker_was_sent_can_not_be_withdrawn() -> None:
    it = room()
    op = it.send(*WAIT)
    assert (it.world.withdraw(op), it.world.ledger.waiting) == (False, 0)


def test_what_is_over_can_not_be_withdrawn() -> None:
    it = room()
    op = it.send(*WAIT)
    it.run(1)
    assert it.world.withdraw(op) is False


def test_nothing_can_be_withdrawn_twice() -> None:
    it = room()
    it.send(*WAIT)
    op = it.send(*WAIT)
    assert [it.world.withdraw(op), it.world.withdraw(op)] == [True, False]


def test_what_was_refused_does_not_wait() -> None:
    it = room(max_queue=1)
    for _ in range(4):
        it.send(*WAIT)
    assert it.world.ledger.waiting == 1


def test_what_a_lost_worker_held_and_will_run_again_waits_again() -> None:
    it = room()
    it.send(*WAIT, idempotent=True)
    it.processes[0].die(KILLED)
    it.run(2 * DEATH_NS / SECOND_NS)
    assert it.world.ledger.waiting == 1


def test_what_is_lost_with_its_worker_does_not_wait() -> None:
    it = room()
    it.send(*WAIT)
    it.run(0.01)
    it.processes[0].die(KILLED)
    it.run(0.01)
    assert (it.world.ledger.waiting, it.client.unresolved) == (0, 0)


def primed(quick: int = 3) -> Room:
    """A worker whose operations are known to be short, so that it is sent some in advance."""
    it = room()
    for _ in range(20):
        it.send("answer", 1)
        it.run(0.01)
    it.send("answer", 1)
    for _ in range(1 + quick):
        it.send("wait", 0.5, 1) if it.world.ledger.waiting == 0 else it.send("answer", 1)
    it.run(0.001)
    return it


def test_what_is_sent_in_advance_does_not_wait() -> None:
    it = primed()
    assert (it.world.ledger.waiting, len(it.world.ledger.in_hands(1))) == (0, 4)


def test_what_is_recalled_in_time_waits_again() -> None:
    it = primed()
    it.run(0.1)
    assert (it.world.ledger.waiting, len(it.world.ledger.in_hands(1))) == (3, 1)


def test_what_a_worker_had_begun_when_it_was_recalled_does_not_wait() -> None:
    it = with_worker(submit=[[Send(1, [task(0, 1), task(1, 2)])]])
    it.client.prepare(0, Phase.MEASURED, ("answer", 1))
    it.world.ledger.submitted(0, None)
    op = it.client.prepare(0, Phase.MEASURED, ("wait", 0.5, 1))
    it.client.send(it.world, op)
    it.run(0.01)
    it.world.perform([Recall(1, 2, 2)])
    it.run(0.01)
    assert (it.world.ledger.waiting, it.core.tellings("recalled")) == (0, [(1, 2)])


def at_work() -> Doubled:
    """A worker at the first of three operations."""
    it = with_worker(submit=[[Send(1, [task(op, 1 + op)])] for op in range(3)])
    for _ in range(3):
        it.send("wait", 0.5, 1)
    it.run(0.01)
    return it


def test_nothing_is_asked_of_a_worker_that_has_begun_what_is_recalled() -> None:
    it = at_work()
    it.world.perform([Recall(1, 1, 2)])
    assert (it.world.processes[1].recalled_until, it.core.tellings("recalled")) == (0, [(1, 2)])


def test_the_word_of_what_is_recalled_stays_until_the_worker_has_passed_it() -> None:
    it = at_work()
    it.world.perform([Recall(1, 2, 2), Recall(1, 3, 3)])
    assert (it.world.processes[1].recalled_until, it.core.tellings("recalled")) == (2, [(1, 3)])


def test_what_was_recalled_is_done_in_the_end_and_once() -> None:
    it = primed()
    it.run(2)
    rows = it.record.executions().op.tolist()
    assert (it.world.ledger.waiting, it.client.unresolved, len(rows)) == (0, 0, len(set(rows)))


def test_what_a_worker_refuses_waits_until_it_is_sent_again() -> None:
    it = Room(1)
    it.send("answer", 1, session=3)
    it.run(0.1)
    it.processes[0].states.clear()
    it.send("answer", 1, session=3)
    assert it.world.ledger.waiting == 0
    it.run(0.1)
    assert (it.world.ledger.waiting, it.client.unresolved) == (0, 0)


def test_a_refused_operation_that_the_core_does_not_send_again_waits() -> None:
    it = with_worker()
    made = task(0, 1)
    made.epoch = 5
    it.core.script["submit"] = [[Send(1, [made])]]
    it.send("answer", 1)
    it.run(0.1)
    assert (it.world.ledger.waiting, it.world.ledger.in_hands(1)) == (1, [])


# --- what no pool may do ----------------------------------------------------------------------------------------------


def test_a_refusal_before_the_queue_is_full_is_a_violation() -> None:
    it = Doubled({"submit": [PoolSaturated("queue", 2)]}, max_queue=2)
    it.send(*WAIT)
    assert it.violations == [("sheds-overload", "refused an operation while 0 waited and 2 may")]


def test_a_refusal_of_a_full_queue_is_none() -> None:
    it = Doubled({"submit": [[], [], PoolSaturated("queue", 2)]}, max_queue=2)
    for _ in range(3):
        it.send(*WAIT)
    assert it.violations == []


def test_a_refusal_for_too_many_sessions_is_none() -> None:
    it = Doubled({"submit": [PoolSaturated("sessions", 2)]}, max_queue=2)
    it.send(*WAIT)
    assert it.violations == []


def test_taking_more_than_may_wait_is_a_violation() -> None:
    it = Doubled({}, max_queue=1)
    it.send(*WAIT)
    before = it.violations
    it.send(*WAIT)
    assert (before, it.violations) == (
        [],
        [("sheds-overload", "took an operation while 1 waited, and 1 may")],
    )


def test_taking_what_a_worker_gets_at_once_is_none() -> None:
    it = with_worker()
    it.pool.max_queue = 0
    it.core.script["submit"] = [[Send(1, [task(0, 1)])]]
    it.send(*WAIT)
    assert it.violations == []


def test_the_true_core_does_nothing_that_no_pool_may() -> None:
    it = Room(2, max_queue=3)
    for number in range(200):
        it.send("wait", 0.001 * (number % 5), 1)
        it.run(0.001)
    assert it.violations == []


# --- a core that fails ------------------------------------------------------------------------------------------------


def test_a_core_that_wants_a_tick_again_and_again_is_stuck() -> None:
    it = Doubled({})
    it.core.due = it.timeline.now_s
    with pytest.raises(StuckError, match="it would never let time pass"):
        it.run(1)
    assert len(it.core.tellings("tick")) < 1000


def test_a_core_that_wants_many_ticks_at_different_moments_is_not() -> None:
    it = Doubled({})
    ticks = 0

    def tick(now: float) -> list[Any]:
        nonlocal ticks
        ticks += 1
        it.core.due = now + 0.001
        return []

    it.core.tick = tick  # type: ignore[attr-defined]
    it.core.due = it.timeline.now_s
    it.run(0.9995)
    assert ticks in (1000, 1001)


def test_a_core_that_raises_is_stuck() -> None:
    it = Doubled({"open": [[Start(1)]], "ready": [ValueError("oops")]})
    with pytest.raises(StuckError, match="the core raised ValueError: oops"):
        it.run(1)


def test_what_a_core_raises_at_its_client_is_the_answer_to_that() -> None:
    it = Doubled({"submit": [ValueError("no")]})
    op = it.send(*WAIT)
    assert (it.client.record.outcome[op], it.world.ledger.waiting, it.client.unresolved) == (Outcome.REJECTED, 0, 0)


def test_a_core_that_fails_over_what_comes_of_a_submission_is_stuck() -> None:
    it = Doubled({"submit": [[Start(1)]], "ready": [ValueError("oops")]})
    it.send(*WAIT)
    with pytest.raises(StuckError):
        it.run(1)


def going_round(it: Doubled) -> Doubled:
    """Something happens every 10 µs, and nothing comes of it."""
    it.timeline.after(10_000, lambda: going_round(it))
    return it


def test_a_core_that_goes_round_and_ends_no_operation_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "_ROUND_AND_ROUND", 1000)
    it = going_round(Doubled({}))
    with pytest.raises(StuckError, match="1000 things happened in a row, and no operation came to an end"):
        it.run(1)


def test_a_core_that_ends_operations_meanwhile_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "_ROUND_AND_ROUND", 1000)
    it = going_round(Doubled({"submit": [[Resolve(task(op), PoolClosed(""))] for op in range(4)]}))
    for _ in range(4):
        it.run(0.009)
        it.send(*WAIT)
    assert it.client.unresolved == 0


def test_looks_at_a_worker_that_is_long_at_its_work_are_no_going_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "_ROUND_AND_ROUND", 100)
    it = with_worker(look_s=0.001)
    it.run(1)
    assert len(it.core.tellings("observed")) > 1000


# --- time -------------------------------------------------------------------------------------------------------------


def test_time_passes_where_nothing_happens() -> None:
    it = Doubled({})
    before = it.timeline.now
    it.run(3)
    assert it.timeline.now - before == 3 * SECOND_NS


def test_a_core_is_given_its_tick_when_it_wants_it_and_not_earlier() -> None:
    it = Doubled({})
    due = it.core.due = it.timeline.now_s + 0.5
    seen: list[float] = []

    def tick(now: float) -> list[Any]:
        seen.append(now)
        it.core.due = float("inf")
        return []

    it.core.tick = tick  # type: ignore[attr-defined]
    it.run(0.499)
    before = list(seen)
    it.run(0.5)
    assert (before, [due <= now < due + 1e-8 for now in seen]) == ([], [True])


def test_waiting_for_something_ends_when_it_comes() -> None:
    it = room()
    op = it.send(*WAIT)
    before = it.timeline.now
    assert it.world.run_while(lambda: not it.ended(op), NEVER) is True
    assert 100 * MS <= it.timeline.now - before < 110 * MS


def test_waiting_for_something_that_does_not_come_ends_when_the_time_is_up() -> None:
    it = room()
    until = it.timeline.now + SECOND_NS
    assert (it.world.run_while(lambda: True, until), it.timeline.now) == (False, until)


def test_a_world_is_over_when_the_pool_has_ended_and_every_process_of_it() -> None:
    it = room()
    before = it.world.is_over
    it.world.tell(it.world.core.shutdown)
    it.run(1)
    assert (before, it.world.is_over) == (False, True)


def test_whoever_looks_stops_where_nothing_is_left_to_be_seen() -> None:
    it = room()
    it.world.tell(it.world.core.shutdown)
    it.run(5)
    assert it.timeline.next == NEVER


def test_whoever_looks_looks_again_when_a_worker_comes_after_all_were_gone() -> None:
    it = Doubled({})
    it.world._look_ns = MS
    it.world.perform([Start(1)])
    it.run(0.1)
    it.world.processes[1].die(KILLED)
    it.run(0.1)
    before = len(it.core.tellings("observed"))
    it.world.perform([Start(2)])
    it.run(0.1)
    assert len(it.core.tellings("observed")) > before > 0


# --- the forkserver ---------------------------------------------------------------------------------------------------


def test_all_workers_die_with_the_forkserver() -> None:
    it = Room(3)
    victims = it.world.lose_forkserver()
    assert (len(victims), all(process.is_dead for process in victims)) == (3, True)


def test_who_was_to_be_forked_is_not_when_the_forkserver_dies() -> None:
    it = Doubled({"open": [[Start(1)]]})
    it.world.lose_forkserver()
    it.run(1)
    assert (it.core.tellings("forked"), it.core.tellings("start_failed")) == (
        [],
        [(1, "the pool's forkserver died")],
    )


def test_a_new_forkserver_takes_its_time_for_its_imports() -> None:
    it = Room(1)
    it.world.lose_forkserver()
    it.run((DEATH_NS + IMPORT_NS) / SECOND_NS)
    before = [process.is_dead for process in it.processes]
    it.run(0.1)
    assert (before, [process.is_up for process in it.processes]) == ([], [True])


# --- wires ------------------------------------------------------------------------------------------------------------


def test_a_worker_whose_wire_is_cut_is_given_up_where_it_does_not_leave() -> None:
    it = Room(1)
    it.send("hang")
    it.run(0.01)
    process = it.processes[0]
    it.world.cut(process)
    it.run(0.05)
    before = process.is_dead
    it.run(0.1)
    assert (before, process.exit) == (False, KILLED)


def test_a_worker_that_finds_a_frame_malformed_is_given_up_by_the_pool() -> None:
    it = with_worker()
    frame = Frame(int(Kind.FAILED), 1, 0, 0, 0, "it was sent a malformed frame")  # type: ignore[arg-type]
    it.world.processes[1].outward.send([frame])
    it.run(0.01)
    assert it.core.tellings("doom") == [(1, "it was sent a malformed frame")]


# --- whoever reads ----------------------------------------------------------------------------------------------------


class Late(random.Random):
    """The chance by which whoever reads is late each time, by a millisecond."""

    def random(self) -> float:
        return 0.0

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        return MS


def read_late(**script: list[Any]) -> Doubled:
    """A worker whose answers nobody reads for a millisecond."""
    it = with_worker(look_s=0.0001, **script)
    it.world._reader = Late()
    return it


def names(it: Doubled) -> list[str]:
    return [name for name, *_ in it.core.told if name in ("replied", "exited", "doom")]


def test_now_and_then_whoever_reads_finds_several_answers_together() -> None:
    it = with_worker()
    for number in range(1, 201):
        it.world.processes[1].outward.send([answer(number)])
        it.run(0.0002)
    assert {len(frames) for _, frames in it.core.tellings("replied")} > {1, 2}


def test_whoever_reads_late_finds_the_answers_in_order() -> None:
    it = read_late()
    for number in range(1, 4):
        it.world.processes[1].outward.send([answer(number)])
    it.run(0.01)
    (told,) = it.core.tellings("replied")
    assert [frame.sequence for frame in told[1]] == [1, 2, 3]


def test_a_worker_whose_answers_lie_unread_is_not_silent() -> None:
    it = read_late()
    it.run(0.001)
    it.world.processes[1].outward.send([answer(1)])
    it.run(0.0005)
    silent = [kwargs["is_silent"] for name, _, kwargs in it.core.told if name == "observed"]
    assert (silent[0], silent[-1]) == (True, False)


def test_what_lies_unread_is_told_before_the_death_of_its_worker() -> None:
    it = read_late()
    it.world.processes[1].outward.send([answer(1)])
    it.run(0.0001)
    it.world.processes[1].die(KILLED)
    it.run(0.01)
    assert names(it) == ["replied", "exited"]


def test_what_lies_unread_is_told_before_what_is_no_frame() -> None:
    it = read_late()
    process = it.world.processes[1]
    process.outward.send([answer(1)])
    process.outward.harms.append(Harm("corrupt", 1.0, random.Random(1)))
    process.outward.send([answer(2)])
    it.run(0.0005)
    assert names(it) == ["replied", "doom"]


def test_what_a_worker_answered_before_it_failed_is_told_first() -> None:
    it = with_worker()
    failed = Frame(int(Kind.FAILED), 1, 0, 0, 0, "it was sent a malformed frame")  # type: ignore[arg-type]
    it.world.processes[1].outward.send([answer(1), failed])
    it.run(0.01)
    assert names(it) == ["replied", "doom"]
