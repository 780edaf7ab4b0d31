"""The soak tells a clean run from one that is not: else a hundred clean ones would say nothing."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.soak import CLEAN, Draw, draws, options_of, soak
from tests.pools.clean import CLEAN as HABITS
from tests.pools.clean import CleanPool

pytestmark = pytest.mark.layer(2)

LEFT = Path("/dev/shm/poolproof-test-soak")  # a name of our own: it is looked for, and removed


def leaves_a_file(*, workers: int) -> CleanPool:
    return CleanPool(workers, replace(HABITS, leave=LEFT.touch))


def draw(target: str) -> Draw:
    return Draw(target=target, scenario="shutdown", layer=2, workers=2, seconds=2.0, seed=1)


def test_a_pool_that_breaks_a_promise_raises_an_alarm_and_its_run_is_kept(tmp_path: Path) -> None:
    (result,) = soak([draw("tests.pools.mutants:raises_in_close")], keep=tmp_path)

    assert result.verdict == "broken"
    assert result.findings[0].startswith("closes-cleanly broken")
    assert (tmp_path / "00000" / "runs" / "shutdown" / "plan.json").exists()


def test_a_pool_that_keeps_its_promises_raises_none(tmp_path: Path) -> None:
    (result,) = soak([draw("tests.pools.clean:make")], keep=tmp_path)

    assert result.clean
    assert not list(tmp_path.iterdir())


def test_what_is_left_behind_is_not_clean_even_where_every_promise_was_kept() -> None:
    try:
        (result,) = soak([draw(f"{__name__}:leaves_a_file")])
    finally:
        LEFT.unlink()

    assert result.verdict == "kept"
    assert not result.clean
    # Among it: other tests run at this moment, too, and have folders of their own.
    assert f"shared memory {LEFT.name}" in result.residue
    assert not result.clean


@pytest.mark.functional
@pytest.mark.parametrize("arguments", ["--runs=0", "--runs=-1", "--runs=2.5", "--hours=0", "--hours=-1", "--hours=nan"])
def test_a_soak_of_nothing_is_refused(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        options_of([arguments])

    assert refused.value.code == 2
    assert f"argument {arguments.partition('=')[0]}: " in capsys.readouterr().err


@pytest.mark.functional
def test_a_soak_is_of_so_many_runs_or_hours() -> None:
    assert (options_of(["--runs", "1"]).runs, options_of(["--hours", "0.5"]).hours) == (1, 0.5)


@pytest.mark.functional
def test_the_same_seed_draws_the_same_runs() -> None:
    first, second = draws(7), draws(7)

    assert [next(first) for _ in range(20)] == [next(second) for _ in range(20)]


@pytest.mark.functional
def test_every_pool_and_each_of_its_scenarios_is_drawn() -> None:
    endless = draws(1)
    drawn = {(each.target, each.scenario) for each in (next(endless) for _ in range(2000))}

    assert drawn == {(target, scenario) for target, scenarios in CLEAN.items() for scenario in scenarios}
