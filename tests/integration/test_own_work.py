"""What users bring along, in a script of their own in an empty folder: it is found, or refused with what to do."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from textwrap import dedent

import pytest

from poolproof.config import Effective
from poolproof.experiment import Proof
from tests.integration.runs import CONFIG

pytestmark = pytest.mark.layer(2)

SCRIPT = """
    import os
    from concurrent.futures import ProcessPoolExecutor
    from poolproof import Claims, Kind, Workload, load_config, prove


    def make(workers):
        return ProcessPoolExecutor(workers)


    class ClosesItself:
        claims = Claims(errors=("builtins.RuntimeError",))

        def __init__(self, workers):
            self.executor, self.taken = ProcessPoolExecutor(workers), 0

        def submit(self, operation):
            self.taken += 1
            if self.taken == 100:
                self.executor.shutdown(wait=False)
            return self.executor.submit(operation.call)

        def close(self, *, cancel=False):
            self.executor.shutdown()


    def double(payload, state):
        return 2 * payload


    def number(rng):
        return rng.random()


    def is_double(payload, result):
        return result == 2 * payload


    def raises(*_):
        raise KeyError("the table of answers is missing")


    def fails_in_one_worker():
        try:
            os.close(os.open("taken", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        raise OSError("the model is not there")


    sound = Workload(kinds={"double": Kind(call=double, payload=number, verify=is_double)})
    does_not_pickle = Workload(kinds={"double": Kind(call=double, payload=lambda rng: lambda: 1)})
    does_not_verify = Workload(kinds={"double": Kind(call=double, payload=number, verify=raises)})
    is_not_set_up = Workload(kinds=sound.kinds, setup=fails_in_one_worker)

    if __name__ == "__main__":
        print(prove(make, load_config(2), layer=2, seed=1, scenarios=("shutdown",)).verdict)
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "my-pool.py"
    path.write_text(dedent(SCRIPT), encoding="utf-8")
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings" / "layer_2.toml").write_text(CONFIG, encoding="utf-8")
    return path


def prove(script: Path, factory: str, *more: str) -> "subprocess.CompletedProcess[str]":
    """`poolproof prove my-pool.py:FACTORY` as its owner would run it, from the folder of the script."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "poolproof", "prove", f"{script.name}:{factory}", "--layer", "2"),
            *("--seed", "1", "--config", "settings", *more),
        ],
        cwd=script.parent,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_factory_and_a_workload_of_a_script_are_found(script: Path) -> None:
    completed = prove(script, "make", "--workload", "my-pool.py:sound", "--scenario", "steady")

    assert completed.returncode == 0, completed.stdout + completed.stderr


def test_a_script_that_is_run_may_hand_over_its_own_function(script: Path) -> None:
    completed = subprocess.run(
        [sys.executable, script.name], cwd=script.parent, capture_output=True, text=True, timeout=60
    )

    assert completed.stdout == "kept\n", completed.stderr


def make(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers)


def test_a_test_may_hand_over_a_function_of_its_module(experiment: Callable[..., Proof], quick: Effective) -> None:
    assert experiment(make, scenarios=("shutdown",), config=quick).verdict == "kept"


def test_a_payload_that_does_not_pickle_is_the_workloads_fault(script: Path) -> None:
    completed = prove(script, "make", "--workload", "my-pool.py:does_not_pickle", "--scenario", "steady")

    assert completed.returncode == 2
    assert "the payload of the kind 'double' does not pickle (" in completed.stderr


def test_where_verification_raises_nothing_can_be_told_and_the_cause_is_named(script: Path) -> None:
    completed = prove(script, "make", "--workload", "my-pool.py:does_not_verify", "--scenario", "steady")

    assert completed.returncode == 3
    assert "could not be verified (builtins.KeyError: 'the table of answers is missing')" in completed.stdout


def test_where_setup_fails_in_one_worker_nothing_can_be_told_and_the_cause_is_named(script: Path) -> None:
    completed = prove(script, "make", "--workload", "my-pool.py:is_not_set_up", "--scenario", "steady")

    assert completed.returncode == 3
    assert "can't be set up in worker pid" in completed.stdout
    assert "OSError('the model is not there')" in completed.stdout


def test_a_pool_that_closes_itself_breaks_a_promise(script: Path) -> None:
    completed = prove(script, "ClosesItself", "--scenario", "steady")

    assert completed.returncode == 1
    assert "although nobody had closed it" in completed.stdout


@pytest.mark.functional
@pytest.mark.parametrize(
    ("factory", "cause"),
    [("nowhere", "has no attribute 'nowhere'"), ("sound", "is of type Workload, expected a callable")],
)
def test_what_is_no_factory_is_refused(factory: str, cause: str, script: Path) -> None:
    completed = prove(script, factory, "--scenario", "shutdown")

    assert completed.returncode == 2
    assert cause in completed.stderr


@pytest.mark.functional
def test_a_script_that_is_not_there_is_refused(script: Path) -> None:
    completed = prove(script.with_name("other.py"), "make", "--scenario", "shutdown")

    assert completed.returncode == 2
    assert "there is no script other.py" in completed.stderr
