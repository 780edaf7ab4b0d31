"""Append-only journals: the small tables of a history while it runs. One line, one `write(2)`, several writers."""

import os
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from poolproof.errors import HistoryError
from poolproof.history.schema import Error, Fault, Host, Incarnation, Leftover, Lifecycle, Row, Sample, Usage

TABLES: Final[dict[str, type[Row]]] = {
    "errors": Error,
    "incarnations": Incarnation,
    "faults": Fault,
    "samples": Sample,
    "usages": Usage,
    "hosts": Host,
    "lifecycle": Lifecycle,
    "leftovers": Leftover,
}
"""The tables that are written line by line, and their rows."""

_NAMES: Final = {row: name for name, row in TABLES.items()}
_R = TypeVar("_R", bound=Row)


class Journal:
    """Writes rows to the run folder, each to the file of its table; rows survive the death of the writer."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, int] = {}

    def write(self, row: Row) -> None:
        """Append one row. O_APPEND keeps the lines of several processes apart."""
        name = _NAMES[type(row)]
        if name not in self._files:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._files[name] = os.open(self._folder / f"{name}.jsonl", flags, 0o600)
        os.write(self._files[name], msgspec.json.encode(row) + b"\n")

    def close(self) -> None:
        """Close the files."""
        for fd in self._files.values():
            os.close(fd)
        self._files.clear()


def read(folder: Path, row: type[_R]) -> tuple[_R, ...]:
    """All whole rows of a table; a last line cut off by the writer's death is passed over.

    Raises:
        HistoryError: a whole line is no such row.
    """
    path = folder / f"{_NAMES[row]}.jsonl"
    if not path.exists():
        return ()
    lines = path.read_bytes().split(b"\n")[:-1]
    try:
        return tuple(msgspec.json.decode(line, type=row) for line in lines)
    except msgspec.DecodeError as error:
        raise HistoryError(folder, f"{path.name} is damaged: {error}; run the experiment again") from error
