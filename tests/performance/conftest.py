"""What holds for every benchmark."""

import sys
from collections.abc import Callable

import pytest

from poolproof.experiment import environment


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Prints a figure past pytest's capture: a benchmark that tells nothing is none."""
    machine = environment()

    def say_aloud(figure: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n  {figure} ({machine['python']}, {machine['cores']} cores, {machine['system']})\n")

    return say_aloud
