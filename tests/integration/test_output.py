"""What the command line does where output has nowhere to go, where it is told to end, where two want one place."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.runs import CONFIG, ROOT, Run

pytestmark = pytest.mark.layer(2)

POOLPROOF = (sys.executable, "-m", "poolproof")


def poolproof(*arguments: str, stdout: int) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*POOLPROOF, *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )


@pytest.fixture
def closed_pipe() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.functional
@pytest.mark.parametrize("command", [("config",), ("doctor",), ("--help",)])
def test_a_full_disk_is_one_line_and_no_verdict(command: tuple[str, ...]) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    completed = poolproof(*command, stdout=full)
    os.close(full)
    assert (completed.returncode, completed.stderr.count("\n")) == (2, 1)
    assert "standard output can't be written" in completed.stderr


@pytest.mark.functional
def test_a_reader_that_has_seen_enough_is_no_verdict_and_no_error(closed_pipe: int) -> None:
    completed = poolproof("config", stdout=closed_pipe)
    os.close(closed_pipe)
    assert (completed.returncode, completed.stderr) == (128 + signal.SIGPIPE, "")


@pytest.mark.functional
def test_the_version_is_told() -> None:
    completed = poolproof("--version", stdout=subprocess.PIPE)
    assert completed.stdout.split()[0] == "poolproof"


def test_the_json_is_written_although_standard_output_is_full(tmp_path: Path) -> None:
    (tmp_path / "layer_2.toml").write_text(CONFIG, encoding="utf-8")
    full = os.open("/dev/full", os.O_WRONLY)
    completed = poolproof(
        *("prove", "tests.pools.clean:make", "--scenario", "shutdown", "--config", str(tmp_path)),
        *("--json", str(tmp_path / "out.json")),
        stdout=full,
    )
    os.close(full)
    assert completed.returncode == 2
    assert (tmp_path / "out.json").stat().st_size > 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_end_ends_the_run_as_an_interrupt_does(launch: Callable[..., Run], number: signal.Signals) -> None:
    run = launch("prove", "tests.pools.clean:make", "--scenario", "stall-one", "--seed", "1")
    run.until(lambda: run.reached("load"))
    assert run.caller.send(number)
    assert run.ended() == 128 + number
    assert not run.members()
    assert not list(run.temporary.iterdir())


def test_a_second_run_into_the_same_report_is_refused(launch: Callable[..., Run], tmp_path: Path) -> None:
    report = str(tmp_path / "report")
    first = launch("prove", "tests.pools.clean:make", "--scenario", "stall-one", "--report", report)
    first.until(lambda: (tmp_path / "report" / "stall-one").is_dir())
    second = poolproof(
        *("prove", "tests.pools.clean:make", "--scenario", "shutdown", "--report", report), stdout=subprocess.DEVNULL
    )
    assert second.returncode == 2
    assert "another run writes its report" in second.stderr
