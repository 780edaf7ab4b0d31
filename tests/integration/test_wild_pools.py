"""A pool that misbehaves costs the lab its life and poolproof nothing: it names the cause and leaves nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.integration.runs import Run

CONFIG = """
[pool]
workers = 3
[load]
rate_per_worker_per_s = 33.0
seconds = 2.0
[bounds]
open_s = 2.0
close_s = 1.5
rendezvous_s = 0.5
[limits]
max_processes = 12
"""


class Case(NamedTuple):
    """A factory of `tests/pools/wild.py`, the exit status that it earns, and what poolproof has to say about it."""

    factory: str
    status: int
    cause: str


CASES = (
    Case("hangs_in_its_factory", 2, "did not return a pool within bounds.open_s = 2 s"),
    Case("raises_in_its_factory", 2, "raised OSError: no room for a pool"),
    Case("exits_in_its_factory", 2, "raised SystemExit: enough"),
    Case("interrupts_its_factory", 2, "raised KeyboardInterrupt"),
    Case("leaves_quietly_in_its_factory", 2, "ended its own process: the lab exited with status 0"),
    Case("makes_no_pool", 2, "returned something of type dict: expected a concurrent.futures.Executor"),
    Case("misclaims", 2, "the claims of tests.pools.wild:misclaims are of type dict: expected poolproof.Claims"),
    Case("no_factory", 2, "is of type str, expected a callable"),
    Case("no_such_name", 2, "has no attribute 'no_such_name'"),
    Case("starts_too_many_processes", 3, "limits.max_processes = 12"),
    Case("hangs_in_submit", 1, "was never resolved"),
    Case("hangs_in_close", 1, "closing did not return within 1."),
    Case("exits_in_submit", 1, "the pool's own process exited with status 7"),
    Case("crashes_in_submit", 1, "the pool's own process was killed by SIGSEGV"),
    Case("leaves_quietly_in_the_middle", 1, "the pool's own process exited with status 0"),
)


@pytest.mark.layer(2)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.factory)
def test_a_wild_pool_is_named_and_outlived(case: Case, launch: Callable[..., Run]) -> None:
    run = launch("prove", f"tests.pools.wild:{case.factory}", "--scenario", "kill-one", "--seed", "1", config=CONFIG)

    assert run.ended() == case.status, run.stderr
    assert not run.members()
    assert not list(run.temporary.iterdir())
    if case.status == 2:
        (line,) = run.complaints()
        assert case.cause in line
    else:
        assert case.cause in run.stdout


@pytest.mark.layer(2)
@pytest.mark.parametrize(
    ("line", "cause"),
    [
        pytest.param("raise SystemExit('enough')", "can't be loaded: SystemExit: enough", id="exits"),
        pytest.param("raise KeyboardInterrupt", "can't be loaded: KeyboardInterrupt", id="interrupts"),
        pytest.param("import os; os._exit(0)", "ended its own process: the lab exited with status 0", id="leaves"),
    ],
)
def test_a_module_that_is_wild_at_its_import_is_named(
    line: str, cause: str, launch: Callable[..., Run], tmp_path: Path
) -> None:
    (tmp_path / "wild_at_import.py").write_text(line, encoding="utf-8")

    run = launch("prove", "wild_at_import:make", "--scenario", "shutdown", root=tmp_path, config=CONFIG)

    assert run.ended() == 2, run.stderr
    (complaint,) = run.complaints()
    assert cause in complaint
    assert not run.members()
    assert not list(run.temporary.iterdir())


@pytest.mark.layer(2)
def test_a_complaint_points_to_no_file_that_is_gone(launch: Callable[..., Run]) -> None:
    run = launch(
        *("prove", "tests.pools.wild:hangs_in_its_factory", "--scenario", "kill-one", "--seed", "1"), config=CONFIG
    )

    run.ended()
    assert str(run.temporary) not in run.stderr
