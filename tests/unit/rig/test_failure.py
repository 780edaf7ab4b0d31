import threading

from poolproof.rig import Failure, Incarnation
from poolproof.rig.failure import missed

VICTIM = Incarnation(7, 1, 7)


def lasting(undone: list[int]) -> Failure:
    def conclude() -> tuple[bool, str]:
        undone.append(1)
        return True, "it was found stopped"

    return Failure(kind="stall", victims=(VICTIM,), held=(3,), conclude=conclude, lasts=True)


def test_what_is_done_at_once_is_proven_at_once() -> None:
    done = Failure(kind="kill", victims=(VICTIM,), held=(), conclude=lambda: (True, "its exit"), lasts=False)
    assert (done.is_over, done.effective, done.why) == (True, True, "its exit")


def test_what_lasts_is_neither_over_nor_proven() -> None:
    it = lasting([])
    assert (it.is_over, it.effective, it.why) == (False, None, "it lasts")


def test_healing_undoes_it_and_proves_it() -> None:
    it = lasting([])
    it.heal()
    assert (it.is_over, it.effective, it.why) == (True, True, "it was found stopped")


def test_it_is_undone_once_whoever_comes_first() -> None:
    undone = list[int]()
    it, begin = lasting(undone), threading.Barrier(4)

    def heal() -> None:
        begin.wait()
        it.heal()

    threads = [threading.Thread(target=heal) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert undone == [1]


def test_what_befell_nobody_says_so() -> None:
    it = missed("kill", "no worker was idle")
    assert (it.victims, it.effective, it.why) == ((), False, "no worker was idle")


def test_a_failure_reads_as_what_it_is() -> None:
    assert repr(lasting([])) == "<stall of pid 7, lasts: it lasts>"
    assert repr(missed("kill", "no one")) == "<kill of nobody, without effect: no one>"
