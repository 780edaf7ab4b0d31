"""Programs of DSPy's in sessions, end to end; they need the extra `dspy`."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from poolproof.config import load_config
from poolproof.experiment import Proof
from tests.integration.conftest import QUICK

pytest.importorskip("dspy", reason="needs the extra dspy: pip install 'poolproof[dspy]'")

pytestmark = pytest.mark.layer(3)

ALONE = """
import os, sys
events = []
sys.addaudithook(lambda event, given: events.append((event, given)))
from poolproof.workloads import programs
programs.prepare()
programs.execute(("sums", 10, "create"), {})
asked = [given for event, given in events if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname")]
assert not asked, asked
assert len(os.listdir("/proc/self/task")) == 1, os.listdir("/proc/self/task")
"""


def test_nothing_is_asked_of_the_network_kept_on_disk_or_left_running(tmp_path: Path) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    known = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH") if name in os.environ}
    environment = known | {"HOME": str(home), "TMPDIR": str(here)}
    subprocess.run([sys.executable, "-c", ALONE], env=environment, cwd=here, check=True)
    assert not [*home.iterdir(), *here.iterdir()]


def test_a_pool_whose_sessions_hold_programs_is_proved(experiment: Callable[..., Proof]) -> None:
    config = load_config(3, options={**QUICK, "load.workload": "dspy"})

    proof = experiment("sessionpool", scenarios=("sessions", "kill-one"), config=config)

    assert proof.verdict == "kept"
