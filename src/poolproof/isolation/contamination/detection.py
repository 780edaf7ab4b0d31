"""One detection, from the snapshot to what is told in the end."""

import os
import re
import secrets
import warnings
from collections.abc import Callable

from poolproof.errors import IsolationError
from poolproof.isolation.contamination import audit
from poolproof.isolation.contamination.attributes import Attributes
from poolproof.isolation.contamination.descriptors import Descriptors
from poolproof.isolation.contamination.environment import MARK, Environment
from poolproof.isolation.contamination.family import Family
from poolproof.isolation.contamination.findings import KINDS, Finding, Watcher
from poolproof.isolation.contamination.handlers import Logging, Signals
from poolproof.isolation.contamination.settling import settle
from poolproof.isolation.contamination.shared import Shared
from poolproof.isolation.contamination.tasks import Tasks
from poolproof.isolation.contamination.temporary import Folder, Temporary
from poolproof.isolation.contamination.threads import Threads


class ContaminationWarning(UserWarning):
    """Something is there that was not before a test, and nothing tells whether the test made it."""


class Detection:
    """The context of the mode: what is there beyond what was there when it was entered.

    Attributes:
        test: whose.
        warnings: what was there that the test may have made, or another process of the same user.
    """

    def __init__(self, test: str, watchers: list[Watcher], *, watch: tuple[str, ...], ignore: tuple[str, ...]) -> None:
        self.test = test
        self.warnings: tuple[str, ...] = ()
        self._watchers = [watcher for watcher in watchers if any(kind in watch for kind in watcher.kinds)]
        self._watch = watch
        self._ignore = [re.compile(pattern) for pattern in ignore]
        self._blind: dict[str, str] = {}

    def begin(self) -> None:
        """Take the snapshot."""
        for watcher in self._watchers:
            try:
                watcher.begin()
            except Exception as error:
                self._blind[watcher.what] = _reason(error)

    def check(self) -> None:
        """Tell now what is there beyond the snapshot.

        Raises:
            IsolationError: something is.
        """
        # What a cycle of references keeps is gone after a collection; nothing else is waited for.
        found = [one for one in settle(self.look, 0.0) if one.certain]
        problems = self._told(found)
        if problems:
            raise IsolationError(self.test, problems)

    def end(self, settle_s: float) -> list[str]:
        """Look until it has settled; everything that the test left, in the order of `KINDS`."""
        found = settle(self.look, settle_s)
        doubtful = [one.line for one in found if not one.certain]
        self.warnings = (*self.warnings, *doubtful)
        for line in doubtful:
            _warn(f"{self.test}: {line}")
        return self._told([one for one in found if one.certain])

    def look(self) -> list[Finding]:
        """What is there beyond the snapshot, whatever is to be ignored left out."""
        found: list[Finding] = []
        for watcher in self._watchers:
            if watcher.what in self._blind:
                continue
            try:
                found += watcher.beyond()
            except Exception as error:
                self._blind[watcher.what] = _reason(error)
        return [
            one
            for one in found
            if one.kind in self._watch and not any(pattern.search(one.line) for pattern in self._ignore)
        ]

    def _told(self, found: list[Finding]) -> list[str]:
        lines = [one.line for one in sorted(found, key=lambda one: KINDS.index(one.kind))]
        return lines + [f"could not look at {what}: {reason}" for what, reason in self._blind.items()]


def detect(
    test: str,
    push: Callable[[str, Callable[[], list[str]]], None],
    *,
    watch: tuple[str, ...],
    ignore: tuple[str, ...],
    modules: tuple[str, ...],
    settle_s: float,
) -> Detection:
    """Set a detection up.

    Args:
        test: whose.
        push: puts a step on what is undone in the end, in reverse.
        watch: the kinds that are looked for.
        ignore: what is not told, as regular expressions.
        modules: whose attributes are compared.
        settle_s: how long what is about to go may take.
    """
    # Before the snapshot: in Python 3.11 it changes an attribute of `threading`, for good.
    audit.hook()
    record = audit.Record(folders=audit.temporary_folders())
    folder = Folder.enter()
    push("putting back where temporary files go", folder.leave)
    record.folders |= {folder.path}
    variable = f"{MARK}{secrets.token_hex(4)}"
    os.environ[variable] = "1"
    push("taking the test's mark off the environment", lambda: _unset(variable))
    family = Family(record, variable)
    detection = Detection(
        test,
        [
            Attributes(modules),  # it may import some, and whatever comes with that is no test's doing
            Threads(record),
            family,
            Descriptors(record),
            Shared(record, family),
            Temporary(record, folder),
            Tasks(),
            Environment(record),
            Signals(),
            Logging(),
        ],
        watch=watch,
        ignore=ignore,
    )
    detection.begin()
    audit.start(record)
    push("hearing what is made", lambda: _stop(record))
    push("looking for contamination", lambda: _end(detection, settle_s, folder))
    return detection


def _end(detection: Detection, settle_s: float, folder: Folder) -> list[str]:
    problems = detection.end(settle_s)
    # What lives on may still write there, and the next test is not to be blamed for it.
    folder.is_spoiled = bool(problems)
    return problems


def _unset(variable: str) -> list[str]:
    os.environ.pop(variable, None)
    return []


def _stop(record: audit.Record) -> list[str]:
    audit.stop(record)
    return []


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _warn(text: str) -> None:
    try:
        warnings.warn(text, ContaminationWarning, stacklevel=2)
    except ContaminationWarning:
        # A filter makes errors of warnings. This one says that there is too little evidence for one; it is said all
        # the same.
        with warnings.catch_warnings():
            warnings.simplefilter("always", ContaminationWarning)
            warnings.warn(text, ContaminationWarning, stacklevel=2)
