"""How far a worker has come, in memory that it shares with the pool and that outlives it.

Three words, each aligned, with one writer, and written by a single store, so that a reader never sees half of one. The
worker's: the sequence number of the operation that it last began, written before the operation is touched, and of the
one that it last answered, written once the answer is handed to the kernel. The pool's: which ones it wants back.

**Recall.** The worker writes that it begins an operation, and then looks whether it is recalled; the pool writes what
it recalls, lets `SETTLE_S` pass, and then looks what was begun. Whatever way the two interleave, an operation that the
pool finds not begun will be found recalled by the worker; the wait is for the stores, which a processor may hold back
for well under a microsecond. One that both see is returned by the worker, by a frame.
"""

import mmap
import os
from typing import Final

SIZE: Final = mmap.PAGESIZE

BEGUN: Final = 0
ANSWERED: Final = 1
RECALLED: Final = 2

SETTLE_S: Final = 0.005

_COUNT_BITS: Final = 16


def span(first: int, last: int) -> int:
    """The sequence numbers of operations as one word; there are not many of them."""
    return first << _COUNT_BITS | (last - first)


def is_in(sequence: int, word: int) -> bool:
    """Whether a word of `span` covers an operation."""
    first = word >> _COUNT_BITS
    return first <= sequence <= first + (word & ((1 << _COUNT_BITS) - 1))


def make() -> int:
    """Memory for one worker, as a descriptor."""
    fd = os.memfd_create("sessionpool", os.MFD_CLOEXEC)
    os.ftruncate(fd, SIZE)
    return fd


def open_words(fd: int) -> memoryview:
    """The words behind a descriptor, which may be closed thereafter."""
    return memoryview(mmap.mmap(fd, SIZE)).cast("Q")
