import random
from collections.abc import Callable
from pathlib import Path

import pytest

from poolproof.clock import now_ns
from poolproof.faults import Victim, resume, stop_parent, stop_workers
from poolproof.faults.hunt import fits
from poolproof.history import Follower, Worker
from poolproof.plan import FaultSpec
from tests.unit.faults.fake_processes import FakeHandle, FakeLedger
from tests.unit.record_files import RecordFile

IN_FLIGHT = FaultSpec(kind="kill", count=1, at_s=1)
IDLE = FaultSpec(kind="kill", count=1, at_s=1, coincide="idle")
PARENT = FaultSpec(kind="kill", target="parent", at_s=1)


class Hunt:
    """A hunt among imagined workers with real record files."""

    def __init__(self, folder: Path) -> None:
        (folder / "executions").mkdir()
        self.folder = folder
        self.log: list[tuple[str, int]] = []
        self.handles: dict[int, FakeHandle] = {}
        self.files: dict[int, RecordFile] = {}
        self.follower = Follower(folder)
        self.ledger = FakeLedger(self.log)

    def worker(
        self,
        pid: int,
        holds: int | None = None,
        *,
        alive: bool = True,
        stops: bool = True,
        before_stop: Callable[[], None] = lambda: None,
    ) -> None:
        """A worker that has done one operation and perhaps holds another."""
        file = self.files[pid] = RecordFile(self.folder, pid, pid * 100)
        file.begins(900 + pid)
        file.ends(900 + pid)
        if holds is not None:
            file.begins(holds)
        self.handles[pid] = FakeHandle(pid, self.log, alive=alive, stops=stops, before_stop=before_stop)

    def stop(self, spec: FaultSpec, count: int = 1, seed: int = 1) -> list[Victim]:
        return stop_workers(spec, count, list(self.handles.values()), self.follower, self.ledger, random.Random(seed))

    def stop_parent(self, spec: FaultSpec = PARENT, *, stops: bool = True) -> list[Victim]:
        return stop_parent(spec, FakeHandle(1, self.log, stops=stops), self.follower, self.ledger)

    def done_to(self, pid: int) -> list[str]:
        return [what for what, whom in self.log if whom == pid]

    @property
    def stopped(self) -> set[int]:
        return {pid for pid, handle in self.handles.items() if handle.letter == "T"}


@pytest.fixture
def hunt(tmp_path: Path) -> Hunt:
    return Hunt(tmp_path)


def pids(victims: list[Victim]) -> set[int]:
    return {victim.handle.process.pid for victim in victims}


@pytest.mark.parametrize(
    ("spec", "running", "fitting"),
    [(IN_FLIGHT, {1: 5}, True), (IN_FLIGHT, {}, False), (IDLE, {1: 5}, False), (IDLE, {}, True)],
)
def test_a_worker_fits_if_it_does_what_the_fault_asks_for(
    spec: FaultSpec, running: dict[int, int], fitting: bool
) -> None:
    assert fits(spec, Worker(1, 1, running)) is fitting


def test_a_worker_that_fits_is_stopped(hunt: Hunt) -> None:
    hunt.worker(11, holds=5)
    assert pids(hunt.stop(IN_FLIGHT)) == hunt.stopped == {11}


def test_the_undo_record_is_with_the_keeper_before_the_stop_is_sent(hunt: Hunt) -> None:
    hunt.worker(11, holds=5)
    hunt.stop(IN_FLIGHT)
    assert hunt.done_to(11) == ["record", "SIGSTOP"]


def test_what_a_victim_holds_is_known_exactly(hunt: Hunt) -> None:
    hunt.worker(11, holds=5)
    (victim,) = hunt.stop(IN_FLIGHT)
    assert (victim.held, victim.offset) == ((5,), 3 * 64)


def test_a_harm_begins_before_the_stop_is_sent(hunt: Hunt) -> None:
    stopped_at: list[int] = []
    hunt.worker(11, holds=5, before_stop=lambda: stopped_at.append(now_ns()))
    before = now_ns()
    (victim,) = hunt.stop(IN_FLIGHT)
    assert before <= victim.begin <= stopped_at[0]


def test_workers_that_do_not_fit_are_left_alone(hunt: Hunt) -> None:
    hunt.worker(11)
    hunt.worker(12, holds=5)
    assert pids(hunt.stop(IN_FLIGHT)) == {12}
    assert hunt.done_to(11) == []


def test_an_idle_worker_is_found_among_busy_ones(hunt: Hunt) -> None:
    hunt.worker(11, holds=5)
    hunt.worker(12)
    (victim,) = hunt.stop(IDLE)
    assert (pids([victim]), victim.held, hunt.done_to(11)) == ({12}, (), [])


def test_only_as_many_as_are_wanted_are_stopped(hunt: Hunt) -> None:
    for pid in (11, 12, 13, 14):
        hunt.worker(pid, holds=pid)
    victims = hunt.stop(IN_FLIGHT, 3)
    assert len(pids(victims)) == 3
    assert hunt.stopped == pids(victims)


def test_those_not_chosen_are_not_touched(hunt: Hunt) -> None:
    for pid in (11, 12, 13, 14):
        hunt.worker(pid, holds=pid)
    chosen = pids(hunt.stop(IN_FLIGHT, 2))
    assert {whom for _, whom in hunt.log} == chosen


def test_one_that_ended_its_work_before_the_stop_took_hold_is_resumed_and_healed(hunt: Hunt) -> None:
    hunt.worker(11, holds=5, before_stop=lambda: hunt.files[11].ends(5))
    assert hunt.stop(IN_FLIGHT) == []
    assert hunt.done_to(11) == ["record", "SIGSTOP", "SIGCONT", "healed"]


def test_one_that_got_work_before_the_stop_took_hold_is_no_idle_victim(hunt: Hunt) -> None:
    hunt.worker(11, before_stop=lambda: hunt.files[11].begins(5))
    assert hunt.stop(IDLE) == []
    assert hunt.stopped == set()


def test_another_takes_the_place_of_one_that_does_not_coincide(hunt: Hunt) -> None:
    hunt.worker(11, holds=5, before_stop=lambda: hunt.files[11].ends(5))
    hunt.worker(12, holds=6)
    for seed in range(8):
        hunt.files[11].begins(5)
        victims = hunt.stop(IN_FLIGHT, seed=seed)
        assert pids(victims) == hunt.stopped == {12}
        resume(victims[0], hunt.ledger)


def test_it_is_all_or_none(hunt: Hunt) -> None:
    hunt.worker(11, holds=5)
    hunt.worker(12, holds=6)
    hunt.worker(13)
    assert hunt.stop(IN_FLIGHT, 3) == []
    assert hunt.stopped == set()


def test_where_not_all_are_found_those_stopped_are_resumed_and_healed(hunt: Hunt) -> None:
    hunt.worker(11, holds=5)
    hunt.worker(12, holds=6)
    hunt.worker(13, holds=7, before_stop=lambda: hunt.files[13].ends(7))
    assert hunt.stop(IN_FLIGHT, 3) == []
    assert [hunt.done_to(pid) for pid in (11, 12, 13)] == [["record", "SIGSTOP", "SIGCONT", "healed"]] * 3


def test_where_too_few_coincide_none_is_stopped(hunt: Hunt) -> None:
    hunt.worker(11, holds=5)
    hunt.worker(12)
    assert hunt.stop(IN_FLIGHT, 2) == []
    assert hunt.log == []


def test_one_that_is_gone_is_healed_and_no_victim(hunt: Hunt) -> None:
    hunt.worker(11, holds=5, alive=False)
    assert hunt.stop(IN_FLIGHT) == []
    assert hunt.done_to(11)[-1] == "healed"


def test_one_that_does_not_stop_in_time_is_resumed_and_healed(hunt: Hunt) -> None:
    hunt.worker(11, holds=5, stops=False)
    assert hunt.stop(IN_FLIGHT) == []
    assert hunt.done_to(11) == ["record", "SIGSTOP", "SIGCONT", "healed"]


def test_nobody_is_harmed_where_nobody_lives(hunt: Hunt) -> None:
    assert hunt.stop(IN_FLIGHT) == []


def test_the_choice_comes_from_the_seed(hunt: Hunt) -> None:
    for pid in range(11, 19):
        hunt.worker(pid, holds=pid)
    chosen = []
    for seed in (1, 1, 2, 3, 4):
        victims = hunt.stop(IN_FLIGHT, seed=seed)
        chosen.append(pids(victims))
        resume(victims[0], hunt.ledger)
    assert chosen[0] == chosen[1]
    assert len({pid for found in chosen for pid in found}) > 1


def test_the_records_are_read_before_anyone_is_chosen(hunt: Hunt) -> None:
    hunt.worker(11, holds=5)
    hunt.follower.refresh()
    hunt.files[11].ends(5)
    assert hunt.stop(IN_FLIGHT) == []
    assert hunt.done_to(11) == []


def test_the_parent_is_stopped_while_workers_hold_operations(hunt: Hunt) -> None:
    hunt.worker(11, holds=5)
    hunt.worker(12, holds=6)
    (victim,) = hunt.stop_parent()
    assert (sorted(victim.held), hunt.done_to(1)) == ([5, 6], ["record", "SIGSTOP"])


def test_the_parent_of_idle_workers_is_resumed_and_healed(hunt: Hunt) -> None:
    hunt.worker(11)
    assert hunt.stop_parent() == []
    assert hunt.done_to(1) == ["record", "SIGSTOP", "SIGCONT", "healed"]


def test_the_parent_of_idle_workers_is_a_victim_where_that_is_asked_for(hunt: Hunt) -> None:
    hunt.worker(11)
    idle = FaultSpec(kind="kill", target="parent", at_s=1, coincide="idle")
    assert len(hunt.stop_parent(idle)) == 1


def test_a_parent_that_does_not_stop_is_no_victim(hunt: Hunt) -> None:
    hunt.worker(11, holds=5)
    assert hunt.stop_parent(stops=False) == []
    assert hunt.done_to(1) == ["record", "SIGSTOP", "SIGCONT", "healed"]


def test_resuming_lets_a_victim_go_on_before_its_record_is_given_up(hunt: Hunt) -> None:
    hunt.worker(11, holds=5)
    (victim,) = hunt.stop(IN_FLIGHT)
    hunt.log.clear()
    resume(victim, hunt.ledger)
    assert (hunt.log, hunt.stopped) == ([("SIGCONT", 11), ("healed", 11)], set())
