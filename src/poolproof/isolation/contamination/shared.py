"""Blocks of shared memory and POSIX semaphores: both are files of /dev/shm, with a name or without one any more.

**Whose a block is.** Any process of the same user may make one at the same time. One is this test's where its making
was seen here, or where this process or one that the test started has it mapped or open. It is another's where a process
that the test has not started holds it. Of the others it is only said that they are there.

**What is new, cheaply.** `/proc/self/maps` costs half a millisecond to read. But tmpfs numbers its inodes one after the
other, so a file without a name, made and closed again, tells with its number how many were made so far: what is mapped
and has a higher one is newer; and where none was made since, nothing has to be read at all.
"""

import contextlib
import os
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Final

from poolproof import processes
from poolproof.isolation.contamination import tolerated
from poolproof.isolation.contamination.audit import SHARED, Record
from poolproof.isolation.contamination.family import Family
from poolproof.isolation.contamination.findings import Finding
from poolproof.isolation.lines import origin

_SEMAPHORE: Final = "sem."
_TMPFS: Final = "tmpfs"
_GONE: Final = " (deleted)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block or a semaphore that is there.

    Attributes:
        path: its name, or the last that it had.
        named: whether it still has it.
        size: in bytes; -1 where nothing tells it.
        held: who holds it, in words; empty where nobody of the test does.
        made: the line that made it.
        seen: whether this process was seen to make it.
    """

    path: str
    named: bool = True
    size: int = -1
    held: str = ""
    made: str = ""
    seen: bool = False


def find(before: Set[int], after: Mapping[int, Block], spared: Set[int] = frozenset()) -> list[Finding]:
    """The blocks of `after` that are new, by inode."""
    found = []
    for inode, block in after.items():
        if inode in before or inode in spared:
            continue
        is_semaphore = block.path.removeprefix(f"{SHARED}/").startswith(_SEMAPHORE)
        is_ours = block.seen or bool(block.held)
        size = f" of {block.size} bytes" if block.size >= 0 and not is_semaphore else ""
        named = f"{'semaphore' if is_semaphore else 'shared memory block'} {block.path}{size}"
        state = "still exists" if block.named else "was unlinked and is still there"
        held = f", held by {block.held}" if block.held else ""
        doubt = "" if is_ours else "; nothing tells whether this test made it or another process of the same user"
        found.append(
            Finding(
                kind="semaphores" if is_semaphore else "shared_memory",
                line=f"{named} {state}{held}{origin('made', block.made)}{doubt}",
                certain=is_ours,
                # Nobody waits for what is probably another's.
                lasting=not is_ours,
            )
        )
    return found


class Shared:
    """What there is in /dev/shm, and what of it this process has mapped."""

    what = "shared memory and semaphores"
    kinds = ("shared_memory", "semaphores")

    def __init__(self, record: Record, family: Family) -> None:
        self._record = record
        self._family = family
        self._before: frozenset[int] = frozenset()
        self._mark: _Count | None = None
        self._holders: dict[int, str] = {}
        self._others: set[int] = set()

    def begin(self) -> None:
        self._family.begin()  # it may be that nobody else asked it to
        self._mark = _count()
        self._before = frozenset(_listed())
        if self._mark is None:
            self._before |= processes.shared_mappings().keys()

    def beyond(self) -> list[Finding]:
        named = {inode: path for inode, path in _listed().items() if inode not in self._before}
        mapped = self._newly_mapped()
        seen: dict[int, Block] = {}
        for inode, path in named.items():
            with contextlib.suppress(FileNotFoundError):  # gone again
                status = os.lstat(path)
                if status.st_uid == os.getuid():
                    line, is_seen = self._record.shared.get(path), path in self._record.shared
                    seen[inode] = Block(path=path, size=status.st_size, made=str(line or ""), seen=is_seen)
        self._learn_holders(seen, mapped)
        for inode, path in mapped.items():
            if inode not in seen:
                path = path.removesuffix(_GONE)
                line = self._record.shared.get(path)
                seen[inode] = Block(path=path, named=False, held="the test's process", made=str(line or ""))
        for inode, block in list(seen.items()):
            if block.named and inode in self._holders:
                seen[inode] = Block(
                    path=block.path, size=block.size, held=self._holders[inode], made=block.made, seen=block.seen
                )
        doubtful = {inode: block.path for inode, block in seen.items() if not block.held and not block.seen}
        self._others |= _held_by_others(
            {inode: doubtful[inode] for inode in doubtful.keys() - self._others}, self._family
        )
        return find(self._before, seen, {inode for _, inode in tolerated.blocks()} | self._others)

    def _newly_mapped(self) -> dict[int, str]:
        if self._mark is None:
            return processes.shared_mappings()
        count = _count()
        if count is not None and count.others == self._mark.others:
            return {}
        return {inode: path for inode, path in processes.shared_mappings().items() if inode > self._mark.inode}

    def _learn_holders(self, blocks: Mapping[int, Block], mapped: Mapping[int, str]) -> None:
        """Note who holds a block: whoever does may be gone at the next look, and the block still there."""
        unknown = {inode: block.path for inode, block in blocks.items() if inode not in self._holders}
        self._holders |= {inode: "the test's process" for inode in unknown if inode in mapped}
        unknown = {inode: path for inode, path in unknown.items() if inode not in mapped}
        if not unknown:
            return
        for pid in (os.getpid(), *self._family.living()):
            who = "the test's process" if pid == os.getpid() else f"process {pid}, which the test started"
            self._holders |= dict.fromkeys(_held(pid, unknown), who)


def _held(pid: int, blocks: Mapping[int, str]) -> set[int]:
    """Which of some blocks a process has mapped or open."""
    opened = set(processes.open_files(pid).values())
    mapped = processes.shared_mappings(pid)
    return {inode for inode, path in blocks.items() if inode in mapped or path in opened}


def _held_by_others(blocks: Mapping[int, str], family: Family) -> set[int]:
    """Which of some blocks are held by a process that the test has not started, or are gone by now."""
    found: set[int] = set()
    if not blocks:
        return found
    kin = {os.getpid(), *family.living()}
    others = {int(entry) for entry in os.listdir("/proc") if entry.isdigit()} - kin
    # To look at everybody takes long, so begin with those that came last: it is nearly always one of them.
    for pid in sorted(others, reverse=True):
        found |= _held(pid, blocks)
        if len(found) == len(blocks):
            break
    return found | {inode for inode, path in blocks.items() if not os.path.lexists(path)}


def _listed() -> dict[int, str]:
    with contextlib.suppress(FileNotFoundError), os.scandir(SHARED) as entries:
        return {entry.inode(): entry.path for entry in entries}
    return {}


# --- the count of inodes ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Count:
    """How far the numbers have come.

    Attributes:
        inode: the last number.
        others: what is the same again where nothing but this look has taken a number.
    """

    inode: int
    others: int


_looks = 0
_is_counted: bool | None = None


def _count() -> _Count | None:
    """Take one number; None where they do not tell anything."""
    global _looks, _is_counted
    if _is_counted is None:
        _is_counted = numbers_in_turn(_mounts(), release=os.uname().release)
    if not _is_counted:
        return None
    try:
        fd = os.open(SHARED, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:  # full, or read-only by now
        return None
    try:
        inode = os.fstat(fd).st_ino
    finally:
        os.close(fd)
    _looks += 1
    return _Count(inode, inode - _looks)


def numbers_in_turn(mounts: Iterable[str], *, release: str) -> bool:
    """Whether /dev/shm is a tmpfs of its own, on a kernel that counts for each by itself: since 5.9."""
    version = tuple(int(part) for part in release.split(".")[:2] if part.isdigit())
    last = [fields[2] for line in mounts if len(fields := line.split()) > 2 and fields[1] == SHARED]
    return version >= (5, 9) and last[-1:] == [_TMPFS]


def _mounts() -> list[str]:
    """The lines of `/proc/self/mounts`."""
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="replace") as mounts:
            return mounts.read().splitlines()
    except OSError:
        return []
