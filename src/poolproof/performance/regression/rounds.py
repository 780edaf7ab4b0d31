"""One round: a contestant in a fresh process of the side's own interpreter, and nothing of it left afterwards."""

import contextlib
import json
import os
import secrets
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from poolproof.errors import TargetError
from poolproof.lab import sweep

CONTESTANT: Final = Path(__file__).with_name("contestant.py")
PATIENCE_S: Final = 30.0
"""A round takes well under a second; this is for a machine that does something else as well."""

_LEAVE_S: Final = 2.0
_LAST_WORDS: Final = 800
_ADVICE: Final = "mend that revision, or name another revision or --target that loads and runs on both sides"
_LEADING_ASTRAY: Final = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
"""With these, both sides might load the same code, or that of the caller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two that are compared.

    Attributes:
        name: how it is called in messages.
        python: the interpreter that has its build.
        folder: where the target is looked for after all that is installed; None for nowhere.
        target: `module:factory` of its executor.
        environment: what its processes get besides.
    """

    name: str
    python: Path
    target: str
    folder: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What a contestant told.

    Attributes:
        figures: by metric.
        absent: why there is no figure, by metric.
        file: where the target came from, if that was asked.
        packages: what is installed there, if that was asked.
    """

    figures: Mapping[str, float]
    absent: Mapping[str, str]
    file: str
    packages: Mapping[str, str]


def run_round(side: Side, metrics: tuple[str, ...], *, workers: int, at: Path, patience_s: float = PATIENCE_S) -> Round:
    """Measure these metrics once; without any, load the target, have it run one operation, and tell what it is.

    Args:
        side: who is measured.
        metrics: their names.
        workers: how many the pool gets, where its factory takes a number.
        at: the folder that the process works in.
        patience_s: how long it may take.

    Raises:
        TargetError: the target can't be loaded or driven, or its process dies or hangs; nothing of it is left.
    """
    folder = None if side.folder is None else str(side.folder)
    orders = {"target": side.target, "workers": workers, "metrics": metrics, "path": folder}
    with tempfile.TemporaryFile() as errors:
        told = _run(side, [str(CONTESTANT), json.dumps(orders)], errors, at, patience_s)
        last = _last_words(errors)
    stage = told.get("stage", "starting its interpreter")
    if "failed" in told:
        raise TargetError(side.target, f"{side.name}: {side.target} failed while {stage}: {told['failed']}; {_ADVICE}")
    if "figures" not in told:
        how = "hung" if told.get("hung") else "its process died"
        within = f" for {patience_s:g} s and was ended" if told.get("hung") else ""
        words = f"; its last words: {last}" if last else ""
        raise TargetError(side.target, f"{side.name}: {side.target} {how} while {stage}{within}{words}; {_ADVICE}")
    return Round(
        figures=told["figures"],
        absent=told["absent"],
        file=told.get("found") or "",
        packages=told.get("packages", {}),
    )


def _run(side: Side, arguments: list[str], errors: IO[bytes], at: Path, patience_s: float) -> dict[str, Any]:
    """All that it told; `hung` where it did not come to an end in time."""
    token = secrets.token_hex(8)
    environment = {name: value for name, value in os.environ.items() if name not in _LEADING_ASTRAY}
    process = subprocess.Popen(
        [str(side.python), "-P", *arguments],
        cwd=at,
        bufsize=0,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
        env=environment | {"PYTHONNOUSERSITE": "1"} | dict(side.environment) | {sweep.variable(token): "1"},
        start_new_session=True,
    )
    pidfd = os.pidfd_open(process.pid)
    try:
        told = _listen(process.stdout, pidfd, time.monotonic() + patience_s)
        if "hung" not in told:
            select.select([pidfd], [], [], _LEAVE_S)  # it has told all, and leaves by itself
        return told
    finally:  # nothing of it may disturb the next one, whichever way it ended
        os.close(pidfd)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # before it is reaped: until then the number is nobody else's
        sweep.sweep(token, roots=(process.pid,))
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _listen(stdout: Any, pidfd: int, deadline: float) -> dict[str, Any]:
    told: dict[str, Any] = {}
    rest = b""
    while not told.keys() & {"figures", "failed"}:
        # Its death is no end of the pipe as long as a worker that it forked lives on; so both are watched.
        ready = select.select([stdout, pidfd], [], [], max(0.0, deadline - time.monotonic()))[0]
        if not ready:
            return told | {"hung": True}
        # What it said last may have come after the look at the pipe and before the one at its death: look once more.
        is_told = stdout in ready or bool(select.select([stdout], [], [], 0)[0])
        more = stdout.read(65536) if is_told else b""
        if not more:
            break
        *lines, rest = (rest + more).split(b"\n")
        for line in lines:
            told |= json.loads(line)
    return told


def _last_words(errors: IO[bytes]) -> str:
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - _LAST_WORDS))
    return " ".join(errors.read().decode(errors="replace").split())
