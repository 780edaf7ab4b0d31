"""The mode `contamination_detection`: whatever a test leaves behind is found, and told with whose it is."""

import importlib.util
import math
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from poolproof.isolation.contamination.attributes import MODULES
from poolproof.isolation.contamination.detection import ContaminationWarning, Detection, detect
from poolproof.isolation.contamination.findings import KINDS, Finding
from poolproof.isolation.scene import Scene

__all__ = ["KINDS", "ContaminationWarning", "Detection", "Finding", "Options", "enter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What can be asked of this mode.

    Attributes:
        ignore: regular expressions; a line in which one of them is found is not told.
        watch: the kinds that are looked for, of `KINDS`.
        settle_s: how long what is about to go may take, in seconds.
        modules: whose attributes are compared.
    """

    ignore: tuple[str, ...] = ()
    watch: tuple[str, ...] = KINDS
    settle_s: float = 1.0
    modules: tuple[str, ...] = MODULES

    def problems(self) -> list[str]:
        """Everything in them that makes no sense."""
        found: list[str] = []
        for name in ("ignore", "watch", "modules"):
            given = getattr(self, name)
            if isinstance(given, str) or not isinstance(given, Iterable) or any(type(one) is not str for one in given):
                found.append(f"{name} = {given!r}: expected a sequence of texts, such as ({_EXAMPLES[name]!r},)")
        if found:
            return found
        for pattern in self.ignore:
            try:
                re.compile(pattern)
            except re.error as error:
                found.append(
                    f"ignore: {pattern!r} is no regular expression ({error}); to mean the text itself, use re.escape"
                )
        found += [
            f"watch: unknown kind {kind!r}: expected some of {', '.join(KINDS)}"
            for kind in self.watch
            if kind not in KINDS
        ]
        if not self.watch:
            found.append("watch is empty, so nothing would be looked for: name a kind, or leave the mode out")
        found += [
            f"modules: there is no module {name!r} to be imported: correct the name, or leave it out"
            for name in self.modules
            if not _exists(name)
        ]
        seconds: object = self.settle_s
        if type(seconds) not in (int, float) or not 0 <= self.settle_s < math.inf:
            found.append(f"settle_s = {seconds!r}: expected a time in seconds, 0 or more")
        return found


_EXAMPLES = {"ignore": "thread 'reporter'", "watch": "threads", "modules": "socket"}


def enter(scene: Scene, options: Options) -> Detection:
    """Take the snapshot, and have it compared when the test is over."""
    return detect(
        scene.test,
        scene.teardown.push,
        watch=tuple(options.watch),
        ignore=tuple(options.ignore),
        modules=tuple(options.modules),
        settle_s=options.settle_s,
    )


def _exists(module: str) -> bool:
    if module in sys.modules:
        return True
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
