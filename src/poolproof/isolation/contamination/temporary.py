"""Temporary files and folders that a test made and did not remove.

The test has a folder of its own for them, by `TMPDIR` and `tempfile.tempdir`, so that whatever is in it at the end is
the test's, whichever process made it. What went past that folder, with `/tmp` written in the code, counts where this
process was seen to make it.
"""

import atexit
import contextlib
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from poolproof.isolation.contamination import tolerated
from poolproof.isolation.contamination.audit import Record
from poolproof.isolation.contamination.findings import Finding
from poolproof.isolation.lines import origin

VARIABLE: Final = "TMPDIR"
_PREFIX: Final = "pp-"
"""Short, since the path of a unix socket in it may have 107 characters in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """A file, a folder or whatever else has a path."""

    path: str
    what: str = "file"
    made: str = ""


def find(left: Iterable[Left]) -> list[Finding]:
    """All of them: in a folder that was empty, and of what was made, there is nothing to be compared with."""
    return [
        Finding(
            kind="temporary_files", line=f"temporary {one.what} {one.path} was not removed{origin('made', one.made)}"
        )
        for one in left
    ]


class Folder:
    """A folder for the temporary files of a test; everything uses it from `enter` to `leave`.

    To make one and remove it costs as much as all the rest of a detection; so one that a clean test has left empty is
    kept for the next test, until this process ends.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.is_spoiled = False
        self._before = tempfile.tempdir
        self._variable = os.environ.get(VARIABLE)

    @classmethod
    def enter(cls) -> "Folder":
        """Have everything use one, beside those of the tests around this one."""
        around = [folder.path for folder in _entered]
        base = tempfile.gettempdir()
        while base in around:
            base = str(Path(base).parent)
        folder = cls(_spare(base) or _new(base))
        tempfile.tempdir = os.environ[VARIABLE] = folder.path
        _entered.append(folder)
        return folder

    def leave(self) -> list[str]:
        """Put back what was, and remove what is in it; what could not be removed."""
        _entered.remove(self)
        tempfile.tempdir = self._before
        if self._variable is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = self._variable
        entries = self.entries()
        if not entries and not self.is_spoiled and Path(self.path).is_dir():
            _spares.append((os.getpid(), self.path))
            return []
        kept = tolerated.temporary()
        for entry in entries:
            if entry.path != kept:
                _remove(entry.path, is_folder=entry.is_dir(follow_symlinks=False))
        if kept is not None and str(Path(kept).parent) == self.path:
            # Multiprocessing has its sockets there for the life of the process, and takes its folder away at the end.
            _remove_at_the_end(self.path)
            _kept.add(self.path)
            return []
        try:
            Path(self.path).rmdir()
        except FileNotFoundError:  # the test has removed it
            return []
        except OSError as error:
            return [f"the test's folder for temporary files {self.path} could not be removed: {error.strerror}"]
        return []

    def entries(self) -> list[os.DirEntry[str]]:
        """What is in it."""
        try:
            with os.scandir(self.path) as entries:
                return list(entries)
        except FileNotFoundError:
            return []


_entered: list[Folder] = []
_spares: list[tuple[int, str]] = []
"""Empty folders, with the process that made each: what was forked from it leaves them alone."""

_kept: set[str] = set()
"""Folders that stay until the end of the process, since something in them does: a test around one did not make it."""


def is_own(path: str | None) -> bool:
    """Whether it is the folder of a test that is under way."""
    return any(folder.path == path for folder in _entered)


def _new(base: str) -> str:
    path = f"{base}{os.sep}{_PREFIX}{secrets.token_hex(4)}"
    Path(path).mkdir(0o700)
    return path


def _spare(base: str) -> str:
    for kept in list(_spares):
        pid, path = kept
        if pid == os.getpid() and str(Path(path).parent) == base:
            _spares.remove(kept)
            if Path(path).is_dir():
                return path
    return ""


@atexit.register
def _remove_spares() -> None:
    for pid, path in _spares:
        if pid == os.getpid():
            _remove(path, is_folder=True)


class Temporary:
    """The test's own folder, and what went past it."""

    what = "temporary files"
    kinds = ("temporary_files",)

    def __init__(self, record: Record, folder: Folder) -> None:
        self._record = record
        self._folder = folder

    def begin(self) -> None:
        """It was empty, and nothing had been made."""

    def beyond(self) -> list[Finding]:
        kept = tolerated.temporary()
        own = {folder.path for folder in _entered} | {path for _, path in _spares} | _kept
        inside = {entry.path for entry in self._folder.entries()}
        outside = {path for path in list(self._record.made) if os.path.lexists(path)}
        return find(
            Left(path=path, what=_kind(path), made=_origin(self._record.made, self._record.opened, path))
            for path in sorted((inside | outside) - own - {kept})
        )


def _origin(made: Mapping[str, Any], opened: Mapping[str, Any], path: str) -> str:
    return str(made.get(path) or opened.get(path) or "")


def _kind(path: str) -> str:
    here = Path(path)
    if here.is_symlink():
        return "link"
    if here.is_dir():
        return "folder"
    return "socket" if here.is_socket() else "file"


def _remove(path: str, *, is_folder: bool) -> None:
    # What cannot be removed keeps the folder from being removed, and that is told.
    with contextlib.suppress(OSError):
        if is_folder:
            shutil.rmtree(path, ignore_errors=True)
        else:
            Path(path).unlink()


def _remove_at_the_end(path: str) -> None:
    finalize: Any = sys.modules["multiprocessing.util"].Finalize
    # Multiprocessing's own removal has the priority -100, and the lower ones come later.
    finalize(None, _remove, args=(path,), kwargs={"is_folder": True}, exitpriority=-200)
