"""What the workers of a pool have to import: it is paid for by each pool that is opened, so it is kept small."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.layer(2)


def loaded_by(*modules: str) -> set[str]:
    """What a fresh interpreter has loaded once it has imported these."""
    code = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.decode().split())


@pytest.mark.functional
def test_a_forkserver_does_not_import_what_only_the_pools_side_needs() -> None:
    dear = {"concurrent.futures", "logging", "subprocess", "multiprocessing.spawn", "sessionpool.core", "asyncio"}
    assert not dear & loaded_by("sessionpool.forkserver")


@pytest.mark.functional
def test_a_worker_that_obeys_commands_needs_nothing_of_what_the_client_does() -> None:
    dear = {"poolproof.plan", "poolproof.workloads.finding", "msgspec", "numpy", "dataclasses", "inspect", "random"}
    assert not dear & loaded_by("poolproof.probe", "poolproof.workloads.commands")
