"""The errors that poolproof raises at its user: each says what happened, to what, and what to do about it."""

from collections.abc import Sequence
from pathlib import Path


class PoolproofError(Exception):
    """Base of everything that poolproof raises on purpose; its text is one line fit for standard error."""


class UsageError(PoolproofError):
    """The caller asked for something that does not exist or makes no sense: exit status 2."""


class ConfigError(UsageError):
    """Configuration that does not validate.

    Attributes:
        problems: every problem found, not only the first, each naming file, key, value and what was expected.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        super().__init__(f"the configuration has {count} error{'s' if count > 1 else ''}: " + "; ".join(self.problems))


class TargetError(UsageError):
    """A target or workload that cannot be loaded, built or driven.

    Attributes:
        target: what the user named.
    """

    def __init__(self, target: str, message: str) -> None:
        self.target = target
        super().__init__(message)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.target, str(self))


class HistoryError(UsageError):
    """A run folder that cannot be read: truncated, of another version, or none at all.

    Attributes:
        folder: the folder that was to be read.
    """

    def __init__(self, folder: Path, message: str) -> None:
        self.folder = folder
        super().__init__(f"{folder}: {message}")


class BaselineError(UsageError):
    """Baselines that cannot be read or kept: damaged, of another version, in use by another process.

    Attributes:
        path: the file or folder that it is about; it is left as it is.
    """

    def __init__(self, path: Path, message: str) -> None:
        self.path = path
        super().__init__(f"{path}: {message}")


class BlastRadiusError(PoolproofError):
    """A fault that would harm more than the limits allow; refused before anything was harmed."""


class WaitTimeoutError(PoolproofError, TimeoutError):
    """What was waited for did not come in time.

    Attributes:
        what: what it was, in words.
        timeout_s: how long was waited.
        last: what the condition returned at the last look.
        events: what was published meanwhile, the last 50.
    """

    def __init__(self, what: str, timeout_s: float, seen: str, last: object, events: Sequence[object]) -> None:
        self.what = what
        self.timeout_s = timeout_s
        self.last = last
        self.events = tuple(events)
        happened = "".join(f"\n  {event}" for event in self.events)
        told = f"\nevents since the start:{happened}" if self.events else "\nno event was published meanwhile"
        super().__init__(f"waited {timeout_s:g} s for {what}: {seen}{told}")


class HungError(PoolproofError, TimeoutError):
    """A call did not return within its bound, and was given up.

    Attributes:
        what: what it was, in words.
        within_s: the bound.
        stack: where it was, the innermost call first.
    """

    def __init__(self, what: str, within_s: float, stack: Sequence[str]) -> None:
        self.what = what
        self.within_s = within_s
        self.stack = tuple(stack)
        where = "".join(f"\n      {line}" for line in self.stack) or " code that could not be told"
        super().__init__(f"{what} hung for {within_s:g} s and was given up; it was in{where}")


class HungTestError(BaseException):
    """A test exceeded its bound and was ended where it stood; no `Exception`, or whoever catches those would go on.

    Attributes:
        test: which test.
        bound_s: its bound.
        told: where every thread was, and the state of its pools.
    """

    def __init__(self, test: str, bound_s: float, told: str) -> None:
        self.test = test
        self.bound_s = bound_s
        self.told = told
        super().__init__(f"{test} was still running after {bound_s:g} s (poolproof_timeout) and was ended:\n{told}")


class AffinityError(PoolproofError, AssertionError):
    """Sessions did not stay where they belong.

    Attributes:
        problems: each of them, in words.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class EvidenceError(PoolproofError, AssertionError):
    """Too little was seen to tell anything: neither that it holds nor that it does not."""


class WrongResultError(PoolproofError, AssertionError):
    """An operation came back with a result that is another's, or that does not verify."""


class IsolationError(PoolproofError, AssertionError):
    """A test left something behind, or its isolation could not be set up or undone.

    Attributes:
        test: which test.
        problems: each thing that is wrong, in words.
    """

    def __init__(self, test: str, problems: Sequence[str]) -> None:
        self.test = test
        self.problems = tuple(problems)
        lines = "".join(f"\n  - {problem}" for problem in self.problems)
        super().__init__(f"{test}:{lines}" if test else lines.strip())


class PlatformError(PoolproofError):
    """Something that this machine cannot do, with the means that is missing."""
