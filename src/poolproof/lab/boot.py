"""Starts one process of a run, or the keeper of a test process: `boot.py ROLE INSTRUCTIONS FD…`.

The instructions are a file, or their text itself; the descriptors are its channels.

It lies outside the import system on purpose: it takes over the caller's `sys.path` before anything is imported.
Standard library only.
"""

import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Final, NamedTuple


class Orders(NamedTuple):
    """What each process of a run is told.

    Attributes:
        folder: the run folder.
        token: names the run in the environment of its processes.
        sys_path: the caller's.
        directory: the caller's working directory, where the lab looks for targets and workloads too.
        caller_pid: whose death ends the run.
        total_s: the run's deadline, seconds after its start.
        outlive_s: how long something may outlive the lab.
        temporary: the run's own folder for temporary files, removed with it.
        discard: a folder to be removed where the caller died, who would have removed it; or "".
    """

    folder: str
    token: str
    sys_path: list[str]
    directory: str
    caller_pid: int
    total_s: float
    outlive_s: float
    temporary: str
    discard: str


class Charge(NamedTuple):
    """What the keeper of a test process is told.

    Attributes:
        sys_path: where it finds the standard library and this package, and nothing else.
        token: names the test process in the environment of whatever it starts.
        caller_pid: the test process.
        caller_start_time: which life of that pid.
        caller_fd: the number of its end of the channel; a fork has inherited it, and is known by that.
        caller_end: what /proc shows under that number.
    """

    sys_path: list[str]
    token: str
    caller_pid: int
    caller_start_time: int
    caller_fd: int
    caller_end: str


ROLES: Final[dict[str, tuple[str, type[Orders] | type[Charge]]]] = {
    "keeper": ("poolproof.lab.keeper", Orders),
    "conductor": ("poolproof.lab.conductor", Orders),
    "lab": ("poolproof.lab.lab", Orders),
    "guard": ("poolproof.lab.guard", Charge),
}


def main(role: str, instructions: str, *fds: str) -> None:
    """Take over the caller's path and become the role."""
    text = instructions if instructions.startswith("{") else Path(instructions).read_text(encoding="utf-8")
    orders = json.loads(text)
    sys.path[:] = orders["sys_path"]
    sys.argv[:] = [f"poolproof-{role}"]
    module, kind = ROLES[role]
    status = import_module(module).main(kind(**orders), *map(int, fds))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # whatever threads or exit handlers the pool left must not keep the process


if __name__ == "__main__":
    main(*sys.argv[1:])
