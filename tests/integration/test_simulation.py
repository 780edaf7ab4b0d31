"""Layer 1 from end to end: the scenarios in virtual time, the same bytes each time, exploring, replaying, bad input."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from poolproof.config import Effective, load_config
from poolproof.errors import TargetError, UsageError
from poolproof.experiment import SCENARIOS, Proof
from poolproof.exploration import explore, replay
from poolproof.plan import PROMISES, FaultSpec, Operation
from poolproof.probe import Call
from poolproof.simulation import SOMETIMES, SimulatedPool
from sessionpool import WorkerDied
from tests.digests import digests

pytestmark = pytest.mark.layer(1)

ROOT = Path(__file__).parents[2]
UNSIMULATED = {"awkward-work", "parent-death"}
CORES = "tests.pools.cores"


# --- the scenarios ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(set(SCENARIOS) - UNSIMULATED))
def test_a_scenario_finds_every_promise_kept(name: str, experiment: Callable[..., Proof]) -> None:
    proof = experiment("sessionpool", scenarios=(name,))

    assert proof.verdict == "kept"
    assert {it.verdict for it in proof.promises.values()} <= {"kept", None}


def test_what_layer_1_cannot_do_is_skipped_aloud(experiment: Callable[..., Proof]) -> None:
    proof = experiment("sessionpool", scenarios=("awkward-work", "parent-death", "kill-one"))

    assert proof.skipped.keys() == UNSIMULATED
    assert all("--layer 2" in why for why in proof.skipped.values())


@pytest.mark.parametrize(
    ("core", "told"),
    [
        ("Amnesiac", "was never resolved"),
        ("Restless", "it would never let time pass"),
        ("Clumsy", "the core raised KeyError"),
    ],
)
def test_a_core_with_a_defect_breaks_its_promise(core: str, told: str, experiment: Callable[..., Proof]) -> None:
    promise = experiment(f"{CORES}:{core}", scenarios=("kill-one",)).promises["resolves-every-operation"]

    assert promise.verdict == "broken"
    assert told in "\n".join(it.text for it in promise.evidence)


# --- the same bytes each time -------------------------------------------------------------------------------------

DIGESTS = "from tests.digests import digests; print(*digests(range(8)))"


def test_the_same_seeds_give_the_same_bytes_in_another_process_with_other_hashes() -> None:
    assert os.environ.get("PYTHONHASHSEED") != "4711"
    environment = dict(os.environ) | {
        "PYTHONHASHSEED": "4711",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
    }
    there = subprocess.run([sys.executable, "-c", DIGESTS], env=environment, capture_output=True, text=True, check=True)

    here = digests(range(8))
    assert there.stdout.split() == here
    assert len(set(here)) == 8


# --- a pool to play with ------------------------------------------------------------------------------------------


def test_a_day_of_waiting_takes_no_time_and_a_death_costs_one_operation() -> None:
    with SimulatedPool(workers=2) as pool:
        long = pool.submit(_operation(1, "wait", 86_400.0, "a day"))
        pool.inject(FaultSpec(kind="kill", count=1, at_s=3600.0))
        short = pool.submit(_operation(2, "wait", 0.01, "short"))

        assert short.result(1) == (2, "short")
        assert isinstance(long.exception(timeout=90_000), WorkerDied)
        assert pool.submit(_operation(3, "answer", "after")).result(1) == (3, "after")


def _operation(op: int, *command: str | float) -> Operation:
    return Operation(op=op, kind="obey", call=Call("", "", op, "obey", command))


# --- exploring ----------------------------------------------------------------------------------------------------


def test_an_exploration_that_is_too_short_says_what_it_did_not_reach() -> None:
    found = explore("sessionpool", seeds=10)

    assert (found.verdict, found.failures) == ("unknown", ())
    assert {*found.reached, *found.missed} == set(SOMETIMES)
    assert found.missed


def test_what_fails_is_shrunk_and_kept_as_a_plan_and_as_a_test(tmp_path: Path) -> None:
    found = explore(f"{CORES}:Amnesiac", seeds=60, until_first=True, report=tmp_path)

    assert "resolves-every-operation" in found.broken
    (failure,) = found.failures
    assert failure.windows == 1
    plan = Path(failure.path)
    assert len(plan.read_text(encoding="utf-8").splitlines()) < 40
    again = [replay(plan) for _ in range(3)]
    assert all((it.promise, it.verdict, it.is_same) == (failure.promise, "broken", True) for it in again)
    test = plan.with_name(f"test_{plan.stem}.py")
    compile(test.read_text(encoding="utf-8"), test.name, "exec")
    assert plan.name in test.read_text(encoding="utf-8")


def test_where_nothing_fails_nothing_is_kept(tmp_path: Path) -> None:
    explore("sessionpool", seeds=2, report=tmp_path / "found")

    assert not (tmp_path / "found").exists()


# --- bad input ----------------------------------------------------------------------------------------------------


BAD = {
    "schema": "poolproof/replay-1",
    "promise": "closes-cleanly",
    "seed": 1,
    "said": "",
    "digest": "",
    "plan": {
        "schema": "poolproof/plan-3",
        "target": {"name": "sessionpool", "factory": "poolproof.pools.sessionpool:SessionPoolCore"},
        "workload": "scripted",
        "scenario": {
            "name": "bad",
            "summary": "",
            "stages": ["open", "load", "close"],
            "examines": ["closes-cleanly"],
            "load": {"steps": [{"rate": 1e9, "seconds": 10}]},
            "faults": [
                {"kind": "melt", "at_s": 1},
                {"kind": "kill", "count": 1, "at_s": -1},
                {"kind": "refuse-start", "target": "pool", "at_s": 1, "for_s": 2},
                {"kind": "fail-start", "target": "pool", "at_s": 2, "for_s": 2},
            ],
        },
        "layer": 1,
        "workers": 1,
        "seed": 1,
        "bounds": {"open_s": 20, "close_s": 4, "drain_s": 3, "rendezvous_s": 0.8, "outlive_s": 2, "total_s": 90},
        "limits": {"max_share": 0.8, "min_survivors": 1, "max_fault_s": 60, "max_processes": 256},
    },
}


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("loky", "layer 1 simulates a pool's sans-I/O core, and 'loky' offers none"),
        (f"{CORES}:_with_settings", "offers none"),
        (f"{CORES}:Unmakeable", "no core today"),
        ("nowhere:Nothing", "can't be loaded"),
    ],
)
def test_a_target_that_cannot_be_simulated_is_refused(target: str, told: str) -> None:
    with pytest.raises(TargetError, match=told):
        explore(target, seeds=1)


def test_operations_that_obey_nothing_are_refused(experiment: Callable[..., Proof], layer_config: Effective) -> None:
    config = load_config(1, options={"load.workload": f"{CORES}:unscripted"})
    with pytest.raises(UsageError, match="use --workload scripted, or --layer 2"):
        experiment("sessionpool", scenarios=("kill-one",), config=config)


def test_everything_that_is_wrong_with_a_plan_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(json.dumps(BAD), encoding="utf-8")
    with pytest.raises(UsageError) as refused:
        replay(tmp_path / "plan.json")

    for told in ("plan.json", "'melt'", "at_s = -1", "overlap", "the most is 20,000,000"):
        assert told in str(refused.value)


def test_every_promise_that_can_be_examined_in_virtual_time_is() -> None:
    given = {promise for name in set(SCENARIOS) - UNSIMULATED for promise in _examined(name)}

    assert given == set(PROMISES)


def _examined(name: str) -> tuple[str, ...]:
    from poolproof.experiment.scenarios import Ingredients

    return SCENARIOS[name](
        Ingredients(rate_per_s=100.0, seconds=3.0, arrivals="poisson", warm_up=8, workers=4)
    ).examines
