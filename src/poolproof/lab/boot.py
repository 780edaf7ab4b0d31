"""Starts one process of a run: `boot.py ROLE INSTRUCTIONS FD…`, the file of its instructions and its channels.

It lies outside the import system on purpose: it takes over the caller's `sys.path` before anything is imported.
Standard library only.
"""

import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Final, NamedTuple

ROLES: Final = {"keeper": "poolproof.lab.keeper", "conductor": "poolproof.lab.conductor", "lab": "poolproof.lab.lab"}


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


def main(role: str, instructions: str, *fds: str) -> None:
    """Take over the caller's path and become the role."""
    orders = json.loads(Path(instructions).read_text(encoding="utf-8"))
    sys.path[:] = orders["sys_path"]
    sys.argv[:] = [f"poolproof-{role}"]
    status = import_module(ROLES[role]).main(Orders(**orders), *map(int, fds))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # whatever threads or exit handlers the pool left must not keep the process


if __name__ == "__main__":
    main(*sys.argv[1:])
