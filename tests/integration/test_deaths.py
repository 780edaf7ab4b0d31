"""Whoever of a run is killed, whenever: within two seconds no process of it lives, and none was left stopped."""

import signal
from collections.abc import Callable

import pytest

from tests.integration.runs import ROLES, Role, Run

BOUND_S = 2.0

# Its workers do not die with their parent and do not notice its death: what ends them is the kit, or nothing.
TARGET = "tests.pools.mutants:leaves_workers_when_its_process_dies"
STALLING = ("prove", TARGET, "--scenario", "stall-one", "--seed", "3")

MOMENTS: dict[str, Callable[[Run], object]] = {
    "its-start": lambda run: True,
    "opening": lambda run: run.reached("open"),
    "load": lambda run: run.reached("load"),
    "a-worker-is-stopped": lambda run: run.stopped_worker(),
}

pytestmark = pytest.mark.layer(2)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("victim", ROLES)
def test_nothing_of_a_run_outlives_the_death_of_any_of_its_processes(
    victim: Role, moment: str, launch: Callable[..., Run], record_property: Callable[[str, object], None]
) -> None:
    run = launch(*STALLING)
    run.until(lambda: run.role("keeper" if victim == "caller" else victim))
    run.until(lambda: MOMENTS[moment](run))
    handle = run.until(lambda: run.role(victim))

    run.kill(handle)

    record_property(f"gone after the death of the {victim}, s", run.gone_within(BOUND_S))
    status = run.ended()
    assert status == (-signal.SIGKILL if victim == "caller" else 3), run.stderr


@pytest.mark.parametrize("victim", ROLES)
def test_no_temporary_file_of_a_run_outlives_the_death_of_any_of_its_processes(
    victim: Role, launch: Callable[..., Run]
) -> None:
    run = launch(*STALLING)
    run.until(lambda: run.reached("load"))
    handle = run.until(lambda: run.role(victim))

    run.kill(handle)

    run.gone_within(BOUND_S)
    run.ended()
    assert not list(run.temporary.iterdir())


@pytest.mark.parametrize("moment", [*MOMENTS, "drain", "close"])
def test_an_interrupt_ends_a_run_with_one_line_and_nothing_left(moment: str, launch: Callable[..., Run]) -> None:
    run = launch(*STALLING)
    run.until(lambda: run.role("keeper"))
    run.until(lambda: MOMENTS[moment](run) if moment in MOMENTS else run.reached(moment))

    assert run.caller.send(signal.SIGINT)

    assert run.ended() == 130
    assert run.complaints() == [
        "poolproof: interrupted; every fault was undone and no process of the run is left",
    ]
    assert not run.members()
    assert not list(run.temporary.iterdir())


def test_the_conductor_alone_ends_a_run_whose_keeper_dies_while_its_caller_can_not_act(
    launch: Callable[..., Run],
) -> None:
    run = launch("prove", "tests.pools.clean:make", "--scenario", "stall-one", "--seed", "3", "--seconds", "20")
    run.until(run.stopped_worker)
    keeper = run.until(lambda: run.role("keeper"))
    run.caller.send(signal.SIGSTOP)
    assert run.caller.wait_stopped(1)
    try:
        run.kill(keeper)
        run.gone_within(2)
    finally:
        run.caller.send(signal.SIGCONT)
    assert run.ended() == 3
