"""The machine and the commit that figures belong to: described, and named so that only what is alike is compared."""

import contextlib
import hashlib
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from poolproof.experiment import environment

COMPARABLE: Final = ("cpu", "architecture", "cores", "memory_gib", "kernel", "python")
"""What makes figures comparable. Python to the last digit: that costs a history its points now and then, whereas an
interpreter that became slower would be charged to an innocent commit."""

_GIT_S: Final = 30.0
_OF_ANOTHER: Final = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")  # set while git runs a hook, for its repository


def describe() -> dict[str, str]:
    """This machine and interpreter, every value in words; the names are those of `COMPARABLE`."""
    known = environment()
    return {
        "cpu": cpu_model(_read(Path("/proc/cpuinfo"))) or platform.processor() or "unknown",
        "architecture": platform.machine(),
        "cores": known["cores"],
        "memory_gib": known["memory_gib"],
        "kernel": kernel(platform.system(), platform.release()),
        "python": known["python"],
    }


def fingerprint(description: Mapping[str, str]) -> str:
    """Which machines are alike: 12 hexadecimal digits over what `COMPARABLE` names, whatever else is described.

    Memory counts in whole GiB, for how much of it a kernel keeps to itself changes with the kernel's build.
    """
    alike = {name: description.get(name, "") for name in COMPARABLE}
    with contextlib.suppress(ValueError):  # whatever it says instead is as good a name
        alike["memory_gib"] = str(round(float(alike["memory_gib"])))
    text = "\n".join(f"{name}={value}" for name, value in sorted(alike.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def cpu_model(cpuinfo: str) -> str:
    """The processor's name out of `/proc/cpuinfo`; empty where that tells none (as on most of ARM)."""
    found = re.search(r"^(?:model name|cpu model|Processor|cpu)[ \t]*:[ \t]*(\S.*)", cpuinfo, re.MULTILINE)
    return " ".join(found[1].split()) if found else ""


def kernel(system: str, release: str) -> str:
    """The kernel by its name, major and minor version: "Linux 6.1"."""
    found = re.match(r"\d+\.\d+", release)
    return f"{system} {found[0] if found else release}".strip()


def commit_of(folder: Path) -> tuple[str, bool]:
    """What is checked out where `folder` is, and whether tracked files differ from it; ("", False) without git.

    Files that git does not track do not count: a run's own folders would make every tree a dirty one.
    """
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=64", "--exclude=*"]
    # Without the optional locks git does not refresh the index: nothing is written where others work.
    settings = {name: value for name, value in os.environ.items() if name not in _OF_ANOTHER}
    settings |= {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        told = subprocess.run(
            command, env=settings, stdin=subprocess.DEVNULL, capture_output=True, timeout=_GIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return "", False
    return commit_told(told.stdout.decode(errors="replace")) if told.returncode == 0 else ("", False)


def commit_told(output: str) -> tuple[str, bool]:
    """The commit and whether the tree is dirty, from what `git describe --always --dirty` prints."""
    found = re.fullmatch(r"([0-9a-f]{40,64})(-dirty)?", output.strip())
    return (found[1], found[2] is not None) if found else ("", False)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
