"""SIGKILL to each process of a run, at twenty random moments each: two seconds later nothing of it lives."""

import random
from collections.abc import Callable

import pytest

from tests.integration.runs import ROLES, Role, Run

BOUND_S = 2.0
MOMENTS = 20

# From the start of the victim to about the end of the run; its workers outlive their parent, if the kit lets them.
SPAN_S = 3.0
STALLING = (
    "prove",
    "tests.pools.mutants:leaves_workers_when_its_process_dies",
    "--scenario",
    "stall-one",
    "--seed",
    "3",
)

pytestmark = pytest.mark.layer(2)


@pytest.mark.parametrize("number", range(MOMENTS))
@pytest.mark.parametrize("victim", ROLES)
def test_nothing_of_a_run_outlives_the_death_of_any_of_its_processes_at_any_moment(
    victim: Role, number: int, launch: Callable[..., Run], record_property: Callable[[str, object], None]
) -> None:
    moment_s = random.Random(f"{victim} {number}").uniform(0, SPAN_S)
    run = launch(*STALLING)
    run.until(lambda: run.role(victim))
    run.let_pass(moment_s)
    handle = run.role(victim)
    stopped = run.stopped_worker() is not None

    if handle is not None:  # else the run was over before, and has to be gone all the same
        run.kill(handle)

    gone_s = run.gone_within(BOUND_S)
    run.ended()
    record_property("death", f"{victim} at {moment_s:.2f} s{', a worker stopped' * stopped}: gone after {gone_s:.3f} s")
