"""The optional parts: which packages they need, and how to install them."""

from importlib.util import find_spec
from typing import Final

from poolproof.errors import TargetError

EXTRAS: Final = {
    "digits": ("work", "sklearn"),
    "dspy": ("dspy", "dspy"),
    "linear": ("work", "sklearn"),
    "loky": ("peers", "loky"),
    "pebble": ("peers", "pebble"),
}
"""The name of a bundled pool or workload to its extra, and to the module that shows whether it is installed."""


def installed(name: str) -> bool:
    """Whether what a bundled pool or workload needs is there; true of those that need no extra."""
    return name not in EXTRAS or find_spec(EXTRAS[name][1]) is not None


def install_command(name: str) -> str:
    """The command that installs what a bundled pool or workload needs."""
    return f"pip install 'poolproof[{EXTRAS[name][0]}]'"


def require(name: str) -> None:
    """Return if what a bundled pool or workload needs is there.

    Raises:
        TargetError: with the command that installs it; nothing else is taken in its place.
    """
    if not installed(name):
        raise TargetError(name, f"{name} needs packages that are not installed here: {install_command(name)}")
