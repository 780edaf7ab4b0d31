"""Environment variables that a test set, changed or removed."""

import os
from collections.abc import Mapping, Set
from typing import Final

from poolproof.isolation.contamination.audit import Record
from poolproof.isolation.contamination.findings import Finding
from poolproof.isolation.contamination.temporary import VARIABLE, is_own
from poolproof.isolation.lines import origin, shortened

MARK: Final = "POOLPROOF_TEST_"
"""How the variable begins that a detection marks with whatever its test starts."""

_RUNNER: Final = frozenset({"PYTEST_CURRENT_TEST"})
"""pytest sets it anew for each phase of a test."""


def find(
    before: Mapping[str, str],
    after: Mapping[str, str],
    *,
    origins: Mapping[str, object] | None = None,
    spared: Set[str] = _RUNNER,
) -> list[Finding]:
    """What is different; of a value that was there before, which may be a secret, nothing is told."""
    found = []
    for name in sorted(before.keys() | after.keys()):
        if name in spared or name.startswith(MARK) or before.get(name) == after.get(name):
            continue
        if name not in after:
            told = "was removed"
        else:
            told = f"was {'changed' if name in before else 'set'} to {shortened(after[name], 40)!r}"
        line = "" if name not in after else origin("set", str((origins or {}).get(name) or ""))
        found.append(Finding(kind="environment", line=f"environment variable {name} {told}{line}", lasting=True))
    return found


class Environment:
    """`os.environ`: what a library in C sets for itself shows nowhere else either."""

    what = "the environment"
    kinds = ("environment",)

    def __init__(self, record: Record) -> None:
        self._record = record
        self._before: dict[str, str] = {}

    def begin(self) -> None:
        self._before = dict(os.environ)

    def beyond(self) -> list[Finding]:
        # Asked from within another detection: where temporary files go is that one's doing.
        spared = {VARIABLE} if is_own(os.environ.get(VARIABLE)) else set()
        return find(self._before, dict(os.environ), origins=self._record.variables, spared=_RUNNER | spared)
