"""A history as bytes that depend on nothing but what happened: two runs that were the same have the same ones."""

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import fields

import msgspec
import numpy as np

from poolproof.history.journal import TABLES
from poolproof.history.store import History


def canonical(history: History) -> Iterator[bytes]:
    """The tables in order, columns as little-endian integers, rows as JSON; the machine is no part of it."""
    yield "\0".join(history.kinds).encode()
    for table in (history.operations, history.executions):
        for field in fields(table):
            column: np.ndarray = getattr(table, field.name)
            yield field.name.encode()
            yield (column.byteswap() if sys.byteorder == "big" else column).tobytes()
    for name in TABLES:
        yield name.encode()
        for row in getattr(history, name):
            yield msgspec.json.encode(row)


def digest(history: History) -> str:
    """The SHA-256 of the canonical bytes, in hexadecimal digits."""
    found = hashlib.sha256()
    for part in canonical(history):
        found.update(len(part).to_bytes(8, "little"))
        found.update(part)
    return found.hexdigest()
