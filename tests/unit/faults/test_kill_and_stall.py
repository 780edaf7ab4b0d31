from pathlib import Path

import pytest

from poolproof.faults import FAULTS, Fault, Victim
from poolproof.history import Follower
from tests.unit.faults.fake_processes import FakeHandle
from tests.unit.record_files import RecordFile


class Scene:
    """A victim that was stopped while it held operation 5, and what is done to it."""

    def __init__(self, folder: Path) -> None:
        self.log: list[tuple[str, int]] = []
        self.file = RecordFile(folder, 11, 1100)
        self.file.begins(5)
        self.follower = Follower(folder)
        self.follower.refresh()

    def victim(self, *, letter: str = "T", dies: bool = True) -> Victim:
        handle = FakeHandle(11, self.log, dies=dies)
        handle.letter = letter
        return Victim(handle=handle, begin=1, held=(5,), offset=64)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


KILL, STALL = FAULTS["kill"], FAULTS["stall"]


@pytest.mark.parametrize(("fault", "lasting"), [(KILL, False), (STALL, True)])
def test_a_stall_lasts_and_a_kill_is_over_at_once(fault: Fault, lasting: bool) -> None:
    assert fault.lasting is lasting


def test_a_kill_sends_sigkill_and_nothing_else(scene: Scene) -> None:
    KILL.harm(scene.victim())
    assert scene.log == [("SIGKILL", 11)]


def test_a_kill_is_proven_by_the_exit(scene: Scene) -> None:
    victim = scene.victim()
    KILL.harm(victim)
    assert KILL.prove(victim, scene.follower).effective


def test_a_kill_that_its_victim_survives_had_no_effect(scene: Scene) -> None:
    victim = scene.victim(dies=False)
    KILL.harm(victim)
    proof = KILL.prove(victim, scene.follower)
    assert (proof.effective, proof.why) == (False, "it was still alive 2 s after SIGKILL")


def test_a_kill_is_not_undone(scene: Scene) -> None:
    KILL.heal(scene.victim())
    assert scene.log == []


def test_a_stall_leaves_its_victim_stopped(scene: Scene) -> None:
    victim = scene.victim(letter="S")
    STALL.harm(victim)
    assert victim.handle.state() == "T"


def test_a_stall_is_proven_by_a_victim_that_is_stopped_and_wrote_nothing(scene: Scene) -> None:
    assert STALL.prove(scene.victim(), scene.follower).effective


def test_a_stall_whose_victim_runs_had_no_effect(scene: Scene) -> None:
    proof = STALL.prove(scene.victim(letter="R"), scene.follower)
    assert (proof.effective, proof.why) == (False, "it was in state R, not stopped, when the stall was to end")


def test_a_stall_whose_victim_wrote_a_record_had_no_effect(scene: Scene) -> None:
    scene.file.ends(5)
    proof = STALL.prove(scene.victim(), scene.follower)
    assert (proof.effective, proof.why) == (False, "it wrote records although it was stopped")


def test_a_stall_that_was_ended_by_the_death_of_its_victim_took_effect(scene: Scene) -> None:
    assert STALL.prove(scene.victim(letter="X"), scene.follower).effective


def test_healing_a_stall_lets_its_victim_go_on(scene: Scene) -> None:
    victim = scene.victim()
    STALL.heal(victim)
    assert (scene.log, victim.handle.state()) == ([("SIGCONT", 11)], "S")


def test_healing_a_stall_again_does_no_harm(scene: Scene) -> None:
    victim = scene.victim()
    STALL.heal(victim)
    STALL.heal(victim)
    assert victim.handle.state() == "S"
