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


class BlastRadiusError(PoolproofError):
    """A fault that would harm more than the limits allow; refused before anything was harmed."""


class PlatformError(PoolproofError):
    """Something that this machine cannot do, with the means that is missing."""
