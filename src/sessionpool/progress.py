"""How far a worker has come, in memory that it shares with the pool and that outlives it.

Two words: the sequence number of the operation that it last began, written before the operation is touched, and of the
one that it last answered, written once the answer is handed to the kernel. One writer, the worker; each word is aligned
and written by a single store, so a reader never sees half of one.
"""

import mmap
import os
from typing import Final

SIZE: Final = mmap.PAGESIZE

BEGUN: Final = 0
ANSWERED: Final = 1


def make() -> int:
    """Memory for one worker, as a descriptor."""
    fd = os.memfd_create("sessionpool", os.MFD_CLOEXEC)
    os.ftruncate(fd, SIZE)
    return fd


def open_words(fd: int) -> memoryview:
    """The words behind a descriptor, which may be closed thereafter."""
    return memoryview(mmap.mmap(fd, SIZE)).cast("Q")
