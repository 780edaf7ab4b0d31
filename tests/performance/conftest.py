"""What holds for every benchmark."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from poolproof.experiment import environment
from tests.performance.contestant import Contestant
from tests.performance.racing import Row, table


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Prints a figure past pytest's capture: a benchmark that tells nothing is none."""
    machine = environment()

    def say_aloud(figure: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n  {figure} ({machine['python']}, {machine['cores']} cores, {machine['system']})\n")

    return say_aloud


@pytest.fixture(scope="module")
def undisturbed() -> None:
    """Fails where other tests run at the same time."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        pytest.fail("while other tests run beside it, nothing can be measured: leave out -n")


@pytest.fixture(scope="module")
def report(request: pytest.FixtureRequest) -> Iterator[list[Row]]:
    """Takes the lines of the table, which is printed past pytest's capture once all is measured."""
    lines: list[Row] = []
    yield lines
    if not lines:
        return
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        sys.stdout.write(f"\n\n{table(lines, machine())}\n")


@pytest.fixture
def enter(pytestconfig: pytest.Config) -> Iterator[Callable[..., Contestant]]:
    """Starts contestants, each with its arguments; nothing of them outlives the test."""
    with ExitStack() as track:
        yield lambda *arguments, **how: track.enter_context(Contestant(pytestconfig.rootpath, *arguments, **how))


def machine() -> str:
    """The machine in words."""
    found = environment()
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in cpuinfo if line.startswith("model name")), "unknown model")
    return (
        f"{found['python']}, {found['system']}, {found['cores']} processors ({model}), {found['memory_gib']} GiB, "
        f"at {found['time']}"
    )
