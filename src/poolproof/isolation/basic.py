"""Mode `basic`: what every test may want for itself alone: an id, a source of chance, a folder."""

import contextlib
import hashlib
import os
import random
import re
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from poolproof.isolation.scene import Scene

_LETTERS: Final = 24
_BOUND_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What can be asked of this mode.

    Attributes:
        seed: the seed itself; None has it follow from the scene's and the name of the test.
    """

    seed: int | None = None

    def problems(self) -> list[str]:
        """Everything in them that makes no sense."""
        seed: object = self.seed  # a marker may hold anything
        if seed is None or (isinstance(seed, int) and not isinstance(seed, bool)):
            return []
        return [f"seed = {seed!r}: expected a whole number, or None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Basic:
    """What a test has for itself alone.

    Attributes:
        id: its name in short and what no other test, process or rerun has; fit for a file's name.
        seed: as an option, it makes the same `random` again.
        random: the test's own source of chance; the global one is neither seeded nor drawn from.
        folder: empty, its path as short as can be (a socket's is bounded), and gone when the test is over.
    """

    id: str
    seed: int
    random: random.Random
    folder: Path


def enter(scene: Scene, options: Options) -> Basic:
    """Set the mode up."""
    seed = options.seed
    if seed is None:
        around = scene.outer.get("basic")
        # The seed of the one around it, where there is one: nested, the two must not draw the same.
        seed = _derived(scene.seed if around is None else around.seed, scene.test)
    with scene.stage("the temporary folder"):
        folder = Path(tempfile.mkdtemp(prefix="pp-"))
        scene.teardown.push("removing the temporary folder", lambda: _remove(folder), bound_s=_BOUND_S)
    return Basic(
        id=f"{short(scene.test)}-{scene.worker}-{secrets.token_hex(6)}",
        seed=seed,
        random=random.Random(seed),
        folder=folder,
    )


def short(test: str) -> str:
    """The name of a test in few letters that a file's name may have: `tests/a.py::test_x[1]` is `test_x-1`."""
    path, bracket, parameters = test.partition("[")
    name = path.rpartition("::")[2] + bracket + parameters
    return re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")[:_LETTERS].strip("-") or "test"


def _derived(seed: int, name: str) -> int:
    """A seed for a name; the same in every process, which `hash` is not."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest())


def _remove(folder: Path) -> list[str]:
    """Remove a folder and all in it, also what its owner forbade itself to enter."""
    _permit(folder)
    for inner, names, _ in os.walk(folder):  # from the top: a folder is entered after it was permitted
        for name in names:
            _permit(Path(inner, name))
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:  # the test removed it, or something of it meanwhile; then the rest goes now
        shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)  # as much of it as can be
        return [f"the temporary folder {folder} could not be removed: {error}"]
    return []


def _permit(folder: Path) -> None:
    if not folder.is_symlink():  # what it leads to is not the test's
        with contextlib.suppress(OSError):  # removing it will say why
            folder.chmod(0o700)
